"""A light mesh, left and right exactly alike: half is simplified, its borders cut clean, then mirrored."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import fast_simplification
import numpy as np
import trimesh
from scipy.spatial import cKDTree

from open_body.skeleton import MIRROR, MIRRORED_JOINTS

Field = Callable[[np.ndarray], np.ndarray]
"""Points (N,3) → (N,), zero on a clothing border, with slope about one."""
ON_PLANE_M = 1e-6
ON_BORDER_M = 1.5e-3


@dataclass(frozen=True)
class LightMesh:
    """Triangles over vertices that each lie on a dense triangle; right-hand vertices mirror left-hand ones."""

    faces: np.ndarray  # (F, 3)
    corners: np.ndarray  # (L, 3) dense vertices under each left-hand vertex
    shares: np.ndarray  # (L, 3) barycentric
    mirror_corners: np.ndarray  # (L, 3) the dense vertices on the other side
    middle: np.ndarray  # (L,) bool: on the plane x = 0
    largest_move_m: float  # farthest that simplifying took a vertex off the dense surface

    def vertices(self, dense: np.ndarray) -> np.ndarray:
        """Positions (…,V,3) from dense ones, made symmetric."""
        left = (self._blend(dense, self.corners) + self._blend(dense, self.mirror_corners) * MIRROR) / 2
        left[..., self.middle, 0] = 0.0
        return np.concatenate([left, left[..., ~self.middle, :] * MIRROR], axis=-2)

    def weights(self, dense: np.ndarray) -> np.ndarray:
        """Skinning weights (V,24), made symmetric."""
        left = (self._blend(dense, self.corners) + self._blend(dense, self.mirror_corners)[:, MIRRORED_JOINTS]) / 2
        left[self.middle] = (left[self.middle] + left[self.middle][:, MIRRORED_JOINTS]) / 2
        return np.concatenate([left, left[~self.middle][:, MIRRORED_JOINTS]])

    def plain(self, dense: np.ndarray) -> np.ndarray:
        """Values that belong to a side (texture coordinates, one finger's weight): (V, …)."""
        right = self._blend(dense, self.mirror_corners)[~self.middle]
        return np.concatenate([self._blend(dense, self.corners), right])

    def mirrored(self, vertex: int) -> int:
        """The vertex on the other side of a left-hand one."""
        return vertex if self.middle[vertex] else len(self.middle) + int((~self.middle[:vertex]).sum())

    def _blend(self, dense: np.ndarray, corners: np.ndarray) -> np.ndarray:
        if dense.ndim == 3:  # bodies first
            return np.einsum("vk,nvkc->nvc", self.shares, dense[:, corners])
        return np.einsum("vk,vk...->v...", self.shares, dense[corners])


def lighten(vertices: np.ndarray, faces: np.ndarray, face_count: int, borders: Sequence[Field]) -> LightMesh:
    """Simplify a symmetric dense mesh to about `face_count` faces whose edges run along the borders."""
    mirror = cKDTree(vertices).query(vertices * MIRROR)[1]
    half = faces[(vertices[faces][:, :, 0] >= -ON_PLANE_M).all(axis=1)]
    used, local = np.unique(half, return_inverse=True)
    dense = trimesh.Trimesh(vertices[used], local.reshape(-1, 3), process=False)
    points, light = fast_simplification.simplify(
        dense.vertices.astype(np.float32), dense.faces.astype(np.int32),
        target_reduction=1 - face_count / 2 / len(half), agg=5,
    )  # fmt: skip
    light = light.astype(np.int64)
    middle = _middle(points, light)
    _, _, moved = _settle(dense, points)
    for border in borders:
        points = _snap(_onto(dense, points, middle), light, border)
        points, light, middle = _cut(_onto(dense, points, middle), light, middle, border)
    triangles, shares, _ = _settle(dense, points)
    corners = used[dense.faces[triangles]]
    number = np.arange(len(points))
    other = np.where(middle, number, len(points) + np.cumsum(~middle) - 1)
    both = np.concatenate([light, other[light][:, ::-1]])
    return LightMesh(both, corners, shares, mirror[corners], middle, float(moved.max()))


def _settle(mesh: trimesh.Trimesh, points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The nearest point of the mesh: its triangle, barycentric coordinates, and how far it was."""
    near = cKDTree(mesh.triangles_center).query(points, k=32)[1]
    repeated = np.repeat(points.astype(float), near.shape[1], axis=0)
    closest = trimesh.triangles.closest_point(mesh.triangles[near.ravel()], repeated)
    distance = np.linalg.norm(closest - repeated, axis=1).reshape(near.shape)
    best = distance.argmin(axis=1)
    rows = np.arange(len(points))
    triangle = near[rows, best]
    closest = closest.reshape(*near.shape, 3)[rows, best]
    shares = np.clip(trimesh.triangles.points_to_barycentric(mesh.triangles[triangle], closest), 0, 1)
    return triangle, shares / shares.sum(axis=1, keepdims=True), distance[rows, best]


def _onto(mesh: trimesh.Trimesh, points: np.ndarray, middle: np.ndarray) -> np.ndarray:
    """Points moved to the mesh; those in the middle stay there."""
    flat = points.copy()
    flat[middle, 0] = 0.0
    triangles, shares, _ = _settle(mesh, flat)
    return np.einsum("vk,vkc->vc", shares, mesh.vertices[mesh.faces[triangles]])


def _middle(points: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Which vertices of the half mesh lie on the plane x = 0, also where simplifying took one off it."""
    middle = np.abs(points[:, 0]) < 1e-4
    edges = np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    unique, count = np.unique(edges, axis=0, return_counts=True)
    rim = unique[count == 1]
    beside = np.zeros(len(points), int)
    np.add.at(beside, rim[:, 0], middle[rim[:, 1]])
    np.add.at(beside, rim[:, 1], middle[rim[:, 0]])
    return middle | (beside == 2)


def _snap(points: np.ndarray, faces: np.ndarray, border: Field) -> np.ndarray:
    """Slide the nearer end of every edge that crosses the border onto it, along the surface."""
    value = border(points)
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    crossing = edges[value[edges[:, 0]] * value[edges[:, 1]] < 0]
    nearer = np.abs(value[crossing]).argmin(axis=1)
    chosen = np.unique(crossing[np.arange(len(crossing)), nearer])
    moved = points.copy()
    normals = trimesh.Trimesh(points, faces, process=False).vertex_normals
    for _ in range(3):
        here = moved[chosen]
        step = 1e-4 * np.eye(3)
        slope = np.stack([(border(here + d) - border(here - d)) / 2e-4 for d in step], axis=1)
        normal = normals[chosen]
        slope -= (slope * normal).sum(1, keepdims=True) * normal
        moved[chosen] = here - slope * (border(here) / np.maximum((slope**2).sum(1), 1e-6))[:, None]
    return _undo_flips(points, moved, faces)


def _cut(
    points: np.ndarray, faces: np.ndarray, middle: np.ndarray, border: Field
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Split the triangles that the border still crosses, so that edges follow it everywhere."""
    value = border(points)
    side = np.where(np.abs(value) < ON_BORDER_M, 0, np.sign(value)).astype(int)
    new_points, new_middle, split = list(points), list(middle), {}
    result = []

    def between(a: int, b: int) -> int:
        key = (min(a, b), max(a, b))
        if key not in split:
            share = value[a] / (value[a] - value[b])
            split[key] = len(new_points)
            new_points.append(points[a] + share * (points[b] - points[a]))
            new_middle.append(middle[a] and middle[b])
        return split[key]

    for face in faces:
        crossed = [side[face[k]] * side[face[(k + 1) % 3]] < 0 for k in range(3)]
        if not any(crossed):
            result.append(face)
            continue
        if sum(crossed) == 1:  # the border runs through the opposite vertex
            a, b, c = np.roll(face, -crossed.index(True))
            m = between(a, b)
            result += [(a, m, c), (m, b, c)]
        else:  # one vertex lies alone on its side
            a, b, c = np.roll(face, -((crossed.index(False) + 2) % 3))
            m, n = between(a, b), between(a, c)
            result += [(a, m, n), (m, b, c), (m, c, n)]
    return np.array(new_points), np.array(result), np.array(new_middle)


def _undo_flips(before: np.ndarray, after: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Put back every vertex whose move would turn a triangle over or squash it."""
    for _ in range(10):
        old, new = _area_vectors(before, faces), _area_vectors(after, faces)
        bad = (old * new).sum(1) < 0.1 * (old * old).sum(1)
        if not bad.any():
            break
        back = np.unique(faces[bad])
        after[back] = before[back]
    return after


def _area_vectors(points: np.ndarray, faces: np.ndarray) -> np.ndarray:
    a, b, c = (points[faces[:, corner]] for corner in range(3))
    return np.cross(b - a, c - a)
