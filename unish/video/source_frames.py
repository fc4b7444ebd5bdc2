"""The frames of a result's source, decoded again as they are asked for, at the source's full resolution."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float64, UInt8

from unish.errors import InputError
from unish.utils.names import text_name
from unish.video.containers import shown_path
from unish.video.decode import nothing_decoded
from unish.video.source import Source, open_source

_NO_LIMIT_PX = 2**30
_AFTER_S = 2.0


@dataclass(frozen=True)
class SourceFrames:
    """Every frame of a source from a result's first to its last. One frame is in memory at a time."""

    source: Source
    first: int
    """Number of the first of them in the source."""
    times_s: Float64[np.ndarray, "frames"]
    """Since the first frame of the source."""
    frame_size: tuple[int, int]
    """(width, height), upright."""

    @staticmethod
    def open(
        path: str | Path, times_s: Float[np.ndarray, "frames"], fps: float, source_fps: float | None = None
    ) -> "SourceFrames":
        """The source at `path` of a result that has frames at `times_s`, taken at `fps`.

        Raises `InputError` when there is nothing usable at `path`, or no frame near one of the times: it is another
        clip then.
        """
        source = open_source(path, source_fps, float(times_s[-1]) + 0.5 / fps + _AFTER_S)
        places = nearest(source.times_s, np.asarray(times_s, np.float64))
        apart_s = np.abs(source.times_s[places] - times_s)
        if apart_s.max() > 0.5 / fps:
            raise InputError(
                f"Expected the clip that the result was made from, but {shown_path(source.path)} has no frame at "
                f"{times_s[int((apart_s > 0.5 / fps).argmax())]:.2f} s, where the result has one; give that clip."
            )
        first, last = int(places[0]), int(places[-1])
        faults: list[str] = []
        for frame in source.frames([first], _NO_LIMIT_PX, faults):
            return SourceFrames(source, first, source.times_s[first : last + 1], frame.size)
        raise nothing_decoded(source.path, faults)

    def __len__(self) -> int:
        return len(self.times_s)

    @property
    def source_name(self) -> str:
        """The file's or folder's name."""
        return text_name(self.source.path)

    @property
    def fps(self) -> float:
        """The source's usual rate."""
        return 1 / float(np.median(np.diff(self.times_s))) if len(self) > 1 else 1 / self.source.step_s

    def read(self, indices: Sequence[int]) -> Iterator[UInt8[np.ndarray, "height width 3"]]:
        """RGB of the frames of these rising indices. One that cannot be decoded is replaced by one beside it.

        Raises `InputError` where the source changes its size, or nothing can be decoded.
        """
        faults: list[str] = []
        numbers = sorted({self.first + index for index in indices})
        decoded = self.source.frames(numbers, _NO_LIMIT_PX, faults)
        shown, following = None, next(decoded, None)
        for index in indices:
            while following is not None and (shown is None or following.number <= self.first + index):
                shown, following = following, next(decoded, None)
            if shown is None:
                raise nothing_decoded(self.source.path, faults)
            if shown.size != self.frame_size:
                raise InputError(
                    f"{self.source_name} changes size at {shown.time_s:.2f} s, within the part that the result was "
                    "made from; give that clip."
                )
            yield shown.rgb


def nearest(times_s: Float64[np.ndarray, "frames"], moments_s: Float64[np.ndarray, "moments"]) -> np.ndarray:
    """Index of the time nearest to each moment; times rise."""
    after = np.searchsorted(times_s, moments_s).clip(1, max(1, len(times_s) - 1))
    before = after - 1
    if len(times_s) == 1:
        return np.zeros(len(moments_s), np.int64)
    return np.where(moments_s - times_s[before] <= times_s[after] - moments_s, before, after)
