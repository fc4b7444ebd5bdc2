"""Ground truth from a dataset's SMPL parameters: joints and, on demand, surfaces in the world."""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float

from unish.body import BodyModel, load_body
from unish.body.data import PARENTS
from unish.body.lbs import joint_transforms
from unish.errors import MissingAssetError
from unish.geometry.rotations import axis_angle_to_matrix

SMPL_PAGE = "https://smpl.is.tue.mpg.de"
BOX_MARGIN = 1.2
"""A box around joints leaves out the skin and the top of the head (SPIN's factor for 3DPW)."""
_CHUNK_FRAMES = 32


@dataclass(frozen=True)
class PosedPerson:
    """A body posed at every frame."""

    joints_world: Float[np.ndarray, "frames 24 3"]
    vertices_world: Callable[[int], Float[np.ndarray, "vertices 3"]]


def smpl_bodies(title: str) -> Callable[[str], BodyModel]:
    """Loads the installed SMPL body of a gender, each once; `title` names the dataset in messages.

    Calling it raises MissingAssetError, saying what to download from where, when the body is not installed.
    """

    @functools.cache
    def body(gender: str) -> BodyModel:
        try:
            return load_body(f"smpl_{gender}")
        except MissingAssetError as error:
            raise missing_body(title, gender) from error

    return body


def missing_body(title: str, gender: str) -> MissingAssetError:
    """The error for a dataset whose ground truth takes a body that is not installed."""
    return MissingAssetError(
        f"{title} needs the SMPL body smpl_{gender}, which is not installed; download SMPL from {SMPL_PAGE} and run "
        "`unish body install FILE` on its file."
    )


def pose_person(
    body: BodyModel,
    betas: Float[np.ndarray, "10"],
    pose: Float[np.ndarray, "frames 72"],
    translation_world: Float[np.ndarray, "frames 3"],
) -> PosedPerson:
    """Pose a body by axis angles (radians, the root's first) and SMPL's translation (metres), both in the world.

    Surfaces are made on demand, a chunk of frames at a time; only the last chunk is kept.
    """
    rotations = axis_angle_to_matrix(torch.from_numpy(pose).reshape(-1, 24, 3)).float()
    shape = torch.from_numpy(betas).float()
    _, joints = joint_transforms(rotations, body.rest_joints(shape).expand(len(rotations), -1, -1), PARENTS)

    @functools.lru_cache(maxsize=1)
    def surfaces(start: int) -> np.ndarray:
        turns = rotations[start : start + _CHUNK_FRAMES]
        with torch.no_grad():
            return body(shape.expand(len(turns), -1), turns, torch.zeros(len(turns), 3)).vertices.numpy()

    def vertices_world(frame: int) -> Float[np.ndarray, "vertices 3"]:
        place = frame % _CHUNK_FRAMES
        return surfaces(frame - place)[place] + translation_world[frame]

    # The translation is added last, in float64: a hundred metres away float32 resolves a hundredth of a millimetre.
    return PosedPerson(joints.numpy() + translation_world[:, None], vertices_world)


def project_px(
    points_world: Float[np.ndarray, "frames points 3"],
    world_from_camera: Float[np.ndarray, "frames 4 4"],
    intrinsics: Float[np.ndarray, "frames 3 3"],
) -> Float[np.ndarray, "frames points 2"]:
    """Pixels of points; NaN for those behind the camera."""
    rotation, centre = world_from_camera[:, :3, :3], world_from_camera[:, None, :3, 3]
    rays = (points_world - centre) @ rotation @ intrinsics.swapaxes(-1, -2)
    return rays[..., :2] / np.where(rays[..., 2:] > 0, rays[..., 2:], np.nan)


def boxes_px(pixels: Float[np.ndarray, "frames points 2"], margin: float = 1.0) -> Float[np.ndarray, "frames 4"]:
    """Boxes x0, y0, x1, y1 around points, grown about their centres; NaN where a point is behind the camera."""
    low, high = pixels.min(axis=1), pixels.max(axis=1)
    middle, half = (low + high) / 2, (high - low) / 2 * margin
    return np.concatenate([middle - half, middle + half], axis=-1)


def carried_over(
    boxes: Float[np.ndarray, "frames 4"], present: Bool[np.ndarray, "frames"]
) -> Float[np.ndarray, "frames 4"]:
    """The boxes, with those of frames where the person is not present taken from the nearest frame where they are."""
    seen = np.flatnonzero(present)
    frames = np.arange(len(boxes))
    after = np.searchsorted(seen, frames).clip(max=len(seen) - 1)
    before = (after - 1).clip(min=0)
    nearer = np.abs(seen[after] - frames) < np.abs(frames - seen[before])
    return boxes[np.where(nearer, seen[after], seen[before])]
