"""From a decoded frame to RGB as it is meant to be seen: square pixels, upright, full frames, true colours."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from av.error import BlockingIOError, EOFError
from av.filter import Graph
from av.video.frame import VideoFrame
from jaxtyping import UInt8

_HDR_TRANSFERS = (16, 18)  # PQ and HLG in ITU-T H.273
_UNSPECIFIED, _BT709 = 2, 1  # matrix coefficients in ITU-T H.273
_WIDEST_PX = 2**15
_HD_WIDTH_PX, _SD_HEIGHT_PX = 1280, 576


@dataclass(frozen=True)
class SourceFrame:
    """One frame of a source, upright."""

    number: int
    time_s: float
    """Since the first frame of the source."""
    rgb: UInt8[np.ndarray, "height width 3"]
    size: tuple[int, int]
    """(width, height) in the source, at square pixels, before any reduction."""
    is_hdr: bool = False


def to_rgb(
    frame: VideoFrame, pixel_aspect: Fraction | None, max_long_side_px: int
) -> tuple[UInt8[np.ndarray, "height width 3"], tuple[int, int]]:
    """The frame at square pixels, turned upright, and its size before limiting.

    YUV of high definition that states no colour matrix is taken as BT.709, as players do; of standard definition as
    BT.601.
    """
    width, height = display_size(frame.width, frame.height, pixel_aspect)
    limited = limited_size((width, height), max_long_side_px)
    filtered = None if limited == (frame.width, frame.height) else "AREA"
    rgb = frame.reformat(
        width=limited[0], height=limited[1], format="rgb24", src_colorspace=_matrix(frame), interpolation=filtered
    ).to_ndarray()
    upright = _turned(rgb, frame)
    size = (width, height) if upright.shape[:2] == rgb.shape[:2] else (height, width)
    return np.ascontiguousarray(upright), size


def _matrix(frame: VideoFrame) -> int | None:
    if frame.format.is_rgb or int(frame.colorspace) != _UNSPECIFIED:
        return None  # as the frame says
    return _BT709 if frame.width >= _HD_WIDTH_PX or frame.height > _SD_HEIGHT_PX else None


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


def display_size(width: int, height: int, pixel_aspect: Fraction | None) -> tuple[int, int]:
    """(width, height) at square pixels."""
    return (max(1, min(round(width * pixel_aspect), _WIDEST_PX)) if pixel_aspect else width), height


def limited_size(size: tuple[int, int], max_long_side_px: int) -> tuple[int, int]:
    """The size with its long side at most `max_long_side_px`, aspect kept."""
    factor = min(1.0, max_long_side_px / max(size))
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


def is_hdr(frame: VideoFrame) -> bool:
    """Whether the frame's brightness is coded for high dynamic range (PQ or HLG)."""
    return int(frame.color_trc or 0) in _HDR_TRANSFERS


def deinterlaced(numbered: Iterator[tuple[int, VideoFrame]]) -> Iterator[tuple[int, VideoFrame]]:
    """Frames with their numbers, those made of two fields turned into full frames of the first field's moment.

    From the first interlaced frame on all go through the filter, which leaves progressive ones as they are.
    """
    fields: _FieldFilter | None = None
    for number, frame in numbered:
        if fields is None and not frame.interlaced_frame:
            yield number, frame
            continue
        if fields is None or not fields.takes(frame):
            if fields is not None:
                yield from fields.rest()
            fields = _FieldFilter(frame)
        yield from fields.put(number, frame)
    if fields is not None:
        yield from fields.rest()


class _FieldFilter:
    """FFmpeg's bwdif, which looks at the frames around each; frame numbers travel through it as time stamps."""

    def __init__(self, like: VideoFrame) -> None:
        self._kind = (like.width, like.height, like.format.name)
        self._graph = Graph()
        source = self._graph.add_buffer(
            width=like.width, height=like.height, format=like.format, time_base=Fraction(1, 1)
        )
        bwdif = self._graph.add("bwdif", "mode=send_frame:parity=auto:deint=interlaced")
        sink = self._graph.add("buffersink")
        source.link_to(bwdif)
        bwdif.link_to(sink)
        self._graph.configure()

    def takes(self, frame: VideoFrame) -> bool:
        return self._kind == (frame.width, frame.height, frame.format.name)

    def put(self, number: int, frame: VideoFrame) -> Iterator[tuple[int, VideoFrame]]:
        frame.pts, frame.time_base = number, Fraction(1, 1)
        self._graph.push(frame)
        yield from self._ready()

    def rest(self) -> Iterator[tuple[int, VideoFrame]]:
        self._graph.push(None)
        yield from self._ready()

    def _ready(self) -> Iterator[tuple[int, VideoFrame]]:
        while True:
            try:
                frame = self._graph.pull()
            except (BlockingIOError, EOFError):
                return
            yield round(frame.pts * frame.time_base), frame  # type: ignore[union-attr,operator]
