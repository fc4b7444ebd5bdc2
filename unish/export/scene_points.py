"""The scene as coloured points for exporters: people left out, one point a voxel, each with the pixel that saw it."""

import dataclasses
import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Int32, UInt8

from unish.errors import InputError
from unish.geometry.clouds import depth_edges, supported, surest_of_voxels
from unish.structures import Reconstruction

MAX_POINTS = 200_000
"""How many points an export holds unless told otherwise."""
MIN_CONFIDENCE = 0.1
"""Pixels less sure than this are not to be trusted (`Reconstruction.confidence`)."""
OVERSAMPLING = 4
"""Candidates looked at for each point that may be kept."""
FARTHEST_M = 1000.0
"""What is said to be farther away is sky."""


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

    Left out are pixels of people, of the sky, of low confidence, on depth edges, and points on their own. Of the rest,
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
    confidence = np.concatenate([confidence for _, confidence in parts])
    whole = np.flatnonzero(supported(found.points_world, *_seen(reconstruction, found.frame, per_frame)))
    chosen = surest_of_voxels(found.points_world[whole], confidence[whole], max_points)
    kept = np.sort(whole[chosen])
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
    usable = ~depth_edges(depth_m) & (depth_m < FARTHEST_M) & (reconstruction.person_mask[frame] == 0)
    index = np.flatnonzero(usable.reshape(-1) & (confidence >= MIN_CONFIDENCE) & np.isfinite(points).all(-1))
    if len(index) > count:
        index = np.sort(random.choice(index, count, replace=False))
    pixel = np.stack(np.divmod(index, depth_m.shape[1]), axis=-1).astype(np.int32)
    colors = reconstruction.images[frame].reshape(-1, 3)[index]
    return ScenePoints(points[index], colors, np.full(len(index), frame, np.int32), pixel), confidence[index]


def _seen(reconstruction: Reconstruction, frame: np.ndarray, per_frame: int) -> tuple[np.ndarray, float]:
    """Where the camera stood that saw each point, and the angle between the samples of a frame, radians."""
    height, width = reconstruction.depth_m.shape[1:3]
    focal_px = float(np.median(reconstruction.cameras.intrinsics[:, 0, 0]))
    centers = np.nan_to_num(reconstruction.cameras.centers_world)
    return centers[frame], math.sqrt(max(1.0, height * width / max(1, per_frame))) / focal_px
