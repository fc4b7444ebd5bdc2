"""Reading a clip: a video, a folder of images or one image becomes frames sampled evenly in time.

Frames are sampled by presentation time, so a variable frame rate is honoured; they are turned as the file's display
matrix says and kept at square pixels. Only the frames that are kept are ever converted or held.
"""

import math
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream

from unish.errors import InputError
from unish.structures import Clip
from unish.utils.disk_arrays import Stack
from unish.utils.names import text_name
from unish.video.decode import TimedFrame, limited_size, open_video, stated_length_s, timed_frames, to_rgb, video_stream
from unish.video.suffixes import IMAGE_SUFFIXES

Progress = Callable[[float], None]

_EARLY_END_S = 0.5
_MOST_BYTES = 4 * 2**30
_LEAST_SIDE_PX = 640
_HDR_TRANSFERS = (16, 18)  # PQ and HLG in ITU-T H.273
_TIME_EPSILON_S = 1e-6


@dataclass(frozen=True)
class _Sampling:
    """Which moments of a clip are wanted."""

    fps: float
    start_s: float
    end_s: float
    max_frames: float
    max_long_side_px: int

    def __post_init__(self) -> None:
        if not (math.isfinite(self.fps) and self.fps > 0):
            raise InputError(f"The frame rate must be a number above 0, got {self.fps}; 6 is what unish expects.")
        if not (math.isfinite(self.start_s) and self.start_s >= 0):
            raise InputError(f"The start must be 0 s or later, got {self.start_s} s; leave it out to start at 0.")
        if not self.end_s > self.start_s:
            raise InputError(
                f"The end must come after the start, got start {self.start_s:g} s and end {self.end_s:g} s; "
                "swap them or leave one out."
            )
        if self.max_frames < 1:
            raise InputError(f"At least one frame must be kept, got a limit of {self.max_frames:g}.")
        if self.max_long_side_px < 1:
            raise InputError(f"The largest frame side must be at least 1 pixel, got {self.max_long_side_px}.")

    def time_s(self, sample: int) -> float:
        return self.start_s + sample / self.fps


@dataclass
class _Kept:
    """The frames kept so far, and what there is to say about them."""

    frames: Stack = field(default_factory=Stack)
    """RGB pictures."""
    times_s: list[float] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    source_size: tuple[int, int] = (0, 0)
    skipped_samples: bool = False
    warnings: list[str] = field(default_factory=list)


def read_clip(
    path: str | Path,
    fps: float | int = 6.0,
    start_s: float | int | None = None,
    end_s: float | int | None = None,
    max_frames: int | None = None,
    max_long_side_px: int = 1920,
    progress: Progress | None = None,
) -> Clip:
    """Read a video, a folder of images or one image, sampled at `fps` frames a second from `start_s` to `end_s`.

    Sample k shows the frame nearest in time to start_s + k/fps. No frame is used twice: where the source is slower
    than `fps`, each of its frames is kept once and `Clip.fps` is the rate that came out. For a folder, `fps` is the
    rate at which its images were taken, and all of them are kept. Times count from the first frame of the source.
    Frames longer than `max_long_side_px` are downscaled while decoding; `Clip.source_size` keeps their display size.
    `progress` is called with the share done, 0 to 1. A video that breaks off midway gives what could be decoded and
    says so in `Clip.warnings`.

    Raises `InputError` when there is nothing usable at `path` or the numbers make no sense.
    """
    sampling = _Sampling(
        fps=float(fps),
        start_s=float(start_s or 0.0),
        end_s=math.inf if end_s is None else float(end_s),
        max_frames=math.inf if max_frames is None else float(max_frames),
        max_long_side_px=max_long_side_px,
    )
    path = Path(path)
    report = progress or (lambda share: None)
    if not path.exists():
        raise InputError(f"Expected a video, an image or a folder of images at {path}, found nothing; check the path.")
    if path.is_dir():
        kept = _read_images(_images_in(path), sampling, report)
    elif path.stat().st_size == 0:
        raise InputError(f"Expected a video or an image, but {path} is empty (0 bytes); copy or record it again.")
    elif path.suffix.lower() in IMAGE_SUFFIXES:
        kept = _read_images([path], sampling, report)
    else:
        kept = _read_video(path, sampling, report)
    report(1.0)
    return _as_clip(kept, sampling, text_name(path))


def _as_clip(kept: _Kept, sampling: _Sampling, source_name: str) -> Clip:
    times_s = np.asarray(kept.times_s, np.float64)
    fps = sampling.fps
    if kept.skipped_samples and len(times_s) > 1:
        fps = (len(times_s) - 1) / float(times_s[-1] - times_s[0])
    return Clip(
        frames=kept.frames.finish(),
        times_s=times_s,
        fps=fps,
        source_name=source_name,
        source_size=kept.source_size,
        warnings=tuple(kept.warnings),
        source_frames=tuple(kept.numbers),
    )


def _roomy_side(width: int, height: int, frames: float, max_long_side_px: int, kept: _Kept) -> int:
    """The longest frame side with which a clip of so many frames takes no more than its share of disk."""
    size = limited_size((width, height), max_long_side_px)
    if not math.isfinite(frames) or 3 * size[0] * size[1] * frames <= _MOST_BYTES:
        return max_long_side_px
    side = max(_LEAST_SIDE_PX, math.floor(max(size) * math.sqrt(_MOST_BYTES / (3 * size[0] * size[1] * frames))))
    smaller = limited_size((width, height), min(side, max_long_side_px))
    if smaller < size:
        kept.warnings.append(
            f"The clip is long ({frames:.0f} frames), so its frames are kept at {smaller[0]}×{smaller[1]}; "
            "a shorter part (--start, --end) is kept sharper."
        )
    return min(side, max_long_side_px)


# ---------------------------------------------------------------- images


def images_in_order(folder: Path, suffixes: Iterable[str] = IMAGE_SUFFIXES) -> list[Path]:
    """The image files of a folder in natural order (frame_2 before frame_10), hidden files left out."""

    def natural(path: Path) -> list[tuple[int, int | str]]:
        return [(0, int(part)) if part.isdigit() else (1, part) for part in re.split(r"(\d+)", path.name.lower())]

    wanted = tuple(suffixes)
    found = [p for p in folder.iterdir() if p.suffix.lower() in wanted and not p.name.startswith(".")]
    return sorted(found, key=natural)


def _images_in(folder: Path) -> list[Path]:
    images = images_in_order(folder)
    if not images:
        raise InputError(
            f"Expected images ({', '.join(IMAGE_SUFFIXES)}) in the folder {folder}, found none; "
            "point to a video or to the folder that holds the frames."
        )
    return images


def _read_images(paths: list[Path], sampling: _Sampling, report: Progress) -> _Kept:
    """Every image is one frame, 1/fps apart."""
    kept, long_side_px = _Kept(), sampling.max_long_side_px
    for index, path in enumerate(paths):
        time_s = index / sampling.fps
        if time_s < sampling.start_s - _TIME_EPSILON_S:
            continue
        if time_s >= sampling.end_s - _TIME_EPSILON_S:
            break
        if len(kept.frames) >= sampling.max_frames:
            wanted_s = min(sampling.end_s, len(paths) / sampling.fps)
            kept.warnings.append(_cut_short(len(kept.frames), kept.times_s[-1], wanted_s))
            break
        picture = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR) if path.stat().st_size else None
        if picture is None:
            raise InputError(f"Expected an image, but {path} cannot be read as one; remove it or save it again.")
        size = (picture.shape[1], picture.shape[0])
        if kept.frames and size != kept.source_size:
            raise InputError(
                f"Expected images of one size, {kept.source_size[0]}×{kept.source_size[1]} as the first, "
                f"but {path.name} is {size[0]}×{size[1]}; keep only the frames of one clip in the folder."
            )
        kept.source_size = size
        if not kept.frames:
            expected = min(float(len(paths)), sampling.max_frames)
            long_side_px = _roomy_side(*size, expected, sampling.max_long_side_px, kept)
        width, height = limited_size(size, long_side_px)
        if (width, height) != size:
            picture = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
        kept.frames.append(np.ascontiguousarray(picture[..., ::-1]))
        kept.times_s.append(time_s)
        kept.numbers.append(index)
        report((index + 1) / len(paths))
    if not kept.frames:
        raise _starts_too_late(sampling, len(paths) / sampling.fps)
    return kept


# ---------------------------------------------------------------- video


def _read_video(path: Path, sampling: _Sampling, report: Progress) -> _Kept:
    container = open_video(path)
    with container:
        stream = video_stream(container, path)
        return _sample_stream(container, stream, path, sampling, report)


def _sample_stream(
    container: InputContainer,
    stream: VideoStream,
    path: Path,
    sampling: _Sampling,
    report: Progress,
) -> _Kept:
    kept, faults = _Kept(), []
    length_s = stated_length_s(container, stream)
    last_wanted_s = min(sampling.end_s, length_s)
    expected = min((last_wanted_s - sampling.start_s) * sampling.fps, sampling.max_frames)
    long_side_px = _roomy_side(stream.width, stream.height, expected, sampling.max_long_side_px, kept)
    last: TimedFrame | None = None
    for timed in _nearest_frames(timed_frames(container, stream, sampling.start_s, faults), sampling, kept):
        if len(kept.frames) >= sampling.max_frames:
            break
        picture, kept.source_size = to_rgb(timed.frame, stream.sample_aspect_ratio, long_side_px)
        if kept.frames and picture.shape != kept.frames.shape:
            faults.append(f"the picture changes size at {timed.time_s:.2f} s")
            break
        kept.frames.append(picture)
        kept.times_s.append(timed.time_s)
        kept.numbers.append(timed.number)
        last = timed
        done_s, wanted_s = timed.time_s - sampling.start_s, last_wanted_s - sampling.start_s
        report(min(1.0, done_s / max(wanted_s, 1e-9)))  # 0 where the length is not known
    if last is None:
        raise _nothing_decoded(path, sampling, length_s, faults)
    kept.warnings += _warnings(last, kept, sampling, length_s, faults)
    return kept


def _nearest_frames(frames: Iterator[TimedFrame], sampling: _Sampling, kept: _Kept) -> Iterator[TimedFrame]:
    """The frame nearest to each sample time, each frame at most once."""
    sample, previous, interval_s = 0, None, 0.0
    used = -1
    for current in frames:
        if previous is None:
            # Of the samples before the first frame, only the nearest falls on it.
            while sampling.time_s(sample) < current.time_s - 0.5 / sampling.fps:
                sample += 1
        else:
            interval_s = current.time_s - previous.time_s
            middle_s = (previous.time_s + current.time_s) / 2
            while sampling.time_s(sample) < min(middle_s, sampling.end_s) - _TIME_EPSILON_S:
                if previous.number == used:
                    kept.skipped_samples = True
                else:
                    used = previous.number
                    yield previous
                sample += 1
            if sampling.time_s(sample) >= sampling.end_s - _TIME_EPSILON_S:
                return
        previous = current
    # The last frame lasts as long as the one before it; a sample inside that time still shows it.
    if previous is not None and previous.number != used:
        end_s = min(previous.time_s + max(interval_s / 2, 2 * _TIME_EPSILON_S), sampling.end_s) - _TIME_EPSILON_S
        kept.skipped_samples |= interval_s > 0 and sampling.time_s(sample + 1) < end_s
        if sampling.time_s(sample) < end_s:
            yield previous


# ---------------------------------------------------------------- what to say


def _warnings(last: TimedFrame, kept: _Kept, sampling: _Sampling, length_s: float, faults: list[str]) -> Iterator[str]:
    wanted_s = min(sampling.end_s, length_s)
    reached_limit = len(kept.frames) >= sampling.max_frames
    if reached_limit and math.isfinite(wanted_s) and wanted_s - last.time_s > 1.5 / sampling.fps:
        yield _cut_short(len(kept.frames), last.time_s, wanted_s)
    elif math.isfinite(wanted_s) and wanted_s - last.time_s > _EARLY_END_S + 1.5 / sampling.fps:
        yield (
            f"The video breaks off: {last.time_s:.1f} s of {wanted_s:.1f} s could be decoded; "
            "the result covers that part only."
        )
    elif faults:
        yield f"Parts of the video could not be decoded and were passed over ({faults[0]})."
    if int(last.frame.color_trc or 0) in _HDR_TRANSFERS:
        yield "The video is HDR; its colours are used without tone mapping and look pale."


def _cut_short(frames: int, until_s: float, wanted_s: float) -> str:
    return (
        f"The clip is longer than can be taken here: the first {frames} frames are used, up to {until_s:.1f} s of "
        f"{wanted_s:.1f} s. Choose another part (start, end) or fewer frames a second."
    )


def _nothing_decoded(path: Path, sampling: _Sampling, length_s: float, faults: list[str]) -> InputError:
    if not faults and (sampling.start_s > 0 or math.isfinite(sampling.end_s)):
        if sampling.start_s >= length_s or not math.isfinite(length_s):
            return _starts_too_late(sampling, length_s)
        return InputError(
            f"Expected frames from {sampling.start_s:g} s to {min(sampling.end_s, length_s):g} s of {path}, "
            "found none; choose a longer stretch."
        )
    why = f" ({faults[0]})" if faults else ""
    return InputError(f"Expected a video with frames, but none of {path} can be decoded{why}; record or copy it again.")


def _starts_too_late(sampling: _Sampling, length_s: float) -> InputError:
    length = f"lasts {length_s:.2f} s" if math.isfinite(length_s) else "is shorter than that"
    return InputError(
        f"The start must lie inside the clip, got {sampling.start_s:g} s, but the clip {length}; "
        "choose an earlier start."
    )
