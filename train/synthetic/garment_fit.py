"""Carries a MakeHuman garment to the open body: its place on the T-pose, what it hides, and its pieces of cloth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix, diags
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree

from train.synthetic.base_mesh import BaseMesh
from train.synthetic.garment_files import GarmentFitting, ObjMesh, hang, read_obj
from train.synthetic.raster import vertex_normals
from unish.body import BodyModel
from unish.errors import InputError

CLOTHES, SHOES, HAIR, HAT = "clothes", "shoes", "hair", "hat"
_SHOE_TOP_M, _HEAD_M = 0.5, 0.35
_OFF_SKIN_M, _COVER_M = 0.006, 0.03
_LEGS = (0, 1, 2, 4, 5)
_FEWEST_OF_HAIR = 20
"""Hair comes with loose cards of a few vertices, which need a transparent texture: they are left out."""


@dataclass(frozen=True)
class Garment:
    """One piece on the open body, in its T-pose, metres.

    `template` (G,3), `shape_directions` (G,3,10), `weights` (G,24), `faces` (F,3); for drawing, `corners` (R,) are the
    vertices with one copy for each of its texture coordinates `texture` (R,2) in metres, and `drawn_faces` (F,3) name
    those; `zones` (F,) number the pieces of cloth. Of the body's vertices (V,), those are `covered` that have cloth
    right above them, and those `hidden` that can be left out because all around them are covered too.
    """

    name: str
    kind: str
    template: np.ndarray
    shape_directions: np.ndarray
    weights: np.ndarray
    faces: np.ndarray
    corners: np.ndarray
    texture: np.ndarray
    drawn_faces: np.ndarray
    zones: np.ndarray
    covered: np.ndarray
    hidden: np.ndarray


def carry(fitting: GarmentFitting, base: BaseMesh, body: BodyModel, is_hair: bool) -> Garment:
    """A garment of the base mesh on the open body's T-pose.

    Raises:
        InputError: its mesh has another number of vertices than its fitting.
    """
    mesh = read_obj(fitting.obj)
    if len(mesh.vertices) != len(fitting.anchors):
        raise InputError(
            f"{fitting.obj} should have the {len(fitting.anchors)} vertices of {fitting.name}.mhclo, "
            f"got {len(mesh.vertices)}. Remove both."
        )
    on_base = hang(fitting, base.vertices)

    def mixed(values: np.ndarray) -> np.ndarray:
        shares = fitting.shares.reshape(*fitting.shares.shape, *[1] * (values.ndim - 1))
        return (shares * values[fitting.anchors]).sum(1)

    weights = np.maximum(mixed(base.weights), 0)
    weights /= weights.sum(1, keepdims=True)
    template = base.to_tpose(on_base, weights, mixed(base.residual))
    above_floor = template[:, 1] - float(body.template[:, 1].min())
    top = float(body.template[:, 1].max() - body.template[:, 1].min())
    kind = HAIR if is_hair else SHOES if above_floor.max() < _SHOE_TOP_M else CLOTHES
    if kind == CLOTHES and above_floor.min() > top - _HEAD_M:
        kind = HAT
    pieces = _pieces(mesh.faces, len(template))
    kept = np.bincount(pieces)[pieces[mesh.faces[:, 0]]] >= (_FEWEST_OF_HAIR if kind == HAIR else 0)
    faces, uv_faces = mesh.faces[kept], mesh.uv_faces[kept]
    near = _BodySurface.of(body)
    hidden = np.isin(base.nearest, fitting.hidden)
    faces, flipped = near.outward(template, faces)
    uv_faces = uv_faces[:, ::-1] if flipped else uv_faces
    template = near.lifted(template, hidden)
    covered = near.covered(template, faces) & (kind in (CLOTHES, SHOES))
    hidden |= covered & ~near.beside(~covered)
    if kind == CLOTHES:
        hidden |= near.wrapped(template) & np.isin(body.weights.argmax(1).numpy(), _LEGS)
    smooth = _smoother(faces, len(template))
    corners, texture, drawn_faces = _drawn(faces, uv_faces, mesh, template)
    return Garment(
        fitting.name, kind, template, mixed(base.shape_directions), smooth(weights), faces, corners, texture,
        drawn_faces, _zones(faces, pieces, above_floor, kind, top), covered, hidden,
    )  # fmt: skip


@dataclass(frozen=True)
class _BodySurface:
    """The body's T-pose as points with normals, and which of them are neighbours."""

    points: np.ndarray
    normals: np.ndarray
    faces: np.ndarray
    tree: KDTree

    @staticmethod
    def of(body: BodyModel) -> _BodySurface:
        points, faces = body.template.numpy().astype(np.float64), body.faces.numpy().astype(np.int32)
        return _BodySurface(points, vertex_normals(points, faces).astype(np.float64), faces, KDTree(points))

    def outward(self, template: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, bool]:
        """The faces wound so that most normals point away from the body, and whether they were turned."""
        normals = vertex_normals(template, faces.astype(np.int32))
        turned = bool((normals * self.normals[self.tree.query(template)[1]]).sum() < 0)
        return (faces[:, ::-1] if turned else faces), turned

    def lifted(self, template: np.ndarray, hidden: np.ndarray) -> np.ndarray:
        """The garment with what is too near to visible skin, or inside it, moved out along the skin's normal."""
        _, nearest = self.tree.query(template)
        height = ((template - self.points[nearest]) * self.normals[nearest]).sum(1)
        lift = np.where((height < _OFF_SKIN_M) & ~hidden[nearest], _OFF_SKIN_M - height, 0.0)
        return template + np.minimum(lift, 0.02)[:, None] * self.normals[nearest]

    def covered(self, template: np.ndarray, faces: np.ndarray) -> np.ndarray:
        """Vertices of the body with cloth closely above them."""
        corners = template[faces]
        cloth = np.concatenate(
            [corners.reshape(-1, 3), corners.mean(1), ((corners + np.roll(corners, 1, 1)) / 2).reshape(-1, 3)]
        )
        away, index = KDTree(cloth).query(self.points, k=8, distance_upper_bound=_COVER_M)
        to = cloth[np.minimum(index, len(cloth) - 1)] - self.points[:, None]
        straight = (to * self.normals[:, None]).sum(2) > 0.6 * np.maximum(away, 1e-6)
        return ((straight | (away < _OFF_SKIN_M)) & np.isfinite(away)).any(1)

    def beside(self, chosen: np.ndarray) -> np.ndarray:
        """These vertices and their neighbours."""
        grown = np.zeros(len(chosen), bool)
        grown[self.faces[chosen[self.faces].any(1)]] = True
        return grown

    def wrapped(self, template: np.ndarray, sectors: int = 16, band_m: float = 0.03) -> np.ndarray:
        """Vertices of the body around which a garment goes at their height, like legs in a skirt."""
        middle = np.array([0.0, self.points[:, 2].mean()])

        def place(points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            flat = points[:, [0, 2]] - middle
            sector = np.floor((np.arctan2(flat[:, 1], flat[:, 0]) / (2 * np.pi) + 0.5) * sectors).astype(int) % sectors
            return np.floor(points[:, 1] / band_m).astype(int), sector, np.linalg.norm(flat, axis=1)

        own, cloth = place(self.points), place(template)
        lowest = min(int(own[0].min()), int(cloth[0].min()))
        radius = np.zeros((max(int(own[0].max()), int(cloth[0].max())) - lowest + 2, sectors))
        for shift in (0, 1):  # a band counts where there is cloth in it or in the one below
            np.maximum.at(radius, (cloth[0] - lowest + shift, cloth[1]), cloth[2])
        around = (radius > 0).sum(1) >= sectors - 2
        band = own[0] - lowest
        return around[band] & (radius[band, own[1]] > own[2])


def _pieces(faces: np.ndarray, count: int) -> np.ndarray:
    """The connected piece of every vertex."""
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]]])
    graph = csr_matrix((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), (count, count))
    return connected_components(graph, directed=False)[1]


def _zones(faces: np.ndarray, pieces: np.ndarray, above_floor: np.ndarray, kind: str, top: float) -> np.ndarray:
    """Pieces of cloth, the largest first: one for the left and the right of a pair, and what is small goes with the
    largest. A suit of one piece is parted at the waist."""
    if kind in (HAIR, HAT):
        return np.zeros(len(faces), np.int64)
    sizes = np.bincount(pieces)
    of_face = pieces[faces[:, 0]]
    ranks = {
        size: rank for rank, size in enumerate(sorted({int(s) for s in sizes if s > 0.05 * sizes.sum()}, reverse=True))
    }
    zones = np.array([ranks.get(int(sizes[piece]), 0) for piece in of_face], np.int64)
    height = above_floor[faces].mean(1)
    main = zones == 0
    if len(ranks) == 1 and height[main].min() < 0.15 * top and height[main].max() > 0.75 * top:
        zones[main & (height < 0.58 * top)] = 1
    return np.unique(zones, return_inverse=True)[1]


def _drawn(faces: np.ndarray, uv_faces: np.ndarray, mesh: ObjMesh, template: np.ndarray):
    """Vertices split where the texture has seams, their texture coordinates in metres, and the faces of these."""
    pairs = np.stack([faces.ravel(), uv_faces.ravel()], 1)
    unique, inverse = np.unique(pairs, axis=0, return_inverse=True)
    uv = mesh.uv[unique[:, 1]]
    drawn_faces = inverse.reshape(-1, 3)
    area = _areas(template[faces]).sum() / max(_areas(np.pad(uv, ((0, 0), (0, 1)))[drawn_faces]).sum(), 1e-9)
    return unique[:, 0], uv * np.sqrt(area), drawn_faces


def _areas(corners: np.ndarray) -> np.ndarray:
    return np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1) / 2


def _smoother(faces: np.ndarray, count: int, steps: int = 4):
    """A function that averages values of vertices with their neighbours', a few times."""
    edges = np.concatenate([faces[:, [a, b]] for a, b in ((0, 1), (1, 2), (2, 0), (1, 0), (2, 1), (0, 2))])
    graph = csr_matrix((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), (count, count))
    degree = np.asarray(graph.sum(1)).ravel()
    mean = diags(1 / np.maximum(degree, 1)) @ graph

    def smooth(values: np.ndarray) -> np.ndarray:
        for _ in range(steps):
            values = np.where(degree[:, None] > 0, 0.5 * values + 0.5 * (mean @ values), values)
        return values

    return smooth
