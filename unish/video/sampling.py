"""Which frames of a source a clip is made of: the one nearest to each sampling moment, none twice."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from unish.errors import InputError
from unish.video.source import check_rate

_EPSILON_S = 1e-6


@dataclass(frozen=True)
class Sampling:
    """The moments start_s + k / fps, k = 0, 1, …, before end_s."""

    fps: float
    start_s: float = 0.0
    end_s: float = math.inf

    def __post_init__(self) -> None:
        check_rate(self.fps)
        if not (math.isfinite(self.start_s) and self.start_s >= 0):
            raise InputError(f"The start must be 0 s or later, got {self.start_s:g} s; leave it out to start at 0.")
        if not self.end_s > self.start_s:
            raise InputError(
                f"The end must be later than the start, got start {self.start_s:g} s and end {self.end_s:g} s; "
                "swap them or leave one out."
            )

    def numbers(self, times_s: Float64[np.ndarray, "frames"], step_s: float) -> Int64[np.ndarray, "sampled"]:
        """Numbers of the frames that are nearest to a moment, each once; `step_s` is how long the last is shown.

        They are computed frame by frame: a gap of any length and any rate cost nothing.
        """
        first, last = self._moments_of(times_s, step_s)
        return np.flatnonzero(first <= last)

    def repeats(self, times_s: Float64[np.ndarray, "frames"], step_s: float) -> bool:
        """Whether some frame is nearest to several moments, as where a source is slower than `fps`."""
        first, last = self._moments_of(times_s, step_s)
        return bool((last - first >= 1).any())

    def _moments_of(
        self, times_s: Float64[np.ndarray, "frames"], step_s: float
    ) -> tuple[Float64[np.ndarray, "frames"], Float64[np.ndarray, "frames"]]:
        """For each frame the first and the last k whose moment it is nearest to; first > last where there is none."""
        middles_s = (times_s[1:] + times_s[:-1]) / 2
        begin_s = np.concatenate([times_s[:1] - 0.5 / self.fps, middles_s])
        end_s = np.minimum(np.concatenate([middles_s, times_s[-1:] + step_s / 2]), self.end_s)
        first = np.maximum(np.ceil((begin_s - self.start_s - _EPSILON_S) * self.fps), 0)
        last = np.ceil((end_s - self.start_s - _EPSILON_S) * self.fps) - 1
        return first, last
