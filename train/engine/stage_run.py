"""One run of a training stage: start weights, data, validation, the loop, and the resulting weights."""

import dataclasses
import itertools
import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import torch
import tyro
from datasets import logging as datasets_logging

from train.cli import command_line_errors
from train.data.batches import StageBatch
from train.data.clip_loader import ClipBatches, DataConfig
from train.data.schema import ClipSample, iterate_clips
from train.data.sequences import PROTOCOL, reconstruct_with_boxes, seen_people, sequence_of
from train.data.stage_batches import ViewConfig, stage_batch
from train.engine.loop import accelerator_for, fit
from train.engine.overview import overview
from train.engine.run_logger import ValidationReport
from train.engine.schedule import LoopConfig
from unish.body import BodyModel, load_body
from unish.errors import InputError
from unish.evaluation.metric_values import means_of, pooled
from unish.evaluation.scoring import score
from unish.models.config import RELEASE, UniSHConfig
from unish.models.hub import load, load_priors, save
from unish.models.unish import UniSH

STAGE_LOOP = LoopConfig(learning_rate=1e-5, weight_decay=0.01, log_every=10, tracker="tensorboard")
"""Defaults of all stages (the paper gives none)."""


@dataclass(frozen=True)
class StageConfig:
    """Settings that all stages share."""

    data: tuple[str, ...]
    """Data sets to train on: folders of shards, or Hub data sets (owner/name)."""
    out: Path
    """Run folder: run.json, metrics.jsonl, images, state to resume from, and the resulting weights."""
    start: str = "release"
    """Weights to start from: release, mini, a folder (such as the run of another stage), or a Hub repository."""
    pi3: Path | None = None
    """Instead of --start, with --camerahmr: weights of π³ for the scene branch; AlignNet is initialised at random."""
    camerahmr: Path | None = None
    """Weights of CameraHMR for the human branch."""
    body: str | None = None
    """open, smpl_neutral or an SMPL file; by default that of the labels, else an installed SMPL, else the open body."""
    mixture: tuple[float, ...] = ()
    """How often each data set is drawn; by default equally often."""
    streaming: bool = False
    """Read shards in sequence instead of by index: for data sets larger than the disk."""
    most_bad: float = 0.01
    """Stop when more than this share of the clips is unreadable."""
    threads: int | None = None
    """Clips decoded in parallel; by default one per core except one, at most 8. Does not change any numbers."""
    held_out: str | None = None
    """Data set whose validation split is scored from time to time; by default none."""
    held_out_clips: int = 8
    """Clips of it that are scored."""
    precision: Literal["bf16", "fp32"] = "bf16"
    """Precision of the trunks; heads and losses are always float32."""
    save_precision: Literal["fp16", "fp32"] = "fp16"
    """Precision of the saved weights."""
    checkpoint_activations: bool = False
    """Recompute blocks in the backward pass: less memory, about a third more time per step."""
    resume: bool = False
    """Resume from the state in the run folder."""
    seed: int = 0
    """Seed of the order of the clips and of all random draws: the same seed gives the same numbers."""
    view: ViewConfig = field(default_factory=ViewConfig)


def run_stage(
    config: StageConfig, loop: LoopConfig, make_stage: Callable[[UniSH, BodyModel], Any], model: UniSH | None = None
) -> UniSH:
    """Run a stage; returns the trained network, whose weights are also in `config.out`.

    `model` replaces the start weights. Raises InputError for invalid settings or data, CheckpointError or
    MissingAssetError for start weights.
    """
    cv2.setNumThreads(1)  # crops are small: OpenCV's threads would only compete with the network's
    loop = dataclasses.replace(loop, seed=config.seed)
    accelerator = accelerator_for(loop, config.out)
    if not accelerator.is_main_process:
        datasets_logging.set_verbosity_error()
    torch.manual_seed(config.seed)
    model = start_model(config) if model is None else model
    model.trunk_dtype = torch.bfloat16 if config.precision == "bf16" else torch.float32
    model.checkpoint_activations = config.checkpoint_activations
    body = load_body(config.body or body_of(config.data[0]))
    scene = model.config.scene

    def make_batch(sample: ClipSample, rng: np.random.Generator) -> StageBatch | None:
        if "betas" not in sample.unknown and (sample.body == "open") != (body.name == "open"):
            raise InputError(
                f"Expected labels for the body {body.name}, got {sample.body} in clip {sample.clip_id}; train on data "
                "sets of one body, and name it with --body."
            )
        return stage_batch(sample, config.view, scene.image_long_side_px, scene.patch_size, rng)

    data = DataConfig(
        data=config.data,
        mixture=config.mixture,
        streaming=config.streaming,
        most_bad=config.most_bad,
        threads=config.threads,
        seed=config.seed,
    )
    batches = ClipBatches(data, make_batch, accelerator.process_index, accelerator.num_processes)
    clips = _held_out(config)
    dtype = torch.float16 if config.save_precision == "fp16" else torch.float32
    stage = make_stage(model, body)

    def publish(sharded: dict[str, torch.Tensor] | None) -> None:
        prefix = "model."
        network = {k.removeprefix(prefix): v for k, v in (sharded or {}).items() if k.startswith(prefix)}
        save(model, config.out, dtype, state=network or None)

    try:
        fit(
            accelerator,
            stage,
            batches,
            config.out,
            loop,
            validate=(lambda: validate(clips, model, body)) if clips else None,
            publish=publish,
            resume=config.resume,
            settings={"stage": stage.name, "run": config, "loop": loop, "weights": stage.weights},
        )
    finally:
        batches.close()
    return model.eval()


def start_model(config: StageConfig) -> UniSH:
    """The network to start from, on the CPU. Raises InputError when only one of π³ and CameraHMR is given."""
    if (config.pi3 is None) != (config.camerahmr is None):
        raise InputError("Expected weights of both π³ and CameraHMR, got one; give both --pi3 and --camerahmr.")
    if config.pi3 is None:
        model = load(config.start, device="cpu")
        model.weights_name = "in training"
        return model
    human = dataclasses.replace(RELEASE.human, normalise_crops=True)
    model = UniSH(UniSHConfig(RELEASE.scene, human, RELEASE.align))
    load_priors(model, pi3=config.pi3, camerahmr=config.camerahmr)
    return model


def body_of(source: str) -> str | None:
    """The body model of a data set's labels, as `load_body` takes it; None where its clips have no body labels.

    Raises InputError where there is no clip.
    """
    first = next(iter(iterate_clips(source)), None)
    if first is None:
        raise InputError(f"{source} should hold clips, found none; prepare the data set again.")
    if "betas" in first.unknown:
        return None
    return "open" if first.body == "open" else "smpl_neutral"


@torch.no_grad()
def validate(clips: list[ClipSample], model: UniSH, body: BodyModel) -> ValidationReport:
    """The scores of held-out clips (as `train.score`, as far as the labels go) and images of the first two."""
    logging.getLogger("unish").setLevel(logging.ERROR)  # warnings that every result has, once per clip
    means, images = [], {}
    for index, clip in enumerate(clips):
        result = reconstruct_with_boxes(clip, model, body)
        means.append(means_of(score(result, sequence_of(clip, body), PROTOCOL.metrics, body=body)))
        if index < 2:
            images[f"clip{index}"] = overview(result, clip)
    return ValidationReport(pooled(means), images)


def main(config_type: type, run: Callable[[Any], Any], description: str | None) -> None:
    """The command line of a stage; invalid input ends it with one sentence and exit code 2."""
    with command_line_errors():
        run(tyro.cli(config_type, description=description, args=sys.argv[1:]))


def _held_out(config: StageConfig) -> list[ClipSample]:
    if config.held_out is None:
        return []
    seen = (clip for clip in iterate_clips(config.held_out, "validation") if seen_people(clip).any())
    return list(itertools.islice(seen, config.held_out_clips))
