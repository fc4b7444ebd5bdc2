"""Metric scale, focal length and shift against the released inference."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from scipy.optimize import least_squares

from unish.geometry.camera import (
    fit_pinhole,
    focal_px_from_half_diagonal,
    half_diagonal_grid,
    intrinsics_from_focal,
    pixel_centers,
    project,
    solve_focal_shift,
    unproject_depth,
)
from unish.geometry.metric import VALID_CONFIDENCE, clip_norm, metric_factor
from unish.geometry.transforms import relative_to_first, transform_points


@pytest.fixture(scope="module")
def golden(reference_dir):
    return load_file(reference_dir / "metric_scale.safetensors")


def relative_error(value, expected):
    return ((value - expected).norm() / expected.norm()).item()


def test_metric_factor_and_points(golden):
    factor = metric_factor(golden["input.scale"][:, 0], golden["input.local_points"], golden["input.conf"])
    assert relative_error(factor, golden["metric_factor"]) < 1e-5
    assert relative_error(golden["input.local_points"] * factor, golden["metric.local_points"]) < 1e-5
    assert relative_error(golden["input.trans_camera"] * factor, _without_shift(golden)) < 1e-5
    cameras = relative_to_first(golden["input.world_from_camera"])
    cameras[..., :3, 3] *= factor
    assert relative_error(cameras, golden["metric.world_from_camera"]) < 1e-5
    points = golden["metric.local_points"].flatten(2, 3)
    world = transform_points(cameras, points).reshape(golden["metric.world_points"].shape)
    assert relative_error(world, golden["metric.world_points"]) < 1e-5


def _without_shift(golden):
    translation = golden["metric.trans_camera"].clone()
    translation[..., 2] -= golden["metric.shift"]
    return translation


def test_focal_shift_depth_and_point_map(golden):
    height, width = golden["input.conf"].shape[-2:]
    valid = golden["input.conf"][0] > VALID_CONFIDENCE
    focal, shift = solve_focal_shift(golden["input.local_points"][0], valid)
    assert relative_error(focal, golden["focal_half_diagonal"][0]) < 1e-5
    assert relative_error(shift, golden["shift"][0]) < 1e-5
    intrinsics = intrinsics_from_focal(focal_px_from_half_diagonal(focal, width, height), width, height)
    depth = golden["metric.local_points"][0, ..., 2] + (shift * golden["metric_factor"])[:, None, None]
    assert relative_error(depth, golden["metric.depth"][0]) < 1e-5
    assert relative_error(unproject_depth(depth, intrinsics), golden["metric.point_map"][0]) < 1e-5


def test_shared_camera_recovers_one_focal_and_shift():
    generator = torch.Generator().manual_seed(0)
    intrinsics = intrinsics_from_focal(torch.tensor(90.0), 96, 72)
    depth = 2 + 3 * torch.rand(4, 72, 96, generator=generator)
    points = unproject_depth(depth, intrinsics)
    points[..., 2] -= 0.4
    focal, shift = solve_focal_shift(points, torch.ones(4, 72, 96, dtype=torch.bool), shared=True)
    assert torch.allclose(focal_px_from_half_diagonal(focal, 96, 72), torch.full((4,), 90.0), rtol=1e-3)
    assert torch.allclose(shift, torch.full((4,), 0.4), rtol=1e-2)


def test_too_few_points_give_the_default_camera():
    focal, shift = solve_focal_shift(torch.ones(2, 8, 8, 3), torch.zeros(2, 8, 8, dtype=torch.bool))
    assert focal.tolist() == [1.0, 1.0]
    assert shift.tolist() == [0.0, 0.0]


def test_clip_norm_stays_finite_when_nothing_is_confident():
    points = torch.ones(1, 2, 4, 4, 3)
    assert torch.isfinite(clip_norm(points, torch.zeros(1, 2, 4, 4))).all()


def test_projecting_unprojected_depth_gives_the_pixel_back():
    intrinsics = intrinsics_from_focal(torch.tensor([70.0, 110.0]), 40, 30)
    depth = torch.rand(2, 30, 40) + 1
    uv = project(unproject_depth(depth, intrinsics).flatten(1, 2), intrinsics)
    assert torch.allclose(uv, pixel_centers(30, 40).reshape(1, -1, 2).expand(2, -1, -1), atol=1e-4)


def test_without_a_shift_the_focal_length_of_rays_is_found():
    uv = pixel_centers(48, 64) - torch.tensor([32.0, 24.0])
    depth = 2 + torch.rand(2, 48, 64, 1)
    points = torch.cat([uv / 70.0 * depth, depth], dim=-1)
    everywhere = torch.ones(2, 48, 64, dtype=torch.bool)
    focal, shift = solve_focal_shift(points, everywhere, shared=True, fit_shift=False, samples=16)
    assert torch.allclose(focal_px_from_half_diagonal(focal, 64, 48), torch.tensor(70.0), rtol=0.03)
    assert (shift == 0).all()


def scipy_camera(points, uv, valid, focal=None):
    """Focal length and shift of one frame by MINPACK, to the end."""
    points, uv = points[valid].double().numpy(), uv[valid].numpy()

    def rays(shift):
        return points[:, :2] / (points[:, 2:] + shift)

    def best(shift):
        return (rays(shift) * uv).sum() / (rays(shift) ** 2).sum() if focal is None else focal

    found = least_squares(lambda shift: (best(shift) * rays(shift) - uv).ravel(), [0.0], method="lm", ftol=1e-12)
    return float(best(found.x)), float(found.x[0])


@settings(deadline=None)
@given(seed=st.integers(0, 10_000), noise=st.floats(0.0, 0.05), focal=st.floats(0.5, 3.0), shift=st.floats(-0.6, 2.0))
def test_all_frames_at_once_are_scipys_one_by_one(seed, noise, focal, shift):
    generator = torch.Generator().manual_seed(seed)
    uv = torch.from_numpy(half_diagonal_grid(18, 32).reshape(-1, 2))
    depth = 1 + 4 * torch.rand(3, len(uv), 1, generator=generator)
    slopes = uv / focal + noise * torch.randn(3, len(uv), 2, generator=generator)
    points = torch.cat([slopes * depth, depth - shift * 0.8], dim=-1).float()
    valid = (torch.rand(3, len(uv), generator=generator) > 0.3) & (points[..., 2] > 0.1)
    found = torch.stack(fit_pinhole(points, uv, valid), dim=-1)
    kept = torch.full((3,), 1.2, dtype=torch.float64)
    shifts = fit_pinhole(points, uv, valid, focal=kept)[1]
    for frame in range(3):
        expected = torch.tensor(scipy_camera(points[frame], uv, valid[frame]), dtype=torch.float64)
        torch.testing.assert_close(found[frame], expected, rtol=1e-4, atol=1e-4)
        expected = scipy_camera(points[frame], uv, valid[frame], focal=1.2)[1]
        assert shifts[frame].item() == pytest.approx(expected, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("depth", [0.7, 2.0, 7.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_wall_seen_head_on_leaves_the_shift_alone(depth, dtype):
    """Focal length and shift cannot be told apart there; what rounding says of them is not taken."""
    uv = torch.from_numpy(half_diagonal_grid(24, 32).reshape(-1, 2))
    points = torch.cat([uv / 1.2 * depth, torch.full((len(uv), 1), depth)], dim=-1).to(dtype)
    focal, shift = fit_pinhole(points, uv, torch.ones(len(uv), dtype=torch.bool))
    assert focal.item() == pytest.approx(1.2, rel=1e-5) and abs(shift.item()) < 1e-5


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), 0.0])
def test_points_that_are_none_are_left_out(wrong):
    uv = torch.from_numpy(half_diagonal_grid(12, 16).reshape(-1, 2))
    depth = 2 + torch.rand(len(uv), 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    points = torch.cat([uv / 1.2 * depth, depth - 0.3], dim=-1)
    points[5, 2] = wrong
    valid = torch.ones(len(uv), dtype=torch.bool)
    focal, shift = fit_pinhole(points, uv, valid)
    assert focal.item() == pytest.approx(1.2, rel=1e-6) and shift.item() == pytest.approx(0.3, rel=1e-6)
    points[:, :2] = 0
    assert [value.item() for value in fit_pinhole(points, uv, valid)] == [1.0, 0.0]
