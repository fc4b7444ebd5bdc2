"""The training loop: every part learns only itself, and a run that was stopped ends where an unbroken one does."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from train.data.clip_cache import ClipCache
from train.data.pretrain_batches import CropSettings, ViewSettings
from train.data.schema import write_shards
from train.engine.loop import accelerator_for, fit
from train.engine.run_logger import ValidationReport
from train.engine.schedule import LoopConfig, RunProgress, learning_rate
from train.objectives.align_objective import AlignSettings
from train.objectives.pretrain_objectives import (
    HumanWeights,
    PretrainBatches,
    SceneWeights,
    held_out_terms,
    make_objective,
)
from train.pretrain import PARTS, PretrainConfig, load_part, pretrain
from unish.body import open_body
from unish.errors import CheckpointError, InputError
from unish.models.unish import UniSH

VIEWS = ViewSettings(sizes=((56, 42), (42, 56)), frames=(2, 3), images_per_batch=6)
CROPS = CropSettings(crops_per_batch=4)
ALIGN = AlignSettings(windows=4, windows_per_batch=2, spans=((2, 1), (2, 2), (9, 1)), sizes=((56, 42),))
LOOP = LoopConfig(steps=3, warmup_steps=2, log_every=1)


def objective_of(name: str, model: UniSH):
    return make_objective(
        name, model, open_body(), scene=SceneWeights(), views=VIEWS, human=HumanWeights(), crops=CROPS, align=ALIGN,
        seed=0,
    )  # fmt: skip


def train_objective(objective, clips, held_out, folder, loop, resume=False):
    batches = PretrainBatches(objective, clips, loop.seed)
    batches.REFRESH_EVERY = 1
    validate = lambda: ValidationReport(held_out_terms(objective, held_out, 1))  # noqa: E731
    return fit(accelerator_for(loop, folder), objective, batches, folder, loop, validate=validate, resume=resume)


@pytest.mark.parametrize("name", ["scene", "human", "align"])
def test_a_part_learns_only_itself(name, tiny, clips, tmp_path):
    torch.manual_seed(0)
    model = UniSH(tiny)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    terms = train_objective(objective_of(name, model), clips, clips[:1], tmp_path, LOOP)
    after = model.state_dict()
    changed = {key for key, value in after.items() if not torch.equal(value, before[key])}
    parameters = {key for key, _ in model.named_parameters() if key.startswith(PARTS[name])}
    assert changed and all(key.startswith(PARTS[name]) for key in changed)
    assert len(changed) > 0.5 * len(parameters)
    assert all(np.isfinite(value) for value in terms.values())
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2, 3, 3]


@pytest.mark.parametrize("name", ["scene", "human", "align"])
def test_a_resumed_run_ends_like_an_unbroken_one(name, tiny, clips, tmp_path):
    def run(folder: str, steps: tuple[int, ...]) -> dict[str, torch.Tensor]:
        for count in steps:
            torch.manual_seed(1)
            model = UniSH(tiny)
            # The schedule of four steps all along; the first leg is stopped by an error after its save.
            loop = dataclasses.replace(LOOP, steps=4)
            clips_here = clips if count == 4 else StopAfter(clips, count)
            try:
                train_objective(objective_of(name, model), clips_here, [], tmp_path / folder, loop, resume=True)
            except InterruptedError:
                continue
        return model.state_dict()

    class StopAfter(list):
        def __init__(self, clips, steps):
            super().__init__(clips)
            self.left = steps

        def refresh(self, seconds):
            self.left -= 1
            if self.left == 0:
                raise InterruptedError

    unbroken = run("whole", (4,))
    save_often = dataclasses.replace(LOOP, save_minutes=0.0)
    globals()["LOOP"], kept = save_often, LOOP
    try:
        resumed = run("broken", (3, 4))
    finally:
        globals()["LOOP"] = kept
    assert all(torch.equal(unbroken[key], resumed[key]) for key in unbroken)


def test_all_parts_from_one_command_with_shards(tiny, clips, tmp_path):
    write_shards(clips, tmp_path / "data" / "train", per_shard=2)
    write_shards(clips[:1], tmp_path / "data" / "validation")
    config = PretrainConfig(
        data=str(tmp_path / "data"), out=tmp_path / "run", steps=2,
        views=VIEWS, large_views=VIEWS, crops=CROPS, align=ALIGN, loop=LOOP,
        precision="fp32", model=tiny,
    )  # fmt: skip
    model = pretrain(config)
    saved = load_file(tmp_path / "run" / "model.safetensors")
    assert saved.keys() == model.state_dict().keys()
    assert json.loads((tmp_path / "run" / "scene" / "run.json").read_text())["settings"]["steps"] == 2
    other = UniSH(tiny)
    load_part(other, tmp_path / "run", "human")
    assert torch.allclose(other.human_branch.head.decpose.weight, model.human_branch.head.decpose.weight, atol=1e-3)
    wider = UniSH(dataclasses.replace(tiny, human=dataclasses.replace(tiny.human, head_hidden=48)))
    with pytest.raises(CheckpointError, match="human branch"):
        load_part(wider, tmp_path / "run", "human")


def test_the_pool_takes_up_new_shards(clips, tmp_path):
    write_shards(clips[:1], tmp_path / "train")
    pool = ClipCache(tmp_path, keep_depth=False)
    assert pool.refresh() == 1
    write_shards(clips[1:], tmp_path / "train", first=1)
    assert pool.refresh() == 3
    assert pool[2].clip_id == clips[2].clip_id and not pool[2].depth_m.any()
    with pytest.raises(InputError, match="shards of clips"):
        ClipCache(tmp_path / "nowhere").refresh()


def test_learning_rate_warms_up_and_follows_the_budget():
    config = LoopConfig(minutes=10, learning_rate=1.0, warmup_steps=10, final_rate=0.01)
    progress = RunProgress()
    assert learning_rate(config, progress) == pytest.approx(0.1)
    progress.step, progress.seconds = 500, 300.0
    assert learning_rate(config, progress) == pytest.approx(0.505)
    progress.seconds = 600.0
    assert learning_rate(config, progress) == pytest.approx(0.01)


def test_a_budget_is_needed(tmp_path):
    with pytest.raises(InputError, match="budget"):
        pretrain(PretrainConfig(data="nowhere", out=tmp_path))
