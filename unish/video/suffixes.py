"""Which files are taken for clips, by the ends of their names: one list for reader, batch, training and page."""

import os
from pathlib import PurePath

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".avif", ".heic", ".heif")
"""Single images, animations, and frames of a folder of images."""
VIDEO_SUFFIXES = (
    ".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".m2v", ".ts", ".mts", ".m2ts", ".wmv", ".flv",
    ".asf", ".vob", ".3gp", ".3g2", ".ogv", ".gif", ".heic", ".heif",
)  # fmt: skip
"""Files that are a clip each wherever they lie."""


def has_suffix(path: str | os.PathLike[str], suffixes: tuple[str, ...]) -> bool:
    """Whether a file's name ends in one of them, in any case; names of hidden files end in none."""
    name = PurePath(path).name
    return not name.startswith(".") and name.lower().endswith(suffixes)
