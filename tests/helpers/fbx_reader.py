"""A reader of binary FBX 7.4 that shares nothing with the writer: node tree, animated transforms, skins, lenses.

Source: the node records as Blender's developers describe them ("FBX binary file format specification", 2013) and
Autodesk's FBX SDK reference for what properties mean.
"""

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

TICKS_PER_S = 46186158000
_SCALARS = {"Y": "<h", "C": "<?", "I": "<i", "F": "<f", "D": "<d", "L": "<q"}
_ARRAYS = {"f": "<f4", "d": "<f8", "l": "<i8", "i": "<i4", "b": "?"}


@dataclass
class Record:
    """One node of the file."""

    name: str
    values: list[Any]
    children: list["Record"]

    def all(self, name: str) -> list["Record"]:
        return [child for child in self.children if child.name == name]

    def one(self, name: str) -> "Record":
        (child,) = self.all(name)
        return child

    def properties(self) -> dict[str, list[Any]]:
        """Name → values, of a Properties70 block."""
        blocks = self.all("Properties70")
        return {entry.values[0]: entry.values[4:] for block in blocks for entry in block.children}


class Fbx:
    """An FBX file: objects by their number, and what is connected to what."""

    def __init__(self, path: Path) -> None:
        data = path.read_bytes()
        assert data[:21] == b"Kaydara FBX Binary  \0" and struct.unpack_from("<I", data, 23) == (7400,)
        self.root = Record("", [], [])
        position = 27
        while (entry := _record(data, position))[0] is not None:
            self.root.children.append(entry[0])
            position = entry[1]
        self.settings = self.root.one("GlobalSettings").properties()
        self.objects = {record.values[0]: record for record in self.root.one("Objects").children}
        self.links = [record.values for record in self.root.one("Connections").children]
        self.models = {name_of(record): key for key, record in self.objects.items() if record.name == "Model"}
        self.curves = self._curves()

    def below(self, key: int, kind: str) -> list[int]:
        """Objects of a kind that are connected to an object."""
        return [link[1] for link in self.links if link[2] == key and self.objects[link[1]].name == kind]

    def parent(self, name: str) -> str:
        """Of a model; "" at the top."""
        above = [link[2] for link in self.links if link[1] == self.models[name] and link[0] == "OO"]
        (key,) = [key for key in above if key == 0 or self.objects[key].name == "Model"]
        return name_of(self.objects[key]) if key else ""

    def key_times_s(self) -> np.ndarray:
        """Of all keys of the file."""
        return np.unique(np.concatenate([np.zeros(0), *(times for times, _ in self.curves.values())]))

    def value(self, key: int, name: str, time_s: float, default: list[float]) -> np.ndarray:
        """A property of an object at a moment: curves where there are some, linear between keys."""
        values = list(self.objects[key].properties().get(name, default))
        for axis in range(len(values)):
            if curve := self.curves.get((key, name, axis)):
                values[axis] = np.interp(time_s, *curve)
        return np.array(values, float)

    def to_world(self, name: str, time_s: float) -> np.ndarray:
        """4×4; world = parent's · T · R · S, with R = Rz · Ry · Rx (order XYZ)."""
        key = self.models[name]
        known = self.objects[key].properties()
        for other in ("PreRotation", "PostRotation", "RotationPivot", "RotationOffset", "ScalingPivot"):
            assert not np.any(known.get(other, [0])), other
        assert known.get("RotationOrder", [0]) == [0]
        local = np.eye(4)
        turn = Rotation.from_euler("xyz", self.value(key, "Lcl Rotation", time_s, [0.0] * 3), degrees=True).as_matrix()
        local[:3, :3] = turn * self.value(key, "Lcl Scaling", time_s, [1.0] * 3)
        local[:3, 3] = self.value(key, "Lcl Translation", time_s, [0.0] * 3)
        above = self.parent(name)
        return self.to_world(above, time_s) @ local if above else local

    def skinned(self, mesh: str, time_s: float) -> np.ndarray:
        """World positions of a mesh's vertices by linear blend skinning."""
        (geometry,) = self.below(self.models[mesh], "Geometry")
        vertices = self.objects[geometry].one("Vertices").values[0].reshape(-1, 3)
        (skin,) = self.below(geometry, "Deformer")
        homogeneous = np.concatenate([vertices, np.ones((len(vertices), 1))], axis=1)
        result, total = np.zeros((len(vertices), 3)), np.zeros(len(vertices))
        for cluster in self.below(skin, "Deformer"):
            record = self.objects[cluster]
            if not record.all("Indexes"):
                continue
            (bone,) = self.below(cluster, "Model")
            # On disk, `Transform` is the mesh in the bone's space at binding; matrices are stored column by column.
            bone_from_mesh = record.one("Transform").values[0].reshape(4, 4).T
            matrix = self.to_world(name_of(self.objects[bone]), time_s) @ bone_from_mesh
            rows, weights = record.one("Indexes").values[0], record.one("Weights").values[0]
            result[rows] += weights[:, None] * (homogeneous[rows] @ matrix.T)[:, :3]
            total[rows] += weights
        assert np.allclose(total, 1, atol=1e-4)
        return result

    def surface(self, mesh: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """World positions of a still mesh's vertices, its triangles, and the colour of each of their corners (RGB)."""
        (key,) = self.below(self.models[mesh], "Geometry")
        geometry = self.objects[key]
        vertices = geometry.one("Vertices").values[0].reshape(-1, 3)
        world = self.to_world(mesh, 0.0)
        corners = geometry.one("PolygonVertexIndex").values[0].reshape(-1, 3).astype(int)
        assert (corners[:, :2] >= 0).all() and (corners[:, 2] < 0).all(), "the last corner of a polygon is marked"
        corners[:, 2] = ~corners[:, 2]
        layer = geometry.one("LayerElementColor")
        assert layer.one("MappingInformationType").values == ["ByPolygonVertex"]
        colors = layer.one("Colors").values[0].reshape(-1, 4)[layer.one("ColorIndex").values[0]]
        return vertices @ world[:3, :3].T + world[:3, 3], corners, colors.reshape(-1, 3, 4)[..., :3]

    def _curves(self) -> dict[tuple[int, str, int], tuple[np.ndarray, np.ndarray]]:
        """(object, property, axis) → key times in seconds and values."""
        result = {}
        driven = {link[1]: (link[2], link[3]) for link in self.links if link[0] == "OP"}
        for key, record in self.objects.items():
            if record.name == "AnimationCurve":
                node, channel = driven[key]
                axis = "XYZ".index(channel[-1]) if channel[-2:-1] == "|" and channel[-1] in "XYZ" else 0
                times = record.one("KeyTime").values[0] / TICKS_PER_S
                result[(*driven[node], axis)] = (times, record.one("KeyValueFloat").values[0].astype(float))
        return result


def name_of(record: Record) -> str:
    """An object's name, without its class."""
    return record.values[1].split("\0\1")[0]


def _record(data: bytes, start: int) -> tuple[Record | None, int]:
    end, count, _, length = struct.unpack_from("<IIIB", data, start)
    if not end:
        return None, start + 13
    position = start + 13
    record = Record(data[position : position + length].decode(), [], [])
    position += length
    for _ in range(count):
        value, position = _value(data, position)
        record.values.append(value)
    while position < end:
        child, position = _record(data, position)
        if child is None:
            break
        record.children.append(child)
    return record, end


def _value(data: bytes, position: int) -> tuple[Any, int]:
    kind = chr(data[position])
    position += 1
    if kind in _SCALARS:
        return struct.unpack_from(_SCALARS[kind], data, position)[0], position + struct.calcsize(_SCALARS[kind])
    if kind in _ARRAYS:
        count, packed, size = struct.unpack_from("<III", data, position)
        dtype = np.dtype(_ARRAYS[kind])
        size = size if packed else count * dtype.itemsize
        raw = data[position + 12 : position + 12 + size]
        return np.frombuffer(zlib.decompress(raw) if packed else raw, dtype), position + 12 + size
    (size,) = struct.unpack_from("<I", data, position)
    raw = data[position + 4 : position + 4 + size]
    return (raw.decode() if kind == "S" else raw), position + 4 + size
