"""The mini's people with the poses that the pose lifter makes of theirs: where a fit begins, or what stays without."""

import dataclasses

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from unish.body import BodyModel
from unish.body.data import COCO_LIMBS, PARENTS, SMPL_LIMBS
from unish.body.lbs import joint_transforms
from unish.fitting.person_fit import with_course
from unish.fitting.placement import placed, shifted
from unish.fitting.pose_lifter import PoseLifter, Sighting, lift, load_pose_lifter
from unish.fitting.problem import Course
from unish.structures import Person, Reconstruction

LEAST_CONFIDENCE = 0.05
"""Of the limbs' keypoints, at the mean; who is hardly seen keeps the network's poses."""


LEAST_WEIGHT = 2.0
"""Sum of the confidences of a frame's limbs that tell where the body is."""


def lifted_scene(scene: Reconstruction, body: BodyModel, on_keypoints: bool = False) -> Reconstruction:
    """The result with lifted poses, pelvises where they are, or with bodies `on_keypoints`: what is left to do where
    nothing is fitted. `scene` itself where it is not the mini's, as the lifter does not know the errors of other
    weights."""
    if scene.provenance.weights != "mini":
        return scene
    lifter = load_pose_lifter()
    people = tuple(_lifted(scene, person, lifter, body, on_keypoints) for person in scene.people)
    return dataclasses.replace(scene, people=people)


def _lifted(scene: Reconstruction, person: Person, lifter: PoseLifter, body: BodyModel, on_keypoints: bool) -> Person:
    frames = np.flatnonzero(person.present)
    sighting = sighting_of(scene, person, frames)
    if sighting is None:
        return person
    betas = torch.from_numpy(np.array(person.betas))
    pelvis = torch.from_numpy(np.array(person.translation_camera[frames])) + body.pelvis_offset(betas).cpu()
    cameras = torch.from_numpy(scene.cameras.world_from_camera.astype(np.float64))
    rotations = lift(lifter, sighting).clone()
    if on_keypoints:
        joints = joint_transforms(rotations, body.rest_joints(betas).float().cpu(), PARENTS)[1]
        pelvis = _pelvis_on_keypoints(joints - joints[:, :1], pelvis, sighting)
    return with_course(person, Course(rotations, pelvis), frames, cameras, body)


def _pelvis_on_keypoints(
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


def sighting_of(scene: Reconstruction, person: Person, frames: Int[np.ndarray, "frames"]) -> Sighting | None:
    """What the lifter looks at; None where there is too little, or what is not finite."""
    if person.keypoints_px is None or not len(frames):
        return None
    arrays = (
        person.keypoints_px[frames],
        person.boxes_px[frames],
        person.body_rotations[frames],
        scene.cameras.intrinsics[frames, 0, 0],
        np.array([scene.cameras.width_px, scene.cameras.height_px]),
        scene.times_s[frames] - scene.times_s[frames[0]],
    )
    if not all(np.isfinite(array).all() for array in arrays):
        return None
    if arrays[0][:, list(COCO_LIMBS), 2].mean() < LEAST_CONFIDENCE:
        return None
    return Sighting(*(torch.from_numpy(np.array(array, np.float32)) for array in arrays))
