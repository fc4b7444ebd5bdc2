"""Reads MakeHuman's assets: the base mesh and garments (.mhclo with its .obj) that hang on its vertices.

A vertex of a garment lies at a barycentric mix of three base vertices plus an offset, whose axes scale with distances
on the body. The format is MakeHuman's own: lines `v0 v1 v2 w0 w1 w2 dx dy dz` after `verts 0`, or a single vertex.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from unish.errors import InputError

BASE_BODY = "body"
"""Group of the base mesh that is the body; the others are helpers, which garments may hang on too."""


@dataclass(frozen=True)
class ObjMesh:
    """A mesh of an .obj file: `vertices` (V,3), `uv` (C,2), and triangles as indices of both (F,3); `groups` (F,) are
    the groups of the faces."""

    vertices: np.ndarray
    uv: np.ndarray
    faces: np.ndarray
    uv_faces: np.ndarray
    groups: np.ndarray


@dataclass(frozen=True)
class GarmentFitting:
    """How a garment hangs on the base mesh: `anchors` (V,3) base vertices, `shares` (V,3), `offsets` (V,3); `scales`
    are pairs of base vertices with their distance along x, y and z for which the offsets hold; `hidden` base vertices
    lie under it."""

    name: str
    obj: Path
    anchors: np.ndarray
    shares: np.ndarray
    offsets: np.ndarray
    scales: tuple[tuple[int, int, float] | None, ...]
    hidden: np.ndarray


def read_obj(path: Path) -> ObjMesh:
    """Triangles of an .obj file; polygons are cut into fans. A face without texture coordinates gets the first ones.

    Raises:
        InputError: it is no .obj file, or a face names what is not there.
    """
    vertices: list[list[float]] = []
    uv: list[list[float]] = []
    faces, uv_faces, groups, group = [], [], [], ""
    try:
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            words = line.split()
            if not words:
                continue
            if words[0] == "v":
                vertices.append([float(word) for word in words[1:4]])
            elif words[0] == "vt":
                uv.append([float(word) for word in words[1:3]])
            elif words[0] in ("g", "o"):
                group = " ".join(words[1:])
            elif words[0] == "f":
                corners = [word.split("/") for word in words[1:]]
                index = [int(corner[0]) - 1 for corner in corners]
                texture = [int(corner[1]) - 1 if len(corner) > 1 and corner[1] else 0 for corner in corners]
                for k in range(1, len(index) - 1):
                    faces.append([index[0], index[k], index[k + 1]])
                    uv_faces.append([texture[0], texture[k], texture[k + 1]])
                    groups.append(group)
        mesh = ObjMesh(
            np.array(vertices, np.float64).reshape(-1, 3),
            np.array(uv or [[0.0, 0.0]], np.float64).reshape(-1, 2),
            np.array(faces, np.int64).reshape(-1, 3),
            np.array(uv_faces, np.int64).reshape(-1, 3),
            np.array(groups),
        )
        if not len(mesh.faces) or mesh.faces.min() < 0 or mesh.faces.max() >= len(mesh.vertices):
            raise ValueError("faces that name no vertex of it")
        if mesh.uv_faces.min() < 0 or mesh.uv_faces.max() >= len(mesh.uv):
            raise ValueError("faces that name no texture coordinate of it")
    except (ValueError, IndexError) as error:
        raise InputError(f"{path} should be an .obj mesh, got {error}. Remove it from --wardrobe.") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}. Check the folder given to --wardrobe.") from error
    return mesh


def read_fitting(path: Path) -> GarmentFitting:
    """A .mhclo file.

    Raises:
        InputError: it is not one.
    """
    head: dict[str, list[str]] = {}
    rows: list[list[str]] = []
    hidden: list[str] = []
    section = ""
    try:
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            words = line.split()
            if not words or words[0].startswith("#"):
                continue
            if words[0] in ("verts", "delete_verts", "weights"):
                section = words[0]
            elif section == "verts" and words[0].lstrip("-").isdigit():
                rows.append(words)
            elif section == "delete_verts" and (words[0].isdigit() or words[0] == "-"):
                hidden += words
            else:  # names may also come between `verts` and its rows
                head.setdefault(words[0], words[1:])
        full = [row if len(row) == 9 else [row[0], "0", "0", "1", "0", "0", "0", "0", "0"] for row in rows]
        anchors = np.array([[int(word) for word in row[:3]] for row in full], np.int64)
        numbers = np.array([[float(word) for word in row[3:]] for row in full])
        scales = tuple(_scale(head.get(f"{axis}_scale")) for axis in "xyz")
        if not len(anchors):
            raise ValueError("no vertices")
        return GarmentFitting(
            path.stem, path.parent / " ".join(head["obj_file"]), anchors, numbers[:, :3], numbers[:, 3:], scales,
            _ranges(hidden),
        )  # fmt: skip
    except (ValueError, IndexError, KeyError) as error:
        raise InputError(f"{path} should be a MakeHuman .mhclo file, got {error}. Remove it.") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}. Check the folder given to --wardrobe.") from error


def _scale(words: list[str] | None) -> tuple[int, int, float] | None:
    return None if words is None else (int(words[0]), int(words[1]), float(words[2]))


def _ranges(words: list[str]) -> np.ndarray:
    """Numbers of a list like `3 5 - 9 12`."""
    numbers: list[int] = []
    through = False
    for word in words:
        if word == "-":
            through = True
        elif through:
            numbers += range(numbers[-1] + 1, int(word) + 1)
            through = False
        else:
            numbers.append(int(word))
    return np.array(numbers, np.int64)


def hang(fitting: GarmentFitting, base: np.ndarray) -> np.ndarray:
    """Vertices (V,3) of the garment on base vertices, in their frame and unit.

    Raises:
        InputError: the garment hangs on vertices that the base mesh has not got.
    """
    pairs = [index for scale in fitting.scales if scale for index in scale[:2]]
    if max(int(fitting.anchors.max()), *pairs, 0) >= len(base) or fitting.anchors.min() < 0:
        raise InputError(
            f"{fitting.name}.mhclo should hang on vertices below {len(base)}, those of base.obj; it is another mesh's."
        )
    scale = np.ones(3)
    for axis, pair in enumerate(fitting.scales):
        if pair is not None and pair[2] > 0:
            scale[axis] = abs(base[pair[0], axis] - base[pair[1], axis]) / pair[2]
    return (fitting.shares[..., None] * base[fitting.anchors]).sum(1) + fitting.offsets * scale
