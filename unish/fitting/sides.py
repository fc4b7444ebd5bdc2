"""Keypoints whose left and right are confused, as of somebody in dark clothes whose back looks like a front.

Poses are lifted over time, so a frame whose sides are swapped stands out: its keypoints agree better with its pose once
they are swapped back. Then poses are lifted anew. That all of them are swapped shows in people who walk, as they would
walk backwards.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unish.body.data import COCO_LIMBS, PARENTS, SMPL_LIMBS
from unish.body.lbs import joint_transforms
from unish.fitting.placement import pelvis_on_keypoints
from unish.fitting.pose_lifter import PoseLifter, Sighting, lift
from unish.fitting.terms import box_heights
from unish.geometry.transforms import transform_points
from unish.people.mini_keypoints import MIRRORED_KEYPOINTS

ROUNDS = 4
"""Most times that poses are lifted anew."""
NEARER, NEARER_SHARE = 0.01, 0.1
"""Keypoints are swapped where that brings them nearer to the pose by so much of the box's height, and by such a share
of their distance."""
ALL_NEARER_SHARE = 0.05
"""All are, where such a share is gained at the mean, and the person then walks forwards, no less than before."""
WALKS_M, FORWARDS = 1.0, 0.5
"""How far somebody gets who walks, and the least mean cosine between path and facing of who walks forwards."""


@dataclass(frozen=True)
class Lifted:
    """Poses of one person, and the keypoints that they were lifted from, sides sorted."""

    sighting: Sighting
    rotations: Float[Tensor, "frames 24 3 3"]
    """The root's in the camera's frame."""
    joints: Float[Tensor, "frames 24 3"]
    """About the pelvis, in the camera's axes, metres."""
    pelvis: Float[Tensor, "frames 3"]
    """Where the keypoints put it, camera frame, metres."""

    def off_keypoints(self, sighting: Sighting) -> Float[Tensor, "frames"]:
        """Mean distance of the limbs' joints from keypoints, as shares of the box's height, once the body is where it
        agrees best; infinity where no limb is seen."""
        joints = self.joints[:, list(SMPL_LIMBS)] + self.pelvis[:, None]
        places = joints[..., :2] / joints[..., 2:].clamp(min=1e-3) * sighting.focal_px[:, None, None]
        limbs = sighting.keypoints_px[:, list(COCO_LIMBS)]
        weight = limbs[..., 2]
        total = weight.sum(-1)
        share = (weight / total.clamp(min=1e-6)[:, None])[..., None]
        off = limbs[..., :2] - places
        off = (off - (share * off).sum(-2, keepdim=True)).norm(dim=-1)
        mean = (share[..., 0] * off).sum(-1) / box_heights(sighting.boxes_px)
        return torch.where(total > 0, mean, torch.inf)


def lifted_with_sides(
    lifter: PoseLifter,
    sighting: Sighting,
    rest_joints: Float[Tensor, "24 3"],
    pelvis: Float[Tensor, "frames 3"],
    world_from_camera: Float[Tensor, "frames 4 4"],
) -> Lifted:
    """The poses of a person whose keypoints have their sides sorted; `pelvis` is where the network has it."""

    def settled(swapped: Bool[Tensor, "frames"]) -> tuple[Lifted, float]:
        best, least = None, torch.inf
        for _ in range(ROUNDS):
            seen = _swapped(sighting, swapped)
            lifted = _lifted(lifter, seen, rest_joints, pelvis)
            off, other = lifted.off_keypoints(seen), lifted.off_keypoints(_swapped(seen, torch.ones_like(swapped)))
            told = off.isfinite()
            mean = float(off[told].mean()) if told.any() else 0.0
            if best is None or mean < least:
                best, least = lifted, mean
            wrong = told & (other < off - NEARER) & (other < (1 - NEARER_SHARE) * off)
            if not wrong.any():
                break
            swapped = swapped ^ wrong
        assert best is not None
        return best, least

    none = torch.zeros(len(pelvis), dtype=torch.bool)
    plain, off = settled(none)
    length_m, forwards = _walk(plain, world_from_camera)
    if length_m < WALKS_M:
        return plain
    turned, off_turned = settled(~none)
    is_nearer = off_turned < (1 - ALL_NEARER_SHARE) * off
    return turned if is_nearer and _walk(turned, world_from_camera)[1] > max(forwards, FORWARDS) else plain


def _swapped(sighting: Sighting, frames: Bool[Tensor, "frames"]) -> Sighting:
    keypoints = sighting.keypoints_px
    other = keypoints[:, list(MIRRORED_KEYPOINTS)]
    return replace(sighting, keypoints_px=torch.where(frames[:, None, None], other, keypoints))


def _lifted(
    lifter: PoseLifter, sighting: Sighting, rest_joints: Float[Tensor, "24 3"], pelvis: Float[Tensor, "frames 3"]
) -> Lifted:
    rotations = lift(lifter, sighting).clone()
    joints = joint_transforms(rotations, rest_joints, PARENTS)[1]
    joints = joints - joints[:, :1]
    return Lifted(sighting, rotations, joints, pelvis_on_keypoints(joints, pelvis, sighting))


def _walk(lifted: Lifted, world_from_camera: Float[Tensor, "frames 4 4"]) -> tuple[float, float]:
    """Length of the straight line that fits the person's path best, metres, and the mean cosine between it and where
    the body faces, seen from above."""
    times = lifted.sighting.times_s.double()
    about = times - times.mean()
    if len(times) < 3 or not about.square().sum() > 0:
        return 0.0, 0.0
    places = transform_points(world_from_camera, lifted.pelvis.double()[:, None])[:, 0, :2]
    velocity = (about[:, None] * (places - places.mean(0))).sum(0) / about.square().sum()
    facing = (world_from_camera[:, :3, :3] @ lifted.rotations[:, 0].double())[..., :2, 2]
    cosine = torch.nn.functional.cosine_similarity(facing, velocity.expand_as(facing), dim=-1)
    return float(velocity.norm() * (times[-1] - times[0])), float(cosine.mean())
