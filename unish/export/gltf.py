"""Putting a binary glTF 2.0 file together: a JSON chunk of lists that point at each other, and a chunk of numbers.

Source: the Khronos glTF 2.0 specification, sections 3.6 (buffers) and 4 (GLB).
"""

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np

_COMPONENTS = {np.dtype(np.uint8): 5121, np.dtype(np.uint16): 5123, np.dtype(np.uint32): 5125,
               np.dtype(np.float32): 5126}  # fmt: skip
_KINDS = {(): "SCALAR", (2,): "VEC2", (3,): "VEC3", (4,): "VEC4", (4, 4): "MAT4"}
VERTICES, INDICES = 34962, 34963
_MAGIC, _JSON, _BINARY = b"glTF", b"JSON", b"BIN\0"


class GltfDocument:
    """A glTF file in the making: entries are added, and referred to by the index that `add` gives."""

    def __init__(self, generator: str, **extras: Any) -> None:
        self._lists: dict[str, list[dict[str, Any]]] = {}
        self._asset = {"version": "2.0", "generator": generator, "extras": extras}
        self._extensions: set[str] = set()
        self._numbers: list[bytes] = []
        self._size = 0

    def add(self, kind: str, **entry: Any) -> int:
        """Put an entry into one of glTF's lists ("nodes", "meshes", …)."""
        entries = self._lists.setdefault(kind, [])
        entries.append(entry)
        return len(entries) - 1

    def count(self, kind: str) -> int:
        """How many entries a list has: the index of the next one."""
        return len(self._lists.get(kind, ()))

    def use(self, extension: str) -> None:
        """Say that entries use an extension that a reader may ignore."""
        self._extensions.add(extension)

    def accessor(
        self, values: np.ndarray, target: int | None = None, bounds: bool = False, normalized: bool = False
    ) -> int:
        """Store an array, one element of its first axis after the other, matrices column by column.

        `target` says what it is for in a mesh (VERTICES, INDICES); `bounds` adds the least and largest element, which
        positions and times must have; `normalized` whole numbers stand for 0..1.
        """
        kind = _KINDS[values.shape[1:]]
        stored = np.ascontiguousarray(values.swapaxes(1, 2) if kind == "MAT4" else values)
        view: dict[str, Any] = {"buffer": 0, "byteOffset": self._size, "byteLength": stored.nbytes}
        if target is not None:
            view["target"] = target
        if target == VERTICES and stored.strides[0] % 4:
            raise ValueError(f"elements of a vertex attribute fill whole words, not {stored.strides[0]} bytes")
        entry: dict[str, Any] = {
            "bufferView": self.add("bufferViews", **view),
            "componentType": _COMPONENTS[stored.dtype],
            "count": len(stored),
            "type": kind,
        }
        if bounds:
            entry["min"], entry["max"] = (np.atleast_1d(f(stored, axis=0)).tolist() for f in (np.min, np.max))
        if normalized:
            entry["normalized"] = True
        padding = -stored.nbytes % 4
        self._numbers.append(stored.tobytes() + bytes(padding))
        self._size += stored.nbytes + padding
        return self.add("accessors", **entry)

    def write(self, path: Path, scene: list[int]) -> None:
        """Write the file; `scene` are the nodes that stand in the world themselves."""
        content: dict[str, Any] = {"asset": self._asset, "scene": 0, "scenes": [{"nodes": scene}], **self._lists}
        if self._extensions:
            content["extensionsUsed"] = sorted(self._extensions)
        content["buffers"] = [{"byteLength": self._size}]
        text = json.dumps(content, separators=(",", ":"), allow_nan=False).encode()
        text += b" " * (-len(text) % 4)
        with path.open("wb") as file:
            file.write(_MAGIC + struct.pack("<II", 2, 12 + 8 + len(text) + 8 + self._size))
            file.write(struct.pack("<I", len(text)) + _JSON + text)
            file.write(struct.pack("<I", self._size) + _BINARY)
            file.writelines(self._numbers)
