"""The frames that a result was made from, read again from their source at its full resolution."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Float

from unish.errors import InputError
from unish.structures import Clip
from unish.utils.disk_arrays import Stack
from unish.video.decode import TimedFrame, open_video, timed_frames, to_rgb, video_stream
from unish.video.reader import read_clip
from unish.video.suffixes import IMAGE_SUFFIXES

_NO_LIMIT_PX = 2**30
_EVERY_FRAME_FPS = 1000.0
"""Sampled this fast, each frame of a video is kept once."""


def read_original(
    path: str | Path,
    times_s: Float[np.ndarray, "frames"],
    fps: float,
    progress: Callable[[float], None] | None = None,
) -> Clip:
    """The frames shown at `times_s` (as in `Reconstruction`, taken at `fps`), as large as the source has them.

    `path` is a video, an image, or a folder of images taken at `fps`. Large clips go to disk (`$TMPDIR`). Raises
    `InputError` when there is nothing usable at `path`, or no frame near one of the times: it is another clip then.
    """
    path = Path(path)
    if path.is_dir() or path.suffix.lower() in IMAGE_SUFFIXES:
        clip = read_clip(
            path, fps, float(times_s[0]), max_frames=len(times_s), max_long_side_px=_NO_LIMIT_PX, progress=progress
        )
        if len(clip.frames) < len(times_s):
            raise _another_clip(path, float(times_s[len(clip.frames)]))
        return clip
    if not path.is_file():
        raise InputError(f"Expected the clip of the result at {path}, found nothing; check the path.")
    frames, faults = Stack(), []
    size = (0, 0)
    with open_video(path) as container:
        stream = video_stream(container, path)
        shown = timed_frames(container, stream, float(times_s[0]), faults)
        for index, timed in enumerate(_nearest(shown, times_s)):
            if timed is None or abs(timed.time_s - times_s[index]) > 0.5 / fps:
                raise _another_clip(path, float(times_s[index]))
            picture, size = to_rgb(timed.frame, stream.sample_aspect_ratio, _NO_LIMIT_PX)
            frames.append(picture)
            if progress is not None:
                progress((index + 1) / len(times_s))
    return Clip(frames.finish(), np.asarray(times_s, np.float64), fps, path.name, size)


def read_whole(
    path: str | Path,
    times_s: Float[np.ndarray, "frames"],
    fps: float,
    progress: Callable[[float], None] | None = None,
) -> Clip:
    """Every frame of the source from the first to the last of `times_s`, as large as the source has them.

    Otherwise as `read_original`, but a clip that would take more than a few gigabytes of disk is kept smaller.
    """
    path = Path(path)
    pictures = path.is_dir() or path.suffix.lower() in IMAGE_SUFFIXES
    end_s = float(times_s[-1]) + 0.5 / fps
    rate = fps if pictures else _EVERY_FRAME_FPS
    clip = read_clip(path, rate, float(times_s[0]), end_s, max_long_side_px=_NO_LIMIT_PX, progress=progress)
    if clip.times_s[-1] < times_s[-1] - 0.5 / fps:
        raise _another_clip(path, float(times_s[-1]))
    return clip


def _nearest(frames: Iterator[TimedFrame], times_s: Float[np.ndarray, "frames"]) -> Iterator[TimedFrame | None]:
    """For each of the rising times the frame nearest to it; None when there is no frame at all."""
    last, following = None, next(frames, None)
    for time_s in times_s:
        while following is not None and following.time_s <= time_s:
            last, following = following, next(frames, None)
        neighbours = [timed for timed in (last, following) if timed is not None]
        yield min(neighbours, key=lambda timed: abs(timed.time_s - time_s), default=None)


def _another_clip(path: Path, time_s: float) -> InputError:
    return InputError(
        f"Expected the clip that the result was made from, but {path} has no frame at {time_s:.2f} s, where the "
        "result has one; give that clip."
    )
