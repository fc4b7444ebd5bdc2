"""What the user knows changes the result the way it should, measured against ground truth."""

import dataclasses

import numpy as np
import pytest
import torch

import unish
from tests.helpers.long_clips import errors_m, true_joints, two_people
from train.data.augment import take_frames
from train.data.sequences import reconstruct_with_boxes, seen_people, sequence_of, true_prediction
from train.synthetic.clips import generate_clip
from train.synthetic.oracle import EXACT, Oracle, OracleFaults
from unish.body import open_body
from unish.errors import InputError
from unish.evaluation import metrics
from unish.evaluation.predictions import prediction_of
from unish.fusion.motion import shape_of_height, stature_m
from unish.geometry import FILM_DIAGONAL_MM
from unish.pipeline.options import ClipPriors, Options, parse_focal


@pytest.fixture(scope="module")
def body():
    return open_body()


@pytest.fixture(scope="module")
def clip():
    return take_frames(two_people(), np.arange(45))


def half_diagonals(clip) -> float:
    height, width = clip.images.shape[1:3]
    return float(clip.intrinsics[0, 0, 0] / (0.5 * np.hypot(width, height)))


# --- focal length --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "pixels"), [("1450", 1450), (1450, 1450), ("1450px", 1450), (" 900.5 px", 900.5)])
def test_a_focal_length_is_pixels_of_the_source(text, pixels):
    assert parse_focal(text, (1920, 1080)) == pytest.approx(pixels / (0.5 * np.hypot(1920, 1080)))


def test_a_focal_length_is_millimetres_as_phones_state_it():
    """A 26 mm lens of a phone sees 79.5° across the diagonal."""
    relative = parse_focal("26mm", (1080, 1920))
    assert 2 * np.degrees(np.arctan(1 / relative)) == pytest.approx(79.5, abs=0.1)
    assert relative == pytest.approx(26 / (FILM_DIAGONAL_MM / 2))


def test_what_the_camera_recorded_is_used_where_the_user_says_nothing():
    size = (1920, 1080)
    recorded = Options().priors(size, 26.0)
    assert recorded.focal == parse_focal("26mm", size) and recorded.focal_from == "recorded"
    given = Options(focal="50mm").priors(size, 26.0)
    assert given.focal == parse_focal("50mm", size) and given.focal_from == "given"
    for nothing in (Options(focal="estimate").priors(size, 26.0), Options().priors(size)):
        assert nothing.focal is None


@pytest.mark.parametrize("bad", ["", "wide", "-26mm", "26 cm", "0", "1e9", 3, "nan", "1.2.3"])
def test_a_focal_length_that_cannot_be_is_one_sentence(bad):
    with pytest.raises(InputError, match=r"focal length"):
        parse_focal(bad, (1920, 1080))


def test_a_known_focal_length_is_that_of_the_result(clip, body):
    """Where the points are a lens's that they were not taken with, the user is believed."""
    wrong, results = OracleFaults(focal=1.2), []
    for known, focal in ((ClipPriors(), 1.2), (ClipPriors(focal=half_diagonals(clip)), 1.0)):
        found = reconstruct_with_boxes(clip, Oracle(clip, wrong), body, priors=known)
        assert np.allclose(found.cameras.intrinsics[:, 0, 0] / clip.intrinsics[:, 0, 0], focal, rtol=5e-3)
        assert np.allclose(found.cameras.intrinsics[:, 1, 1], found.cameras.intrinsics[:, 0, 0])
        results.append(found)
    # Without a fit, points and bodies move along the optical axis by the depth shift that suits the known lens, and
    # together: nothing moves across, and bodies stay on their points.
    nearer_m = np.median(results[0].depth_m - results[1].depth_m, axis=(1, 2))
    assert nearer_m.min() > 0.3
    for before, after in zip(results[0].people, results[1].people, strict=True):
        moved_m = before.translation_camera - after.translation_camera
        assert np.allclose(moved_m[before.present], np.outer(nearer_m, [0, 0, 1])[before.present], atol=0.02)
        assert np.allclose(before.body_rotations, after.body_rotations, atol=1e-5)


def test_a_known_focal_length_places_the_minis_people_better(body):
    """The mini hardly reads the focal length from a picture; told it, people stand where they stood more nearly."""
    mini, errors = unish.load("mini"), []
    for seed in (920000001, 920000002, 920000006, 920000009):
        clip = generate_clip(seed, frames=8, people_count=1)
        seen = seen_people(clip)[0]
        wanted = true_prediction(clip, body).people[1].joints_camera[seen]
        row = []
        for known in (ClipPriors(), ClipPriors(focal=half_diagonals(clip))):
            result = reconstruct_with_boxes(clip, mini, body, priors=known)
            joints = prediction_of(result, sequence_of(clip, body)).people[1].joints_camera[seen]
            row.append(np.linalg.norm(metrics.pelvis(joints) - metrics.pelvis(wanted), axis=-1).mean())
        errors.append(row)
    without, told = np.mean(errors, axis=0)
    assert told < 0.9 * without


# --- a camera that stands still ------------------------------------------------------------------------------------


def test_a_static_camera_does_not_move_and_everything_is_steadier(body):
    clip = generate_clip(910000005, frames=70, people_count=1, long_side_px=168, camera="static", clear_view=True)
    still = clip.world_from_camera[:1].repeat(70, axis=0)
    # Made perfectly still: labels of a camera that trembles would contradict what the user says.
    camera_from_world = np.linalg.inv(clip.world_from_camera)
    assert np.abs(camera_from_world @ still - np.eye(4)).max() < 0.2
    faults = OracleFaults(camera_deg=0.6, camera_m=0.05, drift=0.03)
    clip = dataclasses.replace(clip, world_from_camera=still)
    results = [
        reconstruct_with_boxes(clip, Oracle(clip, faults), body, priors=ClipPriors(static_camera=fixed))
        for fixed in (False, True)
    ]
    cameras = results[1].cameras.world_from_camera
    assert np.abs(cameras - cameras[0]).max() < 1e-6 < np.abs(results[0].cameras.world_from_camera - cameras).max()
    errors = [np.sqrt((errors_m(result, clip)[1] ** 2).mean()) for result in results]
    assert errors[1] < 0.7 * errors[0]
    assert all(np.isfinite(window.join_error) and window.join_error < 0.05 for window in results[1].windows)


# --- a person's height ---------------------------------------------------------------------------------------------


def test_a_shape_can_be_given_any_height(body):
    generator = torch.Generator().manual_seed(0)
    for height_m in (1.2, 1.55, 1.9, 2.1):
        betas = torch.randn(10, generator=generator)
        assert stature_m(body, shape_of_height(body, betas, height_m)) == pytest.approx(height_m, abs=2e-3)
    same = shape_of_height(body, betas, stature_m(body, betas))
    assert torch.allclose(same, betas, atol=1e-3)


def test_a_known_height_fixes_the_scale(clip, body):
    """All people tell a scale that is too large and shapes that are too tall; one true height mends both."""
    true_height = stature_m(body, torch.from_numpy(clip.betas[0]))
    betas, cameras = clip.betas.copy(), clip.world_from_camera.copy()
    betas[0] = shape_of_height(body, torch.from_numpy(clip.betas[0]), 1.15 * true_height).numpy()
    cameras[:, :3, 3] *= 1.15
    # A body turns about its pelvis: that is what moves away with the scale.
    pelvis = [body.pelvis_offset(torch.from_numpy(b)).numpy()[:, None] for b in (clip.betas, betas)]
    translation = 1.15 * (clip.translation_camera + pelvis[0]) - pelvis[1]
    large = dataclasses.replace(
        clip, betas=betas, world_from_camera=cameras, translation_camera=translation, depth_m=1.15 * clip.depth_m
    )
    for known, factor in ((ClipPriors(), 1.15), (ClipPriors(heights_m={1: true_height}), 1.0)):
        found = reconstruct_with_boxes(large, Oracle(large, EXACT), body, priors=known)
        valid = clip.depth_m > 0
        assert np.median(found.depth_m[valid] / clip.depth_m[valid]) == pytest.approx(factor, rel=2e-3)
        assert stature_m(body, torch.from_numpy(found.people[0].betas)) == pytest.approx(factor * true_height, abs=3e-3)
        walked = [np.linalg.norm(np.diff(x, axis=0), axis=-1).sum() for x in (
            found.people[0].joints_world[:, 0], true_joints(clip, 0)[:, 0])]  # fmt: skip
        assert walked[0] / walked[1] == pytest.approx(factor, rel=0.03)


@pytest.mark.parametrize("height", [17.5, 0.0, -1.7, {2: 175}])
def test_heights_are_metres(height):
    with pytest.raises(InputError, match="in metres"):
        Options(height=height).priors((640, 480))


def test_a_height_of_nobody_is_said(clip, body):
    with pytest.raises(InputError, match=r"people 1, 2, got .*person 7"):
        reconstruct_with_boxes(clip, Oracle(clip), body, priors=ClipPriors(heights_m={7: 1.8}))


# --- how many, and who ---------------------------------------------------------------------------------------------


def test_people_are_counted_and_picked(clips_dir):
    sample = unish.reconstruct(
        clips_dir / "skating.mp4",
        weights="mini",
        finder="mini",
        people=1,
        person=(1,),
        end_s=2,
        focal="26mm",
        fit="off",
    )
    assert [person.id for person in sample.people] == [1]


def test_windows_that_are_too_short_are_refused():
    with pytest.raises(InputError, match="4 frames or more"):
        Options(window=2)
