"""Real people with labelled keypoints, for networks that have otherwise seen synthetic ones alone.

The images come from `train.data.prepare.label_images`. Nobody knows the focal length of such an image, the shape or the
3-D pose: only where COCO's keypoints are.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from train.data.augment import color_jitter, degrade
from train.data.batches import KeypointBatch
from train.data.labelled_images import labelled_images
from train.data.pretrain_batches import CropSettings, box_info, image_from_crop, jittered, occluded
from unish.body.data import COCO_LIMBS
from unish.errors import InputError
from unish.geometry import CROP_SIZE_PX

MIRRORED = (1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10)
MIN_KEYPOINT_SCORE = 0.3
MIN_LIMBS = 6
"""People with fewer keypoints than this say too little about a pose."""
MIN_PERSON_PX = 64.0
MOST_TURN_DEG = 20.0
CROP_PX = (CROP_SIZE_PX, CROP_SIZE_PX)
FOCAL_HALF_DIAGONALS = (1.0, 1.8)
"""Range from which an unknown focal length is drawn, in half diagonals of the image."""


@dataclass(frozen=True)
class RealPerson:
    """One person in an image, with the limbs that are labelled."""

    image: np.ndarray
    """(height, width, 3) uint8"""
    box_px: Float[np.ndarray, "4"]
    limbs_px: Float[np.ndarray, "12 2"]
    weight: Float[np.ndarray, "12"]
    """1 where the limb is labelled, else 0"""


def real_people(folder: str | Path, split: str, long_side_px: int = 640) -> list[RealPerson]:
    """People of `folder/split` whom the teachers agree about and who show enough limbs, in images of that size at most.

    Raises `InputError` when there are none.
    """
    people = []
    for labelled in labelled_images(Path(folder), split):
        image = labelled.rgb()
        shrink = min(1.0, long_side_px / max(image.shape[:2]))
        image = cv2.resize(image, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA) if shrink < 1 else image
        for box, keypoints, agreed in zip(labelled.boxes_px, labelled.keypoints, labelled.agreed, strict=True):
            limbs = keypoints[list(COCO_LIMBS)]
            weight = (limbs[:, 2] > MIN_KEYPOINT_SCORE).astype(np.float32)
            box = (box * shrink).astype(np.float32)
            if agreed and weight.sum() >= MIN_LIMBS and max(box[2:] - box[:2]) >= MIN_PERSON_PX:
                people.append(RealPerson(image, box, (limbs[:, :2] * shrink).astype(np.float32), weight))
    if not people:
        raise InputError(
            f"{folder} should hold images of people with at least {MIN_LIMBS} labelled limbs in its split {split}, "
            "found none; label images with a teacher that gives keypoints."
        )
    return people


def keypoint_batch(people: Sequence[RealPerson], settings: CropSettings, rng: np.random.Generator) -> KeypointBatch:
    """Augmented crops of random people, turned in the image plane, half of them mirrored."""
    crops, infos, limbs, weights = [], [], [], []
    for index in rng.integers(len(people), size=settings.real_crops_per_batch):
        person = people[int(index)]
        height, width = person.image.shape[:2]
        box = jittered(person.box_px, settings, rng)
        turned = image_from_crop(box) @ _turn(float(rng.uniform(-MOST_TURN_DEG, MOST_TURN_DEG)))
        crop = cv2.warpAffine(person.image, turned, CROP_PX, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
        crop = occluded(crop, rng) if rng.random() < settings.erase else crop
        crop = degrade(color_jitter(crop, rng), rng)
        focal_px = float(np.exp(rng.uniform(*np.log(FOCAL_HALF_DIAGONALS)))) * np.hypot(width, height) / 2
        info = box_info(box, width, height, focal_px)
        crop_from_image = cv2.invertAffineTransform(turned)
        limbs_px, weight = person.limbs_px @ crop_from_image[:, :2].T + crop_from_image[:, 2], person.weight
        if rng.random() < 0.5:
            crop, info, weight = crop[:, ::-1], info * np.array([-1, 1, 1]), weight[list(MIRRORED)]
            limbs_px = (np.array([CROP_SIZE_PX, 0]) + np.array([-1, 1]) * limbs_px)[list(MIRRORED)]
        crops.append(crop)
        infos.append(info)
        limbs.append(limbs_px)
        weights.append(weight)
    return KeypointBatch(
        crops=_tensor(crops).movedim(-1, 1) / 255,
        bbox_info=_tensor(infos),
        limbs_px=_tensor(limbs),
        weight=_tensor(weights),
    )


def _turn(degrees: float) -> np.ndarray:
    """(3, 3) turn of a crop about its centre."""
    center = (CROP_SIZE_PX / 2, CROP_SIZE_PX / 2)
    return np.vstack([cv2.getRotationMatrix2D(center, degrees, 1.0), [0, 0, 1]])


def _tensor(arrays: Sequence[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(arrays)).float()
