"""Rendered people as the bundled networks see them: real errors to learn from, and to make up more like them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from tqdm import tqdm

from train.data.schema import ClipSample, iterate_clips
from train.pose_lifter.observation import Chance, Seen
from train.pose_lifter.sightings import guessed
from unish.body import BodyModel
from unish.fitting.pose_lifter import Sighting
from unish.models.hub import load
from unish.models.unish import UniSH
from unish.people.mini_keypoints import MiniKeypoints, load_mini_keypoints

LEAST_SEEN = 0.3
"""Share of a person that must be visible."""
LEAST_FRAMES = 4
CANDIDATES = 48
"""Rendered people among whom the one in the likeliest pose is looked for."""


@dataclass(frozen=True)
class RenderedPerson:
    """One person of a rendered clip, in the frames that show enough of them; or a batch of people."""

    sighting: Sighting
    rotations: Float[Tensor, "*batch frames 24 3 3"]
    """The true ones, the root in the camera's frame."""
    rest_joints: Float[Tensor, "*batch 24 3"]


def rendered_people(folder: Path, split: str, body: BodyModel, seed: int = 0) -> list[RenderedPerson]:
    """Everybody in synthetic clips (`python -m train.synthetic`) with exact labels; boxes are given small errors."""
    model, keypoints = load("mini").eval(), load_mini_keypoints()
    people = []
    for number, sample in enumerate(tqdm(iterate_clips(folder, split), desc=f"Rendered people, {split}", unit="clip")):
        if not sample.pseudo:
            people += _people(sample, model, keypoints, body, np.random.default_rng((seed, number)))
    return people


def _people(
    sample: ClipSample, model: UniSH, keypoints: MiniKeypoints, body: BodyModel, rng: np.random.Generator
) -> list[RenderedPerson]:
    height_px, width_px = sample.images.shape[1:3]
    people = []
    for person in range(len(sample.boxes_px)):
        frames = np.flatnonzero(sample.visibility[person] >= LEAST_SEEN)
        if len(frames) < LEAST_FRAMES:
            continue
        true = sample.boxes_px[person][frames].astype(np.float64)
        wrong = rng.normal(0, 0.02, (1, 4)) + rng.normal(0, 0.015, (len(frames), 4))
        boxes = (true + wrong * (true[:, 3:] - true[:, 1:2])).clip(0, [width_px, height_px] * 2)
        boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 2)
        sighting, _ = guessed(
            model,
            sample.images[frames],
            boxes,
            keypoints.estimate(sample.images[frames], boxes),
            sample.intrinsics[frames, 0, 0],
            frames / sample.fps,
        )
        betas = torch.from_numpy(np.array(sample.betas[person], np.float32)).reshape(-1, 10)[0]
        rotations = torch.from_numpy(np.array(sample.body_rotations[person][frames], np.float32))
        people.append(RenderedPerson(sighting, rotations, body.rest_joints(betas).float()))
    return people


class PoseErrors:
    """How wrong the human branch is of rendered people, laid onto others: the errors of whoever is in a pose like
    theirs."""

    def __init__(self, people: RenderedPerson) -> None:
        guessed, true = people.sighting.rotations, people.rotations
        self.poses = true[:, true.shape[1] // 2, 1:22]
        self.of_joints = true.mT @ guessed
        self.of_roots = guessed[:, :, 0] @ true[:, :, 0].mT

    def guesses(self, seen: Seen, chance: Chance) -> Float[Tensor, "batch frames 24 3 3"]:
        """What the human branch might say of them."""
        batch, frames = seen.rotations.shape[:2]
        candidates = chance.number(0, len(self.poses), batch, CANDIDATES)
        middle = seen.rotations[:, frames // 2, None, 1:22]
        apart = (self.poses[candidates] - middle).square().flatten(2).sum(-1)
        chosen = candidates.gather(1, apart.argmin(1, keepdim=True))[:, 0]
        known = self.of_joints.shape[1]
        along = (torch.arange(frames) + chance.number(0, known, 1)) % (2 * known)
        along = torch.where(along < known, along, 2 * known - 1 - along)  # there and back
        guesses = seen.rotations @ self.of_joints[chosen][:, along]
        guesses[:, :, 0] = self.of_roots[chosen][:, along] @ seen.rotations[:, :, 0]
        return guesses
