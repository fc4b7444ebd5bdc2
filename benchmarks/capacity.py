"""How many frames of one pass a card's memory holds: counted anywhere, measured beside it on a GPU.

    python benchmarks/capacity.py

Counted: every tensor alive at the worst moment of a window, random weights held as `unish.load` holds them, images of
518×294. Left out: workspaces of kernels, fragmentation, the device's own context (`CONTEXT_GB`). The second table is
what `unish.pipeline.capacity` makes of a card that nobody else uses: how long a window can be before it is cut.
"""

import itertools
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.counting import counted_bytes
from benchmarks.forward import HEIGHT_PX, WIDTH_PX, hardware, measured, random_network, window
from unish.models.config import RELEASE, UniSHConfig
from unish.models.unish import UniSH
from unish.pipeline.capacity import frame_bytes, max_frames

CARDS_GB = (16, 24, 48, 80, 140)
CONTEXT_GB = 0.6
"""What CUDA and its libraries take before anything is computed."""
TYPES = (torch.bfloat16, torch.float32)


@dataclass(frozen=True)
class CapacityConfig:
    """What is counted."""

    frames: tuple[int, ...] = (8, 30, 60, 120, 240)
    people: tuple[int, ...] = (1, 3)
    device: str = "cuda" if torch.cuda.is_available() else "cpu"


def counted(
    frames: int,
    people: int,
    dtype: torch.dtype,
    config: UniSHConfig = RELEASE,
    size: tuple[int, int] = (WIDTH_PX, HEIGHT_PX),
) -> tuple[int, int]:
    """Bytes of the weights, and of everything at the worst moment of a window."""
    with torch.device("meta"):
        model = UniSH(config).eval()
    model.cast_trunk(dtype)
    with counted_bytes() as live:
        model.to_empty(device="cpu")
        weights = live.most = live.now
        window(model, frames, people, "cpu", size)
        return weights, live.most


def main(config: CapacityConfig) -> None:
    """Print the tables as Markdown."""
    print(f"{hardware(config.device)}\n")
    print("| type | people | frames | counted GB | measured GB |\n" + "|---" * 5 + "|")
    weights, slopes = {}, {}
    for dtype in reversed(TYPES):  # the measured network is cast one way
        model = random_network("release", config.device).eval() if config.device.startswith("cuda") else None
        if model is not None:
            model.cast_trunk(dtype)
        for people in config.people:
            peaks = []
            for frames in config.frames:
                weights[dtype], peak = counted(frames, people, dtype)
                beside = "not measured" if model is None else _measured(model, frames, people, config.device)
                peaks.append(peak)
                print(f"| {_name(dtype)} | {people} | {frames} | {peak / 1e9:.2f} | {beside} |", flush=True)
            slopes[dtype, people] = float(np.polyfit(config.frames, peaks, 1)[0])
    for (dtype, people), slope in slopes.items():
        allowed = frame_bytes(RELEASE.scene, WIDTH_PX, HEIGHT_PX, people) / 1e6
        print(
            f"\n{_name(dtype)}, {people} people: {slope / 1e6:.1f} MB per frame; the model allows {allowed:.1f}.",
            end="",
        )
    names = [f"{card} GB" for card in CARDS_GB]
    print(f"\n\n| weights in | people | {' | '.join(names)} |\n" + "|---" * (2 + len(names)) + "|")
    for dtype, people in itertools.product(TYPES, config.people):
        held = [_held(card, weights[dtype], people) for card in CARDS_GB]
        print(f"| {_name(dtype)} | {people} | {' | '.join(map(str, held))} |")


def _held(card_gb: int, weights: int, people: int) -> int:
    free = int(1e9 * (card_gb - CONTEXT_GB)) - weights
    return max(0, max_frames(RELEASE.scene, WIDTH_PX, HEIGHT_PX, people, free))


def _measured(model: UniSH, frames: int, people: int, device: str) -> str:
    try:
        return f"{measured(model, frames, people, device, 1).peak_gb:.2f}"
    except torch.OutOfMemoryError:
        torch.cuda.empty_cache()
        return "out of memory"


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


if __name__ == "__main__":
    main(tyro.cli(CapacityConfig, description=__doc__))
