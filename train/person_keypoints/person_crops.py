"""People with known keypoints, cut out of rendered and of real images."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8

from train.data.labelled_images import KEYPOINTS, labelled_images
from train.data.schema import load_clips
from unish.body.data import COCO_LIMBS, SMPL_LIMBS
from unish.people.keypoints import crop_region

PATCH_PX = (176, 264)
"""(width, height) of the stored cut-outs."""
_PATCH_HEIGHTS = 1.72
"""Height of a cut-out over that of the person's box, or of a box of its aspect around it."""
_SURE, _ABSENT = 0.3, 0.1
"""A teacher's keypoint above the first score is there, one below the second is not to be seen; between, who knows."""
_LEAST_SEEN = 0.5
"""Rendered people of whom a smaller share is visible are left out."""
_SMALLEST_PX = 40.0
_LEAST_KEYPOINTS = 4
_SHOULDERS, _HIPS = (5, 6), (11, 12)
_HIP_WEIGHT = 0.3
"""SMPL's hip joints lie deeper and lower than what people mark as hips in images."""


@dataclass(frozen=True)
class PersonCrop:
    """One person with some of the image around them; pixels are those of `rgb`, whose size is `PATCH_PX`."""

    rgb: UInt8[np.ndarray, "height width 3"]
    box_px: Float32[np.ndarray, "4"]
    keypoints_px: Float32[np.ndarray, "17 2"]
    weight: Float32[np.ndarray, "17"]
    """How much the keypoint's place counts; 0 where it is not known."""
    absent: Bool[np.ndarray, "17"]
    """Known not to be seen."""
    clip: str = ""
    mask: UInt8[np.ndarray, "height width"] | None = None
    """255 on the person; None where it is not known."""

    @property
    def from_behind(self) -> bool:
        """Whether the left shoulder is seen to the left of the right one; no where one of them is not known."""
        left, right = self.keypoints_px[list(_SHOULDERS), 0]
        return bool((self.weight[list(_SHOULDERS)] > 0).all() and left < right)


def rendered_people(folder: Path, split: str, every: int = 3) -> Iterator[PersonCrop]:
    """The people in every `every`-th frame of synthetic clips (`python -m train.synthetic`).

    Faces have no labels: only limbs are joints of the body.
    """
    for row in load_clips(folder, split):
        joints = np.asarray(row["joints_px"], np.float32)
        if row["pseudo"] or row["unknown"] or not joints.size:
            continue
        boxes, seen = np.asarray(row["boxes_px"], np.float32), np.asarray(row["visibility"], np.float32)
        for frame in range(0, len(row["images"]), every):
            image: np.ndarray | None = None
            for person in np.flatnonzero(seen[:, frame] >= _LEAST_SEEN):
                if image is None:
                    image = np.ascontiguousarray(_decoded(row["images"][frame], cv2.IMREAD_COLOR)[..., ::-1])
                    masks = _decoded(row["person_mask"][frame], cv2.IMREAD_GRAYSCALE)
                keypoints, weight = np.zeros((KEYPOINTS, 2), np.float32), np.zeros(KEYPOINTS, np.float32)
                keypoints[list(COCO_LIMBS)] = joints[person, frame][list(SMPL_LIMBS)]
                weight[list(COCO_LIMBS)] = np.isfinite(keypoints[list(COCO_LIMBS)]).all(-1)
                weight[list(_HIPS)] *= _HIP_WEIGHT
                size = image.shape[1::-1]
                absent = (weight > 0) & ((keypoints < 0) | (keypoints > size)).any(-1)
                box, mask = boxes[person, frame], np.where(masks == person + 1, 255, 0).astype(np.uint8)
                if crop := person_crop(image, box, np.nan_to_num(keypoints), weight, absent, mask=mask):
                    yield crop


def _decoded(image: dict[str, Any], kind: int) -> UInt8[np.ndarray, "height width *channels"]:
    pixels = cv2.imdecode(np.frombuffer(image["bytes"], np.uint8), kind)
    assert pixels is not None
    return pixels


def real_people(folder: Path, split: str) -> Iterator[PersonCrop]:
    """The people about whom the teachers agree (`python -m train.data.prepare.label_images`)."""
    for labelled in labelled_images(folder, split):
        image = labelled.rgb()
        for index, (box, keypoints) in enumerate(zip(labelled.boxes_px, labelled.keypoints, strict=True)):
            weight = (keypoints[:, 2] >= _SURE).astype(np.float32)
            if not labelled.agreed[index] or weight.sum() < _LEAST_KEYPOINTS:
                continue
            absent, mask = keypoints[:, 2] < _ABSENT, labelled.mask(index)
            if crop := person_crop(image, box, keypoints[:, :2], weight, absent, labelled.clip, mask):
                yield crop


def person_crop(
    image: UInt8[np.ndarray, "height width 3"],
    box_px: Float[np.ndarray, "4"],
    keypoints_px: Float[np.ndarray, "17 2"],
    weight: Float[np.ndarray, "17"],
    absent: Bool[np.ndarray, "17"],
    clip: str = "",
    mask: UInt8[np.ndarray, "height width"] | None = None,
) -> PersonCrop | None:
    """The cut-out around a box; None for somebody too small to tell arms from legs."""
    sides = box_px[2:] - box_px[:2]
    if sides.max() < _SMALLEST_PX:
        return None
    height = _PATCH_HEIGHTS * max(sides[1], sides[0] * PATCH_PX[1] / PATCH_PX[0])
    half = np.array([height * PATCH_PX[0] / PATCH_PX[1], height]) / 2
    center = (box_px[:2] + box_px[2:]) / 2
    region = np.concatenate([center - half, center + half])
    scale = (np.array(PATCH_PX) - 1) / (region[2:] - region[:2])
    shrink = float(scale.min())
    corner = np.tile(region[:2], 2)

    def cut_out(pixels: UInt8[np.ndarray, "h w *channels"]) -> UInt8[np.ndarray, "patch_h patch_w *channels"]:
        smooth = cv2.GaussianBlur(pixels, (0, 0), 0.4 / shrink) if shrink < 0.7 else pixels
        return crop_region(smooth, region, PATCH_PX)

    return PersonCrop(
        cut_out(image),
        ((box_px - corner) * np.tile(scale, 2)).astype(np.float32),
        ((keypoints_px - region[:2]) * scale).astype(np.float32),
        weight.astype(np.float32),
        absent,
        clip,
        None if mask is None else cut_out(mask),
    )


def people_of(rendered: Path | None, real: Path | None, split: str, every: int = 3) -> tuple[list[PersonCrop], ...]:
    """(rendered, real) people of a split; an empty list for a folder that is None or lacks the split."""

    def all_of(folder: Path | None, read: Iterable[PersonCrop]) -> list[PersonCrop]:
        return list(read) if folder is not None and (folder / split).is_dir() else []

    return (
        all_of(rendered, rendered_people(rendered, split, every) if rendered else ()),
        all_of(real, real_people(real, split) if real else ()),
    )
