"""How far the keypoint network's answer is from where the keypoints are."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from train.person_keypoints.augmentation import KeypointCropBatch
from unish.people.mini_keypoints import MiniKeypointNet, MiniKeypointOutput

SPREAD_CELLS = 1.0
"""Standard deviation of the target around a keypoint."""
MASK_WEIGHT = 2.0
"""How much the mask counts beside the keypoints."""


def target_cells(cells: Float[Tensor, "batch 17 2"], height: int, width: int) -> Float[Tensor, "batch 17 h w"]:
    """A Gaussian around each keypoint that sums to 1."""
    columns, rows = (torch.arange(n, device=cells.device, dtype=cells.dtype) for n in (width, height))
    x = torch.exp(-((columns - cells[..., :1]) ** 2) / (2 * SPREAD_CELLS**2))
    y = torch.exp(-((rows - cells[..., 1:]) ** 2) / (2 * SPREAD_CELLS**2))
    bumps = y[..., :, None] * x[..., None, :]
    return bumps / bumps.sum((-2, -1), keepdim=True).clamp(min=1e-12)


def losses(output: MiniKeypointOutput, batch: KeypointCropBatch) -> dict[str, Tensor]:
    """Cross-entropies of the softmax over cells and absence, and of the mask's pixels, over what is known."""
    height, width = output.cell_logits.shape[-2:]
    logits = torch.cat([output.cell_logits.flatten(2), output.absent_logits[..., None]], dim=-1)
    logs = logits.log_softmax(-1)
    place = -(target_cells(batch.cells, height, width).flatten(2) * logs[..., :-1]).sum(-1)
    total = (batch.place_weight + batch.absent_weight).sum().clamp(min=1.0)
    return {
        "place": (place * batch.place_weight).sum() / total,
        "absent": -(logs[..., -1] * batch.absent_weight).sum() / total,
        "mask": MASK_WEIGHT * mask_loss(output.mask_logits, batch.masks, batch.mask_weight),
    }


def mask_loss(
    logits: Float[Tensor, "batch h w"], shares: Float[Tensor, "batch h w"], weight: Float[Tensor, "batch"]
) -> Float[Tensor, ""]:
    """Cross-entropy of the mean pixel, and one minus the soft Dice overlap."""
    pixels = functional.binary_cross_entropy_with_logits(logits, shares, reduction="none").mean((-2, -1))
    chance = logits.sigmoid()
    dice = 2 * (chance * shares).sum((-2, -1)) / (chance + shares).sum((-2, -1)).clamp(min=1e-6)
    return ((pixels + 1 - dice) * weight).sum() / weight.sum().clamp(min=1.0)


class KeypointObjective(nn.Module):
    """The network as the training loop trains it (`train.engine.loop.Objective`)."""

    name = "keypoint network"

    def __init__(self, network: MiniKeypointNet, bfloat16: bool, only_mask: bool = False) -> None:
        super().__init__()
        self.network, self.in_bfloat16, self.only_mask = network, bfloat16, only_mask
        self.trainable = ("network.mask.",) if only_mask else ("network.",)

    def train(self, mode: bool = True) -> "KeypointObjective":
        """Statistics of what does not learn stay as they are, too."""
        super().train(mode)
        if self.only_mask:
            self.network.eval().mask.train(mode)
        return self

    def forward(self, batch: KeypointCropBatch) -> dict[str, Tensor]:
        images = batch.images.contiguous(memory_format=torch.channels_last)
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.in_bfloat16):
            output = self.network(images)
        return losses(MiniKeypointOutput(*(values.float() for values in output)), batch)
