"""Which points of a clip the viewer draws: one a voxel for what stands still, a few of each frame for what it saw."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from unish.geometry.clouds import depth_edges, supported, surest_of_voxels
from unish.structures import Reconstruction

MOVING_PER_FRAME = 4000  # person pixels kept of one frame, at most; less in a long clip, where
MOVING_SHARE = 0.6  # all frames together keep at most this share of the point budget
SEEN_PER_FRAME = 5000  # scene pixels kept of one frame, to draw that frame alone, at most; and
SEEN_SHARE = 1.0  # all frames together keep at most this share of the point budget, and
SEEN_AT_ONCE = 0.25  # one frame at most this one
OVERSAMPLING = 4  # candidates looked at for each point that may be drawn


@dataclass(frozen=True)
class Points:
    """Coloured points, world frame, metres; `frame` is the frame each was seen in, `person` 0 for the scene."""

    points_world: Float[np.ndarray, "points 3"]
    colors: UInt8[np.ndarray, "points 3"]
    confidence: Float[np.ndarray, "points"]
    frame: Int[np.ndarray, "points"]
    person: UInt8[np.ndarray, "points"]

    def __len__(self) -> int:
        return len(self.points_world)

    def take(self, chosen: np.ndarray) -> "Points":
        """The points at these indices, or where this mask is true."""
        return Points(
            self.points_world[chosen],
            self.colors[chosen],
            self.confidence[chosen],
            self.frame[chosen],
            self.person[chosen],
        )

    def frame_by_frame(self) -> "Points":
        """The same points by frame, and within a frame by falling confidence."""
        return self.take(np.lexsort((-self.confidence, self.frame)))


@dataclass(frozen=True)
class Clouds:
    """What is drawn of a clip: `still` is the scene as all frames together saw it, by falling confidence; `moving` are
    pixels of people and `seen` pixels of the scene, frame by frame. A confidence threshold is then the length of a
    prefix (of a frame's points)."""

    still: Points
    moving: Points
    seen: Points
    seen_spacing_rad: float
    """Angle between neighbouring points of `seen`, from the camera of their frame."""


def candidate_points(
    reconstruction: Reconstruction, per_frame: int, moving_per_frame: int, seen_per_frame: int
) -> Clouds:
    """Finite points off the depth edges, at most so many a frame each; the same result always gives the same points.

    Pixels of `seen` lie on a regular grid, which closes surfaces best as seen from the frame's own camera; the others
    are drawn by lot, so that no pattern is left where frames overlap.
    """
    random = np.random.default_rng(0)
    still, moving, seen = [], [], []
    height, width = reconstruction.depth_m.shape[1:3]
    grid = _pixel_grid(height, width, seen_per_frame)
    for frame in range(len(reconstruction.images)):
        points = np.asarray(reconstruction.points_world(frame), np.float32)
        usable = ~depth_edges(reconstruction.depth_m[frame]) & np.isfinite(points).all(-1)
        usable &= np.isfinite(reconstruction.confidence[frame])
        person = reconstruction.person_mask[frame] > 0
        parts = (
            (usable & ~person, per_frame, still),
            (usable & person, moving_per_frame, moving),
            (usable & ~person & grid, seen_per_frame, seen),
        )
        for chosen, count, into in parts:
            index = np.flatnonzero(chosen)
            if len(index) > count:
                index = np.sort(random.choice(index, count, replace=False))
            into.append(
                Points(
                    points.reshape(-1, 3)[index],
                    reconstruction.images[frame].reshape(-1, 3)[index],
                    reconstruction.confidence[frame].reshape(-1)[index].astype(np.float32).clip(0, 1),
                    np.full(len(index), frame, np.int32),
                    reconstruction.person_mask[frame].reshape(-1)[index].astype(np.uint8),
                )
            )
    # Rows of the grid are whole pixels apart: now less, now more than the step. Points must close the widest gap.
    spacing_rad = math.ceil(_grid_step(height, width, seen_per_frame)) / _focal_px(reconstruction)
    return Clouds(_concatenate(still), _concatenate(moving), _concatenate(seen), spacing_rad)


def _pixel_grid(height: int, width: int, count: int) -> Bool[np.ndarray, "height width"]:
    """About `count` pixels, evenly spread over a picture: true at every so many-th row and column."""
    step = _grid_step(height, width, count)
    grid = np.zeros((height, width), bool)
    rows, columns = (np.arange(0.5 * step, size, step).astype(int) for size in (height, width))
    grid[np.ix_(rows, columns)] = True
    return grid


def drop_floaters(points: Points, centers_world: Float[np.ndarray, "frames 3"], spacing_rad: float) -> Points:
    """Leave out points with hardly any others around them (see `supported`).

    `centers_world` is where the camera of each frame stands, in metres; `spacing_rad` is the angle between samples of
    one frame.
    """
    return points.take(supported(points.points_world, centers_world[points.frame], spacing_rad))


def drop_far(points: Points) -> Points:
    """Leave out what lies far outside the bulk of the cloud (sky, unbounded background)."""
    if len(points) < 10:
        return points
    low, high = np.percentile(points.points_world[:: len(points) // 50_000 + 1], [2, 98], axis=0)
    margin = 0.5 * (high - low) + 0.5
    inside = (points.points_world >= low - margin) & (points.points_world <= high + margin)
    return points.take(inside.all(-1))


def thin_by_voxel(points: Points, budget: int) -> Points:
    """The most confident point of each voxel, with the finest voxels that keep the count within `budget`."""
    return points.take(surest_of_voxels(points.points_world, points.confidence, budget))


def choose_points(reconstruction: Reconstruction, max_points: int) -> Clouds:
    """The points to draw: the still ones and one frame's moving and seen ones are together at most `max_points`."""
    frames = max(1, len(reconstruction.images))
    per_frame = max(1, max_points * OVERSAMPLING // frames)
    found = candidate_points(
        reconstruction,
        per_frame,
        min(MOVING_PER_FRAME, int(max_points * MOVING_SHARE / frames)),
        min(SEEN_PER_FRAME, int(max_points * min(SEEN_AT_ONCE, SEEN_SHARE / frames))),
    )
    busiest = sum(int(np.bincount(points.frame, minlength=1).max()) for points in (found.moving, found.seen))
    still = drop_far(found.still)
    if len(still):
        centers = np.nan_to_num(reconstruction.cameras.centers_world)
        still = drop_floaters(still, centers, _sample_spacing(reconstruction, per_frame))
    still = thin_by_voxel(still, max(1, max_points - busiest))
    return Clouds(still, found.moving.frame_by_frame(), found.seen.frame_by_frame(), found.seen_spacing_rad)


def _grid_step(height: int, width: int, count: int) -> float:
    """Pixels from one sample of a picture to the next, when `count` of them are taken."""
    return math.sqrt(max(1.0, height * width / max(1, count)))


def _focal_px(reconstruction: Reconstruction) -> float:
    return float(np.median(reconstruction.cameras.intrinsics[:, 0, 0]))


def _sample_spacing(reconstruction: Reconstruction, per_frame: int) -> float:
    """Mean angle between neighbouring samples of one frame, radians, when `per_frame` of its pixels are taken."""
    height, width = reconstruction.depth_m.shape[1:3]
    return _grid_step(height, width, per_frame) / _focal_px(reconstruction)


def _concatenate(parts: list[Points]) -> Points:
    return Points(
        np.concatenate([part.points_world for part in parts]),
        np.concatenate([part.colors for part in parts]),
        np.concatenate([part.confidence for part in parts]),
        np.concatenate([part.frame for part in parts]),
        np.concatenate([part.person for part in parts]),
    )
