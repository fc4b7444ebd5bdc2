"""Still images as sources of frames: one image, a folder of them, or an animation (GIF, APNG, WebP)."""

import contextlib
import importlib
import math
import re
import struct
import warnings as python_warnings
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float64, UInt8
from PIL import ExifTags, Image, ImageOps

from unish.errors import InputError, MissingAssetError
from unish.utils.names import text_name
from unish.video.containers import MOST_PIXELS, open_file, reason, shown_path
from unish.video.pixels import SourceFrame, limited_size
from unish.video.suffixes import IMAGE_SUFFIXES, has_suffix

_IMAGE_HEADS = (b"\xff\xd8\xff", b"\x89PNG\r\n", b"GIF8", b"BM", b"II*\0", b"MM\0*")
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"mif1")
_IMAGE_BRANDS = (*_HEIF_BRANDS, b"avif", b"avis")
_READ_BY_OPENCV = ("JPEG", "MPO", "PNG", "BMP", "WEBP", "TIFF")
_ANIMATED, _TIMED_BY_DECODING = ("GIF", "PNG", "WEBP", "AVIF"), ("WEBP", "AVIF")
_MOST_ANIMATED_PIXELS = 2**33
_IMAGE_ERRORS = (OSError, ValueError, SyntaxError, ArithmeticError, LookupError, TypeError, RuntimeError, MemoryError)
_IMAGE_ERRORS += (cv2.error, Image.DecompressionBombError, EOFError, struct.error, zlib.error, AttributeError)
ASSUMED_FPS = 30.0
_LEAST_SHOWN_S, _USUAL_SHOWN_S = 0.011, 0.1
"""Browsers show frames of an animation that state 10 ms or less for a tenth of a second."""


@dataclass(frozen=True)
class _TimedFrames:
    """What sources of images hold (see `source.Source`)."""

    path: Path
    times_s: Float64[np.ndarray, "frames"]
    step_s: float
    size: tuple[int, int]
    warnings: tuple[str, ...] = ()
    length_s: float = math.inf


@dataclass(frozen=True)
class ImagesSource(_TimedFrames):
    """A folder of images, or a single one: each is a frame."""

    images: tuple[Path, ...] = ()

    @staticmethod
    def open(path: Path, fps: float | None = None) -> "ImagesSource":
        """The images of a folder in natural order, taken at `fps`, or when their EXIF data say, else at 30.

        Raises `InputError` when there is none.
        """
        images = tuple(images_in_order(path)) if path.is_dir() else (path,)
        if not images:
            raise InputError(
                f"Expected images ({', '.join(IMAGE_SUFFIXES)}) in the folder {shown_path(path)}, found none; "
                "point to a video or to the folder that holds the frames."
            )
        size = image_size(images[0])
        taken_s = None if fps is not None or len(images) == 1 else _exif_times(images)
        if taken_s is not None:
            return ImagesSource(path, taken_s, float(np.median(np.diff(taken_s))), size, images=images)
        warnings = ()
        if fps is None and len(images) > 1:
            warnings = (
                f"The images do not say when they were taken: {ASSUMED_FPS:.0f} frames per second were assumed; "
                "--source-fps sets the rate.",
            )
        rate = fps or ASSUMED_FPS
        return ImagesSource(path, np.arange(len(images)) / rate, 1 / rate, size, warnings, images=images)

    def frames(self, numbers: Sequence[int], max_long_side_px: int, faults: list[str]) -> Iterator[SourceFrame]:
        """The images of these rising numbers, their long side at most `max_long_side_px`.

        Raises `InputError` for one that cannot be read.
        """
        for number in numbers:
            rgb = read_image(self.images[number])
            size = (rgb.shape[1], rgb.shape[0])
            if size != self.size:
                raise InputError(
                    f"Expected images of one size, {self.size[0]}×{self.size[1]} as the first, but "
                    f"{text_name(self.images[number])} is {size[0]}×{size[1]}; keep only the frames of one "
                    "clip in the folder."
                )
            yield SourceFrame(number, float(self.times_s[number]), _reduced(rgb, max_long_side_px), size)


@dataclass(frozen=True)
class AnimationSource(_TimedFrames):
    """An animated image: a clip whose frames state how long each is shown."""

    @staticmethod
    def open(path: Path, fps: float | None = None) -> "AnimationSource":
        """Raises `InputError` when it cannot be read as an image; `fps` replaces the times that it states."""
        shown_s = [seconds for _, seconds in _animation(path, decode=False)]
        times_s = np.concatenate([[0.0], np.cumsum(shown_s[:-1])]) if fps is None else np.arange(len(shown_s)) / fps
        return AnimationSource(path, times_s, float(np.median(shown_s)) if fps is None else 1 / fps, image_size(path))

    def frames(self, numbers: Sequence[int], max_long_side_px: int, faults: list[str]) -> Iterator[SourceFrame]:
        """The frames of these rising numbers, their long side at most `max_long_side_px`."""
        wanted = set(numbers)
        for number, (rgb, _) in enumerate(_animation(self.path)):
            if rgb is not None and number in wanted:
                yield SourceFrame(number, float(self.times_s[number]), _reduced(rgb, max_long_side_px), self.size)
            if number >= max(wanted, default=-1):
                return


def images_in_order(folder: Path, suffixes: Iterable[str] = IMAGE_SUFFIXES) -> list[Path]:
    """The image files of a folder in natural order (frame_2 before frame_10), hidden files and folders left out.

    Raises `InputError` for a folder that cannot be listed.
    """

    def natural(path: Path) -> list[tuple[int, int | str]]:
        parts = re.split(r"(\d+)", path.name.lower())
        return [(0, int(part)) if part.isascii() and part.isdigit() else (1, part) for part in parts]

    wanted = tuple(suffixes)
    try:
        files = [path for path in folder.iterdir() if has_suffix(path, wanted)]
        return sorted((path for path in files if not path.is_dir()), key=natural)
    except OSError as error:
        raise InputError(f"The folder {shown_path(folder)} cannot be listed ({reason(error)}).") from error


def read_image(path: Path, upright: bool = True) -> UInt8[np.ndarray, "height width 3"]:
    """An image file as RGB; of an animation its first frame.

    Upright, as cameras mean it; or else as stored, as labels of datasets mean it, and whole: one that breaks off is an
    error then, not a frame whose rest is grey.

    Raises `InputError` when it is none, or larger than is read; `MissingAssetError` for HEIC where the library that
    reads it is not installed.
    """
    with opened_image(path) as image:
        if not upright:
            return np.array(image.convert("RGB"))
        if image.format not in _READ_BY_OPENCV:
            return _upright(image)
    with open_file(path) as file:
        bgr = cv2.imdecode(np.frombuffer(file.read(), np.uint8), cv2.IMREAD_COLOR)  # upright, 16 bits become 8
    if bgr is None:
        raise unreadable(path)
    return np.ascontiguousarray(bgr[..., ::-1])


def is_animation(path: Path) -> bool:
    """Whether an image file holds frames that are shown one after the other."""
    with opened_image(path) as image:
        return image.format in _ANIMATED and getattr(image, "n_frames", 1) > 1


def holds_image(path: Path) -> bool:
    """Whether a file begins as images do, whatever its name says."""
    with open_file(path) as file:
        head = file.read(16)
    brand = head[8:12] if head[4:8] == b"ftyp" else b""
    return head.startswith(_IMAGE_HEADS) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP") or brand in _IMAGE_BRANDS


@contextlib.contextmanager
def opened_image(path: Path) -> Iterator[Image.Image]:
    """An image file, its pixels not read yet; what reading them in the block raises becomes an `InputError`."""
    with open_file(path) as file:
        head = file.read(12)
        if head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS:
            _register_heif(path)
        file.seek(0)
        try:
            with python_warnings.catch_warnings():
                python_warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # sizes are checked below
                with Image.open(file) as image:
                    if image.width * image.height > MOST_PIXELS:
                        raise _too_large(path, f"{image.width}×{image.height}")
                    yield image
        except Image.DecompressionBombError as error:
            raise _too_large(path, "far more") from error
        except _IMAGE_ERRORS as error:
            raise unreadable(path) from error


def _register_heif(path: Path) -> None:
    for name in ("pi_heif", "pillow_heif"):
        with contextlib.suppress(ImportError):
            importlib.import_module(name).register_heif_opener()
            return
    raise MissingAssetError(
        f"{shown_path(path)} is a HEIC image, and the library that reads those is not installed: "
        "pip install 'unish[heic]', or save it as JPEG."
    )


def image_size(path: Path, upright: bool = True) -> tuple[int, int]:
    """(width, height) of an image file, from its head alone. Raises `InputError` as `read_image` does."""
    with opened_image(path) as image:
        turned = upright and image.getexif().get(ExifTags.Base.Orientation, 1) >= 5
        return (image.height, image.width) if turned else image.size


def _upright(image: Image.Image) -> UInt8[np.ndarray, "height width 3"]:
    return np.array(ImageOps.exif_transpose(image).convert("RGB"))


def _animation(path: Path, decode: bool = True) -> Iterator[tuple[np.ndarray | None, float]]:
    """Frames of an animation and how long each is shown."""
    with opened_image(path) as image:
        frames = getattr(image, "n_frames", 1)
        if frames * image.width * image.height > _MOST_ANIMATED_PIXELS:
            raise _too_large(path, f"{frames} frames of {image.width}×{image.height}")
        for number in range(1 if getattr(image, "default_image", False) else 0, frames):
            image.seek(number)
            if image.format in _TIMED_BY_DECODING:
                image.load()
            shown_s = float(image.info.get("duration") or 0) / 1000
            shown_s = shown_s if math.isfinite(shown_s) and shown_s >= _LEAST_SHOWN_S else _USUAL_SHOWN_S
            yield _upright(image) if decode else None, shown_s


def _exif_times(images: Sequence[Path]) -> Float64[np.ndarray, "frames"] | None:
    """When images were taken, since the first; None where not all say it, or not so finely that each has its own."""
    moments = []
    for path in images:
        with opened_image(path) as image:
            exif = image.getexif().get_ifd(ExifTags.IFD.Exif)
        text = exif.get(ExifTags.Base.DateTimeOriginal)
        fraction = str(exif.get(ExifTags.Base.SubsecTimeOriginal, "")).strip()
        try:
            seconds = datetime.strptime(str(text), "%Y:%m:%d %H:%M:%S").timestamp()
            moments.append(seconds + (float(f"0.{fraction}") if fraction else 0.0))
        except (ValueError, OverflowError, OSError):
            return None
    times_s = np.array(moments) - moments[0]
    return times_s if (np.diff(times_s) > 1e-4).all() else None


def _reduced(rgb: UInt8[np.ndarray, "h w 3"], max_long_side_px: int) -> UInt8[np.ndarray, "height width 3"]:
    size = limited_size((rgb.shape[1], rgb.shape[0]), max_long_side_px)
    return rgb if size == (rgb.shape[1], rgb.shape[0]) else cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)


def unreadable(path: Path) -> InputError:
    """What is to be said of a file that is no image."""
    return InputError(f"Expected an image, but {shown_path(path)} cannot be read as one; remove it or save it again.")


def _too_large(path: Path, size: str) -> InputError:
    return InputError(
        f"{shown_path(path)} has {size} pixels; {MOST_PIXELS / 1e6:.0f} million is the most that is read of an image. "
        "Save it smaller."
    )
