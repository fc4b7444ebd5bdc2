"""Reading SMPL body files, the official pickles and plain .npz files, without running what they say."""

import math
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from unish.body.data import ARRAY_NAMES, MOST_VERTICES, BodyData, check_arrays
from unish.errors import InputError, MissingAssetError
from unish.utils.safe_pickle import read_pickle

_ZIP, _PICKLE_STARTS = b"PK\x03\x04", (b"\x80", b"(", b"}", b"c")
_MOST_BYTES = 2**28
"""Of one array; the pose directions of SMPL-X, the largest of the family, take 122 MB."""
_MOST_JOINTS = 100


def read_body_file(path: str | os.PathLike[str], name: str | None = None) -> BodyData:
    """Read and check an SMPL file, .npz or the official .pkl; the kind is told by its content.

    Raises MissingAssetError when it is not there, InputError when it is damaged, is no SMPL body, or asks
    for anything to be run.
    """
    path = Path(path)
    try:
        if not path.is_file():
            raise MissingAssetError(f"No body file at {path}; expected an SMPL .npz or .pkl file.")
        with path.open("rb") as file:
            start = file.read(4)
    except OSError as error:
        if isinstance(error, MissingAssetError):
            raise
        raise InputError(f"{path} cannot be read: {error.strerror or error}; check the file.") from error
    if start == _ZIP:
        arrays = _read_npz(path)
    elif start[:1] in _PICKLE_STARTS:
        content = read_pickle(path, "an SMPL body file")
        arrays = {key: _dense(key, content[key], path) for key in ARRAY_NAMES if key in content}
    else:
        raise InputError(f"{path} is neither a .npz nor a .pkl file; expected an SMPL body file.")
    return check_arrays(name or path.stem.lower(), arrays, str(path))


def _dense(key: str, value: Any, path: Path) -> Any:
    """A sparse matrix as an array, where it is as small as those of bodies."""
    if not hasattr(value, "toarray"):
        return value
    if value.ndim != 2 or value.shape[0] > _MOST_JOINTS or value.shape[1] > MOST_VERTICES:
        raise InputError(f"{path}: {key} should have a row per joint and a column per vertex, got {value.shape}.")
    return value.toarray()


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a body, and no other ones: SMPL-X files hold pickled objects as well."""
    try:
        with zipfile.ZipFile(path) as archive:
            present = set(archive.namelist())
            return {key: read_array(archive, f"{key}.npy") for key in ARRAY_NAMES if f"{key}.npy" in present}
    except Exception as error:  # the readers of archives and headers pass on whatever damage makes of their parts
        reason = error or type(error).__name__
        raise InputError(
            f"{path} is damaged or holds more than plain arrays ({reason}); download it again, or use the .pkl file."
        ) from error


def read_array(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    """An array of an .npz file, never a pickled one.

    Raises `ValueError` before memory is taken for one that is larger than its file, or than any body's, and what the
    readers of archives make of damage.
    """
    with archive.open(name) as file:
        version = np.lib.format.read_magic(file)
        read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        if version not in read_header:
            raise ValueError(f"{name} is of an unknown version")
        shape, _, dtype = read_header[version](file)
    size = math.prod(shape) * dtype.itemsize
    if size > min(_MOST_BYTES, archive.getinfo(name).file_size):
        raise ValueError(f"{name} states {size} bytes")
    with archive.open(name) as file:
        return np.lib.format.read_array(file, allow_pickle=False)
