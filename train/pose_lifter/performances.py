"""Motions of people and cameras that film them: what keypoints are made from, without an image."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float32
from tqdm import tqdm

from train.synthetic import cameras
from train.synthetic.actions import STEP_S
from train.synthetic.motion_library import MotionLibrary, lowest_points
from train.synthetic.performers import person_motion
from unish.body import BodyModel
from unish.fitting.pose_lifter import FRAMES
from unish.video import TRAINED_FPS

CAMERAS = 4
"""That film each motion."""
LIBRARY_SHARE = 0.75
"""Of the motions, so many are drawn with the library, the others are procedural."""
OTHER_RATES = 0.3, (1.0, 30.0)
"""Share of the clips with another frame rate than that of the mini's training, and which."""
LONG_SIDE_PX = 336
STATURE_M = 1.7


@dataclass(frozen=True)
class Performances:
    """Many motions of as many frames, each filmed by several cameras."""

    rotations: Float32[np.ndarray, "motions frames 24 3 3"]
    """SMPL's; the root's in the world, z up."""
    pelvis_world: Float32[np.ndarray, "motions frames 3"]
    rest_joints: Float32[np.ndarray, "motions 24 3"]
    camera_from_world: Float32[np.ndarray, "motions cameras frames 4 4"]
    focal_px: Float32[np.ndarray, "motions cameras"]
    size_px: Float32[np.ndarray, "motions cameras 2"]
    fps: Float32[np.ndarray, "motions"]


def perform(body: BodyModel, motions: Path | None, count: int, seed: int) -> Performances:
    """As many motions; the same arguments give the same numbers. `motions` is a folder of recordings.

    Raises `InputError` where it holds none.
    """
    library = None if motions is None else MotionLibrary.of(motions, body)
    parts = [
        _perform(body, library, np.random.default_rng((seed, number)))
        for number in tqdm(range(count), desc="Motions", unit="motion")
    ]
    return Performances(*(np.stack([np.asarray(part[k], np.float32) for part in parts]) for k in range(len(parts[0]))))


def _perform(body: BodyModel, library: MotionLibrary | None, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    share, (slowest, fastest) = OTHER_RATES
    other = rng.random() < share
    fps = float(np.exp(rng.uniform(np.log(slowest), np.log(fastest)))) if other else TRAINED_FPS
    times = np.arange(FRAMES) / fps
    betas = torch.from_numpy(np.clip(rng.normal(0, 1, 10), -2.5, 2.5)).float()
    rest = body.rest_joints(betas).numpy().astype(np.float64)
    sole = float(body.shaped(betas)[:, 1].min())
    drawn_from = library if rng.random() < LIBRARY_SHARE else None
    motion = person_motion(rng, float(times[-1]) + 0.2, rest, body.parents.numpy(), sole, (), drawn_from)
    at = np.clip(np.round(times / STEP_S).astype(int), 0, len(motion.track) - 1)
    rotations = motion.rotations[at]
    height = -lowest_points(rotations, rest) + (0.0 if motion.clearance is None else motion.clearance[at])
    pelvis = np.concatenate([motion.track[at], height[:, None]], axis=1)
    poses, focals, sizes = [], [], []
    for _ in range(CAMERAS):
        pinhole = cameras.random_pinhole(rng, LONG_SIDE_PX, None)
        path = cameras.random_path(rng, times, pinhole, pelvis[None, :, :2], STATURE_M, bool(rng.random() < 0.5))
        poses.append(np.linalg.inv(path))
        focals.append(pinhole.intrinsics[0, 0])
        sizes.append((pinhole.width, pinhole.height))
    return rotations, pelvis, rest, np.stack(poses), np.array(focals), np.array(sizes), np.array(fps)


def face_offsets(body: BodyModel) -> Float[np.ndarray, "5 3"]:
    """Nose, eyes and ears from the head's joint, in the rest pose."""
    vertices = [body.landmarks[name] for name in ("nose", "leye", "reye", "lear", "rear")]
    return (body.template[vertices] - body.joint_template[15]).numpy()
