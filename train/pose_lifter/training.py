"""Trains the pose lifter, on rendered people, motions without images and filmed people."""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path

import torch
import tyro

from train.data.prepare.mirrored_teacher import MirroredTeacher
from train.data.prepare.teachers import open_teacher
from train.engine.loop import accelerator_for, fit
from train.engine.run_logger import ValidationReport
from train.engine.schedule import LoopConfig
from train.pose_lifter.filmed_people import FilmedPerson, filmed_people
from train.pose_lifter.lifter_batches import BatchConfig, LifterBatches
from train.pose_lifter.lifter_scores import lifter_scores
from train.pose_lifter.objective import LifterObjective
from train.pose_lifter.performances import perform
from train.pose_lifter.rendered_people import rendered_people
from unish.body import open_body
from unish.errors import InputError
from unish.fitting.pose_lifter import PoseLifter, PoseLifterConfig, load_pose_lifter, save_pose_lifter


@dataclass(frozen=True)
class TrainConfig:
    """Train a pose lifter."""

    out: Path
    """Run folder: metrics, state to resume from, and `weights/` for unish/assets/mini_lifter."""
    rendered: Path
    """Folder with train/*.parquet and validation/*.parquet of synthetic clips (python -m train.synthetic)."""
    motions: Path | None = None
    """Folder of captured motion, as train.synthetic takes it."""
    performances: int = 9000
    """Motions that are seen without an image."""
    videos: str | None = None
    """Folder of videos with people, or a Hub data set of them."""
    teacher: str = "transformers"
    """Who sees the limbs of those people (train.data.prepare.teachers): one that gives keypoints."""
    batches: tyro.conf.OmitArgPrefixes[BatchConfig] = BatchConfig()  # noqa: RUF009 (frozen)
    start_from: Path | None = None
    """Folder of weights to go on from."""
    resume: bool = False
    """Go on from the state in the run folder."""
    seed: int = 0
    model: tyro.conf.Suppress[PoseLifterConfig] = PoseLifterConfig()  # noqa: RUF009 (frozen)
    loop: LoopConfig = field(
        default_factory=lambda: LoopConfig(learning_rate=8e-4, weight_decay=0.01, warmup_steps=300, average=0.999)
    )


def train(config: TrainConfig) -> dict[str, float]:
    """Train until the budget is spent; the averaged weights lie in `out/weights`. Returns the last validation."""
    accelerator = accelerator_for(config.loop, config.out)
    torch.manual_seed(config.seed)
    network = PoseLifter(config.model)
    if config.start_from is not None:
        network = load_pose_lifter(config.start_from).requires_grad_(True).train()
    body = open_body()
    people = {split: rendered_people(config.rendered, split, body) for split in ("train", "validation")}
    if not all(people.values()):
        raise InputError("Expected --rendered with people in its splits train and validation, found nobody in one.")
    performances = perform(body, config.motions, config.performances, config.seed + accelerator.process_index)
    filmed: list[list[FilmedPerson]] = []
    if config.videos is not None:
        filmed = filmed_people(config.videos, MirroredTeacher(open_teacher(config.teacher)), body)
    accelerator.print(
        f"{len(people['train'])} rendered people, {config.performances} motions without an image, "
        f"{sum(map(len, filmed))} filmed people"
    )

    def save(folder: Path) -> None:
        save_pose_lifter(network, folder)

    return fit(
        accelerator,
        LifterObjective(network),
        LifterBatches(people["train"], performances, body, config.batches, config.seed, filmed),
        config.out,
        dataclasses.replace(config.loop, seed=config.seed),
        validate=lambda: ValidationReport(lifter_scores(network, people["validation"])),
        publish=lambda _: save(config.out / "weights"),
        resume=config.resume,
        settings=config,
    )
