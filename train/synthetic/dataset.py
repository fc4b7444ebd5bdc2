"""Data sets of synthetic clips: rendered in processes, shard by shard, with true or pseudo labels."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
import tqdm

from train.data.prepare.joints import own_joints_px
from train.data.schema import ClipSample, write_shards
from train.synthetic.assets import Assets, check_folders, load_assets
from train.synthetic.cameras import STEP_PX
from train.synthetic.clips import generate_clip
from train.synthetic.labeller import pseudo_labels
from train.synthetic.worlds import named_world
from unish.body import BodyModel, open_body
from unish.errors import InputError
from unish.models.hub import load
from unish.models.unish import UniSH
from unish.video import TRAINED_FPS

SPLIT_SEEDS = {"train": 0, "validation": 500_000_000, "test": 700_000_000}
LABELS = ("true", "pseudo")
_LABELLER_SEED = 1  # beside the clip's own, so that a label's errors are not the numbers that drew the scene


@dataclass(frozen=True)
class DatasetConfig:
    """A data set of synthetic clips, as shards OUT/SPLIT/00000.parquet, … that datasets.load_dataset reads.

    Finished shards are kept, so a stopped run goes on where it was: another world or other labels go to another folder.
    Splits never share a seed.
    """

    out: Path
    """Folder of the data set."""
    clips: int = 2000
    """Number of clips."""
    frames: int = 8
    """Frames a clip."""
    fps: float = TRAINED_FPS
    """Frames a second of the clips."""
    long_side_px: int = 336
    """Longer side of the images, a multiple of 14."""
    seed: int = 0
    """First seed, below 500 million; clip k of a split has seed + k, shifted by the split."""
    workers: int = 2
    """Processes."""
    split: str = "train"
    """train, validation or test."""
    per_shard: int = 25
    """Clips a shard."""
    world: str = "default"
    """default, studio (clean, like a rendered data set) or wild (like phone videos)."""
    labels: str = "true"
    """true: exact ones; pseudo: what a labeller would say of the video, and nothing else."""
    people: int = 0
    """People in every clip, 1 to 3; 0 draws it."""
    joints_from: str = ""
    """Pseudo labels only: weights (mini, a folder) whose human branch says where joints are seen; else nobody does."""
    motions: Path | None = None
    """Folder of captured motion (.amc with .asf, .bvh, AMASS .npz), mixed with procedural motion and random poses."""
    wardrobe: Path | None = None
    """Folder with MakeHuman's base.obj and garments (.mhclo with .obj): clothes, shoes and hair as geometry."""
    backdrops: Path | None = None
    """Folder of photographs (and .hdr) to see behind the scenes; their depth is unknown."""


def make_clip(config: DatasetConfig, seed: int) -> ClipSample:
    """The clip of a seed with the labels that the data set has."""
    clip = generate_clip(
        seed, config.frames, config.fps, config.long_side_px, people_count=config.people or None, world=config.world,
        assets=_assets(config.motions, config.wardrobe, config.backdrops),
    )  # fmt: skip
    if config.labels == "true":
        return clip
    labelled = pseudo_labels(clip, np.random.default_rng([seed, _LABELLER_SEED]))
    return _with_joints(labelled, config.joints_from) if config.joints_from else labelled


@cache
def _assets(motions: Path | None, wardrobe: Path | None, backdrops: Path | None) -> Assets:
    return load_assets(motions, wardrobe, backdrops, open_body())


def _with_joints(sample: ClipSample, weights: str) -> ClipSample:
    """The sample with every person's own joints (see train.data.prepare.joints) where the person was found."""
    model, body = _labelling_network(weights)
    joints = [own_joints_px(model, body, sample.images, boxes, sample.intrinsics) for boxes in sample.boxes_px]
    joints_px = np.where(sample.visibility[..., None, None] > 0, np.stack(joints), np.nan).astype(np.float32)
    return dataclasses.replace(sample, joints_px=joints_px, pseudo=(*sample.pseudo, "joints_px"))


@cache
def _labelling_network(weights: str) -> tuple[UniSH, BodyModel]:
    torch.set_num_threads(1)
    return load(weights, device="cpu"), open_body()


def render_shard(config: DatasetConfig, index: int) -> int:
    """Renders and writes shard `index`; returns its number of clips."""
    first = index * config.per_shard
    seeds = range(first, min(first + config.per_shard, config.clips))

    def samples() -> Iterator[ClipSample]:
        for seed in seeds:
            yield make_clip(config, SPLIT_SEEDS[config.split] + config.seed + seed)

    write_shards(samples(), config.out / config.split, config.per_shard, first=index)
    return len(seeds)


def check(config: DatasetConfig) -> None:
    """Raises InputError, naming the flag, for a data set that cannot be made."""
    if config.split not in SPLIT_SEEDS:
        raise InputError(f"--split should be one of {', '.join(SPLIT_SEEDS)}, got {config.split}.")
    named_world(config.world)
    check_folders(config.motions, config.wardrobe, config.backdrops)
    if config.labels not in LABELS:
        raise InputError(f"--labels should be one of {', '.join(LABELS)}, got {config.labels}.")
    if not 0 <= config.people <= 3:
        raise InputError(f"--people should be 0 to 3, got {config.people}.")
    for name in ("clips", "frames", "workers", "per_shard"):
        if getattr(config, name) < 1:
            raise InputError(f"--{name.replace('_', '-')} should be at least 1, got {getattr(config, name)}.")
    if config.fps <= 0:
        raise InputError(f"--fps should be above 0, got {config.fps}.")
    if config.long_side_px < STEP_PX or config.long_side_px % STEP_PX:
        raise InputError(f"--long-side-px should be a multiple of {STEP_PX}, got {config.long_side_px}.")


def make_dataset(config: DatasetConfig) -> None:
    """Renders the shards that are missing, with a progress bar; several of them in `workers` processes."""
    check(config)
    shards = -(-config.clips // config.per_shard)
    missing = [k for k in range(shards) if not (config.out / config.split / f"{k:05d}.parquet").is_file()]
    done = (shards - len(missing)) * config.per_shard
    with tqdm.tqdm(total=config.clips, initial=min(done, config.clips), unit="clip") as bar:
        if config.workers == 1 or len(missing) == 1:  # another process would only start
            for index in missing:
                bar.update(render_shard(config, index))
            return
        # Not forked: a fork of a process with threads may wait for ever for a lock that one of them held.
        with ProcessPoolExecutor(config.workers, mp_context=get_context("spawn")) as pool:
            for future in as_completed([pool.submit(render_shard, config, index) for index in missing]):
                bar.update(future.result())
