"""The three stages as functions of a batch: what learns, which way the terms pull, and what does not count."""

import dataclasses
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.train.conftest import fake_clip
from train.data.batches import Batch
from train.data.stage_batches import ViewConfig, stage_batch
from train.engine.loop import MAX_BAD_STEPS, accelerator_for, fit, freeze_untrained
from train.engine.schedule import LoopConfig
from train.objectives.losses import PatchSettings
from train.objectives.stages import Stage1, Stage1Weights, Stage2, Stage2Weights, Stage3, Stage3Weights
from unish.body import open_body
from unish.errors import InputError
from unish.geometry.camera import unproject_depth
from unish.geometry.metric import clip_norm
from unish.models.scene_branch import SceneFeatures
from unish.models.unish import UniSH

PATCHES = Stage1Weights(patch=PatchSettings(radius=0.3, min_points=8))
"""Patches that small pictures have pixels for."""
STAGES = {"stage1": (Stage1, lambda: PATCHES), "stage2": (Stage2, Stage2Weights), "stage3": (Stage3, Stage3Weights)}
TRAINED = {
    "stage1": ("scene_branch.point_head.",),
    "stage2": ("human_branch.", "align_net."),
    "stage3": ("align_net.",),
}


def tiny_model(config, seed: int = 0) -> UniSH:
    torch.manual_seed(seed)
    model = UniSH(config)
    model.trunk_dtype = torch.float32
    return model


def batch_of(sample, frames: int = 3):
    batch = stage_batch(sample, ViewConfig(frames=frames), 56, 14, np.random.default_rng(0))
    assert batch is not None
    return batch


@pytest.fixture(scope="module")
def body():
    return open_body()


@pytest.fixture
def batch():
    """A clip whose person is a bumpy surface 2 m away."""
    batch = batch_of(fake_clip(0))
    bumps = 0.1 * torch.rand(batch.depth_m.shape, generator=torch.Generator().manual_seed(0))
    return dataclasses.replace(batch, depth_m=batch.depth_m + torch.where(batch.person_mask > 0, bumps, 0.0))


@pytest.mark.parametrize("name", STAGES)
def test_exactly_the_named_parts_learn(name, tiny, body):
    model = tiny_model(tiny)
    make, weights = STAGES[name]
    found = set(freeze_untrained(make(model, body, weights())))
    expected = {f"model.{key}" for key, _ in model.named_parameters() if key.startswith(TRAINED[name])}
    assert found == expected and expected


@pytest.mark.parametrize("name", STAGES)
def test_every_term_is_finite_and_reaches_only_what_learns(name, tiny, body, batch):
    make, weights = STAGES[name]
    stage = make(tiny_model(tiny), body, weights())
    trained = freeze_untrained(stage)
    terms = stage(batch)
    assert all(value.ndim == 0 and value.dtype == torch.float32 and value.isfinite() for value in terms.values())
    sum(terms.values()).backward()
    pulled = {key for key, value in stage.named_parameters() if value.grad is not None}
    assert pulled <= trained.keys()
    assert sum(float(trained[key].grad.abs().sum()) > 0 for key in pulled) > 0.5 * len(trained)


@pytest.mark.parametrize("name", STAGES)
def test_a_clip_where_nothing_is_known_gives_finite_gradients(name, tiny, body, batch):
    batch.depth_m.zero_()
    batch.person_mask.zero_()
    batch.joints_px.fill_(torch.nan)
    make, weights = STAGES[name]
    stage = make(tiny_model(tiny), body, weights())
    trained = freeze_untrained(stage)
    sum(stage(batch).values()).backward()
    # Each parameter takes part in the graph of every batch: processes that train together wait for all of them.
    assert all(value.grad is not None and value.grad.isfinite().all() for value in trained.values())


# --- stage 1 ---------------------------------------------------------------------------------------------------------


def test_stage_1_starts_without_regularisation_and_keeps_the_original_head(tiny, body, batch):
    model = tiny_model(tiny)
    stage = Stage1(model, body, PATCHES)
    original = {key: value.clone() for key, value in model.scene_branch.point_head.state_dict().items()}
    optimizer = torch.optim.SGD(freeze_untrained(stage).values(), lr=0.1)
    terms = stage(batch)
    assert terms["regularisation"].item() == 0.0 and terms["patches"].item() > 0
    sum(terms.values()).backward()
    optimizer.step()
    assert stage(batch)["regularisation"].item() > 0
    assert all(torch.equal(value, original[key]) for key, value in stage.original.state_dict().items())
    assert not any(value.requires_grad for value in stage.original.parameters())


# --- stage 2 ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("train_scene", [False, True])
def test_stage_2_reaches_the_scene_branch_only_when_told_to(train_scene, tiny, body, batch):
    model = tiny_model(tiny)
    stage = Stage2(model, body, Stage2Weights(train_scene=train_scene))
    freeze_untrained(stage)
    terms = stage(batch)
    assert ("points" in terms) == train_scene
    sum(terms.values()).backward()
    pulled = [p.grad is not None and bool(p.grad.any()) for p in model.scene_branch.point_head.parameters()]
    assert all(pulled) if train_scene else not any(p.grad is not None for p in model.scene_branch.parameters())


def test_stage_2_gives_align_net_its_own_rate(tiny, body):
    assert Stage2(tiny_model(tiny), body, Stage2Weights(align_rate=7.0)).rate_factors == {"model.align_net.": 7.0}


def test_stage_2_ignores_the_labels_of_frames_in_which_nobody_is_seen(tiny, body, batch):
    stage = Stage2(tiny_model(tiny), body, Stage2Weights())
    batch.seen[..., 1] = 0
    before = stage(batch)
    for name in ("body_rotations", "translation_camera", "joints_px"):
        getattr(batch, name)[:, :, 1] = torch.nan
    after = stage(batch)
    for name, value in before.items():
        torch.testing.assert_close(after[name], value, msg=name)


# --- stage 3 ---------------------------------------------------------------------------------------------------------


def stage_3_at(depth_m: float, tiny, body, batch, monkeypatch):
    """Stage 3 with the true points for a scene and a body that AlignNet puts `depth_m` away; the translation."""
    model = tiny_model(tiny)
    with torch.no_grad():
        scene = model.scene(batch.images)
    points = unproject_depth(batch.depth_m, batch.intrinsics)
    sure = (batch.depth_m > 0).float()
    scene = dataclasses.replace(scene, points_camera=points, confidence=sure)
    assert isinstance(scene, SceneFeatures)
    translation = torch.tensor([0.0, 0.0, depth_m]).repeat(1, 1, points.shape[1], 1).requires_grad_()
    scale = clip_norm(points, sure)[:, None]  # network units are metres
    monkeypatch.setattr(model, "scene", lambda images: scene)
    monkeypatch.setattr(model.align_net, "forward", lambda hidden, tokens, fps, boxes: (scale, translation))
    return Stage3(model, body, Stage3Weights()), translation


def test_stage_3_pulls_the_body_to_the_points_from_either_side(tiny, body, batch, monkeypatch):
    def pull(depth_m: float) -> float:
        stage, translation = stage_3_at(depth_m, tiny, body, batch, monkeypatch)
        stage(batch)["align"].backward()
        return translation.grad[..., 2].mean().item()

    assert pull(3.2) > 0  # too far: descent brings it nearer
    assert pull(1.2) < 0


def test_stage_3_pushes_by_depth_order_only_where_the_points_lie_behind(tiny, body, batch, monkeypatch):
    stage, translation = stage_3_at(1.2, tiny, body, batch, monkeypatch)
    order = stage(batch)["depth_order"]
    order.backward()
    assert 0.3 < order.item() < 1.2 and translation.grad[..., 2].mean() < 0
    stage, translation = stage_3_at(3.2, tiny, body, batch, monkeypatch)
    order = stage(batch)["depth_order"]
    order.backward()
    assert order.item() == 0.0 and not translation.grad.any()


def test_stage_3_leaves_out_joints_that_are_not_known(tiny, body, batch, monkeypatch):
    def joints(first: float, rest: float) -> tuple[float, torch.Tensor]:
        changed = batch.joints_px.clone()
        changed[..., :12, :], changed[..., 12:, :] = first, rest
        stage, translation = stage_3_at(2.5, tiny, body, batch, monkeypatch)
        term = stage(dataclasses.replace(batch, joints_px=changed))["joints_2d"]
        term.backward()
        return term.item(), translation.grad

    nan = float("nan")
    some, pull = joints(10.0, nan)
    assert some > 0 and pull.isfinite().all() and pull.any()
    other, _ = joints(nan, 10.0)
    both, _ = joints(10.0, 10.0)
    assert both == pytest.approx((some + other) / 2, rel=1e-5)  # a mean over the joints that are known
    none, pull = joints(nan, nan)
    assert none == 0.0 and not pull.any()


def test_stage_3_works_for_two_people_and_one_who_is_in_no_frame(tiny, body):
    one = fake_clip(1)
    doubled = {
        name: np.concatenate([getattr(one, name)] * 2)
        for name in ("body_rotations", "translation_camera", "betas", "boxes_px", "visibility", "joints_px")
    }
    batch = batch_of(dataclasses.replace(one, **doubled))  # the second person has no pixel of the mask
    assert batch.crops.shape[1] == 2
    stage = Stage3(tiny_model(tiny), body, Stage3Weights())
    freeze_untrained(stage)
    terms = stage(batch)
    sum(terms.values()).backward()
    assert all(value.isfinite() for value in terms.values())


# --- gradients that are not finite -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class NumberBatch(Batch):
    x: Tensor


class OneNumber(nn.Module):
    """An objective with one weight whose gradient is the batch's number."""

    name, trainable = "number", ("weight",)

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, batch):
        return {"loss": (self.weight * batch.x).sum()}


class Numbers:
    """Batches with NaN at the given places."""

    def __init__(self, bad) -> None:
        self.bad, self.given = set(bad), 0

    def __next__(self):
        self.given += 1
        return NumberBatch(torch.tensor([float("nan") if self.given in self.bad else 1.0]))

    def state_dict(self):
        return {"given": self.given}

    def load_state_dict(self, state) -> None:
        self.given = state["given"]


def fit_numbers(bad, folder, steps: int) -> float:
    objective, loop = OneNumber(), LoopConfig(steps=steps, learning_rate=1e-2, warmup_steps=1)
    fit(accelerator_for(loop, folder), objective, Numbers(bad), folder, loop)
    return objective.weight.item()


def test_a_run_ends_when_no_gradient_is_finite_for_long(tmp_path):
    with pytest.raises(InputError, match="finite gradients"):
        fit_numbers(range(5, 5 + MAX_BAD_STEPS), tmp_path, 40)


def test_a_run_outlives_single_steps_without_a_finite_gradient(tmp_path):
    assert 0 < fit_numbers([3], tmp_path / "one", 6) < 1
    pauses = [*range(1, MAX_BAD_STEPS), *range(MAX_BAD_STEPS + 1, 2 * MAX_BAD_STEPS)]
    assert 0 < fit_numbers(pauses, tmp_path / "pauses", 2 * MAX_BAD_STEPS) < 1  # never 20 in a row


# --- running statistics ----------------------------------------------------------------------------------------------


class Normalised(nn.Module):
    """An objective with batch norm, whose running statistics change without a gradient."""

    name, trainable = "normalised", ("norm.",)

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(1)

    def forward(self, batch):
        return {"loss": self.norm(batch.x).square().sum()}


class Ramp(Numbers):
    """Batches of growing numbers; raises after some of them."""

    def __init__(self, stop_after: int) -> None:
        super().__init__(())
        self.stop_after = stop_after

    def __next__(self):
        self.given += 1
        if self.given > self.stop_after:
            raise InterruptedError
        return NumberBatch(torch.tensor([[float(self.given)], [3.0 * self.given]]))


def test_running_statistics_are_averaged_saved_and_resumed(tmp_path):
    def run(folder, stop_after: int, resume: bool) -> nn.BatchNorm1d:
        objective, loop = Normalised(), LoopConfig(steps=4, learning_rate=1e-2, warmup_steps=1, save_every=2)
        fit(accelerator_for(loop, folder), objective, Ramp(stop_after), folder, loop, resume=resume)
        return objective.norm

    whole = run(tmp_path / "whole", 9, False)
    with pytest.raises(InterruptedError):
        run(tmp_path / "broken", 3, False)
    resumed = run(tmp_path / "broken", 9, True)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    mean, average = 0.0, 0.0
    for step in range(4):
        mean = 0.9 * mean + 0.1 * 2.0 * (step + 1)
        decay = (1 + step) / (10 + step)
        average = decay * average + (1 - decay) * mean
    assert whole.running_mean.item() == pytest.approx(average, rel=1e-5) and whole.num_batches_tracked == 4
