"""Reading a clip: frames of a source, sampled evenly in time.

Frames are sampled by presentation time, so a variable frame rate is honoured; they are turned as the file's display
matrix says and kept at square pixels. Only the frames that are kept are ever converted or held.
"""

import math
from pathlib import Path

import numpy as np

from unish.errors import InputError
from unish.structures import Clip
from unish.utils.disk_arrays import Stack
from unish.utils.names import text_name
from unish.utils.progress import Progress, no_progress
from unish.video import TRAINED_FPS
from unish.video.decode import nothing_decoded
from unish.video.pixels import limited_size
from unish.video.recorded_lens import recorded_focal_mm
from unish.video.sampling import Sampling
from unish.video.shots import one_shot
from unish.video.source import Source, open_source

READING = "Reading video"
_MISSING_S = 0.5
_CLEARLY = 0.95
"""A source whose frames come at less than this share of the sampling rate is slower than that."""
_KEPT_BYTES = 4 * 2**30
_MOST_BYTES = 64 * 2**30
_LEAST_SIDE_PX = 640


def read_clip(
    path: str | Path,
    fps: float | int = TRAINED_FPS,
    start_s: float | int | None = None,
    end_s: float | int | None = None,
    max_frames: int | None = None,
    max_long_side_px: int = 1920,
    progress: Progress = no_progress,
    source_fps: float | int | None = None,
    shot: int | str | None = None,
) -> Clip:
    """Read a video, an animation, a folder of images or one image, sampled at `fps` from `start_s` to `end_s`.

    Sample k shows the frame nearest in time to start_s + k/fps. No frame is used twice: where the source is slower
    than `fps`, each of its frames is kept once and `Clip.fps` is the rate that came out. Times count from the first
    frame of the source. `source_fps` is the rate at which the frames of the source were taken, where it does not say
    so itself (folders of images) or is wrong. `shot`: only the longest part without a cut ("longest", which is said in
    `Clip.warnings`), or the shot of that number from 1; None keeps all. Frames longer than `max_long_side_px` are
    downscaled while decoding; `Clip.source_size` keeps their display size. A video that breaks off midway gives what
    could be decoded and says so in `Clip.warnings`.

    Raises `InputError` when there is nothing usable at `path` or the numbers make no sense.
    """
    sampling = Sampling(float(fps), float(start_s or 0.0), math.inf if end_s is None else float(end_s))
    if max_frames is not None and max_frames < 1:
        raise InputError(f"At least one frame must be kept, got a limit of {max_frames}.")
    if max_long_side_px < 1:
        raise InputError(f"The largest frame side must be at least 1 pixel, got {max_long_side_px}.")
    source = open_source(path, None if source_fps is None else float(source_fps), sampling.end_s)
    clip = read_samples(source, sampling, max_frames, max_long_side_px, progress)
    return clip if shot is None else one_shot(clip, shot)


def read_samples(
    source: Source,
    sampling: Sampling,
    max_frames: int | None = None,
    max_long_side_px: int = 1920,
    progress: Progress = no_progress,
) -> Clip:
    """`read_clip` of a source that is open already."""
    numbers = sampling.numbers(source.times_s, source.step_s)
    if not len(numbers):
        raise _no_samples(source, sampling)
    wanted, warnings = numbers[:max_frames], list(source.warnings)
    long_side_px, reduced = _side_that_fits(source.size, len(wanted), max_long_side_px)
    warnings += reduced
    frames, times_s, kept, size, is_hdr, faults = Stack(), [], [], (0, 0), False, []
    for frame in source.frames(wanted.tolist(), long_side_px, faults):
        if kept and frame.size != size:
            faults.clear()
            warnings.append(
                f"The video changes size at {frame.time_s:.1f} s, from {size[0]}×{size[1]} to "
                f"{frame.size[0]}×{frame.size[1]}; only the part before that was used."
            )
            break
        frames.append(frame.rgb)
        times_s.append(frame.time_s)
        kept.append(frame.number)
        size, is_hdr = frame.size, is_hdr or frame.is_hdr
        progress(len(kept) / len(wanted), READING)
    if not kept:
        raise nothing_decoded(source.path, faults)
    warnings += _warnings(source, sampling, len(numbers), kept, faults, is_hdr)
    progress(1.0, READING)
    rate = sampling.fps
    if len(kept) > 1 and sampling.repeats(source.times_s, source.step_s):
        reached = 1 / float(np.median(np.diff(times_s)))  # a gap says nothing of the rate
        rate = reached if reached < _CLEARLY * rate else rate
    return Clip(
        frames=frames.finish(),
        times_s=np.array(times_s, np.float64),
        fps=rate,
        source_name=text_name(source.path),
        source_size=size,
        warnings=tuple(warnings),
        source_frames=tuple(kept),
        recorded_focal_mm=recorded_focal_mm(source.path),
    )


def _side_that_fits(size: tuple[int, int], frames: int, max_long_side_px: int) -> tuple[int, list[str]]:
    """The longest frame side with which so many frames take no more than their share of disk, and what to say."""
    kept = limited_size(size, max_long_side_px)
    full_bytes = 3 * kept[0] * kept[1] * frames
    if full_bytes <= _KEPT_BYTES:
        return max_long_side_px, []
    side = min(max(kept), max(_LEAST_SIDE_PX, math.floor(max(kept) * math.sqrt(_KEPT_BYTES / full_bytes))))
    smaller = limited_size(size, side)
    if 3 * smaller[0] * smaller[1] * frames > _MOST_BYTES:
        raise InputError(
            f"{frames} frames of {smaller[0]}×{smaller[1]} would take more than {_MOST_BYTES / 2**30:.0f} GB; choose a "
            "shorter part or a lower frame rate."
        )
    if smaller == kept:
        return max_long_side_px, []
    return side, [
        f"The clip is long ({frames} frames), so its frames are kept at {smaller[0]}×{smaller[1]}; a shorter part is "
        "kept sharper."
    ]


def _warnings(
    source: Source, sampling: Sampling, sampled: int, kept: list[int], faults: list[str], is_hdr: bool
) -> list[str]:
    """What is to be said of the frames that were kept, of those that were `sampled`."""
    warnings = []
    last_s = float(source.times_s[kept[-1]]) + source.step_s
    readable_s = float(source.times_s[-1]) + source.step_s
    missing_s = min(sampling.end_s, source.length_s) - readable_s
    if sampled > len(kept) and not faults:
        warnings.append(
            f"Only the first {round(last_s - sampling.start_s, 1):g} s were used ({len(kept)} frames is the limit). "
            "Choose another part or a lower frame rate."
        )
    elif missing_s > _MISSING_S + 1.5 * source.step_s and math.isfinite(source.length_s):
        warnings.append(f"Only the first {readable_s:.1f} s of {source.length_s:.1f} s could be read.")
    elif faults:
        warnings.append(f"Parts of the video could not be decoded and were left out ({faults[0]}).")
    if is_hdr:
        warnings.append("The video is HDR; its colours are used without tone mapping and look pale.")
    return warnings


def _no_samples(source: Source, sampling: Sampling) -> InputError:
    length_s = float(source.times_s[-1]) + source.step_s
    if sampling.start_s >= length_s or math.isinf(sampling.end_s):
        return InputError(
            f"The start must lie inside the clip, got {sampling.start_s:g} s, but the clip lasts {length_s:.2f} s; "
            "choose an earlier start."
        )
    return InputError(
        f"Expected frames from {sampling.start_s:g} s to {min(sampling.end_s, length_s):g} s of "
        f"{text_name(source.path)}, found none; choose a longer stretch."
    )
