"""What the pose lifter looks at, of people whose images are there."""

import dataclasses
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from unish.fitting.pose_lifter import Sighting
from unish.models.unish import UniSH
from unish.video.preprocess import bbox_info, crop_people

AnyPerson = TypeVar("AnyPerson")


@torch.inference_mode()
def guessed(
    model: UniSH,
    images: UInt8[np.ndarray, "frames height width 3"],
    boxes_px: Float[np.ndarray, "frames 4"],
    keypoints_px: Float[np.ndarray, "frames 17 3"],
    focal_px: Float[np.ndarray, "frames"],
    times_s: Float[np.ndarray, "frames"],
) -> tuple[Sighting, Float[Tensor, "10"]]:
    """One person in the frames of a clip, with the poses that the human branch guesses, and its mean shape."""
    height_px, width_px = images.shape[1:3]
    boxes, focal = torch.from_numpy(np.array(boxes_px)).float(), torch.from_numpy(np.array(focal_px)).float()
    bodies = model.human_branch(crop_people(images, boxes_px), bbox_info(boxes, focal, width_px, height_px))
    sighting = Sighting(
        keypoints_px=torch.from_numpy(np.array(keypoints_px)).float(),
        boxes_px=boxes,
        rotations=bodies.body_rotations.float().clone(),
        focal_px=focal,
        size_px=torch.tensor([width_px, height_px]).float(),
        times_s=torch.from_numpy(np.array(times_s)).float(),
    )
    return sighting, bodies.betas.float().mean(0).clone()


def stacked(people: Sequence[AnyPerson]) -> AnyPerson:
    """Several people with as many frames each, as one batch: dataclasses of tensors and of a `Sighting`."""
    together = {}
    for field in dataclasses.fields(people[0]):  # type: ignore[arg-type]
        values = [getattr(person, field.name) for person in people]
        together[field.name] = torch.stack(values) if isinstance(values[0], Tensor) else stacked(values)
    return type(people[0])(**together)


def chosen(people: Sighting, which: Int[Tensor, "batch"]) -> Sighting:
    """Some people of a batch."""
    return Sighting(*(getattr(people, name)[which] for name in Sighting.__dataclass_fields__))
