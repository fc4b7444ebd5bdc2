"""Decoding a video with PyAV: frames with their presentation time, turned upright, at square pixels."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from jaxtyping import UInt8

from unish.errors import InputError

_SEEK_MARGIN_S = 1.0


@dataclass(frozen=True)
class TimedFrame:
    frame: VideoFrame
    time_s: float
    number: int


def open_video(path: Path) -> InputContainer:
    """Open a file, and nothing but that file. Raises `InputError` when it is not a video that can be opened."""
    try:
        # Only the file itself may be opened: a playlist in disguise cannot reach the network.
        return av.open(str(path), options={"protocol_whitelist": "file"})
    except (FFmpegError, OSError) as error:
        raise InputError(
            f"Expected a video, but {path} cannot be opened as one ({_reason(error)}): it may be truncated or not a "
            "video at all; check that it plays, or convert it to MP4."
        ) from error


def video_stream(container: InputContainer, path: Path) -> VideoStream:
    for stream in container.streams.video:
        if not stream.disposition & Disposition.attached_pic:  # the cover of a sound file is no video
            stream.thread_type = "AUTO"
            return stream
    kinds = ", ".join(sorted({stream.type for stream in container.streams})) or "nothing"
    raise InputError(f"Expected a video track in {path}, found {kinds} only; give a file that has a picture.")


def stated_length_s(container: InputContainer, stream: VideoStream) -> float:
    """The length that the file states, infinity when it states none."""
    if stream.duration is not None and stream.time_base:
        return float(stream.duration * stream.time_base)
    if container.duration is not None and len(container.streams) == 1:
        return container.duration / av.time_base
    return math.inf


def timed_frames(
    container: InputContainer, stream: VideoStream, start_s: float, faults: list[str]
) -> Iterator[TimedFrame]:
    """Decoded frames with their time since the first frame of the source; broken packets are noted and passed over."""
    rate = float(stream.average_rate or stream.guessed_rate or 25)
    tick_s = float(stream.time_base or 1 / av.time_base)
    origin_s = None if stream.start_time is None else stream.start_time * tick_s
    if origin_s is not None and start_s > _SEEK_MARGIN_S:
        target = int((origin_s + start_s - _SEEK_MARGIN_S) / tick_s)
        try:
            container.seek(target, stream=stream)
        except FFmpegError:
            container.seek(0)
    last: TimedFrame | None = None
    for frame in _decoded(container, stream, faults):
        if origin_s is None:
            origin_s = frame.time or 0.0
        time_s = None if frame.time is None else frame.time - origin_s
        if last is None:
            time_s = time_s or 0.0
            last = TimedFrame(frame, time_s, max(0, round(time_s * rate)))
        else:
            if time_s is None or time_s <= last.time_s:  # no usable time stamp: the next regular moment
                time_s = last.time_s + 1 / rate
            last = TimedFrame(frame, time_s, last.number + 1)
        yield last


def _decoded(container: InputContainer, stream: VideoStream, faults: list[str]) -> Iterator[VideoFrame]:
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except FFmpegError as error:
            faults.append(_reason(error))
            return
        if packet is None:
            return
        try:
            frames = packet.decode()
        except FFmpegError as error:
            faults.append(_reason(error))
            continue
        for frame in frames:
            if frame.is_corrupt:
                faults.append("damaged frames")
            else:
                yield frame


def to_rgb(
    frame: VideoFrame, pixel_aspect: Fraction | None, max_long_side_px: int
) -> tuple[UInt8[np.ndarray, "height width 3"], tuple[int, int]]:
    """The frame as it is meant to be seen (square pixels, turned upright), and its display size before limiting."""
    width, height = frame.width, frame.height
    if pixel_aspect:
        width = max(1, round(width * pixel_aspect))
    limited = limited_size((width, height), max_long_side_px)
    filtered = None if limited == (frame.width, frame.height) else "AREA"
    rgb = frame.reformat(width=limited[0], height=limited[1], format="rgb24", interpolation=filtered).to_ndarray()
    upright = _turned(rgb, frame)
    size = (width, height) if upright.shape[:2] == rgb.shape[:2] else (height, width)
    return np.ascontiguousarray(upright), size


def _turned(rgb: UInt8[np.ndarray, "h w 3"], frame: VideoFrame) -> UInt8[np.ndarray, "height width 3"]:
    """Apply the display matrix (a turn by quarter circles and a mirroring): x' = a·x + c·y, y' = b·x + d·y."""
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return rgb
    a, b, _, c, d = np.frombuffer(bytes(data), np.int32)[:5] / 65536.0
    if abs(b) + abs(c) > abs(a) + abs(d):
        rgb, x_sign, y_sign = rgb.transpose(1, 0, 2), c, b
    else:
        x_sign, y_sign = a, d
    return rgb[:: -1 if y_sign < 0 else 1, :: -1 if x_sign < 0 else 1]


def limited_size(size: tuple[int, int], max_long_side_px: int) -> tuple[int, int]:
    """The size with its long side at most `max_long_side_px`, aspect kept."""
    factor = min(1.0, max_long_side_px / max(size))
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error).lower()
