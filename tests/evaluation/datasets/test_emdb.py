"""EMDB-1 and EMDB-2: good frames, gendered bodies, cameras."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.helpers.benchmarks import scene
from tests.helpers.benchmarks.people_sets import (
    EMDB_FRAMES,
    EMDB_GOOD,
    emdb_labels,
    install_bodies,
    posed_by_smplx,
    seen_px,
    write_emdb,
)
from unish.errors import InputError, MissingAssetError
from unish.evaluation.datasets import benchmark
from unish.evaluation.datasets.emdb import DOWNLOAD

FIRST = "P0/00_outdoor_walk"
LABELS = f"{FIRST}/P0_00_outdoor_walk_data.pkl"
GOOD = np.flatnonzero(EMDB_GOOD)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("emdb")
    write_emdb(folder)
    return folder


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("UNISH_HOME", str(tmp_path / "home"))
    install_bodies(tmp_path / "home")
    return tmp_path / "home"


def test_splits_are_what_the_labels_say(root: Path) -> None:
    first, second = (benchmark(name).sequences(root) for name in ("emdb1", "emdb2"))
    assert [sequence.name[:5] for sequence in first] == [f"P{n // 5}_{n:02d}" for n in range(17)]
    assert [sequence.name[:5] for sequence in second] == [f"P{n // 5}_{n:02d}" for n in range(14, 39)]
    assert first[0].name == "P0_00_outdoor_walk"


def test_frames_that_are_not_good_are_dropped(root: Path) -> None:
    sequence = benchmark("emdb1").sequences(root)[0]
    assert (sequence.frames, sequence.fps, sequence.size_px) == (4, 30.0, (scene.WIDTH, scene.HEIGHT))
    np.testing.assert_allclose(sequence.world_from_camera, scene.cameras(EMDB_FRAMES)[GOOD], atol=1e-12)
    assert sequence.people[0].present.all()
    np.testing.assert_array_equal(sequence.people[0].boxes_px[:, 0], 10 + GOOD)
    for frame, number in enumerate(GOOD):
        assert np.abs(sequence.image(frame).astype(int) - scene.rgb(number)).max() < 12


@pytest.mark.parametrize("number", [14, 15, 16])
def test_bodies_are_those_of_their_gender_where_the_camera_sees_them(root: Path, number: int) -> None:
    sequence = benchmark("emdb2").sequences(root)[number - 14]
    labels = emdb_labels(number)
    pose = np.concatenate([labels["smpl"]["poses_root"], labels["smpl"]["poses_body"]], -1).astype(np.float64)
    betas, trans = labels["smpl"]["betas"].astype(np.float64), labels["smpl"]["trans"]
    vertices, joints = posed_by_smplx(labels["gender"], betas, pose, trans)
    (person,) = sequence.people
    np.testing.assert_allclose(person.joints_world, joints[GOOD], atol=1e-5)
    for frame, good in enumerate(GOOD):
        np.testing.assert_allclose(person.vertices_world(frame), vertices[good], atol=1e-5)
        seen = seen_px(person.joints_world[frame], sequence.world_from_camera[frame], sequence.intrinsics[frame])
        camera = labels["camera"]
        expected = camera["intrinsics"] @ (camera["extrinsics"][good] @ [*joints[good, 15], 1])[:3]
        np.testing.assert_allclose(seen[15], expected[:2] / expected[2], atol=1e-3)


def test_a_walk_far_from_the_origin_keeps_its_digits(root: Path, tmp_path: Path) -> None:
    root = scene.fresh_copy(root, tmp_path)
    near = benchmark("emdb1").sequences(root)[0].people[0]
    labels = pickle.loads((root / LABELS).read_bytes())
    labels["smpl"]["trans"] = labels["smpl"]["trans"].astype(np.float64) + 1000
    (root / LABELS).write_bytes(pickle.dumps(labels))
    far = benchmark("emdb1").sequences(root)[0].people[0]
    np.testing.assert_allclose(far.joints_world - 1000, near.joints_world, atol=1e-9)
    np.testing.assert_allclose(far.vertices_world(3) - 1000, near.vertices_world(3), atol=1e-9)


def test_surfaces_come_in_any_order(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unish.evaluation.datasets.smpl_ground_truth._CHUNK_FRAMES", 3)
    person = benchmark("emdb1").sequences(root)[1].people[0]
    there = [person.vertices_world(frame) for frame in range(4)]
    for frame in (3, 0, 2, 1, 3):
        np.testing.assert_array_equal(person.vertices_world(frame), there[frame])
    assert np.abs(there[3] - there[2]).max() > 0.01


def test_missing_body_says_what_to_install(root: Path, home: Path) -> None:
    (home / "bodies" / "smpl_male.npz").unlink()
    with pytest.raises(
        MissingAssetError, match=r"EMDB needs the SMPL body smpl_male, .* `unish body install FILE`"
    ) as e:
        benchmark("emdb2").sequences(root)
    scene.assert_sentence(e.value, "https://smpl.is.tue.mpg.de")


@pytest.mark.parametrize(
    ("lost", "match"),
    [
        ("P3/15_outdoor_walk", "has 16 of the 17 sequences of EMDB-1"),
        (LABELS, "has 16 of the 17 sequences of EMDB-1"),
        (f"{FIRST}/images", "images is not a folder"),
        (f"{FIRST}/images/00003.jpg", r"00003\.jpg is missing \(1 of 4"),
        ("", "is not a folder"),
    ],
)
def test_missing(root: Path, tmp_path: Path, lost: str, match: str) -> None:
    root = scene.fresh_copy(root, tmp_path)
    (root / lost).rename(tmp_path / "lost")
    with pytest.raises(MissingAssetError, match=match) as error:
        benchmark("emdb1").sequences(root)
    scene.assert_sentence(error.value, DOWNLOAD.page)


def test_a_image_that_is_not_good_may_be_missing(root: Path, tmp_path: Path) -> None:
    root = scene.fresh_copy(root, tmp_path)
    (root / FIRST / "images" / "00002.jpg").unlink()
    assert benchmark("emdb1").sequences(root)[0].frames == 4


def test_unreadable_image(root: Path, tmp_path: Path) -> None:
    root = scene.fresh_copy(root, tmp_path)
    path = root / FIRST / "images" / "00001.jpg"
    path.write_bytes(path.read_bytes()[:400])
    with pytest.raises(InputError, match=r"00001\.jpg cannot be read as an image") as error:
        benchmark("emdb1").sequences(root)[0].image(1)
    scene.assert_sentence(error.value, DOWNLOAD.page)


def _without(*keys: str) -> Any:
    def change(labels: dict[str, Any]) -> None:
        for key in keys[:-1]:
            labels = labels[key]
        del labels[keys[-1]]

    return change


def _with(value: Any, *keys: str) -> Any:
    def change(labels: dict[str, Any]) -> None:
        for key in keys[:-1]:
            labels = labels[key]
        labels[keys[-1]] = value

    return change


def _nan(labels: dict[str, Any]) -> None:
    labels["camera"]["extrinsics"][3, 0, 0] = np.nan


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (_without("emdb1"), "has no entry emdb1"),
        (_without("smpl", "trans"), "has no entry smpl/trans"),
        (_with(np.zeros(3), "smpl"), "has no entry smpl/poses_root"),
        (_with(np.zeros((5, 66)), "smpl", "poses_body"), r"5×69 numbers as smpl/poses_body, but has shape \(5, 66\)"),
        (_with("many", "n_frames"), "numbers as n_frames"),
        (_with(np.zeros(5, bool), "good_frames_mask"), "marks none of its 5 frames as good"),
        (_with("unknown", "gender"), "should have a gender of female, male, neutral, but has 'unknown'"),
        (_nan, "camera/extrinsics, but has numbers that are not finite"),
    ],
)
def test_labels_of_another_kind(root: Path, tmp_path: Path, change, match: str) -> None:
    root = scene.fresh_copy(root, tmp_path)
    labels = pickle.loads((root / LABELS).read_bytes())
    change(labels)
    (root / LABELS).write_bytes(pickle.dumps(labels))
    with pytest.raises(InputError, match=match) as error:
        benchmark("emdb1").sequences(root)
    scene.assert_sentence(error.value, DOWNLOAD.page)


def test_numbers_of_dropped_frames_do_not_matter(root: Path, tmp_path: Path) -> None:
    root = scene.fresh_copy(root, tmp_path)
    labels = pickle.loads((root / LABELS).read_bytes())
    labels["smpl"]["trans"][2] = np.nan
    (root / LABELS).write_bytes(pickle.dumps(labels))
    assert np.isfinite(benchmark("emdb1").sequences(root)[0].people[0].joints_world).all()


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", "is damaged or not a label file of EMDB"),
        (pickle.dumps([1]), "is not read as a label file of EMDB: it holds a list"),
        (pickle.dumps({"emdb1": print}), "is not read as a label file of EMDB: it asks for builtins.print"),
    ],
)
def test_corrupt_pickle(root: Path, tmp_path: Path, content: bytes, match: str) -> None:
    root = scene.fresh_copy(root, tmp_path)
    (root / LABELS).write_bytes(content)
    with pytest.raises(InputError, match=match) as error:
        benchmark("emdb1").sequences(root)
    assert LABELS in str(error.value) and "\n" not in str(error.value)
