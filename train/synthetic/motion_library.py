"""A folder of captured motion as a source of performances, mixed with procedural motion and random poses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from train.synthetic.actions import STEP_S
from train.synthetic.kinematics import GeneratedMotion, forward_kinematics
from train.synthetic.motion_files import read_amass, read_amc, read_bvh
from train.synthetic.retarget import Recording, from_smpl, retarget
from unish.body import BodyModel
from unish.body.data import MIRRORED_JOINTS, PARENTS
from unish.errors import InputError

CAPTURED_SHARE, RANDOM_SHARE = 0.6, 0.15
"""Chances that a person's motion is captured, or random poses; else it is procedural."""
LONGEST_FLIGHT_S = 0.8
"""Who is off the floor for longer stands on something that the world has not got: such stretches are left out."""
_TOUCHING_M, _FLYING_M = 0.02, 0.06
_ACROSS = np.diag([-1.0, 1.0, 1.0])


@dataclass
class MotionLibrary:
    """Recordings of a folder, read when they are first drawn. `body` gives the bones that they are carried to."""

    body: BodyModel
    files: tuple[Path, ...]
    _recordings: dict[Path, _Prepared] = field(default_factory=dict)

    @staticmethod
    def of(folder: Path, body: BodyModel) -> MotionLibrary:
        """All .amc (beside their .asf), .bvh and .npz below a folder.

        Raises:
            InputError: there is none.
        """
        files = tuple(sorted(p for p in Path(folder).rglob("*") if p.suffix.lower() in _READERS and p.is_file()))
        if not files:
            raise InputError(
                f"--motions should be a folder with .amc and .asf, .bvh or AMASS .npz files, got {folder}."
            )
        return MotionLibrary(body, files)

    def draw(self, rng: np.random.Generator, duration_s: float, leg_m: float) -> GeneratedMotion | None:
        """A random stretch of a random recording for legs of that length, at 0.85 to 1.2 times its speed, mirrored half
        of the time and turned to any side. None where a few recordings had no stretch of that length on the floor."""
        for _ in range(8):
            prepared = self._prepared(self.files[rng.integers(len(self.files))])
            speed, flip, heading = rng.uniform(0.85, 1.2), rng.random() < 0.5, rng.uniform(0, 2 * np.pi)
            frames = int(np.ceil(duration_s * speed * prepared.recording.fps)) + 2
            starts = prepared.starts(frames)
            if len(starts):
                start = int(starts[rng.integers(len(starts))])
                return prepared.excerpt(start, duration_s, speed, flip, heading, leg_m)
        return None

    def _prepared(self, file: Path) -> _Prepared:
        if file not in self._recordings:
            self._recordings[file] = _Prepared(read_recording(file, self.rest_joints), self.rest_joints)
        return self._recordings[file]

    @cached_property
    def rest_joints(self) -> np.ndarray:
        """Joints (24,3) of the body's T-pose."""
        return self.body.joint_template.numpy().astype(np.float64)


def read_recording(file: Path, rest_joints: np.ndarray) -> Recording:
    """A motion file on the skeleton of a body.

    Raises:
        InputError: it cannot be read, or it is nobody's.
    """
    return _READERS[file.suffix.lower()](file, rest_joints)


def _read_acclaim(file: Path, rest_joints: np.ndarray) -> Recording:
    skeletons = sorted(file.parent.glob("*.asf"))
    named = [path for path in skeletons if file.stem.startswith(path.stem)]
    if len(skeletons) != 1 and not named:
        raise InputError(f"{file} should lie beside its skeleton, an .asf file, got {len(skeletons)} of them.")
    return retarget(read_amc(file, (named or skeletons)[0]), rest_joints, str(file))


_READERS: dict[str, Callable[[Path, np.ndarray], Recording]] = {
    ".amc": _read_acclaim,
    ".bvh": lambda file, rest_joints: retarget(read_bvh(file), rest_joints, str(file)),
    ".npz": lambda file, _: from_smpl(read_amass(file), str(file)),
}


class _Prepared:
    """A recording with its floor: where it touches it, and which stretches can be used."""

    def __init__(self, recording: Recording, rest_joints: np.ndarray) -> None:
        self.recording = recording
        leg_m = leg_length(rest_joints)
        lowest = lowest_points(recording.rotations, rest_joints) + recording.root[:, 2] * leg_m
        height = np.maximum(lowest - np.percentile(lowest, 2), 0)
        fade = np.clip((height - _TOUCHING_M) / (_FLYING_M - _TOUCHING_M), 0, 1)
        self.clearance = height * fade * fade * (3 - 2 * fade) / leg_m
        flying = np.concatenate([[False], self.clearance > 0, [False]])
        begins, ends = (
            np.flatnonzero(np.diff(flying.astype(int)) == 1),
            np.flatnonzero(np.diff(flying.astype(int)) == -1),
        )
        self.unusable = np.zeros(len(height) + 1, int)
        for begin, end in zip(begins, ends, strict=True):
            if end - begin > LONGEST_FLIGHT_S * recording.fps:
                self.unusable[begin + 1 : end + 1] = 1
        self.unusable = np.cumsum(self.unusable)

    def starts(self, frames: int) -> np.ndarray:
        """First frames of the stretches of that length that stay on the floor."""
        if frames >= len(self.unusable):
            return np.zeros(0, int)
        return np.flatnonzero(self.unusable[frames:] == self.unusable[:-frames])

    def excerpt(
        self, start: int, duration_s: float, speed: float, flip: bool, heading: float, leg_m: float
    ) -> GeneratedMotion:
        count = int(np.ceil(duration_s / STEP_S)) + 2
        frame = np.minimum(start + np.arange(count) * STEP_S * speed * self.recording.fps, len(self.recording.root) - 1)
        before = np.minimum(frame.astype(int), len(self.recording.root) - 2)
        share = (frame - before)[:, None]
        rotations = interpolate_rotations(
            self.recording.rotations[before], self.recording.rotations[before + 1], share[:, None]
        )
        root = (1 - share) * self.recording.root[before] + share * self.recording.root[before + 1]
        if flip:
            rotations, root = _ACROSS @ rotations[:, MIRRORED_JOINTS] @ _ACROSS, root @ _ACROSS
        c, s = np.cos(heading), np.sin(heading)
        turn = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
        rotations[:, 0] = turn @ rotations[:, 0]
        track = ((root - root[:1]) @ turn.T)[:, :2] * leg_m
        clearance = (1 - share[:, 0]) * self.clearance[before] + share[:, 0] * self.clearance[before + 1]
        return GeneratedMotion(rotations, track, False, clearance * leg_m)


def interpolate_rotations(first: np.ndarray, second: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Rotations (...,3,3) along the shortest way from `first` to `second`; `share` broadcasts over the leading axes."""
    step = Rotation.from_matrix((first.swapaxes(-1, -2) @ second).reshape(-1, 3, 3)).as_rotvec()
    step = step.reshape(*first.shape[:-2], 3) * share
    return first @ Rotation.from_rotvec(step.reshape(-1, 3)).as_matrix().reshape(first.shape)


def leg_length(rest_joints: np.ndarray) -> float:
    """Thigh and shin together, the mean of both sides."""
    return float(
        np.mean([np.linalg.norm(rest_joints[a] - rest_joints[b]) for a, b in ((1, 4), (4, 7), (2, 5), (5, 8))]) * 2
    )


def lowest_points(rotations: np.ndarray, rest_joints: np.ndarray) -> np.ndarray:
    """Height (T,) of a body's lowest heel, toe, knee, hand or seat about its pelvis at 0."""
    world, joints = forward_kinematics(rotations, rest_joints, PARENTS)
    sole = rest_joints[[10, 11], 1].min() - 0.03 - rest_joints[[7, 8], 1].mean()
    points = [
        joints[:, joint, 2] - radius for joint, radius in ((0, 0.1), (4, 0.05), (5, 0.05), (22, 0.03), (23, 0.03))
    ]
    for ankle, toe in ((7, 10), (8, 11)):
        ahead = rest_joints[toe] - rest_joints[ankle]
        for forward in (-0.03, ahead[2] + 0.02):
            points.append(joints[:, ankle, 2] + (world[:, ankle] @ [ahead[0] * (forward > 0), sole, forward])[:, 2])
    return np.min(points, axis=0)
