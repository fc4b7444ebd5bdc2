"""People of a result with the poses that the pose lifter makes of the mini's: where a fit begins."""

import dataclasses

import numpy as np
import torch
from jaxtyping import Int

from unish.body import BodyModel
from unish.body.data import COCO_LIMBS
from unish.fitting.person_fit import with_course
from unish.fitting.pose_lifter import PoseLifter, Sighting, lift, load_pose_lifter
from unish.fitting.problem import Course
from unish.structures import Person, Reconstruction

LEAST_CONFIDENCE = 0.05
"""Of the limbs' keypoints, at the mean; who is hardly seen keeps the network's poses."""


def lifted_scene(scene: Reconstruction, body: BodyModel) -> Reconstruction:
    """The result with lifted poses, pelvises where they are; `scene` itself where it is not the mini's, as the lifter
    does not know the errors of other weights."""
    if scene.provenance.weights != "mini":
        return scene
    lifter = load_pose_lifter()
    return dataclasses.replace(scene, people=tuple(_lifted(scene, person, lifter, body) for person in scene.people))


def _lifted(scene: Reconstruction, person: Person, lifter: PoseLifter, body: BodyModel) -> Person:
    frames = np.flatnonzero(person.present)
    sighting = sighting_of(scene, person, frames)
    if sighting is None:
        return person
    betas = torch.from_numpy(np.array(person.betas))
    pelvis = torch.from_numpy(np.array(person.translation_camera[frames])) + body.pelvis_offset(betas).cpu()
    cameras = torch.from_numpy(scene.cameras.world_from_camera.astype(np.float64))
    return with_course(person, Course(lift(lifter, sighting).clone(), pelvis), frames, cameras, body)


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
