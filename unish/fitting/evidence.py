"""What a clip shows of a person, frame by frame, in the form that the terms of a fit take: box, mask, depth, keypoints.

Mask and depth are read on a small grid around the person's box, so that the memory of a chunk of frames does not depend
on the size of the images.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.ndimage import binary_erosion, distance_transform_edt, minimum_filter
from torch import Tensor

from unish.geometry.metric import VALID_CONFIDENCE
from unish.structures import Person, Reconstruction

GRID = (64, 48)
"""Rows and columns."""
MARGIN = 0.35
"""Of the grid around the box, as a share of the box's sides."""
SAMPLES = 48
"""Of a mask that the body must cover."""
BORDER_SHARE = 0.012
"""An edge of a box so close to the image's border (share of its longer side) may be where the image ends."""
MASK_IN_BOX = (0.12, 1.5)
"""Area of a mask over that of its box, outside which the mask is not that of the person."""
OCCLUDER_RATIO = 0.9
"""What is nearer than so much of the person's own depth may hide the person."""
HIDDEN_EDGE = 0.5
"""Share of what lies along an edge of the box that must be an occluder, for the edge not to count."""


@dataclass(frozen=True)
class Evidence:
    """What some frames show of one person; pixels of the network's frames, metres, camera frame."""

    boxes_px: Float[Tensor, "frames 4"]
    edges_px: Float[Tensor, "frames 4"]
    """Where the person ends, x0, y0, x1, y1: half-way between box and mask, the box where there is no mask."""
    edge_errors_px: Float[Tensor, "frames 4"]
    """By how much the two disagree, halved."""
    edges_counted: Bool[Tensor, "frames 4"]
    has_mask: Bool[Tensor, "frames"]
    grid_px: Float[Tensor, "frames 4"]
    """Corners x0, y0, x1, y1 of the grids."""
    outside_px: Float[Tensor, "frames rows columns"]
    """Distance of each cell from where the person may be: the mask, what hides it, and beyond the image."""
    samples_px: Float[Tensor, "frames samples 2"]
    """Pixels of the mask, many of them on its outline."""
    samples_weight: Float[Tensor, "frames samples"]
    depth_m: Float[Tensor, "frames rows columns"]
    """Of the person's own points, away from their edges; 0 where there is none."""
    keypoints_px: Float[Tensor, "frames 17 3"]
    """x, y and confidence; all 0 where there are none."""

    @staticmethod
    def read(scene: Reconstruction, index: int, frames: Int[np.ndarray, "frames"], device: str) -> "Evidence":
        """Of `scene.people[index]` in these frames. What is not finite is taken for absent."""
        person = scene.people[index]
        boxes = np.asarray(person.boxes_px[frames], np.float64)
        size = np.array([scene.cameras.width_px, scene.cameras.height_px], np.float64)
        sound = np.isfinite(boxes).all(1) & (boxes[:, 2] > boxes[:, 0] + 2) & (boxes[:, 3] > boxes[:, 1] + 2)
        boxes = np.where(sound[:, None], np.nan_to_num(boxes, posinf=0, neginf=0), [0, 0, *size])
        boxes = boxes.clip(-4 * size.max(), 4 * size.max())
        rows = [_frame(scene, index, int(frame), box) for frame, box in zip(frames, boxes, strict=True)]
        grids = {name: np.stack([getattr(row, name) for row in rows]) for name in _FrameEvidence.__dataclass_fields__}
        border = BORDER_SHARE * size.max()
        counted = np.concatenate([boxes[:, :2] > border, boxes[:, 2:] < size - border], axis=1)
        tensors = {name: torch.from_numpy(np.asarray(value, np.float32)) for name, value in grids.items()}
        edges = torch.from_numpy(counted & sound[:, None]) & ~tensors.pop("hidden_edges").bool()
        keypoints = torch.from_numpy(_keypoints(person, frames))
        has_mask = tensors.pop("has_mask").bool()
        boxes_px = torch.from_numpy(boxes).float()
        gaps = tensors.pop("extent_px") - boxes_px
        evidence = Evidence(
            boxes_px=boxes_px,
            edges_px=boxes_px + gaps / 2,
            edge_errors_px=gaps.abs() / 2,
            edges_counted=edges,
            has_mask=has_mask,
            keypoints_px=keypoints,
            **tensors,
        )
        return Evidence(**{name: getattr(evidence, name).to(device) for name in Evidence.__dataclass_fields__})

    def sampled(
        self, grids: Float[Tensor, "frames rows columns"], points_px: Float[Tensor, "frames points 2"], mode: str
    ) -> Float[Tensor, "frames points"]:
        """Values of grids at pixels, "bilinear" or "nearest"; outside, those of the grid's border."""
        low, high = self.grid_px[:, None, :2], self.grid_px[:, None, 2:]
        place = 2 * (points_px - low) / (high - low) - 1
        place = place.nan_to_num(0).clamp(-1.5, 1.5)  # a grid sampler may read anywhere for what is not finite
        options = {"mode": mode, "padding_mode": "border", "align_corners": False}
        return torch.nn.functional.grid_sample(grids[:, None], place[:, :, None], **options)[:, 0, :, 0]

    def outside(self, points_px: Float[Tensor, "frames points 2"]) -> Float[Tensor, "frames points"]:
        """How far points lie from where the person may be, in pixels."""
        low, high = self.grid_px[:, None, :2], self.grid_px[:, None, 2:]
        beyond = (low - points_px).relu() + (points_px - high).relu()
        return self.sampled(self.outside_px, points_px, "bilinear") + beyond.sum(-1)


@dataclass(frozen=True)
class _FrameEvidence:
    has_mask: bool
    extent_px: np.ndarray
    """Of the mask; the box where there is none."""
    hidden_edges: np.ndarray
    grid_px: np.ndarray
    outside_px: np.ndarray
    samples_px: np.ndarray
    samples_weight: np.ndarray
    depth_m: np.ndarray


def _frame(scene: Reconstruction, index: int, frame: int, box: np.ndarray) -> _FrameEvidence:
    height, width = scene.depth_m.shape[1:]
    sides = np.maximum(box[2:] - box[:2], 4)
    corners = np.concatenate([box[:2] - MARGIN * sides, box[2:] + MARGIN * sides])
    cell = (corners[2:] - corners[:2]) / [GRID[1], GRID[0]]
    columns = np.floor(corners[0] + cell[0] * (np.arange(GRID[1]) + 0.5)).astype(int)
    rows = np.floor(corners[1] + cell[1] * (np.arange(GRID[0]) + 0.5)).astype(int)
    inside = ((rows >= 0) & (rows < height))[:, None] & ((columns >= 0) & (columns < width))
    pick = np.ix_(rows.clip(0, height - 1), columns.clip(0, width - 1))
    label = np.where(inside, np.asarray(scene.person_mask[frame])[pick], 0)
    depth: np.ndarray = np.where(inside, scene.depth_m[frame][pick], 0)
    depth = np.where(np.isfinite(depth) & (scene.confidence[frame][pick] > VALID_CONFIDENCE), depth, 0).clip(min=0)
    own = label == index + 1
    area = own.sum() * cell.prod() / max(sides.prod(), 1)
    has_mask = bool(MASK_IN_BOX[0] < area < MASK_IN_BOX[1])
    in_box = (rows >= box[1])[:, None] & (rows < box[3])[:, None] & (columns >= box[0]) & (columns < box[2])
    core = binary_erosion(own, iterations=1) if has_mask else _middle(in_box, rows, columns, box) & (label == 0)
    core = np.asarray(core, bool)
    known = core & (depth > 0)
    own_depth = float(np.median(depth[known])) if known.sum() > 8 else 0.0
    occluder = (depth > 0) & (depth < OCCLUDER_RATIO * own_depth) & ~own
    allowed = own | ~inside | ((label > 0) & ~own) | occluder if has_mask else np.ones_like(own)
    outside = np.asarray(distance_transform_edt(~allowed, sampling=cell[::-1]))
    samples, weight = _samples(own if has_mask else np.zeros_like(own), corners, cell)
    # Depths of a box without a mask are kept where they could be the person's.
    surface = np.where(core & (np.abs(depth / max(own_depth, 1e-6) - 1) < (0.3 if has_mask else 0.15)), depth, 0)
    # Without a mask it is not known which of the points are the person's.
    hidden = _hidden_edges(occluder, in_box, own) if has_mask and own_depth > 0 else np.zeros(4, bool)
    extent = _extent(scene.person_mask[frame] == index + 1, corners) if has_mask else box
    return _FrameEvidence(has_mask, extent, hidden, corners, outside, samples, weight, surface)


def _extent(mask: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Edges x0, y0, x1, y1 of a mask within the grid's corners."""
    height, width = mask.shape
    x0, y0 = np.floor(corners[:2]).clip(0).astype(int)
    x1, y1 = np.ceil(corners[2:]).clip(0, [width, height]).astype(int)
    rows, columns = (np.flatnonzero(mask[y0:y1, x0:x1].any(axis)) for axis in (1, 0))
    return np.array([x0 + columns[0], y0 + rows[0], x0 + columns[-1] + 1, y0 + rows[-1] + 1], np.float64)


def _middle(in_box: np.ndarray, rows: np.ndarray, columns: np.ndarray, box: np.ndarray) -> np.ndarray:
    """The middle column of a box, most of which shows the trunk of whoever stands in it."""
    center, half = (box[0] + box[2]) / 2, 0.2 * (box[2] - box[0])
    upper = rows < box[1] + 0.6 * (box[3] - box[1])
    return in_box & (np.abs(columns + 0.5 - center) < half) & upper[:, None]


def _samples(own: np.ndarray, corners: np.ndarray, cell: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Evenly chosen cells of a mask, two thirds of them on its outline."""
    outline = own & (minimum_filter(own.astype(np.uint8), 3) == 0)
    samples, weight = np.zeros((SAMPLES, 2)), np.zeros(SAMPLES)
    chosen = [np.argwhere(outline), np.argwhere(own & ~outline)]
    start = 0
    for cells, count in zip(chosen, (2 * SAMPLES // 3, SAMPLES - 2 * SAMPLES // 3), strict=True):
        picked = cells[np.linspace(0, len(cells) - 1, min(len(cells), count)).round().astype(int)]
        samples[start : start + len(picked)] = corners[:2] + cell * (picked[:, ::-1] + 0.5)
        weight[start : start + len(picked)] = 1
        start += len(picked)
    return samples, weight


def _hidden_edges(occluder: np.ndarray, in_box: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Edges x0, y0, x1, y1 along which the person is hidden by something nearer, just outside of the box."""
    lines, columns = np.flatnonzero(in_box.any(1)), np.flatnonzero(in_box.any(0))
    hidden = np.zeros(4, bool)
    if not len(lines) or not len(columns):
        return hidden
    # Where the person reaches the edge from within.
    across, along = own[lines].sum(1), own[:, columns].sum(0)
    for edge, (axis, inner, outer) in enumerate(
        ((1, columns[0], columns[0] - 2), (0, lines[0], lines[0] - 2), (1, columns[-1], columns[-1] + 2),
         (0, lines[-1], lines[-1] + 2))
    ):  # fmt: skip
        if not 0 <= outer < own.shape[axis]:
            continue
        near = np.take(own, [inner - 1, inner, inner + 1], axis, mode="clip").any(axis)
        beyond = np.take(occluder, outer, axis)
        hidden[edge] = near.any() and beyond[near].mean() > HIDDEN_EDGE
    return hidden & bool(across.any() and along.any())


def _keypoints(person: Person, frames: np.ndarray) -> np.ndarray:
    if person.keypoints_px is None:
        return np.zeros((len(frames), 17, 3), np.float32)
    keypoints = np.asarray(person.keypoints_px[frames], np.float32)
    sound = np.isfinite(keypoints).all(-1, keepdims=True)
    return np.where(sound, np.nan_to_num(keypoints), 0).astype(np.float32)
