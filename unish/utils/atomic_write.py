"""Writing results so that an interrupted run never leaves half a file under the final name."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from unish.errors import InputError


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary name beside `path` (same suffix); on success it is renamed to `path`, else removed.

    Works for a file or a folder: what the block creates under the yielded name takes the place of `path`.
    Raises `InputError` when the place cannot be written to or the disk is full.
    """
    final = Path(path)
    temporary = None
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        holder = Path(tempfile.mkdtemp(prefix=".unish-", dir=final.parent))
        temporary = holder / final.name
        yield temporary
        if final.is_dir() and temporary.is_dir():
            final.rename(holder / "replaced")
        temporary.rename(final)
    except OSError as error:
        if isinstance(error, FileNotFoundError | ValueError):
            raise
        reason = error.strerror or str(error)
        raise InputError(
            f"Could not write {final}: {reason}. Choose another place with --out, or free some space."
        ) from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary.parent, ignore_errors=True)
