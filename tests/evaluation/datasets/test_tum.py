"""TUM's dynamic sequences: lists associated by time, poses, depth."""

from pathlib import Path

import numpy as np
import pytest

from tests.helpers.benchmarks import scene
from tests.helpers.benchmarks.depth_sets import write_tum
from unish.errors import InputError, MissingAssetError
from unish.evaluation.benchmark import BenchmarkSequence
from unish.evaluation.datasets import benchmark, tum

NAME = "rgbd_dataset_freiburg3_walking_xyz"
FRAMES = 12


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tum")
    write_tum(folder, tum.SEQUENCES, FRAMES)
    return folder


@pytest.fixture
def sequence(root: Path, monkeypatch: pytest.MonkeyPatch) -> BenchmarkSequence:
    monkeypatch.setattr(tum, "INTRINSICS_FREIBURG3", scene.intrinsics(corner=0))
    sequences = {sequence.name: sequence for sequence in benchmark("tum").sequences(root)}
    assert len(sequences) == 8
    return sequences["walking_xyz"]


def test_every_third_image_that_has_a_pose(sequence: BenchmarkSequence) -> None:
    kept = [0, 3, 7, 10]  # of 0 1 2 3 4 5 7 8 9 10 11: picture 6 has no pose
    assert (sequence.frames, sequence.fps) == (len(kept), 10.0)
    for frame, number in enumerate(kept):
        np.testing.assert_array_equal(sequence.image(frame), scene.rgb(number))
    np.testing.assert_allclose(sequence.world_from_camera, scene.cameras(FRAMES)[kept], atol=1e-7)


def test_depth_is_the_map_nearest_in_time_or_unknown(sequence: BenchmarkSequence) -> None:
    views = scene.cameras(FRAMES)
    for frame, number in ((0, 0), (2, 7), (3, 10)):
        np.testing.assert_allclose(sequence.depth_m(frame), scene.wall_depth_m(views[number]), atol=1.01e-4)
    assert not sequence.depth_m(1).any()


def test_the_wall_is_where_it_is(sequence: BenchmarkSequence) -> None:
    seen = [0, 2, 3]
    scene.assert_wall(
        BenchmarkSequence(
            "seen", len(seen), 10.0, sequence.size_px, sequence.image, lambda frame: sequence.depth_m(seen[frame]),
            sequence.world_from_camera[seen], sequence.intrinsics[seen],
        )
    )  # fmt: skip


def test_published_intrinsics_are_for_pixel_centres_at_whole_numbers(root: Path) -> None:
    sequence = benchmark("tum").sequences(root)[0]
    np.testing.assert_allclose(sequence.intrinsics[0], [[535.4, 0, 320.6], [0, 539.2, 248.1], [0, 0, 1]])


def test_at_most_90_frames(tmp_path: Path) -> None:
    write_tum(tmp_path, tum.SEQUENCES[:1], 290)
    sequence = tum._sequence(tum.SEQUENCES[0], tmp_path / tum.SEQUENCES[0])
    assert sequence.frames == 90
    np.testing.assert_array_equal(sequence.image(89), scene.rgb(89 * 3 + 1))


def test_association_gives_each_time_once_and_the_closest_first() -> None:
    first, second = np.array([0.0, 0.010, 1.0, 2.0]), np.array([0.012, 0.019, 1.0201, 2.0199])
    assert tum.associate(first, second) == {1: 0, 0: 1, 3: 3}


def test_images_out_of_order_are_put_in_order(root: Path, tmp_path: Path, sequence: BenchmarkSequence) -> None:
    root = scene.fresh_copy(root, tmp_path)
    path = root / NAME / "rgb.txt"
    path.write_text("\n".join(reversed(path.read_text().splitlines())))
    again = {found.name: found for found in benchmark("tum").sequences(root)}["walking_xyz"]
    np.testing.assert_array_equal(again.image(2), sequence.image(2))
    np.testing.assert_array_equal(again.world_from_camera, sequence.world_from_camera)


@pytest.mark.parametrize(
    ("file", "match"),
    [
        ("rgb.txt", r"rgb\.txt is missing"),
        ("depth.txt", r"depth\.txt is missing"),
        ("groundtruth.txt", r"groundtruth\.txt is missing"),
        ("rgb/1341846313.005000.png", r"rgb/1341846313\.005000\.png is missing"),
        ("depth/1341846313.009000.png", r"depth/1341846313\.009000\.png is missing"),
    ],
)
def test_missing_file(root: Path, tmp_path: Path, file: str, match: str) -> None:
    root = scene.fresh_copy(root, tmp_path)
    (root / NAME / file).unlink()
    with pytest.raises(MissingAssetError, match=match) as error:
        benchmark("tum").sequences(root)
    scene.assert_sentence(error.value, tum.DOWNLOAD.page)


def test_wrong_root_and_missing_sequence(root: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingAssetError, match="nowhere is not a folder") as error:
        benchmark("tum").sequences(tmp_path / "nowhere")
    scene.assert_sentence(error.value, tum.DOWNLOAD.page)
    root = scene.fresh_copy(root, tmp_path)
    (root / NAME).rename(root / "walk")
    with pytest.raises(MissingAssetError, match=f"lacks 1 of 8 sequences: {NAME}") as error:
        benchmark("tum").sequences(root)
    scene.assert_sentence(error.value, tum.DOWNLOAD.page)


@pytest.mark.parametrize(
    ("file", "content", "match"),
    [
        ("rgb.txt", "soon rgb/1.png\n", r"rgb\.txt should have lines of a time"),
        ("rgb.txt", "# nothing\n", "no image with a pose within 20 ms"),
        ("groundtruth.txt", "1341846313.005 1 2 3\n", "should have lines of time tx ty tz"),
        ("groundtruth.txt", "1341846313.005 1 2 3 0 0 0 0\n", "should have lines of time tx ty tz"),
    ],
)
def test_broken_list(root: Path, tmp_path: Path, file: str, content: str, match: str) -> None:
    root = scene.fresh_copy(root, tmp_path)
    (root / NAME / file).write_text(content)
    with pytest.raises(InputError, match=match) as error:
        benchmark("tum").sequences(root)
    scene.assert_sentence(error.value, tum.DOWNLOAD.page)
