"""Reading body files: the official kinds are read without chumpy, and nothing in them is ever run."""

import io
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

from tests.body.bodies import made_up_arrays, write_official_pickle
from unish.body.data import BodyData
from unish.body.files import read_body_file
from unish.errors import InputError, MissingAssetError
from unish.utils.safe_pickle import PlainUnpickler


def assert_made_up(data: BodyData) -> None:
    arrays = made_up_arrays()
    np.testing.assert_allclose(data.template, arrays["v_template"], atol=1e-6)
    np.testing.assert_allclose(data.shape_directions, arrays["shapedirs"], atol=1e-6)
    np.testing.assert_allclose(data.joint_regressor, arrays["J_regressor"], atol=1e-6)
    np.testing.assert_allclose(data.pose_directions, arrays["posedirs"], atol=1e-6)
    assert data.parents[0] == -1 and data.faces.dtype == np.int64


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_official_pickle_is_read_without_chumpy(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "basicModel_neutral_lbs_10_207_0_v1.0.0.pkl"
    write_official_pickle(path, made_up_arrays(), protocol)
    with pytest.raises(ImportError):
        __import__("chumpy")
    assert_made_up(read_body_file(path))


def test_npz_is_read(tmp_path: Path) -> None:
    np.savez(tmp_path / "SMPL_NEUTRAL.npz", **made_up_arrays())
    data = read_body_file(tmp_path / "SMPL_NEUTRAL.npz")
    assert_made_up(data)
    assert data.name == "smpl_neutral"


def test_array_written_by_python_2_is_read() -> None:
    values = np.array([1.5, -2.5])
    stream = (
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01K\x02\x85"
        b"cnumpy\ndtype\nU\x02f8K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x10"
        + values.tobytes()
        + b"tb."
    )
    np.testing.assert_array_equal(PlainUnpickler(io.BytesIO(stream), encoding="latin1").load(), values)


class Command:
    """A pickle of this runs a command when it is read carelessly."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("protocol", range(6))
def test_pickle_that_would_run_a_command_is_refused_by_name(tmp_path: Path, protocol: int) -> None:
    marker, path = tmp_path / "it_ran", tmp_path / "smpl.pkl"
    path.write_bytes(pickle.dumps({**made_up_arrays(), "v_template": Command(marker)}, protocol=protocol))
    with pytest.raises(InputError, match=r"(posix|nt|os)\.system"):
        read_body_file(path)
    assert not marker.exists()
    pickle.loads(path.read_bytes())
    assert marker.exists(), "the pickle was harmless, so the test above said nothing"


@pytest.mark.parametrize(
    "call",
    [
        b"cbuiltins\neval\n(S'1'\ntR.",
        b"c__builtin__\ngetattr\n(S'a'\nS'b'\ntR.",
        b"cnumpy.core.multiarray\nfromfile\n(S'a'\ntR.",
        b"cnumpy.testing._private.utils\nrunstring\n(S'a'\nS'b'\ntR.",
        b"cnumpy\nload\n(S'a'\ntR.",
        b"cchumpy.ch\nos.system\n(S'a'\ntR.",
        b"\x80\x04\x8c\x05numpy\x8c\x0fndarray.tofile\x93.",
        b"ccopy_reg\n_reconstructor\n(cnumpy\nndarray\nc__builtin__\nobject\nNtR.",
        b"\x80\x02cchumpy.ch\nCh\n)\x81}U\x01xccopy_reg\n__newobj__\nsb.",
        b"Pid\n.",
    ],
)
def test_every_other_global_is_refused(tmp_path: Path, call: bytes) -> None:
    path = tmp_path / "smpl.pkl"
    path.write_bytes(b"(" + call if call.startswith(b"P") else call)
    with pytest.raises(InputError):
        read_body_file(path)


def test_npz_with_pickled_objects_is_refused(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    np.savez(tmp_path / "smpl.npz", v_template=np.array([Command(marker)], object))
    with pytest.raises(InputError, match="more than plain arrays"):
        read_body_file(tmp_path / "smpl.npz")
    assert not marker.exists()


@pytest.mark.parametrize("kind", ["npz", "pkl"])
@pytest.mark.parametrize("share", [0.05, 0.5, 0.95])
def test_truncated_file_is_one_clear_error(tmp_path: Path, kind: str, share: float) -> None:
    path = tmp_path / f"smpl.{kind}"
    if kind == "npz":
        np.savez(path, **made_up_arrays())
    else:
        write_official_pickle(path, made_up_arrays())
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(InputError, match=r"smpl\."):
        read_body_file(path)


@pytest.mark.parametrize("content", [b"", b"hello, this is a letter", b"\x89PNG\r\n", b"()", b"\x80\x02]."])
def test_file_of_another_kind_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "smpl.pkl"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"smpl\.pkl"):
        read_body_file(path)


def test_missing_file_says_where_it_looked(tmp_path: Path) -> None:
    with pytest.raises(MissingAssetError, match=r"nowhere\.pkl"):
        read_body_file(tmp_path / "nowhere.pkl")


def broken(**changes: Any) -> dict[str, Any]:
    arrays = {**made_up_arrays(), **changes}
    return {key: value for key, value in arrays.items() if value is not None}


@pytest.mark.parametrize(
    ("arrays", "named"),
    [
        (broken(weights=None), "weights"),
        (broken(v_template=np.full((40, 3), np.nan)), "v_template"),
        (broken(v_template=np.zeros((40, 2))), "v_template"),
        (broken(shapedirs=np.zeros((40, 3, 4))), "shapedirs"),
        (broken(posedirs=np.zeros((40, 3, 459))), "posedirs"),
        (broken(J_regressor=np.zeros((23, 40))), "J_regressor"),
        (broken(J_regressor=np.zeros((52, 40))), "SMPL-H"),
        (broken(weights=np.zeros((40, 24))), "weights"),
        (broken(kintree_table=np.zeros((2, 24), int)), "kintree_table"),
        (broken(kintree_table=np.zeros((2, 55), int)), "an SMPL-X body, with 55 joints"),
        (broken(kintree_table=np.full((2, 24), np.nan)), "kintree_table"),
        (broken(kintree_table=np.full((2, 24), "1")), "kintree_table"),
        (broken(kintree_table=np.array(3)), "kintree_table"),
        (broken(f=np.full((5, 3), 40)), "f should name"),
        (broken(f=np.zeros((5, 3))), "f should"),
        (broken(f=np.zeros((0, 3), int)), "f should name"),
        (broken(v_template=np.array([["a", "b", "c"]] * 40)), "v_template"),
        (broken(v_template=np.zeros((0, 3))), "3 to 50000 vertices"),
        (broken(v_template=np.full((40, 3), 1e300)), "v_template"),
        (broken(v_template=np.full((40, 3), np.iinfo(np.int64).min)), "v_template"),
        (broken(shapedirs=np.zeros(())), "shapedirs"),
    ],
)
def test_wrong_array_is_named(tmp_path: Path, arrays: dict[str, Any], named: str) -> None:
    np.savez(tmp_path / "smpl.npz", **arrays)
    with pytest.raises(InputError, match=named):
        read_body_file(tmp_path / "smpl.npz")


def write_pickle(path: Path, **changes: Any) -> Path:
    path.write_bytes(pickle.dumps(broken(**changes), protocol=2))
    return path


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"v_template": [[1.0, 2.0, 3.0], [1.0]]}, "v_template is no array"),
        ({"weights": {"a": 1}}, "weights"),
        ({"J_regressor": None, "kintree_table": "none"}, "J_regressor"),
        ({"J_regressor": sp.csc_matrix((10**6, 10**6))}, r"J_regressor .* got \(1000000, 1000000\)"),
        ({"J_regressor": sp.csr_matrix((24, 10**9))}, "J_regressor"),
        ({"f": [[0, 1, 10**30]]}, "f "),
    ],
)
def test_odd_things_in_pickles_are_one_sentence(tmp_path: Path, changes: dict[str, Any], named: str) -> None:
    with pytest.raises(InputError, match=named):
        read_body_file(write_pickle(tmp_path / "smpl.pkl", **changes))


def test_a_sparse_matrix_that_claims_more_than_it_holds(tmp_path: Path) -> None:
    lying = sp.csc_matrix(made_up_arrays()["J_regressor"])
    lying.indptr = lying.indptr.astype(np.int64)
    lying.indptr[-1] = 10**10
    with pytest.raises(InputError, match="places that it does not have"):
        read_body_file(write_pickle(tmp_path / "smpl.pkl", J_regressor=lying))


def test_arrays_that_a_body_does_not_need_are_not_looked_at(tmp_path: Path) -> None:
    extra = {"joint2num": np.array({"Pelvis": 0}, object), "huge": np.zeros(3)}
    np.savez(tmp_path / "smpl.npz", **made_up_arrays(), **extra, allow_pickle=True)
    assert_made_up(read_body_file(tmp_path / "smpl.npz"))
    assert_made_up(read_body_file(write_pickle(tmp_path / "smpl.pkl", prior=sp.csc_matrix((10**6, 10**6)))))


def npy(shape: str, data: bytes = b"", dtype: str = "<f8") -> bytes:
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + data


@pytest.mark.parametrize(
    "content",
    [
        npy("(1000000000000, 3)"),
        npy("(40, 3)"),
        npy("(-1, 3)"),
        npy("(40, 3"),
        npy("(" * 500),
        npy("(2**70,)"),
        npy("(40, 3)", dtype="O"),
        b"",
        b"\x93NUMPY\x09\x00",
        bytes(range(155, 255)),
    ],
)
def test_arrays_that_claim_what_they_do_not_hold_take_no_memory(tmp_path: Path, content: bytes) -> None:
    np.savez(tmp_path / "smpl.npz", **broken(v_template=None))
    with zipfile.ZipFile(tmp_path / "smpl.npz", "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("v_template.npy", content)
    with pytest.raises(InputError, match="damaged"):
        read_body_file(tmp_path / "smpl.npz")


def test_an_array_of_zeros_that_fills_the_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unish.body.files._MOST_BYTES", 10**6)
    np.savez_compressed(tmp_path / "smpl.npz", **broken(shapedirs=np.zeros((40, 3, 10_000))))
    assert (tmp_path / "smpl.npz").stat().st_size < 300_000
    with pytest.raises(InputError, match=r"shapedirs\.npy states 9600000 bytes"):
        read_body_file(tmp_path / "smpl.npz")


def test_an_encrypted_archive_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "smpl.npz"
    np.savez(path, **made_up_arrays())
    content = bytearray(path.read_bytes())
    for start, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):  # in the entries and in the table of contents
        at = -1
        while (at := content.find(start, at + 1)) >= 0:
            content[at + flags] |= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match="encrypted"):
        read_body_file(path)


def test_the_files_that_once_gave_a_traceback(tmp_path: Path, repository: Path) -> None:
    hostile = repository.parent / "shared" / "cases" / "hostile"
    if not hostile.is_dir():
        pytest.skip(f"no files at {hostile}")
    for path in (*hostile.glob("*.npz"), *hostile.glob("*.pkl")):
        with pytest.raises(InputError):
            read_body_file(path)
