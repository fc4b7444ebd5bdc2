"""How far lifted poses are from the true ones."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn

from train.data.batches import Batch
from unish.body.data import PARENTS
from unish.body.lbs import joint_transforms
from unish.fitting.pose_lifter import PoseLifter, Sighting

JOINTS_PER_M, ROTATIONS = 5.0, 0.5
"""Weights of the two terms: the mean distance of joints about the pelvis, and that of rotation matrices."""
_ROUND = 1e-4
"""Below its root a distance counts squared."""


@dataclass(frozen=True)
class LifterBatch(Batch):
    """People with as many frames each."""

    sighting: Sighting
    rotations: Float[Tensor, "batch frames 24 3 3"]
    rest_joints: Float[Tensor, "batch 24 3"]


def losses(lifted: Float[Tensor, "batch frames 24 3 3"], batch: LifterBatch) -> dict[str, Tensor]:
    """Of lifted rotations."""
    rest = batch.rest_joints[:, None]
    found, true = (joint_transforms(rotations, rest, PARENTS)[1] for rotations in (lifted, batch.rotations))
    turned = (lifted - batch.rotations).square().sum((-2, -1))
    return {
        "joints": JOINTS_PER_M * ((found - true).square().sum(-1) + _ROUND).sqrt().mean(),
        "rotations": ROTATIONS * (turned + _ROUND).sqrt().mean(),
    }


class LifterObjective(nn.Module):
    """The network as the training loop trains it (`train.engine.loop.Objective`)."""

    name = "pose lifter"
    trainable = ("network.",)

    def __init__(self, network: PoseLifter) -> None:
        super().__init__()
        self.network = network

    def forward(self, batch: LifterBatch) -> dict[str, Tensor]:
        return losses(self.network(batch.sighting), batch)
