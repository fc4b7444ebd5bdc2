"""Opening a video file, and nothing but that file; whatever its demuxer or decoder raises becomes one sentence."""

import contextlib
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Disposition
from av.video.stream import VideoStream

from unish.errors import InputError

_DEMUXERS = "mov,matroska,avi,mpegts,mpeg,mpegvideo,flv,asf,ogg,h264,hevc"
"""Only kinds that hold their frames themselves. Playlists (HLS, ffconcat, DASH …) name other files and are no clip."""
_RAW = ("h264", "hevc")
WITHOUT_PRESENTATION_STAMPS = ("avi", "asf", *_RAW)
_PLAYLISTS = (b"#EXTM3U", b"ffconcat", b"<?xml", b"<MPD", b"[playlist]", b"v=0")
DECODER_ERRORS = (FFmpegError, OSError, ValueError, ArithmeticError, LookupError, RuntimeError, TypeError, MemoryError)
"""What demuxing, seeking and decoding of a broken file raise."""
MOST_PIXELS = 2**27
"""Of one frame: four times 8K."""
_MOST_THREADS = 8
_NOT_THE_CLIP = (
    Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image | Disposition.dependent
)


@contextlib.contextmanager
def open_video(path: Path) -> Iterator[InputContainer]:
    """Open a file, and nothing but that file: what it names is never opened, and its own name is never an address.

    Raises `InputError` when it is not a video that can be opened.
    """
    with open_file(path) as file:
        try:
            # The demuxer reads from the open file and may open no other: no protocol is allowed.
            options = {"format_whitelist": _DEMUXERS, "protocol_whitelist": ""}
            container = av.open(file, "r", options=options, metadata_errors="replace")
            assert isinstance(container, InputContainer)
        except DECODER_ERRORS as error:
            raise _not_a_video(path, file, error) from error
        with container:
            yield container


@contextlib.contextmanager
def open_file(path: Path) -> Iterator[Any]:
    """The bytes of a regular file. Raises `InputError` for anything else, and for one that cannot be opened."""
    try:
        if not path.is_file():
            kind = "a folder" if path.is_dir() else "something else" if path.exists() else "nothing"
            raise InputError(f"Expected a file at {shown_path(path)}, found {kind}; check the path.")
        file = path.open("rb")
    except (OSError, ValueError) as error:
        raise InputError(f"{shown_path(path)} cannot be opened ({reason(error)}); check the path.") from error
    with file:
        yield file


def video_stream(container: InputContainer, path: Path) -> VideoStream:
    """The stream that a player shows: the default one, the largest among several; never a cover or a thumbnail.

    Raises `InputError` where there is none, or none that can be decoded.
    """
    streams = [stream for stream in container.streams.video if not stream.disposition & _NOT_THE_CLIP]
    if not streams:
        kinds = ", ".join(sorted({stream.type for stream in container.streams})) or "nothing"
        raise InputError(f"Expected a video track in {shown_path(path)}, found {kinds} only; give a file that has one.")
    decodable = [stream for stream in streams if stream.codec_context is not None]
    if not decodable:
        raise InputError(
            f"The video in {shown_path(path)} is of a kind that cannot be decoded here; convert it to H.264 in MP4."
        )
    best = max(decodable, key=lambda stream: (bool(stream.disposition & Disposition.default), _area(stream)))
    if not _area(best):
        raise InputError(
            f"The video in {shown_path(path)} does not say how large its frames are; it may be truncated: record or "
            "copy it again."
        )
    if _area(best) > MOST_PIXELS:
        raise InputError(
            f"The video in {shown_path(path)} has frames of {best.width}×{best.height}; {MOST_PIXELS / 1e6:.0f} "
            "million pixels is the most that is decoded. Export it smaller."
        )
    best.thread_type = "AUTO"
    best.codec_context.thread_count = min(_MOST_THREADS, os.cpu_count() or 1)
    best.codec_context.options = {"max_pixels": str(MOST_PIXELS)}  # sizes may change midway
    return best


def stated_length_s(container: InputContainer, stream: VideoStream) -> float:
    """How long the file says its video is from the first frame on; infinity when it says nothing."""
    if stream.duration is not None and stream.time_base:
        return _sensible_length(float(stream.duration * stream.time_base))
    if container.duration is None:
        return math.inf
    length_s = container.duration / av.time_base
    if "matroska" in container.format.name:  # counts from 0, wherever the first frame lies
        stated = _clock_s(stream.metadata.get("DURATION", ""))
        if stated is None and len(container.streams) > 1:
            return math.inf
        origin_s = float((stream.start_time or 0) * (stream.time_base or 0))
        return _sensible_length((length_s if stated is None else stated) - origin_s)
    return _sensible_length(length_s) if len(container.streams) == 1 else math.inf


def nominal_rate(container: InputContainer, stream: VideoStream) -> float:
    """Frames per second as the file states them; 25 where it states nothing that can be."""
    rates = [stream.average_rate, stream.guessed_rate]
    if container.format.name in _RAW:  # there the average is made up
        rates.reverse()
    for rate in rates:
        if rate and 1e-3 < rate < 1e4:
            return float(rate)
    return 25.0


def reason(error: Exception) -> str:
    """An error of a library or the system, as words in a sentence."""
    return str(getattr(error, "strerror", None) or error or type(error).__name__).strip().rstrip(".").lower()


def shown_path(path: Path) -> str:
    """A path as text that can be printed and stored; bytes that are no UTF-8 appear as \\xe9."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _area(stream: VideoStream) -> int:
    return (stream.width or 0) * (stream.height or 0)


def _sensible_length(length_s: float) -> float:
    return length_s if 0 < length_s < 1e7 else math.inf


def _clock_s(text: str) -> float | None:
    """Seconds of "00:01:02.500000000"."""
    try:
        hours, minutes, seconds = text.split(":")
        return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    except ValueError:
        return None


def _not_a_video(path: Path, file: Any, error: Exception) -> InputError:
    file.seek(0)
    head = file.read(64).lstrip(b"\xef\xbb\xbf \r\n\t")
    if head.startswith(_PLAYLISTS):
        return InputError(
            f"Expected a video, but {shown_path(path)} is a list that names other files; give the video file itself."
        )
    return InputError(
        f"Expected a video, but {shown_path(path)} cannot be opened as one ({reason(error)}): it may be truncated or "
        "not a video at all; check that it plays, or convert it to MP4."
    )
