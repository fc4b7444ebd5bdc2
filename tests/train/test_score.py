"""The score of clips: zero for the truth, worse for worse, and one command from clips to a table."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from train import score
from train.data.schema import UNLABELLED, write_shards
from train.data.sequences import PROTOCOL, reconstruct_with_boxes, sequence_of, true_prediction
from unish.body import open_body
from unish.errors import InputError
from unish.evaluation.metric_values import means_of, pooled
from unish.evaluation.predictions import PersonPrediction, SequencePrediction, move
from unish.evaluation.scoring import METRICS
from unish.evaluation.scoring import score as scores
from unish.models.hub import save
from unish.models.unish import UniSH

DEPTH = ("abs_rel", "body_abs_rel", "scale_error")
MOTION = ("camera_ate_cm", "rigid_ate_m", "pa_mpjpe_mm", "mpjpe_mm", "wa_mpjpe_mm", "root_error_mm")


@pytest.fixture(scope="module")
def body():
    return open_body()


def scored(prediction: SequencePrediction, clip, body) -> dict[str, float]:
    return pooled([means_of(scores(prediction, sequence_of(clip, body), PROTOCOL.metrics))])


def with_joints(prediction: SequencePrediction, shift_m) -> SequencePrediction:
    """All people elsewhere in the camera's frame."""
    people = {}
    for id, person in prediction.people.items():
        joints = person.joints_camera + np.asarray(shift_m)
        people[id] = PersonPrediction(move(prediction.world_from_camera, joints), joints)
    return dataclasses.replace(prediction, people=people)


def test_the_truth_scores_zero(clips, body):
    rows = [means_of(scores(true_prediction(c, body), sequence_of(c, body), PROTOCOL.metrics)) for c in clips]
    row = pooled(rows)
    for name in (*DEPTH, *MOTION):
        assert row[name] == pytest.approx(0.0, abs=1e-2), name
    assert row["delta_125"] == row["body_delta_125"] == 1.0


def test_errors_show_in_the_numbers_that_they_belong_to(clips, body):
    clip = clips[0]
    true = true_prediction(clip, body)
    larger = scored(dataclasses.replace(true, depth_m=lambda frame: 1.25 * clip.depth_m[frame]), clip, body)
    assert larger["abs_rel"] == pytest.approx(0.0, abs=1e-6) and larger["scale_error"] == pytest.approx(0.25, rel=1e-5)
    beside = scored(with_joints(true, [0.3, 0.0, 0.4]), clip, body)
    assert beside["root_error_mm"] == pytest.approx(500.0, rel=1e-3) and beside["mpjpe_mm"] < 1e-2
    cameras = np.tile(np.eye(4), (clip.frames, 1, 1))
    still = scored(with_joints(dataclasses.replace(true, world_from_camera=cameras), [0.0, 0.0, 0.0]), clip, body)
    assert still["camera_ate_cm"] > 5 and still["wa_mpjpe_mm"] > 20 and still["pa_mpjpe_mm"] < 1e-2


def test_a_surface_counts_up_to_its_own_scale_and_shift(clips, body):
    clip = clips[0]
    depth = clip.depth_m.copy()
    on_body = clip.person_mask > 0
    curved = np.where(on_body, 2 + 0.2 * np.sin(np.arange(112) / 5), clip.depth_m).astype(np.float32)
    clip = dataclasses.replace(clip, depth_m=curved)
    true = true_prediction(clip, body)
    moved, flat = np.where(on_body, 0.5 * curved + 3, depth), np.where(on_body, 2.0, depth)
    errors = [
        scored(dataclasses.replace(true, depth_m=maps.__getitem__), clip, body)["surface_abs_rel"]
        for maps in (moved, flat)
    ]
    assert errors[0] == pytest.approx(0, abs=1e-6) and errors[1] > 0.03


def test_a_body_before_its_points_shows_in_centimetres(clips, body):
    clip = clips[0]
    arrays = (clip.betas[:, None], clip.body_rotations, clip.translation_camera)
    vertices = body(*(torch.from_numpy(array) for array in arrays)).vertices.numpy()
    true = true_prediction(clip, body)

    def behind(shift_m: float) -> dict[str, float]:
        people = {
            id: dataclasses.replace(
                person, vertices_camera=lambda frames, p=id - 1: vertices[p, frames] + np.array([0, 0, shift_m])
            )
            for id, person in true.people.items()
        }
        faces = body.faces.numpy()
        return scored(dataclasses.replace(true, people=people, intrinsics=clip.intrinsics, faces=faces), clip, body)

    here, nearer = behind(0.0), behind(-0.3)
    assert nearer["points_behind_cm"] - here["points_behind_cm"] == pytest.approx(30, abs=2)
    assert nearer["body_off_points_cm"] > here["body_off_points_cm"]


def test_what_has_no_label_is_not_scored(clips, body):
    clip = dataclasses.replace(clips[0], unknown=UNLABELLED)
    row = scored(true_prediction(clip, body), clip, body)
    assert "abs_rel" in row and not set(row) & {"pa_mpjpe_mm", "camera_ate_cm", "root_error_mm"}


def test_the_mean_baseline_has_the_means_of_its_clips(clips, body):
    baseline = score.MeanBaseline.fit(clips, body)
    prediction = baseline.predict(sequence_of(clips[0], body))
    assert len(prediction.frames) == clips[0].frames and np.isfinite(prediction.depth_m(0)).all()
    assert baseline.joints_camera[0, 2] == pytest.approx(2.1, abs=0.3)
    row = scored(prediction, clips[0], body)
    assert 0 < row["abs_rel"] < 0.3 and row["mpjpe_mm"] > 50
    with pytest.raises(InputError, match="train split"):
        score.MeanBaseline.fit([], body)


def test_a_clip_runs_through_the_pipeline_with_its_true_boxes(clips, tiny, body):
    result = reconstruct_with_boxes(clips[0], UniSH(tiny).eval(), body, window=4)
    assert len(result) == clips[0].frames and result.provenance.finder == "true boxes"
    assert result.provenance.source_fps == pytest.approx(clips[0].fps)


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
    assert result["clips"] == 1 and list(result["rows"]) == ["unish weights", "mean baseline"]
    ours, baseline = result["rows"].values()
    of_surfaces = {"body_off_points_cm", "points_behind_cm", "foot_floor_gap_cm"}
    assert set(PROTOCOL.metrics) - set(ours) <= {"world_size", "foot_floor_gap_cm", "foot_sliding_cm_s"}
    assert set(ours) - {"seconds_per_frame"} - of_surfaces == set(baseline)
    for name in baseline:
        assert METRICS[name].heading in table
    assert (tmp_path / "scored" / "score.md").read_text() in table
    with pytest.raises(InputError, match="--synthetic-clips"):
        score.score(score.ScoreConfig())
