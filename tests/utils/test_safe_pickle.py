"""Pickles of other people: plain data comes out, nothing is run, and what is wrong is one sentence."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

from unish.errors import InputError
from unish.utils.safe_pickle import read_pickle

CONTENT = {
    "gender": "female",
    "good": np.array([True, False]),
    "flag": np.bool_(True),
    "smpl": {"trans": np.arange(6.0).reshape(2, 3), "betas": np.float32([1, 2])},
    "people": [np.arange(3), np.array([1, None, "x"], object)],
    "scale": np.float64(2.5),
}


@pytest.mark.parametrize("protocol", range(6))
def test_plain_data_comes_out(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "labels.pkl"
    path.write_bytes(pickle.dumps(CONTENT, protocol=protocol))
    read = read_pickle(path, "a label file")
    assert read["gender"] == "female" and read["flag"] == np.bool_(True) and read["scale"] == 2.5
    np.testing.assert_array_equal(read["good"], CONTENT["good"])
    np.testing.assert_array_equal(read["smpl"]["trans"], CONTENT["smpl"]["trans"])
    assert read["smpl"]["betas"].dtype == np.float32
    assert read["people"][1].tolist() == [1, None, "x"]


@pytest.mark.parametrize("kind", ["csc_matrix", "csr_matrix", "coo_matrix", "csr_array", "coo_array"])
def test_sparse_matrices_stay_sparse(tmp_path: Path, kind: str) -> None:
    dense = np.array([[0, 1.5, 0, 2], [0, 0, 0, 0], [3, 0, 0, 0.25]])
    path = tmp_path / "map.pkl"
    path.write_bytes(pickle.dumps({"mtx": getattr(sp, kind)(dense)}, protocol=2))
    matrix = read_pickle(path, "a map")["mtx"]
    assert sp.issparse(matrix) and matrix.nnz == 4
    np.testing.assert_array_equal(matrix.toarray(), dense)


class _Eval:
    """A pickle of this writes a file when it is read carelessly."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return eval, (f"open({str(self.marker)!r}, 'w').close()",)


@pytest.mark.parametrize("depth", [0, 3])
def test_what_it_would_run_is_refused_by_name(tmp_path: Path, depth: int) -> None:
    path, marker = tmp_path / "labels.pkl", tmp_path / "it_ran"
    content: Any = _Eval(marker)
    for _ in range(depth):
        content = {"smpl": [content]}
    path.write_bytes(pickle.dumps({"camera": content}))
    with pytest.raises(
        InputError, match=r"labels\.pkl is not read as a label file: it asks for \w+\.eval.*not.*run"
    ) as e:
        read_pickle(path, "a label file")
    assert "\n" not in str(e.value) and not marker.exists()
    pickle.loads(path.read_bytes())
    assert marker.exists(), "the pickle was harmless, so the test above said nothing"


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_truncated(tmp_path: Path, share: float) -> None:
    path, content = tmp_path / "labels.pkl", pickle.dumps(CONTENT)
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(InputError, match=r"labels\.pkl is damaged or not a label file"):
        read_pickle(path, "a label file")


@pytest.mark.parametrize("content", [[1, 2], "text", np.zeros(3)])
def test_pickle_of_something_else(tmp_path: Path, content: Any) -> None:
    path = tmp_path / "labels.pkl"
    path.write_bytes(pickle.dumps(content))
    with pytest.raises(InputError, match=r"it holds a \w+, not a dictionary"):
        read_pickle(path, "a label file")


def test_sparse_matrix_that_lies_about_its_size(tmp_path: Path) -> None:
    matrix = sp.csr_matrix(np.eye(3))
    matrix.indices[2] = 700
    path = tmp_path / "map.pkl"
    path.write_bytes(pickle.dumps({"mtx": matrix}, protocol=2))
    with pytest.raises(InputError, match="damaged"):
        read_pickle(path, "a map")


def test_empty_arrays_come_out_and_bytes_of_any_length_do_not(tmp_path: Path) -> None:
    path = tmp_path / "labels.pkl"
    path.write_bytes(pickle.dumps({"none": np.zeros((0, 3)), "text": b""}, protocol=2))
    read = read_pickle(path, "a label file")
    assert read["none"].shape == (0, 3) and read["text"] == b""
    path.write_bytes(b"\x80\x02}X\x01\x00\x00\x00ac__builtin__\nbytes\nJ\xff\xff\xff\x7f\x85Rs.")
    with pytest.raises(InputError, match="damaged"):
        read_pickle(path, "a label file")


@pytest.mark.parametrize("depth", [3, 200_000])
def test_tuples_in_tuples_as_a_key_do_not_end_the_process(tmp_path: Path, depth: int) -> None:
    path = tmp_path / "labels.pkl"
    path.write_bytes(b"\x80\x02}K\x01" + b"\x85" * depth + b"K\x02s.")
    if depth == 3:
        assert read_pickle(path, "a label file") == {"(((1,),),)": 2}
    else:
        with pytest.raises(InputError, match="nests tuples"):
            read_pickle(path, "a label file")
