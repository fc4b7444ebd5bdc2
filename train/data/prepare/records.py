"""Who labels which video, and what came of it, on a folder that several machines may share.

A video is finished when its record `.labels/SPLIT/NAME.json` is there and names its content: it is written last, whole
or not at all. While a video is worked on, its lock is held; the operating system releases it when the process ends,
however it ends.
"""

import contextlib
import json
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import filelock

from train.data.schema import ClipSample, write_shards
from unish.errors import InputError
from unish.utils.atomic_write import atomic_path

_CLIPS_A_SHARD = 20
_SETTINGS = "settings.json"
_FOLDER = ".labels"  # hidden: datasets.load_dataset would take the records for data


@dataclass
class Record:
    """What became of one video."""

    video: str
    accepted: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    """Reason → clips."""
    error: str | None = None
    """Why it could not be read."""
    shards: list[str] = field(default_factory=list)
    content: str = ""
    """Digits that stand for the video's content; empty where nobody noted it."""


@dataclass(frozen=True)
class Records:
    """The folder of a data set that is being labelled."""

    out: Path
    split: str

    @property
    def folder(self) -> Path:
        """Where the records are."""
        return self.out / _FOLDER / self.split

    def prepare(self, settings: dict[str, Any]) -> None:
        """Makes the folder; one data set has one kind of labels, so others' settings must agree with these.

        Raises InputError naming the setting that differs.
        """
        path = self.folder / _SETTINGS
        settings = json.loads(json.dumps(settings))
        if not path.is_file():
            with atomic_path(path) as temporary:
                temporary.write_text(json.dumps(settings, indent=2) + "\n")
            return
        before = json.loads(path.read_text())
        differing = [name for name in settings if name in before and before[name] != settings[name]]
        if differing:
            name = differing[0]
            raise InputError(
                f"{self.out} holds labels made with {name} = {before.get(name)}, now it is {settings[name]}; choose "
                "another --out, or the settings from before."
            )

    def is_finished(self, name: str, content: str) -> bool:
        """Whether the video of that name, with that content, has its record."""
        try:
            return json.loads((self.folder / f"{name}.json").read_text()).get("content", "") in ("", content)
        except (OSError, ValueError, AttributeError):
            return False

    @contextlib.contextmanager
    def claim(self, name: str, content: str) -> Iterator[bool]:
        """Whether this process may label a video: nobody else is at it or has done it. Held inside the block."""
        lock = filelock.FileLock(self.folder / "locks" / name)
        lock_file = Path(lock.lock_file)
        with _writing(self.out):
            lock_file.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(filelock.Timeout):
                lock.acquire(blocking=False)
        if not lock.is_locked:
            yield False
            return
        try:
            yield not self.is_finished(name, content)
        finally:
            if self.is_finished(name, content):  # whoever still opens the old lock sees the record
                lock_file.unlink(missing_ok=True)
            lock.release()

    def write(self, name: str, record: Record, samples: Iterable[ClipSample]) -> None:
        """Consumes the samples of a claimed video: its shards appear once all are made, then its record.

        Raises InputError when the disk is full or the place cannot be written to.
        """
        shards = self.out / self.split
        half_done = self.folder / "locks" / f"{name}.shards"
        shutil.rmtree(half_done, ignore_errors=True)
        try:
            made = write_shards(samples, half_done, _CLIPS_A_SHARD)
            with _writing(self.out):
                # Of the video that was there before, or moved by a run that was killed before its record.
                for left_over in shards.glob(f"{name}-*.parquet"):
                    left_over.unlink()
                for number, path in enumerate(made):
                    shards.mkdir(parents=True, exist_ok=True)
                    record.shards.append(f"{name}-{number:03d}.parquet")
                    path.rename(shards / record.shards[-1])
        finally:
            shutil.rmtree(half_done, ignore_errors=True)
        with atomic_path(self.folder / f"{name}.json") as temporary:
            temporary.write_text(json.dumps(vars(record), indent=2) + "\n")

    def all(self) -> list[Record]:
        """Records of every finished video, by whichever process."""
        paths = sorted(path for path in self.folder.glob("*.json") if path.name != _SETTINGS)
        records = (json.loads(path.read_text()) for path in paths)
        return [Record(**{**values, "rejected": Counter(values["rejected"])}) for values in records]

    def summarize(self) -> dict[str, Any]:
        """Totals over all finished videos, also written to `.labels/SPLIT.json`."""
        records = self.all()
        summary = {
            "videos": len(records),
            "videos_with_clips": sum(record.accepted > 0 for record in records),
            "accepted": sum(record.accepted for record in records),
            "rejected": dict(sum((record.rejected for record in records), Counter()).most_common()),
            "unreadable": {record.video: record.error for record in records if record.error},
        }
        with atomic_path(self.out / _FOLDER / f"{self.split}.json") as temporary:
            temporary.write_text(json.dumps(summary, indent=2) + "\n")
        return summary


@contextlib.contextmanager
def _writing(out: Path) -> Iterator[None]:
    """Turns a disk that is full or closed to us into a sentence."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"Could not write to {out}: {error.strerror or error}. Free some space, or choose another --out."
        ) from error
