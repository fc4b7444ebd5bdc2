"""Clothes, shoes and hair as geometry: MakeHuman garments carried to the open body, and what one person wears of them.

A garment is skinned and grows as the body under it does, with weights and shape directions of its own. Body vertices
that lie under a garment are hidden, so that no skin comes through it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from scipy.spatial import KDTree

from train.synthetic.base_mesh import find_base, read_base_mesh
from train.synthetic.fabrics import Fabric, hair_fabric, plain_fabric, random_fabric
from train.synthetic.garment_files import read_fitting
from train.synthetic.garment_fit import CLOTHES, HAIR, HAT, SHOES, Garment, carry
from train.synthetic.raster import vertex_normals
from train.synthetic.renderer import Mesh
from unish.body import BodyModel
from unish.body.lbs import joint_transforms, skin
from unish.errors import InputError

_LEFT_OUT = {"eyebrows", "eyelashes", "eyes", "teeth", "tongue"}
_SOCK_M, _HAIR_REACH_M, _OFF_CLOTH_M = 0.03, 0.06, 0.012


@dataclass(frozen=True)
class Attire:
    """What one person wears, as one mesh: the arrays of its garments joined, a fabric for each zone, and the faces of
    the body that are still seen. What is `covered` (V,) of it is drawn thinner, so that no skin comes through cloth."""

    template: torch.Tensor
    shape_directions: torch.Tensor
    weights: torch.Tensor
    faces: np.ndarray
    corners: np.ndarray
    texture: np.ndarray
    drawn_faces: np.ndarray
    zones: np.ndarray
    fabrics: tuple[Fabric, ...]
    body_faces: np.ndarray
    covered: np.ndarray

    def pose(self, body: BodyModel, betas: np.ndarray, rotations: np.ndarray) -> np.ndarray:
        """Vertices (T,G,3) for a shape (10,) and rotations (T,24,3,3), at translation 0."""
        shape = torch.from_numpy(betas).float()
        rest = body.rest_joints(shape)
        tree = tuple(int(parent) for parent in body.parents)
        shaped = self.template + self.shape_directions @ shape
        orientations, positions = joint_transforms(torch.from_numpy(rotations).float(), rest, tree)
        return skin(shaped, rest, orientations, positions, self.weights).numpy().astype(np.float64)

    def mesh(self, person: int, vertices: np.ndarray, first_material: int) -> Mesh:
        """The posed mesh for the renderer; the fabrics are materials from `first_material` on."""
        count = len(self.drawn_faces)
        return Mesh(
            vertices=vertices[self.corners],
            normals=vertex_normals(vertices, self.faces)[self.corners],
            texture=self.texture,
            faces=self.drawn_faces,
            materials=(first_material + self.zones).astype(np.int32),
            objects=np.full(count, person + 1, np.int32),
            casts_shadow=np.ones(count, bool),
        )


@dataclass(frozen=True)
class GarmentLibrary:
    """The garments of a folder on a body."""

    body: BodyModel
    garments: tuple[Garment, ...]

    @staticmethod
    def of(folder: Path, body: BodyModel) -> GarmentLibrary:
        """All .mhclo below a folder that also has MakeHuman's base.obj; eyebrows and the like are left out.

        Raises:
            InputError: there are none, or a file is damaged.
        """
        base = read_base_mesh(find_base(Path(folder)), body)
        files = sorted(path for path in Path(folder).rglob("*.mhclo") if not _LEFT_OUT & set(path.parts))
        garments = [carry(read_fitting(path), base, body, "hair" in path.parts) for path in files]
        if not any(garment.kind == CLOTHES for garment in garments):
            raise InputError(f"--wardrobe should be a folder with MakeHuman clothes (.mhclo and .obj), got {folder}.")
        return GarmentLibrary(body, tuple(garments))

    def draw(self, rng: np.random.Generator, hair_color: np.ndarray) -> Attire:
        """Random clothes, mostly with shoes, and with hair or a hat or neither."""
        chosen = [self._any(rng, CLOTHES)]
        if rng.random() < 0.9:
            chosen.append(self._any(rng, SHOES))
        head = rng.random()
        if head < 0.8:
            chosen.append(self._any(rng, HAIR if head < 0.72 else HAT))
        return dress([garment for garment in chosen if garment], self.body, rng, hair_color)

    def _any(self, rng: np.random.Generator, kind: str) -> Garment | None:
        choice = [garment for garment in self.garments if garment.kind == kind]
        return choice[int(rng.integers(len(choice)))] if choice else None


def dress(garments: list[Garment], body: BodyModel, rng: np.random.Generator, hair_color: np.ndarray) -> Attire:
    """These garments in random fabrics as one attire."""
    fabrics: list[Fabric] = []
    zones, faces, drawn_faces, corners = [], [], [], []
    garments = _layered(garments)
    vertices = drawn = 0
    for garment in garments:
        zones.append(garment.zones + len(fabrics))
        faces.append(garment.faces + vertices)
        drawn_faces.append(garment.drawn_faces + drawn)
        corners.append(garment.corners + vertices)
        vertices, drawn = vertices + len(garment.template), drawn + len(garment.corners)
        for zone in range(int(garment.zones.max(initial=0)) + 1):
            fabrics.append(_fabric(rng, garment.kind, zone, hair_color))
    hidden = np.any([garment.hidden for garment in garments], axis=0)
    body_faces = body.faces.numpy().astype(np.int32)

    def joined(name: str) -> np.ndarray:
        return np.concatenate([getattr(garment, name) for garment in garments])

    return Attire(
        *(torch.from_numpy(joined(name)).float() for name in ("template", "shape_directions", "weights")),
        faces=np.concatenate(faces).astype(np.int32),
        corners=np.concatenate(corners),
        texture=np.pad(joined("texture"), ((0, 0), (0, 1))).astype(np.float32),
        drawn_faces=np.concatenate(drawn_faces).astype(np.int32),
        zones=np.concatenate(zones),
        fabrics=tuple(fabrics),
        covered=np.any([garment.covered for garment in garments], axis=0),
        body_faces=np.ascontiguousarray(body_faces[~hidden[body_faces].all(1)]),
    )


def _layered(garments: list[Garment]) -> list[Garment]:
    """The garments with socks under trousers left out, and hair lying on clothes instead of in them."""
    clothes = next((garment for garment in garments if garment.kind == CLOTHES), None)
    if clothes is None:
        return garments
    tree = KDTree(clothes.template)
    normals = vertex_normals(clothes.template, clothes.faces.astype(np.int32))
    layered = []
    for garment in garments:
        away, nearest = tree.query(garment.template)
        if garment.kind == SHOES:
            under = away < _SOCK_M
            shown = ~(under[garment.faces].all(1) & (garment.zones > 0))
            garment = replace(
                garment, faces=garment.faces[shown], drawn_faces=garment.drawn_faces[shown], zones=garment.zones[shown]
            )
        elif garment.kind == HAIR:
            height = ((garment.template - clothes.template[nearest]) * normals[nearest]).sum(1)
            lift = np.where((away < _HAIR_REACH_M) & (height < _OFF_CLOTH_M), _OFF_CLOTH_M - height, 0.0)
            garment = replace(garment, template=garment.template + lift[:, None] * normals[nearest])
        layered.append(garment)
    return layered


def _fabric(rng: np.random.Generator, kind: str, zone: int, hair_color: np.ndarray) -> Fabric:
    if kind == HAIR:
        return hair_fabric(rng, hair_color)
    if kind == SHOES:
        return plain_fabric(rng) if zone == 0 else plain_fabric(rng, 0.02, 0.85, 0.3)
    return random_fabric(rng)
