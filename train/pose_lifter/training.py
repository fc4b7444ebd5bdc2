"""Trains the pose lifter on rendered people and on motions without images, with the loop that every training shares."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import tyro

from train.data.numbered_batches import NumberedBatches
from train.engine.loop import accelerator_for, fit
from train.engine.run_logger import ValidationReport
from train.engine.schedule import LoopConfig
from train.pose_lifter.lifter_scores import lifter_scores
from train.pose_lifter.objective import LifterBatch, LifterObjective
from train.pose_lifter.observation import Chance, as_detected, filmed
from train.pose_lifter.performances import Performances, face_offsets, perform
from train.pose_lifter.rendered_people import PoseErrors, RenderedPerson, rendered_people, stacked
from unish.body import BodyModel, open_body
from unish.body.data import MIRRORED_JOINTS
from unish.errors import InputError
from unish.fitting.pose_lifter import (
    PoseLifter,
    PoseLifterConfig,
    Sighting,
    load_pose_lifter,
    mirrored_pose,
    save_pose_lifter,
)

LEAST_FRAMES = 3
LENS_LOG = 0.1
"""What is added to the error of the lens of rendered people."""
DROPPED = 0.04
"""Share of their keypoints that are left out."""


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
    rendered_share: float = 0.4
    """Share of the batches that are rendered people."""
    batch: int = 32
    start_from: Path | None = None
    """Folder of weights to go on from."""
    resume: bool = False
    """Go on from the state in the run folder."""
    seed: int = 0
    model: tyro.conf.Suppress[PoseLifterConfig] = PoseLifterConfig()  # noqa: RUF009 (frozen)
    loop: LoopConfig = field(
        default_factory=lambda: LoopConfig(learning_rate=8e-4, weight_decay=0.01, warmup_steps=300, average=0.999)
    )


class LifterBatches(NumberedBatches[LifterBatch]):
    """Batches of people who were rendered, or who were not."""

    def __init__(
        self, people: Sequence[RenderedPerson], performances: Performances, body: BodyModel, config: TrainConfig
    ) -> None:
        super().__init__(config.seed)
        longest = max(len(person.rotations) for person in people)
        self.people = stacked([person for person in people if len(person.rotations) == longest])
        self.errors, self.performances, self.config = PoseErrors(self.people), performances, config
        self.face = torch.from_numpy(face_offsets(body)).float()

    def draw(self, random: np.random.Generator) -> LifterBatch:
        chance = Chance(int(random.integers(2**62)))
        if random.random() < self.config.rendered_share:
            batch = self._rendered(chance)
        else:
            seen = filmed(self.performances, self.face, chance, self.config.batch)
            sighting, rotations = as_detected(seen, self.errors.guesses(seen, chance), chance), seen.rotations
            batch = LifterBatch(sighting, rotations, seen.rest_joints)
        if random.random() < 0.5:
            batch = mirrored(batch)
        count = batch.rotations.shape[1]
        length = int(random.integers(min(LEAST_FRAMES, count), count + 1))
        start = int(random.integers(count - length + 1))
        part = slice(start, start + length)
        return LifterBatch(batch.sighting.part(part), batch.rotations[:, part], batch.rest_joints)

    def _rendered(self, chance: Chance) -> LifterBatch:
        count = self.config.batch
        which = chance.number(0, len(self.people.rotations), count)
        seen = Sighting(*(getattr(self.people.sighting, name)[which] for name in Sighting.__dataclass_fields__))
        keypoints = seen.keypoints_px.clone()
        keypoints[..., 2] *= ~chance.below(DROPPED, count, 1, keypoints.shape[2])
        focal = seen.focal_px * torch.exp(LENS_LOG * chance.normal(count, 1))
        sighting = Sighting(keypoints, seen.boxes_px, seen.rotations, focal, seen.size_px, seen.times_s)
        return LifterBatch(sighting, self.people.rotations[which], self.people.rest_joints[which])


def mirrored(batch: LifterBatch) -> LifterBatch:
    """The batch as in a mirror."""
    rest = batch.rest_joints[:, list(MIRRORED_JOINTS)] * torch.tensor([-1.0, 1.0, 1.0])
    return LifterBatch(batch.sighting.mirrored(), mirrored_pose(batch.rotations), rest)


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
    accelerator.print(f"{len(people['train'])} rendered people, {config.performances} motions without an image")

    def save(folder: Path) -> None:
        save_pose_lifter(network, folder)

    return fit(
        accelerator,
        LifterObjective(network),
        LifterBatches(people["train"], performances, body, config),
        config.out,
        dataclasses.replace(config.loop, seed=config.seed),
        validate=lambda: ValidationReport(lifter_scores(network, people["validation"])),
        publish=lambda _: save(config.out / "weights"),
        resume=config.resume,
        settings=config,
    )
