"""Time and memory of clips of any length: the bundled clip, played there and back until it is long enough.

    python benchmarks/long_clip.py                       # 200 and 2,000 frames, the table of docs/long_clips.md

Every length runs in a process of its own. Memory is what the process holds for itself (RssAnon); arrays on disk take
pages beside it that the system takes back when it needs them. Linux only.
"""

import logging
import multiprocessing
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro

from unish.pipeline import reconstruct
from unish.structures import Clip
from unish.utils.assets import SAMPLE_CLIP
from unish.utils.disk_arrays import Stack
from unish.video.reader import read_clip


@dataclass(frozen=True)
class LongClipConfig:
    """What is measured."""

    lengths: tuple[int, ...] = (200, 2000)
    """Frames."""
    weights: str = "mini"
    device: str = "cpu"


@dataclass(frozen=True)
class Measured:
    """What a run took."""

    frames: int
    windows: int
    seconds: float
    memory_mb: float
    """Most at any moment."""


def long_clip(frames: int) -> Clip:
    """The bundled clip there and back, over and over."""
    sample = read_clip(SAMPLE_CLIP)
    order = np.abs((np.arange(frames) + len(sample.frames) - 1) % (2 * len(sample.frames) - 2) - len(sample.frames) + 1)
    stack = Stack()
    for index in order:
        stack.append(sample.frames[index])
    return Clip(stack.finish(), np.arange(frames) / sample.fps, sample.fps, SAMPLE_CLIP.name, sample.source_size)


class MemoryWatch:
    """Looks at the process's own memory ten times a second."""

    def __init__(self) -> None:
        self.most_mb = 0.0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "MemoryWatch":
        self._thread.start()
        return self

    def __exit__(self, *reason: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.1):
            lines = Path("/proc/self/status").read_text().splitlines()
            held = next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))
            self.most_mb = max(self.most_mb, held / 1024)


def measure(config: LongClipConfig, frames: int) -> Measured:
    """One run, from decoded frames to the result."""
    logging.getLogger("unish").setLevel(logging.ERROR)
    clip = long_clip(frames)
    with MemoryWatch() as watch:
        start = time.perf_counter()
        found = reconstruct(clip, weights=config.weights, device=config.device)
        seconds = time.perf_counter() - start
    return Measured(frames, len(found.windows), seconds, watch.most_mb)


def main(config: LongClipConfig) -> None:
    """Print the table; the shortest clip is what the others are compared with."""
    rows = []
    for frames in config.lengths:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            rows.append(pool.apply(measure, (config, frames)))
    print("| frames | windows | seconds | seconds per frame, ratio | most memory MB | ratio |")
    print("|---" * 6 + "|")
    first = rows[0]
    for row in rows:
        pace = (row.seconds / row.frames) / (first.seconds / first.frames)
        print(
            f"| {row.frames} | {row.windows} | {row.seconds:.0f} | {pace:.2f} | {row.memory_mb:.0f} | "
            f"{row.memory_mb / first.memory_mb:.2f} |"
        )


if __name__ == "__main__":
    main(tyro.cli(LongClipConfig, description=__doc__))
