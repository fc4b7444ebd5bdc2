"""Walking up stairs: a walk over the floor whose feet are lifted onto steps that are built where they tread."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from train.synthetic.actions import STEP_S, Curves, walk
from train.synthetic.kinematics import GeneratedMotion, about, forward_kinematics

LEGS = ((1, 4, 7), (2, 5, 8))
"""Hip, knee and ankle."""
STANDING_M_S = 0.25
LEAST_STANCE_S = 0.15
SWING_RISE = 0.6
"""Share of a swing within which a foot is up, so that it does not pass through the step."""
REACH = 0.995
"""Of a leg's length that is used at most."""
WIDTH_M, LANDING_M = 1.6, 1.2
RISE_M = (0.1, 0.15)
CLIMB = ("climb",)
"""The script of somebody who goes up stairs; it is never drawn."""


@dataclass(frozen=True)
class Stairs:
    """A flight of steps, each a block that reaches to the landing's end. World z up, metres."""

    start: np.ndarray
    """(2,) middle of the line from which `edges_m` are measured."""
    yaw: float
    """Of the way up; 0 is along x."""
    edges_m: np.ndarray
    """(steps + 1,) where the steps begin along the way, and where the landing ends."""
    rise_m: float

    def blocks(self) -> list[tuple[np.ndarray, tuple[float, float, float]]]:
        """Middle on the floor and size (length, width, height) of every step's block."""
        way, end = np.array([np.cos(self.yaw), np.sin(self.yaw), 0.0]), self.edges_m[-1]
        start = np.array([*self.start, 0.0])
        return [
            (start + way * (edge + end) / 2, (end - edge, WIDTH_M, (k + 1) * self.rise_m))
            for k, edge in enumerate(self.edges_m[:-1].tolist())
        ]


def climbing_curves(rng: np.random.Generator, duration_s: float) -> Curves:
    """A walk that goes straight on."""
    curves = walk(rng, np.arange(int(np.ceil(duration_s / STEP_S)) + 2) * STEP_S)
    curves["yaw_rate"] = np.zeros_like(curves["yaw_rate"])
    return curves


def climb(
    motion: GeneratedMotion, at: np.ndarray, rest_joints: np.ndarray, parents, rise_m: float
) -> tuple[np.ndarray, np.ndarray, Stairs]:
    """Joint rotations (frames, 24, 3, 3) and lift of the pelvis (frames,) at the moments `at` of a straight walk that
    goes up one step of `rise_m` with every tread, and the stairs, before placement."""
    joints = forward_kinematics(motion.rotations, rest_joints, parents)[1]
    feet = joints[:, [[7, 10], [8, 11]]].mean(2)[..., :2] + motion.track[:, None]
    direction = motion.track[-1] - motion.track[0]
    direction /= np.linalg.norm(direction)
    along = (feet - motion.track[0]) @ direction
    treads = _treads(feet)
    lifts = np.stack([_lift(treads, foot, rise_m, len(feet)) for foot in (0, 1)], 1)
    places = [float(along[start:stop, foot].mean()) for start, stop, foot in treads]
    edges = [(a + b) / 2 for a, b in pairwise(places)]
    # The pelvis rises with the lower foot, so that the leg behind need not stretch.
    pelvis = lifts.min(1)
    window = np.hanning(15) / np.hanning(15).sum()
    pelvis = np.convolve(np.pad(pelvis, 7, "edge"), window, "valid")
    rotations = _lifted_feet(motion.rotations[at], rest_joints, parents, (lifts - pelvis[:, None])[at])
    yaw = float(np.arctan2(direction[1], direction[0]))
    stairs = Stairs(motion.track[0].copy(), yaw, np.array([*edges, places[-1] + LANDING_M]), rise_m)
    return rotations, pelvis[at], stairs


def _treads(feet: np.ndarray) -> list[tuple[int, int, int]]:
    """(start, stop, foot) of every stance, one after the other; the first is the floor's."""
    speed = np.linalg.norm(np.gradient(feet, STEP_S, axis=0), axis=-1)
    found = []
    for foot in (0, 1):
        edges = np.flatnonzero(np.diff(np.r_[False, speed[:, foot] < STANDING_M_S, False].astype(int)))
        runs = zip(edges[::2], edges[1::2], strict=True)
        found += [(int(a), int(b), foot) for a, b in runs if b - a >= LEAST_STANCE_S / STEP_S]
    return sorted(found)


def _lift(treads: list[tuple[int, int, int]], foot: int, rise_m: float, count: int) -> np.ndarray:
    """Height of a foot's step over time: even while it stands, up early in a swing."""
    own = [(start, stop, level * rise_m) for level, (start, stop, who) in enumerate(treads) if who == foot]
    lift = np.full(count, own[0][2] if own else 0.0)
    for (_, left, low), (start, _, high) in pairwise(own):
        share = np.clip((np.arange(count) - left) / max(1.0, SWING_RISE * (start - left)), 0, 1)
        lift[left:] = (low + (high - low) * share**2 * (3 - 2 * share))[left:]
    return lift


def _lifted_feet(rotations: np.ndarray, rest_joints: np.ndarray, parents, lifts: np.ndarray) -> np.ndarray:
    """Rotations whose ankles are `lifts` (frames, 2) higher over the pelvis, with the feet turned as they were."""
    rotations = rotations.copy()
    turned, joints = forward_kinematics(rotations, rest_joints, parents)
    for side, (hip, knee, ankle) in enumerate(LEGS):
        thigh, shank = (joints[:, b] - joints[:, a] for a, b in ((hip, knee), (knee, ankle)))
        long, short = np.linalg.norm(thigh, axis=-1), np.linalg.norm(shank, axis=-1)
        wanted = joints[:, ankle] + lifts[:, side, None] * [0, 0, 1] - joints[:, hip]
        reach = np.linalg.norm(wanted, axis=-1).clip(0, REACH * (long + short))
        bend = np.arccos(((long**2 + short**2 - reach**2) / (2 * long * short)).clip(-1, 1))
        is_bent = np.arccos((-(thigh * shank).sum(-1) / (long * short)).clip(-1, 1))
        rotations[:, knee] = rotations[:, knee] @ about(0, is_bent - bend)
        leg = forward_kinematics(rotations, rest_joints, parents)
        swing = _turn_between(leg[1][:, ankle] - leg[1][:, hip], wanted)
        parent = turned[:, int(parents[hip])]
        rotations[:, hip] = parent.swapaxes(1, 2) @ swing @ parent @ rotations[:, hip]
        above = forward_kinematics(rotations, rest_joints, parents)[0][:, knee]
        rotations[:, ankle] = above.swapaxes(1, 2) @ turned[:, ankle]
    return rotations


def _turn_between(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The least rotations (frames, 3, 3) that turn directions into others that are less than half a turn away."""
    a, b = (v / np.linalg.norm(v, axis=-1, keepdims=True) for v in (first, second))
    x, y, z = np.moveaxis(np.cross(a, b), -1, 0)
    zero = np.zeros_like(x)
    cross = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).reshape(-1, 3, 3)
    return np.eye(3) + cross + cross @ cross / (1 + (a * b).sum(-1))[:, None, None]
