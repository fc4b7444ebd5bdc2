"""A pass laid onto a map: depth and cameras of a plane are put right whatever the units and the depth shift."""

import dataclasses

import numpy as np
import pytest
import torch

from unish.fusion.intrinsics import ClipIntrinsics
from unish.fusion.mapped_scene import onto_map
from unish.fusion.structure_from_motion import FramePoints, SparseMap
from unish.fusion.window_alignment import metric_points
from unish.fusion.windows import WindowPrediction, sample_pixels, sample_uv
from unish.geometry.camera import half_diagonal_grid
from unish.geometry.rotations import axis_angle_to_matrix

FRAMES, HEIGHT, WIDTH, FOCAL = 6, 60, 80, 1.4
UNITS = 0.3
"""Of the pass, over metres; the map's are half a metre."""


def true_cameras() -> np.ndarray:
    """Walking sideways past a wall, turning a little."""
    cameras = np.tile(np.eye(4), (FRAMES, 1, 1))
    turns = torch.tensor([[0.0, 0.04 * k, 0.0] for k in range(FRAMES)], dtype=torch.float64)
    cameras[:, :3, :3] = axis_angle_to_matrix(turns).numpy()
    cameras[:, 0, 3] = 0.2 * np.arange(FRAMES)
    return cameras


def true_depth_m(cameras: np.ndarray) -> np.ndarray:
    """A floor at an angle, seen by every pixel."""
    uv = half_diagonal_grid(HEIGHT, WIDTH) / FOCAL
    rays = np.concatenate([uv, np.ones((HEIGHT, WIDTH, 1))], -1)
    normal, offset = np.array([0.0, -0.5, 1.0]), 4.0
    directions = np.einsum("fij,hwj->fhwi", cameras[:, :3, :3], rays)
    return (offset - cameras[:, None, None, :3, 3] @ normal) / (directions @ normal)


@pytest.fixture
def cameras() -> np.ndarray:
    return true_cameras()


@pytest.fixture
def depth_m(cameras) -> np.ndarray:
    return true_depth_m(cameras)


@pytest.fixture
def sparse(cameras, depth_m) -> SparseMap:
    random = np.random.default_rng(0)
    points = []
    for depth in depth_m:
        rows, columns = random.integers(0, HEIGHT, 200), random.integers(0, WIDTH, 200)
        uv = half_diagonal_grid(HEIGHT, WIDTH)[rows, columns]
        points.append(FramePoints(uv, 2 * depth[rows, columns], np.full(200, 0.01)))
    mapped = cameras.copy()
    mapped[:, :3, 3] *= 2
    return SparseMap(FOCAL, 0.02, mapped, np.ones(FRAMES, bool), tuple(points))


def network_pass(depth: np.ndarray, shift: float) -> WindowPrediction:
    """A pass with this depth beside its shift, and cameras that hardly move."""
    rows, columns = sample_pixels(HEIGHT, WIDTH)
    across = sample_uv(HEIGHT, WIDTH) / FOCAL * (depth[:, rows, columns, None] + shift)
    points = np.concatenate([across, depth[:, rows, columns, None]], -1).astype(np.float32)
    still = np.tile(np.eye(4), (FRAMES, 1, 1))
    ones = np.ones(points.shape[:2], np.float32)
    return WindowPrediction(np.arange(FRAMES), still, points, ones, ones > 0, ((1, 1 / UNITS, 1.0),))


def wrong_depth(depth_m: np.ndarray, shift: float) -> np.ndarray:
    """The pass's own: a fifth too far on one side, a fifth too near on the other, in units of its own."""
    slope = np.exp(np.linspace(-0.2, 0.2, WIDTH))
    return (UNITS * depth_m * slope - shift).astype(np.float32)


@pytest.mark.parametrize("shift", [0.0, 0.25])
def test_depth_and_cameras_agree_with_the_map(sparse, cameras, depth_m, shift):
    depth = wrong_depth(depth_m, shift)
    laid, corrected = onto_map(network_pass(depth, shift), depth, shift, np.full(FRAMES, FOCAL), sparse)
    ratio = (corrected + shift) / depth_m
    scale = np.median(ratio)
    assert scale == pytest.approx(UNITS, rel=0.1), "the pass keeps its unit"
    assert np.abs(np.log(ratio / scale)).mean() < 0.02 < np.abs(np.log((depth + shift) / (UNITS * depth_m))).mean()
    # As the result has them: the shift moves points along the axis, and the camera back by as much.
    intrinsics = ClipIntrinsics(np.full(FRAMES, FOCAL), (shift,), True)
    points = metric_points(laid, 1 / scale, shift, intrinsics, sample_uv(HEIGHT, WIDTH))
    placed = laid.world_from_camera.copy()
    placed[:, :3, 3] = (placed[:, :3, 3] - shift * placed[:, :3, 2]) / scale
    np.testing.assert_allclose(placed[:, :3, 3] - placed[:1, :3, 3], cameras[:, :3, 3], atol=0.02)
    np.testing.assert_allclose(placed[:, :3, :3], cameras[:, :3, :3], atol=1e-6)
    world = np.einsum("fij,fsj->fsi", placed[:, :3, :3], points) + placed[:, None, :3, 3]
    assert np.median(np.abs(world @ [0.0, -0.5, 1.0] - 4)) < 0.1, "points of all frames lie on one floor"


def test_frames_between_registered_ones_follow_the_network_from_both_sides(sparse, cameras, depth_m):
    known = np.array([True, True, False, True, True, True])
    points = tuple(part if k else FramePoints(np.zeros((0, 2)), np.zeros(0), np.zeros(0))
                   for part, k in zip(sparse.points, known, strict=True))  # fmt: skip
    poses = np.where(known[:, None, None], sparse.world_from_camera, np.eye(4))
    partial = SparseMap(FOCAL, 0.02, poses, known, points)
    depth = wrong_depth(depth_m, 0.0)
    laid, corrected = onto_map(network_pass(depth, 0.0), depth, 0.0, np.full(FRAMES, FOCAL), partial)
    # The network says that the camera stands still, so the frame lies between its neighbours.
    middle = (laid.world_from_camera[1, :3, 3] + laid.world_from_camera[3, :3, 3]) / 2
    np.testing.assert_allclose(laid.world_from_camera[2, :3, 3], middle, atol=1e-9)
    ratio = corrected[2] / depth_m[2]
    assert np.abs(np.log(ratio / np.median(ratio))).mean() < 0.03, "its depth is put right by its neighbour's points"


def test_points_of_something_else_have_no_say(sparse, depth_m):
    random = np.random.default_rng(1)
    points = tuple(
        dataclasses.replace(part, depth=np.where(random.random(200) < 0.15, 1.8 * part.depth, part.depth))
        for part in sparse.points
    )
    depth = wrong_depth(depth_m, 0.0)
    wrong = dataclasses.replace(sparse, points=points)
    _, corrected = onto_map(network_pass(depth, 0.0), depth, 0.0, np.full(FRAMES, FOCAL), wrong)
    ratio = corrected / depth_m
    assert np.abs(np.log(ratio / np.median(ratio))).mean() < 0.04


def test_a_pass_that_shares_too_little_with_the_map_is_left_alone(sparse, depth_m):
    depth = wrong_depth(depth_m, 0.0)
    few = tuple(FramePoints(part.uv[:4], part.depth[:4], part.log_error[:4]) for part in sparse.points)
    alone = network_pass(depth, 0.0)
    laid, kept = onto_map(alone, depth, 0.0, np.full(FRAMES, FOCAL), dataclasses.replace(sparse, points=few))
    assert laid is alone and kept is depth
