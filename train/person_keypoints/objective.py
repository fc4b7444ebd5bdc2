"""How far the keypoint network's answer is from where the keypoints are."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from train.person_keypoints.augmentation import KeypointCropBatch
from unish.people.mini_keypoints import MiniKeypointNet, MiniKeypointOutput

SPREAD_CELLS = 1.0
"""Standard deviation of the target around a keypoint."""


def target_cells(cells: Float[Tensor, "batch 17 2"], height: int, width: int) -> Float[Tensor, "batch 17 h w"]:
    """A Gaussian around each keypoint that sums to 1."""
    columns, rows = (torch.arange(n, device=cells.device, dtype=cells.dtype) for n in (width, height))
    x = torch.exp(-((columns - cells[..., :1]) ** 2) / (2 * SPREAD_CELLS**2))
    y = torch.exp(-((rows - cells[..., 1:]) ** 2) / (2 * SPREAD_CELLS**2))
    bumps = y[..., :, None] * x[..., None, :]
    return bumps / bumps.sum((-2, -1), keepdim=True).clamp(min=1e-12)


def losses(output: MiniKeypointOutput, batch: KeypointCropBatch) -> dict[str, Tensor]:
    """Cross-entropy of the softmax over cells and absence, over what is known."""
    height, width = output.cell_logits.shape[-2:]
    logits = torch.cat([output.cell_logits.flatten(2), output.absent_logits[..., None]], dim=-1)
    logs = logits.log_softmax(-1)
    place = -(target_cells(batch.cells, height, width).flatten(2) * logs[..., :-1]).sum(-1)
    total = (batch.place_weight + batch.absent_weight).sum().clamp(min=1.0)
    return {
        "place": (place * batch.place_weight).sum() / total,
        "absent": -(logs[..., -1] * batch.absent_weight).sum() / total,
    }


class KeypointObjective(nn.Module):
    """The network as the training loop trains it (`train.engine.loop.Objective`)."""

    name = "keypoint network"
    trainable = ("network.",)

    def __init__(self, network: MiniKeypointNet, bfloat16: bool) -> None:
        super().__init__()
        self.network, self.in_bfloat16 = network, bfloat16

    def forward(self, batch: KeypointCropBatch) -> dict[str, Tensor]:
        images = batch.images.contiguous(memory_format=torch.channels_last)
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.in_bfloat16):
            output = self.network(images)
        return losses(MiniKeypointOutput(*(values.float() for values in output)), batch)
