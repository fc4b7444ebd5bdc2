"""Results appear whole or not at all, and what was there is kept, put back or replaced, never lost."""

import errno
import os
import signal
import stat
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from safetensors.numpy import save_file

from unish.errors import InputError, MissingAssetError
from unish.utils import atomic_write, scratch
from unish.utils.atomic_write import atomic_path, publish
from unish.utils.scratch import scratch_beside, sweep

OWNED = ("new.txt", "old.txt", "exports/*.bvh")


@pytest.fixture(params=["exchange", "two renames"])
def way(request, monkeypatch) -> str:
    """Both ways to replace a folder."""
    if request.param == "two renames":
        monkeypatch.setattr(atomic_write, "_exchange", lambda first, second: False)
    return request.param


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def fill(folder: Path, *files: str) -> Path:
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


def test_a_file_appears_only_when_the_block_succeeds(tmp_path):
    target = tmp_path / "deep" / "result.txt"
    with atomic_path(target) as temporary:
        temporary.write_text("done")
        assert not target.exists() and temporary.name == "result.txt"
    assert target.read_text() == "done"
    assert [entry.name for entry in target.parent.iterdir()] == ["result.txt"]


@pytest.mark.parametrize("failure", [RuntimeError("boom"), KeyboardInterrupt(), MissingAssetError("not there")])
def test_a_failed_block_leaves_the_old_result_and_nothing_else(tmp_path, failure):
    target = fill(tmp_path / "result", "old.txt")
    with pytest.raises(type(failure)), atomic_path(target) as temporary:
        fill(temporary, "half.txt")
        raise failure
    assert names(tmp_path) == ["result/old.txt"]


def test_a_folder_is_replaced_whole(tmp_path, way):
    target = fill(tmp_path / "result", "old.txt", "sub/old.txt")
    with atomic_path(target) as temporary:
        fill(temporary, "new.txt")
    assert names(tmp_path) == ["result/new.txt"]


def test_what_is_not_ours_stays_beside_the_new(tmp_path, way):
    target = fill(tmp_path / "result", "old.txt", "notes.md", "deep/a/b.txt", "exports/1.bvh", "exports/my.blend")
    (target / "empty").mkdir()
    (target / "link").symlink_to("nowhere")
    with atomic_path(target, OWNED) as temporary:
        fill(temporary, "new.txt", "exports/2.bvh")
    assert names(target) == ["deep/a/b.txt", "exports/2.bvh", "exports/my.blend", "new.txt", "notes.md"]
    assert (target / "empty").is_dir() and (target / "link").is_symlink()
    assert [entry.name for entry in tmp_path.iterdir()] == ["result"]


def test_a_file_of_the_user_under_a_name_of_the_new_one_is_kept_beside_it(tmp_path, way):
    target = fill(tmp_path / "result", "old.txt", "viewer.html", "viewer.html.2")
    with atomic_path(target, OWNED) as temporary:
        fill(temporary, "new.txt", "viewer.html")
    assert names(target) == ["new.txt", "viewer.html", "viewer.html.2", "viewer.html.2.2"]
    assert (target / "viewer.html.2.2").read_text() == "viewer.html.2"


def test_an_empty_folder_is_filled_and_a_file_that_appears_in_it_stays(tmp_path, way):
    target = tmp_path / "result"
    target.mkdir()
    with atomic_path(target, OWNED) as temporary:
        fill(temporary, "new.txt")
        fill(target, "thesis.tex")
    assert names(tmp_path) == ["result/new.txt", "result/thesis.tex"]


def test_without_replace_a_result_that_appeared_meanwhile_stays(tmp_path, way):
    with scratch_beside(tmp_path / "result", OWNED) as mine:
        fill(mine.new, "new.txt")
        fill(tmp_path / "result", "old.txt")
        assert publish(mine, replace=False) == tmp_path / "result.2"
    with scratch_beside(tmp_path / "result", OWNED) as mine:
        fill(mine.new, "new.txt")
        assert publish(mine, replace=False) == tmp_path / "result.3"
    assert names(tmp_path) == ["result.2/new.txt", "result.3/new.txt", "result/old.txt"]


def test_the_old_result_comes_back_when_the_second_rename_fails(tmp_path, monkeypatch):
    monkeypatch.setattr(atomic_write, "_exchange", lambda first, second: False)
    target, rename = fill(tmp_path / "result", "old.txt", "notes.md"), Path.rename

    def failing(self, to):
        if "new" in self.parts and Path(to) == target and not target.exists():
            raise OSError(errno.EIO, "Input/output error")
        return rename(self, to)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(InputError, match="Input/output error"), atomic_path(target, OWNED) as temporary:
        fill(temporary, "new.txt")
    assert names(tmp_path) == ["result/notes.md", "result/old.txt"]


def test_what_cannot_be_put_back_is_not_lost(tmp_path, monkeypatch):
    target = fill(tmp_path / "result", "old.txt", "notes.md")
    rename = Path.rename

    def failing(self, to):
        if self.name == "notes.md":
            raise OSError(errno.EACCES, "Permission denied")
        return rename(self, to)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(InputError, match="Permission denied"), atomic_path(target, OWNED) as temporary:
        fill(temporary, "new.txt")
    assert names(target) == ["new.txt"]
    monkeypatch.setattr(Path, "rename", rename)
    sweep(tmp_path)
    assert names(tmp_path) == ["result/new.txt", "result/notes.md"]


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
@pytest.mark.parametrize("umask", [0o022, 0o027, 0o077])
def test_files_have_the_mode_that_open_gives_whoever_wrote_them(tmp_path, umask):
    before = os.umask(umask)
    try:
        with atomic_path(tmp_path / "weights.safetensors") as path:
            save_file({"a": np.zeros(2)}, path)
        with atomic_path(tmp_path / "folder") as folder:
            (folder / "inside").mkdir(parents=True)
            save_file({"a": np.zeros(2)}, folder / "inside" / "a.safetensors")
            (folder / "b.txt").write_text("b")
            (folder / "run.sh").touch(0o700)
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*.*")}
    usual = 0o666 & ~umask
    assert modes == {"weights.safetensors": usual, "a.safetensors": usual, "b.txt": usual, "run.sh": 0o700}


def test_links_to_folders_are_followed(tmp_path):
    fill(tmp_path / "disk" / "result", "old.txt")
    (tmp_path / "result").symlink_to(tmp_path / "disk" / "result")
    with atomic_path(tmp_path / "result") as temporary:
        fill(temporary, "new.txt")
    assert (tmp_path / "result").is_symlink() and names(tmp_path / "disk") == ["result/new.txt"]


def test_a_full_disk_is_one_sentence(tmp_path):
    with pytest.raises(InputError, match="No space left"), atomic_path(tmp_path / "result.txt"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["file/result.txt", "a" * 300, "folder", "/", "."])
def test_what_cannot_be_written_is_one_sentence(tmp_path, monkeypatch, name):
    fill(tmp_path, "file", "folder/inside")
    monkeypatch.chdir(fill(tmp_path / "folder", "here"))
    with pytest.raises(InputError, match=r"Could not write|name one inside"), atomic_path(tmp_path / name) as temporary:
        temporary.write_text("done")
    assert names(tmp_path) == ["file", "folder/here", "folder/inside"]


ODD = ("2024-11-14T22:57:44+02:00", os.fsdecode(b"caf\xe9"), "a\nb", "lock", "new", "x" * 255)


@pytest.mark.parametrize("name", ODD)
def test_odd_names(tmp_path, name, way):
    for content in ("new.txt", "old.txt"):
        with atomic_path(tmp_path / name, OWNED) as temporary:
            fill(temporary, content)
        fill(tmp_path / name, "mine")
    assert names(tmp_path / name) == ["mine", "old.txt"]
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


# --- kills ---------------------------------------------------------------------------------------------------------


def replaced_until_killed(target: Path, module: object, name: str, *, after: bool = False) -> None:
    """Replaces the folder in another process, which is killed before, or after, its first call of that function."""
    child = os.fork()
    if child == 0:
        original = getattr(module, name)

        def kill(*arguments):
            if after:
                original(*arguments)
            os.kill(os.getpid(), signal.SIGKILL)

        setattr(module, name, kill)
        with atomic_path(target, OWNED) as temporary:
            fill(temporary, "new.txt")
        os._exit(1)
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1])


@pytest.mark.parametrize(
    ("moment", "left"),
    [
        ((atomic_write, "publish"), "old.txt"),
        ((atomic_write, "_exchange"), "old.txt"),
        ((atomic_write, "put_back"), "new.txt"),
        ((scratch, "free_name"), "new.txt"),
    ],
)
def test_a_kill_leaves_the_old_or_the_new_one_and_what_is_not_ours(tmp_path, moment, left):
    target = fill(tmp_path / "result", "old.txt", "notes.md", "exports/my.blend")
    replaced_until_killed(target, *moment)
    assert (target / left).exists(), "whole at every moment"
    sweep(tmp_path)
    assert names(tmp_path) == sorted([f"result/{left}", "result/exports/my.blend", "result/notes.md"])


def test_a_kill_between_two_renames_is_mended_by_the_next_run(tmp_path, monkeypatch):
    monkeypatch.setattr(atomic_write, "_exchange", lambda first, second: False)
    target, rename = fill(tmp_path / "result", "old.txt", "notes.md"), Path.rename
    moves = SimpleNamespace(away=rename)
    monkeypatch.setattr(Path, "rename", lambda self, to: (moves.away if "old" in to.parts else rename)(self, to))
    replaced_until_killed(target, moves, "away", after=True)
    assert not target.exists() and len(list(tmp_path.iterdir())) == 1
    scratch.sweep_once.cache_clear()
    with atomic_path(tmp_path / "another.txt") as temporary:
        temporary.write_text("done")
    assert names(tmp_path) == ["another.txt", "result/notes.md", "result/old.txt"]
