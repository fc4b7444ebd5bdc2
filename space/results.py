"""Results that live for a while under a name that nobody can guess: a reload or a shared link finds them again."""

import json
import re
import secrets
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from unish.analysis.fit_report import FitReport
from unish.analysis.summary import summarise
from unish.errors import InputError
from unish.export import check_formats, export, write_video
from unish.runs.result_folder import RESULT_EXPORTS, RESULT_REPORT
from unish.structures import Clip, Reconstruction
from unish.utils.atomic_write import atomic_path
from unish.viewer import encode_scene, scene_arrays
from unish.viewer.numbers import numbers_html
from unish.viewer.page import offline_page

_NAME = re.compile(r"[A-Za-z0-9_-]{22}")
_PREFIX = "unish-"
OVERLAY_LONG_SIDE_PX = 960
"""The overlay of the page is no larger, so that a clip of minutes is drawn in seconds."""


@dataclass(frozen=True)
class Result:
    """The files of one reconstruction."""

    name: str
    """22 letters of chance: who knows it may see the result."""
    folder: Path

    @property
    def scene(self) -> Path:
        """What the viewer draws."""
        return self.folder / "scene.bin"

    @property
    def page(self) -> Path:
        """The viewer as one file that opens offline."""
        return self.folder / "viewer.html"

    @property
    def overlay(self) -> Path:
        """The clip with the bodies drawn over it."""
        return self.folder / "overlay.mp4"

    @property
    def archive(self) -> Path:
        """Everything, zipped."""
        return self.folder / "reconstruction.zip"

    @property
    def numbers(self) -> str:
        """Numbers and report as HTML, every text escaped."""
        return json.loads((self.folder / "numbers.json").read_text())["html"]


def write_result(root: Path, scene: Reconstruction, fit: FitReport, clip: Clip, formats: Sequence[str] = ()) -> Result:
    """Write all files of a result under `root`, its archive with other programs' `formats` in it.

    Raises `InputError` when there is no room, or for a format that does not exist.
    """
    name = secrets.token_urlsafe(16)
    with atomic_path(root / (_PREFIX + name)) as folder:
        folder.mkdir(parents=True)
        drawn = encode_scene(scene_arrays(scene))
        (folder / "scene.bin").write_bytes(drawn)
        (folder / "viewer.html").write_text(offline_page(drawn, scene.provenance.source_name), encoding="utf-8")
        (folder / "numbers.json").write_text(json.dumps({"html": numbers_html(summarise(scene), fit)}))
        write_video(scene, folder / "overlay.mp4", clip, long_side_px=OVERLAY_LONG_SIDE_PX)
        scene.save_into(folder / "reconstruction")
        fit.save(folder / "reconstruction" / RESULT_REPORT)
        export(scene, folder / "reconstruction" / RESULT_EXPORTS, formats, clip)
        shutil.make_archive(str(folder / "reconstruction"), "zip", folder, "reconstruction")
        shutil.rmtree(folder / "reconstruction")
    return Result(name, root / (_PREFIX + name))


def write_exports(
    result: Result, formats: Sequence[str], progress: Callable[[float, str], None] = lambda share, message: None
) -> Path:
    """The result in other programs' formats, zipped, beside its other files; what was made before is taken again.

    Raises `InputError` when no format is chosen, the result is gone, or there is no room.
    """
    if not formats:
        raise InputError("No format is chosen. Tick one or more.")
    check_formats(formats)
    if not result.archive.is_file():
        raise InputError("That result is not kept any longer. Make it again: it takes a moment.")
    path = result.folder / f"exports-{'-'.join(formats)}.zip"
    if not path.is_file():
        with tempfile.TemporaryDirectory() as place, atomic_path(path) as temporary:
            shutil.unpack_archive(result.archive, place, "zip")
            scene = Reconstruction.load(Path(place) / "reconstruction")
            export(scene, Path(place) / RESULT_EXPORTS, formats, progress=progress)
            shutil.make_archive(str(temporary.with_suffix("")), "zip", Path(place) / RESULT_EXPORTS)
    return path


def find_result(root: Path, name: str | None) -> Result | None:
    """The result of that name, if it is one and its files still live."""
    if not name or not _NAME.fullmatch(name):
        return None
    result = Result(name, root / (_PREFIX + name))
    needed = (result.scene, result.page, result.overlay, result.archive, result.folder / "numbers.json")
    return result if all(path.is_file() for path in needed) else None
