"""Linear blend skinning of SMPL-format bodies (SMPL, Loper et al. 2015, section 3), batched and differentiable."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor


def joint_transforms(
    rotations: Float[Tensor, "*#batch joints 3 3"],
    rest_joints: Float[Tensor, "*#batch joints 3"],
    parents: tuple[int, ...],
) -> tuple[Float[Tensor, "*#batch joints 3 3"], Float[Tensor, "*batch joints 3"]]:
    """Follow the kinematic tree: orientation and position of every joint in the frame of the root's parent.

    `parents[k]` comes before k in the tree and is -1 for the root. The root stays at its rest place.
    """
    batch = np.broadcast_shapes(rotations.shape[:-3], rest_joints.shape[:-2])
    orientations = [rotations[..., 0, :, :].expand(*batch, 3, 3)]
    positions = [rest_joints[..., 0, :].expand(*batch, 3)]
    for joint, parent in enumerate(parents[1:], start=1):
        bone = rest_joints[..., joint, :] - rest_joints[..., parent, :]
        positions.append(positions[parent] + (orientations[parent] @ bone[..., None])[..., 0])
        orientations.append(orientations[parent] @ rotations[..., joint, :, :])
    return torch.stack(orientations, dim=-3), torch.stack(positions, dim=-2)


def pose_features(rotations: Float[Tensor, "*#batch joints 3 3"]) -> Float[Tensor, "*batch features"]:
    """What SMPL's pose directions multiply: R − I of every joint but the root, row by row."""
    identity = torch.eye(3, dtype=rotations.dtype, device=rotations.device)
    return (rotations[..., 1:, :, :] - identity).flatten(-3)


def skin(
    shaped: Float[Tensor, "*#batch vertices 3"],
    rest_joints: Float[Tensor, "*#batch joints 3"],
    orientations: Float[Tensor, "*#batch joints 3 3"],
    positions: Float[Tensor, "*#batch joints 3"],
    weights: Float[Tensor, "vertices joints"],
) -> Float[Tensor, "*batch vertices 3"]:
    """Blend the joints' rigid motions over the vertices by their skinning weights."""
    moves = positions - (orientations @ rest_joints[..., None])[..., 0]
    blended_rotation = torch.einsum("vj,...jab->...vab", weights, orientations)
    blended_move = torch.einsum("vj,...ja->...va", weights, moves)
    return (blended_rotation @ shaped[..., None])[..., 0] + blended_move


def move_translation(
    rotation: Float[Tensor, "*#batch 3 3"],
    shift: Float[Tensor, "*#batch 3"],
    translation: Float[Tensor, "*#batch 3"],
    pelvis_offset: Float[Tensor, "*#batch 3"],
) -> Float[Tensor, "*#batch 3"]:
    """Translation of a body after the rigid motion x → rotation·x + shift (metres).

    SMPL turns the body about its pelvis J0(β) and then adds the translation, so moving every vertex by a
    rigid motion maps the translation t to R(J0 + t) + T − J0, and the root orientation to R·R0.
    """
    pelvis = pelvis_offset + translation
    return (rotation @ pelvis[..., None])[..., 0] + shift - pelvis_offset
