"""Results under names that nobody can guess."""

import zipfile

import numpy as np
import pytest

from space.results import find_result, write_exports, write_result
from tests.helpers.reconstructions import make_reconstruction
from unish.analysis.fit_report import fit_report
from unish.errors import InputError
from unish.structures import Clip, Reconstruction


@pytest.fixture
def made(tmp_path):
    scene = make_reconstruction(4, height=48, width=64)
    frames = np.repeat(np.repeat(scene.images, 3, axis=1), 3, axis=2)
    clip = Clip(frames, np.arange(4) / 6, 6.0, "made up.mp4", (192, 144))
    return scene, clip, write_result(tmp_path, scene, fit_report(scene), clip)


def test_a_result_is_whole_and_found_again(made, tmp_path):
    scene, _, result = made
    assert find_result(tmp_path, result.name) == result
    assert result.page.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert "unish-numbers" in result.numbers and "Body–scene fit" in result.numbers
    zipfile.ZipFile(result.archive).extractall(tmp_path / "out")
    loaded = Reconstruction.load(tmp_path / "out" / "reconstruction")
    np.testing.assert_array_equal(loaded.depth_m, scene.depth_m)
    assert (tmp_path / "out" / "reconstruction" / "report.json").is_file()
    assert result.overlay.stat().st_size > 500


def test_names_are_long_and_never_the_same(made, tmp_path):
    scene, clip, result = made
    other = write_result(tmp_path, scene, fit_report(scene), clip)
    assert len(result.name) == 22 and other.name != result.name


@pytest.mark.parametrize("name", [None, "", "x", "../../etc/passwd", "a" * 22, "../" + "a" * 19, "a" * 21 + "/"])
def test_other_names_find_nothing(made, tmp_path, name):
    (tmp_path / "unish-secret").mkdir()
    assert find_result(tmp_path, name) is None


def test_a_result_that_is_partly_gone_is_gone(made, tmp_path):
    _, _, result = made
    result.scene.unlink()
    assert find_result(tmp_path, result.name) is None


def test_exports_are_made_once_and_kept_beside_the_result(made, tmp_path):
    _, _, result = made
    path = write_exports(result, ["obj", "ply"])
    with zipfile.ZipFile(path) as files:
        assert "ply/scene.ply" in files.namelist()
    written = path.stat().st_mtime_ns
    assert write_exports(result, ["obj", "ply"]) == path and path.stat().st_mtime_ns == written
    with pytest.raises(InputError, match="Tick one"):
        write_exports(result, [])
    with pytest.raises(InputError, match="Expected formats among"):
        write_exports(result, ["../evil"])
    result.archive.unlink()
    with pytest.raises(InputError, match="not kept any longer"):
        write_exports(result, ["colmap"])
    assert sorted(p.name for p in result.folder.glob("exports*")) == ["exports-obj-ply.zip"]


def test_a_full_disk_leaves_nothing(made, tmp_path, monkeypatch):
    scene, clip, _ = made

    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    before = sorted(tmp_path.iterdir())
    monkeypatch.setattr("space.results.write_video", full)
    with pytest.raises(InputError, match="No space left"):
        write_result(tmp_path, scene, fit_report(scene), clip)
    assert sorted(tmp_path.iterdir()) == before
