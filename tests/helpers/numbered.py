"""Videos whose frames carry their own number, readable after any lossy coding."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

WIDTH, HEIGHT = 64, 48
_COLUMNS, _ROWS = 4, 3
TICKS = 90_000
_COUNTING = (".avi", ".h264")
"""Kinds of files that count frames and hold no times."""


def numbered_frame(number: int, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """An image of 4×3 blocks: the twelve bits of the number, black or white, the lowest at the top left."""
    bits = (number >> np.arange(_COLUMNS * _ROWS)) & 1
    blocks = (20 + 215 * bits).astype(np.uint8).reshape(_ROWS, _COLUMNS)
    rows, columns = np.arange(height) * _ROWS // height, np.arange(width) * _COLUMNS // width
    return np.repeat(blocks[rows[:, None], columns][..., None], 3, axis=-1)


def numbers_of(frames: Sequence[np.ndarray]) -> list[int]:
    """What `numbered_frame` wrote into these images."""
    return [number_of(frame) for frame in frames]


def number_of(frame: np.ndarray) -> int:
    """What `numbered_frame` wrote into this image."""
    height, width = frame.shape[:2]
    total = 0
    for bit in range(_COLUMNS * _ROWS):
        y, x = (bit // _COLUMNS + 0.5) * height / _ROWS, (bit % _COLUMNS + 0.5) * width / _COLUMNS
        part = frame[round(y) - 2 : round(y) + 3, round(x) - 2 : round(x) + 3]
        total |= int(part.mean() > 128) << bit
    return total


def write_numbered(
    path: Path,
    frames: int = 60,
    times_s: Sequence[float] | None = None,
    codec: str = "libx264",
    gop: int = 12,
    b_frames: int = 2,
    size: tuple[int, int] = (WIDTH, HEIGHT),
    container: dict[str, str] | None = None,
    restamped: Callable[[list[av.Packet]], list[av.Packet]] = lambda packets: packets,
    rate: int = 30,
    first: int = 0,
    codec_options: dict[str, str] | None = None,
    interlaced: bool = False,
) -> Path:
    """Encode frames that carry `first`, `first` + 1, …, shown at `times_s` (default: evenly at `rate`).

    `restamped` may change the packets, in decoding order, before they are written.
    """
    with av.open(str(path), "w", options=container or {}) as output:
        stream = output.add_stream(codec, rate=rate)
        stream.width, stream.height = size
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        tick = Fraction(1, rate) if path.suffix in _COUNTING else Fraction(1, TICKS)
        if codec != "mpeg4":
            stream.codec_context.time_base = tick
        stream.gop_size, stream.max_b_frames = gop, b_frames
        if codec == "libx264":
            stream.options = {"crf": "20", "preset": "ultrafast", "bf": str(b_frames), "sc_threshold": "0"}
        stream.options = {**stream.options, **(codec_options or {})}
        packets = []
        for index in range(frames):
            frame = av.VideoFrame.from_ndarray(numbered_frame(first + index, *size), format="rgb24")
            time_s = index / rate if times_s is None else times_s[index]
            tick = stream.codec_context.time_base or Fraction(1, rate)
            frame.pts, frame.time_base = round(time_s / tick), tick
            packets += stream.encode(frame)
        packets += stream.encode(None)
        for packet in restamped(packets):
            output.mux(packet)
    return path
