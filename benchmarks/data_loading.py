"""Times how fast batches of the training stages come from disk: seconds per clip, waits of a step, time of each part.

    python benchmarks/data_loading.py                  # one thread, and as many as a stage takes by itself
    python benchmarks/data_loading.py --threads 1 4 16

Clips are made up, 30 frames with one person, and stored as `train/data/prepare` stores them; batches are of release
size. All stages make their batches alike: what differs is the size of the images that they read. The files are in the
page cache. Every number is the smallest of some repeats.
"""

import contextlib
import dataclasses
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import datasets
import numpy as np
import PIL
import tyro

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.forward import hardware
from benchmarks.stage_step import made_up_clip
from train.data.batches import StageBatch
from train.data.clip_loader import ClipBatches, DataConfig, default_threads
from train.data.schema import ClipSample, decode_sample, load_clips, write_shards
from train.data.stage_batches import ViewConfig, stage_batch
from unish.models.config import RELEASE
from unish.video.preprocess import crop_people, fit_frames

FRAMES = 30
SOURCES = {"1 and 3 (videos)": (640, 360), "2 (BEDLAM)": (1280, 720)}
"""Width and height of the images that `label_videos` and `bedlam` store."""


@dataclass(frozen=True)
class DataLoadingConfig:
    """What is timed."""

    threads: tuple[int, ...] = (1, max(2, default_threads()))
    step_seconds: float = 0.6
    """A step that loading is put beside, a sleep in place of the network: 3 × 97 Tflop at 500 Tflop/s."""
    clips: int = 4
    batches: int = 8
    """Timed batches of a repeat, after those that were made ahead."""
    repeats: int = 2
    streaming: bool = False


def filmed(width: int, height: int, seed: int) -> ClipSample:
    """A clip that compresses about as real footage does: soft texture, wavy depth."""
    clip, rng = made_up_clip(FRAMES, width, height), np.random.default_rng(seed)
    coarse = rng.integers(0, 255, (FRAMES, height // 8, width // 8, 3), dtype=np.uint8)
    images = np.stack([cv2.resize(frame, (width, height), interpolation=cv2.INTER_CUBIC) for frame in coarse])
    waves = 0.5 * np.sin(np.arange(width) / 90) + 0.3 * np.cos(np.arange(height) / 70)[:, None]
    return dataclasses.replace(
        clip, clip_id=f"clip {seed}", images=images, depth_m=clip.depth_m + waves.astype(np.float32)
    )


def made(sample: ClipSample, rng: np.random.Generator) -> StageBatch | None:
    """A batch as a stage makes it."""
    return stage_batch(sample, ViewConfig(), RELEASE.scene.image_long_side_px, RELEASE.scene.patch_size, rng)


def waits(folder: str, threads: int, step: float, config: DataLoadingConfig) -> float:
    """Seconds that the next batch is waited for, in the mean, by steps that take `step` seconds themselves."""
    batches = ClipBatches(DataConfig((folder,), streaming=config.streaming, threads=threads), made)

    def repeat() -> float:
        waited = 0.0
        for _ in range(config.batches):
            waited += _seconds(lambda: next(batches))
            time.sleep(step)
        return waited / config.batches

    with contextlib.closing(batches):
        for _ in range(threads + 2):
            next(batches)
        return min(repeat() for _ in range(config.repeats))


def parts(folder: str) -> dict[str, float]:
    """Seconds that each part of making one batch takes alone in one thread."""
    rows = load_clips(folder, streaming=False)
    row, scene = rows[0], RELEASE.scene
    sample = decode_sample(row)
    work: dict[str, Callable[[], object]] = {
        "read the row": lambda: rows[0],
        "decode images": lambda: _decoded(row["images"], cv2.IMREAD_COLOR),
        "decode depth": lambda: _decoded(row["depth_m"], cv2.IMREAD_UNCHANGED),
        "decode masks": lambda: _decoded(row["person_mask"], cv2.IMREAD_UNCHANGED),
        "resize": lambda: fit_frames(sample.images, scene.image_long_side_px, scene.patch_size),
        "crops of a person": lambda: crop_people(sample.images, sample.boxes_px[0]),
    }
    found = {name: _fastest(part) for name, part in work.items()}
    whole = _fastest(lambda: made(decode_sample(rows[0]), np.random.default_rng(0)))
    return found | {"rest (colours, stacking, copies)": whole - sum(found.values()), "all": whole}


def _decoded(encoded: list[dict], mode: int) -> list[Any]:
    return [cv2.imdecode(np.frombuffer(image["bytes"], np.uint8), mode) for image in encoded]


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _fastest(work: Callable[[], object], repeats: int = 4) -> float:
    return min(_seconds(work) for _ in range(repeats))


def main(config: DataLoadingConfig) -> None:
    """Print the tables as Markdown."""
    cv2.setNumThreads(1)  # as a stage does
    datasets.disable_progress_bars()
    with tempfile.TemporaryDirectory() as folder:
        datasets.config.HF_DATASETS_CACHE = Path(folder) / "cache"
        places = {stage: f"{folder}/{width}x{height}" for stage, (width, height) in SOURCES.items()}
        for stage, (width, height) in SOURCES.items():
            clips = (filmed(width, height, seed) for seed in range(config.clips))
            write_shards(clips, Path(places[stage]) / "train", per_shard=config.clips)
        print(_machine() + "\n")
        step = f"{config.step_seconds:g} s"
        print(f"| stage | images | MB per clip | threads | s a clip | clips/s | waits of a step of {step} |")
        print("|---" * 7 + "|")
        for stage, place in places.items():
            for threads in config.threads:
                print(_row(stage, place, threads, config), flush=True)
        print("\nA step takes one clip of each process: loading keeps up with steps of no less than “s a clip”.\n")
        print(_parts_table({SOURCES[stage]: parts(place) for stage, place in places.items()}))


def _row(stage: str, place: str, threads: int, config: DataLoadingConfig) -> str:
    width, height = SOURCES[stage]
    megabytes = sum(path.stat().st_size for path in Path(place).rglob("*.parquet")) / config.clips / 1e6
    alone, beside = waits(place, threads, 0.0, config), waits(place, threads, config.step_seconds, config)
    start = f"| {stage} | {width}×{height} | {megabytes:.1f} | {threads} |"
    return f"{start} {alone:.2f} | {1 / alone:.1f} | {beside:.2f} s |"


def _parts_table(columns: dict[tuple[int, int], dict[str, float]]) -> str:
    sizes = " | ".join(f"{width}×{height} s" for width, height in columns)
    lines = [f"| one clip, one thread | {sizes} |", "|---" * (1 + len(columns)) + "|"]
    for name in next(iter(columns.values())):
        lines.append(f"| {name} | {' | '.join(f'{column[name]:.3f}' for column in columns.values())} |")
    return "\n".join(lines)


def _machine() -> str:
    versions = f"datasets {datasets.__version__}, OpenCV {cv2.__version__}, Pillow {PIL.__version__}"
    return f"{hardware('cpu')}, {versions}"


if __name__ == "__main__":
    main(tyro.cli(DataLoadingConfig, description=__doc__))
