"""The viewer's binary scene file: a JSON header and plain arrays, compressed as a whole with gzip.

Layout once unpacked, little endian: the four bytes `USCN`, the header's length as uint32, the header (UTF-8 JSON,
padded with spaces so that the payload starts at a multiple of eight), the arrays, each starting at a multiple of eight.
The header is
`{"version", "meta", "arrays": {name: {"dtype", "shape", "offset"}}}`; offsets count from the payload's start.
"""

import gzip
import json
import struct
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from unish.errors import InputError

MAGIC = b"USCN"
VERSION = 3
COMPRESSION = 6
"""The images are compressed already: the next level takes longer for 0.5 % of the file."""
LEVELS = 65535  # steps of a quantised coordinate


@dataclass(frozen=True)
class SceneArrays:
    """What the page draws: `meta` is JSON (names, times, ranges), `arrays` are numpy arrays by name."""

    meta: dict[str, Any]
    arrays: dict[str, np.ndarray]


def quantise(values: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Coordinates (..., 3) in metres as uint16 between `low` and `high` (3,); one step is (high - low) / 65535.

    The round trip errs by at most half a step: 0.08 mm a coordinate in a scene 10 m wide.
    """
    extent = np.where(high > low, high - low, 1.0)
    return np.round((values - low) / extent * LEVELS).clip(0, LEVELS).astype(np.uint16)


def dequantise(steps: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """The metres of `quantise`'s steps."""
    return low + steps.astype(np.float64) * (np.where(high > low, high - low, 1.0) / LEVELS)


def encode_scene(scene: SceneArrays) -> bytes:
    """The scene file's bytes."""
    entries: dict[str, dict[str, Any]] = {}
    payload = bytearray()
    for name, array in scene.arrays.items():
        payload.extend(b"\0" * (-len(payload) % 8))
        entries[name] = {"dtype": array.dtype.name, "shape": list(array.shape), "offset": len(payload)}
        payload.extend(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes())
    header = {"version": VERSION, "meta": scene.meta, "arrays": entries}
    text = json.dumps(header, separators=(",", ":"), allow_nan=False).encode()
    text += b" " * (-(8 + len(text)) % 8)
    return gzip.compress(MAGIC + struct.pack("<I", len(text)) + text + bytes(payload), COMPRESSION, mtime=0)


def decode_scene(data: bytes) -> SceneArrays:
    """Read `encode_scene`'s bytes back. Raises InputError for anything else."""
    if data[:2] == b"\x1f\x8b":
        try:
            data = gzip.decompress(data)
        except (EOFError, OSError, zlib.error) as error:
            raise InputError(f"The scene file is cut short or damaged ({error}); write it again.") from error
    if data[:4] != MAGIC or len(data) < 8:
        raise InputError("Expected a unish scene file (it starts with USCN); write one with unish.viewer.write_scene.")
    length = struct.unpack_from("<I", data, 4)[0]
    try:
        header = json.loads(data[8 : 8 + length])
        arrays = {
            name: np.frombuffer(
                data, entry["dtype"], int(np.prod(entry["shape"], dtype=np.int64)), 8 + length + entry["offset"]
            ).reshape(entry["shape"])
            for name, entry in header["arrays"].items()
        }
    except ValueError as error:
        raise InputError(f"The scene file is cut short or damaged ({error}); write it again.") from error
    return SceneArrays(header["meta"], arrays)
