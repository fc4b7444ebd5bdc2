"""Each frame's depth map as a surface: a grid of vertices, and which of its cells lie on one."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8, UInt16
from scipy.ndimage import binary_dilation, distance_transform_edt, gaussian_filter, label, maximum_filter

from unish.geometry import VALID_CONFIDENCE
from unish.geometry.clouds import inverse_depth_bend
from unish.structures import Reconstruction

MAX_COLUMNS = 224
DEPTH_STEP = 1e-3
"""Of the logarithm of depth: a vertex is drawn within 0.05 % of its depth."""
CONFIDENCE_LEVELS = 10
CONFIDENCE_SIGMA = 2.0
"""In vertices: without its ripple the confidence takes a third of the bytes, and surfaces end in smooth lines."""

# A cell that bends is cut where its corners' depths differ, or where it is seen from the side as the sheet between a
# person and the wall behind is. A floor is seen from the side too, and does not bend.
CELL_BEND = 0.03
CELL_RANGE = 0.08
GRAZING_SIN = math.sin(math.radians(9))
FLATTEST_SIN = math.sin(math.radians(1.5))
"""Whatever lies flatter than this along the ray is cut."""
BEND_REACH = 5
"""Networks smear a depth edge over a few pixels: the middle of the smear bends less than its ends do."""
PERSON_MARGIN = 2
PERSON_REACH = 8
"""Around a mask, what lies at the person's depth is the person's too: masks miss feet and hands."""
PERSON_DEPTH = 0.12
SMOOTHING_REACH = 5
SMOOTHING_SIGMA = 2.5
SMOOTHING_RANGE = 0.1
"""Relative depth differences well above this are edges."""
SMALLEST_ISLAND = 8
PINHOLE_RANGE = 0.25
"""Single cells that were cut within a surface are noise, unless depth jumps by more than this."""
FAR_FACTOR = 1.6
"""Of the 98th percentile of depth: what lies beyond, as sky does, is no surface."""


@dataclass(frozen=True)
class Surfaces:
    """The frames' surfaces. Vertices lie at the centres of every `stride`-th pixel, cells between four of them."""

    depth_m: Float32[np.ndarray, "frames rows columns"]
    """Along the camera's axis; 0 where it is not known."""
    confidence: UInt8[np.ndarray, "frames rows columns"]
    """0 to `CONFIDENCE_LEVELS`."""
    masks: UInt8[np.ndarray, "frames rows columns"]
    """`Reconstruction.person_mask`."""
    people: UInt8[np.ndarray, "frames rows columns"]
    """The same, wider, so that nothing of a person is left in the scene."""
    cells: Bool[np.ndarray, "frames cell_rows cell_columns"]
    """Cells that lie on a surface."""
    first_px: tuple[int, int]
    """Row and column of the first vertex's pixel."""
    stride: int

    @staticmethod
    def of(reconstruction: Reconstruction) -> "Surfaces":
        """The surfaces of a result's frames."""
        height, width = reconstruction.depth_m.shape[1:]
        stride = math.ceil(width / MAX_COLUMNS)
        first = min(stride // 2, height - 1), min(stride // 2, width - 1)
        rows, columns = (slice(start, None, stride) for start in first)
        depth_m = np.array(reconstruction.depth_m[:, rows, columns], np.float32)
        depth_m[~(np.isfinite(depth_m) & (depth_m > 0))] = 0
        if depth_m.any():
            depth_m[depth_m > FAR_FACTOR * np.percentile(depth_m[depth_m > 0], 98)] = 0
        confidence = np.nan_to_num(np.asarray(reconstruction.confidence[:, rows, columns]), nan=0.0)
        smooth = gaussian_filter(confidence, CONFIDENCE_SIGMA, axes=(1, 2))
        confidence = np.where(confidence < VALID_CONFIDENCE, confidence, smooth)
        masks = np.array(reconstruction.person_mask[:, rows, columns])
        people = np.zeros_like(masks)
        for frame, mask in enumerate(masks):
            depth_m[frame] = smooth_depth(depth_m[frame], maximum_filter(mask, 3) > 0)
            people[frame] = person_region(mask, depth_m[frame])
        cells = [
            surface_cells(depth, camera_rays(intrinsics, depth.shape, first, stride))
            for depth, intrinsics in zip(depth_m, reconstruction.cameras.intrinsics, strict=True)
        ]
        levels = np.round(confidence.clip(0, 1) * CONFIDENCE_LEVELS).astype(np.uint8)
        return Surfaces(depth_m, levels, masks, people, np.stack(cells), first, stride)

    def __len__(self) -> int:
        return len(self.depth_m)

    def scene_cells(self, frame: int, close: bool = False) -> Bool[np.ndarray, "cell_rows cell_columns"]:
        """Cells of a frame that lie on a surface and touch no person; `close`: as near as the mask lets them."""
        people = maximum_filter(self.masks[frame], 2 * PERSON_MARGIN + 1) if close else self.people[frame]
        return self.cells[frame] & ~_corners(people > 0).any(0)

    def points_camera(self, frame: int, intrinsics: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "rows columns 3"]:
        """The vertices of a frame in its camera's frame, metres; at its centre where depth is not known."""
        depth_m = self.depth_m[frame]
        return camera_rays(intrinsics, depth_m.shape, self.first_px, self.stride) * depth_m[..., None]


def person_region(
    mask: UInt8[np.ndarray, "rows columns"], depth_m: Float[np.ndarray, "rows columns"]
) -> UInt8[np.ndarray, "rows columns"]:
    """A mask of people's indices, wider by a margin, and by more where depth is that of the person beside it."""
    region = maximum_filter(mask, 2 * PERSON_MARGIN + 1)
    log_depth = np.log(np.where(depth_m > 0, depth_m, 1e3))
    for person in np.unique(mask[mask > 0]):
        own = mask == person
        around = binary_dilation(own, iterations=PERSON_REACH) & (region == 0)
        row, column = np.asarray(distance_transform_edt(~own, return_distances=False, return_indices=True))
        region[around & (np.abs(log_depth - log_depth[row, column]) < PERSON_DEPTH)] = person
    return region


def smooth_depth(
    depth_m: Float[np.ndarray, "rows columns"], person: Bool[np.ndarray, "rows columns"]
) -> Float[np.ndarray, "rows columns"]:
    """Depth without the ripple of networks that work in patches, its edges kept; 0 stays 0.

    A bilateral filter on the logarithm of depth (Tomasi and Manduchi 1998) that never mixes people and scene.
    """
    known = depth_m > 0
    log_depth = np.log(np.where(known, depth_m, 1.0)).astype(np.float32)
    total, weight = log_depth.copy(), np.ones_like(log_depth)
    reach = range(-SMOOTHING_REACH, SMOOTHING_REACH + 1)
    for down, right in [(i, j) for i in reach for j in reach if (i, j) > (0, 0)]:
        # Two vertices count as much for each other.
        (one_rows, other_rows), (one_columns, other_columns) = map(_apart, depth_m.shape, (down, right))
        one, other = (one_rows, one_columns), (other_rows, other_columns)
        change = (log_depth[other] - log_depth[one]) / SMOOTHING_RANGE
        near = np.exp(-0.5 * ((down**2 + right**2) / SMOOTHING_SIGMA**2 + change * change))
        near *= known[one] & known[other] & (person[one] == person[other])
        total[one] += near * log_depth[other]
        weight[one] += near
        total[other] += near * log_depth[one]
        weight[other] += near
    return np.where(known, np.exp(total / weight), 0.0).astype(depth_m.dtype)


def _apart(count: int, step: int) -> tuple[slice, slice]:
    """Along a side of so many: those that have another `step` places on, and these others."""
    first, last = slice(0, max(0, count - abs(step))), slice(min(count, abs(step)), count)
    return (first, last) if step >= 0 else (last, first)


def camera_rays(
    intrinsics: Float[np.ndarray, "3 3"], shape: tuple[int, ...], first_px: tuple[int, int], stride: int
) -> Float[np.ndarray, "rows columns 3"]:
    """Camera-frame directions, z = 1, of a grid of (rows, columns) vertices at pixel centres."""
    v, u = (start + stride * np.arange(count) + 0.5 for start, count in zip(first_px, shape, strict=True))
    x = (u - intrinsics[0, 2]) / intrinsics[0, 0]
    y = (v - intrinsics[1, 2]) / intrinsics[1, 1]
    return np.stack([*np.meshgrid(x, y), np.ones(shape)], axis=-1)


def surface_cells(
    depth_m: Float[np.ndarray, "rows columns"], rays: Float[np.ndarray, "rows columns 3"]
) -> Bool[np.ndarray, "cell_rows cell_columns"]:
    """Which cells between four neighbouring vertices lie on a surface, and not across a depth edge.

    `depth_m` is along the camera's axis, 0 where it is not known; `rays` are camera-frame directions with z = 1.
    """
    if min(depth_m.shape) < 2:
        return np.zeros(tuple(max(0, side - 1) for side in depth_m.shape), bool)
    corners = _corners(depth_m)
    known = (corners > 0).all(0)
    span = corners.max(0) / np.where(known, corners.min(0), 1.0) - 1
    points = rays * depth_m[..., None]
    normal = np.cross(points[1:, 1:] - points[:-1, :-1], points[1:, :-1] - points[:-1, 1:])
    middle = 0.25 * (points[:-1, :-1] + points[:-1, 1:] + points[1:, :-1] + points[1:, 1:])
    lengths = np.linalg.norm(normal, axis=-1) * np.linalg.norm(middle, axis=-1)
    facing_sin = np.abs((normal * middle).sum(-1)) / np.where(lengths > 0, lengths, 1.0)
    bend = _corners(maximum_filter(inverse_depth_bend(depth_m), BEND_REACH)).max(0)
    steep = (span > CELL_RANGE) | (facing_sin < GRAZING_SIN)
    kept = known & ~(steep & (bend > CELL_BEND)) & (facing_sin > FLATTEST_SIN)
    kept |= _small_parts(~kept) & known & (span < PINHOLE_RANGE)
    return kept & ~_small_parts(kept)


def _small_parts(cells: Bool[np.ndarray, "cell_rows cell_columns"]) -> Bool[np.ndarray, "cell_rows cell_columns"]:
    """Cells in connected parts of fewer than `SMALLEST_ISLAND`."""
    part = np.zeros(cells.shape, np.int32)
    label(cells, output=part)
    small = np.bincount(part.ravel()) < min(SMALLEST_ISLAND, cells.size)
    small[0] = False
    return small[part]


def surface_arrays(surfaces: Surfaces, near_m: float | None = None) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """`meta["surface"]` and the arrays of a scene file that `static/surface_data.js` reads.

    `near_m`: the depth from which codes count; None: a half of the least, so that people may come nearer.
    """
    known = surfaces.depth_m[surfaces.depth_m > 0]
    if near_m is None:
        near_m = 0.5 * float(known.min()) if known.size else 1.0
    meta = {
        "near_m": near_m,
        "step": DEPTH_STEP,
        "first_px": list(surfaces.first_px),
        "stride_px": surfaces.stride,
        "confidence_levels": CONFIDENCE_LEVELS,
    }
    arrays = {
        "surface_depth": depth_planes(depth_codes(surfaces.depth_m, near_m)),
        "surface_people": surfaces.people,
        "surface_confidence": surfaces.confidence,
        "surface_cells": pack_cells(surfaces.cells),
    }
    return meta, arrays


def depth_codes(depth_m: Float[np.ndarray, "*shape"], near_m: float) -> UInt16[np.ndarray, "*shape"]:
    """1 + log(depth / near) in steps of `DEPTH_STEP`; 0 where depth is not known (0)."""
    steps = np.log(np.where(depth_m > 0, depth_m, near_m) / near_m) / DEPTH_STEP
    return np.where(depth_m > 0, 1 + np.round(steps).clip(0, 65534), 0).astype(np.uint16)


def depth_planes(codes: UInt16[np.ndarray, "frames rows columns"]) -> UInt8[np.ndarray, "frames 2 rows columns"]:
    """Differences to the vertex on the left, folded so that small ones of either sign are small; low bytes and high
    bytes apart. This is what compresses well."""
    change = np.diff(codes.astype(np.int32), axis=-1, prepend=0)
    change = (change + 32768) % 65536 - 32768
    folded = np.where(change < 0, -2 * change - 1, 2 * change).astype(np.uint16)
    return np.stack([folded & 255, folded >> 8], axis=1).astype(np.uint8)


def pack_cells(cells: Bool[np.ndarray, "frames rows columns"]) -> UInt8[np.ndarray, "frames bytes"]:
    """One bit per cell, row by row, the first in the lowest bit."""
    return np.packbits(cells.reshape(len(cells), -1), axis=1, bitorder="little")


def _corners(values: np.ndarray) -> np.ndarray:
    """(4, rows - 1, columns - 1): the values at each cell's corners."""
    return np.stack([values[:-1, :-1], values[:-1, 1:], values[1:, :-1], values[1:, 1:]])
