"""Where a posed body stands, by where its joints are seen: in closed form."""

import torch
from jaxtyping import Float
from torch import Tensor

from unish.body.data import COCO_LIMBS, SMPL_LIMBS
from unish.fitting.pose_lifter import Sighting

LEAST_WEIGHT = 2.0
"""Sum of the confidences of a frame's limbs that tell where the body is."""
_NEAREST = 0.3
"""A joint is no nearer than this share of the origin's distance."""
_PASSES = 4
_ROUND = 1e-6


def placed(
    joints: Float[Tensor, "*batch joints 3"],
    slopes: Float[Tensor, "*batch joints 2"],
    weight: Float[Tensor, "*batch joints"],
) -> Float[Tensor, "*batch 3"]:
    """Where the origin of the joints is in the frame of a camera that sees them along x/z, y/z.

    `joints`: metres, in the camera's axes. The weighted least squares of slopes, with each joint as far from the camera
    as the pass before had it, which began with all of them at one distance. Differentiable. Where no weight is left, or
    the joints would have to be mirrored, the place is very far away.
    """
    share = (weight / weight.sum(-1, keepdim=True).clamp(min=_ROUND))[..., None]
    inverse_depth = torch.zeros_like(slopes[..., :1, :1])
    middle = middle_seen = torch.zeros_like(slopes[..., :1, :])
    for _ in range(_PASSES):
        # slopes = inverse_depth * (joints + lateral) * nearness: linear in inverse_depth and inverse_depth * lateral
        nearness = 1 / (1 + joints[..., 2:] * inverse_depth).clamp(min=_NEAREST)
        flat = joints[..., :2] * nearness
        total = (share * nearness.square()).sum(-2, keepdim=True).clamp(min=_ROUND)
        middle, middle_seen = ((share * nearness * x).sum(-2, keepdim=True) / total for x in (flat, slopes))
        about, about_seen = flat - middle * nearness, slopes - middle_seen * nearness
        spread = (share * about.square()).sum((-2, -1), keepdim=True).clamp(min=_ROUND)
        inverse_depth = ((share * about * about_seen).sum((-2, -1), keepdim=True) / spread).clamp(min=_ROUND)
    lateral = middle_seen / inverse_depth - middle
    return torch.cat([lateral, 1 / inverse_depth], dim=-1)[..., 0, :]


def shifted(
    joints: Float[Tensor, "*batch joints 3"],
    slopes: Float[Tensor, "*batch joints 2"],
    weight: Float[Tensor, "*batch joints"],
    depth_m: Float[Tensor, "*batch"],
) -> Float[Tensor, "*batch 3"]:
    """As `placed`, where the depth of the origin is known and only the place across the image is not."""
    depth = (joints[..., 2] + depth_m[..., None]).clamp(min=_NEAREST * depth_m[..., None])
    share = weight / depth.square()
    share = (share / share.sum(-1, keepdim=True).clamp(min=_ROUND))[..., None]
    lateral = (share * (slopes * depth[..., None] - joints[..., :2])).sum(-2)
    return torch.cat([lateral, depth_m[..., None]], dim=-1)


def pelvis_on_keypoints(
    joints: Float[Tensor, "frames 24 3"], pelvis: Float[Tensor, "frames 3"], sighting: Sighting
) -> Float[Tensor, "frames 3"]:
    """Where the limbs' keypoints put the pelvis: across the image in every frame, and in depth all along by as much."""
    limbs, seen = joints[:, list(SMPL_LIMBS)], sighting.keypoints_px[:, list(COCO_LIMBS)]
    slopes = (seen[..., :2] - sighting.size_px / 2) / sighting.focal_px[:, None, None]
    weight = seen[..., 2]
    told = weight.sum(-1) >= LEAST_WEIGHT
    if not told.any():
        return pelvis
    farther = placed(limbs, slopes, weight)[told, 2] / pelvis[told, 2]
    scaled = pelvis * farther.log().median().exp()
    return torch.where(told[:, None], shifted(limbs, slopes, weight, scaled[:, 2]), scaled)
