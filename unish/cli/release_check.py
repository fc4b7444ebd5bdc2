"""`unish doctor --release`: what somebody with the released weights and a GPU runs, and sends the result of.

The bundled clip end to end with seconds and memory per stage, the same clip with the authors' choices where ours
differ, and the bundled synthetic benchmark, whose truth is known. docs/release_check.md says how to read and send it.
"""

import contextlib
import importlib.metadata
import json
import platform
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from unish import __version__
from unish.analysis.fit_report import fit_report
from unish.body import BodyModel, load_body
from unish.cli.progress_bar import progress_bar, without_warnings
from unish.errors import InputError
from unish.evaluation.datasets import benchmark
from unish.evaluation.predict import reconstruct_sequence
from unish.evaluation.runner import Predictor, run
from unish.evaluation.table import make_table
from unish.models.hub import load
from unish.models.unish import UniSH
from unish.pipeline import Options, reconstruct_clip
from unish.runs.identity import weights_digest
from unish.structures import Clip, Reconstruction
from unish.utils.assets import SAMPLE_CLIP, SYNTHETIC_BENCHMARK
from unish.utils.atomic_write import atomic_path
from unish.utils.device import HostMemory, chosen_device
from unish.utils.progress import Progress, no_progress
from unish.video.reader import read_clip

RESULT_FILE = "release_check.json"
VARIANTS: dict[str, dict[str, Any]] = {
    "as unish runs it": {},
    "crops of the network's frames": {"crop_source": "network"},
    "boxes as wide as the authors'": {"box_scale": 1.09},
    "float32 throughout": {"precision": "float32"},
}
"""Options of each run of the clip; the first is what the others are compared with."""
PACKAGES = ("torch", "numpy", "transformers", "huggingface-hub", "safetensors")
MOVES = {"depth_percent": "depth %", "scale_percent": "scale %", "joints_mm": "joints mm"}


@dataclass
class StageMeter:
    """Progress that measures: seconds and peak memory of every stage, a stage being what is reported under one message.

    Memory is the GPU's, or what the process took on the host where there is none.
    """

    device: torch.device
    progress: Progress = no_progress
    stages: dict[str, dict[str, float]] = field(default_factory=dict)
    _running: tuple[str, float, HostMemory] | None = None

    def __call__(self, share: float, message: str) -> None:
        """A `Progress`."""
        self.begin("Network" if message.startswith("Reconstructing") else message)
        self.progress(share, message)

    def begin(self, stage: str) -> None:
        """Ends the stage that is running and starts this one, unless it is the same."""
        if self._running is not None and self._running[0] == stage:
            return
        self.end()
        if stage == "Done":
            return
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        self._running = stage, time.perf_counter(), HostMemory().__enter__()

    def end(self) -> None:
        """Ends the stage that is running, if any."""
        if self._running is None:
            return
        (stage, began, memory), self._running = self._running, None
        memory.__exit__()
        peak = memory.peak_bytes
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
            peak = torch.cuda.max_memory_allocated(self.device)
        earlier = self.stages.get(stage, {"seconds": 0.0, "peak_bytes": 0})
        seconds = earlier["seconds"] + time.perf_counter() - began
        self.stages[stage] = {"seconds": seconds, "peak_bytes": max(peak, earlier["peak_bytes"])}


def release_check(
    out: Path,
    weights: str = "release",
    device: str | None = None,
    end_s: float | None = None,
    sequences: int | None = None,
) -> dict[str, Any]:
    """Run everything, write `out`, and return what was written.

    `end_s` cuts the clip and `sequences` the benchmark short. Raises `InputError` without a GPU unless a device is
    named, `MissingAssetError` when the weights cannot be had.
    """
    place = chosen_device(device)
    if place.type == "cpu" and device is None:
        raise InputError("Expected a GPU to check the release on, found none; add --device cpu to wait for hours.")
    with progress_bar() as show, without_warnings():
        meter = StageMeter(place, show)
        meter(0.0, "Loading weights")
        model, body = load(weights, device=device), load_body(None)
        meter(0.0, "Reading video")
        clip = read_clip(SAMPLE_CLIP, end_s=end_s)
        meter(0.0, "First run")  # which loads kernels: only later ones say how fast it is
        reconstruct_clip(clip, model, body, Options(device=device))
        meter.end()
        runs = _runs(clip, model, body, weights, device, meter)
    checked = {
        "format": "unish release check",
        "format_version": 1,
        "machine": _machine(place),
        "weights": {
            "name": model.weights_name,
            "digest": weights_digest(model),
            "trunk": str(model.trunk_dtype or torch.float32).removeprefix("torch."),
        },
        "stages": meter.stages,
        "clip": runs,
        "synthetic": _synthetic(model, body, device, sequences),
    }
    with atomic_path(out) as temporary:
        temporary.write_text(json.dumps(checked, indent=1, allow_nan=False) + "\n")
    return checked


def _runs(
    clip: Clip, model: UniSH, body: BodyModel, weights: str, device: str | None, meter: StageMeter
) -> dict[str, dict[str, Any]]:
    """The clip with every variant's options: its fit report, and how far it is from the first; that one is metered."""
    runs: dict[str, dict[str, Any]] = {}
    first: Reconstruction | None = None
    for name, choices in VARIANTS.items():
        if "precision" in choices:
            model = load(weights, device=device, dtype=getattr(torch, choices["precision"]))
        began = time.perf_counter()
        progress = meter.progress if runs else meter
        scene = reconstruct_clip(clip, model, body, Options(device=device, **choices), progress)
        meter.end()
        seconds = time.perf_counter() - began
        first = first or scene
        runs[name] = {
            "options": choices,
            "frames_per_second": len(scene) / seconds,
            "metres_per_unit": scene.provenance.metres_per_unit,
            "focal_px": float(np.median(scene.cameras.intrinsics[:, 0, 0])),
            "finder": scene.provenance.finder,
            "warnings": list(scene.provenance.warnings),
            "fit": fit_report(scene).to_json(),
            "moves": _moved(scene, first),
        }
    return runs


def _moved(scene: Reconstruction, first: Reconstruction) -> dict[str, float]:
    """How far a result is from the first one: medians of depth, scale, and the joints of the people of both."""
    moved = {
        "depth_percent": 100 * float(np.median(np.abs(scene.depth_m / first.depth_m - 1))),
        "scale_percent": 100 * (scene.provenance.metres_per_unit / first.provenance.metres_per_unit - 1),
    }
    same = {person.id: person for person in first.people}
    both = [(person, same[person.id]) for person in scene.people if person.id in same]
    if both:
        offsets_m = [np.linalg.norm(one.joints_world - other.joints_world, axis=-1) for one, other in both]
        moved["joints_mm"] = 1000 * float(np.median(offsets_m))
    return moved


def _synthetic(model: UniSH, body: BodyModel, device: str | None, sequences: int | None) -> dict[str, Any]:
    """The table of the bundled benchmark, as `unish eval synthetic` makes it."""
    named = benchmark("synthetic")
    every = named.sequences(SYNTHETIC_BENCHMARK)
    predictor = Predictor(
        name=f"unish {model.weights_name}",
        predict=lambda sequence: reconstruct_sequence(sequence, named, model, body, device=device),
        identity=lambda sequence: {},
        body=body,
    )
    with tempfile.TemporaryDirectory(prefix="unish-") as folder, without_warnings():
        outcome = run(named, every[:sequences], predictor, Path(folder))
    table = make_table(named, predictor.name, "release check", outcome.results, of=len(every))
    return {"table": table.to_json(), "failures": outcome.failures}


def _machine(device: torch.device) -> dict[str, Any]:
    packages = {}
    for package in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            packages[package] = importlib.metadata.version(package)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return {
        "unish": __version__,
        "python": platform.python_version(),
        "system": platform.system(),
        "device": f"{device.type} ({name})",
        "packages": packages,
    }


def text(checked: Mapping[str, Any]) -> str:
    """For the terminal: stages, runs of the clip, and the benchmark beside its published rows."""
    weights = checked["weights"]
    stages = [
        (name, f"{stage['seconds']:.2f}", f"{stage['peak_bytes'] / 1e9:.2f}")
        for name, stage in checked["stages"].items()
    ]
    runs = [
        (
            name,
            f"{made['frames_per_second']:.1f}",
            made["fit"]["word"],
            *(f"{made['moves'][move]:.2f}" if move in made["moves"] else "–" for move in MOVES),
        )
        for name, made in checked["clip"].items()
    ]
    table = checked["synthetic"]["table"]
    numbers = [
        (measure["heading"], *(f"{row['numbers'].get(name, float('nan')):.4g}" for row in table["rows"]))
        for name, measure in table["measures"].items()
    ]
    first = next(iter(checked["clip"].values()))
    lines = [
        f"{weights['name']} ({weights['digest'][:16]}) on {checked['machine']['device']}, trunk in {weights['trunk']}",
        "",
        *_aligned([("stage", "s", "peak GB"), *stages]),
        "",
        *_aligned([("run of the bundled clip", "frames/s", "fit", *MOVES.values()), *runs]),
        "",
        *_aligned([("synthetic benchmark", *(row["method"] for row in table["rows"])), *numbers]),
        "",
        *(f"warning: {warning}" for warning in first["warnings"]),
        *(f"failed: {name}: {sentence}" for name, sentence in checked["synthetic"]["failures"].items()),
    ]
    return "\n".join(lines)


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.rjust(w) if k else cell.ljust(w) for k, (cell, w) in enumerate(zip(row, widths, strict=True)))
        for row in rows
    ]
