"""How near the keypoint network's answers are to labels, on people it has not seen."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from train.person_keypoints.augmentation import make_batch, plain_example
from train.person_keypoints.person_crops import PersonCrop, people_of
from unish.errors import InputError
from unish.people.mini_keypoints import (
    MiniKeypointNet,
    MiniKeypoints,
    cell_probabilities,
    keypoints_in_cells,
    load_mini_keypoints,
)
from unish.people.pyramid import STRIDE
from unish.utils.assets import MINI_KEYPOINTS

_SURE = 0.3
_BATCH = 32


@dataclass(frozen=True)
class EvaluateConfig:
    """Score keypoints on the validation split."""

    rendered: Path | None = None
    real: Path | None = None
    weights: Path = MINI_KEYPOINTS
    every: int = 6
    """Of each synthetic clip, every so many frames are used."""


def keypoint_scores(network: MiniKeypointNet, people: list[PersonCrop]) -> dict[str, float]:
    """Errors in percent of the box's longer side: the mean and the share within 5 % over limbs, those that the network
    is sure of, and how many of all these are; and the mean IoU of the masks that are known."""
    size = network.config.width_px, network.config.height_px
    errors, confidences, ious = [], [], []
    was_training = network.training
    network.eval()
    for start in range(0, len(people), _BATCH):
        some = people[start : start + _BATCH]
        batch = make_batch([plain_example(person, size) for person in some])
        with torch.inference_mode():
            output = network(batch.images)
        cells, confidence = keypoints_in_cells(cell_probabilities(output))
        ious.append(_mask_ious(output.mask_logits > 0, batch.masks > 0.5)[batch.mask_weight > 0])
        # The crop shows the box's longer side (in the crop's aspect) with the padding of crop_regions around it.
        apart = np.linalg.norm(cells - batch.cells.numpy(), axis=-1) * STRIDE / (size[1] / 1.25)
        judged = (batch.place_weight.numpy() > 0)[:, 5:]
        errors.append(100 * apart[:, 5:][judged])
        confidences.append(confidence[:, 5:][judged])
    network.train(was_training)
    error, sure = np.concatenate(errors), np.concatenate(confidences) >= _SURE
    return {
        "people": len(people),
        "limbs %": float(error.mean()),
        "sure limbs %": float(error[sure].mean()) if sure.any() else float("nan"),
        "within 5 %": float((error < 5).mean()),
        "sure": float(sure.mean()),
        "mask IoU": float(torch.cat(ious).mean()),
    }


def _mask_ious(masks: Bool[Tensor, "n h w"], truth: Bool[Tensor, "n h w"]) -> Float[Tensor, "n"]:
    return (masks & truth).sum((-2, -1)) / (masks | truth).sum((-2, -1)).clamp(min=1)


def evaluate(config: EvaluateConfig) -> dict[str, float]:
    """Numbers for the validation splits of rendered and real people. Raises `InputError` where there are none."""
    network: MiniKeypoints = load_mini_keypoints(config.weights)
    numbers: dict[str, float] = {}
    for name, people in zip(
        ("rendered", "real"), people_of(config.rendered, config.real, "validation", config.every), strict=True
    ):
        if people:
            numbers |= {f"{name}.{key}": value for key, value in keypoint_scores(network.network, people).items()}
    if not numbers:
        raise InputError("Expected --rendered, --real or both with a validation split, found nobody in either.")
    return numbers
