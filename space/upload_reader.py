"""Reads an upload within the page's limits, which are checked before anything is decoded."""

import math

import numpy as np

from space.limits import (
    MAX_DECODED_MEGAPIXELS,
    MAX_FRAME_MEGAPIXELS,
    MAX_KEPT_BYTES,
    MAX_SECONDS,
    MAX_UPLOAD_MB,
)
from space.request import ClipRequest
from unish.errors import InputError
from unish.structures import Clip
from unish.utils.progress import Progress, no_progress
from unish.video.bars import without_bars
from unish.video.reader import read_samples
from unish.video.sampling import Sampling
from unish.video.shots import Shot, one_shot, shots_of
from unish.video.source import Source, open_source

_LEAST_SIDE_PX = 64


def open_upload(request: ClipRequest) -> Source:
    """The upload, with the times of all its frames. Raises `InputError` where the request would take too much."""
    size_mb = request.path.stat().st_size / 2**20
    if size_mb > MAX_UPLOAD_MB:
        raise InputError(f"This video has {size_mb:.0f} MB; the limit here is {MAX_UPLOAD_MB} MB. Trim or shrink it.")
    try:
        source = open_source(request.path)
    except InputError as error:
        raise InputError("We couldn't open this file as a video. Check that it plays, or convert it to MP4.") from error
    width, height = source.size
    megapixels = width * height / 1e6
    if megapixels > MAX_FRAME_MEGAPIXELS:
        raise InputError(
            f"This video is {width}×{height} pixels ({megapixels:.0f} megapixels); the limit here is "
            f"{MAX_FRAME_MEGAPIXELS:.0f} megapixels. Export it smaller: 1080p is plenty."
        )
    if length_s(source) > MAX_SECONDS:
        raise InputError(
            f"This video is {_in_words(length_s(source))} long; the limit here is {_in_words(MAX_SECONDS)}. Trim it, "
            "or run unish locally, which has no limit."
        )
    times_s = source.times_s
    decoded = int(((times_s >= request.start_s) & (times_s <= last_used_s(request, source))).sum())
    if decoded * megapixels > MAX_DECODED_MEGAPIXELS:
        raise InputError(
            f"This part of the video has too many pixels to decode here ({decoded} frames of {width}×{height}). Choose "
            "a shorter part, or export it at 1080p."
        )
    return source


def read_upload(request: ClipRequest, progress: Progress = no_progress, source: Source | None = None) -> Clip:
    """The frames of the shot that is asked for, without black bars. Raises as `read_shots` does."""
    return read_shots(request, progress, source)[0]


def read_shots(
    request: ClipRequest, progress: Progress = no_progress, source: Source | None = None
) -> tuple[Clip, tuple[Shot, ...]]:
    """`read_upload`, and all shots of the part that is asked for; `source` where it is open already.

    Raises `InputError` as `open_upload` does, and for a video that cannot be decoded.
    """
    source = open_upload(request) if source is None else source
    sampling = Sampling(request.fps, request.start_s, math.inf if request.end_s is None else request.end_s)
    count = min(request.max_frames, len(sampling.numbers(source.times_s, source.step_s)))
    clip = read_samples(source, sampling, request.max_frames, kept_side_px(source.size, count), progress)
    shots = shots_of(clip)
    return without_bars(one_shot(clip, request.shot, shots=shots)), shots


def part_used(request: ClipRequest, source: Source) -> str | None:
    """What there is to say before a run of a clip that is longer than will be used; None when all of it will be."""
    wanted_s = length_s(source) if request.end_s is None else min(request.end_s, length_s(source))
    used_s = last_used_s(request, source)
    if wanted_s - used_s < 0.5:
        return None
    return (
        f"Only {_in_words(request.start_s)} to {_in_words(used_s)} of {_in_words(wanted_s)} will be used "
        f"({request.max_frames} frames is the limit). Choose another part, or fewer frames per second, under Options."
    )


def kept_side_px(size: tuple[int, int], frames: int) -> int:
    """The longer side of frames that are kept, so that so many take no more than their share of the disk."""
    fitting = math.sqrt(MAX_KEPT_BYTES / (3 * max(1, frames) * size[0] * size[1]))
    return max(_LEAST_SIDE_PX, math.floor(max(size) * min(1.0, fitting)))


def length_s(source: Source) -> float:
    """From the first frame to the end of the last, as the file states it or as its frames lie, the longer."""
    shown_s = float(source.times_s[-1]) + source.step_s if len(source.times_s) else 0.0
    return max(shown_s, source.length_s if math.isfinite(source.length_s) else 0.0)


def last_used_s(request: ClipRequest, source: Source) -> float:
    """The end of the part that is sampled."""
    end_s = length_s(source) if request.end_s is None else request.end_s
    return float(np.clip(request.start_s + request.max_frames / request.fps, 0, min(end_s, length_s(source))))


def _in_words(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min" + (f" {rest} s" if rest else "")
