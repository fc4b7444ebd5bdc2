"""Visitors' files live for a while and are then gone: uploads, results, and whatever a broken-off run left behind."""

import re
import shutil
import threading
import time
from pathlib import Path

_OURS = re.compile(r"[0-9a-f]{64}|\.?unish-.+|tmp[a-z0-9_]{8}")
"""Gradio keeps an upload in a folder named by its hash, and until it is whole in a file beside that, of the names that
Python gives to temporary files; this page a preview or a result in a folder that begins with unish-."""
KEEP_FILES_S = 3600
SWEEP_EVERY_S = 300


def start_sweeping(*roots: Path, keep_s: float | int = KEEP_FILES_S, every_s: float | int = SWEEP_EVERY_S) -> None:
    """Sweep these folders now and for as long as the process lives, in the background."""

    def forever() -> None:
        while True:
            for root in roots:
                sweep(root, keep_s)
            time.sleep(every_s)

    threading.Thread(target=forever, daemon=True, name="sweep").start()


def sweep(root: Path, keep_s: float | int) -> int:
    """Remove what Gradio or this page made in `root` and nothing has changed in for `keep_s` seconds; returns how many.

    An entry goes as a whole, so that no result is ever half there. What has another name is somebody else's and stays.
    """
    before, gone = time.time() - keep_s, 0
    for entry in root.iterdir():
        if _OURS.fullmatch(entry.name) and _last_change(entry) < before:
            shutil.rmtree(entry, ignore_errors=True) if entry.is_dir() else entry.unlink(missing_ok=True)
            gone += 1
    return gone


def _last_change(entry: Path) -> float:
    """When it or anything in it was last made, moved or written (a copy's own time, not that of its original)."""
    newest = 0.0
    for path in (entry, *entry.rglob("*")):
        try:
            newest = max(newest, path.lstat().st_ctime)
        except FileNotFoundError:
            continue
    return newest
