"""How well the detector's single frames are: people found, missed and invented, and masks where they are known."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment

from train.data.labelled_images import labelled_images
from train.data.schema import load_clips
from train.person_detector.augmentation import fitted
from train.person_detector.objective import make_batch
from train.person_detector.person_images import (
    SMALLEST_PERSON_PX,
    UNKNOWN,
    PersonImage,
    RealImage,
    StoredImage,
    rendered_images,
)
from unish.people.mini_detector import MiniDetectorNet, decode, load_mini_detector
from unish.people.tracking import box_iou
from unish.utils.assets import MINI_DETECTOR

_LEAST_HEIGHT = 0.14
"""Real people lower than this share of the image are neither asked for nor punished."""


@dataclass(frozen=True)
class EvaluateConfig:
    """Evaluate a detector on held-out images."""

    rendered: Path | None = None
    """Folder with validation/*.parquet of synthetic clips."""
    real: Path | None = None
    """Folder with validation/*.parquet of labelled images."""
    weights: Path = MINI_DETECTOR
    score: float = 0.4
    """People below this score do not count as found."""


def evaluate(config: EvaluateConfig) -> dict[str, dict[str, float]]:
    """The numbers of `evaluate_detector` for each data set that is given."""
    network = load_mini_detector(config.weights).network
    folders = {"rendered": config.rendered, "real": config.real}
    return {
        name: evaluate_detector(network, folder, real=name == "real", score=config.score)
        for name, folder in folders.items()
        if folder is not None
    }


@torch.no_grad()
def evaluate_detector(network: MiniDetectorNet, folder: Path, *, real: bool, score: float = 0.4) -> dict[str, float]:
    """Recall and false detections per image of people at a box IoU of 0.5, and the mask's IoU over known pixels."""
    stored: list[StoredImage]
    if real:
        stored = [RealImage(image) for image in labelled_images(folder, "validation")]
    else:
        stored = list(rendered_images(load_clips(folder, "validation"), every=4))
    hits = people = false = shared = union = 0
    for image in (item.open() for item in stored):
        height, width = image.people.shape
        scale = network.config.long_side_px / max(height, width)
        size = (round(width * scale), round(height * scale))
        padded = fitted(image, (size[0] + -size[0] % 32, size[1] + -size[1] % 32))
        detections = decode(network(make_batch([padded]).images), size, network.config)
        asked = _asked(padded, real)
        boxes = detections.boxes_px[detections.scores >= score]
        matched, left = match_boxes(boxes, padded.boxes_px[asked].astype(np.float64))
        others = padded.boxes_px[~asked].astype(np.float64)
        hits, people = hits + len(matched), people + int(asked.sum())
        false += len(left) - len(match_boxes(boxes[left], others, min_iou=0.3)[0])
        owner = padded.people[: size[1], : size[0]]
        known, mask = owner != UNKNOWN, np.asarray(detections.masks.any(axis=0))
        shared += int((mask & (owner > 0) & known).sum())
        union += int(((mask | (owner > 0)) & known).sum())
    return {
        "recall": round(hits / max(people, 1), 3),
        "false_per_image": round(false / max(len(stored), 1), 3),
        "mask_iou": round(shared / max(union, 1), 3),
        "people": float(people),
    }


def match_boxes(boxes: np.ndarray, others: np.ndarray, min_iou: float = 0.5) -> tuple[list[tuple[int, int]], list[int]]:
    """Pairs (box, other) that overlap enough, one to one, and the boxes that are left over."""
    overlap = box_iou(boxes, others)
    rows, columns = linear_sum_assignment(-overlap)
    pairs = [(int(r), int(c)) for r, c in zip(rows, columns, strict=True) if overlap[r, c] >= min_iou]
    taken = {row for row, _ in pairs}
    return pairs, [index for index in range(len(boxes)) if index not in taken]


def _asked(image: PersonImage, real: bool) -> np.ndarray:
    """Which of the people must be found."""
    if real:
        return image.certain & (image.boxes_px[:, 3] - image.boxes_px[:, 1] >= _LEAST_HEIGHT * image.people.shape[0])
    pixels = np.array([(image.people == p + 1).sum() for p in range(len(image.boxes_px))])
    return pixels.reshape(-1) >= SMALLEST_PERSON_PX
