"""Scratch folders: nobody's are swept, the living are left alone, and what belongs to others is not touched."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from unish.errors import InputError
from unish.utils import scratch
from unish.utils.scratch import scratch_beside, sweep


def left_behind(parent: Path, name: str = "result", **about: object) -> Path:
    """What a process that was killed while it wrote leaves."""
    folder = parent / f".unish-{len(list(parent.iterdir()))}"
    (folder / "new" / "half").mkdir(parents=True)
    (folder / "lock").touch()
    content = {"name": name, "owned": None, "reserved": True, "began_ns": 1, **about}
    (folder / "about.json").write_text(json.dumps(content))
    return folder


def test_the_dead_are_swept_and_the_living_are_not(tmp_path):
    left_behind(tmp_path)
    scratch.sweep_once.cache_clear()
    with scratch_beside(tmp_path / "a", reserve=True) as one:
        assert [entry.name for entry in tmp_path.iterdir()] == [one.folder.name]
        sweep(tmp_path)
        assert one.folder.is_dir() and one.new.parent.is_dir()
        left_behind(tmp_path)
        with scratch_beside(tmp_path / "b", reserve=True):
            assert len(list(tmp_path.iterdir())) == 3, "swept once in a process"
    assert len(list(tmp_path.iterdir())) == 1
    sweep(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_second_run_into_the_same_place_is_refused_until_the_first_is_done(tmp_path):
    with scratch_beside(tmp_path / "out", reserve=True):
        with pytest.raises(InputError, match="Another run is writing"), scratch_beside(tmp_path / "out", reserve=True):
            pass
        with scratch_beside(tmp_path / "out"), scratch_beside(tmp_path / "other", reserve=True):
            pass
    with scratch_beside(tmp_path / "out", reserve=True):
        pass
    left_behind(tmp_path, "out")
    with scratch_beside(tmp_path / "out", reserve=True):
        pass


def test_other_processes_are_seen_and_their_death_as_well(tmp_path):
    program = (
        "import sys; from pathlib import Path; from unish.utils.scratch import scratch_beside\n"
        f"with scratch_beside(Path({str(tmp_path / 'out')!r}), reserve=True):\n"
        "    print('ready', flush=True); sys.stdin.read()"
    )
    other = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None and other.stdout.readline() == "ready\n"
    sweep(tmp_path)
    with pytest.raises(InputError, match="Another run"), scratch_beside(tmp_path / "out", reserve=True):
        pass
    other.kill()
    other.wait()
    with scratch_beside(tmp_path / "out", reserve=True):
        pass
    sweep(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "about",
    ["{", "[]", "null", '{"name": "a"}', '{"name": "../a", "owned": null, "reserved": false, "began_ns": 0}', None],
)
def test_what_is_not_ours_for_certain_stays(tmp_path, about):
    folder = left_behind(tmp_path)
    (folder / "about.json").unlink()
    if about is not None:
        (folder / "about.json").write_text(about)
    sweep(tmp_path)
    assert (folder / "new" / "half").is_dir()


def test_folders_of_other_users_and_links_stay(tmp_path, monkeypatch):
    folder = left_behind(tmp_path)
    (tmp_path / ".unish-link").symlink_to(folder)
    monkeypatch.setattr(os, "getuid", lambda: folder.stat().st_uid + 1)
    sweep(tmp_path)
    assert folder.is_dir()
    monkeypatch.undo()
    sweep(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == [".unish-link"]


def test_folders_that_were_only_begun_are_swept_and_making_one_survives_that(tmp_path, monkeypatch):
    (tmp_path / ".unish-empty").mkdir()
    (tmp_path / ".unish-begun").mkdir()
    (tmp_path / ".unish-begun" / "lock").touch()
    (tmp_path / ".unish-noted").mkdir()
    (tmp_path / ".unish-noted" / "lock").touch()
    (tmp_path / ".unish-noted" / "about.json").write_text('{"na')
    (tmp_path / ".unish-other").mkdir()
    (tmp_path / ".unish-other" / "result").touch()
    sweep(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == [".unish-other"]
    hold, swept = scratch._hold, []

    def swept_meanwhile(lock):
        if not swept:
            swept.append(sweep(tmp_path))
        hold(lock)

    monkeypatch.setattr(scratch, "_hold", swept_meanwhile)
    with scratch_beside(tmp_path / "out") as made:
        assert made.folder.is_dir() and swept
        sweep(tmp_path)
        assert made.folder.is_dir()
