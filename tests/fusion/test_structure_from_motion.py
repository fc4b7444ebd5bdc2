"""Structure from motion on a rendered clip whose lens and path are known, and clips that have no map."""

import dataclasses
import importlib.util
import logging
import tempfile

import numpy as np
import pytest

from unish.body import load_body
from unish.evaluation.datasets import synthetic
from unish.evaluation.metrics import camera_ate
from unish.evaluation.predict import reconstruct_sequence
from unish.fusion import structure_from_motion
from unish.fusion.structure_from_motion import map_clip
from unish.fusion.turning_camera import TurningCamera
from unish.models.hub import load
from unish.structures import Clip, PersonTrack
from unish.utils.assets import SYNTHETIC_BENCHMARK

SEQUENCE = "synthetic-920000023"


@pytest.fixture(scope="module")
def sequence():
    (found,) = (one for one in synthetic.read() if one.name == SEQUENCE)
    return found


@pytest.fixture(scope="module")
def clip(sequence) -> Clip:
    frames = np.stack([sequence.image(frame) for frame in range(sequence.frames)])
    return Clip(frames, np.arange(len(frames)) / sequence.fps, sequence.fps, SEQUENCE, sequence.size_px)


@pytest.fixture(scope="module")
def tracks(sequence) -> tuple[PersonTrack, ...]:
    masks = np.stack([sequence.person_mask(frame) for frame in range(sequence.frames)])
    return tuple(
        PersonTrack(person.id, person.boxes_px.astype(np.float64), person.present, np.ones(sequence.frames), masks == k)
        for k, person in enumerate(sequence.people, start=1)
    )


@pytest.fixture(scope="module")
def found(clip, tracks):
    return map_clip(clip, tracks)


def test_lens_and_path_are_those_of_the_camera(found, sequence):
    true_focal = sequence.intrinsics[0, 0, 0] / (0.5 * np.hypot(*sequence.size_px))
    error = np.log(found.focal / true_focal)
    assert abs(error) < 0.05 and abs(error) < 3 * found.focal_log_error < 0.2
    assert found.registered.all()
    extent_m = np.ptp(sequence.world_from_camera[:, :3, 3], axis=0).max()
    assert camera_ate(found.world_from_camera, sequence.world_from_camera).max() < 3 * extent_m, "centimetres"


def test_points_lie_where_the_scene_is(found, sequence):
    ratios = []
    for frame, seen in enumerate(found.points):
        pixels = seen.uv * 0.5 * np.hypot(*sequence.size_px) + np.array(sequence.size_px) / 2
        columns, rows = pixels.astype(int).T
        true_m = sequence.depth_m(frame)[rows, columns]
        ratios.append(np.log(seen.depth / true_m)[true_m > 0])
    ratios = np.concatenate(ratios)
    assert np.median(np.abs(ratios - np.median(ratios))) < 0.02, "up to one scale"


def test_the_same_clip_gives_the_same_map(found, clip, tracks):
    again = map_clip(clip, tracks)
    assert again.focal == found.focal and again.focal_log_error == found.focal_log_error
    np.testing.assert_array_equal(again.world_from_camera, found.world_from_camera)


def test_a_lens_that_is_given_is_kept(clip, tracks, found):
    given = map_clip(clip, tracks, focal=1.02 * found.focal, focal_is_exact=True)
    assert given.focal == pytest.approx(1.02 * found.focal) and given.focal_log_error == 0


@pytest.mark.parametrize(
    ("looks", "is_found"),
    [
        (((1.0, 1.02),), True),
        (((1.0, 1.4, 1.41), (1.0, 1.4, 1.41)), False),
        (((1.0,), ()), True),
        (((), (1.0,)), False),
        (((1.0, 1.4), (1.1, 1.12)), True),
    ],
    ids=["two agree", "none agree", "one alone", "one alone of faint features", "two agree of faint features"],
)
def test_a_lens_that_depends_on_where_its_search_begins_is_not_trusted(
    clip, tracks, found, looks, is_found, monkeypatch
):
    maps = iter([dataclasses.replace(found, focal=factor * found.focal) for look in looks for factor in look])
    findings = iter([[{"places": np.zeros(0)}] * len(look) for look in looks])
    monkeypatch.setattr(structure_from_motion, "_findings", lambda *_: (one for one in next(findings)))
    monkeypatch.setattr(structure_from_motion, "_as_map", lambda *_: next(maps))
    assert (map_clip(clip, tracks) is not None) == is_found


def test_nothing_is_solved_for_a_camera_that_stands_still(clip, tracks, monkeypatch):
    monkeypatch.setattr(structure_from_motion, "_findings", lambda *arguments: pytest.fail("COLMAP was asked"))
    still = dataclasses.replace(clip, frames=np.repeat(clip.frames[:1], 8, axis=0))
    tracks = [
        dataclasses.replace(track, boxes_px=np.repeat(track.boxes_px[:1], 8, axis=0), masks=None) for track in tracks
    ]
    found = map_clip(still, tracks)
    assert isinstance(found, TurningCamera) and found.focal is None
    turns = found.at(1.5, len(still.frames))
    np.testing.assert_allclose(turns.world_from_camera, np.tile(np.eye(4), (8, 1, 1)), atol=1e-4)


@pytest.mark.parametrize("frames", [1, 2])
def test_clips_too_short_for_a_map(clip, tracks, frames):
    assert map_clip(clip.part(0, frames), tracks) is None


def test_a_clip_of_noise_has_no_map(clip):
    short = clip.part(0, 3)
    noise = np.random.default_rng(0).integers(0, 256, short.frames.shape, dtype=np.uint8)
    assert map_clip(dataclasses.replace(short, frames=noise), ()) is None


def test_without_pycolmap_there_is_no_map_and_the_log_says_so(clip, tracks, monkeypatch, caplog):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with caplog.at_level(logging.WARNING, logger="unish"):
        assert map_clip(clip, tracks) is None
    assert "pycolmap is not installed" in caplog.text


def test_colmap_that_breaks_off_costs_the_map_and_nothing_else(clip, tracks, monkeypatch, tmp_path, caplog):
    broken = tmp_path / "broken.py"
    broken.write_text("import os; os.abort()")
    monkeypatch.setattr(structure_from_motion.colmap_worker, "__file__", str(broken))
    with caplog.at_level(logging.WARNING, logger="unish"):
        assert map_clip(clip, tracks) is None
    assert "COLMAP broke off" in caplog.text


def test_cancelling_leaves_no_files(clip, tracks, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def cancel(share: float, message: str) -> None:
        if share >= 0.25:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        map_clip(clip, tracks, progress=cancel)
    assert not list(tmp_path.iterdir())


def test_a_result_has_the_cameras_of_its_map(sequence):
    """The way through, with the bundled weights: lens and path are measured, and better than the network's."""
    body, model, benchmark = load_body("open"), load("mini"), synthetic.at(SYNTHETIC_BENCHMARK)
    measured, guessed = (reconstruct_sequence(sequence, benchmark, model, body, sfm=sfm) for sfm in ("auto", "off"))
    assert (measured.provenance.focal_from, measured.provenance.mapped_frames) == ("measured", sequence.frames)
    assert (guessed.provenance.focal_from, guessed.provenance.mapped_frames) == ("estimated", 0)
    errors = [camera_ate(made.cameras.world_from_camera.astype(float), sequence.world_from_camera).mean()
              for made in (measured, guessed)]  # fmt: skip
    assert errors[0] < 0.5 * errors[1]
