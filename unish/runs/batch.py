"""A folder of clips, one after the other: resumable, on any number of processes, one clip's failure its own."""

import contextlib
import csv
import dataclasses
import io
import json
import logging
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from unish.analysis.fit_report import fit_report
from unish.body import BodyModel
from unish.errors import InputError, Interrupted, UniSHError
from unish.export import FORMATS, check_formats, export
from unish.export.formats import expand_formats
from unish.pipeline import Options, reconstruct_clip
from unish.runs.identity import Identity, batch_identity, clip_identity, difference, is_replaced
from unish.runs.result_folder import RESULT_EXPORTS, RESULT_RECORD, reserve_result, write_result
from unish.structures import Clip, Reconstruction
from unish.utils.atomic_write import atomic_path
from unish.utils.distributed import Rank, sentence_of
from unish.utils.interrupts import Interrupts, deferred_interrupts
from unish.utils.names import text_name
from unish.utils.prefetch import prefetch
from unish.utils.progress import Progress, no_progress
from unish.video.bars import without_bars
from unish.video.reader import read_clip
from unish.video.source_frames import SourceFrames
from unish.video.suffixes import IMAGE_SUFFIXES, VIDEO_SUFFIXES, has_suffix

if TYPE_CHECKING:
    from unish.models.unish import UniSH

TABLE = "batch.csv"
log = logging.getLogger("unish")


@dataclass(frozen=True)
class Row:
    """What became of one clip: a line of the table."""

    clip: str
    status: str
    """"made" now, "kept" from an earlier run, or "failed"."""
    frames: int | None = None
    people: int | None = None
    fit: str = ""
    """The word of the fit report."""
    seconds: float | None = None
    """That it took when it was made."""
    sentence: str = ""
    """Why it failed."""


@dataclass(frozen=True)
class Job:
    """One clip and where its result goes."""

    clip: Path
    folder: Path

    @property
    def name(self) -> str:
        """Of the clip, as text."""
        return text_name(self.clip)


def find_jobs(source: Path, out: Path) -> list[Job]:
    """Every video directly in `source`, and every folder in it that holds images, by name; hidden ones are left out.

    Results are named after the clips, with the suffix where two would share a name. Raises `InputError` when the
    folder is not there or holds no clip.
    """
    if not source.is_dir():
        raise InputError(f"Expected a folder of clips at {source}, found {'a file' if source.exists() else 'nothing'}.")
    try:
        clips = sorted(path for path in source.iterdir() if _is_clip(path) and not _is_same(path, out))
    except OSError as error:
        raise InputError(f"{source} cannot be read: {error.strerror}; check its permissions.") from error
    if not clips:
        raise InputError(f"Expected videos ({', '.join(VIDEO_SUFFIXES)}) or folders of images in {source}, found none.")
    stems = [_stem(clip).casefold() for clip in clips]
    full_names = {clip.name.casefold() for clip in clips if clip.name != _stem(clip)} | {TABLE}
    return [
        Job(clip, out / (clip.name if stems.count(stem) > 1 or stem in full_names else _stem(clip)))
        for clip, stem in zip(clips, stems, strict=True)
    ]


def run_batch(
    jobs: Sequence[Job],
    model: "UniSH",
    body: BodyModel,
    options: Options,
    formats: Sequence[str] = (),
    overwrite: bool = False,
    rank: Rank = Rank(),  # noqa: B008 (frozen)
    progress: Progress = no_progress,
) -> list[Row]:
    """Reconstruct and export this rank's part of the clips; the rows of all ranks, in the order of `jobs`.

    A result of the same clip, weights, body and options is kept, and only the formats that it lacks are written. It is
    made again where the clip or the weights were replaced under their names. A result of other weights or options is
    replaced with `overwrite`, else its clip fails. "all" among the formats stands for those that can be written of a
    clip. Raises `InputError` for an unknown format, before any work. A clip that fails does not stop the others. Ctrl-C
    and SIGTERM do, and keep the finished windows of the current clip, which the next run reconstructs from the start.
    """
    check_formats(expand_formats(formats))
    identity = batch_identity(model, body, options)
    mine, rows = rank.of(list(jobs)), []
    with (
        deferred_interrupts(signal.SIGINT, signal.SIGTERM) as interrupts,
        _opened(mine, identity, options, overwrite, ahead=_device(model).type != "cpu") as clips,
    ):
        for number, job in enumerate(mine):

            def report(part: float, message: str, done: int = number, name: str = job.name) -> None:
                progress((done + part) / len(mine), f"{name}: {message}")

            report(0.0, "Reading the clip")
            try:
                with interrupts.raising():
                    opened = next(clips)
                rows.append(_one(job, opened, model, body, options, formats, report, interrupts))
            except Exception as error:  # one clip must not take the night's work of the others with it
                rows.append(Row(job.name, "failed", sentence=sentence_of(error)))
                if not isinstance(error, UniSHError):
                    log.error("%s failed", job.name, exc_info=error)
    progress(1.0, "Done")
    order = {job.name: place for place, job in enumerate(jobs)}
    return sorted(rank.gathered(rows), key=lambda row: order[row.clip])


def table(rows: Sequence[Row]) -> str:
    """The rows for a terminal."""
    heading = ("clip", "status", "frames", "people", "fit", "seconds")
    cells = [heading, *(tuple(_cell(getattr(row, name)) for name in heading) for row in rows)]
    widths = [max(len(line[k]) for line in cells) for k in range(len(heading))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells
    )


def write_table(rows: Sequence[Row], path: Path) -> None:
    """The rows as CSV."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in dataclasses.fields(Row)])
    writer.writeheader()
    writer.writerows(dataclasses.asdict(row) for row in rows)
    with atomic_path(path) as temporary:
        temporary.write_text(text.getvalue(), encoding="utf-8", errors="backslashreplace")


@dataclass(frozen=True)
class _Opened:
    """A clip before the network sees it: what is known of an earlier result, or its frames, or what is wrong."""

    identity: Identity = field(default_factory=dict)
    record: dict[str, Any] | None = None
    """Of an earlier result that is kept."""
    clip: Clip | None = None
    seconds: float = 0.0
    """That reading took."""
    error: Exception | None = None


@contextlib.contextmanager
def _opened(
    jobs: Sequence[Job], identity: Identity, options: Options, overwrite: bool, *, ahead: bool
) -> Iterator[Iterator[_Opened]]:
    """The clips of the jobs in order; with `ahead`, the next one is read while the network is at the one before."""
    over = threading.Event()

    def go_on(share: float, message: str) -> None:
        if over.is_set():
            raise InterruptedError

    def read(job: Job) -> _Opened:
        began = time.perf_counter()
        try:
            wanted = {**clip_identity(job.clip), **identity}
            record = _record(job, wanted, overwrite)
            if record is not None:
                return _Opened(wanted, record)
            clip = read_clip(
                job.clip,
                fps=options.fps,
                start_s=options.start_s,
                end_s=options.end_s,
                source_fps=options.source_fps,
                shot=options.shot,
                progress=go_on,
            )
            return _Opened(wanted, clip=without_bars(clip), seconds=time.perf_counter() - began)
        except Exception as error:  # told when it is this clip's turn
            return _Opened(error=error)

    def in_turn() -> Iterator[_Opened]:
        for job, opened in zip(jobs, (prefetch if ahead else map)(read, jobs), strict=True):
            # A clip read ahead shared the disk with the one before it, and may now find room.
            yield read(job) if ahead and opened.error is not None else opened

    try:
        yield in_turn()
    finally:
        over.set()


def _one(
    job: Job,
    opened: _Opened,
    model: "UniSH",
    body: BodyModel,
    options: Options,
    formats: Sequence[str],
    report: Progress,
    interrupts: Interrupts,
) -> Row:
    """Makes or keeps the result of a clip. Raises KeyboardInterrupt when a signal has come, its windows saved."""
    if opened.error is not None:
        raise opened.error
    record, status = opened.record, "kept"
    if opened.clip is not None:
        began = time.perf_counter() - opened.seconds
        with reserve_result(job.folder, overwrite=True):
            try:
                scene = reconstruct_clip(
                    opened.clip, model, body, options, progress=lambda part, message: report(0.8 * part, message)
                )
            except Interrupted as stop:
                scene = stop.partial
            fit = fit_report(scene)
            record = {
                "identity": opened.identity,
                "frames": len(scene),
                "people": len(scene.people),
                "fit": fit.word,
                "seconds": round(time.perf_counter() - began, 2),
            }
            if len(scene) < len(opened.clip):
                record["stopped"] = True
                log.warning(
                    f"{job.folder} holds the finished {len(scene)} of {len(opened.clip)} frames of {job.name}; the "
                    "next run makes it again."
                )
            extra = {RESULT_RECORD: json.dumps(record, indent=2) + "\n"}
            write_result(scene, fit, job.folder, job.name, extra, source=opened.clip)
        status = "made"
    assert record is not None
    wanted = expand_formats(formats, has_people=record["people"] > 0)
    with interrupts.raising():
        _export(job, body, wanted, options.source_fps, lambda part, message: report(0.8 + 0.2 * part, message))
    return Row(job.name, status, record["frames"], record["people"], record["fit"], record["seconds"])


def _device(model: "UniSH") -> torch.device:
    return next(model.parameters()).device


def _export(job: Job, body: BodyModel, formats: Sequence[str], source_fps: float | None, report: Progress) -> None:
    """Write the formats that are not there yet, with the clip's frames at their full resolution."""
    folder = job.folder / RESULT_EXPORTS
    missing = [name for name in formats if not (folder / FORMATS[name].target).exists()]
    if missing:
        scene = Reconstruction.load(job.folder)
        of_clip = any(FORMATS[name].of_clip for name in missing)
        clip = SourceFrames.open(job.clip, scene.times_s, scene.fps, source_fps) if of_clip else None
        export(scene, folder, missing, clip, report, body=body)


def _record(job: Job, wanted: Identity, overwrite: bool) -> dict[str, Any] | None:
    """What is known of an earlier result that may be kept; None where the clip is to be run."""
    if not job.folder.exists():
        return None
    try:
        record = json.loads((job.folder / RESULT_RECORD).read_text())
        differing = difference(record["identity"], wanted)
        replaced = is_replaced(record["identity"], wanted)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        record, differing, replaced = None, "", False
    if record is not None and differing is None:
        return None if record.get("stopped") else record
    if replaced or (overwrite and record is not None) or not any(job.folder.iterdir()):
        return None
    if record is None or differing is None:
        raise InputError(f"{job.folder} was not written by unish batch, so it is not replaced. Give another --out.")
    before, now = (identity.get(differing) for identity in (record["identity"], wanted))
    raise InputError(
        f"{job.folder} was made with {differing} {before}, not {now}. Give another --out, or --overwrite to replace it."
    )


def _is_clip(path: Path) -> bool:
    if not path.is_dir():
        return has_suffix(path, VIDEO_SUFFIXES)
    try:
        return not path.name.startswith(".") and any(has_suffix(inside, IMAGE_SUFFIXES) for inside in path.iterdir())
    except OSError as error:
        log.warning(f"The folder {path} is left out: it cannot be read ({error.strerror}).")
        return False


def _is_same(path: Path, out: Path) -> bool:
    return os.path.realpath(path) == os.path.realpath(out)  # Path.resolve raises for a link to itself


def _stem(clip: Path) -> str:
    return clip.name if clip.is_dir() else clip.stem


def _cell(value: object) -> str:
    return "–" if value in (None, "") else f"{value:.1f}" if isinstance(value, float) else str(value)
