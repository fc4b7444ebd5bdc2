"""Depth maps fused into one truncated signed distance field, on voxels near the surfaces alone.

Source: Curless and Levoy, "A Volumetric Method for Building Complex Models from Range Images", SIGGRAPH 1996; voxels
in blocks that are allocated where depth lies: Nießner et al., "Real-time 3D Reconstruction at Scale using Voxel
Hashing", SIGGRAPH Asia 2013. Distances are to each pixel's tangent plane, which is exact on a floor seen at a slant.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, Int64, UInt8

BLOCK = 8
"""Voxels along the edge of a block."""
TRUNCATION_VOXELS = 4.0
"""Distances are cut off at so many voxels."""
NORMAL_REACH_PX = 2
"""A pixel's tangent plane is that of the points so many pixels to its sides."""
MIN_FACING = 0.05
"""Cosine of ray and normal below which a pixel counts for nothing."""
NEAREST_M = 1e-3
CHUNK_BLOCKS = 2048
"""Blocks that are looked at together: a bound on memory."""
_OFFSET = 1 << 20
"""Whole coordinates from −2²⁰ on become keys of 21 bits an axis."""


@dataclass(frozen=True)
class DepthView:
    """One depth map to be fused."""

    depth_m: Float32[np.ndarray, "height width"]
    """Along the camera's axis; 0 where nothing is known or nothing of it is wanted."""
    weight: Float32[np.ndarray, "height width"]
    """How much each pixel counts."""
    colors: UInt8[np.ndarray, "height width 3"]
    intrinsics: Float[np.ndarray, "3 3"]
    world_from_camera: Float[np.ndarray, "4 4"]


@dataclass(frozen=True)
class SignedDistances:
    """A truncated signed distance field where anything was seen of it; voxel (i, j, k) is at (i, j, k) · `voxel_m`."""

    voxel_m: float
    coordinates: Int64[np.ndarray, "voxels 3"]
    """In the order of `voxel_keys`."""
    distance: Float32[np.ndarray, "voxels"]
    """In −1..1, of the truncation; positive on the side that cameras saw the surface from."""
    colors: Float32[np.ndarray, "voxels 3"]
    """RGB in 0..255; 0 where the voxel is too far from the surface to have one."""


def voxel_keys(coordinates: Int64[np.ndarray, "*shape 3"]) -> Int64[np.ndarray, "*shape"]:
    """One number for each whole coordinate, rising lexicographically."""
    shifted = coordinates + _OFFSET
    return (shifted[..., 0] << 42) | (shifted[..., 1] << 21) | shifted[..., 2]


def coordinates_of(keys: Int64[np.ndarray, "voxels"]) -> Int64[np.ndarray, "voxels 3"]:
    """The inverse of `voxel_keys`."""
    mask = (1 << 21) - 1
    return np.stack([keys >> 42, (keys >> 21) & mask, keys & mask], axis=-1) - _OFFSET


def fuse_depth(
    view: Callable[[int], DepthView],
    frames: Sequence[int],
    voxel_m: float,
    progress: Callable[[float], None] = lambda share: None,
) -> SignedDistances:
    """Fuse the views of these frames, each asked for twice: once for where surfaces are, once for how far from them.

    World frame, metres. A view also says where nothing is: in front of what it sees. Views without a usable pixel
    count for nothing.
    """
    reach_m = TRUNCATION_VOXELS * voxel_m
    blocks = np.zeros(0, np.int64)
    for done, frame in enumerate(frames):
        blocks = np.union1d(blocks, _blocks_near(_Planes.of(view(frame)), voxel_m, reach_m))
        progress(0.3 * (done + 1) / len(frames))
    field = _Field(blocks, voxel_m, reach_m)
    for done, frame in enumerate(frames):
        field.integrate(view(frame))
        progress(0.3 + 0.7 * (done + 1) / len(frames))
    return field.distances()


@dataclass(frozen=True)
class _Planes:
    """The tangent plane of every pixel of a view, in its camera: n·x = offset, n a unit vector towards the camera."""

    view: DepthView
    points_camera: Float32[np.ndarray, "height width 3"]
    normals: Float32[np.ndarray, "height width 3"]
    weight: Float32[np.ndarray, "height width"]
    """The view's, times the cosine of ray and normal."""
    usable: Bool[np.ndarray, "height width"]

    @staticmethod
    def of(view: DepthView) -> "_Planes":
        height, width = view.depth_m.shape
        rows, columns = np.mgrid[:height, :width] + 0.5
        rays = np.stack([columns, rows, np.ones_like(rows)], -1) @ np.linalg.inv(view.intrinsics.astype(np.float64)).T
        points = (rays * view.depth_m[..., None]).astype(np.float32)
        known = view.depth_m > 0
        sides = [_slopes(points, known, axis) for axis in (0, 1)]
        normals = np.cross(sides[1][0], sides[0][0])
        length = np.linalg.norm(normals, axis=-1)
        normals = normals / np.maximum(length, 1e-12)[..., None]
        facing = -(normals * points).sum(-1) / np.maximum(np.linalg.norm(points, axis=-1), 1e-12)
        normals *= np.where(facing < 0, -1, 1)[..., None]
        facing = np.abs(facing).astype(np.float32)
        usable = known & (view.weight > 0) & sides[0][1] & sides[1][1] & (facing > MIN_FACING)
        return _Planes(view, points, normals.astype(np.float32), view.weight * facing, usable)


def _slopes(points: np.ndarray, known: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Difference of the points to both sides along an axis of the image, as far off as both are known; and where."""
    total, found = np.zeros_like(points), np.zeros_like(known)
    count = points.shape[axis]
    middle = np.arange(count)
    for reach in range(NORMAL_REACH_PX, 0, -1):
        # One-sided at the image's border.
        before, after = (middle - reach).clip(0), (middle + reach).clip(max=count - 1)
        both = known.take(before, axis) & known.take(after, axis) & ~found
        total[both] = (points.take(after, axis) - points.take(before, axis))[both]
        found |= both
    return total, found


def _blocks_near(planes: _Planes, voxel_m: float, reach_m: float) -> Int64[np.ndarray, "blocks"]:
    """Keys of the blocks that a view's surfaces and what lies within reach of them are in."""
    points, normals = planes.points_camera[planes.usable], planes.normals[planes.usable]
    pose, edge_m = planes.view.world_from_camera.astype(np.float64), BLOCK * voxel_m
    found = np.zeros(0, np.int64)
    for offset_m in np.linspace(-reach_m, reach_m, 1 + 2 * int(np.ceil(2 * reach_m / edge_m))):
        world = (points + np.float32(offset_m) * normals) @ pose[:3, :3].T + pose[:3, 3]
        cells = np.floor(world / edge_m)
        cells = cells[(np.abs(cells) < _OFFSET // BLOCK - 1).all(-1)]
        found = np.union1d(found, voxel_keys(cells.astype(np.int64)))
    return found


class _Field:
    """The sums of a field in the making."""

    def __init__(self, blocks: Int64[np.ndarray, "blocks"], voxel_m: float, reach_m: float) -> None:
        self._corners = coordinates_of(blocks) * BLOCK
        self._voxel_m, self._reach_m = voxel_m, reach_m
        self._inside = np.stack(np.meshgrid(*3 * [np.arange(BLOCK)], indexing="ij"), -1).reshape(-1, 3)
        shape = (len(blocks), BLOCK**3)
        self._weight, self._distance = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        self._color_weight, self._colors = np.zeros(shape, np.float32), np.zeros((*shape, 3), np.float32)

    def integrate(self, view: DepthView) -> None:
        planes = _Planes.of(view)
        if not planes.usable.any():
            return
        blocks = self._blocks_seen(view)
        for start in range(0, len(blocks), CHUNK_BLOCKS):
            self._integrate(planes, blocks[start : start + CHUNK_BLOCKS])

    def _integrate(self, planes: _Planes, blocks: Int64[np.ndarray, "blocks"]) -> None:
        voxel, x, row, column = self._projected(planes.view, blocks)
        usable = planes.usable[row, column]
        voxel, x, row, column = voxel[usable], x[usable], row[usable], column[usable]
        from_plane = ((x - planes.points_camera[row, column]) * planes.normals[row, column]).sum(-1)
        near = from_plane > -self._reach_m
        voxel, row, column = voxel[near], row[near], column[near]
        distance = (from_plane[near] / self._reach_m).clip(max=1)
        weight = planes.weight[row, column]
        self._weight.reshape(-1)[voxel] += weight
        self._distance.reshape(-1)[voxel] += weight * distance
        close = distance < 1
        voxel, weight = voxel[close], weight[close]
        self._color_weight.reshape(-1)[voxel] += weight
        self._colors.reshape(-1, 3)[voxel] += weight[:, None] * planes.view.colors[row[close], column[close]]

    def _blocks_seen(self, view: DepthView) -> Int64[np.ndarray, "blocks"]:
        """Those that may be in the image, neither behind the camera nor behind all that it sees."""
        height, width = view.depth_m.shape
        pose, edge_m = view.world_from_camera.astype(np.float64), BLOCK * self._voxel_m
        middles = ((self._corners + BLOCK / 2) * self._voxel_m - pose[:3, 3]) @ pose[:3, :3]
        radius_m, z = 0.5 * edge_m * np.sqrt(3), middles[:, 2]
        focal, center = view.intrinsics[[0, 1], [0, 1]], view.intrinsics[:2, 2]
        # A block's ball is outside where it lies beyond one of the image's four side planes.
        low, high = -center / focal, ([width, height] - center) / focal
        outside = (middles[:, :2] < low * z[:, None] - radius_m * np.hypot(1, low)).any(1)
        outside |= (middles[:, :2] > high * z[:, None] + radius_m * np.hypot(1, high)).any(1)
        farthest_m = view.depth_m.max() + self._reach_m / MIN_FACING
        return np.flatnonzero(~outside & (z > -radius_m) & (z < farthest_m + radius_m))

    def _projected(
        self, view: DepthView, blocks: Int64[np.ndarray, "blocks"]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """The voxels of blocks that are in the image: their indices, places in the camera, rows and columns."""
        height, width = view.depth_m.shape
        pose, intrinsics = view.world_from_camera.astype(np.float64), view.intrinsics.astype(np.float32)
        corners = (self._corners[blocks] * self._voxel_m - pose[:3, 3]) @ pose[:3, :3]
        x = (corners[:, None] + (self._inside * self._voxel_m) @ pose[:3, :3]).astype(np.float32).reshape(-1, 3)
        ahead = x[:, 2] > NEAREST_M
        depth = np.where(ahead, x[:, 2], 1)
        column = np.floor(x[:, 0] / depth * intrinsics[0, 0] + intrinsics[0, 2])
        row = np.floor(x[:, 1] / depth * intrinsics[1, 1] + intrinsics[1, 2])
        inside = ahead & (column >= 0) & (column < width) & (row >= 0) & (row < height)
        voxel = (blocks[:, None] * BLOCK**3 + np.arange(BLOCK**3)).reshape(-1)
        return voxel[inside], x[inside], row[inside].astype(np.int64), column[inside].astype(np.int64)

    def distances(self) -> SignedDistances:
        seen = self._weight > 0
        block, voxel = np.nonzero(seen)
        coordinates = self._corners[block] + self._inside[voxel]
        order = np.argsort(voxel_keys(coordinates))
        distance = self._distance[seen] / self._weight[seen]
        colors = self._colors[seen] / np.maximum(self._color_weight[seen], 1e-12)[:, None]
        return SignedDistances(self._voxel_m, coordinates[order], distance[order], colors[order])
