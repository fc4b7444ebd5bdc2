"""Clothes and landmarks: where shirt, trousers, shoes and hair begin on the mean T-pose, and named vertices."""

from dataclasses import dataclass

import numpy as np

from open_body.mesh import Field, LightMesh
from unish.body.data import JOINT_NAMES

SKIN, SHIRT, TROUSERS, SHOES, HAIR = range(5)
SOLE_HEIGHT_M = 0.008


@dataclass(frozen=True)
class ClothingBorders:
    """Borders as signed heights in metres: positive above the shoe, above the waist, beyond the sleeve, …"""

    shoe: Field
    waist: Field
    sleeve: Field
    neckline: Field
    hairline: Field

    @property
    def borders(self) -> tuple[Field, ...]:
        return (self.shoe, self.waist, self.sleeve, self.neckline, self.hairline)

    def region(self, points: np.ndarray) -> np.ndarray:
        """Which garment covers each point of the mean T-pose."""
        dressed = (self.neckline(points) < 0) & (self.sleeve(points) < 0)
        above = np.where(dressed, SHIRT, SKIN)
        above = np.where(self.hairline(points) > 0, HAIR, above)
        below = np.where(self.shoe(points) < 0, SHOES, TROUSERS)
        return np.where(self.waist(points) > 0, above, below).astype(np.uint8)


def clothing_borders(joints: np.ndarray, floor: float, nose: np.ndarray, ear: np.ndarray) -> ClothingBorders:
    """A T-shirt, long trousers, shoes and short hair for a T-pose body with these joints (24,3), metres."""

    def at(name: str) -> np.ndarray:
        return joints[JOINT_NAMES.index(name)]

    waist = at("pelvis")[1] + 0.6 * (at("spine1")[1] - at("pelvis")[1])
    sleeve = 0.35 * at("left_shoulder")[0] + 0.65 * at("left_elbow")[0]
    shoe = floor + 0.095
    neck = at("neck")
    back, low, top = ear[2] - 0.025, nose[1] - 0.025, ear[1] + 0.035
    hair_z = np.array([back - 0.01, back, ear[2] - 0.012, ear[2] + 0.03, ear[2] + 0.05, nose[2] - 0.02])
    hair_y = np.array([low, low + 0.01, top, top, nose[1] + 0.065, nose[1] + 0.085])

    def neckline(points: np.ndarray) -> np.ndarray:
        slope = points[:, 1] - neck[1] + 0.55 * (points[:, 2] - neck[2])
        return slope - np.maximum(np.abs(points[:, 0]) - 0.055, 0.0)

    return ClothingBorders(
        shoe=lambda points: points[:, 1] - shoe,
        waist=lambda points: points[:, 1] - waist,
        sleeve=lambda points: np.abs(points[:, 0]) - sleeve,
        neckline=neckline,
        hairline=lambda points: points[:, 1] - np.interp(points[:, 2], hair_z, hair_y),
    )


def lead_with_region(
    faces: np.ndarray, vertices: np.ndarray, regions: np.ndarray, clothes: ClothingBorders
) -> np.ndarray:
    """Turn every face so that its first vertex has the face's own region: flat colouring then has clean borders."""
    own = clothes.region(vertices[faces].mean(axis=1))
    start = (regions[faces] == own[:, None]).argmax(axis=1)
    return np.take_along_axis(faces, (start[:, None] + np.arange(3)) % 3, axis=1)


def landmarks(
    mesh: LightMesh, vertices: np.ndarray, weights: np.ndarray, tips: dict[str, np.ndarray], eye: np.ndarray
) -> dict[str, int]:
    """Vertices under the names that smplx's extra joints use; the right-hand ones mirror the left-hand ones."""
    x, y, z = vertices.T
    left = x > -1e-9

    def best(mask: np.ndarray, score: np.ndarray) -> int:
        return int(np.where(mask & left, score, -np.inf).argmax())

    part = {name: weights[:, index] for index, name in enumerate(JOINT_NAMES)}
    head = part["head"] > 0.9
    toes, heel = part["left_foot"] > 0.5, part["left_ankle"] > 0.5
    across = x - x[toes | heel].mean()
    found = {
        "eye": best(head, -np.linalg.norm(vertices - eye, axis=1)),
        "ear": best(head, x),
        "BigToe": best(toes, z - 2 * across),
        "SmallToe": best(toes, z + 2 * across),
        "Heel": best(heel, -z - y),
    }
    for number, finger in enumerate(("thumb", "index", "middle", "ring", "pinky"), start=1):
        forward = 0.5 * z if finger == "thumb" else 0.0
        found[finger] = best(mesh.plain(tips[f"finger{number}-3.L"]) > 0.5, x + forward)
    named = {"nose": best(head & mesh_middle(mesh, len(x)), z)}
    for name, vertex in found.items():
        upper = name[0].isupper()
        named[("L" if upper else "l") + name] = vertex
        named[("R" if upper else "r") + name] = mesh.mirrored(vertex)
    return named


def mesh_middle(mesh: LightMesh, count: int) -> np.ndarray:
    """Which of all the vertices lie on the plane x = 0."""
    return np.concatenate([mesh.middle, np.zeros(count - len(mesh.middle), bool)])


def soles(vertices: np.ndarray) -> np.ndarray:
    """Vertices of the mean body that touch a flat floor."""
    return np.flatnonzero(vertices[:, 1] < vertices[:, 1].min() + SOLE_HEIGHT_M)
