"""Which points of a clip the viewer draws: one a voxel for what stands still, a few of each frame for what it saw."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from unish.structures import Reconstruction

MOVING_PER_FRAME = 4000  # person pixels kept of one frame, at most; less in a long clip, where
MOVING_SHARE = 0.6  # all frames together keep at most this share of the point budget
SEEN_PER_FRAME = 5000  # scene pixels kept of one frame, to draw that frame alone, at most; and
SEEN_SHARE = 1.0  # all frames together keep at most this share of the point budget, and
SEEN_AT_ONCE = 0.25  # one frame at most this one
OVERSAMPLING = 4  # candidates looked at for each point that may be drawn
FINEST_VOXEL_M = 0.01
# A pixel is an edge where the depth of its neighbours spreads more than RANGE and bends more than BEND, both
# relative to its own depth. A slanted floor spreads and does not bend (inverse depth is linear on a plane), sensor
# noise bends and does not spread.
EDGE_RANGE = 0.08
EDGE_BEND = 0.03
# A point needs this many others around it. The neighbourhood is this many samples of one frame wide at the point's own
# distance: a wall that one frame saw once puts about fifty there, a pole one sample thick seven, a floater itself.
SUPPORT = 4
SUPPORT_SAMPLES = 7.0


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
    """Leave out points with hardly any others around them.

    `centers_world` is where the camera of each frame stands, in metres; `spacing_rad` is the angle between samples of
    one frame. Points are counted in voxels that grow with the distance they were seen from, because samples of a wall
    lie apart in proportion to it: a far wall is as well supported as a near one. What is left holds at least
    `SUPPORT` other points in the 27 voxels around it.
    """
    distance = np.linalg.norm(points.points_world - centers_world[points.frame], axis=1)
    octave = np.floor(np.log2(np.maximum(distance, 1e-3))).astype(int)
    kept = np.zeros(len(points), bool)
    for level in np.unique(octave):
        here = octave == level
        voxel = SUPPORT_SAMPLES / 3 * spacing_rad * 2.0 ** (level + 0.5)
        kept[here] = _neighbours(points.points_world, here, voxel) - 1 >= SUPPORT
    return points.take(kept)


def _neighbours(points: Float[np.ndarray, "points 3"], asked: Bool[np.ndarray, "points"], voxel: float) -> np.ndarray:
    """How many of all points lie in the 3x3x3 voxels around each asked one, itself counted."""
    cell = np.floor((points - points.min(0)) / voxel).astype(np.int64) + 1
    size = cell.max(0) + 2
    key = (cell[:, 0] * size[1] + cell[:, 1]) * size[2] + cell[:, 2]
    filled, counts = np.unique(key, return_counts=True)
    wanted, back = np.unique(key[asked], return_inverse=True)
    total = np.zeros(len(wanted), np.int64)
    steps = np.arange(-1, 2)
    for offset in ((steps[:, None, None] * size[1] + steps[:, None]) * size[2] + steps).ravel():
        at = np.minimum(np.searchsorted(filled, wanted + offset), len(filled) - 1)
        total += np.where(filled[at] == wanted + offset, counts[at], 0)
    return total[back]


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
        np.concatenate([part.person for part in parts]),
    )
