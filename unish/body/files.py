"""Reading SMPL body files, the official pickles and plain .npz files, without running what they say."""

import os
from pathlib import Path

import numpy as np

from unish.body.data import BodyData, check_arrays
from unish.errors import InputError, MissingAssetError
from unish.utils.safe_pickle import read_pickle

_ZIP, _PICKLE_STARTS = b"PK\x03\x04", (b"\x80", b"(", b"}", b"c")


def read_body_file(path: str | os.PathLike[str], name: str | None = None) -> BodyData:
    """Read and check an SMPL file, .npz or the official .pkl; the kind is told by its content.

    Raises MissingAssetError when it is not there, InputError when it is damaged, is no SMPL body, or asks
    for anything to be run.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingAssetError(f"No body file at {path}; expected an SMPL .npz or .pkl file.")
    start = path.open("rb").read(4)
    if start == _ZIP:
        arrays = _read_npz(path)
    elif start[:1] in _PICKLE_STARTS:
        content = read_pickle(path, "an SMPL body file")
        arrays = {key: value.toarray() if hasattr(value, "toarray") else value for key, value in content.items()}
    else:
        raise InputError(f"{path} is neither a .npz nor a .pkl file; expected an SMPL body file.")
    return check_arrays(name or path.stem.lower(), arrays, str(path))


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    import zipfile
    import zlib

    try:
        with np.load(path, allow_pickle=False) as stored:
            return {key: stored[key] for key in stored.files}
    except (ValueError, zipfile.BadZipFile, zlib.error, EOFError, OSError, KeyError) as error:
        raise InputError(
            f"{path} is damaged or holds more than plain arrays ({error}); download it again, or use the .pkl file."
        ) from error
