"""What a phone does to an image on its way to a file: shake blur, drifting exposure, noise, sharpening and H.264.

Pixels stay where they are, so the labels of a clip hold for its filmed frames too.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import av
import cv2
import numpy as np

Range = tuple[float, float]


@dataclass(frozen=True)
class CameraEffects:
    """A phone camera. Ranges are drawn once for a clip; levels are 0..1 after the tone curve."""

    shutter_s: Range = (1 / 60, 1 / 24)
    """Exposure time: the image is smeared along the way that its middle moves meanwhile."""
    drift: float = 0.03
    """Standard deviation of the step that the automatic exposure takes from frame to frame (log gain)."""
    contrast: Range = (0.0, 0.7)
    """Share of an S-shaped tone curve that is mixed in."""
    noise: Range = (0.01, 0.045)
    """Standard deviation of the sensor noise at mid grey; it grows with the square root of the level."""
    sharpen: Range = (0.2, 0.9)
    """How much of what a one-pixel blur removes is added back on top."""
    crf: tuple[int, int] = (26, 36)
    """Quality of H.264, both ends included; higher is worse."""

    def apply(self, rng: np.random.Generator, images: np.ndarray, motion_px: np.ndarray, fps: float) -> np.ndarray:
        """Filmed frames of clean ones (frames, height, width, 3) uint8.

        `motion_px` (frames, 2) is how far the middle of the image moves from one frame to the next.
        """
        shutter, contrast, noise, sharpen = (
            rng.uniform(*limits) for limits in (self.shutter_s, self.contrast, self.noise, self.sharpen)
        )
        crf = int(rng.integers(self.crf[0], self.crf[1] + 1))
        gains = np.exp(np.cumsum(rng.normal(0, self.drift, len(images))))
        filmed = []
        for image, step, gain in zip(images, motion_px * shutter * fps, gains, strict=True):
            level = _smear(image.astype(np.float32) / 255, step) * np.float32(gain)
            grain = rng.standard_normal(level.shape, np.float32)
            level = level + noise * np.sqrt(level / 0.5 + 0.05) * grain
            level = np.clip(level, 0, 1)
            level = level + contrast * (level * level * (3 - 2 * level) - level)
            level = level + sharpen * (level - cv2.GaussianBlur(level, (0, 0), 1.0))
            filmed.append(np.clip(255 * level + 0.5, 0, 255).astype(np.uint8))
        return compress(np.stack(filmed), fps, crf)


def centre_motion_px(world_from_camera: np.ndarray, focal_px: float) -> np.ndarray:
    """How far the middle of each image moves until the next frame as the camera turns, (frames, 2)."""
    if len(world_from_camera) == 1:
        return np.zeros((1, 2))
    turn = world_from_camera[:-1, :3, :3].swapaxes(1, 2) @ world_from_camera[1:, :3, :3]
    moved = focal_px * turn[:, :2, 2] / turn[:, 2:, 2]
    return np.concatenate([moved, moved[-1:]])


def _smear(image: np.ndarray, step_px: np.ndarray) -> np.ndarray:
    """The image averaged along a line that is centred on each pixel, so that nothing is displaced."""
    length = float(np.hypot(*step_px))
    if length < 0.5:
        return image
    half = int(np.ceil(length / 2))
    kernel = np.zeros((2 * half + 1, 2 * half + 1), np.float32)
    for share in np.linspace(-0.5, 0.5, 4 * half + 3):
        column, row = np.round(half + share * step_px).astype(int)
        kernel[row, column] += 1
    return cv2.filter2D(image, -1, kernel / kernel.sum())


def compress(images: np.ndarray, fps: float, crf: int) -> np.ndarray:
    """The frames after a way through H.264 (4:2:0); sides have to be even."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=max(1, round(fps)))
        stream.height, stream.width = images.shape[1:3]
        stream.pix_fmt = "yuv420p"
        # Without macroblock trees: x264 with AVX-512 computes them a little differently from run to run.
        stream.options = {"crf": str(crf), "preset": "veryfast", "threads": "1", "x264-params": "mbtree=0"}
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    file.seek(0)
    with av.open(file, "r") as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
