"""Which points of depth maps make a clean cloud: none between surfaces, none alone, one a voxel."""

import numpy as np
from jaxtyping import Bool, Float, Int

# A pixel is an edge where the depth of its neighbours spreads more than RANGE and bends more than BEND, both
# relative to its own depth. A slanted floor spreads and does not bend (inverse depth is linear on a plane), sensor
# noise bends and does not spread.
EDGE_RANGE = 0.08
EDGE_BEND = 0.03
# A point needs this many others around it. The neighbourhood is this many samples of one frame wide at the point's own
# distance: a wall that one frame saw once puts about fifty there, a pole one sample thick seven, a floater itself.
SUPPORT = 4
SUPPORT_SAMPLES = 7.0
FINEST_VOXEL_M = 0.01


def depth_edges(depth_m: Float[np.ndarray, "height width"]) -> Bool[np.ndarray, "height width"]:
    """Where a depth map steps from one surface to another, and its points float in between.

    Uses the spread of depth over the 3x3 neighbourhood together with the second difference of inverse depth, which
    is zero on every plane (the depth-edge masks of MoGe's demos, made safe for slanted floors). Missing depth
    (0 or not finite) is an edge too.
    """
    valid = np.isfinite(depth_m) & (depth_m > 0)
    depth = np.where(valid, depth_m, 1.0)
    padded = np.pad(depth, 1, mode="edge")
    height, width = depth.shape
    shifted = [padded[i : i + height, j : j + width] for i in range(3) for j in range(3)]
    spread = (np.maximum.reduce(shifted) - np.minimum.reduce(shifted)) / depth
    bend = inverse_depth_bend(depth_m)
    return ((spread > EDGE_RANGE) & (bend > EDGE_BEND)) | ~valid


def inverse_depth_bend(depth_m: Float[np.ndarray, "height width"]) -> Float[np.ndarray, "height width"]:
    """Second difference of inverse depth, the larger of both directions, relative to inverse depth; 0 on every plane.

    Missing depth (0 or not finite) counts as infinitely far.
    """
    valid = np.isfinite(depth_m) & (depth_m > 0)
    depth = np.where(valid, depth_m, 1.0)
    inverse = np.where(valid, 1.0 / depth, 0.0)
    padded = np.pad(inverse, 1, mode="edge")
    vertical = padded[:-2, 1:-1] + padded[2:, 1:-1] - 2 * inverse
    horizontal = padded[1:-1, :-2] + padded[1:-1, 2:] - 2 * inverse
    # The border's own second difference sees its padding, not a surface.
    vertical[[0, -1]] = 0
    horizontal[:, [0, -1]] = 0
    return np.maximum(np.abs(vertical), np.abs(horizontal)) * depth


def supported(
    points: Float[np.ndarray, "points 3"], seen_from: Float[np.ndarray, "points 3"], spacing_rad: float
) -> Bool[np.ndarray, "points"]:
    """Which points have others around them.

    `seen_from` is where the camera stood that saw each point; `spacing_rad` is the angle between samples of one frame.
    Points are counted in voxels that grow with the distance they were seen from, because samples of a wall lie apart in
    proportion to it: a far wall is as well supported as a near one. A point is kept that has at least `SUPPORT` others
    in the 27 voxels around it.
    """
    kept = np.zeros(len(points), bool)
    if not len(points):
        return kept
    distance = np.linalg.norm(points - seen_from, axis=1)
    octave = np.floor(np.log2(np.maximum(distance, 1e-3))).astype(int)
    for level in np.unique(octave):
        here = octave == level
        voxel = SUPPORT_SAMPLES / 3 * spacing_rad * 2.0 ** (level + 0.5)
        kept[here] = _neighbours(points, here, voxel) - 1 >= SUPPORT
    return kept


def surest_of_voxels(
    points: Float[np.ndarray, "points 3"], confidence: Float[np.ndarray, "points"], budget: int
) -> Int[np.ndarray, "kept"]:
    """Indices, by falling confidence, of the surest point of each voxel, with the finest voxels that keep within
    `budget`; of all points where they are no more than that."""
    surest_first = np.argsort(-confidence, kind="stable")
    if len(points) <= budget:
        return surest_first
    ordered, voxel = points[surest_first], FINEST_VOXEL_M
    chosen = first_of_voxels(ordered, voxel)
    while len(chosen) > budget:
        # Points lie on surfaces: their number falls with the square of the voxel's edge.
        voxel *= max(1.02, float(np.sqrt(len(chosen) / budget)) * 0.98)
        chosen = first_of_voxels(ordered, voxel)
    return surest_first[chosen]


def first_of_voxels(points: Float[np.ndarray, "points 3"], voxel: float) -> Int[np.ndarray, "voxels"]:
    """Indices, rising, of the first point in each voxel with edges of this length."""
    cell = np.floor((points - _lowest(points)) / voxel).astype(np.int64)
    size = cell.max(0) + 1
    _, first = np.unique((cell[:, 0] * size[1] + cell[:, 1]) * size[2] + cell[:, 2], return_index=True)
    return np.sort(first)


def surface_spacing(points: Float[np.ndarray, "points 3"]) -> float:
    """About how far apart neighbouring points of a surface lie: what a drawn point must span for it to close."""
    if len(points) < 2:
        return FINEST_VOXEL_M
    extent = np.ptp(points.astype(np.float64), axis=0)
    # A voxel of this size holds many points, so that the voxels taken measure the surface.
    voxel = max(float(np.linalg.norm(extent)) / 60, FINEST_VOXEL_M)
    surface = len(first_of_voxels(points, voxel)) * voxel**2
    return max(float(np.sqrt(surface / len(points))), 0.2 * FINEST_VOXEL_M)


def _lowest(points: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "3"]:
    return np.array([axis.min() for axis in points.T])  # a tenth of the time of `points.min(0)`


def _neighbours(points: Float[np.ndarray, "points 3"], asked: Bool[np.ndarray, "points"], voxel: float) -> np.ndarray:
    """How many of all points lie in the 3x3x3 voxels around each asked one, itself counted."""
    cell = np.floor((points - _lowest(points)) / voxel).astype(np.int64) + 1
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
