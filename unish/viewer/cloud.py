"""Which points of a clip the viewer draws: one per voxel for the static scene, a few per frame for the people."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8
from scipy.spatial import KDTree

from unish.analysis.point_cloud import OVERSAMPLING, FramePixels, PointCloud, supported_points
from unish.geometry.clouds import surest_of_voxels
from unish.structures import Reconstruction

MOVING_PER_FRAME = 2000  # person pixels kept per frame, at most; fewer in a long clip, where
SPAN_STEPS, SPAN_NEIGHBOURS = 64, 4
MOVING_SHARE = 0.3  # all frames together keep at most this share of the point budget


@dataclass(frozen=True)
class Clouds:
    """What is drawn of a clip as points: `still` is the scene as all frames together saw it, by falling confidence;
    `moving` are pixels of people, by frame and then by falling confidence. A confidence threshold is then the length
    of a prefix (of a frame's points)."""

    still: PointCloud
    moving: PointCloud


def choose_points(reconstruction: Reconstruction, max_points: int) -> Clouds:
    """The points to draw: the still ones and one frame's moving ones are together at most `max_points`.

    The same result always gives the same points.
    """
    frames = max(1, len(reconstruction.images))
    per_frame = max(1, max_points * OVERSAMPLING // frames)
    moving_per_frame = min(MOVING_PER_FRAME, int(max_points * MOVING_SHARE / frames))
    candidates = candidate_points(reconstruction, per_frame, moving_per_frame)
    busiest = int(np.bincount(candidates.moving.frame, minlength=1).max())
    still = drop_far(candidates.still)
    still = still.take(supported_points(still, reconstruction, per_frame))
    still = still.take(surest_of_voxels(still.points_world, still.confidence, max(1, max_points - busiest)))
    return Clouds(still, by_frame(candidates.moving))


def candidate_points(reconstruction: Reconstruction, per_frame: int, moving_per_frame: int) -> Clouds:
    """Points on surfaces, at most so many per frame each, at random so that overlapping frames show no pattern."""
    random = np.random.default_rng(0)
    still, moving = [], []
    for frame in range(len(reconstruction.images)):
        pixels = FramePixels.of(reconstruction, frame)
        still.append(pixels.draw(pixels.surface & (pixels.person == 0), per_frame, random))
        moving.append(pixels.draw(pixels.surface & (pixels.person > 0), moving_per_frame, random))
    return Clouds(PointCloud.concatenate(still), PointCloud.concatenate(moving))


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


def point_spans(points: Float[np.ndarray, "points 3"], spacing_m: float) -> UInt8[np.ndarray, "points"]:
    """How far apart points lie around each, for the size at which it is drawn: `SPAN_STEPS` is `spacing_m`."""
    if len(points) <= SPAN_NEIGHBOURS:
        return np.full(len(points), SPAN_STEPS, np.uint8)
    distance, _ = KDTree(points).query(points, k=SPAN_NEIGHBOURS + 1)
    relative = np.asarray(distance)[:, 1:].mean(1) / spacing_m
    return np.round(SPAN_STEPS * relative.clip(0.35, 2.5)).astype(np.uint8)
