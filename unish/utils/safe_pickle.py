"""Reading pickles of other people without running what they say.

A pickle may name any function to be called. Here it can only build numpy arrays, sparse matrices and plain data:
everything else is refused by name before it runs. Python 2 pickles with chumpy arrays are read as well, and neither
chumpy nor scipy's classes are ever called.
"""

import io
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from unish.errors import InputError


def read_pickle(path: str | os.PathLike[str], kind: str) -> dict[str, Any]:
    """The dictionary that a pickle holds, chumpy's arrays as numpy's and sparse matrices as `scipy.sparse.coo_array`.

    `kind` says in messages what the file should be ("an SMPL body file"). Raises InputError when it is damaged, holds
    something else, or asks for anything to be run.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            content = PlainUnpickler(file, encoding="latin1").load()
        if not isinstance(content, dict):
            raise InputError(f"it holds a {type(content).__name__}, not a dictionary; use the official file.")
        return {str(key): _plain(value) for key, value in content.items()}
    except InputError as error:
        raise InputError(f"{path} is not read as {kind}: {error}") from None
    except Exception as error:  # a damaged pickle makes any of NumPy's functions fail in any way
        raise InputError(f"{path} is damaged or not {kind} ({error}); download it again.") from error


class _Record:
    """Stands in for a class of the pickle: keeps the state that it was given, and does nothing."""

    def __new__(cls, *_: Any) -> "_Record":
        record = super().__new__(cls)
        record.state = {}
        return record

    def __init__(self, *_: Any) -> None: ...

    def __setstate__(self, state: Any) -> None:
        self.state = state if isinstance(state, dict) else {}

    def values(self) -> Any:
        """The numbers that the record stands for."""
        raise InputError("it holds an object that is no array; use the official file.")


class _Sparse(_Record):
    """A scipy sparse matrix, compressed by columns; other kinds in the subclasses."""

    def values(self) -> Any:
        from scipy.sparse import coo_array

        rows, columns = (int(size) for size in self.state.get("_shape", self.state.get("shape", ())))
        if not (0 <= rows < 2**31 and 0 <= columns < 2**31):
            raise ValueError(f"its sparse matrix has the shape {rows} × {columns}")
        return coo_array((np.asarray(self.state["data"]), self.places()), shape=(rows, columns))

    def places(self) -> tuple[np.ndarray, np.ndarray]:
        """Row and column of each number."""
        indices, starts = np.asarray(self.state["indices"]), np.asarray(self.state["indptr"])
        counts = np.diff(starts)
        if (counts < 0).any() or int(starts[0]) != 0 or int(starts[-1]) != len(indices):
            raise ValueError("its sparse matrix names places that it does not have")
        return indices, np.repeat(np.arange(len(counts)), counts)


class _SparseRows(_Sparse):
    def places(self) -> tuple[np.ndarray, np.ndarray]:
        columns, rows = super().places()
        return rows, columns


class _SparsePairs(_Sparse):
    def places(self) -> tuple[np.ndarray, np.ndarray]:
        rows, columns = self.state.get("coords") or (self.state["row"], self.state["col"])
        return np.asarray(rows), np.asarray(columns)


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
    return value.values() if isinstance(value, _Record) else value


def _new_record(kind: type, base: type, _state: Any = None) -> _Record:
    """What Python 2 pickles use to make an object of a class."""
    if base is not object or not (isinstance(kind, type) and issubclass(kind, _Record)):
        raise InputError("it builds an object that plain data never needs; nothing was run. Use the official file.")
    return kind()


def _encode(text: str, encoding: str = "latin1") -> bytes:
    """What Python 3 writes for bytes in old pickle protocols."""
    if encoding not in ("latin1", "latin-1"):
        raise InputError(f"it encodes text as {encoding!r}, which numpy never does. Use the official file.")
    return text.encode("latin1")


def _no_bytes() -> bytes:
    """What Python 3 writes for empty bytes in old pickle protocols; of any other call, its arguments are refused."""
    return b""


def _admitted() -> dict[tuple[str, str], Any]:
    array = np.zeros(1)
    globals_ = {
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
        ("copyreg", "_reconstructor"): _new_record,
        ("_codecs", "encode"): _encode,
        ("builtins", "object"): object,
        ("builtins", "bytes"): _no_bytes,
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
    for kind, record in (("csc", _Sparse), ("csr", _SparseRows), ("coo", _SparsePairs)):
        for module in (f"scipy.sparse.{kind}", f"scipy.sparse._{kind}"):
            for name in (f"{kind}_matrix", f"{kind}_array"):
                globals_[module, name] = record
    return globals_


_ADMITTED = _admitted()
_DEEPEST = 100
_PYTHON_2 = {"__builtin__": "builtins", "copy_reg": "copyreg"}


class PlainUnpickler(pickle._Unpickler):
    """Admits numpy arrays, sparse matrices and chumpy arrays, the last two as inert records.

    It is the one in Python, not in C, for its hooks: a tuple in a tuple, some ten thousand deep, ends the process as
    soon as it is a key, as hashing it takes a step of the C stack for each.
    """

    def __init__(self, file: io.BufferedIOBase, encoding: str) -> None:
        super().__init__(file, encoding=encoding)
        self._depths: dict[int, tuple[int, tuple]] = {}
        """Of nested tuples: how deep, and themselves, so that no other object takes their number."""

    def check_tuple(self) -> None:
        """Called when a tuple has been put on the stack. Raises InputError for one that is nested too deep."""
        made = self.stack[-1]  # type: ignore[attr-defined]
        inner = max((self._depths.get(id(part), (1, ()))[0] for part in made if type(part) is tuple), default=0)
        if inner >= _DEEPEST:
            raise InputError(f"it nests tuples more than {_DEEPEST} deep; use the official file.")
        if inner:
            self._depths[id(made)] = (inner + 1, made)

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        """The stand-in for a global of the pickle. Raises InputError, naming it, for any other."""
        key = (_PYTHON_2.get(module_name, module_name), global_name)
        if key not in _ADMITTED:
            raise InputError(
                f"it asks for {module_name}.{global_name}, which plain data never needs; nothing was run. "
                "Use the official file."
            )
        return _ADMITTED[key]

    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = dict(pickle._Unpickler.dispatch)
    """By opcode."""


def _hooked(load: Callable[[Any], None]) -> Callable[[Any], None]:
    def load_tuple(unpickler: PlainUnpickler) -> None:
        load(unpickler)
        unpickler.check_tuple()

    return load_tuple


for _opcode in (*pickle.TUPLE, *pickle.TUPLE1, *pickle.TUPLE2, *pickle.TUPLE3):
    PlainUnpickler.dispatch[_opcode] = _hooked(PlainUnpickler.dispatch[_opcode])
