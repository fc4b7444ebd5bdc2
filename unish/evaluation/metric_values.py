"""What a measure is in one sequence, and over many.

A series is pooled with those of the other sequences before its mean is taken, each value with its weight: errors of
depth count by their valid pixels, errors of a frame by frames.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True)
class Mean:
    """A series of one sequence in short."""

    value: float
    weight: float


@dataclass(frozen=True)
class Series:
    """Values of a measure in one sequence, in the unit of the measure's name."""

    values: Float[np.ndarray, "n"]
    weight: float | int = 1
    """Of each value."""

    def mean(self) -> Mean | None:
        """None where there is no value."""
        count = len(self.values)
        return Mean(float(self.values.mean()), float(self.weight * count)) if count else None


def means_of(series: Mapping[str, Series]) -> dict[str, Mean]:
    """The series in short, without those that have no value."""
    means = {name: values.mean() for name, values in series.items()}
    return {name: mean for name, mean in means.items() if mean is not None}


def pooled(sequences: Iterable[Mapping[str, Mean]]) -> dict[str, float]:
    """Mean of each measure over all sequences that have it, each counted by its weight."""
    totals: dict[str, list[float]] = {}
    for means in sequences:
        for name, mean in means.items():
            total = totals.setdefault(name, [0.0, 0.0])
            total[0] += mean.weight * mean.value
            total[1] += mean.weight
    return {name: value / weight for name, (value, weight) in totals.items() if weight > 0}
