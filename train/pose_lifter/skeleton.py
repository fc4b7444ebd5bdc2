"""Forward kinematics of many bodies at once, without their surfaces."""

import torch
from jaxtyping import Float
from torch import Tensor

from unish.body.data import PARENTS


def posed_joints(
    rotations: Float[Tensor, "*batch 24 3 3"], rest_joints: Float[Tensor, "*#batch 24 3"]
) -> tuple[Float[Tensor, "*batch 24 3"], Float[Tensor, "*batch 24 3 3"]]:
    """Joints about the pelvis, in metres, and their orientations; both in the frame of the root's rotation."""
    places = [torch.zeros_like(rotations[..., 0, :, 0])]
    orientations = [rotations[..., 0, :, :]]
    for joint in range(1, len(PARENTS)):
        parent = PARENTS[joint]
        bone = rest_joints[..., joint, :] - rest_joints[..., parent, :]
        places.append(places[parent] + (orientations[parent] @ bone[..., None])[..., 0])
        orientations.append(orientations[parent] @ rotations[..., joint, :, :])
    return torch.stack(places, dim=-2), torch.stack(orientations, dim=-3)
