"""Hidden folders `.unish-…` beside a result, in which it is made, and what a kill leaves of them.

Each holds a lock file that its process keeps locked; the operating system releases it however the process ends. A
folder whose lock is free was left behind: whatever of the user's or of an old result is in it goes back to its place,
and the rest is removed by the next run that writes beside it. Where the system has no such locks (Windows, some network
disks), nothing is swept.
"""

import contextlib
import functools
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

from unish.errors import InputError

PREFIX = ".unish-"
_LOCK, _ABOUT, _EXCHANGING = "lock", "about.json", "exchanging"


@dataclass(frozen=True)
class Scratch:
    """A hidden folder in which one result is made."""

    folder: Path
    name: str
    """Of the result, beside this folder."""
    owned: tuple[str, ...] | None = None
    """Patterns of the files in the result that may be replaced; None: all."""
    reserved: bool = False
    """Whether nobody else may make the result meanwhile."""
    began_ns: int = 0

    @property
    def final(self) -> Path:
        """Where the result goes."""
        return self.folder.parent / self.name

    @property
    def new(self) -> Path:
        """Where the result is made, under its own name."""
        return self.folder / "new" / self.name

    @property
    def old(self) -> Path:
        """Where what was there waits, where both cannot be exchanged in one step."""
        return self.folder / "old" / self.name


@contextlib.contextmanager
def scratch_beside(final: Path, owned: Sequence[str] | None = None, reserve: bool = False) -> Iterator[Scratch]:
    """A scratch folder for `final`, whose own folder is made; removed at the end, with all but the user's files.

    Raises `OSError` when it cannot be made, and `InputError` with `reserve` when another process has reserved the name.
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    sweep_once(final.parent)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=final.parent))
    scratch = Scratch(folder, final.name, None if owned is None else tuple(owned), reserve, time.time_ns())
    try:
        with (folder / _LOCK).open("w") as lock:
            _is_acquired(lock)
            about = {"name": scratch.name, "owned": scratch.owned, "reserved": reserve, "began_ns": scratch.began_ns}
            # Written last: who reads it finds the lock held for as long as this process lives.
            (folder / _ABOUT).write_text(json.dumps(about), encoding="utf-8")
            if reserve:
                _refuse_second(scratch)
            scratch.new.parent.mkdir()
            try:
                yield scratch
            finally:
                put_back(scratch)
    finally:
        if not (scratch.old.exists() or is_exchanged(scratch)):
            shutil.rmtree(folder, ignore_errors=True)


def sweep(parent: Path) -> None:
    """Puts back and removes what processes that are gone left in a folder; what cannot be moved or told stays."""
    for scratch in _scratches(parent):
        with contextlib.suppress(OSError), (scratch.folder / _LOCK).open("r+") as lock:
            if _is_acquired(lock):
                put_back(scratch)
                shutil.rmtree(scratch.folder, ignore_errors=True)


@functools.lru_cache(maxsize=1024)
def sweep_once(parent: Path) -> None:
    """`sweep`, once in a process for each folder."""
    sweep(parent)


def put_back(scratch: Scratch) -> None:
    """What was at the result's place returns there: all of it where nothing is, else the files that are not owned.

    Raises `OSError` when that cannot be done; nothing is lost then.
    """
    for place in (scratch.old, scratch.new):
        if not place.is_dir() or (place == scratch.new and not is_exchanged(scratch)):
            continue
        if not os.path.lexists(scratch.final):
            place.rename(scratch.final)
            continue
        for file in _not_owned(place, scratch.owned):
            target = free_name(scratch.final / file)
            target.parent.mkdir(parents=True, exist_ok=True)
            (place / file).rename(target)
        shutil.rmtree(place)


def mark_exchange(scratch: Scratch) -> None:
    """Notes which folder is the new one, just before it trades places with the old one."""
    (scratch.folder / _EXCHANGING).write_text(str(scratch.new.stat().st_ino))


def is_exchanged(scratch: Scratch) -> bool:
    """Whether the old folder stands at the new one's place."""
    try:
        return int((scratch.folder / _EXCHANGING).read_text()) != scratch.new.stat().st_ino
    except (OSError, ValueError):
        return False


def _refuse_second(mine: Scratch) -> None:
    for other in _scratches(mine.folder.parent):
        earlier = (other.began_ns, other.folder) < (mine.began_ns, mine.folder)
        if other.reserved and other.name == mine.name and earlier and _is_alive(other):
            raise InputError(
                f"Another run is writing {mine.final} at this moment. Wait until it is done, or give another --out."
            )


def _scratches(parent: Path) -> Iterator[Scratch]:
    """The scratch folders of this user in a folder."""
    with contextlib.suppress(OSError), os.scandir(parent) as entries:
        for entry in entries:
            if not entry.name.startswith(PREFIX) or not entry.is_dir(follow_symlinks=False):
                continue
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                about = json.loads((Path(entry) / _ABOUT).read_text(encoding="utf-8"))
                name, owned = about["name"], about["owned"]
                mine = not hasattr(os, "getuid") or entry.stat(follow_symlinks=False).st_uid == os.getuid()
                if mine and name not in ("", ".", "..") and Path(name).name == name:
                    patterns = None if owned is None else tuple(map(str, owned))
                    yield Scratch(Path(entry), name, patterns, bool(about["reserved"]), int(about["began_ns"]))


def _is_alive(scratch: Scratch) -> bool:
    try:
        with (scratch.folder / _LOCK).open("r+") as lock:
            return not _is_acquired(lock)
    except OSError:
        return False


def _is_acquired(lock: IO[str]) -> bool:
    """Locks the file until it is closed, unless another process has."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _not_owned(folder: Path, owned: tuple[str, ...] | None) -> list[Path]:
    """What in a folder matches none of the patterns, relative to it: whole folders where nothing in them does."""
    return [] if owned is None else _others(folder, owned, "")[0]


def _others(folder: Path, owned: tuple[str, ...], inside: str) -> tuple[list[Path], bool]:
    """What is not owned in a part of a folder, and whether anything else is there."""
    others: list[Path] = []
    is_mixed = False
    for entry in sorted((folder / inside).iterdir()):
        path = f"{inside}/{entry.name}" if inside else entry.name
        if any(fnmatchcase(path, pattern) for pattern in owned):
            is_mixed = True
        elif entry.is_dir() and not entry.is_symlink():
            below, is_mixed_below = _others(folder, owned, path)
            others += below if is_mixed_below else [Path(path)]
            is_mixed |= is_mixed_below
        else:
            others.append(Path(path))
    return others, is_mixed


def free_name(path: Path) -> Path:
    """The path, or one beside it where that is taken."""
    number = 1
    free = path
    while os.path.lexists(free):
        number += 1
        free = path.with_name(f"{path.name}.{number}")
    return free
