"""Names and axes of the joints as retargeters expect them; the joints themselves are always SMPL's 24."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from unish.body.data import JOINT_NAMES, PARENTS
from unish.errors import InputError
from unish.export.settings import RigName

_CONTINUES = {0: 3, 9: 12}
"""Joints with several children, and the one that their bone points to."""
_FRONT, _UP = np.array([0.0, 0, 1]), np.array([0.0, 1, 0])


@dataclass(frozen=True)
class Rig:
    """What one family of tools calls the joints, and which of a bone's axes points along it."""

    names: tuple[str, ...]
    """Of the 24 joints, in SMPL's order."""
    along: str = ""
    """The axis of a bone, "x" or "y", that points to the next joint; "" leaves all joints SMPL's axes, those of the
    T-pose, so that rotations are SMPL's own."""
    root: str = ""
    """A bone above the pelvis that stands still at the origin; "" for none."""
    skeleton: str = ""
    """Name of the node that holds the bones; "" names it after the person."""


def rig_of(name: RigName) -> Rig:
    """The rig that `--names` means. Raises `InputError` for another name."""
    if name not in _RIGS:
        raise InputError(f"Expected {', '.join(_RIGS)} as the names of joints, got {name!r}.")
    return _RIGS[name]


def bones_m(rest_m: Float[np.ndarray, "24 3"]) -> Float[np.ndarray, "24 3"]:
    """From each joint of the T-pose to the next; at the ends, on from the joint before by as much again.

    `rest_m` is y up; so is the result.
    """
    bones = np.zeros((len(PARENTS), 3))
    for joint, parent in enumerate(PARENTS):
        children = [child for child, above in enumerate(PARENTS) if above == joint]
        start, end = (joint, _CONTINUES.get(joint, children[0])) if children else (parent, joint)
        bones[joint] = rest_m[end] - rest_m[start]
    return bones


def rest_axes(rig: Rig, rest_m: Float[np.ndarray, "24 3"]) -> Float[np.ndarray, "24 3 3"]:
    """body_from_joint of the T-pose: the axes of each joint as columns, y up.

    Along the bone is the rig's axis; z is as close as possible to the body's front, or up where the bone itself points
    to the front (feet).
    """
    axes = np.tile(np.eye(3), (len(PARENTS), 1, 1))
    if not rig.along:
        return axes
    for joint, bone in enumerate(bones_m(rest_m)):
        along = bone / np.linalg.norm(bone)
        other = _UP if abs(along @ _FRONT) > 0.7 else _FRONT
        z = other - along * (other @ along)
        z /= np.linalg.norm(z)
        columns = [along, np.cross(z, along), z] if rig.along == "x" else [np.cross(along, z), along, z]
        axes[joint] = np.stack(columns, axis=1)
    return axes


def _sided(pattern: str) -> tuple[str, ...]:
    """Joint names from pairs "left right" and single names, separated by commas."""
    return tuple(name for part in pattern.split(",") for name in part.split())


_MIXAMO = _sided(
    "Hips,LeftUpLeg RightUpLeg,Spine,LeftLeg RightLeg,Spine1,LeftFoot RightFoot,Spine2,LeftToeBase RightToeBase,Neck,"
    "LeftShoulder RightShoulder,Head,LeftArm RightArm,LeftForeArm RightForeArm,LeftHand RightHand,"
    "LeftHandMiddle1 RightHandMiddle1"
)
_UE5 = _sided(
    "pelvis,thigh_l thigh_r,spine_01,calf_l calf_r,spine_02,foot_l foot_r,spine_03,ball_l ball_r,neck_01,"
    "clavicle_l clavicle_r,head,upperarm_l upperarm_r,lowerarm_l lowerarm_r,hand_l hand_r,middle_01_l middle_01_r"
)
_RIGS: dict[str, Rig] = {
    "smpl": Rig(JOINT_NAMES),
    "mixamo": Rig(tuple(f"mixamorig:{name}" for name in _MIXAMO), along="y"),
    # Unreal leaves out a node of this name, which is what Blender calls its skeletons, so that `root` is the root.
    "ue5": Rig(_UE5, along="x", root="root", skeleton="Armature"),
}
