"""Cameras for the scenes: intrinsics, aspect ratios and moving, hand-held paths. World z up, camera OpenCV."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

ASPECTS = {"4:3": 4 / 3, "3:4": 3 / 4, "16:9": 16 / 9, "9:16": 9 / 16, "1:1": 1.0}
ASPECT_CHANCES = (0.3, 0.14, 0.28, 0.16, 0.12)
STEP_PX = 14
KINDS = {"orbit": 0.38, "dolly": 0.12, "truck": 0.15, "follow": 0.13, "static": 0.07, "walk": 0.15}
"""What a camera does, with its share of the clips."""


@dataclass(frozen=True)
class PinholeCamera:
    """Image size in pixels and intrinsics (3,3) with the principal point in the middle."""

    width: int
    height: int
    intrinsics: np.ndarray


def random_pinhole(rng: np.random.Generator, long_side_px: int, aspect: str | None) -> PinholeCamera:
    """A pinhole camera of 35 to 75 degrees along the longer side.

    Both sides are multiples of 14 pixels if the longer one is, else even.
    """
    name = aspect or str(rng.choice(list(ASPECTS), p=ASPECT_CHANCES))
    ratio = ASPECTS[name]
    step = STEP_PX if long_side_px % STEP_PX == 0 else 2
    short = max(1, round(long_side_px * min(ratio, 1 / ratio) / step)) * step
    width, height = (long_side_px, short) if ratio >= 1 else (short, long_side_px)
    field = np.radians(rng.uniform(35.0, 75.0))
    return centred_pinhole(width, height, 0.5 * long_side_px / np.tan(field / 2))


def centred_pinhole(width: int, height: int, focal_px: float) -> PinholeCamera:
    """A pinhole camera of this focal length, its principal point in the middle."""
    return PinholeCamera(width, height, np.array([[focal_px, 0, width / 2], [0, focal_px, height / 2], [0, 0, 1.0]]))


def look_at(eye: np.ndarray, target: np.ndarray, roll: np.ndarray) -> np.ndarray:
    """world_from_camera (T,4,4) of cameras at `eye` (T,3) that look at `target` (T,3), rolled by `roll` (T,)."""
    forward = target - eye
    forward /= np.linalg.norm(forward, axis=-1, keepdims=True)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right, axis=-1, keepdims=True)
    down = np.cross(forward, right)
    c, s = np.cos(roll)[:, None], np.sin(roll)[:, None]
    out = np.tile(np.eye(4), (len(eye), 1, 1))
    out[:, :3, 0], out[:, :3, 1], out[:, :3, 2] = c * right + s * down, c * down - s * right, forward
    out[:, :3, 3] = eye
    return out


def shake(rng: np.random.Generator, times_s: np.ndarray, amount: float, channels: int) -> np.ndarray:
    """Hand-held jitter (T, channels): smooth, mostly below two hertz."""
    rates = np.array([0.3, 0.7, 1.3, 2.1])
    size = np.array([1.0, 0.7, 0.4, 0.2]) * amount
    phase = rng.uniform(0, 2 * np.pi, (4, channels))
    rates = rates[:, None] * rng.uniform(0.7, 1.3, (4, channels))
    waves = np.sin(2 * np.pi * rates * times_s[:, None, None] + phase)
    return (waves * size[:, None] * rng.normal(0, 0.7, (4, channels))).sum(1)


def random_path(
    rng: np.random.Generator,
    times_s: np.ndarray,
    pinhole: PinholeCamera,
    people: np.ndarray,
    tall_m: float,
    indoor: bool,
    kind: str | None = None,
) -> np.ndarray:
    """world_from_camera (T,4,4) of a camera that films the people.

    `people` (P,T,2) are their places on the floor. The camera does one of KINDS (drawn, or `kind`); its
    distance is drawn so that a person of `tall_m` fills 25 to 90 % of the frame's height (more when cut off).
    """
    count = len(times_s)
    duration = max(float(times_s[-1]), 0.5)
    focal, height_px = pinhole.intrinsics[0, 0], pinhole.height
    center = people.mean((0, 1)) if rng.random() < 0.6 else people[0].mean(0)
    share = rng.uniform(0.33, 0.95) if rng.random() < 0.85 else rng.uniform(0.95, 1.5)
    distance = np.clip(focal * tall_m / (share * height_px), 1.3, 8.0 if indoor else 14.0)
    drawn = str(rng.choice(list(KINDS), p=list(KINDS.values())))
    kind = kind or drawn
    eye_height = rng.uniform(0.8, 2.2)
    bearing = rng.uniform(0, 2 * np.pi)
    ease = times_s / duration if rng.random() < 0.5 else 0.5 - 0.5 * np.cos(np.pi * times_s / duration)
    # What follows is a share of the whole clip's way; short clips get most of it all the same.
    swing = np.zeros(count)
    radius = np.full(count, distance)
    drift = np.zeros((count, 2))
    if kind == "orbit":
        swing = rng.choice((-1, 1)) * np.radians(rng.uniform(12, 85)) * ease
    elif kind == "dolly":
        radius = distance * (1 + rng.choice((-1, 1)) * rng.uniform(0.12, 0.4) * (ease - 0.5))
    elif kind == "truck":
        drift = np.outer(ease - 0.5, [-np.sin(bearing), np.cos(bearing)]) * rng.choice((-1, 1)) * rng.uniform(0.4, 2.0)
    elif kind == "walk":
        swing = np.radians(rng.normal(0, 30)) * ease
        radius = distance * (1 + rng.normal(0, 0.2) * ease)
        drift = np.outer(ease, rng.normal(0, 0.4, 2))
    angle = bearing + swing
    heart = np.tile(center, (count, 1))
    if kind == "follow":
        weight = np.ones(5) / 5
        mean = people.mean(0)
        heart = np.stack([np.convolve(np.pad(mean[:, k], 2, "edge"), weight, "valid") for k in range(2)], 1)
    eye_xy = heart + radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1) + drift
    nearest = np.linalg.norm(people - eye_xy, axis=-1).min()
    if nearest < 1.0:  # step back along the line of sight until nobody is closer than a metre
        push = (1.0 - nearest + 0.3) * np.stack([np.cos(angle), np.sin(angle)], 1)
        eye_xy = eye_xy + push
    handheld = 0.0 if kind == "static" and rng.random() < 0.5 else rng.uniform(0.3, 1.5)
    rise = np.cumsum(np.full(count, rng.normal(0, 0.25) / count))
    eye = np.concatenate([eye_xy, (np.clip(eye_height + rise, 0.7, 2.3))[:, None]], 1)
    eye = eye + shake(rng, times_s, 0.018 * handheld, 3)
    # The people stand off the image's middle by a share of its half width.
    half_width = distance * pinhole.width / 2 / focal
    aside = np.clip(rng.normal(0, 0.3), -0.7, 0.7) * half_width * np.array([-np.sin(bearing), np.cos(bearing)])
    watch = rng.uniform(0.0, 1.0) if kind != "static" else 0.0  # how much the gaze follows the people
    gaze_xy = heart + watch * (people.mean(0) - heart) + np.outer(np.ones(count), aside)
    gaze_z = tall_m * rng.uniform(0.42, 0.64) + rng.normal(0, 0.1) * distance * height_px / 2 / focal
    gaze = np.concatenate([gaze_xy, np.full((count, 1), gaze_z)], 1)
    gaze = gaze + shake(rng, times_s, 0.012 * handheld, 3) * distance
    roll = np.radians(rng.normal(0, 2.0)) + shake(rng, times_s, 0.012 * handheld, 1)[:, 0]
    return look_at(eye, gaze, roll)
