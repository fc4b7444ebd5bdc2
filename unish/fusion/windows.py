"""Overlapping windows of frames, what is kept of the forward pass over each, and their blend weights."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, Int

from unish.errors import InputError
from unish.geometry.camera import half_diagonal_grid

GRID = 24
"""GRID × GRID of each frame's points are kept: for alignment, intrinsics and the ground."""


@dataclass(frozen=True)
class WindowPrediction:
    """What is kept of one forward pass to align it with others. Network units; its world is its first camera.

    A window's frames are consecutive; those of a loop-closure pass come from two visits to one place.
    """

    frames: Int[np.ndarray, "frames"]
    """Their numbers in the clip, in order."""
    world_from_camera: Float[np.ndarray, "frames 4 4"]
    points_camera: Float32[np.ndarray, "frames samples 3"]
    confidence: Float32[np.ndarray, "frames samples"]
    static_mask: Bool[np.ndarray, "frames samples"]
    """Samples of the static scene: those that show no person."""
    scale_estimates: tuple[tuple[int, float, float], ...] = ()
    """(person id, metres per unit by this person, weight)."""


def split_frames(count: int, size: int, overlap: int) -> tuple[range, ...]:
    """Windows of equal length, at most `size`, that cover `count` frames; neighbours share `overlap` frames or more.

    As few windows as possible, and as short as that allows. Raises `InputError` unless 0 < overlap ≤ size / 2.
    """
    if not 0 < 2 * overlap <= size:
        raise InputError(
            f"Windows of {size} frames cannot share {overlap} frames with their neighbours; "
            "take windows at least twice as long as their overlap."
        )
    if count <= size:
        return (range(count),)
    number = -(-(count - overlap) // (size - overlap))
    length = -(-(count + (number - 1) * overlap) // number)
    starts = [round(k * (count - length) / (number - 1)) for k in range(number)]
    return tuple(range(start, start + length) for start in starts)


def blend_weights(windows: tuple[range, ...]) -> tuple[Float[np.ndarray, "_"], ...]:
    """Weight of each window in each of its frames: the weights of a frame add up to 1 and are linear in overlaps."""
    tents = [np.minimum(np.arange(len(w)) + 1.0, np.arange(len(w), 0, -1.0)) for w in windows]
    total = np.zeros(max(w.stop for w in windows))
    for window, tent in zip(windows, tents, strict=True):
        total[window.start : window.stop] += tent
    return tuple(tent / total[w.start : w.stop] for w, tent in zip(windows, tents, strict=True))


def sample_pixels(height: int, width: int) -> tuple[Int[np.ndarray, "samples"], Int[np.ndarray, "samples"]]:
    """(rows, columns) of the pixels that are kept, evenly over the frame."""
    rows, columns = ((np.arange(GRID) + 0.5) * side / GRID for side in (height, width))
    grid = np.meshgrid(rows.astype(int), columns.astype(int), indexing="ij")
    return grid[0].ravel(), grid[1].ravel()


def sample_uv(height: int, width: int) -> Float[np.ndarray, "samples 2"]:
    """Image coordinates of those pixels, in half diagonals from the centre of the frame."""
    return half_diagonal_grid(height, width)[sample_pixels(height, width)]
