"""The log of a run: settings and versions, metrics by step, images; and the same for an experiment tracker."""

import contextlib
import dataclasses
import json
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from PIL import Image

import unish
from train.engine.schedule import RunProgress
from unish.utils.atomic_write import atomic_path

REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class ValidationReport:
    """The result of a validation."""

    metrics: Mapping[str, float] = field(default_factory=dict)
    images: Mapping[str, np.ndarray] = field(default_factory=dict)
    """By name, (height, width, 3) uint8 RGB"""


class RunLogger:
    """Writes a run's folder: `run.json`, `metrics.jsonl` (one entry per line), `images/`, and the tracker's files."""

    def __init__(self, folder: Path, accelerator: Accelerator, tracker: str, settings: Any) -> None:
        self._folder, self._accelerator, self._settings = folder, accelerator, settings
        self._tracked = tracker != "none"
        self._path = folder / "metrics.jsonl"

    def start(self, progress: RunProgress) -> None:
        """Begin, or resume after `progress`: entries of steps that will be repeated are dropped."""
        settings = as_plain(self._settings)
        if self._tracked:
            self._accelerator.init_trackers("unish", config=_flat(settings))
        if not self._accelerator.is_main_process:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        description = {
            "settings": settings,
            "commit": commit(),
            "unish": unish.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
            "processes": self._accelerator.num_processes,
            "distributed": self._accelerator.distributed_type.value,
        }
        with atomic_path(self._folder / "run.json") as temporary:
            temporary.write_text(json.dumps(description, indent=2) + "\n")
        lines = self._path.read_text().splitlines() if progress.step and self._path.is_file() else []
        lines = [line for line in lines if json.loads(line)["step"] <= progress.step]
        self._path.write_text("".join(f"{line}\n" for line in lines))

    def write(self, progress: RunProgress, metrics: dict[str, float]) -> None:
        """Append one entry."""
        if not metrics:
            return
        if self._tracked:
            self._accelerator.log(metrics, step=progress.step)
        if self._accelerator.is_main_process:
            entry = {"step": progress.step, "seconds": round(progress.seconds, 1)}
            entry |= {name: float(f"{value:.6g}") for name, value in metrics.items()}
            with self._path.open("a") as file:
                file.write(json.dumps(entry) + "\n")

    def show(self, progress: RunProgress, images: Mapping[str, np.ndarray]) -> None:
        """Save images as PNG files, and hand them to the tracker."""
        for name, image in images.items():
            path = self._folder / "images" / f"{progress.step:06d}_{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path)
        if self._tracked and images:
            for tracker in self._accelerator.trackers:
                if hasattr(tracker, "log_images"):
                    batches = {name: image[None] for name, image in images.items()}
                    options = {"dataformats": "NHWC"} if tracker.name == "tensorboard" else {}
                    tracker.log_images(batches, step=progress.step, **options)  # type: ignore[attr-defined]


def commit() -> str:
    """The repository's commit, with "+" after it where files are modified; "unknown" outside of a checkout."""
    command = ["git", "-C", str(REPOSITORY), "describe", "--always", "--abbrev=40", "--dirty=+", "--exclude=*"]
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    return "unknown"


def as_plain(settings: Any) -> Any:
    """Nested settings as JSON values."""
    if dataclasses.is_dataclass(settings) and not isinstance(settings, type):
        return {field.name: as_plain(getattr(settings, field.name)) for field in dataclasses.fields(settings)}
    if isinstance(settings, dict):
        return {str(name): as_plain(value) for name, value in settings.items()}
    if isinstance(settings, tuple | list):
        return [as_plain(value) for value in settings]
    return settings if isinstance(settings, str | int | float | bool | None) else str(settings)


def _flat(settings: Any, prefix: str = "") -> dict[str, Any]:
    """Nested settings as a flat dictionary with dotted names, as trackers take them."""
    if not isinstance(settings, dict):
        return {}
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        inner = _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": str(value)}
        flat |= inner
    return flat
