"""A video of any length, piece by piece: clips of a fixed number of frames, none of which crosses a cut."""

import dataclasses
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from unish.errors import InputError
from unish.structures import Clip
from unish.utils.names import text_name
from unish.video.decode import nothing_decoded
from unish.video.pixels import SourceFrame
from unish.video.sampling import Sampling
from unish.video.shots import ShotConfig, shot_starts
from unish.video.source import open_source

_SHOTS = ShotConfig()
_CLIPS_A_PIECE = 4
_LARGEST_GAP = 2.5
"""Frames farther apart in time than this many usual steps do not follow on each other."""


class UnreadableVideoError(InputError):
    """A video that cannot be opened or decoded; the others go on."""


def clips_of(
    path: Path,
    frames: int,
    fps: float,
    long_side_px: int,
    shots: ShotConfig = _SHOTS,
    left_over: Callable[[], None] = lambda: None,
) -> Iterator[Clip]:
    """Clips of `frames` frames at `fps`, one after the other within each shot; `times_s` are those of the video.

    Holds a few clips at a time, however long the video is. `left_over` is called for every stretch at the end of a
    shot that is too short for a clip. A video slower than `fps` gives clips at its own rate.

    Raises:
        UnreadableVideoError: not a video, or none of it can be decoded. One that breaks off gives what there is.
    """
    held: Clip | None = None
    for piece in _pieces(path, _CLIPS_A_PIECE * frames, fps, long_side_px):
        held = piece if held is None else _joined(held, piece)
        starts = [*_stretches(held, shots), len(held.frames)]
        for start, end in itertools.pairwise(starts):
            whole = start + (end - start) // frames * frames
            for first in range(start, whole, frames):
                clip = held.part(first, first + frames)
                yield dataclasses.replace(clip, fps=_rate(clip.times_s, fps))
            if end < len(held.frames) and whole < end:
                left_over()
        held = held.part(whole, end)
    if held is not None and len(held.frames):
        left_over()


def _stretches(clip: Clip, shots: ShotConfig) -> list[int]:
    """First frames of stretches without a cut and without a gap in time."""
    if not len(clip.frames):
        return [0]
    steps = np.diff(clip.times_s)
    gaps = np.flatnonzero(steps > _LARGEST_GAP * np.median(steps)) + 1 if len(steps) else []
    return sorted({*shot_starts(clip.frames, shots), *map(int, gaps)})


def _rate(times_s: np.ndarray, wanted_fps: float) -> float:
    """Frames a second that came out, where they are clearly fewer than were wanted."""
    if len(times_s) < 2:
        return wanted_fps
    reached = (len(times_s) - 1) / float(times_s[-1] - times_s[0])
    return reached if reached < 0.95 * wanted_fps else wanted_fps


def _pieces(path: Path, frames: int, fps: float, long_side_px: int) -> Iterator[Clip]:
    """Consecutive parts of a video, of so many sampled frames each, all of one size; the file is read once."""
    faults: list[str] = []
    held: list[SourceFrame] = []
    try:
        source = open_source(path)
        numbers = Sampling(fps).numbers(source.times_s, source.step_s).tolist()
        for frame in source.frames(numbers, long_side_px, faults):
            if held and (len(held) == frames or frame.size != held[0].size):
                yield _clip_of(path, held, fps)
                held = []
            held.append(frame)
    except InputError as error:
        raise UnreadableVideoError(str(error)) from error
    if not held:
        raise UnreadableVideoError(str(nothing_decoded(path, faults)))
    yield _clip_of(path, held, fps)


def _clip_of(path: Path, frames: list[SourceFrame], fps: float) -> Clip:
    return Clip(
        np.stack([frame.rgb for frame in frames]),
        np.array([frame.time_s for frame in frames]),
        fps,
        text_name(path),
        frames[0].size,
        source_frames=tuple(frame.number for frame in frames),
    )


def _joined(first: Clip, second: Clip) -> Clip:
    if not len(first.frames) or first.frames.shape[1:] != second.frames.shape[1:]:
        return second
    return dataclasses.replace(
        second,
        frames=np.concatenate([first.frames, second.frames]),
        times_s=np.concatenate([first.times_s, second.times_s]),
        source_frames=first.source_frames + second.source_frames,
    )
