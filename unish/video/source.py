"""What frames can be read from: a video, a folder of images, an image or an animation, all in one way."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from unish.errors import InputError
from unish.video.containers import reason, shown_path
from unish.video.decode import VideoSource
from unish.video.images import AnimationSource, ImagesSource, holds_image, is_animation
from unish.video.pixels import SourceFrame
from unish.video.suffixes import IMAGE_SUFFIXES, has_suffix

MOST_FPS = 1000.0


@runtime_checkable
class Source(Protocol):
    """Frames on disk, numbered from 0 in the order in which they are shown."""

    @property
    def path(self) -> Path: ...

    @property
    def times_s(self) -> np.ndarray:
        """Of every frame, since the first, strictly rising."""
        ...

    @property
    def step_s(self) -> float:
        """The usual time between two frames."""
        ...

    @property
    def length_s(self) -> float:
        """As the file states it; infinity where it states none."""
        ...

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) as stated, at square pixels."""
        ...

    @property
    def warnings(self) -> tuple[str, ...]: ...

    def frames(self, numbers: Sequence[int], max_long_side_px: int, faults: list[str]) -> Iterator[SourceFrame]:
        """The frames of these rising numbers. What could not be decoded is added to `faults`."""
        ...


def open_source(path: str | Path, source_fps: float | None = None, until_s: float = math.inf) -> Source:
    """Open whatever is at `path`. Nothing but that file, or the images of that folder, is ever opened.

    `source_fps`: the rate of the source's frames, in place of what the source says. Of a video, frames shown later
    than `until_s` may be left out. Raises `InputError` when there is nothing usable.
    """
    path = Path(path)
    if source_fps is not None:
        check_rate(source_fps)
    try:
        if not path.exists():
            raise InputError(
                f"Expected a video, an image or a folder of images at {shown_path(path)}, found nothing; check the "
                "path."
            )
        folder = path.is_dir()
        if not folder and path.is_file() and path.stat().st_size == 0:
            raise InputError(
                f"Expected a video or an image, but {shown_path(path)} is empty (0 bytes); copy or record it again."
            )
    except (OSError, ValueError) as error:
        raise InputError(f"{shown_path(path)} cannot be opened ({reason(error)}); check the path.") from error
    if folder:
        return ImagesSource.open(path, source_fps)
    if holds_image(path) or has_suffix(path, IMAGE_SUFFIXES):
        return AnimationSource.open(path, source_fps) if is_animation(path) else ImagesSource.open(path, source_fps)
    return VideoSource.open(path, until_s, source_fps)


def check_rate(fps: float) -> None:
    """Raises `InputError` for a number that is no frame rate."""
    if not (math.isfinite(fps) and 0 < fps <= MOST_FPS):
        raise InputError(
            f"The frame rate must be a number above 0 and at most {MOST_FPS:.0f}, got {fps:g}; 6 is what unish expects."
        )
