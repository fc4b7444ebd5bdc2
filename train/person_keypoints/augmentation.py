"""Training crops: boxes as a detector gives them, turned, mirrored, partly hidden, passed by others, in other light."""

import dataclasses
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional

from train.data.augment import color_jitter, degrade
from train.data.batches import Batch
from train.data.pretrain_batches import occluded
from train.person_keypoints.person_crops import PersonCrop
from unish.people.keypoints import crop_regions
from unish.people.mini_keypoints import MASK_STRIDE, MIRRORED_KEYPOINTS
from unish.people.pyramid import STRIDE

Size = tuple[int, int]
"""(width, height)"""
_TURN_DEG = 35.0
_PARTS = (tuple(range(0, 13)), tuple(range(11, 17)), tuple(range(0, 11)))
"""Keypoints of a person cut by the frame or hidden behind a table: down to the hips, the legs, the upper body."""
_PART_SHARE, _HIDDEN_SHARE, _MIRRORED_SHARE, _TURNED_SHARE = 0.2, 0.4, 0.5, 0.6
_BEFORE_SHARE = 0.5
"""Of those who pass by, so many pass before the person, the others behind."""
_LEAST_LEFT = 0.35
"""Of a person's pixels: who is hidden more than that is not what a box was drawn around."""


@dataclass(frozen=True)
class KeypointCropBatch(Batch):
    """Crops and where their keypoints are, in cells of the network's output."""

    images: Float[Tensor, "batch 3 height width"]
    """In 0..1."""
    cells: Float[Tensor, "batch 17 2"]
    """Column and row; cell centres are whole numbers."""
    place_weight: Float[Tensor, "batch 17"]
    """How much the place counts; 0 where it is unknown or the crop does not show it."""
    absent_weight: Float[Tensor, "batch 17"]
    """And that the crop does not show it."""
    masks: Float[Tensor, "batch h2 w2"]
    """How much of each cell of the mask is the person's."""
    mask_weight: Float[Tensor, "batch"]
    """0 where the mask is unknown."""


class CropExample(NamedTuple):
    """One crop of a batch."""

    rgb: UInt8[np.ndarray, "height width 3"]
    cells: Float[np.ndarray, "17 2"]
    place_weight: Float[np.ndarray, "17"]
    absent_weight: Float[np.ndarray, "17"]
    mask: UInt8[np.ndarray, "height width"]
    """255 on the person."""
    mask_weight: float


def make_batch(examples: list[CropExample]) -> KeypointCropBatch:
    """Crops of one size."""
    rgb, cells, place, absent, mask, mask_weight = (np.stack(values) for values in zip(*examples, strict=True))
    images = torch.from_numpy(rgb).permute(0, 3, 1, 2).float() / 255
    masks = functional.avg_pool2d(torch.from_numpy(mask).float() / 255, MASK_STRIDE)
    cells, place, absent, mask_weight = (torch.from_numpy(v).float() for v in (cells, place, absent, mask_weight))
    return KeypointCropBatch(images, cells, place, absent, masks, mask_weight)


def random_example(person: PersonCrop, size: Size, random: np.random.Generator) -> CropExample:
    """A crop of (width, height) as a detector's box might cut it."""
    box = _jittered(_part(person, random) if random.random() < _PART_SHARE else person.box_px, random)
    turn = float(random.normal(0, _TURN_DEG / 2)) if random.random() < _TURNED_SHARE else 0.0
    example = _cropped(person, box, size, float(np.clip(turn, -2 * _TURN_DEG, 2 * _TURN_DEG)))
    if random.random() < _MIRRORED_SHARE:
        example = mirrored(example)
    if random.random() < _HIDDEN_SHARE:
        rgb = occluded(example.rgb, random)
        example = example._replace(rgb=rgb, mask=np.where((rgb == example.rgb).all(-1), example.mask, 0))
    return example._replace(rgb=np.ascontiguousarray(degrade(color_jitter(example.rgb, random), random)))


def passed_by(person: PersonCrop, other: PersonCrop, random: np.random.Generator) -> PersonCrop:
    """The person with the other one before or behind them; as they are where a mask is unknown or too little would be
    left of them."""
    if person.mask is None or other.mask is None:
        return person
    size = np.array(person.rgb.shape[1::-1])
    sides = person.box_px[2:] - person.box_px[:2]
    scale = float(np.exp(random.normal(0, 0.25)))
    aside = random.choice([-1, 1]) * random.uniform(0.1, 0.7) * max(float(sides[0]), 0.3 * float(sides[1]))
    shift = np.array([aside, random.normal(0, 0.1) * sides[1]])
    matrix = np.column_stack([scale * np.eye(2), size / 2 * (1 - scale) + shift])
    rgb, mask = (
        cv2.warpAffine(pixels, matrix, size.tolist(), flags=cv2.INTER_LINEAR) for pixels in (other.rgb, other.mask)
    )
    before, left = random.random() < _BEFORE_SHARE, person.mask * (1 - mask / 255)
    if before and left.sum() < _LEAST_LEFT * person.mask.sum():
        return person
    alpha = (mask / 255 if before else mask / 255 * (1 - person.mask / 255))[..., None]
    mixed = np.round(alpha * rgb + (1 - alpha) * person.rgb).astype(np.uint8)
    return dataclasses.replace(person, rgb=mixed, mask=np.round(left).astype(np.uint8) if before else person.mask)


def plain_example(person: PersonCrop, size: Size) -> CropExample:
    """The crop of the person's own box: how the network is evaluated."""
    return _cropped(person, person.box_px, size, 0.0)


def mirrored(example: CropExample) -> CropExample:
    """The same from left to right; left and right change places."""
    columns = example.rgb.shape[1] // STRIDE
    cells = np.array([columns - 1, 0]) + np.array([-1, 1]) * example.cells
    swap = list(MIRRORED_KEYPOINTS)
    return CropExample(
        example.rgb[:, ::-1],
        cells[swap],
        example.place_weight[swap],
        example.absent_weight[swap],
        example.mask[:, ::-1],
        example.mask_weight,
    )


def _part(person: PersonCrop, random: np.random.Generator) -> np.ndarray:
    """A box around some of the keypoints, or the whole one where too few are known."""
    part = list(_PARTS[int(random.integers(len(_PARTS)))])
    points = person.keypoints_px[part][person.weight[part] > 0]
    if len(points) < 4:
        return person.box_px
    low, high = points.min(0), points.max(0)
    margin = 0.1 * float((high - low).max())
    return np.concatenate([low - margin, high + margin])


def _jittered(box: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Edges off by what detectors are off by, sometimes by much more."""
    center, sides = (box[:2] + box[2:]) / 2, box[2:] - box[:2]
    spread = 0.12 if random.random() < 0.3 else 0.05
    center = center + random.normal(0, spread, 2) * sides.max()
    half = sides / 2 * np.exp(random.normal(0.0, 2 * spread, 2))
    return np.concatenate([center - half, center + half])


def _cropped(person: PersonCrop, box: np.ndarray, size: Size, turn_deg: float) -> CropExample:
    """What the network sees of a box, turned about its middle."""
    region = crop_regions(np.asarray(box, np.float64)[None], size[0] / size[1])[0]
    scale = float(((np.array(size) - 1) / (region[2:] - region[:2])).min())
    middle = (region[:2] + region[2:]) / 2
    matrix = cv2.getRotationMatrix2D((float(middle[0]), float(middle[1])), turn_deg, scale)
    matrix[:, 2] += (np.array(size) - 1) / 2 - middle
    rgb = cv2.warpAffine(person.rgb, matrix, size, flags=cv2.INTER_LINEAR)
    pixels = person.keypoints_px @ matrix[:, :2].T + matrix[:, 2]
    inside = ((pixels > -0.5) & (pixels < np.array(size) - 0.5)).all(-1)
    known = person.weight * ~person.absent
    absent = np.where(person.absent, 0.5, known * ~inside)
    mask = np.zeros(size[::-1], np.uint8)
    if person.mask is not None:
        mask = cv2.warpAffine(person.mask, matrix, size, flags=cv2.INTER_LINEAR)
    cells = (pixels + 0.5) / STRIDE - 0.5
    return CropExample(rgb, cells, known * inside, absent, mask, float(person.mask is not None))
