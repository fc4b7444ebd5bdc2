"""A scene made larger or raised as a whole: points, cameras and people, whose bodies keep their size."""

import dataclasses

import numpy as np
import torch

from unish.body import BodyModel
from unish.fitting.person_fit import posed_again
from unish.fusion.motion import BodyMotion
from unish.structures import Person, Reconstruction
from unish.utils.disk_arrays import new_array, release_pages

CHUNK_FRAMES = 64


def moved_scene(scene: Reconstruction, scale: float, rise_m: float, body: BodyModel) -> Reconstruction:
    """`scale` times as large about the world's origin, then raised by `rise_m`. Pelvises keep their places in it, and
    bodies are as large as before."""
    if scale == 1.0 and rise_m == 0.0:
        return scene
    pose = scene.cameras.world_from_camera.copy()
    pose[:, :3, 3] = pose[:, :3, 3] * np.float32(scale) + np.array([0, 0, rise_m], np.float32)
    cameras = torch.from_numpy(pose.astype(np.float64))
    people = tuple(moved_person(person, scale, rise_m, cameras, body) for person in scene.people)
    depth_m = scene.depth_m if scale == 1.0 else _scaled(scene.depth_m, scale)
    provenance = dataclasses.replace(scene.provenance, metres_per_unit=scene.provenance.metres_per_unit * scale)
    windows = tuple(
        dataclasses.replace(window, metres_per_unit=window.metres_per_unit * scale) for window in scene.windows
    )
    return dataclasses.replace(
        scene,
        depth_m=depth_m,
        cameras=dataclasses.replace(scene.cameras, world_from_camera=pose),
        people=people,
        provenance=provenance,
        windows=windows,
    )


def moved_person(person: Person, scale: float, rise_m: float, cameras: torch.Tensor, body: BodyModel) -> Person:
    """One of its people; `cameras` are those of the moved scene."""
    betas = torch.from_numpy(np.array(person.betas))
    rest = body.pelvis_offset(betas).cpu()
    pelvis = torch.from_numpy(np.array(person.translation_world)) + rest
    rotations = torch.from_numpy(np.array(person.body_rotations))
    rotations[:, 0] = torch.from_numpy(np.array(person.root_rotation_world))
    moved = pelvis * scale + torch.tensor([0, 0, rise_m]) - rest
    return posed_again(person, BodyMotion(betas, rotations, moved), np.ones(len(pelvis), bool), cameras, body)


def _scaled(depth_m: np.ndarray, scale: float) -> np.ndarray:
    scaled = new_array(depth_m.shape, np.float32)
    for start in range(0, len(depth_m), CHUNK_FRAMES):
        part = slice(start, start + CHUNK_FRAMES)
        scaled[part] = depth_m[part] * np.float32(scale)
        release_pages(depth_m, scaled)
    return scaled
