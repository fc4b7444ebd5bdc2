"""What a run writes down: settings and versions, numbers step by step, pictures, and the tracker's copy of them."""

import contextlib
import dataclasses
import json
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from accelerate import Accelerator
from PIL import Image

import unish
from unish.utils.atomic_write import atomic_path

REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Report:
    """What a validation says: numbers, and pictures (height, width, 3) uint8 by name."""

    numbers: Mapping[str, float] = field(default_factory=dict)
    pictures: Mapping[str, np.ndarray] = field(default_factory=dict)


class Place(Protocol):
    """How far a run is."""

    step: int
    seconds: float


class RunLogger:
    """A run's folder: `run.json`, `metrics.jsonl` (numbers, a line at a time), `pictures/`, and the tracker's files."""

    def __init__(self, folder: Path, accelerator: Accelerator, tracker: str, settings: Any) -> None:
        self._folder, self._accelerator, self._settings = folder, accelerator, settings
        self._tracked = tracker != "none"
        self._path = folder / "metrics.jsonl"

    def start(self, progress: Place) -> None:
        """Begin, or go on after `progress`: lines of steps that will be done again are dropped."""
        settings = as_plain(self._settings)
        if self._tracked:
            self._accelerator.init_trackers("unish", config=_flat(settings))
        if not self._accelerator.is_main_process:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        about = {"settings": settings, "commit": commit(), "unish": unish.__version__, "torch": torch.__version__}
        about |= {"python": platform.python_version(), "processes": self._accelerator.num_processes}
        about |= {"distributed": self._accelerator.distributed_type.value}
        with atomic_path(self._folder / "run.json") as temporary:
            temporary.write_text(json.dumps(about, indent=2) + "\n")
        kept = self._path.read_text().splitlines() if progress.step and self._path.is_file() else []
        kept = [line for line in kept if json.loads(line)["step"] <= progress.step]
        self._path.write_text("".join(f"{line}\n" for line in kept))

    def write(self, progress: Place, numbers: dict[str, float]) -> None:
        """Append one line."""
        if not numbers:
            return
        if self._tracked:
            self._accelerator.log(numbers, step=progress.step)
        if self._accelerator.is_main_process:
            row = {"step": progress.step, "seconds": round(progress.seconds, 1)}
            row |= {name: float(f"{value:.6g}") for name, value in numbers.items()}
            with self._path.open("a") as file:
                file.write(json.dumps(row) + "\n")

    def show(self, progress: Place, pictures: Mapping[str, np.ndarray]) -> None:
        """Keep pictures as PNG files, and give them to the tracker."""
        for name, picture in pictures.items():
            path = self._folder / "pictures" / f"{progress.step:06d}_{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(path)
        if self._tracked and pictures:
            for tracker in self._accelerator.trackers:
                if hasattr(tracker, "log_images"):
                    values = {name: picture[None] for name, picture in pictures.items()}
                    options = {"dataformats": "NHWC"} if tracker.name == "tensorboard" else {}
                    tracker.log_images(values, step=progress.step, **options)  # type: ignore[attr-defined]


def commit() -> str:
    """The repository's commit, with "+" where files differ from it; "unknown" outside of a checkout."""
    command = ["git", "-C", str(REPOSITORY), "describe", "--always", "--abbrev=40", "--dirty=+", "--exclude=*"]
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    return "unknown"


def as_plain(settings: Any) -> Any:
    """Settings, however nested, as JSON values."""
    if dataclasses.is_dataclass(settings) and not isinstance(settings, type):
        return {field.name: as_plain(getattr(settings, field.name)) for field in dataclasses.fields(settings)}
    if isinstance(settings, dict):
        return {str(name): as_plain(value) for name, value in settings.items()}
    if isinstance(settings, tuple | list):
        return [as_plain(value) for value in settings]
    return settings if isinstance(settings, str | int | float | bool | None) else str(settings)


def _flat(settings: Any, prefix: str = "") -> dict[str, Any]:
    """Nested settings as one level of names, which is what trackers take."""
    if not isinstance(settings, dict):
        return {}
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        inner = _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": str(value)}
        flat |= inner
    return flat
