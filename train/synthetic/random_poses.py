"""Random poses within the limits of the joints, one after the other: what nobody performs, and nobody cannot."""

from __future__ import annotations

import numpy as np
from scipy.interpolate import PchipInterpolator

from train.synthetic.actions import CURVES, STEP_S, Curves, stand
from train.synthetic.kinematics import forward_kinematics, joint_rotations

TRUNK_LIMITS = {
    "pitch": (-0.15, 0.5), "lean": (-0.3, 0.9), "side": (-0.4, 0.4), "twist": (-0.6, 0.6), "head_yaw": (-1.0, 1.0),
    "head_pitch": (-0.5, 0.6), "head_roll": (-0.4, 0.4), "yaw_rate": (-0.8, 0.8),
}  # fmt: skip
LIMB_LIMITS = {
    "hip": (-0.4, 1.5), "out": (-0.1, 0.8), "turn": (-0.4, 0.6), "knee": (0.0, 2.2), "ankle": (-0.6, 0.4),
    "down": (-1.3, 1.4), "swing": (-0.7, 1.6), "roll": (-1.2, 1.5), "elbow": (0.0, 2.4), "wrist": (-0.7, 0.7),
}  # fmt: skip
"""Radians; what the angles mean is told by kinematics.joint_rotations."""
RELAXED = {"down": 1.2, "elbow": 0.3, "knee": 0.1, "hip": 0.05, "out": 0.05}
"""Where a joint rests that does not rest at 0."""
HOLD_S = (0.6, 1.6)
_TRUNK_RADIUS_M, _LEG_GAP_M = 0.15, 0.1


def random_pose_curves(rng: np.random.Generator, duration_s: float, rest_joints: np.ndarray, parents) -> Curves:
    """Angle curves (see actions.py) that pass through random poses, one every second or so, without overshoot.

    No pose has a hand or an elbow inside the trunk or one leg in the other. `rest_joints` (24,3) are the body's.
    """
    t = np.arange(int(np.ceil(duration_s / STEP_S)) + 2) * STEP_S
    times = [-rng.uniform(*HOLD_S)]
    while times[-1] < t[-1]:
        times.append(times[-1] + rng.uniform(*HOLD_S))
    keys = [_pose(rng, rest_joints, parents) for _ in times]
    curves = {name: PchipInterpolator(times, [key[name] for key in keys])(t) for name in CURVES}
    curves["l_load"] = curves["r_load"] = np.ones_like(t)
    return curves


def _pose(rng: np.random.Generator, rest_joints: np.ndarray, parents) -> dict[str, float]:
    """Angles of one pose that does not pass through itself; standing where none is found."""
    for _ in range(30):
        bold = rng.uniform(0.25, 1.0)  # how far from rest
        pose = {name: _within(rng, name, limits, bold) for name, limits in TRUNK_LIMITS.items()}
        for side in "lr":
            pose |= {f"{side}_{name}": _within(rng, name, limits, bold) for name, limits in LIMB_LIMITS.items()}
            pose[f"{side}_load"] = 1.0
        if rng.random() < 0.6:  # both feet on the ground: legs alike, soles flat
            pose |= {f"r_{name}": pose[f"l_{name}"] + rng.normal(0, 0.06) for name in ("hip", "knee")}
            for side in "lr":
                pose[f"{side}_hip"] = 0.5 * pose[f"{side}_knee"]
                pose[f"{side}_ankle"] = np.clip(pose[f"{side}_hip"] - pose[f"{side}_knee"] - pose["pitch"], -0.6, 0.4)
        if _is_free(pose, rest_joints, parents):
            return pose
    return {name: float(curve[0]) for name, curve in stand(rng, np.zeros(2)).items()}


def _within(rng: np.random.Generator, name: str, limits: tuple[float, float], bold: float) -> float:
    """An angle between the limits, near to rest for a shy pose."""
    rest = RELAXED.get(name, 0.0)
    return float(rest + bold * (rng.uniform(*limits) - rest))


def _is_free(pose: dict[str, float], rest_joints: np.ndarray, parents) -> bool:
    rotations = joint_rotations({name: np.array([value]) for name, value in pose.items()}, 0.0)
    _, joints = forward_kinematics(rotations, rest_joints, parents)
    at = joints[0]
    spine = np.linspace(at[0], at[12], 8)
    hands = at[[18, 19, 20, 21, 22, 23]]
    clear = np.linalg.norm(hands[:, None] - spine, axis=-1).min() > _TRUNK_RADIUS_M
    clear &= np.linalg.norm(at[[20, 21, 22, 23], None] - at[[15]], axis=-1).min() > _TRUNK_RADIUS_M
    left, right = np.linspace(at[4], at[7], 5), np.linspace(at[5], at[8], 5)
    return bool(clear and np.linalg.norm(left[:, None] - right, axis=-1).min() > _LEG_GAP_M)
