"""Which points of a clip the viewer draws: one a voxel for what stands still, person pixels kept frame by frame."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, UInt8

from unish.structures import Reconstruction

MOVING_PER_FRAME = 4000  # person pixels kept of one frame, at most; less in a long clip, where
MOVING_SHARE = 0.6  # all frames together keep at most this share of the point budget
OVERSAMPLING = 4  # candidates looked at for each point that may be drawn
FINEST_VOXEL_M = 0.01
# A pixel is an edge where the depth of its neighbours spreads more than RANGE and bends more than BEND, both
# relative to its own depth. A slanted floor spreads and does not bend (inverse depth is linear on a plane), sensor
# noise bends and does not spread.
EDGE_RANGE = 0.08
EDGE_BEND = 0.03


@dataclass(frozen=True)
class Points:
    """Coloured points, world frame, metres; `frame` is the frame each was seen in."""

    points_world: Float[np.ndarray, "points 3"]
    colors: UInt8[np.ndarray, "points 3"]
    confidence: Float[np.ndarray, "points"]
    frame: np.ndarray

    def __len__(self) -> int:
        return len(self.points_world)

    def take(self, chosen: np.ndarray) -> "Points":
        """The points at these indices, or where this mask is true."""
        return Points(self.points_world[chosen], self.colors[chosen], self.confidence[chosen], self.frame[chosen])


def depth_edges(depth_m: Float[np.ndarray, "height width"]) -> Bool[np.ndarray, "height width"]:
    """Where a depth map steps from one surface to another, and its points float in between.

    Uses the spread of depth over the 3x3 neighbourhood together with the second difference of inverse depth, which
    is zero on every plane (the depth-edge masks of MoGe's demos, made safe for slanted floors). Missing depth
    (0 or not finite) is an edge too.
    """
    valid = np.isfinite(depth_m) & (depth_m > 0)
    depth = np.where(valid, depth_m, 1.0)
    inverse = np.where(valid, 1.0 / depth, 0.0)
    padded_depth, padded_inverse = np.pad(depth, 1, mode="edge"), np.pad(inverse, 1, mode="edge")
    height, width = depth.shape
    shifted = [padded_depth[i : i + height, j : j + width] for i in range(3) for j in range(3)]
    spread = (np.maximum.reduce(shifted) - np.minimum.reduce(shifted)) / depth
    vertical = padded_inverse[:-2, 1:-1] + padded_inverse[2:, 1:-1] - 2 * inverse
    horizontal = padded_inverse[1:-1, :-2] + padded_inverse[1:-1, 2:] - 2 * inverse
    # The border's own second difference sees its padding, not a surface.
    vertical[[0, -1]] = 0
    horizontal[:, [0, -1]] = 0
    bend = np.maximum(np.abs(vertical), np.abs(horizontal)) * depth
    return ((spread > EDGE_RANGE) & (bend > EDGE_BEND)) | ~valid


def candidate_points(reconstruction: Reconstruction, per_frame: int, moving_per_frame: int) -> tuple[Points, Points]:
    """Finite points off the depth edges: (what stands still, pixels of people), at most so many a frame each.

    The same reconstruction always gives the same points.
    """
    random = np.random.default_rng(0)
    still, moving = [], []
    for frame in range(len(reconstruction.images)):
        points = np.asarray(reconstruction.points_world(frame), np.float32)
        usable = ~depth_edges(reconstruction.depth_m[frame]) & np.isfinite(points).all(-1)
        usable &= np.isfinite(reconstruction.confidence[frame])
        person = reconstruction.person_mask[frame] > 0
        for chosen, count, into in ((usable & ~person, per_frame, still), (usable & person, moving_per_frame, moving)):
            index = np.flatnonzero(chosen)
            if len(index) > count:
                index = np.sort(random.choice(index, count, replace=False))
            into.append(
                Points(
                    points.reshape(-1, 3)[index],
                    reconstruction.images[frame].reshape(-1, 3)[index],
                    reconstruction.confidence[frame].reshape(-1)[index].astype(np.float32).clip(0, 1),
                    np.full(len(index), frame, np.int32),
                )
            )
    return _concatenate(still), _concatenate(moving)


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
    order = np.argsort(-points.confidence, kind="stable")
    points = points.take(order)
    if len(points) <= budget:
        return points
    voxel = FINEST_VOXEL_M
    chosen = _first_in_voxel(points.points_world, voxel)
    while len(chosen) > budget:
        # Points lie on surfaces: their number falls with the square of the voxel's edge.
        voxel *= max(1.02, float(np.sqrt(len(chosen) / budget)) * 0.98)
        chosen = _first_in_voxel(points.points_world, voxel)
    return points.take(chosen)


def choose_points(reconstruction: Reconstruction, max_points: int) -> tuple[Points, Points]:
    """(still, moving) points: the still ones and one frame's moving ones are together at most `max_points`.

    Still points are ordered by falling confidence; moving points by frame, and within a frame by falling confidence:
    a confidence threshold is then the length of a prefix.
    """
    frames = max(1, len(reconstruction.images))
    moving_per_frame = min(MOVING_PER_FRAME, int(max_points * MOVING_SHARE / frames))
    still, moving = candidate_points(reconstruction, max(1, max_points * OVERSAMPLING // frames), moving_per_frame)
    busiest = int(np.bincount(moving.frame, minlength=1).max())
    still = thin_by_voxel(drop_far(still), max(1, max_points - busiest))
    return still, moving.take(np.lexsort((-moving.confidence, moving.frame)))


def point_spacing(points: Points) -> float:
    """About how far apart neighbouring points lie, in metres: what a drawn point must span for surfaces to close."""
    if len(points) < 2:
        return FINEST_VOXEL_M
    extent = np.ptp(points.points_world.astype(np.float64), axis=0)
    # A voxel of this size holds many points, so that the voxels taken measure the surface.
    voxel = max(float(np.linalg.norm(extent)) / 60, FINEST_VOXEL_M)
    surface = len(_first_in_voxel(points.points_world, voxel)) * voxel**2
    return max(float(np.sqrt(surface / len(points))), 0.2 * FINEST_VOXEL_M)


def _first_in_voxel(points: Float[np.ndarray, "points 3"], voxel: float) -> np.ndarray:
    cell = np.floor((points - points.min(0)) / voxel).astype(np.int64)
    size = cell.max(0) + 1
    key = (cell[:, 0] * size[1] + cell[:, 1]) * size[2] + cell[:, 2]
    return np.sort(np.unique(key, return_index=True)[1])


def _concatenate(parts: list[Points]) -> Points:
    return Points(
        np.concatenate([part.points_world for part in parts]),
        np.concatenate([part.colors for part in parts]),
        np.concatenate([part.confidence for part in parts]),
        np.concatenate([part.frame for part in parts]),
    )
