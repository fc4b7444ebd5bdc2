"""The mini's people with the poses that the pose lifter makes of theirs: where a fit begins, or what stays without."""

import dataclasses

import numpy as np
import torch
from jaxtyping import Int

from unish.body import BodyModel
from unish.body.data import COCO_LIMBS
from unish.fitting.person_fit import with_course
from unish.fitting.pose_lifter import PoseLifter, Sighting, load_pose_lifter
from unish.fitting.problem import Course
from unish.fitting.sides import lifted_with_sides
from unish.structures import Person, Reconstruction

LEAST_CONFIDENCE = 0.05
"""Of the limbs' keypoints, at the mean; who is hardly seen keeps the network's poses."""


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
    rest = body.rest_joints(betas).float().cpu()
    lifted = lifted_with_sides(lifter, sighting, rest, pelvis, cameras[frames])
    keypoints = np.array(person.keypoints_px)
    keypoints[frames] = lifted.sighting.keypoints_px.numpy()
    course = Course(lifted.rotations, lifted.pelvis if on_keypoints else pelvis)
    return with_course(dataclasses.replace(person, keypoints_px=keypoints), course, frames, cameras, body)


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
