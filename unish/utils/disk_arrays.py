"""Arrays that may be too large for memory: in memory while small, else in a file that vanishes with them.

What comes back is a NumPy array either way. The file is reserved whole before anything is written (a full disk is one
sentence now, not a crash later) and has no name, so nothing is left behind however the program ends.
"""

import json
import math
import mmap
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO

import numpy as np
from safetensors import safe_open

from unish.errors import InputError

_SAFETENSORS_TYPES = {
    np.dtype(np.float32): "F32",
    np.dtype(np.float64): "F64",
    np.dtype(np.uint8): "U8",
    np.dtype(np.int32): "I32",
    np.dtype(np.int64): "I64",
    np.dtype(bool): "BOOL",
}
_NUMPY_TYPES = {name: dtype for dtype, name in _SAFETENSORS_TYPES.items()}
IN_MEMORY_BYTES = 64 * 2**20
"""Arrays above this are kept on disk."""


def new_array(shape: tuple[int, ...], dtype: np.typing.DTypeLike) -> np.ndarray:
    """An array of zeros, in memory or on disk, whichever its size asks for.

    Files go to `$TMPDIR`. Raises `InputError` when the disk has no room for one.
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if size <= IN_MEMORY_BYTES:
        return np.zeros(shape, dtype)
    with tempfile.TemporaryFile(prefix="unish-") as file:
        try:
            _reserve(file.fileno(), size)
        except OSError as error:
            raise _no_room(size, error) from error
        return np.memmap(file, dtype, "r+", shape=shape)


class Stack:
    """Arrays of one shape and type that come one after the other and become one array, in memory or on disk.

    Raises `InputError` when the disk has no room for them.
    """

    def __init__(self) -> None:
        self._parts: list[np.ndarray] = []
        self._file: IO[bytes] | None = None
        self._shape: tuple[int, ...] = ()
        self._dtype = np.dtype(np.uint8)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one of the arrays; () before the first."""
        return self._shape

    def append(self, array: np.ndarray) -> None:
        """Add one more at the end."""
        self._shape, self._dtype = array.shape, array.dtype
        self._count += 1
        if self._file is None:
            self._parts.append(array)
            if self._count * array.nbytes > IN_MEMORY_BYTES:
                self._file = tempfile.TemporaryFile(prefix="unish-")  # noqa: SIM115 (closed by `finish`)
                for part in self._parts:
                    self._write(part)
                self._parts.clear()
        else:
            self._write(array)

    def finish(self) -> np.ndarray:
        """All of them as one array; the stack is empty afterwards."""
        shape = (self._count, *self._shape)
        if self._file is None:
            whole = np.stack(self._parts)
        else:
            with self._file as file:
                file.flush()
                whole = np.memmap(file, self._dtype, "r+", shape=shape)
        self.__init__()
        return whole

    def _write(self, array: np.ndarray) -> None:
        assert self._file is not None
        try:
            self._file.write(np.ascontiguousarray(array).data)
        except OSError as error:
            size = self._count * array.nbytes
            raise _no_room(size, error) from error


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write a safetensors file piece by piece, so that arrays on disk need not fit into memory."""
    # Wide types first, so that every array begins at a multiple of its item's size.
    arrays = dict(sorted(arrays.items(), key=lambda item: -item[1].itemsize))
    header, offset = {}, 0
    for name, array in arrays.items():
        span = [offset, offset + array.nbytes]
        header[name] = {"dtype": _SAFETENSORS_TYPES[array.dtype], "shape": list(array.shape), "data_offsets": span}
        offset = span[1]
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for array in arrays.values():
            for part in np.array_split(array, max(1, array.nbytes // IN_MEMORY_BYTES)) if array.ndim else (array,):
                file.write(np.ascontiguousarray(part).data)
                release_pages(array)


def map_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a safetensors file; large ones are read from it as they are looked at, and cannot be written to.

    Raises `SafetensorError` when the file is not whole, `ValueError` for a type of numbers that no result has.
    """
    with safe_open(path, "numpy") as file:  # checks the header and the length
        names = list(file.keys())
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        arrays = {}
        for name in names:
            dtype, shape = _NUMPY_TYPES.get(header[name]["dtype"]), tuple(header[name]["shape"])
            if dtype is None:
                raise ValueError(f"{name} is stored as {header[name]['dtype']}")
            start, stop = header[name]["data_offsets"]
            if stop - start > IN_MEMORY_BYTES:
                arrays[name] = np.memmap(path, dtype, "r", 8 + length + start, shape)
            else:
                file.seek(8 + length + start)
                arrays[name] = np.frombuffer(file.read(stop - start), dtype).reshape(shape).copy()
    return arrays


def release_pages(*arrays: np.ndarray) -> None:
    """Give back the memory that arrays on disk take where they were looked at; values stay, other arrays are let be."""
    for array in arrays:
        mapping = _mapping(array)
        if mapping is not None and hasattr(mapping, "madvise"):
            mapping.madvise(mmap.MADV_DONTNEED)


def _no_room(size: int, error: OSError) -> InputError:
    return InputError(
        f"A clip this long needs {size / 2**30:.1f} GiB or more in {tempfile.gettempdir()}, but there is no room "
        f"({error.strerror}). Free some space, set TMPDIR to another disk, or take fewer frames (--fps, --end)."
    )


def _mapping(array: np.ndarray) -> mmap.mmap | None:
    base: object = array
    while isinstance(base, np.ndarray):
        base = base.base
    return base if isinstance(base, mmap.mmap) else None


def _reserve(descriptor: int, size: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
    else:
        os.truncate(descriptor, size)
