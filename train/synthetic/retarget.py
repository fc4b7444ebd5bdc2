"""Carries captured motion to SMPL's joints on the open body.

Limbs point where the captured ones point: a joint's orientation is its segment's, after the smallest turn that takes
the open body's limb in the T-pose to the captured skeleton's at rest. Trunk, head and collars turn as the captured ones
do, so that the body keeps its own spine; feet are taken to stand flat in both rest poses. Places are scaled by the
length of the legs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from train.synthetic.kinematics import BODY_TO_WORLD
from train.synthetic.motion_files import Capture, SmplMotion
from unish.body.data import JOINT_NAMES, PARENTS
from unish.errors import InputError

SMPL_LEG_M = 0.8
"""Thigh and shin of an average SMPL body: AMASS tells places in metres, and shapes that only SMPL can read."""
_SEGMENTS = {
    "pelvis": ("pelvis", "hips", "hip", "root"),
    "neck": ("neck", "lowerneck", "neck1"),
    "head": ("head",),
}
_SIDED_SEGMENTS = {
    "hip": ("hip", "upleg", "femur", "thigh", "upperleg"),
    "knee": ("knee", "leg", "tibia", "shin", "lowerleg", "lowleg"),
    "ankle": ("ankle", "foot"),
    "foot": ("toebase", "toes", "toe", "foot"),
    "collar": ("collar", "clavicle", "shoulder"),
    "shoulder": ("shoulder", "arm", "humerus", "upperarm", "uparm"),
    "elbow": ("elbow", "forearm", "radius", "lowerarm", "lowarm"),
    "wrist": ("wrist", "hand"),
}
"""SMPL's joint → names of its segment in the order of preference; a name is used once, by the first that asks."""
_ALIGNED = ("hip", "knee", "shoulder", "elbow", "wrist")
_NEEDED = ("pelvis", *(f"{side}_{part}" for side in ("left", "right") for part in ("hip", "knee", "shoulder", "elbow")))
_CHILD = {name: JOINT_NAMES[PARENTS.index(index)] for index, name in enumerate(JOINT_NAMES) if index in PARENTS}


@dataclass(frozen=True)
class Recording:
    """A motion in SMPL's joints: `rotations` (T,24,3,3), the root's in a world with z up; `root` (T,3) the pelvis's
    place in lengths of the leg (thigh and shin)."""

    name: str
    fps: float
    rotations: np.ndarray
    root: np.ndarray


def retarget(capture: Capture, rest_joints: np.ndarray, name: str = "") -> Recording:
    """The captured motion on a body whose T-pose has its joints at `rest_joints` (24,3), y up, facing +z.

    Raises:
        InputError: a limb cannot be told by the names of the segments.
    """
    segments = match_segments(capture)
    missing = [joint for joint in _NEEDED if joint not in segments]
    if missing:
        raise InputError(
            f"{name} should have segments for {', '.join(missing)}, got {', '.join(capture.names[:40])}. "
            "Rename them as in CMU's, Mixamo's or SMPL's skeletons, or remove the file from --motions."
        )
    world = np.empty((len(capture.root), 24, 3, 3))
    local = np.empty_like(world)
    for joint, joint_name in enumerate(JOINT_NAMES):
        parent = PARENTS[joint]
        if joint_name in segments:
            turn = _rest_turn(joint, capture.directions[segments[joint_name]], rest_joints)
            world[:, joint] = capture.orientations[:, segments[joint_name]] @ turn
        else:
            world[:, joint] = world[:, parent]
        local[:, joint] = world[:, joint] if parent < 0 else world[:, parent].swapaxes(1, 2) @ world[:, joint]
    local[:, 0] = BODY_TO_WORLD @ local[:, 0]
    for elbow, wrist in ((18, 20), (19, 21)):
        _share_twist(local, elbow, wrist, rest_joints)
    leg = np.mean(
        [capture.lengths[segments[f"{side}_{part}"]] for side in ("left", "right") for part in ("hip", "knee")]
    )
    if not leg > 0:
        raise InputError(f"{name} should have legs that are longer than 0, got {leg}. Remove it from --motions.")
    return Recording(name, capture.fps, local, capture.root @ BODY_TO_WORLD.T / (2 * leg))


def from_smpl(motion: SmplMotion, name: str = "") -> Recording:
    """An AMASS motion; its joints are SMPL's already."""
    return Recording(name, motion.fps, motion.rotations, motion.root / SMPL_LEG_M)


def match_segments(capture: Capture) -> dict[str, int]:
    """SMPL joint → segment, by names as CMU, Mixamo, MotionBuilder and SMPL use them; the trunk by the chain between
    pelvis and neck."""
    names = {_plain(name): index for index, name in reversed(list(enumerate(capture.names)))}
    matched: dict[str, int] = {}
    for joint, aliases in _SEGMENTS.items():
        found = next((names[alias] for alias in aliases if alias in names), None)
        if found is not None:
            matched[joint] = found
    for side in ("left", "right"):
        used: set[int] = set()
        parts = list(_SIDED_SEGMENTS)
        if f"{side}shoulder" in names and not {f"{side}collar", f"{side[0]}collar", f"{side}arm"} & set(names):
            parts.remove("collar")  # this shoulder is the joint, not the collar bone
        for part in parts:
            aliases = _SIDED_SEGMENTS[part]
            if part == "wrist" and f"{side[0]}radius" in names:
                aliases = aliases[::-1]  # Acclaim's wrist is the far half of the forearm
            candidates = [prefix + alias for alias in aliases for prefix in (side, side[0])]
            found = next((names[c] for c in candidates if c in names and names[c] not in used), None)
            if found is not None:
                used.add(found)
                matched[f"{side}_{part}"] = found
    if "neck" in matched and "pelvis" in matched:
        trunk, segment = [], capture.parents[matched["neck"]]
        while segment >= 0 and segment != matched["pelvis"]:
            trunk.insert(0, segment)
            segment = capture.parents[segment]
        if trunk:
            for joint, share in (("spine1", 0.0), ("spine2", 0.5), ("spine3", 1.0)):
                place = share * (len(trunk) - 1)
                if joint == "spine3" or len(trunk) > 1:
                    matched[joint] = trunk[int(place)]
    return matched


def _plain(name: str) -> str:
    """A segment's name without the prefix of its character, case and punctuation."""
    return re.sub(r"[^a-z0-9]", "", name.rpartition(":")[2].lower())


def _rest_turn(joint: int, captured: np.ndarray, rest_joints: np.ndarray) -> np.ndarray:
    """The turn from the open body's segment in the T-pose to the captured one at rest."""
    side, _, part = JOINT_NAMES[joint].partition("_")
    child = _CHILD.get(JOINT_NAMES[joint])
    if side not in ("left", "right") or child is None or not captured.any():
        return np.eye(3)
    own = rest_joints[JOINT_NAMES.index(child)] - rest_joints[joint]
    if part in _ALIGNED:
        return shortest_turn(own, captured)
    if part == "ankle":  # about the vertical only: soles are flat in both
        flat = np.array([1.0, 0.0, 1.0])
        return shortest_turn(own * flat, captured * flat)
    return np.eye(3)


def shortest_turn(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The rotation by the smallest angle that takes one direction to another."""
    a, b = source / np.linalg.norm(source), target / np.linalg.norm(target)
    axis, cosine = np.cross(a, b), float(a @ b)
    if cosine < -1 + 1e-9:  # opposite: any axis across will do
        across = np.cross(a, np.eye(3)[np.abs(a).argmin()])
        across /= np.linalg.norm(across)
        return 2 * np.outer(across, across) - np.eye(3)
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    return np.eye(3) + cross + cross @ cross / (1 + cosine)


def _share_twist(local: np.ndarray, joint: int, child: int, rest_joints: np.ndarray) -> None:
    """Moves half of the child's twist about the bone to the joint, in place: skin does not wring at the wrist."""
    bone = rest_joints[child] - rest_joints[joint]
    bone = bone / np.linalg.norm(bone)
    # The twist of a rotation about an axis, by its quaternion's part along that axis.
    w = np.sqrt(np.maximum(1 + np.trace(local[:, child], axis1=1, axis2=2), 1e-12)) / 2
    skew = np.stack([local[:, child, 2, 1] - local[:, child, 1, 2], local[:, child, 0, 2] - local[:, child, 2, 0],
                     local[:, child, 1, 0] - local[:, child, 0, 1]], 1)  # fmt: skip
    half = np.arctan2(skew @ bone / (4 * w), w)  # half of the twist's angle
    cross = np.array([[0, -bone[2], bone[1]], [bone[2], 0, -bone[0]], [-bone[1], bone[0], 0]])
    turn = np.eye(3) + np.sin(half)[:, None, None] * cross + (1 - np.cos(half))[:, None, None] * (cross @ cross)
    local[:, joint] = local[:, joint] @ turn
    local[:, child] = turn.swapaxes(1, 2) @ local[:, child]
