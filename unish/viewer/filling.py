"""What no frame saw because somebody stood before it, filled in smoothly from around it, so that the room has no holes.

It is a guess for the eye alone: the viewer neither counts nor measures it, and colours that stand for numbers leave it
out.
"""

import dataclasses
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8
from scipy.ndimage import binary_dilation
from scipy.sparse import coo_array
from scipy.sparse.linalg import splu

from unish.structures import Reconstruction
from unish.viewer.background import Background, in_boxes, vertices_shown
from unish.viewer.surfaces import Surfaces, depth_codes, depth_planes, pack_cells

FARTHER = 1.005
"""The filling lies so much behind what was seen, which covers it where the two overlap."""
OVERLAP = 3
"""Cells by which it reaches under what was seen."""


@dataclass(frozen=True)
class Filling:
    """A surface in the first layer of the background, on the grid of its frame."""

    depth_m: Float32[np.ndarray, "rows columns"]
    """Along the camera's axis; 0 where nothing is known or filled in."""
    colors: UInt8[np.ndarray, "rows columns 3"]
    """RGB."""
    cells: Bool[np.ndarray, "cell_rows cell_columns"]

    def arrays(self, near_m: float) -> dict[str, np.ndarray]:
        """The arrays of a scene file, coded as surfaces are."""
        return {
            "filling_depth": depth_planes(depth_codes(self.depth_m[None], near_m)),
            "filling_colors": self.colors,
            "filling_cells": pack_cells(self.cells[None]),
        }


def background_filling(reconstruction: Reconstruction, surfaces: Surfaces, background: Background) -> Filling | None:
    """The filling of the background's first layer: where people stand in its frame, and no layer shows what is behind
    them. None where there is no such place.

    Inverse depth and colours are harmonic there, between what is seen around: a plane is continued exactly.
    """
    if len(background.frames) == 0 or not reconstruction.people:
        return None
    frame = int(background.frames[0])
    seen = _corners_of(background.cells[0]) & (surfaces.depth_m[frame] > 0)
    somebody = (surfaces.people[frame] > 0) | _corners_of(in_boxes(reconstruction, surfaces, frame))
    hidden = somebody & ~seen
    if not hidden.any() or not seen.any():
        return None
    (top, left), stride = surfaces.first_px, surfaces.stride
    image = reconstruction.images[frame][top::stride, left::stride].astype(np.float64)
    inverse = 1 / np.where(surfaces.depth_m[frame] > 0, surfaces.depth_m[frame], 1.0)
    values = harmonic(np.concatenate([inverse[..., None], image], -1), seen, hidden)
    known = np.isfinite(values[..., 0]) & (values[..., 0] > 0)
    depth_m = np.where(known, 1 / np.where(known, values[..., 0], 1.0), 0).astype(np.float32)
    everywhere = surfaces.depth_m.copy()
    everywhere[frame] = depth_m
    shown = vertices_shown(reconstruction, dataclasses.replace(surfaces, depth_m=everywhere), frame, background)
    wanted = np.asarray(binary_dilation(hidden & known & ~shown, np.ones((3, 3)), iterations=OVERLAP), bool) & known
    cells = wanted[:-1, :-1] & wanted[:-1, 1:] & wanted[1:, :-1] & wanted[1:, 1:]
    if not cells.any():
        return None
    colors = np.where(known[..., None], values[..., 1:], 0).clip(0, 255).round().astype(np.uint8)
    return Filling(depth_m * np.float32(FARTHER), colors, cells)


def harmonic(
    values: Float[np.ndarray, "rows columns channels"],
    seen: Bool[np.ndarray, "rows columns"],
    hidden: Bool[np.ndarray, "rows columns"],
) -> Float[np.ndarray, "rows columns channels"]:
    """`values` where `seen`; where `hidden` the solution of Laplace's equation between them; NaN elsewhere, and where
    nothing seen adjoins."""
    result = np.where(seen[..., None], values, np.nan)
    index = np.full(seen.shape, -1)
    index[hidden] = np.arange(hidden.sum())
    rows, columns, degree = [], [], np.zeros(hidden.sum())
    total = np.zeros((hidden.sum(), values.shape[-1]))
    for axis in (0, 1):
        for a, b in (_neighbours(axis), _neighbours(axis)[::-1]):
            here, there = index[a], index[b]
            inner = (here >= 0) & (there >= 0)
            edge = (here >= 0) & seen[b]
            rows.append(here[inner])
            columns.append(there[inner])
            np.add.at(degree, here[inner | edge], 1)
            np.add.at(total, here[edge], values[b][edge])
    row, column = np.concatenate(rows), np.concatenate(columns)
    count = len(degree)
    # Parts that touch nothing seen have no solution: they are tied to 0 very weakly, and left out below.
    diagonal = np.maximum(degree, 1) + 1e-9
    matrix = coo_array(
        (np.concatenate([diagonal, -np.ones(len(row))]),
         (np.concatenate([np.arange(count), row]), np.concatenate([np.arange(count), column]))),
        shape=(count, count),
    )  # fmt: skip
    solved = splu(matrix.tocsc()).solve(total)
    result[hidden] = np.where(solved[:, :1] > 1e-6, solved, np.nan)
    return result


def _neighbours(axis: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Where a grid's values stand, and their next ones along an axis."""
    low, high, whole = slice(None, -1), slice(1, None), slice(None)
    return ((low, whole), (high, whole)) if axis == 0 else ((whole, low), (whole, high))


def _corners_of(cells: Bool[np.ndarray, "cell_rows cell_columns"]) -> Bool[np.ndarray, "rows columns"]:
    """Vertices that touch one of these cells."""
    padded = np.pad(cells, 1)
    return padded[:-1, :-1] | padded[:-1, 1:] | padded[1:, :-1] | padded[1:, 1:]
