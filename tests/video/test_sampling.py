"""Sampled frames are those nearest to each moment, whatever the times; they are computed, not counted."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unish.errors import InputError
from unish.video.sampling import Sampling


def counted(times_s, step_s: float, fps: float, start_s: float, end_s: float) -> list[int]:
    """The same by counting moments one by one."""
    numbers, moment = [], 0
    while (at_s := start_s + moment / fps) < min(end_s, times_s[-1] + step_s / 2) - 1e-6:
        distance = np.abs(times_s - at_s)
        nearest = int(np.flatnonzero(distance <= distance.min() + 2e-6)[-1])  # of two as near, the later
        if at_s >= times_s[0] - 0.5 / fps - 1e-6 and nearest not in numbers:
            numbers.append(nearest)
        moment += 1
    return numbers


@given(
    st.lists(st.integers(1, 400), min_size=1, max_size=40),
    st.integers(1, 60),
    st.integers(0, 3_000),
    st.none() | st.integers(1, 4_000),
)
@settings(deadline=None, max_examples=200)
def test_each_moment_has_the_frame_nearest_to_it(steps_ms, fps, start_ms, length_ms):
    times_s = np.cumsum([0, *steps_ms]) / 1000
    end_s = math.inf if length_ms is None else (start_ms + length_ms) / 1000
    numbers = Sampling(float(fps), start_ms / 1000, end_s).numbers(times_s, 0.04)
    assert numbers.tolist() == counted(times_s, 0.04, fps, start_ms / 1000, end_s)


@pytest.mark.parametrize("fps", [1e-9, 1e-3, 6.0, 1000.0])
def test_a_gap_of_years_and_any_rate_cost_nothing(fps):
    times_s = np.array([0.0, 0.1, 3e15, 3e15 + 1])
    assert Sampling(fps).numbers(times_s, 0.1).tolist()[0] == 0


def test_a_slower_source_is_said_to_repeat():
    times_s = np.arange(10) / 2
    assert Sampling(6.0).repeats(times_s, 0.5) and not Sampling(2.0).repeats(times_s, 0.5)
    assert Sampling(6.0).numbers(times_s, 0.5).tolist() == list(range(10))


@pytest.mark.parametrize("fps", [0, -3.0, math.nan, math.inf, 1e308, 1001])
def test_rates_that_cannot_be(fps):
    with pytest.raises(InputError, match="frame rate"):
        Sampling(float(fps))
