"""Bonn, from a folder as it is after unpacking."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.benchmarks import scene
from tests.helpers.benchmarks.depth_sets import write_bonn
from unish.errors import InputError, MissingAssetError
from unish.evaluation.datasets import benchmark
from unish.evaluation.datasets.bonn import DOWNLOAD, SEQUENCES


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bonn")
    write_bonn(folder, SEQUENCES)
    return folder


def test_images_30_to_139_with_their_depth(root: Path) -> None:
    sequences = benchmark("bonn").sequences(root)
    assert [sequence.name for sequence in sequences] == list(SEQUENCES)
    views = scene.cameras(10)
    for sequence in sequences[:2]:
        assert (sequence.frames, sequence.fps, sequence.size_px) == (110, 30.0, (scene.WIDTH, scene.HEIGHT))
        for frame in (0, 1, 57, 109):
            np.testing.assert_array_equal(sequence.image(frame), scene.rgb(frame))
            depth_m = scene.wall_depth_m(views[frame % 10])
            np.testing.assert_allclose(sequence.depth_m(frame), depth_m, atol=1.01e-4)
        assert sequence.image(0).dtype == np.uint8 and sequence.depth_m(0).dtype == np.float32


def test_folder_that_the_archive_makes(root: Path, tmp_path: Path) -> None:
    (tmp_path / "rgbd_bonn_dataset").symlink_to(root)
    assert len(benchmark("bonn").sequences(tmp_path)) == 5


def _no_root(root: Path) -> Path:
    return root / "elsewhere"


def _empty(root: Path) -> Path:
    (root / "empty").mkdir()
    return root / "empty"


def _lost_sequences(root: Path) -> Path:
    shutil.rmtree(root / "rgbd_bonn_crowd2")
    shutil.rmtree(root / "rgbd_bonn_synchronous")
    return root


def _short(root: Path) -> Path:
    for path in sorted((root / "rgbd_bonn_crowd3" / "depth").iterdir())[:5]:
        path.unlink()
    return root


@pytest.mark.parametrize(
    ("damage", "match"),
    [
        (_no_root, "elsewhere is not a folder"),
        (_empty, "empty has none of the 5 sequences \\(balloon2 and"),
        (_lost_sequences, "lacks 2 of 5 sequences: crowd2, synchronous"),
        (_short, "crowd3/depth has 137 images, fewer than the 140"),
    ],
)
def test_missing(root: Path, tmp_path: Path, damage, match: str) -> None:
    with pytest.raises(MissingAssetError, match=match) as error:
        benchmark("bonn").sequences(damage(scene.fresh_copy(root, tmp_path)))
    scene.assert_sentence(error.value, DOWNLOAD.page)


@pytest.mark.parametrize(
    ("folder", "content", "match"),
    [
        ("rgb", b"", "cannot be read as an image"),
        ("rgb", b"GIF", "cannot be read as an image"),
        ("rgb", "half", "cannot be read as an image"),
        ("depth", "half", "cannot be read as an image"),
        ("depth", scene.encoded(scene.rgb(0), "PNG"), "should be a 16-bit depth map, but is an image of kind RGB"),
        ("rgb", scene.encoded(scene.rgb(0)[:20], "PNG"), "is 48×20 pixels where its sequence has 48×36"),
    ],
)
def test_unreadable_image(root: Path, tmp_path: Path, folder: str, content, match: str) -> None:
    root = scene.fresh_copy(root, tmp_path)
    path = sorted((root / "rgbd_bonn_balloon2" / folder).iterdir())[35]
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2] if content == "half" else content)
    sequence = benchmark("bonn").sequences(root)[0]
    read = sequence.image if folder == "rgb" else sequence.depth_m
    read(4)
    with pytest.raises(InputError, match=match) as error:
        read(5)
    scene.assert_sentence(error.value, DOWNLOAD.page)


def test_image_deleted_meanwhile(root: Path, tmp_path: Path) -> None:
    root = scene.fresh_copy(root, tmp_path)
    sequence = benchmark("bonn").sequences(root)[0]
    sorted((root / "rgbd_bonn_balloon2" / "rgb").iterdir())[35].unlink()
    with pytest.raises(MissingAssetError, match="is missing") as error:
        sequence.image(5)
    scene.assert_sentence(error.value, DOWNLOAD.page)
