"""The score: zero for the truth, worse for worse, and one command from clips to a table."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from train import score
from train.data.schema import UNLABELLED, write_shards
from unish.body import open_body
from unish.errors import InputError
from unish.models.hub import save
from unish.models.unish import UniSH

DEPTH = ("abs_rel", "body_abs_rel", "scale_error")
MOTION = ("camera_ate_cm", "pa_mpjpe_mm", "mpjpe_mm", "wa_mpjpe_mm", "root_error_mm")


@pytest.fixture(scope="module")
def body():
    return open_body()


def test_the_truth_scores_zero(clips, body):
    row = score.pooled([score.score_clip(score.truth(clip, body), clip, body) for clip in clips])
    for name in (*DEPTH, *MOTION):
        assert row[name] == pytest.approx(0.0, abs=1e-2), name
    assert row["delta_125"] == row["body_delta_125"] == 1.0


def test_errors_show_in_the_numbers_that_they_belong_to(clips, body):
    clip = clips[0]
    true = score.truth(clip, body)

    def scored(**changes) -> dict[str, float]:
        return score.pooled([score.score_clip(dataclasses.replace(true, **changes), clip, body)])

    larger = scored(depth_m=1.25 * true.depth_m)
    assert larger["abs_rel"] == pytest.approx(0.0, abs=1e-6) and larger["scale_error"] == pytest.approx(0.25, rel=1e-5)
    beside = scored(joints_camera=true.joints_camera + np.array([0.3, 0.0, 0.4]))
    assert beside["root_error_mm"] == pytest.approx(500.0, rel=1e-3) and beside["mpjpe_mm"] < 1e-2
    still = scored(world_from_camera=np.tile(np.eye(4), (clip.frames, 1, 1)))
    assert still["camera_ate_cm"] > 5 and still["wa_mpjpe_mm"] > 20 and still["pa_mpjpe_mm"] < 1e-2


def test_a_surface_counts_up_to_its_own_scale_and_shift(clips, body):
    clip = clips[0]
    depth = clip.depth_m.copy()
    on_body = clip.person_mask > 0
    curved = np.where(on_body, 2 + 0.2 * np.sin(np.arange(112) / 5), clip.depth_m).astype(np.float32)
    clip = dataclasses.replace(clip, depth_m=curved)
    true = score.truth(clip, body)
    moved = dataclasses.replace(true, depth_m=np.where(on_body, 0.5 * curved + 3, depth))
    assert score.pooled([score.score_clip(moved, clip, body)])["surface_abs_rel"] == pytest.approx(0, abs=1e-6)
    flat = dataclasses.replace(true, depth_m=np.where(on_body, 2.0, depth))
    assert score.pooled([score.score_clip(flat, clip, body)])["surface_abs_rel"] > 0.03


def test_a_body_before_its_points_shows_in_centimetres(clips, body):
    clip = clips[0]
    arrays = (clip.betas[:, None], clip.body_rotations, clip.translation_camera)
    vertices = body(*(torch.from_numpy(array) for array in arrays)).vertices.numpy()

    def behind(shift_m: float) -> dict[str, float]:
        moved = tuple(person + np.array([0, 0, shift_m]) for person in vertices)
        estimate = dataclasses.replace(score.truth(clip, body), intrinsics=clip.intrinsics, vertices_camera=moved)
        return score.pooled([score.score_clip(estimate, clip, body)])

    here, nearer = behind(0.0), behind(-0.3)
    assert nearer["points_behind_cm"] - here["points_behind_cm"] == pytest.approx(30, abs=2)
    assert nearer["body_off_points_cm"] > here["body_off_points_cm"]


def test_what_nobody_knows_is_not_scored(clips, body):
    clip = dataclasses.replace(clips[0], unknown=UNLABELLED)
    row = score.score_clip(score.truth(clip, body), clip, body)
    assert "abs_rel" in row and not set(row) & {"pa_mpjpe_mm", "camera_ate_cm", "root_error_mm"}


def test_the_trivial_predictor_knows_the_means_of_its_clips(clips, body):
    trivial = score.TrivialPredictor.fit(clips, body)
    estimate = trivial(clips[0])
    assert estimate.depth_m.shape[0] == clips[0].frames and np.isfinite(estimate.depth_m).all()
    assert trivial.joints_camera[0, 2] == pytest.approx(2.1, abs=0.3)
    row = score.pooled([score.score_clip(estimate, clips[0], body)])
    assert 0 < row["abs_rel"] < 0.3 and row["mpjpe_mm"] > 50
    with pytest.raises(InputError, match="train split"):
        score.TrivialPredictor.fit([], body)


def test_one_command_from_shards_to_a_table(clips, tiny, tmp_path, capsys):
    write_shards(clips[:2], tmp_path / "data" / "train")
    write_shards(clips[2:], tmp_path / "data" / "validation")
    torch.manual_seed(4)  # an untrained network whose people happen to stand before the camera
    save(UniSH(tiny), tmp_path / "weights")
    score.main(
        score.ScoreConfig(weights=str(tmp_path / "weights"), data=str(tmp_path / "data"), out=tmp_path / "scored")
    )
    table = capsys.readouterr().out
    result = json.loads((tmp_path / "scored" / "score.json").read_text())
    assert result["clips"] == 1 and len(result["rows"]) == 2
    contact = {"body_off_points_cm", "points_behind_cm"}
    for name, row in result["rows"].items():
        finite = {key for key, value in row.items() if np.isfinite(value)}
        assert finite == (set(row) - contact if name == "trivial" else set(row))
    for heading, _, _ in score.COLUMNS.values():
        assert heading in table
    assert (tmp_path / "scored" / "score.md").read_text() in table
    with pytest.raises(InputError, match="--synthetic-clips"):
        score.score(score.ScoreConfig())
