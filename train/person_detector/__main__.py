"""Trains the mini person finder on shards of labelled clips, and judges it beside what needs no picture.

python train/person_detector/__main__.py train --data DIR --out DIR --minutes 25
python train/person_detector/__main__.py judge --data DIR --weights unish/assets/mini_detector
"""

import copy
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import tyro
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch import Tensor
from torch.nn import functional

if not __package__:  # started as a script: the repository's root is not on the path yet
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from train.cli import command_line_errors
from train.data.schema import load_clips
from train.person_detector.images import SMALLEST_PERSON_PX, Picture, StoredFrame, augmented, frames_of, plain
from unish.people.mini_detector import (
    STRIDE,
    MiniDetectorConfig,
    MiniDetectorNet,
    MiniDetectorOutput,
    boxes_of_cells,
    decode,
    load_mini_detector,
    save_mini_detector,
)
from unish.people.tracking import box_iou
from unish.utils.assets import MINI_DETECTOR

SHAPES = ((224, 128), (192, 128), (128, 192), (160, 160), (192, 160))
"""(width, height) of training pictures, one a batch."""


@dataclass(frozen=True)
class TrainConfig:
    """Train a finder from scratch."""

    data: str
    """Folder with train/*.parquet, or a Hub dataset, of `train.data.schema` clips."""
    out: Path
    """Folder for the weights; replaced when the training ends, and every few minutes before."""
    minutes: float = 25.0
    batch: int = 8
    learning_rate: float = 3e-3
    weight_decay: float = 0.02
    seed: int = 0
    start_from: Path | None = None
    """Folder of weights to go on from."""
    model: tyro.conf.Suppress[MiniDetectorConfig] = MiniDetectorConfig()  # noqa: RUF009 (frozen)


@dataclass(frozen=True)
class JudgeConfig:
    """Judge a finder on held-out clips."""

    data: str
    """Folder with validation/*.parquet."""
    weights: Path = MINI_DETECTOR
    split: str = "validation"
    score: float = 0.4
    """People below this score do not count as found."""


# ---------------------------------------------------------------- targets and losses


class Targets(NamedTuple):
    """What a batch should give, at a quarter of its resolution."""

    images: Tensor
    """(batch, 3, height, width) in 0..1"""
    mask: Tensor
    """(batch, h, w) share of each cell that shows a person"""
    center: Tensor
    """(batch, h, w) Gaussian bumps at people's middles, exactly 1 at the middle"""
    center_weight: Tensor
    """(batch, h, w) 0 around people who are too small to be asked for"""
    boxes: Tensor
    """(batch, 4, h, w) x0, y0, x1, y1 of the person in each cell, input pixels"""
    box_weight: Tensor
    """(batch, h, w) 0 where there is no person; every person weighs the same"""


def targets(pictures: list[Picture]) -> Targets:
    """The targets of pictures of one size."""
    parts = [_targets(picture) for picture in pictures]
    images = torch.from_numpy(np.stack([picture.rgb for picture in pictures])).permute(0, 3, 1, 2).float() / 255
    return Targets(images, *(torch.from_numpy(np.stack(values)) for values in zip(*parts, strict=True)))


def _targets(picture: Picture) -> tuple[np.ndarray, ...]:
    height, width = picture.people.shape
    h, w = height // STRIDE, width // STRIDE
    blocks = (picture.people > 0).reshape(h, STRIDE, w, STRIDE)
    mask = blocks.mean(axis=(1, 3)).astype(np.float32)
    owner = picture.people[STRIDE // 2 :: STRIDE, STRIDE // 2 :: STRIDE]
    center, weight = np.zeros((h, w), np.float32), np.ones((h, w), np.float32)
    boxes, box_weight = np.zeros((4, h, w), np.float32), np.zeros((h, w), np.float32)
    rows, columns = np.mgrid[:h, :w]
    for person, box in enumerate(picture.boxes_px):
        cells = np.argwhere(owner == person + 1)
        if not len(cells):
            continue
        boxes[:, cells[:, 0], cells[:, 1]] = box[:, None]
        box_weight[cells[:, 0], cells[:, 1]] = 1 / max(len(cells), 4) ** 0.5
        if len(cells) * STRIDE**2 < SMALLEST_PERSON_PX:
            weight[cells[:, 0], cells[:, 1]] = 0
            continue
        # The middle is a cell that shows the person, so that its box is the person's.
        row, column = cells[np.abs(cells - cells.mean(0)).sum(1).argmin()]
        spread = max(0.12 * float(np.sqrt(max((box[2:] - box[:2]).prod(), 1.0))) / STRIDE, 0.7)
        bump = np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / (2 * spread**2)).astype(np.float32)
        bump[row, column] = 1.0
        center = np.maximum(center, bump)
    return mask, center, weight, boxes, box_weight


def losses(output: MiniDetectorOutput, wanted: Targets) -> dict[str, Tensor]:
    """Mask: cross-entropy and Dice. Middles: CenterNet's focal loss. Boxes: generalized IoU."""
    probability = torch.sigmoid(output.mask_logits)
    overlap = (probability * wanted.mask).sum((1, 2))
    dice = 1 - (2 * overlap + 1) / (probability.sum((1, 2)) + wanted.mask.sum((1, 2)) + 1)
    crossentropy = functional.binary_cross_entropy_with_logits(output.mask_logits, wanted.mask)
    return {
        "mask": 2 * crossentropy + 0.5 * dice.mean(),
        "center": _focal(output.center_logits, wanted.center, wanted.center_weight),
        "box": _box_loss(output.edges_px, wanted.boxes, wanted.box_weight),
    }


def _focal(logits: Tensor, wanted: Tensor, weight: Tensor) -> Tensor:
    """Penalty-reduced focal loss (Objects as Points), per person."""
    probability = torch.sigmoid(logits)
    middle = (wanted == 1).float()
    hit = middle * (1 - probability) ** 2 * functional.logsigmoid(logits)
    miss = (1 - middle) * (1 - wanted) ** 4 * probability**2 * functional.logsigmoid(-logits)
    return -((hit + miss) * weight).sum() / middle.sum().clamp(min=1)


def _box_loss(edges_px: Tensor, wanted: Tensor, weight: Tensor) -> Tensor:
    found = boxes_of_cells(edges_px)
    low, high = torch.maximum(found[:, :2], wanted[:, :2]), torch.minimum(found[:, 2:], wanted[:, 2:])
    shared = (high - low).clamp(min=0).prod(1)
    union = (found[:, 2:] - found[:, :2]).prod(1) + (wanted[:, 2:] - wanted[:, :2]).prod(1) - shared
    hull_low, hull_high = torch.minimum(found[:, :2], wanted[:, :2]), torch.maximum(found[:, 2:], wanted[:, 2:])
    hull = (hull_high - hull_low).prod(1).clamp(min=1)
    generalized = shared / union.clamp(min=1) - (hull - union) / hull
    return ((1 - generalized) * weight).sum() / weight.sum().clamp(min=1e-3)


# ---------------------------------------------------------------- the loop


def batches(stored: list[StoredFrame], size: int, seed: int) -> Iterator[Targets]:
    """Random batches without end."""
    random = np.random.default_rng(seed)
    while True:
        shape = SHAPES[random.integers(len(SHAPES))]
        yield targets([augmented(stored, shape, random) for _ in range(size)])


def train(config: TrainConfig) -> MiniDetectorNet:
    """Train for the given minutes (AdamW, warm-up and cosine over time, averaged weights); save as it goes."""
    accelerator = Accelerator()
    set_seed(config.seed)
    network = load_mini_detector(config.start_from).network if config.start_from else MiniDetectorNet(config.model)
    network = network.requires_grad_(True).train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    decay = [p for p in network.parameters() if p.ndim > 1]
    rest = [p for p in network.parameters() if p.ndim <= 1]
    groups = [{"params": decay, "weight_decay": config.weight_decay}, {"params": rest, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=config.learning_rate)
    network, optimizer = accelerator.prepare(network, optimizer)
    averaged = copy.deepcopy(accelerator.unwrap_model(network)).eval()
    stored = frames_of(load_clips(config.data, "train"))
    accelerator.print(f"{len(stored)} frames")
    start, saved, means = time.monotonic(), time.monotonic(), {}
    for step, wanted in enumerate(batches(stored, config.batch, config.seed + accelerator.process_index)):
        share = (time.monotonic() - start) / (60 * config.minutes)
        if share >= 1:
            break
        rate = config.learning_rate * min(1.0, (step + 1) / 100) * (0.5 + 0.5 * np.cos(np.pi * share))
        for group in optimizer.param_groups:
            group["lr"] = rate
        wanted = Targets(*(values.to(accelerator.device) for values in wanted))
        terms = losses(network(wanted.images.contiguous(memory_format=torch.channels_last)), wanted)
        optimizer.zero_grad(set_to_none=True)
        accelerator.backward(torch.stack(list(terms.values())).sum())
        accelerator.clip_grad_norm_(network.parameters(), 5.0)
        optimizer.step()
        _average(averaged, accelerator.unwrap_model(network), min(0.995, (1 + step) / (20 + step)))
        means = {k: 0.98 * means.get(k, v.item()) + 0.02 * v.item() for k, v in terms.items()}
        if step % 100 == 0:
            spoken = "  ".join(f"{name} {value:.3f}" for name, value in means.items())
            accelerator.print(f"step {step}  {100 * share:.0f} %  {spoken}", flush=True)
        if time.monotonic() - saved > 180 and accelerator.is_main_process:
            save_mini_detector(averaged, config.out)
            saved = time.monotonic()
    if accelerator.is_main_process:
        save_mini_detector(averaged, config.out)
    return averaged


@torch.no_grad()
def _average(averaged: MiniDetectorNet, network: MiniDetectorNet, keep: float) -> None:
    for old, new in zip(averaged.state_dict().values(), network.state_dict().values(), strict=True):
        if old.is_floating_point():
            old.lerp_(new, 1 - keep)
        else:
            old.copy_(new)


# ---------------------------------------------------------------- judging


def judge(config: JudgeConfig) -> dict[str, float]:
    """Mask IoU over all pixels, and precision and recall of people at a box IoU of 0.5, beside a finder that answers
    every picture with the average one."""
    network = load_mini_detector(config.weights).network
    pictures = [frame.open() for frame in frames_of(load_clips(config.data, config.split), every=4)]
    counts = _Counts()
    average = _average_picture(pictures, network.config.long_side_px)
    for picture in pictures:
        height, width = picture.people.shape
        scale = network.config.long_side_px / max(height, width)
        size = (round(width * scale), round(height * scale))
        padded = plain(picture, (size[0] + -size[0] % 32, size[1] + -size[1] % 32))
        images = targets([padded]).images
        with torch.inference_mode():
            found = decode(network(images), size, network.config)
        people = padded.people[: size[1], : size[0]]
        wanted = _askable(people, padded.boxes_px)
        sure = found.scores >= config.score
        counts.add("finder", np.asarray(found.masks.any(axis=0)), people > 0, found.boxes_px[sure], wanted)
        mean_mask, mean_box = average
        guess = np.tile(size, 2) * mean_box
        counts.add("average picture", np.asarray(_resized(mean_mask, size) > 0.5), people > 0, guess[None], wanted)
    report = counts.report()
    print(json.dumps(report, indent=2))
    return report


class _Counts:
    """Running sums of what was found and what was there."""

    def __init__(self) -> None:
        self.sums: dict[str, np.ndarray] = {}

    def add(
        self, name: str, mask: np.ndarray, true_mask: np.ndarray, boxes: np.ndarray, true_boxes: np.ndarray
    ) -> None:
        overlap = box_iou(boxes, true_boxes)
        hits = 0
        while overlap.size and overlap.max() >= 0.5:
            hits += 1
            row, column = np.unravel_index(overlap.argmax(), overlap.shape)
            overlap[row], overlap[:, column] = 0, 0
        values = [(mask & true_mask).sum(), (mask | true_mask).sum(), hits, len(boxes), len(true_boxes)]
        self.sums[name] = self.sums.get(name, np.zeros(5)) + values

    def report(self) -> dict[str, float]:
        result = {}
        for name, (shared, union, hits, found, there) in self.sums.items():
            result |= {
                f"{name}: mask IoU": round(shared / max(union, 1), 3),
                f"{name}: recall": round(hits / max(there, 1), 3),
                f"{name}: precision": round(hits / max(found, 1), 3),
            }
        return result | {"people": float(next(iter(self.sums.values()))[4])}


def _askable(people: np.ndarray, boxes_px: np.ndarray) -> np.ndarray:
    large = [p for p in range(len(boxes_px)) if (people == p + 1).sum() >= SMALLEST_PERSON_PX]
    return boxes_px[large].astype(np.float64)


def _resized(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    import cv2

    return cv2.resize(mask, size, interpolation=cv2.INTER_LINEAR)


def _average_picture(pictures: list[Picture], side: int) -> tuple[np.ndarray, np.ndarray]:
    """The mean person mask, and the mean box as shares of the picture's sides."""
    masks = [_resized((picture.people > 0).astype(np.float32), (side, side)) for picture in pictures]
    boxes = [
        _askable(picture.people, picture.boxes_px) / np.tile(picture.people.shape[::-1], 2) for picture in pictures
    ]
    mean = np.mean(masks, axis=0)
    # The best constant answer: the share of pixels that people have, where they are most often.
    return mean / (2 * max(np.quantile(mean, 1 - mean.mean()), 1e-6)), np.concatenate(boxes).mean(axis=0)


if __name__ == "__main__":
    chosen = tyro.extras.subcommand_cli_from_dict({"train": TrainConfig, "judge": JudgeConfig})
    with command_line_errors():
        if isinstance(chosen, TrainConfig):
            train(chosen)
        else:
            judge(chosen)
