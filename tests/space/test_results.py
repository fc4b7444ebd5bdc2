"""Results under names that nobody can guess: the scene first, everything else when it is asked for."""

import os
import zipfile

import av
import numpy as np
import pytest
from PIL import Image

from space.cleanup import sweep
from space.downloads import write_archive, write_exports
from space.request import ExportChoices
from space.results import (
    ResultFolders,
    file_stem,
    find_result,
    write_overlay,
    write_page,
    write_scene,
)
from tests.helpers.posed import make_posed
from unish.analysis.fit_report import fit_report
from unish.errors import InputError
from unish.structures import Reconstruction

SOURCE_SIZE = (320, 240)
SOURCE_FPS = 24


@pytest.fixture
def upload(tmp_path):
    """A clip four times as large as the frames that the network saw, with many frames for each of them."""
    path = tmp_path / "upload" / "walk.mp4"
    path.parent.mkdir()
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=SOURCE_FPS)
        stream.width, stream.height, stream.pix_fmt = *SOURCE_SIZE, "yuv420p"
        for index in range(30):
            picture = np.full((*SOURCE_SIZE[::-1], 3), 8 * index, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.fixture
def folders(tmp_path) -> ResultFolders:
    return ResultFolders.beside(tmp_path / "served")


@pytest.fixture
def made(folders, upload):
    scene = make_posed(4, people=1)
    return scene, write_scene(folders, scene, fit_report(scene), upload)


def test_the_scene_is_there_at_once_and_the_rest_when_it_is_asked_for(made, folders):
    scene, result = made
    assert find_result(folders, result.name) == result
    assert sorted(path.name for path in result.folder.iterdir()) == ["about.json", "scene.bin"]
    assert "unish-numbers" in result.numbers and not result.finished
    assert write_page(result).read_text(encoding="utf-8").startswith("<!doctype html>")
    assert write_overlay(result).stat().st_size > 500
    with zipfile.ZipFile(write_archive(result)) as files:
        files.extractall(folders.served / "out")
    loaded = Reconstruction.load(folders.served / "out" / "walk")
    np.testing.assert_array_equal(loaded.depth_m, scene.depth_m)
    assert (folders.served / "out" / "walk" / "report.json").is_file()
    assert result.finished


def test_files_are_named_after_the_clip(made):
    _, result = made
    names = [write(result).name for write in (write_page, write_overlay, write_archive)]
    assert names == ["walk_viewer.html", "walk_overlay.mp4", "walk_unish.zip"]
    assert write_exports(result, ExportChoices(("ply", "glb"))).name == "walk_glb-ply.zip"
    assert [file_stem(name) for name in ("../../é walk?.mp4", "....mp4", "a" * 99 + ".mov")] == [
        "é_walk",
        "video",
        "a" * 60,
    ]


def test_what_is_served_says_nothing_of_the_upload(made, upload):
    """Who has a link may see a part of a clip, and must not get at the whole of it."""
    _, result = made
    for write in (write_page, write_overlay, write_archive):
        write(result)
    for path in result.folder.iterdir():
        assert path.read_bytes() != upload.read_bytes()
        assert str(upload.parent).encode() not in path.read_bytes()
    assert result.kept.parent.stat().st_mode & 0o077 == 0


def test_exports_have_the_uploads_own_frames(made, folders):
    _, result = made
    with zipfile.ZipFile(write_exports(result, ExportChoices(("mp4", "colmap")))) as files:
        files.extractall(folders.served / "out")
    out = folders.served / "out" / "walk"
    with av.open(str(out / "overlay.mp4")) as video:
        frames = list(video.decode(video=0))
    assert (frames[0].width, frames[0].height) == SOURCE_SIZE
    assert len(frames) >= 12, "every frame of the clip, not those that were sampled"
    (first, *rest) = sorted((out / "colmap" / "images").iterdir())
    assert Image.open(first).size == SOURCE_SIZE and len(rest) == 3


def test_the_upload_lives_as_long_as_the_result(made, upload):
    _, result = made
    upload.unlink()
    assert write_overlay(result).is_file()


def test_names_are_long_and_never_the_same(made, folders, upload):
    scene, result = made
    other = write_scene(folders, scene, fit_report(scene), upload)
    assert len(result.name) == 22 and other.name != result.name


@pytest.mark.parametrize(
    "name", [None, "", "x", 7, ["x"], "../../etc/passwd", "a" * 22, "../" + "a" * 19, "a" * 21 + "/"]
)
def test_other_names_find_nothing(made, folders, name):
    (folders.served / "unish-secret").mkdir()
    assert find_result(folders, name) is None


def test_a_result_that_is_partly_gone_is_gone(made, folders):
    _, result = made
    os.utime(result.kept)
    assert sweep(folders.private, keep_s=-60) == 1
    assert find_result(folders, result.name) is None
    for write in (write_page, write_overlay, write_archive):
        with pytest.raises(InputError, match="has expired"):
            write(result)
    with pytest.raises(InputError, match="has expired"):
        write_exports(result, ExportChoices(("colmap",)))
    assert sorted(path.name for path in result.folder.iterdir()) == ["about.json", "scene.bin"], "nothing half made"


def test_exports_are_made_once_and_kept_beside_the_result(made):
    _, result = made
    path = write_exports(result, ExportChoices(("obj", "ply")))
    with zipfile.ZipFile(path) as files:
        assert "walk/ply/scene.ply" in files.namelist()
    written = path.stat().st_mtime_ns
    assert write_exports(result, ExportChoices(("ply", "obj"))) == path and path.stat().st_mtime_ns == written
    with pytest.raises(InputError, match="Choose at least one"):
        write_exports(result, ExportChoices())
    with zipfile.ZipFile(write_archive(result, ExportChoices(("bvh",)))) as files:
        assert {"walk/report.json", "walk/exports/bvh/person_1.bvh"} <= set(files.namelist())


def test_a_full_disk_leaves_nothing(made, folders, upload, monkeypatch):
    scene, _ = made

    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    before = sorted(folders.served.iterdir()), sorted(folders.private.iterdir())
    monkeypatch.setattr("space.results._link_or_copy", full)
    with pytest.raises(InputError, match="No space left"):
        write_scene(folders, scene, fit_report(scene), upload)
    assert (sorted(folders.served.iterdir()), sorted(folders.private.iterdir())) == before
