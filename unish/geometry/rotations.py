"""Rotations as matrices, axis-angle vectors and the six-number form that networks predict."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor


def axis_angle_to_matrix(axis_angle: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """Rotation matrix of a rotation vector in radians (Rodrigues); exact and differentiable at zero."""
    angle_squared = (axis_angle * axis_angle).sum(-1)[..., None, None]
    small = angle_squared < 1e-6
    safe = torch.where(small, torch.ones_like(angle_squared), angle_squared)
    angle = safe.sqrt()
    sine_ratio = torch.where(small, 1 - angle_squared / 6, torch.sin(angle) / angle)
    cosine_ratio = torch.where(small, 0.5 - angle_squared / 24, (1 - torch.cos(angle)) / safe)
    cross = skew(axis_angle)
    eye = torch.eye(3, dtype=axis_angle.dtype, device=axis_angle.device)
    return eye + sine_ratio * cross + cosine_ratio * (cross @ cross)


def matrix_to_axis_angle(rotation: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 3"]:
    """Rotation vector in radians, angle in [0, π]; by way of the quaternion, so that it is stable near 0 and π."""
    quaternion = matrix_to_quaternion(rotation)
    real, imaginary = quaternion[..., :1], quaternion[..., 1:]
    length = imaginary.norm(dim=-1, keepdim=True)
    angle = 2 * torch.atan2(length, real)
    small = length < 1e-8
    ratio = torch.where(small, 2 / real.clamp(min=0.5), angle / torch.where(small, torch.ones_like(length), length))
    return imaginary * ratio


def matrix_to_quaternion(rotation: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 4"]:
    """Unit quaternion (w, x, y, z) with w ≥ 0, taken from the best conditioned of its four expressions."""
    m = rotation
    m00, m11, m22 = m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]
    xy, xz, yz = m[..., 0, 1] + m[..., 1, 0], m[..., 0, 2] + m[..., 2, 0], m[..., 1, 2] + m[..., 2, 1]
    wx, wy, wz = m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]
    # Each row is the quaternion times four times one of its own components.
    rows = torch.stack(
        [
            torch.stack([1 + m00 + m11 + m22, wx, wy, wz], -1),
            torch.stack([wx, 1 + m00 - m11 - m22, xy, xz], -1),
            torch.stack([wy, xy, 1 - m00 + m11 - m22, yz], -1),
            torch.stack([wz, xz, yz, 1 - m00 - m11 + m22], -1),
        ],
        dim=-2,
    )
    best = rows.diagonal(dim1=-2, dim2=-1).argmax(-1)
    row = torch.take_along_dim(rows, best[..., None, None], dim=-2).squeeze(-2)
    quaternion = row / row.norm(dim=-1, keepdim=True)
    return torch.where(quaternion[..., :1] < 0, -quaternion, quaternion)


def rotation_6d_to_matrix(six: Float[Tensor, "*batch 6"]) -> Float[Tensor, "*batch 3 3"]:
    """Rotation whose first two columns are the first and last three numbers, orthonormalised (CameraHMR's order)."""
    first, last = six.unflatten(-1, (2, 3)).unbind(-2)
    first = torch.nn.functional.normalize(first, dim=-1)
    second = last - (first * last).sum(-1, keepdim=True) * first
    second = torch.nn.functional.normalize(second, dim=-1)
    return torch.stack([first, second, torch.linalg.cross(first, second, dim=-1)], dim=-1)


def matrix_to_rotation_6d(rotation: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 6"]:
    """The six numbers of `rotation_6d_to_matrix`: the first column, then the second."""
    return rotation[..., :2].mT.flatten(-2)


def nearest_rotation(matrix: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 3 3"]:
    """The rotation closest to `matrix` in the Frobenius norm: U diag(1, 1, det UVᵀ) Vᵀ, in float32 at least."""
    if matrix.device.type == "mps":  # which has no singular value decomposition
        return nearest_rotation(matrix.cpu()).to(matrix.device)
    with torch.autocast(device_type=matrix.device.type, enabled=False):
        return _NearestRotation.apply(matrix if matrix.dtype == torch.float64 else matrix.float())


class _NearestRotation(torch.autograd.Function):
    """The derivative of the rotation alone: that of the whole SVD is infinite where singular values meet, as at I."""

    @staticmethod
    def forward(ctx: Any, matrix: Tensor) -> Tensor:
        u, singular, vh = torch.linalg.svd(matrix)
        sign = torch.det(u @ vh)
        flip = torch.stack([torch.ones_like(sign), torch.ones_like(sign), sign], dim=-1)
        vh = flip[..., :, None] * vh
        ctx.save_for_backward(u, singular * flip, vh)
        return u @ vh

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        u, stretch, vh = ctx.saved_tensors
        inner = u.mT @ gradient @ vh.mT
        sums = (stretch[..., :, None] + stretch[..., None, :]).clamp(min=1e-3)
        return u @ ((inner - inner.mT) / sums) @ vh


def rotation_angle(rotation: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch"]:
    """Angle of a rotation in radians, in [0, π]; stable at both ends and differentiable away from them."""
    sine = 0.5 * torch.stack(
        [
            rotation[..., 2, 1] - rotation[..., 1, 2],
            rotation[..., 0, 2] - rotation[..., 2, 0],
            rotation[..., 1, 0] - rotation[..., 0, 1],
        ],
        dim=-1,
    ).norm(dim=-1)
    cosine = 0.5 * (rotation.diagonal(dim1=-2, dim2=-1).sum(-1) - 1)
    return torch.atan2(sine, cosine)


def slerp(
    start: Float[Tensor, "*batch 3 3"], end: Float[Tensor, "*batch 3 3"], fraction: Float[Tensor, "*batch"]
) -> Float[Tensor, "*batch 3 3"]:
    """Rotation on the shortest way from `start` (fraction 0) to `end` (fraction 1) at constant speed."""
    way = matrix_to_axis_angle(start.mT @ end)
    return start @ axis_angle_to_matrix(way * fraction[..., None])


def skew(vector: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """Matrix of the cross product: `skew(a) @ b` is a × b."""
    x, y, z = vector.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).unflatten(-1, (3, 3))
