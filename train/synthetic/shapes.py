"""The solids that scenes are built from, as meshes with texture coordinates in metres. World z up."""

from __future__ import annotations

import numpy as np

from train.synthetic.renderer import Mesh


def yaw_matrix(yaw: float) -> np.ndarray:
    """Rotation about the vertical, (3, 3)."""
    c, s = np.cos(yaw), np.sin(yaw)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """np.cross for two single vectors, fifteen times as fast: scenes make thousands."""
    return np.array([a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]])


def quad(corners, material: int, casts_shadow: bool = True, offset=(0.0, 0.0)) -> Mesh:
    """A flat patch through four corners in turn; u runs along the first edge, v along the last."""
    corners = np.asarray(corners, np.float64)
    along, up = corners[1] - corners[0], corners[3] - corners[0]
    normal = _cross(along, up)
    normal /= np.sqrt(normal @ normal)
    along = along / np.sqrt(along @ along)
    across = _cross(normal, along)
    relative = corners - corners[0]
    uv = np.stack([relative @ along + offset[0], relative @ across + offset[1], np.zeros(4)], 1)
    return _mesh(corners, np.tile(normal, (4, 1)), uv, [[0, 1, 2], [0, 2, 3]], material, casts_shadow)


def box(center, size, yaw: float, material: int, casts_shadow: bool = True, offset=(0.0, 0.0)) -> Mesh:
    """A box whose base is centred at `center` (its lowest point's height is center[2]), turned about the vertical."""
    sx, sy, sz = (float(n) / 2 for n in size)
    turn = yaw_matrix(yaw)
    middle = np.asarray(center, np.float64) + np.array([0.0, 0.0, sz])
    sides = []
    for axis, sign in ((0, 1), (0, -1), (1, 1), (1, -1), (2, 1), (2, -1)):
        normal = np.eye(3)[axis] * sign
        up = np.array([0.0, 0.0, 1.0]) if axis < 2 else np.array([0.0, 1.0, 0.0])
        along = _cross(up, normal)
        half = np.array([sx, sy, sz])
        a, b, n = along * half, up * half, normal * half
        corners = np.stack([n - a - b, n + a - b, n + a + b, n - a + b])
        sides.append(quad(corners @ turn.T + middle, material, casts_shadow, offset))
    return Mesh.join(sides)


def wedge(center, size, yaw: float, material: int) -> Mesh:
    """A ramp that rises along its own x from 0 to size[2]."""
    x, y, z = size[0] / 2, size[1] / 2, size[2]
    p = np.array([[-x, -y, 0], [x, -y, 0], [x, y, 0], [-x, y, 0], [x, -y, z], [x, y, z]], np.float64)
    p = p @ yaw_matrix(yaw).T + np.asarray(center, np.float64)
    patches = [quad(p[[0, 4, 5, 3]], material), quad(p[[1, 2, 5, 4]], material)]
    for a, b, c in ((0, 1, 4), (2, 3, 5)):
        patches.append(quad(np.stack([p[a], p[b], p[c], (p[a] + p[c]) / 2]), material))
    return Mesh.join(patches)


def stairs(center, width: float, steps: int, rise: float, run: float, yaw: float, material: int) -> Mesh:
    """Steps that climb along their own x."""
    turn = yaw_matrix(yaw)
    parts = []
    for k in range(steps):
        place = np.asarray(center, np.float64) + turn @ np.array([(k + 0.5) * run, 0.0, 0.0])
        parts.append(box(place, (run, width, (k + 1) * rise), yaw, material))
    return Mesh.join(parts)


def lathe(center, profile, material: int, sides: int = 18) -> Mesh:
    """A solid of revolution: `profile` holds (radius, height) pairs from the bottom up; smooth normals."""
    profile = np.asarray(profile, np.float64)
    angle = np.linspace(0, 2 * np.pi, sides + 1)
    ring = np.stack([np.cos(angle), np.sin(angle)], 1)
    slope = np.gradient(profile, axis=0)
    slope /= np.linalg.norm(slope, axis=1, keepdims=True) + 1e-9
    length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(profile, axis=0), axis=1))])
    vertices, normals, texture = [], [], []
    for (radius, height), (dr, dz), along in zip(profile, slope, length, strict=True):
        vertices.append(np.concatenate([ring * radius, np.full((sides + 1, 1), height)], 1))
        normals.append(np.concatenate([ring * dz, np.full((sides + 1, 1), -dr)], 1))
        texture.append(np.stack([angle * profile[:, 0].max(), np.full(sides + 1, along), np.zeros(sides + 1)], 1))
    faces = []
    for k in range(len(profile) - 1):
        for j in range(sides):
            a, b = k * (sides + 1) + j, (k + 1) * (sides + 1) + j
            faces += [[a, a + 1, b + 1], [a, b + 1, b]]
    points = np.concatenate(vertices) + np.asarray(center, np.float64)
    return _mesh(points, np.concatenate(normals), np.concatenate(texture), faces, material, True)


def cylinder(center, radius: float, height: float, material: int) -> Mesh:
    """An upright cylinder with a flat lid, standing on `center`."""
    rim = 0.999
    profile = [(radius, 0.0), (radius, height * rim), (radius * 0.98, height), (0.0, height)]
    return lathe(center, profile, material)


def ball(center, radius: float, material: int, squash: float = 1.0) -> Mesh:
    """A sphere (or, squashed, an ellipsoid) that rests on `center`."""
    angle = np.linspace(-np.pi / 2, np.pi / 2, 11)
    profile = np.stack([radius * np.cos(angle), radius * squash * (1 + np.sin(angle))], 1)
    return lathe(center, profile, material)


def _mesh(vertices, normals, texture, faces, material: int, casts_shadow: bool) -> Mesh:
    count = len(faces)
    return Mesh(
        vertices=np.asarray(vertices, np.float64),
        normals=np.asarray(normals, np.float32),
        texture=np.asarray(texture, np.float32),
        faces=np.asarray(faces, np.int32),
        materials=np.full(count, material, np.int32),
        objects=np.zeros(count, np.int32),
        casts_shadow=np.full(count, casts_shadow),
    )
