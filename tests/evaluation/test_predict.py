"""A sequence through the pipeline: at the benchmark's rate, with its people or with those that are found."""

import dataclasses

import numpy as np
import pytest

from unish.body import open_body
from unish.errors import InputError
from unish.evaluation.benchmark import Benchmark
from unish.evaluation.datasets import synthetic
from unish.evaluation.predict import reconstruct_sequence, saved_predictor, weights_predictor
from unish.evaluation.scoring import score
from unish.models.hub import load
from unish.people.detection import DetectedPeople
from unish.structures import PersonTrack

EVERY_FRAME = Benchmark("walks", "Walks", ("abs_rel",), lambda root: ())
SLOWER = dataclasses.replace(EVERY_FRAME, sampled_fps=2.0, window=30)


@pytest.fixture(scope="module")
def mini():
    return load("mini", device="cpu")


@pytest.fixture(scope="module")
def sequence():
    return synthetic.read()[0]


def test_people_are_given_by_their_boxes(mini, sequence):
    result = reconstruct_sequence(sequence, SLOWER, mini, open_body())
    assert len(result) == 3 and result.fps == pytest.approx(2.0)
    assert result.times_s.tolist() == pytest.approx([0, 0.5, 1])
    assert result.provenance.finder == "true boxes" and len(result.people) == 2
    half = result.cameras.width_px / sequence.size_px[0]
    np.testing.assert_allclose(result.people[1].boxes_px, half * sequence.people[1].boxes_px[[0, 3, 6]], rtol=1e-5)
    np.testing.assert_array_equal(result.images[1].shape[:2], [126, 168])
    series = score(result, sequence, ["mpjpe_mm", "abs_rel"], body=open_body())
    shown = sum(person.present.sum() for person in sequence.people)
    assert len(series["mpjpe_mm"].values) == shown > 8 and series["mpjpe_mm"].values.mean() < 400


def test_a_known_lens_is_that_of_the_result(mini, sequence):
    result = reconstruct_sequence(sequence, SLOWER, mini, open_body(), known_lens=True)
    half = result.cameras.width_px / sequence.size_px[0]
    np.testing.assert_allclose(result.cameras.intrinsics[:, 0, 0], half * sequence.intrinsics[0, 0, 0], rtol=1e-4)
    assert result.provenance.focal_from == "given"
    told, untold = (
        weights_predictor(mini, open_body(), SLOWER, "here", known_lens=lens).identity(sequence)
        for lens in (True, False)
    )
    assert told != untold
    with pytest.raises(InputError, match="does not say its focal length"):
        reconstruct_sequence(dataclasses.replace(sequence, intrinsics=None), SLOWER, mini, open_body(), known_lens=True)


def test_where_nobody_is_labelled_people_are_found(mini, sequence, monkeypatch):
    unlabelled = dataclasses.replace(sequence, people=(), person_mask=None)
    boxes, present = sequence.people[0].boxes_px.astype(np.float64), np.ones(8, bool)
    found = DetectedPeople((PersonTrack(7, boxes, present, present.astype(float)),), "somebody", ("a doubt",))
    monkeypatch.setattr("unish.evaluation.predict.detect_people", lambda clip, **options: found)
    result = reconstruct_sequence(unlabelled, EVERY_FRAME, mini, open_body())
    assert result.provenance.finder == "somebody" and result.provenance.warnings[0] == "a doubt"
    assert [person.id for person in result.people] == [7] and len(result.windows) == 1


def test_where_nobody_is_found_depth_does_not_depend_on_it(mini, sequence, monkeypatch):
    unlabelled = dataclasses.replace(sequence, people=(), person_mask=None)
    monkeypatch.setattr("unish.evaluation.predict.detect_people", lambda clip, **options: DetectedPeople((), "mini"))
    result = reconstruct_sequence(unlabelled, EVERY_FRAME, mini, open_body())
    assert result.provenance.finder == "whole image"
    assert any("metric scale is a guess" in warning for warning in result.provenance.warnings)
    with_people = reconstruct_sequence(sequence, EVERY_FRAME, mini, open_body())
    ratio = result.depth_m / with_people.depth_m
    np.testing.assert_allclose(ratio, ratio[0, 0, 0], rtol=1e-5)
    assert score(result, unlabelled, ["abs_rel"])["abs_rel"].values[0] < 0.3


def test_large_images_are_reduced_and_their_boxes_with_them(mini, sequence, monkeypatch):
    monkeypatch.setattr("unish.evaluation.predict.LONG_SIDE_PX", 168)
    reduced = reconstruct_sequence(sequence, SLOWER, mini, open_body())
    half = reduced.cameras.width_px / sequence.size_px[0]
    np.testing.assert_allclose(reduced.people[0].boxes_px, half * sequence.people[0].boxes_px[[0, 3, 6]], rtol=1e-5)


def test_other_weights_are_another_method(mini, sequence):
    def identity() -> dict:
        return weights_predictor(mini, open_body(), SLOWER, data="here").identity(sequence)

    before = identity()
    tensor = max(mini.parameters(), key=lambda p: p.numel())
    kept = tensor.data.clone()
    tensor.data.mul_(1.0001)
    changed = identity()
    tensor.data.copy_(kept)
    assert before == identity() and {name for name in before if before[name] != changed[name]} == {"weights_sha256"}


def test_a_saved_result_that_is_replaced_is_another_prediction(sequence, tmp_path):
    file = tmp_path / sequence.name / "reconstruction.safetensors"
    file.parent.mkdir()
    identities = []
    for content in (b"one", b"two", b"one"):
        file.write_bytes(content)
        identities.append(saved_predictor(tmp_path, "here").identity(sequence))
    assert identities[0] == identities[2] != identities[1]
