"""From angle curves (see `actions.py`) to joint rotations and a root that follows from the feet.

The root is not scripted: it moves so that whichever foot bears the weight stays where it is, which gives walking
its speed and keeps feet from sliding.

Body frame: y up, facing +z, +x the left hand. World: z up; a body of heading 0 faces -y, and +x is its left.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from train.synthetic.actions import STEP_S, Curves, random_curves

BODY_TO_WORLD = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])


@dataclass(frozen=True)
class GeneratedMotion:
    """Joint rotations (T,24,3,3) with the root in the world, and the root's floor track (T,2) before placement.

    `clearance` (T,) is the height of the lowest point over the floor, metres; None where that is always on it.
    """

    rotations: np.ndarray
    track: np.ndarray
    sitting: bool
    clearance: np.ndarray | None = None


def about(axis: int, angle: np.ndarray) -> np.ndarray:
    """Rotation matrices (...,3,3) about a coordinate axis."""
    angle = np.asarray(angle)
    out = np.zeros((*angle.shape, 3, 3))
    i, j = (axis + 1) % 3, (axis + 2) % 3
    c, s = np.cos(angle), np.sin(angle)
    out[..., axis, axis] = 1.0
    out[..., i, i], out[..., j, j], out[..., i, j], out[..., j, i] = c, c, -s, s
    return out


def joint_rotations(curves: Curves, heading: float) -> np.ndarray:
    """Joint rotations (T,24,3,3), the root's in the world, from angle curves and the heading at the start."""
    count = len(curves["pitch"])
    out = np.tile(np.eye(3), (count, 24, 1, 1))
    yaw = heading + np.concatenate([[0.0], np.cumsum(curves["yaw_rate"])[:-1]]) * STEP_S
    out[:, 0] = about(2, yaw) @ BODY_TO_WORLD @ about(0, curves["pitch"])
    for joint, share in ((3, 0.3), (6, 0.35), (9, 0.35)):
        out[:, joint] = (
            about(1, share * curves["twist"])
            @ about(2, share * curves["side"])
            @ about(0, share * (curves["lean"] - curves["pitch"] * (joint == 9)))
        )
    for joint, share in ((12, 0.4), (15, 0.6)):
        out[:, joint] = (
            about(1, share * curves["head_yaw"])
            @ about(0, share * curves["head_pitch"])
            @ about(2, share * curves["head_roll"])
        )
    for side, sign, first in (("l", 1.0, 0), ("r", -1.0, 1)):
        c = {name[2:]: value for name, value in curves.items() if name.startswith(side + "_")}
        out[:, 1 + first] = about(0, -c["hip"]) @ about(2, sign * c["out"]) @ about(1, sign * c["turn"])
        out[:, 4 + first] = about(0, c["knee"])
        out[:, 7 + first] = about(0, c["ankle"]) @ about(2, -sign * c["out"])
        # The collar bone carries a quarter of what the arm is raised above level.
        above = np.clip(-c["down"] + 0.35, 0, 1.6) * 0.28 - 0.04 * np.clip(c["down"], 0, 1.4)
        out[:, 13 + first] = about(2, sign * above)
        down = c["down"] + above
        out[:, 16 + first] = about(0, -c["swing"]) @ about(2, -sign * down) @ about(0, -c["roll"])
        out[:, 18 + first] = about(1, -sign * np.clip(c["elbow"], 0, 2.4))
        out[:, 20 + first] = about(2, -sign * c["wrist"])
    return out


def forward_kinematics(rotations: np.ndarray, rest_joints: np.ndarray, parents) -> tuple[np.ndarray, np.ndarray]:
    """World rotations (T,24,3,3) and joints (T,24,3) about a pelvis at the origin."""
    world, joints = [rotations[:, 0]], [np.zeros((len(rotations), 3))]
    for joint in range(1, 24):
        parent = int(parents[joint])
        world.append(world[parent] @ rotations[:, joint])
        joints.append(joints[parent] + world[parent] @ (rest_joints[joint] - rest_joints[parent]))
    return np.stack(world, 1), np.stack(joints, 1)


def simulate(
    rng: np.random.Generator, duration_s: float, rest_joints, parents, sole_y: float, script: tuple[str, ...] = (),
    curves: Curves | None = None,
) -> GeneratedMotion:  # fmt: skip
    """A random motion whose root follows from its feet: the lowest heel or toe does not move over the floor.

    `sole_y` is the height of the soles on the shaped T-pose, which places heels and toes below the foot's joints.
    `curves` are those of the motion; without them it is made of actions (see `random_curves`).
    """
    curves, sitting = random_curves(rng, duration_s, script) if curves is None else (curves, False)
    rotations = joint_rotations(curves, rng.uniform(0, 2 * np.pi) if not script else np.pi)
    world, joints = forward_kinematics(rotations, rest_joints, parents)
    contacts = []
    for ankle, toe in ((7, 10), (8, 11)):
        heel_offset = np.array([0.0, sole_y - rest_joints[ankle][1], -0.03])
        toe_offset = np.array([0.0, sole_y - rest_joints[ankle][1], rest_joints[toe][2] - rest_joints[ankle][2] + 0.02])
        contacts += [joints[:, ankle] + world[:, ankle] @ offset for offset in (heel_offset, toe_offset)]
    feet = np.stack(contacts, 1)
    height = feet[..., 2] - feet[..., 2].min(1, keepdims=True)
    load = np.repeat(np.stack([curves["l_load"], curves["r_load"]], 1), 2, 1)
    weight = (np.exp(-((height / 0.02) ** 2)) + 1e-9) * (load + 1e-3)
    weight /= weight.sum(1, keepdims=True)
    between = (weight[1:] + weight[:-1]) / 2
    step = -(between[..., None] * np.diff(feet[..., :2], axis=0)).sum(1)
    if sitting:
        step *= 0.0
    track = np.concatenate([np.zeros((1, 2)), np.cumsum(step, 0)])
    return GeneratedMotion(rotations, track, sitting)
