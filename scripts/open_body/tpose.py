"""From Anny's A-pose to SMPL's T-pose, by inverting our own skinning: posing back gives Anny's rest exactly."""

import numpy as np
from numpy.typing import ArrayLike

from unish.body.data import JOINT_NAMES, PARENTS

SHIN = (0.0, -1.0, -0.06)  # SMPL's shins lean back a little


def solve_tpose(
    vertices: np.ndarray, joints: np.ndarray, bone_heads: dict[str, np.ndarray], weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """T-pose vertices (N,V,3) and joints (N,24,3) of bodies given in the A-pose."""
    turns = _turns_to_tpose(joints, bone_heads)
    straight = joints.copy()
    for joint, parent in enumerate(PARENTS[1:], start=1):
        bone = joints[:, joint] - joints[:, parent]
        straight[:, joint] = straight[:, parent] + np.einsum("nij,nj->ni", turns[:, parent], bone)
    back = np.swapaxes(turns, -1, -2)
    moves = joints - np.einsum("nkij,nkj->nki", back, straight)
    solved = np.empty_like(vertices)
    for body in range(len(vertices)):
        linear = np.tensordot(weights, back[body], 1)
        offset = weights @ moves[body]
        solved[body] = np.linalg.solve(linear, (vertices[body] - offset)[..., None])[..., 0]
    return solved, straight


def _turns_to_tpose(joints: np.ndarray, bone_heads: dict[str, np.ndarray]) -> np.ndarray:
    """World rotation of each joint's segment from the A-pose to the T-pose, (N,24,3,3)."""
    turns = np.tile(np.eye(3), (len(joints), len(JOINT_NAMES), 1, 1))
    for side, sign in (("left", 1.0), ("right", -1.0)):

        def at(part: str, side: str = side) -> np.ndarray:
            return joints[:, JOINT_NAMES.index(f"{side}_{part}")]

        upper, fore = at("elbow") - at("shoulder"), at("wrist") - at("elbow")
        hinge = np.cross(upper, fore)
        along = np.array([sign, 0.0, 0.0])
        forward = np.array([0.0, 0.0, 1.0])
        straight_arm = _frame(along, np.cross(along, forward))
        knuckles = bone_heads[f"finger2-1.{side[0].upper()}"] - bone_heads[f"finger5-1.{side[0].upper()}"]
        hand = _frame(along, forward) @ _frame(at("hand") - at("wrist"), knuckles).swapaxes(-1, -2)
        parts = {
            "shoulder": straight_arm @ _frame(upper, hinge).swapaxes(-1, -2),
            "elbow": straight_arm @ _frame(fore, hinge).swapaxes(-1, -2),
            "wrist": hand,
            "hand": hand,
            "hip": _shortest_turn(at("knee") - at("hip"), (sign * 0.04, -1.0, 0.0)),
            "knee": _shortest_turn(at("ankle") - at("knee"), SHIN),
        }
        for part, turn in parts.items():
            turns[:, JOINT_NAMES.index(f"{side}_{part}")] = turn
    return turns


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def _frame(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Orthonormal columns: `first`, the part of `second` across it, and their cross product."""
    x = unit(first)
    y = unit(second - (second * x).sum(-1, keepdims=True) * x)
    return np.stack([x, y, np.cross(x, y)], axis=-1)


def _shortest_turn(source: np.ndarray, target: ArrayLike) -> np.ndarray:
    """The rotation by the smallest angle that takes each source direction to the target's."""
    a, b = unit(source), unit(np.asarray(target, float))
    v, c = np.cross(a, b), (a * b).sum(-1)
    cross = np.zeros((*v.shape, 3))
    cross[..., 0, 1], cross[..., 0, 2], cross[..., 1, 2] = -v[..., 2], v[..., 1], -v[..., 0]
    cross -= cross.swapaxes(-1, -2)
    return np.eye(3) + cross + cross @ cross / (1 + c)[..., None, None]
