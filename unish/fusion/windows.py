"""Overlapping windows of frames, what is kept of the pass over each, and how much each says of a frame."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, Int

from unish.errors import InputError
from unish.geometry.camera import half_diagonal_grid

GRID = 24
"""A pass keeps GRID × GRID of each frame's points: for joining, for the lens and for the ground."""


@dataclass(frozen=True)
class WindowPrediction:
    """What is kept of one forward pass for joining it to others. Network units; its world is its first camera.

    A window's frames are consecutive; a bridge's come from two visits to one place.
    """

    frames: Int[np.ndarray, "frames"]
    """Which frames of the clip it saw, in order."""
    world_from_camera: Float[np.ndarray, "frames 4 4"]
    points_camera: Float32[np.ndarray, "frames samples 3"]
    confidence: Float32[np.ndarray, "frames samples"]
    still: Bool[np.ndarray, "frames samples"]
    """Samples that show no person."""
    votes: tuple[tuple[int, float, float], ...] = ()
    """(person id, metres per unit as this person says it, how much that counts)."""


def split_frames(count: int, size: int, overlap: int) -> tuple[range, ...]:
    """Windows of equal length, at most `size`, that cover `count` frames; neighbours share `overlap` frames or more.

    As few windows as possible, and as short as that allows. Raises `InputError` unless 0 < overlap ≤ size / 2.
    """
    if not 0 < 2 * overlap <= size:
        raise InputError(
            f"Windows of {size} frames cannot share {overlap} frames with their neighbours; "
            "take windows at least twice as long as what they share."
        )
    if count <= size:
        return (range(count),)
    number = -(-(count - overlap) // (size - overlap))
    length = -(-(count + (number - 1) * overlap) // number)
    starts = [round(k * (count - length) / (number - 1)) for k in range(number)]
    return tuple(range(start, start + length) for start in starts)


def blend_shares(windows: tuple[range, ...]) -> tuple[Float[np.ndarray, "_"], ...]:
    """How much each window says of each of its frames: shares of a frame add up to 1 and change evenly in overlaps."""
    tents = [np.minimum(np.arange(len(w)) + 1.0, np.arange(len(w), 0, -1.0)) for w in windows]
    total = np.zeros(max(w.stop for w in windows))
    for window, tent in zip(windows, tents, strict=True):
        total[window.start : window.stop] += tent
    return tuple(tent / total[w.start : w.stop] for w, tent in zip(windows, tents, strict=True))


def sample_pixels(height: int, width: int) -> tuple[Int[np.ndarray, "samples"], Int[np.ndarray, "samples"]]:
    """(rows, columns) of the pixels that a pass keeps, evenly over the frame."""
    rows, columns = ((np.arange(GRID) + 0.5) * side / GRID for side in (height, width))
    grid = np.meshgrid(rows.astype(int), columns.astype(int), indexing="ij")
    return grid[0].ravel(), grid[1].ravel()


def sample_uv(height: int, width: int) -> Float[np.ndarray, "samples 2"]:
    """Where those pixels lie, in half diagonals from the middle of the frame."""
    return half_diagonal_grid(height, width)[sample_pixels(height, width)]
