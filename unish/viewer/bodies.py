"""The people's bodies as the page poses them: one shaped body each, and 24 rotations per frame.

The page skins the open body itself (`static/body_data.js`). Other bodies, licensed SMPL files among them, have blend
shapes that depend on the pose and need not be on this machine: their vertices are sent, frame by frame.
"""

from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int16, UInt8
from scipy.spatial.transform import Rotation

from unish.body import BodyModel, open_body
from unish.body.data import JOINT_NAMES, PARENTS
from unish.body.lbs import joint_transforms
from unish.structures import Person, Reconstruction
from unish.viewer.scene_file import quantise

SKINNED_JOINTS = 8
"""Joints that move a vertex, at most: as many as the open body has."""
QUATERNION_STEPS = 32767
MOST_APART_M = 5e-4
PROBES = 3
SHAPE_MARGIN_M = 0.3
"""Around the shaped bodies: room for the shapes that they had before they were fitted."""
CONTACT_HEIGHT_M, CONTACT_SPEED_MS = 0.09, 0.35
FEET = ((7, 10), (8, 11))
"""Ankle and ball of the left and the right foot, joint numbers."""


def skinned_body(reconstruction: Reconstruction) -> BodyModel | None:
    """The body whose skinning gives the result's vertices, within half a millimetre; None where none is known."""
    if reconstruction.provenance.body != "open" or not reconstruction.people:
        return None
    body = open_body()
    same_mesh = np.array_equal(reconstruction.faces, body.faces.numpy())
    return body if same_mesh and all(_follows(body, person) for person in reconstruction.people) else None


def _follows(body: BodyModel, person: Person) -> bool:
    seen = np.flatnonzero(person.present)
    frames = np.unique(seen[np.linspace(0, len(seen) - 1, PROBES).round().astype(int)]) if len(seen) else seen
    for frame in frames:
        motion = (person.betas, _rotations_world(person)[frame], person.translation_world[frame])
        posed = body(*(torch.from_numpy(np.array(array, np.float32)) for array in motion))
        if not np.abs(posed.vertices.numpy() - person.vertices_world[frame]).max() <= MOST_APART_M:
            return False
    return True


def body_arrays(
    reconstruction: Reconstruction,
    body: BodyModel | None,
    present: Bool[np.ndarray, "people frames"],
    display_from_world: Float[np.ndarray, "3 3"],
    ground_z: float,
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """`meta["bodies"]`, with `skinned`, and the arrays of a scene file that pose the people, in the display frame."""
    people = reconstruction.people
    arrays: dict[str, np.ndarray] = {"faces": np.asarray(reconstruction.faces, np.uint32)}
    if body is None:
        vertices = [np.asarray(person.vertices_world) @ display_from_world.T for person in people]
        low, high = bounds([each[here] for each, here in zip(vertices, present, strict=True)])
        arrays |= {f"body_{k}": quantise(np.nan_to_num(each), low, high) for k, each in enumerate(vertices)}
    else:
        shaped = [body.shaped(torch.from_numpy(person.betas.copy())).numpy() for person in people]
        low, high = bounds(shaped)
        low, high = low - SHAPE_MARGIN_M, high + SHAPE_MARGIN_M
        arrays |= skinning_arrays(body)
        for index, (person, rest) in enumerate(zip(people, shaped, strict=True)):
            arrays[f"body_{index}"] = quantise(rest, low, high)
            arrays[f"rest_joints_{index}"] = body.rest_joints(torch.from_numpy(person.betas.copy())).numpy()
            arrays[f"rotations_{index}"] = quaternions(_rotations_world(person), display_from_world)
    joints = {f"_{index}": person.joints_world for index, person in enumerate(people)}
    fitted = [k for k, person in enumerate(people) if body is not None and person.network_rotations_world is not None]
    for index in fitted:
        assert body is not None
        added, joints[f"_{index}_network"] = _network_motion(body, people[index], display_from_world, (low, high))
        arrays |= {f"{name}_{index}_network": array for name, array in added.items()}
    for name, joints_world in joints.items():
        joints_display = np.nan_to_num(joints_world @ display_from_world.T)
        arrays[f"joints{name}"] = joints_display.astype(np.float32)
        seen = present[int(name.split("_")[1])]
        arrays[f"contacts{name}"] = contacts(joints_display, seen, reconstruction.times_s, ground_z)
    meta = {
        "motions": ["fitted", "network"] if fitted else [],
        "low": low.tolist(),
        "high": high.tolist(),
        "skinned": body is not None,
        "parents": list(PARENTS),
        "joint_names": [name.replace("_", " ") for name in JOINT_NAMES],
    }
    return meta, arrays


def _rotations_world(person: Person) -> Float[np.ndarray, "frames 24 3 3"]:
    """Each joint's rotation relative to its parent, the root's in the world."""
    return np.concatenate([person.root_rotation_world[:, None], person.body_rotations[:, 1:]], axis=1)


def _network_motion(
    body: BodyModel,
    person: Person,
    display_from_world: Float[np.ndarray, "3 3"],
    ends: tuple[np.ndarray, np.ndarray],
) -> tuple[dict[str, np.ndarray], Float[np.ndarray, "frames 24 3"]]:
    """The arrays of the motion that the network gave, before it was fitted; and its joints in the world."""
    motion = (person.network_betas, person.network_rotations_world, person.network_translation_world)
    betas, rotations, translation = (torch.from_numpy(np.nan_to_num(np.array(array, np.float32))) for array in motion)
    rest_joints = body.rest_joints(betas)
    _, joints = joint_transforms(rotations, rest_joints, PARENTS)
    arrays = {
        "body": quantise(body.shaped(betas).numpy(), *ends),
        "rest_joints": rest_joints.numpy(),
        "rotations": quaternions(rotations.numpy(), display_from_world),
    }
    return arrays, (joints + translation[:, None]).numpy()


def skinning_arrays(body: BodyModel) -> dict[str, np.ndarray]:
    """`skin_joints` and `skin_weights` (65535 is one), (vertices, `SKINNED_JOINTS`), and `skin_regions`."""
    weights = body.weights.numpy().astype(np.float64)
    joints = np.argsort(-weights, axis=1, kind="stable")[:, :SKINNED_JOINTS]
    kept = np.take_along_axis(weights, joints, axis=1)
    kept = np.round(65535 * kept / kept.sum(axis=1, keepdims=True)).astype(np.uint16)
    kept[:, 0] += (65535 - kept.sum(axis=1, dtype=np.int64)).astype(np.uint16)
    regions = np.zeros(len(weights), np.uint8) if body.regions is None else body.regions.numpy()
    return {
        "skin_joints": np.where(kept > 0, joints, 0).astype(np.uint8),
        "skin_weights": kept,
        "skin_regions": regions.astype(np.uint8),
    }


def quaternions(
    rotations_world: Float[np.ndarray, "frames 24 3 3"], display_from_world: Float[np.ndarray, "3 3"]
) -> Int16[np.ndarray, "frames 24 4"]:
    """Each joint's rotation relative to its parent, the root's in the display frame, as x, y, z, w in steps of
    1 / `QUATERNION_STEPS`."""
    rotations = np.array(rotations_world, np.float64)
    rotations[:, 0] = display_from_world @ rotations[:, 0]
    rotations[~np.isfinite(rotations).all((2, 3))] = np.eye(3)
    turns = Rotation.from_matrix(rotations.reshape(-1, 3, 3)).as_quat().reshape(*rotations.shape[:2], 4)
    return np.round(QUATERNION_STEPS * turns).astype(np.int16)


def contacts(
    joints_display: Float[np.ndarray, "frames 24 3"],
    present: Bool[np.ndarray, "frames"],
    times_s: Float[np.ndarray, "frames"],
    ground_z: float,
) -> UInt8[np.ndarray, "frames 2"]:
    """Whether the left and the right foot stand: low, and hardly moving across the floor."""
    standing = np.zeros((len(joints_display), 2), np.uint8)
    for side, feet in enumerate(FEET):
        ball = joints_display[:, feet[1]]
        # The ball of a foot lies above its sole, by as much as at its lowest in the clip.
        lowest = np.percentile(ball[present, 2], 5) if present.any() else ground_z
        speed = np.zeros(len(ball))
        if len(ball) > 1:
            velocity = np.gradient(ball[:, :2], times_s, axis=0)
            speed = np.linalg.norm(velocity, axis=-1)
        standing[:, side] = present & (ball[:, 2] - lowest < CONTACT_HEIGHT_M) & (speed < CONTACT_SPEED_MS)
    return standing


def bounds(parts: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Smallest and largest finite coordinates; a unit box when there are none."""
    rows = [part.reshape(-1, 3) for part in parts if part.size]
    rows = [row[np.isfinite(row).all(-1)] for row in rows]
    rows = [row for row in rows if len(row)]
    if not rows:
        return -np.full(3, 0.5), np.full(3, 0.5)
    return np.min([row.min(0) for row in rows], axis=0), np.max([row.max(0) for row in rows], axis=0)
