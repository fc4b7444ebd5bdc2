"""Which points are drawn: floaters go, thin things stay."""

import numpy as np
import pytest

from unish.geometry.clouds import SUPPORT, supported
from unish.viewer.cloud import choose_points, point_spans

SPACING_RAD = 0.01


def wall(distance_m: float, side: int = 40) -> np.ndarray:
    """What one frame samples of a wall, so many rays up and across."""
    slopes = SPACING_RAD * (np.arange(side) - side / 2)
    x, y = np.meshgrid(slopes, slopes)
    return distance_m * np.stack([x, y, np.ones_like(x)], -1).reshape(-1, 3)


def pole(distance_m: float, aside: float, length: int = 40) -> np.ndarray:
    """One sample thick."""
    slopes = SPACING_RAD * (np.arange(length) - length / 2)
    return distance_m * np.stack([np.full(length, aside), slopes, np.ones(length)], -1)


def kept_of(groups: list[np.ndarray]) -> list[float]:
    """The share of each group that has support, seen by a camera at the origin."""
    points = np.concatenate(groups).astype(np.float32)
    kept = supported(points, np.zeros_like(points), SPACING_RAD)
    return [float(part.mean()) for part in np.split(kept, np.cumsum([len(group) for group in groups])[:-1])]


@pytest.mark.parametrize("distance_m", [1.0, 4.0, 25.0])
def test_walls_and_thin_poles_stay_and_floaters_go_at_any_distance(distance_m):
    random = np.random.default_rng(0)
    floaters = distance_m * np.stack([*random.uniform(-0.15, 0.15, (2, 12)), random.uniform(0.4, 0.8, 12)], -1)
    of_wall, of_pole, of_floaters = kept_of([wall(distance_m), pole(0.6 * distance_m, 0.4), floaters])
    assert of_wall > 0.99 and of_pole > 0.9 and of_floaters < 0.1


def test_support_is_counted_in_other_points():
    near = np.array([[0.0, 0, 4]]) + 1e-4 * np.arange(SUPPORT + 1)[:, None]
    assert kept_of([near]) == [1.0]
    assert kept_of([near[:-1]]) == [0.0]


def test_points_are_drawn_as_far_apart_as_they_lie():
    """Half as many points a metre: twice the span."""
    line = np.arange(200.0)[:, None] * [0.02, 0, 0]
    sparse = np.arange(200.0)[:, None] * [0.04, 0, 0] + [0, 50, 0]
    spans = point_spans(np.concatenate([line, sparse]), 0.03).astype(float)
    assert np.median(spans[200:]) == pytest.approx(2 * np.median(spans[:200]), abs=1)
    assert np.median(spans[:200]) == pytest.approx(64, abs=1)  # two of four neighbours are two steps away
    assert point_spans(line[:3], 0.03).tolist() == [64, 64, 64]


def test_the_same_result_gives_the_same_points(room):
    first, second = (choose_points(room(3), 5000) for _ in range(2))
    for name in ("still", "moving"):
        np.testing.assert_array_equal(getattr(first, name).points_world, getattr(second, name).points_world)
