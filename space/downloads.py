"""A result as zipped files: all of its data, and what other programs open."""

import contextlib
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from space.request import ExportChoices
from space.results import Result, still_there, write_overlay, write_page
from unish.errors import InputError
from unish.export import FORMATS, export
from unish.runs.result_folder import RESULT_EXPORTS
from unish.utils.atomic_write import atomic_path
from unish.utils.progress import Progress, no_progress, part_of

NO_EXPORTS = ExportChoices()
_NAMES = {"webm": "WebM", "mesh": "Mesh", "robot": "Robot", "chan": "Chan"}
"""Of formats whose names are no abbreviations."""


def write_archive(result: Result, choices: ExportChoices = NO_EXPORTS, progress: Progress = no_progress) -> Path:
    """The reconstruction and its report, zipped, with files for other programs in it, where some are chosen.

    Raises `InputError` when it has expired, or when there is no room.
    """
    path = result.archive
    if choices.formats:
        path = path.with_stem(f"{path.stem}_{choices.slug}")
    if not path.is_file():
        with still_there(result), _new_zip(path) as archive:
            _add_folder(archive, result.kept / "reconstruction", result.stem)
            _add_exports(archive, result, choices, f"{result.stem}/{RESULT_EXPORTS}", progress)
    return path


def write_exports(result: Result, choices: ExportChoices, progress: Progress = no_progress) -> Path:
    """The result in other programs' formats, zipped, beside its other files; what was made before is taken again.

    Frames in them are those of the upload. Raises `InputError` when no format is chosen, the result has expired, or
    there is no room.
    """
    if not choices.formats:
        raise InputError("Choose at least one format.")
    path = result.folder / f"{result.stem}_{choices.slug}.zip"
    if not path.is_file():
        with still_there(result), _new_zip(path) as archive:
            _add_exports(archive, result, choices, result.stem, progress)
    return path


def format_name(name: str) -> str:
    """A format as people write it."""
    return _NAMES.get(name, name.upper())


def described_sizes(exports: Path, formats: Sequence[str]) -> str:
    """How large each format's files are in what `write_exports` wrote, as "GLB 1.2 MB, Chan 13 kB"."""
    with zipfile.ZipFile(exports) as archive:
        files = [(name.split("/")[1], size) for name, size in ((i.filename, i.file_size) for i in archive.infolist())]
    sizes = {name: sum(size for top, size in files if top == FORMATS[name].target) for name in FORMATS}
    return ", ".join(f"{format_name(name)} {_in_words(sizes[name])}" for name in FORMATS if name in formats)


def _in_words(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size / 1e3:.0f} kB"


def write_all(result: Result, choices: ExportChoices, progress: Progress) -> tuple[Path, Path, Path]:
    """What programs get: the archive with the files chosen, the viewer as one file, the overlay."""
    return write_archive(result, choices, progress), write_page(result), write_overlay(result, progress)


def _add_exports(
    archive: zipfile.ZipFile, result: Result, choices: ExportChoices, name: str, progress: Progress
) -> None:
    if not choices.formats:
        return
    scene, done, total = result.load(), 0, len(choices.formats)
    clip = result.source_frames(scene)
    with tempfile.TemporaryDirectory(prefix="unish-") as place:
        for kind, formats in choices.by_scene().items():
            part = part_of(progress, done / total, (done + len(formats)) / total)
            export(scene, place, formats, clip, part, scene=kind, names=choices.names)
            done += len(formats)
        _add_folder(archive, Path(place), name)


@contextlib.contextmanager
def _new_zip(path: Path) -> Iterator[zipfile.ZipFile]:
    with (
        atomic_path(path) as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
    ):
        yield archive


def _add_folder(archive: zipfile.ZipFile, folder: Path, name: str) -> None:
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            archive.write(file, f"{name}/{file.relative_to(folder)}")
