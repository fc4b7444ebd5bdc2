"""What the detector is asked for on a batch of images, and how far it is from that."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from train.data.batches import Batch
from train.person_detector.person_images import SMALLEST_PERSON_PX, UNKNOWN, PersonImage
from unish.people.mini_detector import MiniDetectorNet, MiniDetectorOutput, boxes_of_cells
from unish.people.pyramid import STRIDE


@dataclass(frozen=True)
class DetectorBatch(Batch):
    """Images and the targets of the network, the latter at a quarter of the images' resolution."""

    images: Float[Tensor, "batch 3 height width"]
    """In 0..1."""
    mask: Float[Tensor, "batch h w"]
    """Share of each cell that shows a person."""
    mask_weight: Float[Tensor, "batch h w"]
    """0 where nobody knows whether the cell shows a person."""
    center: Float[Tensor, "batch h w"]
    """Gaussian bumps at people's middles, exactly 1 at the middle."""
    center_weight: Float[Tensor, "batch h w"]
    """0 around people who are not asked for: too small, or uncertain."""
    boxes: Float[Tensor, "batch 4 h w"]
    """x0, y0, x1, y1 of the person in each cell, input pixels."""
    box_weight: Float[Tensor, "batch h w"]
    """0 where there is no person; every person weighs the same."""


def make_batch(images: list[PersonImage]) -> DetectorBatch:
    """The batch of images of one size."""
    parts = [_targets(image) for image in images]
    rgb = torch.from_numpy(np.stack([image.rgb for image in images])).permute(0, 3, 1, 2).float() / 255
    return DetectorBatch(rgb, *(torch.from_numpy(np.stack(values)) for values in zip(*parts, strict=True)))


def _targets(image: PersonImage) -> tuple[np.ndarray, ...]:
    height, width = image.people.shape
    h, w = height // STRIDE, width // STRIDE
    cells_of = image.people.reshape(h, STRIDE, w, STRIDE)
    known = cells_of != UNKNOWN
    mask = (((cells_of > 0) & known).sum((1, 3)) / known.sum((1, 3)).clip(1)).astype(np.float32)
    mask_weight = known.mean((1, 3)).astype(np.float32)
    owner = image.people[STRIDE // 2 :: STRIDE, STRIDE // 2 :: STRIDE]
    center, center_weight = np.zeros((h, w), np.float32), np.ones((h, w), np.float32)
    boxes, box_weight = np.zeros((4, h, w), np.float32), np.zeros((h, w), np.float32)
    rows, columns = np.mgrid[:h, :w]
    for person, (box, certain) in enumerate(zip(image.boxes_px, image.certain, strict=True)):
        area = float(np.sqrt(max((box[2:] - box[:2]).prod(), 0.0)))
        cells = np.argwhere(owner == person + 1)
        if not certain:
            x0, y0, x1, y1 = (box / STRIDE).round().astype(int)
            center_weight[y0 : y1 + 1, x0 : x1 + 1] = 0
        if not certain or not len(cells):
            continue
        boxes[:, cells[:, 0], cells[:, 1]] = box[:, None]
        box_weight[cells[:, 0], cells[:, 1]] = 1 / max(len(cells), 4) ** 0.5
        if len(cells) * STRIDE**2 < SMALLEST_PERSON_PX:
            center_weight[cells[:, 0], cells[:, 1]] = 0
            continue
        # The middle is a cell that shows the person, so that its box is the person's.
        row, column = cells[np.abs(cells - cells.mean(0)).sum(1).argmin()]
        spread = max(0.12 * max(area, 1.0) / STRIDE, 0.7)
        bump = np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / (2 * spread**2)).astype(np.float32)
        bump[row, column] = 1.0
        center = np.maximum(center, bump)
    return mask, mask_weight, center, center_weight, boxes, box_weight


def losses(output: MiniDetectorOutput, batch: DetectorBatch) -> dict[str, Tensor]:
    """Mask: cross-entropy and Dice. Middles: CenterNet's focal loss. Boxes: generalized IoU."""
    probability = torch.sigmoid(output.mask_logits) * batch.mask_weight
    wanted = batch.mask * batch.mask_weight
    dice = 1 - (2 * (probability * wanted).sum((1, 2)) + 1) / (probability.sum((1, 2)) + wanted.sum((1, 2)) + 1)
    entropy = functional.binary_cross_entropy_with_logits(output.mask_logits, batch.mask, batch.mask_weight)
    return {
        "mask": 2 * entropy + 0.5 * dice.mean(),
        "center": _focal(output.center_logits, batch.center, batch.center_weight),
        "box": _box_loss(output.edges_px, batch.boxes, batch.box_weight),
    }


def _focal(logits: Tensor, wanted: Tensor, weight: Tensor) -> Tensor:
    """Penalty-reduced focal loss (Objects as Points), per person."""
    probability = torch.sigmoid(logits)
    middle = (wanted == 1).float()
    hit = middle * (1 - probability) ** 2 * functional.logsigmoid(logits)
    miss = (1 - middle) * (1 - wanted) ** 4 * probability**2 * functional.logsigmoid(-logits)
    return -((hit + miss) * weight).sum() / middle.sum().clamp(min=1)


def _box_loss(edges_px: Tensor, wanted: Tensor, weight: Tensor) -> Tensor:
    predicted = boxes_of_cells(edges_px)
    low, high = torch.maximum(predicted[:, :2], wanted[:, :2]), torch.minimum(predicted[:, 2:], wanted[:, 2:])
    shared = (high - low).clamp(min=0).prod(1)
    union = (predicted[:, 2:] - predicted[:, :2]).prod(1) + (wanted[:, 2:] - wanted[:, :2]).prod(1) - shared
    hull_low, hull_high = torch.minimum(predicted[:, :2], wanted[:, :2]), torch.maximum(predicted[:, 2:], wanted[:, 2:])
    hull = (hull_high - hull_low).prod(1).clamp(min=1)
    generalized = shared / union.clamp(min=1) - (hull - union) / hull
    return ((1 - generalized) * weight).sum() / weight.sum().clamp(min=1e-3)


class DetectorObjective(nn.Module):
    """The network as the training loop trains it (`train.engine.loop.Objective`)."""

    name = "person detector"
    trainable = ("network.",)

    def __init__(self, network: MiniDetectorNet, bfloat16: bool) -> None:
        super().__init__()
        self.network, self.in_bfloat16 = network, bfloat16

    def forward(self, batch: DetectorBatch) -> dict[str, Tensor]:
        images = batch.images.contiguous(memory_format=torch.channels_last)
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.in_bfloat16):
            output = self.network(images)
        return losses(MiniDetectorOutput(*(values.float() for values in output)), batch)
