"""Videos made on the spot with PyAV."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np


def write_video(
    path: Path,
    frames,
    times_s=None,
    rate: int = 30,
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    rotation: int | None = None,
    flip: bool = False,
    options: dict[str, str] | None = None,
) -> Path:
    """Encode (N,H,W,3) uint8 frames, shown at `times_s` (default: evenly at `rate`)."""
    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pixel_format
        stream.time_base = Fraction(1, 90000)
        stream.codec_context.time_base = Fraction(1, 90000)
        if codec == "libx264":
            stream.options = {"crf": "12", "preset": "ultrafast", "g": "10"}
        if rotation is not None:
            stream.set_display_rotation(rotation, hflip=flip)
        for index, picture in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            time_s = index / rate if times_s is None else times_s[index]
            frame.pts, frame.time_base = round(time_s * 90000), Fraction(1, 90000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def gray_ramp(count: int, width: int = 64, height: int = 48, step: int = 4) -> np.ndarray:
    """Frames whose grey level says their number: level = 20 + step · number."""
    levels = 20 + step * np.arange(count)
    return np.broadcast_to(levels[:, None, None, None], (count, height, width, 3)).astype(np.uint8)


def ramp_numbers(frames: np.ndarray, step: int = 4) -> list[int]:
    """Which frames of `gray_ramp` these are."""
    return [round((float(frame.mean()) - 20) / step) for frame in frames]


def quadrants(width: int = 96, height: int = 64) -> np.ndarray:
    """One picture with a different colour in each corner: red, green / blue, white."""
    picture = np.zeros((height, width, 3), np.uint8)
    picture[: height // 2, : width // 2] = (220, 20, 20)
    picture[: height // 2, width // 2 :] = (20, 220, 20)
    picture[height // 2 :, : width // 2] = (20, 20, 220)
    picture[height // 2 :, width // 2 :] = (235, 235, 235)
    return picture
