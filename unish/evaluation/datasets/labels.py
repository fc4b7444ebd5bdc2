"""Arrays of a label file, checked as they are read: a wrong shape is one sentence, not a crash later on."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int

from unish.evaluation.datasets.download import Download
from unish.geometry.transforms import invert_rigid
from unish.utils.safe_pickle import read_pickle


@dataclass(frozen=True)
class LabelFile:
    """A label file and its dictionary."""

    path: Path
    content: dict[str, Any]
    download: Download

    def value(self, *keys: str | int) -> Any:
        """The value under nested keys. Raises InputError when one is missing."""
        value: Any = self.content
        for key in keys:
            try:
                value = value[key]
            except (KeyError, IndexError, TypeError) as error:
                name = "/".join(map(str, keys))
                raise self.download.broken(f"{self.path} has no entry {name} as its labels should") from error
        return value

    def array(
        self, *keys: str | int, shape: tuple[int | None, ...], rows: Int[np.ndarray, "rows"] | None = None
    ) -> Float[np.ndarray, "..."]:
        """Numbers of a shape (None: any size) as float64; only the given rows of them.

        Raises InputError for another shape, or when one of these numbers is not finite.
        """
        value, name = self.value(*keys), "/".join(map(str, keys))
        try:
            numbers = np.asarray(value, np.float64)
        except (TypeError, ValueError):
            numbers = np.full(0, np.nan)
        fits = numbers.ndim == len(shape) and all(b in (None, a) for a, b in zip(numbers.shape, shape, strict=True))
        if fits and rows is not None:
            numbers = numbers[rows]
        if not (fits and np.isfinite(numbers).all()):
            expected = "×".join("any" if size is None else str(size) for size in shape)
            got = f"shape {np.shape(value)}" if not fits else "numbers that are not finite"
            raise self.download.broken(f"{self.path} should hold {expected} numbers as {name}, but has {got}")
        return numbers


def read_labels(path: Path, download: Download) -> LabelFile:
    """The labels of a pickle. Raises MissingAssetError, or InputError when it is damaged or would run code."""
    return LabelFile(path, read_pickle(download.file(path), f"a label file of {download.title}"), download)


def inverted(camera_from_world: Float[np.ndarray, "frames 4 4"]) -> Float[np.ndarray, "frames 4 4"]:
    """World-from-camera matrices, from the camera-from-world ones that most datasets store."""
    return invert_rigid(torch.from_numpy(camera_from_world)).numpy()


def corner_origin(intrinsics: Float[np.ndarray, "*frames 3 3"]) -> Float[np.ndarray, "*frames 3 3"]:
    """Intrinsics for pixel centres at (j + ½, i + ½), from OpenCV's for centres at (j, i)."""
    moved = intrinsics.copy()
    moved[..., :2, 2] += 0.5
    return moved
