"""Sintel, with MPI's binary depth and camera files."""

from pathlib import Path

import numpy as np
import pytest

from tests.helpers.benchmarks import scene
from tests.helpers.benchmarks.depth_sets import write_sintel
from unish.errors import InputError, MissingAssetError
from unish.evaluation.datasets import benchmark
from unish.evaluation.datasets.sintel import DOWNLOAD, SEQUENCES

FRAMES = 3


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sintel")
    write_sintel(folder, SEQUENCES, FRAMES)
    return folder


def test_images_cameras_and_depth(root: Path) -> None:
    sequences = benchmark("sintel").sequences(root)
    assert [sequence.name for sequence in sequences] == list(SEQUENCES) and len(SEQUENCES) == 14
    sequence = sequences[3]
    assert (sequence.frames, sequence.fps, sequence.size_px) == (FRAMES, 24.0, (scene.WIDTH, scene.HEIGHT))
    np.testing.assert_allclose(sequence.world_from_camera, scene.cameras(FRAMES), atol=1e-12)
    np.testing.assert_allclose(sequence.intrinsics, np.tile(scene.intrinsics(), (FRAMES, 1, 1)))
    for frame in range(FRAMES):
        np.testing.assert_array_equal(sequence.image(frame), scene.rgb(frame))
        depth_m = sequence.depth_m(frame)
        np.testing.assert_allclose(depth_m[1:], scene.wall_depth_m(scene.cameras(FRAMES)[frame])[1:], rtol=1e-6)
        assert not depth_m[0].any(), "depth over 70 is not scored"
    scene.assert_wall(sequence)


def test_clean_images(root: Path) -> None:
    sequence = benchmark("sintel_clean").sequences(root)[0]
    np.testing.assert_array_equal(sequence.image(1), scene.rgb(1) + np.uint8([0, 0, 3]))


@pytest.mark.parametrize(
    ("lost", "match"),
    [
        ("depth/cave_2/frame_0002.dpt", r"cave_2/frame_0002\.dpt is missing \(1 of 3"),
        ("camdata_left/cave_2/frame_0003.cam", r"cave_2/frame_0003\.cam is missing"),
        ("camdata_left/cave_2", "camdata_left/cave_2 is not a folder"),
        ("final/cave_2", "lacks 1 of 14 sequences: cave_2"),
        ("", "none of the 14 sequences"),
    ],
)
def test_missing(root: Path, tmp_path: Path, lost: str, match: str) -> None:
    root = scene.fresh_copy(root, tmp_path)
    (root / "training" / lost).rename(tmp_path / "lost")
    with pytest.raises(MissingAssetError, match=match) as error:
        benchmark("sintel").sequences(root)
    scene.assert_sentence(error.value, DOWNLOAD.page)


def test_sequence_without_images(root: Path, tmp_path: Path) -> None:
    root = scene.fresh_copy(root, tmp_path)
    for path in (root / "training" / "final" / "cave_2").iterdir():
        path.unlink()
    with pytest.raises(MissingAssetError, match="cave_2 has no images") as error:
        benchmark("sintel").sequences(root)
    scene.assert_sentence(error.value, DOWNLOAD.page)


@pytest.mark.parametrize(
    ("suffix", "change", "match"),
    [
        ("cam", lambda content: content[:-8], "is 164 bytes long where a camera has 172"),
        ("cam", lambda content: b"none" + content[4:], r"does not begin with Sintel's tag 202021\.25"),
        ("dpt", lambda content: b"", "does not begin with Sintel's tag"),
        ("dpt", lambda content: content[:-1], "does not hold depth of 48×36 pixels"),
        ("dpt", lambda content: content[:4] + content[8:12] + content[4:8] + content[12:], "does not hold depth"),
    ],
)
def test_broken_binary_file(root: Path, tmp_path: Path, suffix: str, change, match: str) -> None:
    root = scene.fresh_copy(root, tmp_path)
    folder = {"cam": "camdata_left", "dpt": "depth"}[suffix]
    path = root / "training" / folder / "alley_2" / f"frame_0002.{suffix}"
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(InputError, match=match) as error:
        benchmark("sintel").sequences(root)[0].depth_m(1)
    scene.assert_sentence(error.value, DOWNLOAD.page)
