"""Which points of a clip the viewer draws: one per voxel for the static scene, a few per frame for what it saw."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from unish.analysis.point_cloud import (
    OVERSAMPLING,
    FramePixels,
    PointCloud,
    median_focal_px,
    sample_step_px,
    supported_points,
)
from unish.geometry.clouds import surest_of_voxels
from unish.structures import Reconstruction

MOVING_PER_FRAME = 4000  # person pixels kept per frame, at most; fewer in a long clip, where
MOVING_SHARE = 0.6  # all frames together keep at most this share of the point budget
SEEN_PER_FRAME = 5000  # scene pixels kept per frame, to draw that frame alone, at most; and
SEEN_SHARE = 1.0  # all frames together keep at most this share of the point budget, and
SEEN_AT_ONCE = 0.25  # one frame at most this one


@dataclass(frozen=True)
class Clouds:
    """What is drawn of a clip: `still` is the scene as all frames together saw it, by falling confidence; `moving` are
    pixels of people and `seen` pixels of the scene, by frame and then by falling confidence. A confidence threshold is
    then the length of a prefix (of a frame's points)."""

    still: PointCloud
    moving: PointCloud
    seen: PointCloud
    seen_spacing_rad: float
    """Angle between neighbouring points of `seen`, from the camera of their frame."""


def choose_points(reconstruction: Reconstruction, max_points: int) -> Clouds:
    """The points to draw: the still ones and one frame's moving and seen ones are together at most `max_points`.

    The same result always gives the same points.
    """
    frames = max(1, len(reconstruction.images))
    per_frame = max(1, max_points * OVERSAMPLING // frames)
    candidates = candidate_points(
        reconstruction,
        per_frame,
        min(MOVING_PER_FRAME, int(max_points * MOVING_SHARE / frames)),
        min(SEEN_PER_FRAME, int(max_points * min(SEEN_AT_ONCE, SEEN_SHARE / frames))),
    )
    moving, seen = candidates.moving, candidates.seen
    busiest = sum(int(np.bincount(points.frame, minlength=1).max()) for points in (moving, seen))
    still = drop_far(candidates.still)
    still = still.take(supported_points(still, reconstruction, per_frame))
    still = still.take(surest_of_voxels(still.points_world, still.confidence, max(1, max_points - busiest)))
    return Clouds(still, by_frame(moving), by_frame(seen), candidates.seen_spacing_rad)


def candidate_points(
    reconstruction: Reconstruction, per_frame: int, moving_per_frame: int, seen_per_frame: int
) -> Clouds:
    """Points on surfaces, at most so many per frame each.

    Pixels of `seen` lie on a regular grid, which closes surfaces best as seen from the frame's own camera; the others
    are drawn at random, so that no pattern is left where frames overlap.
    """
    random = np.random.default_rng(0)
    still, moving, seen = [], [], []
    height, width = reconstruction.depth_m.shape[1:3]
    grid = _pixel_grid(height, width, seen_per_frame)
    for frame in range(len(reconstruction.images)):
        pixels = FramePixels.of(reconstruction, frame)
        scene, people = pixels.surface & (pixels.person == 0), pixels.surface & (pixels.person > 0)
        still.append(pixels.draw(scene, per_frame, random))
        moving.append(pixels.draw(people, moving_per_frame, random))
        seen.append(pixels.draw(scene & grid, seen_per_frame, random))
    # Rows of the grid are whole pixels apart: sometimes less, sometimes more than the step. Points must close the
    # widest gap.
    spacing_rad = math.ceil(sample_step_px(height, width, seen_per_frame)) / median_focal_px(reconstruction)
    join = PointCloud.concatenate
    return Clouds(join(still), join(moving), join(seen), spacing_rad)


def by_frame(points: PointCloud) -> PointCloud:
    """The same points by frame, and within a frame by falling confidence."""
    return points.take(np.lexsort((-points.confidence, points.frame)))


def drop_far(points: PointCloud) -> PointCloud:
    """Leave out what lies far outside the bulk of the cloud (sky, unbounded background)."""
    if len(points) < 10:
        return points
    low, high = np.percentile(points.points_world[:: len(points) // 50_000 + 1], [2, 98], axis=0)
    margin = 0.5 * (high - low) + 0.5
    inside = (points.points_world >= low - margin) & (points.points_world <= high + margin)
    return points.take(inside.all(-1))


def _pixel_grid(height: int, width: int, count: int) -> Bool[np.ndarray, "height width"]:
    """About `count` pixels, evenly spread over an image."""
    step = sample_step_px(height, width, count)
    grid = np.zeros((height, width), bool)
    rows, columns = (np.arange(0.5 * step, size, step).astype(int) for size in (height, width))
    grid[np.ix_(rows, columns)] = True
    return grid
