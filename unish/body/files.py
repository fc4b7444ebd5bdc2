"""Reading SMPL body files without running what they say.

Official SMPL files are Python 2 pickles with chumpy arrays inside, and a pickle may name any function to be
called. Here a pickle can only build numpy arrays, sparse matrices and plain data: everything else is refused
by name before it runs, and neither chumpy nor scipy's classes are ever called.
"""

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from unish.body.data import BodyData, check_arrays
from unish.errors import InputError, MissingAssetError

_ZIP, _PICKLE_STARTS = b"PK\x03\x04", (b"\x80", b"(", b"}", b"c")
_BROKEN = (
    pickle.UnpicklingError, EOFError, ValueError, IndexError, KeyError, AttributeError, TypeError,
    OverflowError, MemoryError, RecursionError, UnicodeError,
)  # fmt: skip


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
        arrays = _read_pickle(path)
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


def _read_pickle(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            content = BodyUnpickler(file, encoding="latin1").load()
        if not isinstance(content, dict):
            raise InputError(f"{path} holds a {type(content).__name__}, not the dictionary of an SMPL body file.")
        return {str(key): _plain(value) for key, value in content.items()}
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except _BROKEN as error:
        raise InputError(f"{path} is damaged or no SMPL body file ({error}); download it again.") from error


class _Record:
    """Stands in for a class of the pickle: keeps the state that it was given, and does nothing."""

    def __new__(cls, *_: Any) -> "_Record":
        record = super().__new__(cls)
        record.state = {}
        return record

    def __init__(self, *_: Any) -> None: ...

    def __setstate__(self, state: Any) -> None:
        self.state = state if isinstance(state, dict) else {}


class _Sparse(_Record):
    """A scipy sparse matrix, compressed by columns; rows in the subclass."""

    def dense(self) -> np.ndarray:
        rows, columns = (int(size) for size in self.state.get("_shape", self.state.get("shape", ())))
        starts, along = np.asarray(self.state["indptr"]), np.asarray(self.state["indices"])
        across = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
        result = np.zeros((columns, rows), np.float64)
        np.add.at(result, (across, along), np.asarray(self.state["data"]))
        return result.T


class _SparseRows(_Sparse):
    def dense(self) -> np.ndarray:
        self.state["_shape"] = self.state.get("_shape", self.state.get("shape", ()))[::-1]
        return super().dense().T


class _ChumpyArray(_Record):
    def values(self) -> np.ndarray:
        return np.asarray(_plain(self.state["x"]))


class _ChumpySelect(_Record):
    """Numbers picked from another array, in a shape."""

    def values(self) -> np.ndarray:
        picked = np.asarray(_plain(self.state["a"])).ravel()[_plain(self.state["idxs"])]
        shape = self.state.get("preferred_shape")
        return picked if shape is None else picked.reshape(shape)


class _ChumpyReshape(_Record):
    def values(self) -> np.ndarray:
        return np.asarray(_plain(self.state["a"])).reshape(self.state["newshape"])


def _plain(value: Any) -> Any:
    if isinstance(value, _Sparse):
        return value.dense()
    if isinstance(value, _ChumpyArray | _ChumpySelect | _ChumpyReshape):
        return value.values()
    return value


def _new_record(kind: type, base: type, _state: Any = None) -> _Record:
    """What Python 2 pickles use to make an object of a class."""
    if base is not object or not (isinstance(kind, type) and issubclass(kind, _Record)):
        raise InputError("the pickle builds an object that no SMPL body file holds.")
    return kind()


def _encode(text: str, encoding: str = "latin1") -> bytes:
    """What Python 3 writes for bytes in old pickle protocols."""
    if encoding not in ("latin1", "latin-1"):
        raise InputError(f"the pickle encodes text as {encoding!r}, which no SMPL body file does.")
    return text.encode("latin1")


def _admitted() -> dict[tuple[str, str], Any]:
    array = np.zeros(1)
    globals_ = {
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
        ("copyreg", "_reconstructor"): _new_record,
        ("_codecs", "encode"): _encode,
        ("builtins", "object"): object,
        ("builtins", "set"): set,
        ("builtins", "frozenset"): frozenset,
        ("builtins", "slice"): slice,
        ("chumpy.ch", "Ch"): _ChumpyArray,
        ("chumpy.reordering", "Select"): _ChumpySelect,
        ("chumpy.reordering", "Reshape"): _ChumpyReshape,
    }
    for core in ("numpy.core", "numpy._core"):
        globals_[core + ".multiarray", "_reconstruct"] = array.__reduce__()[0]
        globals_[core + ".multiarray", "scalar"] = array[0].__reduce__()[0]
        globals_[core + ".numeric", "_frombuffer"] = array.__reduce_ex__(5)[0]
    for kind, record in (("csc", _Sparse), ("csr", _SparseRows)):
        for module in (f"scipy.sparse.{kind}", f"scipy.sparse._{kind}"):
            for name in (f"{kind}_matrix", f"{kind}_array"):
                globals_[module, name] = record
    return globals_


_ADMITTED = _admitted()
_PYTHON_2 = {"__builtin__": "builtins", "copy_reg": "copyreg"}


class BodyUnpickler(pickle.Unpickler):
    """Admits numpy arrays, sparse matrices and chumpy arrays, the last two as inert records."""

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        """The stand-in for a global of the pickle. Raises InputError, naming it, for any other."""
        key = (_PYTHON_2.get(module_name, module_name), global_name)
        if key not in _ADMITTED:
            raise InputError(
                f"refused, because it asks for {module_name}.{global_name}, which no SMPL body file needs; "
                "nothing was run. Use the file from the SMPL website."
            )
        return _ADMITTED[key]
