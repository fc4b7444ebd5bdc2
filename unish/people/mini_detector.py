"""The mini person detector: a small convolutional network in the repository, used when nothing better is there.

At a quarter of its input's resolution it says for every cell how likely it shows a person, how likely it is the middle
of one (CenterNet), and where the edges of that person's box are (FCOS); cells are then gathered around the middles, so
that people who touch stay apart.
"""

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, UInt8
from torch import Tensor
from torch.nn import functional

from unish.people.pyramid import MULTIPLE_PX, STRIDE, PyramidConfig, PyramidNet
from unish.people.tracking import Detections, box_iou, color_histogram
from unish.utils.assets import MINI_DETECTOR
from unish.utils.bundled_network import load_bundled, save_bundled
from unish.utils.disk_arrays import Stack, release_pages
from unish.utils.progress import Progress, no_progress

_BATCH = 8
_SAME_BOX_IOU = 0.5
_BODY_SHARE = 0.35
"""Least share of its box that a body usually fills."""


@dataclass(frozen=True)
class MiniDetectorConfig(PyramidConfig):
    """Sizes of the network, and when it speaks of a person."""

    long_side_px: int = 288
    """Frames are resized to this long side."""
    least_score: float = 0.12
    """Middles below this are not reported."""
    mask_threshold: float = 0.5
    merge_iou: float = 0.55
    """Of boxes that overlap more, only the most confident is kept."""
    most_people: int = 20


class MiniDetectorOutput(NamedTuple):
    """What the network says at a quarter of the input's resolution."""

    mask_logits: Float[Tensor, "batch h w"]
    center_logits: Float[Tensor, "batch h w"]
    edges_px: Float[Tensor, "batch 4 h w"]
    """Distances from the cell's centre to the left, top, right and bottom of its person's box, in input pixels."""


class MiniDetectorNet(PyramidNet):
    """The pyramid with a head of six channels."""

    what = "person detector"

    def __init__(self, config: MiniDetectorConfig) -> None:
        super().__init__(config, outputs=6)
        self.config = config
        with torch.no_grad():
            bias = self.head[-1].bias
            assert isinstance(bias, Tensor)
            bias[:2] = torch.tensor([-2.0, -4.0])  # people are rare, their middles rarer

    def forward(self, images: Float[Tensor, "batch 3 height width"]) -> MiniDetectorOutput:
        """`images` in 0..1, both sides multiples of 32."""
        out = self.head(self.features(images).quarter)
        return MiniDetectorOutput(out[:, 0], out[:, 1], torch.exp(out[:, 2:].clamp(-4, 4)) * 16)


@dataclass(frozen=True)
class MiniDetector:
    """The network with its decoding: people in single frames."""

    network: MiniDetectorNet

    def detect(
        self, frames: UInt8[np.ndarray, "frames height width 3"], progress: Progress = no_progress
    ) -> tuple[Detections, ...]:
        """The people in each frame, most confident first, with masks at the network's input resolution."""
        config = self.network.config
        height, width = frames.shape[1:3]
        scale = config.long_side_px / max(height, width)
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        seen: list[tuple[np.ndarray, np.ndarray, np.ndarray, slice]] = []
        shapes = Stack()
        for start in range(0, len(frames), _BATCH):
            part = frames[start : start + _BATCH]
            small = np.stack([cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in part])
            images = torch.from_numpy(small).permute(0, 3, 1, 2).float() / 255
            with torch.inference_mode():
                output = self.network(_padded(images))
            for index, frame in enumerate(part):
                single = MiniDetectorOutput(*(values[index : index + 1] for values in output))
                boxes, scores, masks = decode(single, size, config)
                boxes = boxes / np.tile([size[0] / width, size[1] / height], 2)
                colors = [color_histogram(frame, box, mask) for box, mask in zip(boxes, masks, strict=True)]
                seen.append((boxes, scores, np.stack(colors) if colors else np.zeros((0, 216)), _next(shapes, masks)))
            release_pages(frames)
            progress(min(1.0, (start + _BATCH) / len(frames)), "Detecting people")
        whole = shapes.finish() if len(shapes) else np.zeros((0, size[1], size[0]), bool)
        return tuple(Detections(boxes, scores, whole[rows], colors) for boxes, scores, colors, rows in seen)


def _next(stack: Stack, masks: Bool[np.ndarray, "people height width"]) -> slice:
    """Where in the stack the masks have been put: those of a long clip do not fit into memory."""
    start = len(stack)
    for mask in masks:
        stack.append(mask)
    return slice(start, len(stack))


def _padded(images: Float[Tensor, "batch 3 h w"]) -> Float[Tensor, "batch 3 height width"]:
    """Zeros at the right and the bottom up to whole multiples of the coarsest stride."""
    height, width = images.shape[-2:]
    return functional.pad(images, (0, -width % MULTIPLE_PX, 0, -height % MULTIPLE_PX))


class Decoded(NamedTuple):
    """People of one image, in its pixels, most confident first."""

    boxes_px: np.ndarray
    scores: np.ndarray
    masks: np.ndarray


def decode(output: MiniDetectorOutput, size: tuple[int, int], config: MiniDetectorConfig) -> Decoded:
    """The people that a network output of one image of `size` (width, height) speaks of."""
    width, height = size
    center = torch.sigmoid(output.center_logits)
    peaks = center * (functional.max_pool2d(center, 5, stride=1, padding=2) == center)
    cell_boxes = boxes_of_cells(output.edges_px)[0].clamp(min=0)
    cell_boxes = torch.minimum(cell_boxes, torch.tensor([width, height, width, height]).view(4, 1, 1)).numpy()
    rows, columns = np.nonzero(peaks[0].numpy() >= config.least_score)
    scores = peaks[0].numpy()[rows, columns]
    order = np.argsort(-scores)[: config.most_people]
    shown = output.mask_logits[0].numpy() > 0
    boxes, scores = _boxes_around(cell_boxes, shown, rows[order], columns[order]), scores[order]
    kept = _without_doubles(boxes, config.merge_iou)
    boxes, scores = boxes[kept].astype(np.float64), scores[kept].astype(np.float64)
    boxes = _voted_boxes(boxes, cell_boxes, shown)

    logits = functional.interpolate(output.mask_logits[None], scale_factor=float(STRIDE), mode="bilinear")[0, 0]
    person = torch.sigmoid(logits).numpy()[:height, :width] >= config.mask_threshold
    owner = _owners(cell_boxes, boxes).repeat(STRIDE, 0).repeat(STRIDE, 1)[:height, :width]
    masks = np.stack([person & (owner == index) for index in range(len(boxes))]) if len(boxes) else person[None][:0]
    scores = scores * _mask_support(boxes, masks)
    order = np.argsort(-scores, kind="stable")
    return Decoded(boxes[order], scores[order], masks[order])


def _mask_support(
    boxes: Float[np.ndarray, "people 4"], masks: Bool[np.ndarray, "people height width"]
) -> Float[np.ndarray, "people"]:
    """Below 1 where the mask fills less of a box than a body does: a middle without a shape is hardly a person."""
    areas = np.maximum((boxes[:, 2:] - boxes[:, :2]).prod(1), 1.0)
    return 0.5 + 0.5 * np.minimum(masks.sum((1, 2)) / (_BODY_SHARE * areas), 1.0)


def boxes_of_cells(edges_px: Float[Tensor, "batch 4 h w"]) -> Float[Tensor, "batch 4 h w"]:
    """x0, y0, x1, y1 in input pixels of the box that each cell is part of."""
    height, width = edges_px.shape[-2:]
    rows = (torch.arange(height, device=edges_px.device, dtype=edges_px.dtype) + 0.5) * STRIDE
    columns = (torch.arange(width, device=edges_px.device, dtype=edges_px.dtype) + 0.5) * STRIDE
    left, top, right, bottom = edges_px.unbind(1)
    x, y = columns[None, None, :], rows[None, :, None]
    return torch.stack([x - left, y - top, x + right, y + bottom], dim=1)


def _boxes_around(
    cell_boxes: Float32[np.ndarray, "4 h w"], shown: np.ndarray, rows: np.ndarray, columns: np.ndarray
) -> Float32[np.ndarray, "people 4"]:
    """The median box of the cells around each middle that show a person; the middle's own where none does."""
    boxes = np.empty((len(rows), 4), np.float32)
    for index, (row, column) in enumerate(zip(rows, columns, strict=True)):
        near = np.s_[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]
        around = cell_boxes[(slice(None), *near)][:, shown[near]]
        boxes[index] = np.median(around, axis=1) if around.size else cell_boxes[:, row, column]
    return boxes


def _voted_boxes(
    boxes: Float[np.ndarray, "people 4"], cell_boxes: Float32[np.ndarray, "4 h w"], shown: np.ndarray
) -> Float[np.ndarray, "people 4"]:
    """What the cells of each person say together. Only cells near a hand or foot know how far out it is, so each edge
    is the outer quartile of those that speak of about the same box."""
    cells = cell_boxes[:, shown].T.astype(np.float64)
    voted = boxes.copy()
    for index, alike in enumerate(box_iou(boxes, cells) > _SAME_BOX_IOU):
        if alike.sum() > 2:
            low, high = np.quantile(cells[alike], [0.25, 0.75], axis=0)
            voted[index] = np.concatenate([low[:2], high[2:]])
    return voted


def _without_doubles(boxes: Float32[np.ndarray, "people 4"], merge_iou: float) -> list[int]:
    """Non-maximum suppression of boxes that are sorted by score."""
    overlap = box_iou(boxes, boxes)
    kept: list[int] = []
    for index in range(len(boxes)):
        if all(overlap[index, other] <= merge_iou for other in kept):
            kept.append(index)
    return kept


def _owners(cell_boxes: Float32[np.ndarray, "4 h w"], boxes: Float[np.ndarray, "people 4"]) -> np.ndarray:
    """For each cell, the person whose box is most like the cell's own; −1 where none is."""
    if not len(boxes):
        return np.full(cell_boxes.shape[1:], -1)
    overlap = box_iou(cell_boxes.reshape(4, -1).T.astype(np.float64), boxes)
    return np.where(overlap.max(1) > 0.15, overlap.argmax(1), -1).reshape(cell_boxes.shape[1:])


# ---------------------------------------------------------------- weights


@functools.lru_cache(maxsize=2)
def load_mini_detector(folder: Path = MINI_DETECTOR) -> MiniDetector:
    """The detector from `model.safetensors` and `config.json`, on the CPU, ready to use.

    Raises `MissingAssetError` when a file is not there, `CheckpointError` when one is damaged or does not fit.
    """
    return MiniDetector(load_bundled(MiniDetectorNet, MiniDetectorConfig, folder))


def save_mini_detector(network: MiniDetectorNet, folder: Path) -> None:
    """Write the weights in half precision and their configuration; a failed save leaves nothing behind."""
    save_bundled(network, network.config, folder)
