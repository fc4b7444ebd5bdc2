"""Images and depth maps of a dataset. A file that cannot be decoded in full is an error, not a grey image."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from unish.errors import InputError
from unish.evaluation.benchmark import BenchmarkSequence
from unish.evaluation.datasets.download import Download
from unish.video.images import image_size, opened_image, read_image


def image_size_px(path: Path, download: Download) -> tuple[int, int]:
    """(width, height), from the file's header alone. Raises MissingAssetError or InputError."""
    download.file(path)
    try:
        return image_size(path, upright=False)
    except InputError as error:
        raise download.broken(f"{path} cannot be read as an image") from error


def rgb_sequence(
    name: str, images: Sequence[Path], fps: float, size_px: tuple[int, int], download: Download, **labels: Any
) -> BenchmarkSequence:
    """A sequence whose frames are image files; `labels` are the other fields of `BenchmarkSequence`."""
    image = rgb_images(images, size_px, download)
    return BenchmarkSequence(name=name, frames=len(images), fps=fps, size_px=size_px, image=image, **labels)


def rgb_images(
    paths: Sequence[Path], size_px: tuple[int, int], download: Download
) -> Callable[[int], UInt8[np.ndarray, "height width 3"]]:
    """Reads the image at a frame, as stored: labels ignore an orientation tag in the file."""

    def image(frame: int) -> UInt8[np.ndarray, "height width 3"]:
        path = download.file(paths[frame])
        try:
            rgb = read_image(path, upright=False)
        except InputError as error:
            raise download.broken(f"{path} cannot be read as an image") from error
        return _of_size(rgb, path, size_px, download)

    return image


def png_depths(
    paths: Sequence[Path | None], size_px: tuple[int, int], download: Download, units_per_m: float
) -> Callable[[int], Float32[np.ndarray, "height width"]]:
    """Reads the 16-bit depth map at a frame, metres, 0 where unknown; a frame without a file is unknown everywhere."""

    def depth_m(frame: int) -> Float32[np.ndarray, "height width"]:
        path = paths[frame]
        if path is None:
            return np.zeros(size_px[::-1], np.float32)
        return (_read_map(path, size_px, download) / units_per_m).astype(np.float32)

    return depth_m


def _read_map(path: Path, size_px: tuple[int, int], download: Download) -> np.ndarray:
    """Values of a 16-bit image."""
    download.file(path)
    try:
        with opened_image(path) as image:
            kind, values = image.mode, np.asarray(image)
    except InputError as error:
        raise download.broken(f"{path} cannot be read as an image") from error
    if not kind.startswith("I"):
        raise download.broken(f"{path} should be a 16-bit depth map, but is an image of kind {kind}")
    return _of_size(values, path, size_px, download)


def _of_size(values: np.ndarray, path: Path, size_px: tuple[int, int], download: Download) -> np.ndarray:
    if values.shape[1::-1] != size_px:
        raise download.broken(
            f"{path} is {values.shape[1]}×{values.shape[0]} pixels where its sequence has {size_px[0]}×{size_px[1]}"
        )
    return values
