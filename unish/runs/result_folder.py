"""The folder of a result: the reconstruction, how well it fits, and a page to look at it."""

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from unish.errors import InputError
from unish.utils.atomic_write import publish, real_place, writing
from unish.utils.result_files import (
    HEADER_FILE,
    RESULT_EXPORTS,
    RESULT_FILES,
    RESULT_PAGE,
    RESULT_RECORD,
    RESULT_REPORT,
)
from unish.utils.scratch import scratch_beside

if TYPE_CHECKING:
    from unish.analysis.fit_report import FitReport
    from unish.structures import FrameSequence, Reconstruction

__all__ = ["RESULT_EXPORTS", "RESULT_PAGE", "RESULT_RECORD", "RESULT_REPORT", "reserve_result", "write_result"]


@contextlib.contextmanager
def reserve_result(folder: Path, overwrite: bool = False) -> Iterator[None]:
    """Checks, before any work, that a result can be written there, and keeps the place from other runs meanwhile.

    The place must be free: nothing, an empty folder or, with `overwrite`, a result of unish. Raises `InputError` when
    it is not, cannot be written to, or another run is at it.
    """
    with contextlib.ExitStack() as reserved:
        with writing(folder):
            place = real_place(folder)
            _require_free(folder, place, overwrite)
            reserved.enter_context(scratch_beside(place, RESULT_FILES, reserve=True))
        yield


def _require_free(folder: Path, place: Path, overwrite: bool) -> None:
    if place.is_dir() and (os.path.ismount(place) or place.samefile(Path.cwd())):
        raise InputError(f"{folder} cannot be replaced as a whole. Give a folder inside it to --out.")
    taken = os.path.lexists(place) and not (place.is_dir() and not any(place.iterdir()))
    if taken and not overwrite:
        raise InputError(f"{folder} already exists. Give another --out, or --overwrite to replace it.")
    if taken and not (place / HEADER_FILE).is_file():
        raise InputError(f"{folder} is not a result of unish, so it is not replaced. Give another --out.")


def write_result(
    scene: "Reconstruction",
    fit: "FitReport",
    folder: Path,
    title: str,
    extra: Mapping[str, str] | None = None,
    overwrite: bool = True,
    source: "Path | FrameSequence | None" = None,
) -> Path:
    """Write the whole result under its final name, or nothing; returns where it is.

    `extra`: texts by file name, to be put beside it. Of a result that is there, unish's own files are replaced with
    `overwrite`; without it the new one goes beside it, as FOLDER.2. Files of the user stay. Raises `InputError` when it
    cannot be written. `source` is the clip, for sharp images in the viewer.
    """
    from unish.viewer import write_html

    with writing(folder), scratch_beside(real_place(folder), RESULT_FILES) as scratch:
        scene.save_into(scratch.new)
        fit.save(scratch.new / RESULT_REPORT)
        write_html(scene, scratch.new / RESULT_PAGE, title=title, source=source)
        for name, text in (extra or {}).items():
            (scratch.new / name).write_text(text, encoding="utf-8")
        published = publish(scratch, replace=overwrite)
        return folder if published == scratch.final else published
