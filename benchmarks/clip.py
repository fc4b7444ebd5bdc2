"""Times a clip from its frames to the predictions of all windows, beside the seconds that the app asks ZeroGPU for.

    python benchmarks/clip.py                                   # release size, on a GPU
    python benchmarks/clip.py --size mini --frames 2 --device cpu

Random weights, frames of 1920×1080, people over the middle of them. Measured is what needs the device: resizing,
crops, both networks, and maps back to the CPU. Decoding, detection, joining and writing are not (`run_profile.py`).
The app asks for seconds before it knows the card: *asked* should lie above *s* and the time that loading takes.
"""

import itertools
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import tyro

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.forward import hardware, random_network
from space.limits import gpu_seconds
from unish.pipeline.options import ClipPriors, NetworkChoices, Options
from unish.pipeline.run_windows import run_windows
from unish.structures import Clip, PersonTrack
from unish.utils.device import half_precision
from unish.utils.interrupts import deferred_interrupts
from unish.utils.progress import no_progress

WIDTH_PX, HEIGHT_PX, FPS = 1920, 1080, 6.0


@dataclass(frozen=True)
class ClipConfig:
    """What is timed."""

    frames: tuple[int, ...] = (30, 60, 120, 300)
    people: tuple[int, ...] = (1, 3)
    size: Literal["release", "mini"] = "release"
    device: str = "cuda" if torch.cuda.is_available() else "cpu"


def clip_of(frames: int) -> Clip:
    """One noisy frame, again and again."""
    frame = np.random.default_rng(0).integers(0, 255, (HEIGHT_PX, WIDTH_PX, 3), np.uint8)
    repeated = np.broadcast_to(frame, (frames, *frame.shape))
    return Clip(repeated, np.arange(frames) / FPS, FPS, "noise", (WIDTH_PX, HEIGHT_PX))


def track_of(number: int, frames: int) -> PersonTrack:
    """Somebody who stands still."""
    box = np.array([300.0 + 400 * number, 200, 600 + 400 * number, 1000])
    return PersonTrack(number, np.tile(box, (frames, 1)), np.ones(frames, bool), np.ones(frames))


def main(config: ClipConfig) -> None:
    """Print the table as Markdown."""
    model = random_network(config.size, config.device)
    dtype = half_precision(torch.device(config.device)) or torch.float32
    model.cast_trunk(dtype)
    print(f"{hardware(config.device)}; {str(dtype).removeprefix('torch.')}\n")
    print("| frames | people | s | frames/s | asked s |\n|---|---|---|---|---|")
    for frames, people in itertools.product(config.frames, config.people):
        clip, tracks = clip_of(frames), tuple(track_of(number, frames) for number in range(1, people + 1))
        seconds = min(_seconds(clip, tracks, model) for _ in range(2))  # the first one warms up
        print(
            f"| {frames} | {people} | {seconds:.2f} | {frames / seconds:.1f} | {gpu_seconds(clip, people)} |",
            flush=True,
        )


def _seconds(clip: Clip, tracks: tuple[PersonTrack, ...], model: torch.nn.Module) -> float:
    began = time.perf_counter()
    with torch.inference_mode(), deferred_interrupts() as interrupts:
        run_windows(clip, tracks, model, ClipPriors(), Options.window, NetworkChoices(), no_progress, interrupts)
    return time.perf_counter() - began  # maps are on the CPU by then


if __name__ == "__main__":
    main(tyro.cli(ClipConfig, description=__doc__))
