"""A network's pass laid onto the map of structure from motion: its cameras are the map's, its depth agrees with it.

Nothing of the pass changes its unit: the map's is brought to that of the pass, by the depths that both have.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Float32
from scipy.ndimage import map_coordinates

from unish.fusion.structure_from_motion import FramePoints, SparseMap
from unish.fusion.turning_camera import Turns
from unish.fusion.windows import WindowPrediction, sample_pixels, sample_uv
from unish.geometry.camera import half_diagonal_grid
from unish.geometry.rotations import slerp

LEAST_DEPTHS, FRAME_DEPTHS = 30, 5
"""A pass with fewer depths in common with the map is left as it is; a frame with fewer borrows its neighbour's."""
MAX_LOG = 1.0
"""Depths that differ by more than this factor (its logarithm) are of something else."""

REACH = np.array([0.35, 0.35, 0.1])
"""Over which the correction varies: half diagonals in the image, logarithms in depth. What stands before a wall is
corrected apart from it."""
VARIATION, FRAME_BIAS = 0.25, 0.1
"""How much a network's depth is off (logarithm): from place to place, and of a whole frame."""
NOISE, OUTLIER = 0.05, 0.15
"""Of one depth beside what varies smoothly; and from where it counts less and less."""
MOST_POINTS = 400
GRID = 16, 16, 32
"""Nodes across, down and in depth, between which the correction is interpolated."""


@dataclass(frozen=True)
class _Depths:
    """Where map and pass both have a depth in one frame."""

    where: Float[np.ndarray, "points 3"]
    """(u, v) in half diagonals, and the logarithm of the pass's depth."""
    log_ratio: Float[np.ndarray, "points"]
    """Of the map's depth, in its own unit, over the pass's."""
    log_error: Float[np.ndarray, "points"]


def onto_map(
    prediction: WindowPrediction,
    depth: Float32[np.ndarray, "frames height width"],
    shift: float,
    focal: Float[np.ndarray, "frames"],
    sparse: SparseMap,
) -> tuple[WindowPrediction, Float32[np.ndarray, "frames height width"]]:
    """A pass and its depth maps, in network units, in agreement with the map where that is known.

    `shift` is the depth shift of the pass and `focal` the focal length of its frames, in half diagonals. Cameras of
    frames between registered ones follow the network's motion from both. A pass that shares too little with the map is
    returned as it is.
    """
    height, width = depth.shape[1:]
    shared = [
        _depths(frame_depth + shift, sparse.points[frame])
        for frame, frame_depth in zip(prediction.frames, depth, strict=True)
    ]
    ratios = np.concatenate([part.log_ratio for part in shared])
    if len(ratios) < LEAST_DEPTHS:
        return prediction, depth
    units_log = -float(np.median(ratios))
    cameras = prediction.world_from_camera.copy()
    # As the rest of the pipeline moves points by the shift along the axis, and the camera back by as much.
    cameras[:, :3, 3] -= shift * cameras[:, :3, 2]
    cameras = _measured_cameras(cameras, prediction.frames, sparse, np.exp(units_log))
    cameras[:, :3, 3] += shift * cameras[:, :3, 2]
    corrected = np.stack(
        [
            _corrected(frame_depth + shift, _nearest(shared, row), units_log) - shift
            for row, frame_depth in enumerate(depth)
        ]
    ).astype(np.float32)
    rows, columns = sample_pixels(height, width)
    sample_depth = corrected[:, rows, columns, None] + shift
    across = sample_uv(height, width) / focal[:, None, None] * sample_depth
    points = np.concatenate([across, sample_depth - shift], axis=-1)
    return replace(prediction, world_from_camera=cameras, points_camera=points.astype(np.float32)), corrected


def onto_turns(
    prediction: WindowPrediction,
    depth: Float32[np.ndarray, "frames height width"],
    shift: float,
    focal: Float[np.ndarray, "frames"],
    turns: Turns,
) -> tuple[WindowPrediction, Float32[np.ndarray, "frames height width"], Float[np.ndarray, "frames"]]:
    """A pass and its depth maps, in network units, as a camera sees them that turns and zooms on the spot.

    `shift` is the depth shift of the pass and `focal` the focal length, in half diagonals, with which the network saw
    each of its frames. What is seen through a lens so many times as long is so many times as far away; that factor of
    every frame comes third. Cameras of frames between registered ones turn as the network's do from both sides.
    """
    factors = turns.focal[prediction.frames] / focal
    cameras = prediction.world_from_camera
    if turns.registered[prediction.frames].any():
        cameras = _measured_cameras(cameras, prediction.frames, turns, 1.0)
        # As the rest of the pipeline moves points by the shift along the axis, and the camera back by as much.
        cameras[:, :3, 3] = shift * cameras[:, :3, 2]
    points = prediction.points_camera.astype(np.float64)
    points[..., 2] = (points[..., 2] + shift) * factors[:, None] - shift
    farther = (depth + shift) * factors[:, None, None] - shift
    laid = replace(prediction, world_from_camera=cameras, points_camera=points.astype(np.float32))
    return laid, farther.astype(np.float32), factors


# --- depth -----------------------------------------------------------------------------------------------------------


def _depths(depth: Float[np.ndarray, "height width"], seen: FramePoints) -> _Depths:
    height, width = depth.shape
    pixels = seen.uv * np.hypot(width, height) / 2 + np.array([width, height]) / 2 - 0.5
    columns, rows = np.round(pixels).astype(int).clip(0, [width - 1, height - 1]).T.reshape(2, -1)
    own = depth[rows, columns].astype(np.float64)
    valid = own > 1e-6
    where = np.concatenate([seen.uv[valid], np.log(own[valid])[:, None]], axis=1)
    return _Depths(where, np.log(seen.depth[valid] / own[valid]), seen.log_error[valid])


def _nearest(shared: Sequence[_Depths], row: int) -> _Depths:
    """The depths of the frame, or of the nearest one that has some."""
    known = [k for k, part in enumerate(shared) if len(part.log_ratio) >= FRAME_DEPTHS]
    return shared[min(known, key=lambda k: abs(k - row), default=row)]


def _corrected(
    depth: Float[np.ndarray, "height width"], shared: _Depths, units_log: float
) -> Float[np.ndarray, "height width"]:
    """Depth times a factor that varies smoothly with place and depth: a Gaussian process's mean over the ratios."""
    wrong = shared.log_ratio + units_log
    used = np.flatnonzero(np.abs(wrong) < MAX_LOG)
    used = used[np.linspace(0, len(used) - 1, min(len(used), MOST_POINTS)).round().astype(int)] if len(used) else used
    if len(used) < FRAME_DEPTHS:
        return depth
    where, wrong, error = shared.where[used], wrong[used], shared.log_error[used]
    covariance = _covariance(where, where)
    noise = np.hypot(NOISE, error) ** 2
    trust = np.ones(len(used))
    for _ in range(3):  # reweighted, so that points of something else lose their say
        weights = np.linalg.solve(covariance + np.diag(noise / trust), wrong)
        trust = 1 / (1 + ((wrong - covariance @ weights) / OUTLIER) ** 2) ** 2
    return depth * np.exp(_interpolated(depth, where, weights))


def _covariance(first: np.ndarray, second: np.ndarray) -> Float[np.ndarray, "first second"]:
    squared = (((first[:, None] - second[None]) / REACH) ** 2).sum(-1)
    return VARIATION**2 * np.exp(-0.5 * squared) + FRAME_BIAS**2


def _interpolated(
    depth: Float[np.ndarray, "height width"], where: np.ndarray, weights: np.ndarray
) -> Float[np.ndarray, "height width"]:
    """The correction of every pixel, from nodes in the image and in depth."""
    height, width = depth.shape
    logs = np.log(np.maximum(depth, 1e-6))
    uv = half_diagonal_grid(height, width)
    axes = (
        np.linspace(uv[0, 0, 0], uv[0, -1, 0], GRID[0]),
        np.linspace(uv[0, 0, 1], uv[-1, 0, 1], GRID[1]),
        np.linspace(np.percentile(logs, 0.5) - 1e-3, np.percentile(logs, 99.5) + 1e-3, GRID[2]),
    )
    # What `_covariance` makes of all nodes, as the product of what it makes of each axis.
    across, down, deep = (
        np.exp(-0.5 * ((axis[:, None] - place) / reach) ** 2)
        for axis, place, reach in zip(axes, where.T, REACH, strict=True)
    )
    planes = VARIATION**2 * weights * across[:, None] * down
    values = planes @ deep.T + FRAME_BIAS**2 * weights.sum()
    places = [
        (value - axis[0]) / (axis[-1] - axis[0]) * (len(axis) - 1)
        for value, axis in zip((uv[..., 0], uv[..., 1], logs), axes, strict=True)
    ]
    return map_coordinates(values, places, order=1, mode="nearest")


# --- cameras ---------------------------------------------------------------------------------------------------------


def _measured_cameras(
    network: Float[np.ndarray, "frames 4 4"], frames: np.ndarray, measured: SparseMap | Turns, units: float
) -> Float[np.ndarray, "frames 4 4"]:
    """Cameras of the pass in the measured world and the pass's unit; those between registered ones from both sides."""
    known = np.flatnonzero(measured.registered[frames])
    mapped = measured.world_from_camera[frames].copy()
    mapped[:, :3, 3] *= units
    for row in np.flatnonzero(~measured.registered[frames]):
        after = int(np.searchsorted(known, row))
        sides = [int(known[k]) for k in (after - 1, after) if 0 <= k < len(known)]
        guesses = [mapped[side] @ np.linalg.inv(network[side]) @ network[row] for side in sides]
        share = 0.0 if len(sides) == 1 else (row - sides[0]) / (sides[1] - sides[0])
        first, last = torch.from_numpy(guesses[0]), torch.from_numpy(guesses[-1])
        mapped[row, :3, :3] = slerp(first[:3, :3], last[:3, :3], torch.tensor(share)).numpy()
        mapped[row, :3, 3] = torch.lerp(first[:3, 3], last[:3, 3], share).numpy()
    return mapped
