"""RICH's test split: SMPL-X fits seen by still cameras, as SMPL bodies."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.helpers.benchmarks import scene
from tests.helpers.benchmarks.people_sets import (
    RICH_NUMBERS,
    install_bodies,
    rich_camera,
    rich_fit,
    rich_truth,
    seen_px,
    smplx_arrays,
    write_rich,
)
from unish.errors import InputError, MissingAssetError
from unish.evaluation.datasets import benchmark, rich

FEMALE, MALE = "Gym_010_dips1", "Gym_011_dips1"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rich")
    write_rich(folder, rich.CAMERAS_OF)
    return folder


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two sequences alone, to break."""
    monkeypatch.setattr(rich, "CAMERAS_OF", {name: rich.CAMERAS_OF[name] for name in (FEMALE, MALE)})
    write_rich(tmp_path / "RICH", rich.CAMERAS_OF)
    return tmp_path / "RICH"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("UNISH_HOME", str(tmp_path / "home"))
    install_bodies(tmp_path / "home", ("neutral",))
    return tmp_path / "home"


def test_one_sequence_a_camera_of_the_split(root: Path) -> None:
    sequences = benchmark("rich").sequences(root)
    assert len(sequences) == sum(map(len, rich.CAMERAS_OF.values())) == len({sequence.name for sequence in sequences})
    assert all(sequence.frames == len(RICH_NUMBERS) and sequence.fps == 30.0 for sequence in sequences)
    assert "Gym_010_dips1_cam_04" in {sequence.name for sequence in sequences}
    assert not any("009_021" in sequence.name for sequence in sequences)


@pytest.mark.parametrize(("name", "gender"), [(FEMALE, "female"), (MALE, "male")])
def test_bodies_become_smpls_where_each_camera_sees_them(small: Path, name: str, gender: str) -> None:
    vertices, joints = rich_truth(name, gender)
    sequences = [found for found in benchmark("rich").sequences(small) if found.name.startswith(name)]
    assert [sequence.name for sequence in sequences] == [f"{name}_cam_{n:02d}" for n in rich.CAMERAS_OF[name]]
    for sequence, camera in zip(sequences, rich.CAMERAS_OF[name], strict=True):
        (person,) = sequence.people
        np.testing.assert_allclose(person.joints_world, joints, atol=1e-5)
        np.testing.assert_allclose(sequence.world_from_camera, np.tile(rich_camera(camera), (3, 1, 1)), atol=1e-9)
        np.testing.assert_allclose(sequence.intrinsics[1], scene.intrinsics())
        assert person.present.all() and np.abs(sequence.image(1).astype(int) - scene.rgb(0)).max() < 12
        for frame in range(3):
            np.testing.assert_allclose(person.vertices_world(frame), vertices[frame], atol=1e-5)
            seen = seen_px(vertices[frame], rich_camera(camera), scene.intrinsics())
            np.testing.assert_allclose(person.boxes_px[frame], [*seen.min(0), *seen.max(0)], atol=1e-2)


def test_long_sequences_are_posed_a_few_frames_at_a_time(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = benchmark("rich").sequences(small)[1].people[0]
    monkeypatch.setattr(rich, "_CHUNK_FRAMES", 2)
    parts = benchmark("rich").sequences(small)[1].people[0]
    np.testing.assert_allclose(parts.joints_world, whole.joints_world, atol=1e-6)
    np.testing.assert_allclose(parts.boxes_px, whole.boxes_px, atol=1e-3)
    for frame in (2, 0, 1):
        np.testing.assert_allclose(parts.vertices_world(frame), whole.vertices_world(frame), atol=1e-6)


@pytest.mark.parametrize(
    ("lost", "match", "page"),
    [
        ("", "is not a folder", rich.DOWNLOAD.page),
        (f"bodies/test/{MALE}", f"lacks 1 of 2 sequences: {MALE}", rich.DOWNLOAD.page),
        ("bodies", "none of the 2 sequences", rich.DOWNLOAD.page),
        (f"images/test/{MALE}", f"images/test lacks 1 of 2 sequences: {MALE}", rich.DOWNLOAD.page),
        (f"images/test/{MALE}/cam_03", "cam_03 is not a folder", rich.DOWNLOAD.page),
        (f"images/test/{MALE}/cam_03/00005_03.jpeg", r"00005_03\.jpeg is missing \(1 of 3", rich.DOWNLOAD.page),
        (f"bodies/test/{MALE}/00005/011.pkl", r"00005/011\.pkl is missing", rich.DOWNLOAD.page),
        ("scan_calibration/Gym/calibration/003.xml", r"003\.xml is missing", rich.DOWNLOAD.page),
        ("body_models/smplx/SMPLX_MALE.npz", r"SMPLX_MALE\.npz is missing", rich.SMPLX_DOWNLOAD.page),
        ("body_models/transfer_data", r"smplx2smpl_deftrafo_setup\.pkl is missing", rich.SMPLX_DOWNLOAD.page),
    ],
)
def test_missing(small: Path, tmp_path: Path, lost: str, match: str, page: str) -> None:
    (small / lost).rename(tmp_path / "lost")
    with pytest.raises(MissingAssetError, match=match) as error:
        benchmark("rich").sequences(small)
    scene.assert_sentence(error.value, page)


def test_sequence_without_frames(small: Path) -> None:
    for number in RICH_NUMBERS:
        (small / "bodies" / "test" / FEMALE / number / "010.pkl").unlink()
        (small / "bodies" / "test" / FEMALE / number).rmdir()
    with pytest.raises(MissingAssetError, match=f"{FEMALE} has no frames") as error:
        benchmark("rich").sequences(small)
    scene.assert_sentence(error.value, rich.DOWNLOAD.page)


def test_missing_neutral_body_says_what_to_install(small: Path, home: Path) -> None:
    (home / "bodies" / "smpl_neutral.npz").unlink()
    with pytest.raises(MissingAssetError, match=r"RICH needs the SMPL body smpl_neutral.*unish body install FILE") as e:
        benchmark("rich").sequences(small)
    scene.assert_sentence(e.value, "https://smpl.is.tue.mpg.de")


def test_reduced_images_are_told(small: Path) -> None:
    reduced = scene.encoded(scene.rgb(0)[::2, ::2], "JPEG")
    for path in (small / "images").rglob("*.jpeg"):
        path.write_bytes(reduced)
    with pytest.raises(InputError, match=r"is 24×18 pixels where .* \(24, 18\): the images seem reduced") as error:
        benchmark("rich").sequences(small)
    scene.assert_sentence(error.value, rich.DOWNLOAD.page)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".jpg"])
def test_images_of_the_other_kinds(small: Path, suffix: str) -> None:
    content = scene.encoded(scene.rgb(0), {".png": "PNG", ".bmp": "BMP", ".jpg": "JPEG"}[suffix])
    for path in list((small / "images").rglob("*.jpeg")):
        path.with_suffix(suffix).write_bytes(content)
        path.unlink()
    assert benchmark("rich").sequences(small)[0].image(0).shape == (scene.HEIGHT, scene.WIDTH, 3)


@pytest.mark.parametrize(
    "content", ["", "<opencv_storage>", "<a></a>", "<a><CameraMatrix><data>1 2 x</data></CameraMatrix></a>"]
)
def test_broken_calibration(small: Path, content: str) -> None:
    (small / "scan_calibration" / "Gym" / "calibration" / "004.xml").write_text(content)
    with pytest.raises(InputError, match=r"004\.xml is not a camera calibration") as error:
        benchmark("rich").sequences(small)
    scene.assert_sentence(error.value, rich.DOWNLOAD.page)


def test_broken_fit(small: Path) -> None:
    path = small / "bodies" / "test" / FEMALE / "00005" / "010.pkl"
    fit = rich_fit(FEMALE, "00005")
    path.write_bytes(pickle.dumps({**fit, "body_pose": fit["body_pose"][:, :60]}))
    with pytest.raises(InputError, match=r"1×63 numbers as body_pose, but has shape \(1, 60\)") as error:
        benchmark("rich").sequences(small)
    scene.assert_sentence(error.value, rich.DOWNLOAD.page)
    path.write_bytes(b"\x80\x04nothing")
    with pytest.raises(InputError, match=r"010\.pkl is damaged or not a label file of RICH"):
        benchmark("rich").sequences(small)


def _lost(key: str) -> dict:
    return {name: value for name, value in smplx_arrays("female").items() if name != key}


@pytest.mark.parametrize(
    ("arrays", "match"),
    [
        (_lost("posedirs"), "not a SMPL-X file with an array posedirs"),
        ({**smplx_arrays("female"), "weights": np.zeros((60, 24))}, r"weights of shape \(60, 24\)"),
        ({**smplx_arrays("female"), "shapedirs": np.zeros((60, 3, 15))}, "too few shape directions"),
        ({**smplx_arrays("female"), "v_template": np.array([{}], object)}, "a SMPL-X file with an array v_template"),
        (None, "not a SMPL-X file with an array v_template"),
    ],
)
def test_broken_smplx_body(small: Path, arrays: dict | None, match: str) -> None:
    path = small / "body_models" / "smplx" / "SMPLX_FEMALE.npz"
    if arrays is None:
        path.write_bytes(path.read_bytes()[:5000])
    else:
        np.savez(path, **arrays)
    with pytest.raises(InputError, match=match) as error:
        benchmark("rich").sequences(small)
    scene.assert_sentence(error.value, rich.SMPLX_DOWNLOAD.page)


class _Touch:
    """A pickle of this leaves a mark when it is read carelessly."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.marker,)


def test_pickled_arrays_of_a_smplx_body_are_never_read(small: Path, tmp_path: Path) -> None:
    path, marker = small / "body_models" / "smplx" / "SMPLX_FEMALE.npz", tmp_path / "it_ran"
    np.savez(path, **{**smplx_arrays("female"), "part2num": np.array(_Touch(marker), object)})
    assert benchmark("rich").sequences(small), "the official files have such entries; they are passed over"
    np.savez(path, **{**smplx_arrays("female"), "v_template": np.array(_Touch(marker), object)})
    with pytest.raises(InputError, match="not a SMPL-X file with an array v_template"):
        benchmark("rich").sequences(small)
    assert not marker.exists()
    np.load(path, allow_pickle=True)["v_template"]
    assert marker.exists(), "the pickle was harmless, so the test above said nothing"


def test_first_release_of_smplx_has_its_expressions_right_behind_the_shapes(small: Path) -> None:
    wanted = benchmark("rich").sequences(small)[0].people[0].joints_world
    arrays = smplx_arrays("female")
    directions = np.concatenate([arrays["shapedirs"][..., :10], arrays["shapedirs"][..., 300:310]], -1)
    np.savez(small / "body_models" / "smplx" / "SMPLX_FEMALE.npz", **{**arrays, "shapedirs": directions})
    np.testing.assert_allclose(benchmark("rich").sequences(small)[0].people[0].joints_world, wanted, atol=1e-6)


@pytest.mark.parametrize("content", [{}, {"mtx": np.zeros((40, 59))}, {"mtx": np.zeros((39, 60))}, {"mtx": "sparse"}])
def test_broken_vertex_map(small: Path, content: dict) -> None:
    path = small / "body_models" / "transfer_data" / "smplx2smpl_deftrafo_setup.pkl"
    path.write_bytes(pickle.dumps(content))
    with pytest.raises(InputError, match="has no matrix mtx from 60 to 40 vertices") as error:
        benchmark("rich").sequences(small)
    scene.assert_sentence(error.value, rich.SMPLX_DOWNLOAD.page)
