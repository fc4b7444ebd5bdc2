"""Arrays that may be too large for memory: in memory while small, else in a file that vanishes with them.

What comes back is a NumPy array either way. The file is reserved whole before anything is written (a full disk is one
sentence now, not a crash later) and has no name, so nothing is left behind however the program ends.
"""

import math
import mmap
import os
import tempfile
from pathlib import Path

import numpy as np

from unish.errors import InputError

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
            raise InputError(
                f"A clip this long needs {size / 2**30:.1f} GiB in {tempfile.gettempdir()}, but there is no room "
                f"({error.strerror}). Free some space, set TMPDIR to another disk, or take fewer frames (--fps, --end)."
            ) from error
        return np.memmap(file, dtype, "r+", shape=shape)


def map_file(path: Path, dtype: np.typing.DTypeLike, shape: tuple[int, ...], offset: int) -> np.ndarray:
    """Part of a file as a read-only array that is read as it is looked at."""
    if math.prod(shape) == 0:
        return np.zeros(shape, dtype)
    return np.memmap(path, dtype, "r", offset, shape)


def let_go(*arrays: np.ndarray) -> None:
    """Give back the memory that arrays on disk take where they were looked at; values stay, other arrays are let be."""
    for array in arrays:
        mapping = _mapping(array)
        if mapping is not None and hasattr(mapping, "madvise"):
            mapping.madvise(mmap.MADV_DONTNEED)


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
