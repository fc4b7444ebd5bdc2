"""Batches that are a function of (seed, number) alone, and clips that count by their length, but less than it."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, Generic, TypeVar

import numpy as np

from train.data.batches import Batch

AnyBatch = TypeVar("AnyBatch", bound=Batch)
Item = TypeVar("Item")


class NumberedBatches(Iterator[AnyBatch]):
    """Endless batches that let a run stop and resume; a subclass says how one is drawn."""

    def __init__(self, seed: int) -> None:
        self.seed, self.number = seed, 0

    @abstractmethod
    def draw(self, random: np.random.Generator) -> AnyBatch:
        """One batch."""

    def __next__(self) -> AnyBatch:
        random = np.random.default_rng((self.seed, self.number))
        self.number += 1
        return self.draw(random)

    def state_dict(self) -> dict[str, Any]:
        return {"number": self.number}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.number = int(state["number"])


class ClipPool(Generic[Item]):
    """Items of clips; long clips count more, but less than their length."""

    def __init__(self, clips: Sequence[Sequence[Item]]) -> None:
        self.clips = [clip for clip in clips if clip]
        lengths = np.sqrt([float(len(clip)) for clip in self.clips])
        self._shares = lengths / max(float(lengths.sum()), 1.0)

    def draw(self, random: np.random.Generator) -> Item:
        """Some item of some clip."""
        clip = self.clips[int(random.choice(len(self.clips), p=self._shares))]
        return clip[int(random.integers(len(clip)))]
