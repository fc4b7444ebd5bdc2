"""The clip's frames as small JPEGs, which the page shows on the camera's image plane."""

import io
from collections.abc import Iterable

import numpy as np
from jaxtyping import UInt8
from PIL import Image

WIDTHS_PX = (192, 128, 96, 64)
MAX_PICTURE_BYTES = 3 * 2**20
"""All images of a clip together."""
QUALITY = 72


def picture_arrays(images: UInt8[np.ndarray, "frames height width 3"]) -> dict[str, np.ndarray]:
    """`pictures`, JPEGs one after another (bytes), and `pictures_start`, where each begins and the last one ends.

    As wide as fits `MAX_PICTURE_BYTES`; none at all (every start 0) when not even the smallest do.
    """
    for width in WIDTHS_PX:
        pictures = _within(_jpegs(images, width), MAX_PICTURE_BYTES)
        if pictures is not None:
            break
    else:
        pictures = [b""] * len(images)
    start = np.cumsum([0, *map(len, pictures)]).astype(np.uint32)
    return {"pictures": np.frombuffer(b"".join(pictures), np.uint8), "pictures_start": start}


def _jpegs(images: np.ndarray, width: int) -> Iterable[bytes]:
    for image in images:
        picture = Image.fromarray(np.asarray(image))
        width = min(width, picture.width)
        size = (width, max(1, round(picture.height * width / picture.width)))
        file = io.BytesIO()
        picture.resize(size, Image.Resampling.BOX).save(file, "JPEG", quality=QUALITY, optimize=True)
        yield file.getvalue()


def _within(pictures: Iterable[bytes], limit: int) -> list[bytes] | None:
    """The images, or None as soon as they are too large together."""
    kept, total = [], 0
    for picture in pictures:
        kept.append(picture)
        total += len(picture)
        if total > limit:
            return None
    return kept
