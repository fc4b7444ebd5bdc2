"""Rigid motions as 4×4 matrices. Names say the frames: `world_from_camera @ camera_from_body` cancels inside."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor


def rigid(rotation: Float[Tensor, "*batch 3 3"], translation: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 4 4"]:
    """4×4 matrix of x → rotation·x + translation; the translation keeps its unit."""
    top = torch.cat([rotation, translation[..., None]], dim=-1)
    bottom = torch.zeros_like(top[..., :1, :])
    bottom[..., 3] = 1
    return torch.cat([top, bottom], dim=-2)


def invert_rigid(matrix: Float[Tensor, "*batch 4 4"]) -> Float[Tensor, "*batch 4 4"]:
    """Inverse of a rigid motion, by transposing its rotation."""
    rotation = matrix[..., :3, :3].mT
    return rigid(rotation, -(rotation @ matrix[..., :3, 3:])[..., 0])


def transform_points(
    matrix: Float[Tensor, "*#batch 4 4"], points: Float[Tensor, "*#batch points 3"]
) -> Float[Tensor, "*#batch points 3"]:
    """Points of the matrix's right-hand frame, expressed in its left-hand frame."""
    return points @ matrix[..., :3, :3].mT + matrix[..., None, :3, 3]


def relative_to_first(
    world_from_camera: Float[Tensor, "*batch frames 4 4"],
) -> Float[Tensor, "*batch frames 4 4"]:
    """The same cameras with the first camera as the world: inv(c₀) · cᵢ, a general inverse as π³ takes it."""
    with torch.autocast(device_type=world_from_camera.device.type, enabled=False):
        return torch.linalg.inv(world_from_camera[..., :1, :, :]) @ world_from_camera


def upright_rotation(
    up_world: Float[np.ndarray, "3"], world_from_camera: Float[np.ndarray, "4 4"]
) -> Float[np.ndarray, "3 3"]:
    """upright_from_world: up becomes z, and the camera's forward, made level, becomes y.

    A camera that looks straight down has the top of its image ahead, one that looks straight up has it behind. An
    `up_world` that is zero or not finite is replaced by the camera's own up, a camera that is not finite by the world.
    """
    camera = np.asarray(world_from_camera, np.float64)[:3, :3]
    camera = camera if np.isfinite(camera).all() else np.eye(3)
    up = np.asarray(up_world, np.float64)
    up = up if np.isfinite(up).all() and np.linalg.norm(up) > 1e-9 else -camera[:, 1]
    up = up / np.linalg.norm(up)
    forward = camera[:, 2]
    if abs(forward @ up) > 0.99:
        forward = camera[:, 1] * np.sign(forward @ up)
    forward = forward - (forward @ up) * up
    forward = forward / np.linalg.norm(forward)
    return np.stack([np.cross(forward, up), forward, up])
