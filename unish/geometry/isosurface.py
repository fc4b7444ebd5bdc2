"""The surface where a field on sparse voxels is zero, as triangles.

Source: Gibson, "Constrained Elastic Surface Nets", 1998, without the relaxation: a vertex in each cell that the surface
goes through, a quad for each edge between voxels that it crosses.
"""

import itertools
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, Int64, UInt8

from unish.geometry.tsdf import SignedDistances, coordinates_of, voxel_keys

MAX_STEP = 0.9
"""Neighbouring voxels whose distances (−1..1) differ by more have no surface between them: one is in the open, the
other behind something."""
_CORNERS = np.array(list(itertools.product((0, 1), repeat=3)))
_EDGES = np.array([(a, b) for a, b in itertools.combinations(range(8), 2) if (_CORNERS[b] - _CORNERS[a]).sum() == 1
                   and (_CORNERS[b] >= _CORNERS[a]).all()])  # fmt: skip
_AROUND = np.array(list(itertools.product((-1, 0, 1), repeat=3)))
_SLIGHT = 1e-3


@dataclass(frozen=True)
class TriangleMesh:
    """Triangles with a colour at each vertex, counterclockwise as seen from outside."""

    vertices_world: Float32[np.ndarray, "vertices 3"]
    """Metres."""
    faces: Int64[np.ndarray, "faces 3"]
    colors: UInt8[np.ndarray, "vertices 3"]
    """RGB."""


def open_surface(field: SignedDistances) -> TriangleMesh:
    """The surface as it was seen: it ends where nothing is known any more, so holes stay open."""
    return _surface_nets(field, MAX_STEP)


def closed_surface(field: SignedDistances) -> TriangleMesh:
    """The surface of what lies at most a truncation behind what was seen: plates that are closed on all sides.

    Every edge has exactly two triangles. Where two of these plates would touch along an edge of the grid alone, the
    voxels between are filled.
    """
    solid = _separated(voxel_keys(field.coordinates[field.distance <= 0]))
    around = np.unique(voxel_keys(coordinates_of(solid)[:, None] + _AROUND))
    place = _find(voxel_keys(field.coordinates), around)
    distance = np.where(place >= 0, field.distance[place], 1.0) if len(field.distance) else np.ones(len(around))
    inside = np.isin(around, solid, assume_unique=True)
    distance = np.where(inside, np.minimum(distance, -_SLIGHT), np.maximum(distance, _SLIGHT))
    colors = np.where(place[:, None] >= 0, field.colors[place], 0) if len(field.colors) else np.zeros((len(around), 3))
    padded = SignedDistances(
        field.voxel_m, coordinates_of(around), distance.astype(np.float32), colors.astype(np.float32)
    )
    return _surface_nets(padded, np.inf)


def _surface_nets(field: SignedDistances, max_step: float) -> TriangleMesh:
    keys = voxel_keys(field.coordinates)
    quads, cells = [], []
    for axis in range(3):
        low, inward = _crossings(field, keys, axis, max_step)
        sides = np.eye(3, dtype=np.int64)[[(axis + 1) % 3, (axis + 2) % 3]]
        steps = np.array([-sides[0] - sides[1], -sides[1], 0 * sides[0], -sides[0]])
        corners = voxel_keys(field.coordinates[low, None] + steps)
        quads.append(np.where(inward[:, None], corners, corners[:, ::-1]))
        cells.append(corners.reshape(-1))
    cell_keys = np.unique(np.concatenate(cells))
    corner = _find(keys, voxel_keys(coordinates_of(cell_keys)[:, None] + _CORNERS))
    whole = (corner >= 0).all(1)
    cell_keys, corner = cell_keys[whole], corner[whole]
    places, colors, found = _cell_vertices(field, corner, max_step)
    vertex = _find(cell_keys, np.concatenate(quads))
    vertex = vertex[(vertex >= 0).all(1) & found[vertex].all(1)]
    vertices = ((coordinates_of(cell_keys) + places) * field.voxel_m).astype(np.float32)
    return without_unused(TriangleMesh(vertices, _triangles(vertices, vertex), np.round(colors).astype(np.uint8)))


def _crossings(
    field: SignedDistances, keys: Int64[np.ndarray, "voxels"], axis: int, max_step: float
) -> tuple[Int64[np.ndarray, "edges"], Bool[np.ndarray, "edges"]]:
    """The low ends of the edges along an axis that the surface crosses, and whether that end is inside."""
    high = _find(keys, keys + (1 << (42 - 21 * axis)))
    low = np.flatnonzero(high >= 0)
    below, above = field.distance[low], field.distance[high[low]]
    inside = np.asarray(below <= 0, bool)
    crosses = (inside != (above <= 0)) & (np.abs(below - above) <= max_step)
    return low[crosses], inside[crosses]


def _cell_vertices(
    field: SignedDistances, corner: Int64[np.ndarray, "cells 8"], max_step: float
) -> tuple[Float[np.ndarray, "cells 3"], Float[np.ndarray, "cells 3"], Bool[np.ndarray, "cells"]]:
    """The mean of the places where the surface crosses each cell's edges, in 0..1, the colour there, and whether there
    is any."""
    distance = field.distance[corner].astype(np.float64)
    first, second = distance[:, _EDGES[:, 0]], distance[:, _EDGES[:, 1]]
    crosses = ((first <= 0) != (second <= 0)) & (np.abs(first - second) <= max_step)
    share = np.where(crosses, first / np.where(crosses, first - second, 1), 0)[..., None]
    count = np.maximum(crosses.sum(1), 1)[:, None]
    ends = _CORNERS[_EDGES[:, 0]], _CORNERS[_EDGES[:, 1]]
    places = (crosses[..., None] * ((1 - share) * ends[0] + share * ends[1])).sum(1) / count
    tints = field.colors[corner]
    colored = np.any(tints, axis=-1, keepdims=True)
    colors = (tints * colored).sum(1) / np.maximum(colored.sum(1), 1)
    return places, colors, crosses.any(1)


def _triangles(
    vertices: Float32[np.ndarray, "vertices 3"], quads: Int64[np.ndarray, "quads 4"]
) -> Int64[np.ndarray, "faces 3"]:
    """Two triangles a quad, along its shorter diagonal."""
    ends = vertices[quads]
    across = [np.linalg.norm(ends[:, i] - ends[:, j], axis=-1) for i, j in ((0, 2), (1, 3))]
    turned = np.where((across[0] <= across[1])[:, None], quads, np.roll(quads, -1, axis=1))
    return np.concatenate([turned[:, [0, 1, 2]], turned[:, [0, 2, 3]]])


def without_unused(mesh: TriangleMesh) -> TriangleMesh:
    """The mesh without vertices that no triangle has."""
    used, faces = np.unique(mesh.faces, return_inverse=True)
    return TriangleMesh(mesh.vertices_world[used], faces.reshape(-1, 3).astype(np.int64), mesh.colors[used])


def _separated(solid: Int64[np.ndarray, "voxels"]) -> Int64[np.ndarray, "filled"]:
    """Voxels, with more of them where two would touch along an edge only, or where two gaps would."""
    steps = [1 << 42, 1 << 21, 1]
    solid = np.unique(solid)
    while True:
        added = []
        for b, c in itertools.combinations(steps, 2):
            # The low corner of every 2×2 square that has one of these voxels.
            square = np.unique(np.concatenate([solid, solid - b, solid - c, solid - b - c]))
            here, right, up, beyond = (np.isin(square + step, solid) for step in (0, b, c, b + c))
            added.append((square + b)[here & beyond & ~right & ~up])
            added.append(square[right & up & ~here & ~beyond])
        missing = np.concatenate(added)
        if not len(missing):
            return solid
        solid = np.union1d(solid, missing)


def _find(keys: Int64[np.ndarray, "voxels"], wanted: Int64[np.ndarray, "*shape"]) -> Int64[np.ndarray, "*shape"]:
    """Where each wanted key is among the rising `keys`; −1 where it is not."""
    if not len(keys):
        return np.full(wanted.shape, -1, np.int64)
    place = np.searchsorted(keys, wanted).clip(max=len(keys) - 1)
    return np.where(keys[place] == wanted, place, -1)
