"""The scene as coloured points for exporters: people left out, one point a voxel, each with the pixel that saw it."""

import dataclasses
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, Int32, UInt8
from scipy.ndimage import maximum_filter, minimum_filter

from unish.errors import InputError
from unish.structures import Reconstruction

MAX_POINTS = 200_000
"""How many points an export holds unless told otherwise."""
MIN_CONFIDENCE = 0.1
"""Pixels less sure than this are not to be trusted (`Reconstruction.confidence`)."""
OVERSAMPLING = 4
"""Candidates looked at for each point that may be kept."""
FINEST_VOXEL_M = 0.01
EDGE_RANGE, EDGE_BEND = 0.08, 0.03
"""A pixel floats between two surfaces where the depths around it spread by more than the first share of its own, and
inverse depth bends by more than the second: a slanted plane spreads and does not bend, noise bends and does not spread
(the depth-edge masks of MoGe's demos, made safe for slanted floors)."""
FARTHEST_M = 1000.0
"""What is said to be farther away is sky."""
_CELLS = 2**21
"""Voxels along an axis: 20 km of the finest."""


@dataclass(frozen=True)
class ScenePoints:
    """Points of the scene, world frame, metres, in the order of their frames and pixels."""

    points_world: Float32[np.ndarray, "points 3"]
    colors: UInt8[np.ndarray, "points 3"]
    """RGB of the pixel, sRGB as the image holds it."""
    frame: Int32[np.ndarray, "points"]
    """The frame that saw the point."""
    pixel: Int32[np.ndarray, "points 2"]
    """(row, column) of `Reconstruction.images` there; the point lies on the ray of the pixel's centre."""

    def __len__(self) -> int:
        return len(self.points_world)


def scene_points(reconstruction: Reconstruction, max_points: int = MAX_POINTS) -> ScenePoints:
    """At most `max_points` points that the clip saw of its scene; the same result always gives the same points.

    Left out are pixels of people, of the sky, of low confidence and on depth edges. Of the rest,
    `OVERSAMPLING · max_points` are drawn by lot, as many of each frame, and the surest of each voxel is kept, voxels
    being as fine as the budget allows and never finer than a centimetre. Raises `InputError` for a negative budget.
    """
    if max_points < 0:
        raise InputError(f"Expected a number of points of 0 or more, got {max_points}; 0 leaves the scene out.")
    frames = len(reconstruction)
    per_frame = -(-OVERSAMPLING * max_points // max(1, frames))
    random = np.random.default_rng(0)
    parts = [_candidates(reconstruction, frame, per_frame, random) for frame in range(frames)]
    if not parts or max_points == 0:
        return _NOTHING
    found = ScenePoints(*(np.concatenate([getattr(points, name) for points, _ in parts]) for name in _FIELDS))
    kept = _thinned(found.points_world, np.concatenate([confidence for _, confidence in parts]), max_points)
    return ScenePoints(found.points_world[kept], found.colors[kept], found.frame[kept], found.pixel[kept])


_FIELDS = tuple(field.name for field in dataclasses.fields(ScenePoints))
_NOTHING = ScenePoints(
    np.zeros((0, 3), np.float32), np.zeros((0, 3), np.uint8), np.zeros(0, np.int32), np.zeros((0, 2), np.int32)
)


def _candidates(
    reconstruction: Reconstruction, frame: int, count: int, random: np.random.Generator
) -> tuple[ScenePoints, Float[np.ndarray, "points"]]:
    """Points of one frame that may be kept, row by row, and how sure they are."""
    points = np.asarray(reconstruction.points_world(frame), np.float32).reshape(-1, 3)
    confidence = np.asarray(reconstruction.confidence[frame]).reshape(-1)
    depth_m = np.asarray(reconstruction.depth_m[frame])
    usable = ~_floating(depth_m) & (depth_m < FARTHEST_M) & (reconstruction.person_mask[frame] == 0)
    index = np.flatnonzero(usable.reshape(-1) & (confidence >= MIN_CONFIDENCE) & np.isfinite(points).all(-1))
    if len(index) > count:
        index = np.sort(random.choice(index, count, replace=False))
    pixel = np.stack(np.divmod(index, depth_m.shape[1]), axis=-1).astype(np.int32)
    colors = reconstruction.images[frame].reshape(-1, 3)[index]
    return ScenePoints(points[index], colors, np.full(len(index), frame, np.int32), pixel), confidence[index]


def _floating(depth_m: Float[np.ndarray, "height width"]) -> Bool[np.ndarray, "height width"]:
    """Where there is no depth, or where it steps from one surface to another."""
    valid = np.isfinite(depth_m) & (depth_m > 0)
    depth = np.where(valid, depth_m, 1.0)
    spread = (maximum_filter(depth, 3, mode="nearest") - minimum_filter(depth, 3, mode="nearest")) / depth
    inverse = np.where(valid, 1 / depth, 0.0)
    bend = np.zeros(depth.shape)
    bend[1:-1] = np.abs(np.diff(inverse, 2, axis=0))
    bend[:, 1:-1] = np.maximum(bend[:, 1:-1], np.abs(np.diff(inverse, 2, axis=1)))
    return ~valid | ((spread > EDGE_RANGE) & (bend * depth > EDGE_BEND))


def _thinned(
    points_world: Float32[np.ndarray, "points 3"], confidence: Float[np.ndarray, "points"], budget: int
) -> Int[np.ndarray, "kept"]:
    """Indices, rising, of the surest point of each voxel, with the finest voxels that keep within `budget`."""
    surest_first = np.argsort(-confidence, kind="stable")
    voxel_m = FINEST_VOXEL_M
    if not len(confidence):
        return surest_first
    kept = surest_first[_first_of_each_cell(points_world[surest_first], voxel_m)]
    while len(kept) > budget:
        # Points lie on surfaces: their number falls with the square of the voxel's edge.
        voxel_m *= max(1.02, 0.98 * float(np.sqrt(len(kept) / budget)))
        kept = surest_first[_first_of_each_cell(points_world[surest_first], voxel_m)]
    return np.sort(kept)


def _first_of_each_cell(points_world: Float32[np.ndarray, "points 3"], voxel_m: float) -> Int[np.ndarray, "cells"]:
    cell = np.floor((points_world - points_world.min(0)) / voxel_m).astype(np.int64).clip(max=_CELLS - 1)
    return np.unique((cell[:, 0] * _CELLS + cell[:, 1]) * _CELLS + cell[:, 2], return_index=True)[1]
