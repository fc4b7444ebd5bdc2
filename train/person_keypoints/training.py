"""Trains the keypoint network on rendered and real people, with the loop that every training shares."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro

from train.data.numbered_batches import ClipPool, NumberedBatches
from train.engine.loop import accelerator_for
from train.engine.person_network import PersonNetworkConfig, train_network
from train.person_keypoints.augmentation import KeypointCropBatch, make_batch, passed_by, random_example
from train.person_keypoints.keypoint_scores import keypoint_scores
from train.person_keypoints.objective import KeypointObjective
from train.person_keypoints.person_crops import PersonCrop, people_of
from unish.errors import InputError
from unish.people.mini_detector import load_mini_detector
from unish.people.mini_keypoints import (
    MiniKeypointConfig,
    MiniKeypointNet,
    load_mini_keypoints,
    save_mini_keypoints,
)
from unish.people.pyramid import PyramidNet


@dataclass(frozen=True)
class TrainConfig(PersonNetworkConfig):
    """Train a keypoint network on rendered people, real ones, or both."""

    every: int = 4
    """Of each synthetic clip, every so many frames are used."""
    batch: int = 16
    behind_share: float = 0.4
    """Of the real people, so many are drawn among those seen from behind. Footage shows few of them, and a network that
    knows few backs takes left for right."""
    passed_share: float = 0.3
    """Of the people whose masks are known, so many have somebody else before or behind them."""
    encoder_from: Path | None = None
    """Folder of a person detector whose encoder the network begins with."""
    start_from: Path | None = None
    """Folder of keypoint weights to go on from."""
    only_mask: bool = False
    """Train the head for masks alone: keypoints stay as they are."""
    model: tyro.conf.Suppress[MiniKeypointConfig] = MiniKeypointConfig()  # noqa: RUF009 (frozen)


class KeypointBatches(NumberedBatches[KeypointCropBatch]):
    """Batches of crops of rendered and real people."""

    def __init__(
        self, rendered: Sequence[PersonCrop], real: Sequence[PersonCrop], config: TrainConfig, seed: int
    ) -> None:
        super().__init__(seed)
        self.rendered, self.real, self.config = rendered, ClipPool(_by_clip(real)), config
        self.behind = ClipPool(_by_clip([person for person in real if person.from_behind]))

    def draw(self, random: np.random.Generator) -> KeypointCropBatch:
        size = self.config.model.width_px, self.config.model.height_px
        people = [self._person(random) for _ in range(self.config.batch)]
        for index, person in enumerate(people):
            if random.random() < self.config.passed_share:
                people[index] = passed_by(person, self._person(random), random)
        return make_batch([random_example(person, size, random) for person in people])

    def _person(self, random: np.random.Generator) -> PersonCrop:
        if self.real.clips and (random.random() < self.config.real_share or not self.rendered):
            behind = self.behind.clips and random.random() < self.config.behind_share
            return (self.behind if behind else self.real).draw(random)
        return self.rendered[int(random.integers(len(self.rendered)))]


def _by_clip(people: Sequence[PersonCrop]) -> list[list[PersonCrop]]:
    clips: dict[str, list[PersonCrop]] = {}
    for person in people:
        clips.setdefault(person.clip, []).append(person)
    return list(clips.values())


def train(config: TrainConfig) -> dict[str, float]:
    """Train until the budget is spent; the averaged weights lie in `out/weights`. Returns the last validation."""
    accelerator = accelerator_for(config.loop, config.out)
    torch.manual_seed(config.seed)
    network = _initial(config)
    rendered, real = people_of(config.rendered, config.real, "train", config.every)
    if not rendered and not real:
        raise InputError("Expected --rendered, --real or both with people in split train, found nobody in either.")
    accelerator.print(f"{len(rendered)} rendered people, {len(real)} real ones")
    objective = KeypointObjective(network.to(memory_format=torch.channels_last), config.bfloat16, config.only_mask)  # type: ignore[call-overload]
    batches = KeypointBatches(rendered, real, config, config.seed + accelerator.process_index)
    held_out = dict(zip(("rendered", "real"), people_of(config.rendered, config.real, "validation", 12), strict=True))

    def validate() -> dict[str, float]:
        numbers: dict[str, float] = {}
        for name, people in held_out.items():
            if people:
                numbers |= {f"{name}.{key}": value for key, value in keypoint_scores(network, people).items()}
        return numbers

    def save(folder: Path) -> None:
        save_mini_keypoints(network, folder)

    return train_network(config, accelerator, objective, batches, validate, save)


def _initial(config: TrainConfig) -> MiniKeypointNet:
    """Raises `InputError` where the detector's encoder is of another size."""
    if config.start_from is not None:
        return load_mini_keypoints(config.start_from).network.requires_grad_(True).train()
    network = MiniKeypointNet(config.model)
    if config.encoder_from is not None:
        _take_encoder(load_mini_detector(config.encoder_from).network, network)
    return network


@torch.no_grad()
def _take_encoder(detector: PyramidNet, network: PyramidNet) -> None:
    for name in ("stem", "reductions", "stages"):
        try:
            getattr(network, name).load_state_dict(getattr(detector, name).state_dict())
        except RuntimeError as error:
            raise InputError(
                "Expected a detector whose encoder has the channels and depths of this network, got another; train "
                "without --encoder-from."
            ) from error
