"""Writing results so that an interrupted run leaves no half file under the final name, and no other file is lost."""

import contextlib
import ctypes
import errno
import os
import stat
import sys
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from unish.errors import InputError, UniSHError
from unish.utils.scratch import Scratch, free_name, mark_exchange, put_back, scratch_beside

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # of linux/fcntl.h and linux/fs.h
_NOT_SUPPORTED = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP)


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str], owned: Sequence[str] | None = None) -> Iterator[Path]:
    """Yield a temporary name beside `path` (same suffix); on success it takes the place of `path`, else it is removed.

    Works for a file or a folder. In a folder that is there already, files that match a pattern of `owned` (relative to
    it, `*` matching `/` as well) are replaced and all others kept; None replaces all. A kill at any moment leaves the
    old or the new one. Raises `InputError` when the place cannot be written to or the disk is full.
    """
    with writing(path), scratch_beside(real_place(path), owned) as scratch:
        yield scratch.new
        publish(scratch)


@contextlib.contextmanager
def writing(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turns what the system says against writing `path` into a sentence."""
    try:
        yield
    except UniSHError:
        raise
    except OSError as error:
        raise InputError(
            f"Could not write {path}: {error.strerror or error}. Choose another place with --out, or free some space."
        ) from error


def real_place(path: str | os.PathLike[str]) -> Path:
    """The absolute path, with links to folders followed. Raises `InputError` where it has no name (the root)."""
    absolute = Path(os.path.abspath(path))  # noqa: PTH100 (Path.resolve would follow a link to a file as well)
    place = Path(os.path.realpath(absolute.parent)) / absolute.name
    if place.is_symlink() and place.is_dir():
        place = Path(os.path.realpath(place))
    if not place.name:
        raise InputError(f"Expected a file or folder to write, got {path}; name one inside it.")
    return place


def publish(scratch: Scratch, replace: bool = True) -> Path:
    """Gives the finished file or folder its final place, and returns it.

    Without `replace`, owned files that have appeared in the folder meanwhile stay: the new one then goes beside it, as
    NAME.2. Raises `OSError` when it cannot be moved.
    """
    new, final = scratch.new, scratch.final
    _open_to_others(scratch)
    if not new.is_dir():
        return new.replace(final)
    try:
        return new.rename(final)  # where nothing is, or an empty folder
    except OSError:
        if not final.is_dir():
            raise
    if not replace and _has_owned(final, scratch.owned):
        return new.rename(free_name(final))
    mark_exchange(scratch)
    if not _exchange(new, final):
        scratch.old.parent.mkdir(exist_ok=True)
        final.rename(scratch.old)
        new.rename(final)  # if that fails, `scratch_beside` puts the old one back
    put_back(scratch)
    return final


def _open_to_others(scratch: Scratch) -> None:
    """Gives the mode that `open` gives, which made the lock, to files that a library (safetensors) made their owner's
    alone."""
    mode = stat.S_IMODE(scratch.lock.stat().st_mode)
    for path in (scratch.new, *scratch.new.rglob("*")):
        if path.lstat().st_mode == stat.S_IFREG | 0o600:
            path.chmod(mode)


def _has_owned(folder: Path, owned: tuple[str, ...] | None) -> bool:
    return any(fnmatchcase(entry.name, pattern) for entry in folder.iterdir() for pattern in owned or ("*",))


def _exchange(first: Path, second: Path) -> bool:
    """Lets two paths trade places in one step; False where the system or the disk has no such step."""
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None) if sys.platform == "linux" else None
    if renameat2 is None:
        return False
    if renameat2(_AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in _NOT_SUPPORTED:
        return False
    raise OSError(code, os.strerror(code), str(second))
