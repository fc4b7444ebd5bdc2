"""Photographs as what is seen behind a scene, infinitely far away; how far off it really is stays unknown (depth 0)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from unish.errors import InputError

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".hdr")
SHARE = 0.6
"""Chance that a clip has a backdrop where there are any."""
_PANORAMA = 1.95
"""Wider images than this many times their height go all round."""


@dataclass(frozen=True)
class Backdrop:
    """A photograph in linear colour (h,w,3), float32, `field` radians wide from the bearing `turn` on; the horizon lies
    at the share `middle` of its height. It is mirrored again and again, or goes `around` once."""

    photo: np.ndarray
    turn: float
    field: float
    middle: float
    around: bool

    def arguments(self) -> tuple[np.ndarray, float, float, float, bool]:
        """What painting.paint_backdrop asks for."""
        return self.photo, self.turn, self.field, self.middle, self.around

    @property
    def tint(self) -> np.ndarray:
        """Colour of its light (3,), with a mean of 1."""
        color = self.photo.mean((0, 1)).astype(np.float64)
        return color / max(float(color.mean()), 1e-6)


@dataclass(frozen=True)
class BackdropLibrary:
    """The images of a folder."""

    files: tuple[Path, ...]

    @staticmethod
    def of(folder: Path) -> BackdropLibrary:
        """All images below a folder (.hdr ones are read as light).

        Raises:
            InputError: there is none.
        """
        files = tuple(sorted(path for path in Path(folder).rglob("*") if path.suffix.lower() in SUFFIXES))
        if not files:
            raise InputError(f"--backdrops should be a folder with images ({', '.join(SUFFIXES)}), got {folder}.")
        return BackdropLibrary(files)

    def draw(self, rng: np.random.Generator, focal_px: float) -> Backdrop:
        """A random photograph at a random bearing, as sharp as an image of that focal length shows it.

        Raises:
            InputError: it cannot be read.
        """
        light = _light(self.files[int(rng.integers(len(self.files)))])
        height, width = light.shape[:2]
        around = width > _PANORAMA * height
        field = 2 * np.pi if around else np.radians(rng.uniform(55, 85)) * min(1.0, max(width / height, 0.7))
        columns = min(width, max(16, round(field * focal_px)))
        size = (columns, max(2, round(height * columns / width)))
        photo = cv2.resize(light, size, interpolation=cv2.INTER_AREA)
        if rng.random() < 0.5:
            photo = photo[:, ::-1]
        brightness = 0.3 * np.exp(rng.normal(0, 0.35)) / max(float(photo.mean()), 1e-4)
        photo = np.ascontiguousarray(np.minimum(photo * np.float32(brightness), 4.0))
        middle = 0.5 if around else rng.uniform(0.5, 0.75)
        return Backdrop(photo, float(rng.uniform(0, 2 * np.pi)), float(field), float(middle), around)


@lru_cache(maxsize=32)
def _light(file: Path) -> np.ndarray:
    """Linear colour (h,w,3) float32 of an image, 1,600 pixels wide at most."""
    stored = cv2.imread(str(file), cv2.IMREAD_ANYDEPTH | cv2.IMREAD_COLOR)
    if stored is None:
        raise InputError(f"{file} should be an image, but it cannot be read. Remove it from --backdrops.")
    if stored.shape[1] > 1600:
        stored = cv2.resize(
            stored, (1600, round(stored.shape[0] * 1600 / stored.shape[1])), interpolation=cv2.INTER_AREA
        )
    rgb = stored[..., ::-1]
    if stored.dtype == np.float32:
        return np.ascontiguousarray(rgb)
    return (rgb.astype(np.float32) / (65535 if stored.dtype == np.uint16 else 255)) ** np.float32(2.2)
