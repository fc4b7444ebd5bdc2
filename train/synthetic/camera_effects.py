"""What a phone does to an image on its way to a file: shake blur, drifting exposure, noise, sharpening and H.264.

Pixels stay where they are, so the labels of a clip hold for its filmed frames too; but for the rolling shutter, which
moves masks, depth and what is told in pixels along.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import av
import cv2
import numpy as np

from train.synthetic.motion_blur import blur_along

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
    hdr: Range = (0.0, 0.0)
    """How much the light of large areas is evened out, as phones do from several exposures: shadows are lifted, bright
    areas held back, and colours made stronger."""
    readout_s: Range = (0.0, 0.0)
    """Time from the first row of an image to its last, while the camera turns (see `roll_shutter`)."""
    each_its_way: bool = False
    """Smear every pixel along its own way (see motion_blur.py) instead of all along that of the middle."""

    def apply(self, rng: np.random.Generator, images: np.ndarray, motion_px: np.ndarray, fps: float) -> np.ndarray:
        """Filmed frames of clean ones (frames, height, width, 3) uint8.

        `motion_px` is how far the middle of the image moves from one frame to the next (frames, 2), or what each
        pixel shows (frames, height, width, 2).
        """
        smear = blur_along if motion_px.ndim == 4 else _smear
        shutter, contrast, noise, sharpen = (
            rng.uniform(*limits) for limits in (self.shutter_s, self.contrast, self.noise, self.sharpen)
        )
        crf = int(rng.integers(self.crf[0], self.crf[1] + 1))
        gains = np.exp(np.cumsum(rng.normal(0, self.drift, len(images))))
        hdr = rng.uniform(*self.hdr) if self.hdr[1] > 0 else 0.0
        filmed = []
        for image, step, gain in zip(images, motion_px * shutter * fps, gains, strict=True):
            level = smear(image.astype(np.float32) / 255, step) * np.float32(gain)
            if hdr > 0:
                level = _even_out(level, hdr)
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


def row_shifts_px(motion_px: np.ndarray, fps: float, readout_s: float, height: int) -> np.ndarray:
    """How far from each row, (frames, height, 2), what a rolling shutter shows in it lies in an image that is taken at
    once, at the time of the middle row. `motion_px` as in `CameraEffects.apply`."""
    late_s = ((np.arange(height) + 0.5) / height - 0.5) * readout_s
    return motion_px[:, None] * (fps * late_s)[:, None]


def roll_shutter(images: np.ndarray, shifts_px: np.ndarray, smooth: bool) -> np.ndarray:
    """Frames (frames, height, width, ...) as a rolling shutter takes them. Without `smooth` values are picked, not
    mixed (masks, depth), and what comes from outside the image is 0."""
    height, width = images.shape[1:3]
    column, row = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    rolled = []
    for image, shift in zip(images, shifts_px.astype(np.float32), strict=True):
        x, y = column + shift[:, :1], row + shift[:, 1:]
        sampling = (cv2.INTER_LINEAR, cv2.BORDER_REPLICATE) if smooth else (cv2.INTER_NEAREST, cv2.BORDER_CONSTANT)
        rolled.append(cv2.remap(image, x, y, sampling[0], borderMode=sampling[1]))
    return np.stack(rolled)


def rolled_points_px(points_px: np.ndarray, shifts_px: np.ndarray) -> np.ndarray:
    """Where points (people, frames, points, 2) of images taken at once are under a rolling shutter."""
    height = shifts_px.shape[1]
    frames = np.arange(len(shifts_px))[None, :, None]
    moved = points_px
    for _ in range(3):  # the shift depends on the row where the point ends up
        row = np.nan_to_num(moved[..., 1]).clip(0, height - 1).astype(int)
        moved = points_px - shifts_px[frames, row]
    return moved


def _even_out(level: np.ndarray, amount: float) -> np.ndarray:
    """Levels 0..1 with the light of large areas drawn towards a middle grey, and more saturated."""
    grey = level.mean(2)
    light = cv2.GaussianBlur(grey, (0, 0), 0.06 * max(grey.shape)) + 0.05
    gain = (0.4 / light) ** np.float32(0.7 * amount)
    level = level * np.clip(gain, 0.5, 3.0)[..., None]
    grey = level.mean(2, keepdims=True)
    return np.clip(grey + (1 + 0.15 * amount) * (level - grey), 0, 1)


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
