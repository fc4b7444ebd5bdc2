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
    def lock(self) -> Path:
        """The file that its process keeps locked."""
        return self.folder / _LOCK

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
    scratch, lock = _created(final, None if owned is None else tuple(owned), reserve)
    try:
        with lock:
            if reserve:
                _refuse_second(scratch)
            scratch.new.parent.mkdir()
            try:
                yield scratch
            finally:
                put_back(scratch)
    finally:
        if not (scratch.old.exists() or is_exchanged(scratch)):
            _remove(scratch.folder)


def _created(final: Path, owned: tuple[str, ...] | None, reserved: bool) -> tuple[Scratch, IO[str]]:
    """A new folder and its lock, held; made again where a sweep took the folder for left behind before it had both."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=final.parent))
        scratch = Scratch(folder, final.name, owned, reserved, time.time_ns())
        about = {"name": final.name, "owned": owned, "reserved": reserved, "began_ns": scratch.began_ns}
        with contextlib.suppress(FileNotFoundError, BlockingIOError):
            lock = (folder / _LOCK).open("w")
            _hold(lock)
            # Written last: who reads it finds the lock held for as long as this process lives.
            (folder / _ABOUT).write_text(json.dumps(about), encoding="utf-8")
            return scratch, lock


def sweep(parent: Path) -> None:
    """Puts back and removes what processes that are gone left in a folder; what cannot be moved or told stays."""
    for scratch in _scratches(parent):
        with contextlib.suppress(OSError), scratch.lock.open("r+") as lock:
            if _is_acquired(lock):
                put_back(scratch)
                _remove(scratch.folder)
    for folder in _scratch_folders(parent):
        _remove_begun(folder)


def _remove(folder: Path) -> None:
    """Removes a folder so that a kill in between leaves one that the next sweep recognises."""
    for place in ("new", "old"):
        shutil.rmtree(folder / place, ignore_errors=True)
    with contextlib.suppress(OSError):
        for name in (_EXCHANGING, _ABOUT, _LOCK):
            (folder / name).unlink(missing_ok=True)
        folder.rmdir()


def _remove_begun(folder: Path) -> None:
    """Removes a folder that was left before it was anybody's: empty, or with a free lock and half a note at most."""
    with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
        names = {entry.name for entry in folder.iterdir()}
        if _LOCK in names and names <= {_LOCK, _ABOUT}:
            lock = stack.enter_context((folder / _LOCK).open("r+"))
            if not _is_acquired(lock):
                return
            _remove(folder)
        elif not names:
            folder.rmdir()


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


def _scratch_folders(parent: Path) -> list[Path]:
    """This user's scratch folders in a folder."""
    scratch_folders = []
    with contextlib.suppress(OSError), os.scandir(parent) as entries:
        for entry in entries:
            if entry.name.startswith(PREFIX) and entry.is_dir(follow_symlinks=False):
                with contextlib.suppress(OSError):
                    if not hasattr(os, "getuid") or entry.stat(follow_symlinks=False).st_uid == os.getuid():
                        scratch_folders.append(Path(entry))
    return scratch_folders


def _scratches(parent: Path) -> Iterator[Scratch]:
    """What those folders say of themselves."""
    for folder in _scratch_folders(parent):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            about = json.loads((folder / _ABOUT).read_text(encoding="utf-8"))
            name, owned = about["name"], about["owned"]
            if name not in ("", ".", "..") and Path(name).name == name:
                patterns = None if owned is None else tuple(map(str, owned))
                yield Scratch(folder, name, patterns, bool(about["reserved"]), int(about["began_ns"]))


def _is_alive(scratch: Scratch) -> bool:
    try:
        with scratch.lock.open("r+") as lock:
            return not _is_acquired(lock)
    except OSError:
        return False


def _hold(lock: IO[str]) -> None:
    """Locks a new file where the disk has locks. Raises `BlockingIOError` when a sweep holds it already."""
    try:
        if fcntl is not None:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:
        return


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
