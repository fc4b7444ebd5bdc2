"""Arrays of a label file, checked as they are read: a wrong shape is one sentence, not a crash later on."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int

from unish.errors import InputError
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
            except (KeyError, IndexError, TypeError, ValueError) as error:
                raise self.download.broken(f"{self.path} has no entry {_joined(keys)} as its labels should") from error
        return value

    def text(self, *keys: str | int) -> str:
        """A word under nested keys. Raises InputError when it is missing or no word."""
        value = self.value(*keys)
        if not isinstance(value, str):
            raise self._expected("a word", keys, type(value).__name__)
        return value

    def flag(self, *keys: str | int) -> bool:
        """Yes or no under nested keys. Raises InputError when it is missing or anything else."""
        value = self.value(*keys)
        if not isinstance(value, bool | np.bool_ | int | np.integer):
            raise self._expected("yes or no", keys, type(value).__name__)
        return bool(value)

    def count(self, *keys: str | int) -> int:
        """How many entries a list under nested keys has. Raises InputError when it is missing or no list."""
        value = self.value(*keys)
        if isinstance(value, np.ndarray) and value.ndim:
            return len(value)
        if not isinstance(value, list | tuple):
            raise self._expected("a list", keys, type(value).__name__)
        return len(value)

    def _expected(self, kind: str, keys: tuple[str | int, ...], got: str) -> InputError:
        return self.download.broken(f"{self.path} should hold {kind} as {_joined(keys)}, but has {got}")

    def array(
        self, *keys: str | int, shape: tuple[int | None, ...], rows: Int[np.ndarray, "rows"] | None = None
    ) -> Float[np.ndarray, "..."]:
        """Numbers of a shape (None: any size) as float64; only the given rows of them.

        Raises InputError for another shape, or when one of these numbers is not finite.
        """
        value = self.value(*keys)
        try:
            if np.iscomplexobj(value):
                raise TypeError
            numbers = np.asarray(value, np.float64)
        except (TypeError, ValueError, OverflowError, RecursionError):
            expected = "×".join("any" if size is None else str(size) for size in shape) or "one"
            raise self._expected(f"{expected} numbers", keys, f"{type(value).__name__} of other things") from None
        fits = numbers.ndim == len(shape) and all(b in (None, a) for a, b in zip(numbers.shape, shape, strict=True))
        if fits and rows is not None:
            numbers = numbers[rows]
        if not (fits and np.isfinite(numbers).all()):
            expected = "×".join("any" if size is None else str(size) for size in shape) or "one"
            got = f"shape {numbers.shape}" if not fits else "numbers that are not finite"
            raise self._expected(f"{expected} numbers", keys, got)
        return numbers


def read_labels(path: Path, download: Download) -> LabelFile:
    """The labels of a pickle. Raises MissingAssetError, or InputError when it is damaged or would run code."""
    return LabelFile(path, read_pickle(download.file(path), f"a label file of {download.title}"), download)


def _joined(keys: tuple[str | int, ...]) -> str:
    return "/".join(map(str, keys))


def inverted(camera_from_world: Float[np.ndarray, "frames 4 4"]) -> Float[np.ndarray, "frames 4 4"]:
    """World-from-camera matrices, from the camera-from-world ones that most datasets store."""
    return invert_rigid(torch.from_numpy(camera_from_world)).numpy()


def corner_origin(intrinsics: Float[np.ndarray, "*frames 3 3"]) -> Float[np.ndarray, "*frames 3 3"]:
    """Intrinsics for pixel centres at (j + ½, i + ½), from OpenCV's for centres at (j, i)."""
    moved = intrinsics.copy()
    moved[..., :2, 2] += 0.5
    return moved
