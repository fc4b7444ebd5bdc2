"""The scene as a mesh: the depth maps of all frames fused, people left out, what nobody saw left open."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float32, Int64, Integer
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree

from unish.errors import InputError
from unish.export.optional_packages import check_mesh
from unish.export.scene_points import FARTHEST_M, MIN_CONFIDENCE, person_pixels, scene_points
from unish.geometry.clouds import depth_edges, surface_spacing
from unish.geometry.isosurface import TriangleMesh, closed_surface, open_surface, without_unused
from unish.geometry.tsdf import DepthView, SignedDistances, fuse_depth
from unish.structures import Reconstruction
from unish.utils.disk_arrays import release_pages

MAX_TRIANGLES, MAX_COLLISION_TRIANGLES = 200_000, 50_000
FINEST_VOXEL_M, FINEST_COLLISION_VOXEL_M = 0.02, 0.04
OVERSAMPLING = 4
"""Triangles before decimation for each that may be kept."""
MAX_FRAMES = 150
"""Of longer clips so many frames, evenly spread, are fused."""
COINCIDENT_M = 1e-5
SMALLEST_PIECE_M2 = 0.02
"""Pieces of surface smaller than this float."""
SURFACE_SAMPLES = 20_000
_TRIANGLES_PER_VOXEL_FACE, _CLOSED_TRIANGLES_PER_VOXEL_FACE = 2.8, 6.5
"""Measured: triangles that a surface of the area of a voxel's face has, open and as a closed plate."""

Report = Callable[[float], None]


def scene_mesh(
    reconstruction: Reconstruction, max_triangles: int = MAX_TRIANGLES, progress: Report = lambda share: None
) -> TriangleMesh:
    """The scene's surface in at most `max_triangles` (0: none), world frame, metres; the same for the same result.

    Voxels are as fine as the budget lets them be and at least 2 cm; then edges are collapsed by quadric error (Garland
    and Heckbert 1997), and vertices take the colour of the nearest one before. A mesh without triangles where the
    result shows no scene. Raises `InputError` for a negative budget, `MissingDependencyError` without the package
    fast-simplification.
    """
    check_mesh()
    area_m2 = _area_m2(reconstruction, max_triangles)
    if not area_m2:
        return _NOTHING
    voxel_m = np.sqrt(_TRIANGLES_PER_VOXEL_FACE * area_m2 / (OVERSAMPLING * max_triangles))
    distances = _fused(reconstruction, max(float(voxel_m), FINEST_VOXEL_M), lambda share: progress(0.9 * share))
    mesh = _simplified(_without_small_pieces(open_surface(distances)), max_triangles)
    progress(1.0)
    return mesh


@dataclass(frozen=True)
class SharedSceneMesh:
    """`scene_mesh` of a result for several files: made for the first that asks, and kept for the others."""

    reconstruction: Reconstruction
    max_triangles: int | None = None
    """None: `MAX_TRIANGLES`."""
    _made: list[TriangleMesh] = field(default_factory=list, init=False, repr=False, compare=False)

    def mesh(self, progress: Report = lambda share: None) -> TriangleMesh:
        """The mesh, with `scene_mesh`'s errors; `progress` as there."""
        if not self._made:
            budget = MAX_TRIANGLES if self.max_triangles is None else self.max_triangles
            self._made.append(scene_mesh(self.reconstruction, budget, progress))
        progress(1.0)
        return self._made[0]


def collision_mesh(
    reconstruction: Reconstruction,
    max_triangles: int = MAX_COLLISION_TRIANGLES,
    progress: Report = lambda share: None,
) -> TriangleMesh:
    """The scene as closed plates for physics, in at most `max_triangles`: every edge has exactly two triangles.

    The plates' fronts are the surface, their backs a few voxels behind it. Voxels are as fine as the budget lets them
    be and at least 4 cm. Raises `InputError` for a negative budget.
    """
    area_m2 = _area_m2(reconstruction, max_triangles)
    if not area_m2:
        return _NOTHING
    voxel_m = np.sqrt(_CLOSED_TRIANGLES_PER_VOXEL_FACE * area_m2 / max_triangles)
    voxel_m = max(float(voxel_m), FINEST_COLLISION_VOXEL_M)
    while True:
        mesh = _without_small_pieces(closed_surface(_fused(reconstruction, voxel_m, progress)))
        if len(mesh.faces) <= max_triangles:
            return mesh
        voxel_m *= 1.05 * float(np.sqrt(len(mesh.faces) / max_triangles))


_NOTHING = TriangleMesh(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int64), np.zeros((0, 3), np.uint8))


def _area_m2(reconstruction: Reconstruction, max_triangles: int) -> float:
    """About how large the surface is that the clip shows; 0 where there is none, or none is wanted."""
    if max_triangles < 0:
        raise InputError(f"Expected a number of triangles of 0 or more, got {max_triangles}; 0 leaves the mesh out.")
    points = scene_points(reconstruction, SURFACE_SAMPLES if max_triangles else 0).points_world
    return surface_spacing(points) ** 2 * len(points)


def _fused(reconstruction: Reconstruction, voxel_m: float, progress: Report) -> SignedDistances:
    count = len(reconstruction)
    frames = np.unique(np.linspace(0, count - 1, min(count, MAX_FRAMES)).round().astype(int)).tolist()

    def view(frame: int) -> DepthView:
        seen = DepthView(
            depth_m=np.where(scene_pixels(reconstruction, frame), reconstruction.depth_m[frame], 0).astype(np.float32),
            weight=np.nan_to_num(np.asarray(reconstruction.confidence[frame], np.float32)).clip(0, 1),
            colors=np.asarray(reconstruction.images[frame]),
            intrinsics=reconstruction.cameras.intrinsics[frame],
            world_from_camera=reconstruction.cameras.world_from_camera[frame],
        )
        release_pages(reconstruction.images, reconstruction.depth_m, reconstruction.confidence)
        return seen

    return fuse_depth(view, frames, voxel_m, progress)


def scene_pixels(reconstruction: Reconstruction, frame: int) -> Bool[np.ndarray, "height width"]:
    """Pixels of a frame that lie on a trusted surface of the scene, away from people and depth edges."""
    depth_m = reconstruction.depth_m[frame]
    trusted = np.asarray(reconstruction.confidence[frame]) >= MIN_CONFIDENCE  # false where it is not a number
    near = np.isfinite(depth_m) & (depth_m > 0) & (depth_m < FARTHEST_M)
    return trusted & near & ~depth_edges(depth_m) & ~person_pixels(reconstruction, frame)


def _without_small_pieces(mesh: TriangleMesh) -> TriangleMesh:
    """Without connected pieces of less than `SMALLEST_PIECE_M2`."""
    if not len(mesh.faces):
        return mesh
    corners = mesh.vertices_world[mesh.faces].astype(np.float64)
    areas = 0.5 * np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=-1)
    edges = np.concatenate([mesh.faces[:, [0, 1]], mesh.faces[:, [1, 2]]])
    count = len(mesh.vertices_world)
    graph = coo_array((np.ones(len(edges), np.int8), (edges[:, 0], edges[:, 1])), shape=(count, count))
    piece = connected_components(graph, directed=False)[1][mesh.faces[:, 0]]
    large = np.bincount(piece, areas)[piece] >= SMALLEST_PIECE_M2
    return without_unused(TriangleMesh(mesh.vertices_world, mesh.faces[large], mesh.colors))


def _simplified(mesh: TriangleMesh, max_triangles: int) -> TriangleMesh:
    import fast_simplification

    if len(mesh.faces) <= max_triangles:
        return mesh
    made = fast_simplification.simplify(mesh.vertices_world, mesh.faces.astype(np.int32), target_count=max_triangles)
    vertices, faces = np.asarray(made[0], np.float32), np.asarray(made[1], np.int64)[:max_triangles]
    nearest = KDTree(mesh.vertices_world).query(vertices)[1]
    faces = _distinct(_welded(vertices)[faces])
    return without_unused(TriangleMesh(vertices, faces, mesh.colors[nearest]))


def _welded(vertices: Float32[np.ndarray, "vertices 3"]) -> Int64[np.ndarray, "vertices"]:
    """For each vertex one for all that lie where it lies: collapsed edges leave pairs of them, and slivers between."""
    pairs = KDTree(vertices).query_pairs(COINCIDENT_M, output_type="ndarray")
    count = len(vertices)
    graph = coo_array((np.ones(len(pairs), np.int8), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    cluster = connected_components(graph, directed=False)[1]
    return np.unique(cluster, return_index=True)[1][cluster].astype(np.int64)


def _distinct(faces: Integer[np.ndarray, "faces 3"]) -> Integer[np.ndarray, "kept 3"]:
    """Without triangles that have collapsed or come twice, which importers throw away as errors."""
    corners = np.sort(faces, axis=1)
    first = np.unique(corners, axis=0, return_index=True)[1]
    kept = np.zeros(len(faces), bool)
    kept[first] = True
    return faces[kept & (np.diff(corners, axis=1) > 0).all(1)]
