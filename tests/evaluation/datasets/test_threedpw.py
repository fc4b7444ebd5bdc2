"""3DPW's test split: two people a sequence, one of them lost now and then."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.benchmarks import scene
from tests.helpers.benchmarks.people_sets import (
    THREEDPW_FRAMES,
    THREEDPW_VALID,
    install_bodies,
    posed_by_smplx,
    seen_px,
    threedpw_labels,
    write_threedpw,
)
from unish.errors import InputError, MissingAssetError
from unish.evaluation.datasets import benchmark
from unish.evaluation.datasets.threedpw import DOWNLOAD

LABELS = "sequenceFiles/test/downtown_00.pkl"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("3dpw")
    write_threedpw(folder)
    return folder


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("UNISH_HOME", str(tmp_path / "home"))
    install_bodies(tmp_path / "home", ("female", "male"))
    return tmp_path / "home"


def test_sequences_of_the_test_split(root: Path) -> None:
    sequences = benchmark("3dpw").sequences(root)
    assert [sequence.name for sequence in sequences] == [f"downtown_{number:02d}" for number in range(24)]
    sequence = sequences[7]
    assert (sequence.frames, sequence.fps, sequence.size_px) == (THREEDPW_FRAMES, 30.0, (scene.WIDTH, scene.HEIGHT))
    np.testing.assert_allclose(sequence.world_from_camera, scene.cameras(THREEDPW_FRAMES), atol=1e-12)
    np.testing.assert_allclose(sequence.intrinsics, np.tile(scene.intrinsics(), (THREEDPW_FRAMES, 1, 1)))
    assert np.abs(sequence.image(2).astype(int) - scene.rgb(2)).max() < 12


def test_two_people_each_with_their_body(root: Path) -> None:
    sequence, labels = benchmark("3dpw").sequences(root)[3], threedpw_labels(3)
    assert [person.id for person in sequence.people] == [1, 2]
    for index, (person, gender) in enumerate(zip(sequence.people, ("female", "male"), strict=True)):
        betas, pose, trans = (labels[key][index] for key in ("betas", "poses", "trans"))
        vertices, joints = posed_by_smplx(gender, betas[:10], pose, trans)
        np.testing.assert_array_equal(person.present, THREEDPW_VALID[index] > 0)
        np.testing.assert_allclose(person.joints_world, joints, atol=1e-5)
        np.testing.assert_allclose(person.vertices_world(2), vertices[2], atol=1e-5)


def test_boxes_hold_the_joints_with_a_margin_of_a_fifth(root: Path) -> None:
    sequence = benchmark("3dpw").sequences(root)[3]
    first, second = sequence.people
    for frame in range(THREEDPW_FRAMES):
        seen = seen_px(first.joints_world[frame], sequence.world_from_camera[frame], sequence.intrinsics[frame])
        low, high = seen.min(0), seen.max(0)
        np.testing.assert_allclose(first.boxes_px[frame, :2], low - 0.1 * (high - low), atol=1e-6)
        np.testing.assert_allclose(first.boxes_px[frame, 2:], high + 0.1 * (high - low), atol=1e-6)
    np.testing.assert_array_equal(second.boxes_px[0], second.boxes_px[1])  # lost in 0 and 2: the nearest box stays
    assert not np.array_equal(second.boxes_px[1], second.boxes_px[3])
    assert np.isfinite(second.boxes_px).all()


def test_person_who_is_never_valid_is_left_out(root: Path, tmp_path: Path) -> None:
    root = scene.fresh_copy(root, tmp_path)
    labels = threedpw_labels(0)
    labels["campose_valid"][0] = np.zeros(THREEDPW_FRAMES, int)
    (root / LABELS).write_bytes(pickle.dumps(labels))
    assert [person.id for person in benchmark("3dpw").sequences(root)[0].people] == [2]


@pytest.mark.parametrize(
    ("lost", "match"),
    [
        ("sequenceFiles/test/downtown_11.pkl", "has 23 of the 24 sequences of 3DPW's test split"),
        ("sequenceFiles", "has 0 of the 24 sequences of 3DPW's test split"),
        ("imageFiles/downtown_02", "imageFiles/downtown_02 is not a folder"),
        ("imageFiles/downtown_02/image_00003.jpg", r"image_00003\.jpg is missing"),
        ("", "is not a folder"),
    ],
)
def test_missing(root: Path, tmp_path: Path, lost: str, match: str) -> None:
    root = scene.fresh_copy(root, tmp_path)
    (root / lost).rename(tmp_path / "lost")
    with pytest.raises(MissingAssetError, match=match) as error:
        benchmark("3dpw").sequences(root)
    scene.assert_sentence(error.value, DOWNLOAD.page)


def test_missing_body_says_what_to_install(root: Path, home: Path) -> None:
    (home / "bodies" / "smpl_female.npz").unlink()
    with pytest.raises(
        MissingAssetError, match=r"3DPW needs the SMPL body smpl_female, .*unish body install FILE"
    ) as e:
        benchmark("3dpw").sequences(root)
    scene.assert_sentence(e.value, "https://smpl.is.tue.mpg.de")


@pytest.mark.parametrize(
    ("key", "value", "match"),
    [
        ("cam_poses", np.zeros((4, 3, 4)), "any×4×4 numbers as cam_poses"),
        ("poses", [np.zeros((3, 72))] * 2, r"4×72 numbers as poses/0, but has shape \(3, 72\)"),
        ("betas", [np.zeros(6)] * 2, "should have 10 betas per person, but has 6"),
        ("genders", ["f"], "has no entry genders/1"),
        ("genders", ["x", "m"], "should have genders m and f, but has 'x'"),
    ],
)
def test_labels_of_another_kind(root: Path, tmp_path: Path, key: str, value, match: str) -> None:
    root = scene.fresh_copy(root, tmp_path)
    (root / LABELS).write_bytes(pickle.dumps({**threedpw_labels(0), key: value}))
    with pytest.raises(InputError, match=match) as error:
        benchmark("3dpw").sequences(root)
    scene.assert_sentence(error.value, DOWNLOAD.page)


def test_corrupt_pickle_and_image(root: Path, tmp_path: Path) -> None:
    root = scene.fresh_copy(root, tmp_path)
    path = root / "imageFiles" / "downtown_00" / "image_00000.jpg"
    path.write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"image_00000\.jpg cannot be read as an image") as error:
        benchmark("3dpw").sequences(root)
    scene.assert_sentence(error.value, DOWNLOAD.page)
    (root / LABELS).write_bytes((root / LABELS).read_bytes()[:200])
    with pytest.raises(InputError, match=r"downtown_00\.pkl is damaged or not a label file of 3DPW"):
        benchmark("3dpw").sequences(root)
