"""The clip's frames as WebP images: what the page draws on the surfaces and in the camera."""

import io
import logging
import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from unish.errors import InputError
from unish.geometry.camera import image_fit
from unish.structures import FrameSequence, Reconstruction
from unish.video.source_frames import SourceFrames

log = logging.getLogger("unish")

WIDTHS_PX = (768, 640, 512, 384, 256, 160, 96)
MAX_TOTAL_BYTES = 10 * 2**20
MAX_FRAME_BYTES = 60_000
QUALITY = 65
METHOD = 1
"""WebP's: more is smaller and slower. By a few per cent here, for twice the time."""
MAX_THREADS = 4
PROBES = 3


def image_arrays(
    reconstruction: Reconstruction, source: FrameSequence | Path | None = None
) -> tuple[dict[str, np.ndarray], list[str]]:
    """`images`, WebP files one after another (bytes), and `images_start`, where each begins and the last one ends;
    and notes for the viewer.

    Taken from `source`, the clip that the result was made from, where it is given; from the images that the network
    saw where it is not, or cannot be read (which is noted). As wide as fits `MAX_TOTAL_BYTES`; none at all (every
    start 0) where not even the smallest fit.
    """
    if source is not None:
        try:
            if isinstance(source, Path):
                times_s, fps = reconstruction.times_s, reconstruction.fps
                source = SourceFrames.open(source, times_s, fps, reconstruction.provenance.source_fps)
            return _encoded(reconstruction, source), []
        except InputError as error:
            note = f"The viewer shows the small images that the network saw, because the clip cannot be read: {error}"
            log.warning(note)
            return _encoded(reconstruction, None), [note]
    return _encoded(reconstruction, None), []


def _encoded(reconstruction: Reconstruction, source: FrameSequence | None) -> dict[str, np.ndarray]:
    count = len(reconstruction.images)
    probes = np.unique(np.linspace(0, count - 1, PROBES).round().astype(int)).tolist()
    limit = min(MAX_FRAME_BYTES, MAX_TOTAL_BYTES / count)
    shown = list(_shown(reconstruction, source, probes))
    for width in WIDTHS_PX:
        if sum(len(_encode(image, width)) for image in shown) <= limit * len(shown):
            break
    else:
        return {"images": np.zeros(0, np.uint8), "images_start": np.zeros(count + 1, np.uint32)}
    encoded = list(_all_encoded(_shown(reconstruction, source, range(count)), width))
    start = np.cumsum([0, *map(len, encoded)]).astype(np.uint32)
    return {"images": np.frombuffer(b"".join(encoded), np.uint8), "images_start": start}


def _all_encoded(images: Iterable[UInt8[np.ndarray, "height width 3"]], width: int) -> Iterator[bytes]:
    """Images are read while others are compressed, and only a few are held at a time."""
    workers = min(MAX_THREADS, os.cpu_count() or 1)
    waiting: deque[Future[bytes]] = deque()
    with ThreadPoolExecutor(workers) as threads:
        for image in images:
            waiting.append(threads.submit(_encode, image, width))
            if len(waiting) > 2 * workers:
                yield waiting.popleft().result()
        for last in waiting:
            yield last.result()


def _shown(
    reconstruction: Reconstruction, source: FrameSequence | None, frames: Iterable[int]
) -> Iterator[UInt8[np.ndarray, "height width 3"]]:
    """What the network saw of these rising frames, at the best resolution there is."""
    if source is None:
        for frame in frames:
            yield np.asarray(reconstruction.images[frame])
        return
    size = (reconstruction.cameras.width_px, reconstruction.cameras.height_px)
    x0, y0, x1, y1 = _content(reconstruction, source)
    scale, cut = image_fit(size, (x1 - x0, y1 - y0))
    left, top = np.round(cut / scale).astype(int) + np.array([x0, y0])
    width, height = np.round(np.array(size) / scale).astype(int)
    apart = np.abs(source.times_s[None] - reconstruction.times_s[:, None])
    nearest = apart.argmin(1)
    if apart.min(1).max() > 0.5 / reconstruction.fps + 1e-3:
        raise InputError("Expected the clip that the result was made from, got one without frames at its times.")
    for image in source.read([int(nearest[frame]) for frame in frames]):
        yield image[top : top + height, left : left + width]


def _content(reconstruction: Reconstruction, source: FrameSequence) -> tuple[int, int, int, int]:
    """x0, y0, x1, y1 of the source's image between black bars, pixels."""
    width, height = source.frame_size
    box = () if getattr(source, "content_box", None) is not None else reconstruction.provenance.content_box
    x0, y0, x1, y1 = box or (0.0, 0.0, 1.0, 1.0)
    return round(x0 * width), round(y0 * height), round(x1 * width), round(y1 * height)


def _encode(image: UInt8[np.ndarray, "height width 3"], width: int) -> bytes:
    picture = Image.fromarray(np.ascontiguousarray(image))
    if picture.width > width:
        size = (width, max(1, round(picture.height * width / picture.width)))
        picture = picture.resize(size, Image.Resampling.BOX)
    file = io.BytesIO()
    picture.save(file, "WEBP", quality=QUALITY, method=METHOD)
    return file.getvalue()
