"""How far lifted poses are from the true ones; of filmed people, from where a teacher sees their limbs."""

from jaxtyping import Float
from torch import Tensor, nn

from train.pose_lifter.lifter_batches import FilmedBatch, LifterBatch
from unish.body.data import PARENTS, SMPL_LIMBS
from unish.body.lbs import joint_transforms
from unish.fitting.placement import placed
from unish.fitting.pose_lifter import PoseLifter
from unish.fitting.terms import box_heights

JOINTS_PER_M, ROTATIONS = 5.0, 0.5
"""Weights of the two terms: the mean distance of joints about the pelvis, and that of rotation matrices."""
LIMBS_PER_HEIGHT = 8.0
"""Weight of the mean distance of filmed people's limbs, in heights of their boxes."""
_ROUND = 1e-4
"""Below its root a distance counts squared."""
_NEAREST_M = 0.1


def losses(lifted: Float[Tensor, "batch frames 24 3 3"], batch: LifterBatch) -> dict[str, Tensor]:
    """Of lifted rotations."""
    rest = batch.rest_joints[:, None]
    found, true = (joint_transforms(rotations, rest, PARENTS)[1] for rotations in (lifted, batch.rotations))
    turned = (lifted - batch.rotations).square().sum((-2, -1))
    return {
        "joints": JOINTS_PER_M * ((found - true).square().sum(-1) + _ROUND).sqrt().mean(),
        "rotations": ROTATIONS * (turned + _ROUND).sqrt().mean(),
    }


def filmed_losses(lifted: Float[Tensor, "batch frames 24 3 3"], batch: FilmedBatch) -> dict[str, Tensor]:
    """Of lifted rotations, the body wherever its limbs are nearest to the teacher's: the pose alone is judged."""
    seen = batch.sighting
    joints = joint_transforms(lifted, batch.rest_joints[:, None], PARENTS)[1]
    limbs = (joints - joints[..., :1, :])[..., list(SMPL_LIMBS), :]
    focal = seen.focal_px[..., None, None]
    slopes = (batch.limbs_px - seen.size_px[:, None, None] / 2) / focal
    in_camera = limbs + placed(limbs, slopes, batch.weight)[..., None, :]
    off_px = focal * (in_camera[..., :2] / in_camera[..., 2:].clamp(min=_NEAREST_M) - slopes)
    off = off_px / box_heights(seen.boxes_px)[..., None, None]
    distance = (off.square().sum(-1) + _ROUND).sqrt()
    return {"limbs": LIMBS_PER_HEIGHT * (batch.weight * distance).sum() / batch.weight.sum().clamp(min=1.0)}


class LifterObjective(nn.Module):
    """The network as the training loop trains it (`train.engine.loop.Objective`)."""

    name = "pose lifter"
    trainable = ("network.",)

    def __init__(self, network: PoseLifter) -> None:
        super().__init__()
        self.network = network

    def forward(self, batch: LifterBatch | FilmedBatch) -> dict[str, Tensor]:
        lifted = self.network(batch.sighting)
        return filmed_losses(lifted, batch) if isinstance(batch, FilmedBatch) else losses(lifted, batch)
