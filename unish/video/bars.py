"""Black bars around the image of a clip: found where they stay the same over the whole clip, and left out."""

import dataclasses

import numpy as np
from jaxtyping import Float, UInt8

from unish.structures import Clip
from unish.utils.disk_arrays import new_array

_MOST_FRAMES = 48
"""Frames that are looked at, evenly chosen."""
_BLACK = 28
"""Bars are no brighter than this, 0..255: black of limited range, with what coding adds."""
_UNEVEN = 6.0
"""And no more uneven than this within a row, as a standard deviation."""
_EDGE = 24
"""Beside a bar, the image is brighter than this in some frame along most of the bar's length."""
_EDGE_SHARE = 0.6
_INSIDE_PX = 3
_LEAST_SHARE, _MOST_SHARE = 0.02, 0.8
"""Both bars together, of the frame's side."""
_BALANCE = 0.15
"""How much two opposite bars may differ, of both together."""


def without_bars(clip: Clip) -> Clip:
    """The clip cut to the image between its bars; it is said in the warnings, and kept as `Clip.content_box`."""
    box = content_box(clip.frames)
    if box is None:
        return clip
    x0, y0, x1, y1 = box
    width, height = clip.frame_size
    shares = (x0 / width, y0 / height, x1 / width, y1 / height)
    frames = new_array((len(clip), y1 - y0, x1 - x0, 3), np.uint8)
    for index, frame in enumerate(clip.frames):
        frames[index] = frame[y0:y1, x0:x1]
    # Who added bars may have cut the image too: what the camera wrote of its lens no longer holds.
    cut = dataclasses.replace(clip, frames=frames, content_box=shares, recorded_focal_mm=None)
    warning = (
        f"Black bars around the image were left out: {cut.content_size[0]}×{cut.content_size[1]} of "
        f"{clip.source_size[0]}×{clip.source_size[1]} pixels were used."
    )
    return dataclasses.replace(cut, warnings=(*clip.warnings, warning))


def content_box(frames: UInt8[np.ndarray, "frames height width 3"]) -> tuple[int, int, int, int] | None:
    """x0, y0, x1, y1 in pixels of the image between bars; None where there are none.

    Bars are black and even in every frame, end at an edge that is bright in some frame, and lie on both sides alike.
    A dark scene has no such edges.
    """
    chosen = np.unique(np.linspace(0, len(frames) - 1, min(len(frames), _MOST_FRAMES)).astype(int))
    brightest = np.zeros(frames.shape[1:3], np.uint8)
    height, width = frames.shape[1:3]
    uneven_rows, uneven_columns = np.zeros(height), np.zeros(width)
    for index in chosen:
        gray = np.asarray(frames[index]).max(axis=-1)
        np.maximum(brightest, gray, out=brightest)
        uneven_rows = np.maximum(uneven_rows, gray.std(axis=1))
        uneven_columns = np.maximum(uneven_columns, gray.std(axis=0))
    top, bottom = _bars(brightest, uneven_rows)
    inside = brightest[top : height - bottom]
    if top:  # rows of bars would make every column dark in part
        uneven_columns = np.max([np.asarray(frames[k])[top:-bottom].max(axis=-1).std(axis=0) for k in chosen], axis=0)
    left, right = _bars(inside.T, uneven_columns)
    if not (top or left):
        return None
    return left, top, frames.shape[2] - right, frames.shape[1] - bottom


def _bars(brightest: UInt8[np.ndarray, "lines length"], uneven: Float[np.ndarray, "lines"]) -> tuple[int, int]:
    """How many lines the bars at both ends take; (0, 0) where there are none."""
    dark = (np.percentile(brightest, 98, axis=1) <= _BLACK) & (uneven <= _UNEVEN)
    if dark.all():
        return 0, 0
    first, last = int((~dark).argmax()), int((~dark[::-1]).argmax())
    both, lines = first + last, len(brightest)
    edges = (
        brightest[first : first + _INSIDE_PX].max(axis=0),
        brightest[lines - last - _INSIDE_PX : lines - last].max(axis=0),
    )
    if (
        min(first, last) == 0
        or not _LEAST_SHARE * lines <= both <= _MOST_SHARE * lines
        or abs(first - last) > max(2, _BALANCE * both)
        or any((edge > _BLACK + _EDGE).mean() < _EDGE_SHARE for edge in edges)
    ):
        return 0, 0
    return first + _seam(brightest[first:]), last + _seam(brightest[: lines - last][::-1])


def _seam(brightest: UInt8[np.ndarray, "lines length"]) -> int:
    """Of the lines beside a bar, how many are still black along most of their length: coding lets the image's edge ring
    into the bar, which is then no longer even."""
    return int((np.median(brightest[:_INSIDE_PX], axis=1) > _BLACK).argmax())
