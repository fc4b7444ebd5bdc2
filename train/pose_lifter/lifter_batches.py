"""Batches that teach the pose lifter: people who were rendered, filmed, or whom nobody saw."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from train.data.batches import Batch
from train.data.numbered_batches import NumberedBatches
from train.data.real_people import MIRRORED
from train.pose_lifter.filmed_people import FilmedPerson
from train.pose_lifter.observation import Chance, as_detected, filmed
from train.pose_lifter.performances import Performances, face_offsets
from train.pose_lifter.rendered_people import PoseErrors, RenderedPerson
from train.pose_lifter.sightings import chosen, stacked
from unish.body import BodyModel
from unish.body.data import MIRRORED_JOINTS
from unish.fitting.pose_lifter import Sighting, mirrored_pose

LEAST_FRAMES = 3
LENS_LOG = 0.1
"""What is added to the error of the lens of rendered people."""
DROPPED = 0.04
"""Share of their keypoints that are left out."""
FILMED_LENS_LOG = 0.25
"""Error of the lens of filmed people, whom nobody knows it of."""


@dataclass(frozen=True)
class BatchConfig:
    """What batches are made of."""

    batch: int = 32
    """People in a batch."""
    rendered_share: float = 0.4
    """Share of the batches that are rendered people, of those that are not filmed ones."""
    filmed_share: float = 0.2
    """Share of the batches that are filmed people, where there are any."""


@dataclass(frozen=True)
class LifterBatch(Batch):
    """People with as many frames each."""

    sighting: Sighting
    rotations: Float[Tensor, "batch frames 24 3 3"]
    rest_joints: Float[Tensor, "batch 24 3"]

    def mirrored(self) -> "LifterBatch":
        """The batch as in a mirror."""
        return LifterBatch(self.sighting.mirrored(), mirrored_pose(self.rotations), _mirrored_joints(self.rest_joints))

    def part(self, frames: slice) -> "LifterBatch":
        """Some of the frames."""
        return LifterBatch(self.sighting.part(frames), self.rotations[:, frames], self.rest_joints)


@dataclass(frozen=True)
class FilmedBatch(Batch):
    """People with as many frames each, of whom a teacher sees limbs."""

    sighting: Sighting
    rest_joints: Float[Tensor, "batch 24 3"]
    limbs_px: Float[Tensor, "batch frames 12 2"]
    weight: Float[Tensor, "batch frames 12"]
    """1 where a limb is seen, else 0."""

    def mirrored(self) -> "FilmedBatch":
        """The batch as in a mirror."""
        width_px = self.sighting.size_px[:, None, None, 0]
        x, y = self.limbs_px[:, :, list(MIRRORED)].unbind(-1)
        return FilmedBatch(
            self.sighting.mirrored(),
            _mirrored_joints(self.rest_joints),
            torch.stack([width_px - x, y], dim=-1),
            self.weight[:, :, list(MIRRORED)],
        )

    def part(self, frames: slice) -> "FilmedBatch":
        """Some of the frames."""
        return FilmedBatch(
            self.sighting.part(frames), self.rest_joints, self.limbs_px[:, frames], self.weight[:, frames]
        )


def _mirrored_joints(rest_joints: Float[Tensor, "batch 24 3"]) -> Float[Tensor, "batch 24 3"]:
    return rest_joints[:, list(MIRRORED_JOINTS)] * torch.tensor([-1.0, 1.0, 1.0])


class LifterBatches(NumberedBatches[LifterBatch | FilmedBatch]):
    """Batches of people who were rendered, filmed, or seen by nobody."""

    def __init__(
        self,
        people: Sequence[RenderedPerson],
        performances: Performances,
        body: BodyModel,
        config: BatchConfig,
        seed: int,
        filmed_people: Sequence[Sequence[FilmedPerson]] = (),
    ) -> None:
        super().__init__(seed)
        longest = max(len(person.rotations) for person in people)
        self.people = stacked([person for person in people if len(person.rotations) == longest])
        everybody = [person for video in filmed_people for person in video]
        self.filmed = stacked(everybody) if everybody else None
        # Long videos count more, but less than their length.
        self.filmed_weight = torch.tensor([len(video) ** -0.5 for video in filmed_people for _ in video])
        self.errors, self.performances, self.config = PoseErrors(self.people), performances, config
        self.face = torch.from_numpy(face_offsets(body)).float()

    def draw(self, random: np.random.Generator) -> LifterBatch | FilmedBatch:
        chance = Chance(int(random.integers(2**62)))
        if self.filmed is not None and random.random() < self.config.filmed_share:
            batch = self._filmed(self.filmed, chance)
        elif random.random() < self.config.rendered_share:
            batch = self._rendered(chance)
        else:
            seen = filmed(self.performances, self.face, chance, self.config.batch)
            sighting, rotations = as_detected(seen, self.errors.guesses(seen, chance), chance), seen.rotations
            batch = LifterBatch(sighting, rotations, seen.rest_joints)
        if random.random() < 0.5:
            batch = batch.mirrored()
        count = batch.sighting.times_s.shape[1]
        length = int(random.integers(min(LEAST_FRAMES, count), count + 1))
        start = int(random.integers(count - length + 1))
        return batch.part(slice(start, start + length))

    def _rendered(self, chance: Chance) -> LifterBatch:
        which = chance.number(0, len(self.people.rotations), self.config.batch)
        sighting = _with_losses(self.people.sighting, which, LENS_LOG, chance)
        return LifterBatch(sighting, self.people.rotations[which], self.people.rest_joints[which])

    def _filmed(self, people: FilmedPerson, chance: Chance) -> FilmedBatch:
        which = chance.weighted(self.filmed_weight, self.config.batch)
        sighting = _with_losses(people.sighting, which, FILMED_LENS_LOG, chance)
        return FilmedBatch(sighting, people.rest_joints[which], people.limbs_px[which], people.weight[which])


def _with_losses(people: Sighting, which: Int[Tensor, "batch"], lens_log: float, chance: Chance) -> Sighting:
    """These of the people, some keypoints left out, through another lens."""
    seen = chosen(people, which)
    keypoints = seen.keypoints_px.clone()
    keypoints[..., 2] *= ~chance.below(DROPPED, len(which), 1, keypoints.shape[2])
    focal = seen.focal_px * torch.exp(lens_log * chance.normal(len(which), 1))
    return dataclasses.replace(seen, keypoints_px=keypoints, focal_px=focal)
