"""Values of a metric in one sequence, and their mean over many.

The values of all sequences are pooled before the mean is taken, each with its weight: depth errors count by their valid
pixels, per-frame errors by frames.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True)
class WeightedMean:
    """The mean of a metric in one sequence, and how much it counts in the mean over all of them."""

    value: float
    weight: float


@dataclass(frozen=True)
class MetricValues:
    """Values of a metric in one sequence, in the unit that the metric's name ends with."""

    values: Float[np.ndarray, "n"]
    weight: float | int = 1
    """Of each value."""

    def mean(self) -> WeightedMean | None:
        """None where there is no value."""
        count = len(self.values)
        return WeightedMean(float(self.values.mean()), float(self.weight * count)) if count else None


def means_of(metrics: Mapping[str, MetricValues]) -> dict[str, WeightedMean]:
    """The mean of each metric, without those that have no value."""
    means = {name: values.mean() for name, values in metrics.items()}
    return {name: mean for name, mean in means.items() if mean is not None}


def pooled(sequences: Iterable[Mapping[str, WeightedMean]]) -> dict[str, float]:
    """Mean of each metric over all sequences that have it, each counted by its weight."""
    totals: dict[str, list[float]] = {}
    for means in sequences:
        for name, mean in means.items():
            total = totals.setdefault(name, [0.0, 0.0])
            total[0] += mean.weight * mean.value
            total[1] += mean.weight
    return {name: value / weight for name, (value, weight) in totals.items() if weight > 0}
