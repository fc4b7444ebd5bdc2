"""Images and depth maps of a dataset. A file that cannot be decoded in full is an error, not a grey image."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image

from unish.evaluation.datasets.download import Download

_UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)


def image_size_px(path: Path, download: Download) -> tuple[int, int]:
    """(width, height), from the file's header alone. Raises MissingAssetError or InputError."""
    download.file(path)
    try:
        with Image.open(path) as image:
            return image.size
    except _UNREADABLE as error:
        raise download.broken(f"{path} cannot be read as an image ({error})") from error


def rgb_images(
    paths: Sequence[Path], size_px: tuple[int, int], download: Download
) -> Callable[[int], UInt8[np.ndarray, "height width 3"]]:
    """Reads the image at a frame, as stored: labels ignore an orientation tag in the file."""

    def image(frame: int) -> UInt8[np.ndarray, "height width 3"]:
        return _decode(paths[frame], size_px, download, "RGB")

    return image


def png_depths(
    paths: Sequence[Path | None], size_px: tuple[int, int], download: Download, units_per_m: float
) -> Callable[[int], Float32[np.ndarray, "height width"]]:
    """Reads the 16-bit depth map at a frame, metres, 0 where unknown; a frame without a file is unknown everywhere."""

    def depth_m(frame: int) -> Float32[np.ndarray, "height width"]:
        path = paths[frame]
        if path is None:
            return np.zeros(size_px[::-1], np.float32)
        return (_decode(path, size_px, download, None) / units_per_m).astype(np.float32)

    return depth_m


def _decode(path: Path, size_px: tuple[int, int], download: Download, mode: str | None) -> np.ndarray:
    """Pixels of an image, converted to a mode of PIL, or of a 16-bit map where there is none."""
    download.file(path)
    try:
        with Image.open(path) as image:
            kind = image.mode
            values = np.asarray(image if mode is None else image.convert(mode))
    except _UNREADABLE as error:
        raise download.broken(f"{path} cannot be read as an image ({error})") from error
    if mode is None and not kind.startswith("I"):
        raise download.broken(f"{path} should be a 16-bit depth map, but is an image of kind {kind}")
    if values.shape[1::-1] != size_px:
        raise download.broken(
            f"{path} is {values.shape[1]}×{values.shape[0]} pixels where its sequence has {size_px[0]}×{size_px[1]}"
        )
    return values
