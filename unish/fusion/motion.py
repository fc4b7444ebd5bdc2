"""People over a whole clip: one shape, poses blended where windows overlap, absences interpolated, bodies posed."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from unish.body import BodyModel, move_translation
from unish.geometry.rotations import slerp
from unish.structures import Person, PersonTrack
from unish.utils.disk_arrays import new_array, release_pages

CHUNK_FRAMES = 64


@dataclass(frozen=True)
class WindowBody:
    """One person as one window predicts them, in network units, in each frame's camera."""

    body_rotations: Float[Tensor, "frames 24 3 3"]
    translation_camera: Float[Tensor, "frames 3"]
    betas: Float[Tensor, "10"]
    frames_seen: int
    """In how many of the window's frames the person is seen."""


@dataclass(frozen=True)
class BodyMotion:
    """A person through the clip, metres: rotations of 24 joints, root rotation and translation in one frame."""

    betas: Float[Tensor, "10"]
    rotations: Float[Tensor, "frames 24 3 3"]
    translation: Float[Tensor, "frames 3"]


def clip_shape(bodies: Sequence[WindowBody]) -> Float[Tensor, "10"]:
    """One shape for the clip: the mean of the windows' shapes, weighted by the frames in which the person is seen."""
    weights = torch.tensor([float(body.frames_seen) for body in bodies])
    return (torch.stack([body.betas for body in bodies]) * weights[:, None]).sum(0) / weights.sum()


def stature_m(body: BodyModel, betas: Float[Tensor, "10"]) -> float:
    """Height of a shape in the rest pose, in metres."""
    return float(np.ptp(body.shaped(betas)[:, 1].numpy()))


def shape_of_height(body: BodyModel, betas: Float[Tensor, "10"], height_m: float) -> Float[Tensor, "10"]:
    """The shape nearest to `betas` that is `height_m` tall."""
    for _ in range(5):  # stature is all but linear in the shape
        slopes = torch.tensor([stature_m(body, betas + step) for step in 0.5 * torch.eye(10)]) - stature_m(body, betas)
        missing = height_m - stature_m(body, betas)
        betas = betas + 0.5 * slopes * missing / slopes.square().sum().clamp(min=1e-9)
    return betas


def blended_motion(
    parts: Sequence[tuple[range, Float[np.ndarray, "_"], WindowBody]],
    metres_per_unit: Float[np.ndarray, "windows"],
    shift_m: Float[np.ndarray, "windows"],
    body: BodyModel,
    betas: Float[Tensor, "10"],
    frames: int,
) -> BodyMotion:
    """A person in each frame's camera, from windows given as (frames, their blend weights, prediction).

    The pelvis stays where a window saw it when the clip's shape differs from the window's. Frames of no window hold the
    rest pose at the origin; they are interpolated later.
    """
    rotations = torch.eye(3).repeat(frames, 24, 1, 1)
    translation, total = torch.zeros(frames, 3), torch.zeros(frames)
    for (window, weights, predicted), scale, shift in zip(parts, metres_per_unit, shift_m, strict=True):
        rows = slice(window.start, window.stop)
        moved = predicted.translation_camera * float(scale) + torch.tensor([0.0, 0.0, float(shift)])
        moved = moved + (body.pelvis_offset(predicted.betas) - body.pelvis_offset(betas)).cpu()
        weight = torch.from_numpy(weights).float()
        total[rows] += weight
        # A running mean: each window moves the result by its share of the weight so far.
        share = weight / total[rows]
        rotations[rows] = slerp(rotations[rows], predicted.body_rotations, share[:, None].expand(-1, 24))
        translation[rows] = torch.lerp(translation[rows], moved, share[:, None])
    return BodyMotion(betas, rotations, translation)


def transformed_motion(
    motion: BodyMotion, target_from_source: Float[Tensor, "#frames 4 4"], body: BodyModel
) -> BodyMotion:
    """The same motion in another frame: the transform of each time step turns the body about its own pelvis."""
    turn, shift = target_from_source[:, :3, :3].float(), target_from_source[:, :3, 3].float()
    offset = body.pelvis_offset(motion.betas).cpu()
    turn, shift = turn.expand(len(motion.rotations), -1, -1), shift.expand(len(motion.rotations), -1)
    translation = move_translation(turn, shift, motion.translation, offset)
    root = turn @ motion.rotations[:, 0]
    return BodyMotion(motion.betas, torch.cat([root[:, None], motion.rotations[:, 1:]], dim=1), translation)


def interpolated_absences(motion: BodyMotion, present: Tensor) -> BodyMotion:
    """Absences filled: interpolated between the frames that the person is seen in, held before the first and after the
    last."""
    seen = torch.nonzero(present)[:, 0]
    frames = torch.arange(len(present))
    after = torch.searchsorted(seen, frames).clamp(max=len(seen) - 1)
    before = (torch.searchsorted(seen, frames, right=True) - 1).clamp(min=0)
    start, end = seen[before], seen[after]
    fraction = ((frames - start) / (end - start).clamp(min=1)).clamp(0, 1).to(motion.translation.dtype)
    rotations = slerp(motion.rotations[start], motion.rotations[end], fraction[:, None].expand(-1, 24))
    translation = torch.lerp(motion.translation[start], motion.translation[end], fraction[:, None])
    return BodyMotion(motion.betas, rotations, translation)


def posed_vertices(
    motion: BodyMotion, body: BodyModel, frames: np.ndarray | None = None
) -> tuple[Float[np.ndarray, "frames vertices 3"], Float[np.ndarray, "frames 24 3"]]:
    """Vertices and joints of all (or the selected) frames, in the frame of the motion, metres."""
    selected = np.arange(len(motion.rotations)) if frames is None else frames
    vertices = new_array((len(selected), body.num_vertices, 3), np.float32)
    joints = np.empty((len(selected), 24, 3), np.float32)
    for start in range(0, len(selected), CHUNK_FRAMES):
        chunk = selected[start : start + CHUNK_FRAMES]
        posed = body(motion.betas.expand(len(chunk), -1), motion.rotations[chunk], motion.translation[chunk])
        vertices[start : start + len(chunk)] = posed.vertices.numpy()
        joints[start : start + len(chunk)] = posed.joints.numpy()
        release_pages(vertices)
    return vertices, joints


def posed_person(
    track: PersonTrack,
    boxes_px: Float[np.ndarray, "frames 4"],
    motion_world: BodyMotion,
    world_from_camera: Float[Tensor, "frames 4 4"],
    body: BodyModel,
    keypoints_px: Float[np.ndarray, "frames 17 3"] | None = None,
) -> Person:
    """The person of a result, absences interpolated in the world; boxes and keypoints in pixels of the network's
    frames."""
    motion = interpolated_absences(motion_world, torch.from_numpy(track.present))
    in_camera = transformed_motion(motion, torch.linalg.inv(world_from_camera.double()), body)
    vertices, joints = posed_vertices(motion, body)
    return Person(
        id=track.id,
        name=f"Person {track.id}",
        present=track.present,
        confidence=track.confidence.astype(np.float32),
        boxes_px=boxes_px.astype(np.float32),
        betas=motion.betas.numpy(),
        body_rotations=in_camera.rotations.numpy(),
        translation_camera=in_camera.translation.numpy(),
        root_rotation_world=motion.rotations[:, 0].numpy().copy(),
        translation_world=motion.translation.numpy(),
        joints_world=joints,
        vertices_world=vertices,
        keypoints_px=None if keypoints_px is None else keypoints_px.astype(np.float32),
    )
