"""One focal length and shift for a clip, a zoom where there is one."""

import dataclasses

import numpy as np
import pytest

from unish.fusion.intrinsics import solve_intrinsics
from unish.fusion.windows import WindowPrediction, sample_uv

UV = sample_uv(98, 168)


def made_pass(frames, focal, shift: float, relief_m: float, noise: float = 0.0, seed: int = 0) -> WindowPrediction:
    """A bumpy wall five metres away through lenses of these focal lengths, every depth `shift` too small."""
    random = np.random.default_rng(seed)
    depth = 5 + relief_m * random.uniform(-1, 1, (len(frames), len(UV)))
    slopes = UV / np.asarray(focal)[:, None, None] + noise * random.standard_normal((len(frames), *UV.shape))
    points = np.concatenate([slopes * depth[..., None], depth[..., None] - shift], axis=-1)
    cameras = np.tile(np.eye(4), (len(frames), 1, 1))
    ones = np.ones(depth.shape, np.float32)
    return WindowPrediction(np.asarray(frames), cameras, points.astype(np.float32), ones, ones > 0)


def test_one_camera_has_one_focal_length_and_each_pass_its_shift():
    passes = [made_pass(range(20), [1.1] * 20, 0.4, 2.0), made_pass(range(12, 32), [1.1] * 20, -0.7, 2.0, seed=1)]
    intrinsics = solve_intrinsics(passes, UV, 32, fit_shift=True)
    assert intrinsics.is_constant and np.ptp(intrinsics.focal) == 0
    np.testing.assert_allclose(intrinsics.focal, 1.1, rtol=1e-3)
    np.testing.assert_allclose(intrinsics.depth_shift, [0.4, -0.7], atol=0.01)


def test_noise_of_single_frames_is_not_a_zoom():
    random = np.random.default_rng(3)
    trembling = 1.1 * np.exp(0.2 * random.standard_normal(40))
    intrinsics = solve_intrinsics([made_pass(range(40), trembling, 0.0, 2.0)], UV, 40, fit_shift=False)
    assert intrinsics.is_constant
    np.testing.assert_allclose(intrinsics.focal, 1.1, rtol=0.1)


def test_a_zoom_is_followed():
    true = np.geomspace(0.8, 2.0, 60) * np.exp(0.02 * np.random.default_rng(0).standard_normal(60))
    passes = [made_pass(range(30), true[:30], 0.0, 2.0), made_pass(range(20, 60), true[20:], 0.0, 2.0, seed=1)]
    intrinsics = solve_intrinsics(passes, UV, 60, fit_shift=False)
    assert not intrinsics.is_constant
    np.testing.assert_allclose(intrinsics.focal, true, rtol=0.1)


def test_a_given_focal_length_is_kept_and_frees_the_shift():
    """On a flat scene focal length and shift are told apart badly; given one, the other is found."""
    errors = []
    for seed in range(4):
        found = made_pass(range(10), [1.1] * 10, 0.5, 0.15, noise=0.005, seed=seed)
        free, given = (solve_intrinsics([found], UV, 10, fit_shift=True, known_focal=focal) for focal in (None, 1.1))
        assert (given.focal == 1.1).all() and given.is_constant
        errors.append([abs(intrinsics.depth_shift[0] - 0.5) for intrinsics in (free, given)])
    without, told = np.mean(errors, axis=0)
    assert told < 0.02 and told < 0.3 * without


def test_the_gain_of_a_network_is_multiplied_in():
    found = made_pass(range(10), [1.5] * 10, 0.0, 2.0)
    for known_focal, expected in ((None, 1.05), (1.2, 1.2)):
        solved = solve_intrinsics([found], UV, 10, fit_shift=False, focal_gain=0.7, known_focal=known_focal)
        np.testing.assert_allclose(solved.focal, expected, rtol=1e-3)


@pytest.mark.parametrize("confident", [0, 1])
def test_passes_that_say_nothing_are_survived(confident):
    found = made_pass(range(5), [1.1] * 5, 0.2, 2.0)
    silent = dataclasses.replace(found, confidence=0 * found.confidence)
    silent.confidence[0, :confident] = 1
    intrinsics = solve_intrinsics([silent], UV, 5, fit_shift=True)
    assert np.isfinite(intrinsics.focal).all() and np.isfinite(intrinsics.depth_shift).all()
