"""Stage 1 with real footage: commands that their programs take, and scores that are 0 for the truth alone."""

import dataclasses
from types import SimpleNamespace

import pytest
import torch
import tyro

from train import real_ablation
from train.data.batches import StageBatch
from train.data.prepare.label_videos import LabelConfig
from train.real_ablation import COLUMNS, ROWS, RealAblationConfig, surface_scores, table
from train.stage1 import Stage1Config
from train.synthetic.dataset import DatasetConfig
from unish.models.config import MINI
from unish.models.unish import UniSH

SIZE = 48


@pytest.fixture
def config(tmp_path) -> RealAblationConfig:
    return RealAblationConfig(tmp_path, tmp_path / "videos", tmp_path / "others", "teacher.onnx")


def test_data_and_rows_are_commands(config):
    *renders, first, second = real_ablation.data_commands(config)
    assert {tyro.cli(DatasetConfig, args=words[3:]).split for words in renders} == {"train", "validation"}
    labels = [tyro.cli(LabelConfig, args=words[3:]) for words in (first, second)]
    assert [label.split for label in labels] == ["train", "validation"]
    assert {label.depth for label in labels} == {"relative:teacher.onnx"}
    assert labels[1].videos == str(config.held_out_videos)
    for row, kinds in (("synthetic", 1), ("real", 1), ("both", 2)):
        words = real_ablation.command(config, row, 1)
        parsed = tyro.cli(Stage1Config, args=words[words.index("train/stage1.py") + 1 :])
        assert parsed.seed == 1 and parsed.start == "mini" and len(parsed.data) == kinds
        assert parsed.weights.patch.radius == real_ablation.PATCHES.radius


def _batch() -> StageBatch:
    """A slope with a person-sized bump in it."""
    rows = torch.linspace(4.0, 2.0, SIZE)[:, None].expand(SIZE, SIZE)
    mask = torch.zeros(SIZE, SIZE, dtype=torch.uint8)
    mask[10:40, 18:30] = 1
    bump = torch.hann_window(12, periodic=False)[None] * torch.hann_window(30, periodic=False)[:, None]
    depth = rows.clone()
    depth[10:40, 18:30] -= 0.8 + 0.3 * bump
    intrinsics = torch.tensor([[40.0, 0, SIZE / 2], [0, 40, SIZE / 2], [0, 0, 1]])
    none = torch.zeros(1, 1, 1)
    return StageBatch(
        images=torch.rand(1, 1, 3, SIZE, SIZE),
        depth_m=depth[None, None],
        person_mask=mask[None, None],
        intrinsics=intrinsics[None, None],
        crops=torch.zeros(1, 1, 1, 3, 256, 256),
        boxes_px=torch.zeros(1, 1, 1, 4),
        seen=none,
        body_rotations=torch.eye(3).expand(1, 1, 1, 24, 3, 3),
        translation_camera=torch.zeros(1, 1, 1, 3),
        betas=torch.zeros(1, 1, 10),
        joints_px=torch.zeros(1, 1, 1, 24, 2),
        fps=torch.ones(1),
    )


class _Answers(torch.nn.Module):
    """A scene branch that says the same of every clip."""

    def __init__(self, points_camera: torch.Tensor) -> None:
        super().__init__()
        self.points_camera = points_camera

    def forward(self, images: torch.Tensor) -> SimpleNamespace:
        return SimpleNamespace(points_camera=self.points_camera)


def _scores(depth: torch.Tensor, batch: StageBatch) -> dict[str, float]:
    points = torch.stack([torch.zeros_like(depth), torch.zeros_like(depth), depth], dim=-1)
    model = UniSH(MINI)
    model.scene_branch = _Answers(points)  # type: ignore[assignment]
    return surface_scores(model, [batch, batch], is_metric=True)


def test_scores_know_truth_from_its_likes():
    batch = _batch()
    true_m = batch.depth_m
    assert max(_scores(3 * true_m, batch).values()) < 1e-4, "one scale is free"
    shifted = _scores(1 / (0.5 / true_m + 0.1), batch)
    assert shifted["relative_depth"] < 1e-4 < 0.02 < shifted["abs_rel"], "a teacher does not know scale and shift"
    flat = true_m.where(batch.person_mask == 0, true_m[batch.person_mask > 0].mean())
    assert _scores(flat, batch)["surfaces"] > 0.005, "a flat person is no surface"
    with_other_edges = torch.roll(true_m, 6, dims=-1)
    assert _scores(with_other_edges, batch)["edges"] > 0.1


def test_the_table_has_every_row_and_spreads_of_seeds():
    jobs = [("start", 0), *((row, seed) for row in ROWS if row != "start" for seed in (0, 1))]
    lines = table({job: dict.fromkeys(COLUMNS, 0.1 + 0.02 * job[1]) for job in jobs}).splitlines()
    assert len(lines) == 2 + len(ROWS) and all(len(line.split("|")) == len(COLUMNS) + 3 for line in lines)
    assert "±" not in lines[2] and "0.110 ± 0.014" in lines[3] and "11.00 ± 1.41" in lines[3]


def test_a_finished_row_is_not_run_again(config, monkeypatch):
    folder = config.work / "seed0" / "real"
    folder.mkdir(parents=True)
    (folder / "surfaces.json").write_text('{"real.edges": 0.5}')
    monkeypatch.setattr(real_ablation, "run_command", lambda *_: pytest.fail("ran again"))
    assert real_ablation.run_row(config, "real", 0) == {"real.edges": 0.5}
    monkeypatch.setattr(real_ablation, "run_command", lambda command, log: None)
    monkeypatch.setattr(real_ablation, "score_weights", lambda config, weights: {"weights": float(len(weights) > 4)})
    assert real_ablation.run_row(config, "start", 0) == {"weights": 0.0}
    assert real_ablation.run_row(dataclasses.replace(config, steps=1), "both", 0) == {"weights": 1.0}
