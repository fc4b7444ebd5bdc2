"""A method's prediction for a sequence, at every frame of it, whichever frames the method saw."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from unish.analysis.interpolation import FrameTimes, Motion, motion_camera, motion_world
from unish.body import BodyModel, load_body
from unish.body.lbs import joint_transforms
from unish.errors import InputError
from unish.evaluation.benchmark import BenchmarkSequence, TruePerson
from unish.geometry.camera import image_fit
from unish.structures import Person, Reconstruction

LEAST_OVERLAP = 0.1
"""Boxes with a smaller intersection over union are not of one person."""

Surface = Callable[[Int[np.ndarray, "n"]], Float[np.ndarray, "n vertices 3"]]
"""Vertices at the requested frames, metres."""


@dataclass(frozen=True)
class PersonPrediction:
    """One person at every frame of a sequence, metres."""

    joints_world: Float[np.ndarray, "frames 24 3"]
    """In the method's own world."""
    joints_camera: Float[np.ndarray, "frames 24 3"]
    vertices_world: Surface | None = None
    """None where the method gives no surface."""
    vertices_camera: Surface | None = None


@dataclass(frozen=True)
class SequencePrediction:
    """What is scored: depth and cameras of the frames that the method saw, people at every frame of the sequence."""

    frames: Int[np.ndarray, "seen"]
    """The sequence's frames that the method saw, in order."""
    depth_m: Callable[[int], Float[np.ndarray, "height width"]]
    """Depth of the k-th frame seen, which lies in the frame as `image_fit` says."""
    world_from_camera: Float[np.ndarray, "seen 4 4"]
    people: Mapping[int, PersonPrediction]
    """By the ids of the sequence's people."""
    intrinsics: Float[np.ndarray, "seen 3 3"] | None = None
    """In pixels of `depth_m`; None where the method has none."""
    faces: Int[np.ndarray, "faces 3"] | None = None
    """Triangles of the people's surfaces."""
    world_up: Float[np.ndarray, "3"] | None = None
    """Unit vector away from the floor, which is at height 0 in the method's world; None where it has no floor."""


def prediction_of(
    reconstruction: Reconstruction, sequence: BenchmarkSequence, body: BodyModel | None = None
) -> SequencePrediction:
    """A reconstruction as a prediction for a sequence: people are matched by the overlap of their boxes.

    When it has fewer frames than the sequence, people are interpolated in time to every frame:
    rotations by slerp, translations linearly, then posed by `body` (default: the one that the result names); before
    the first and after the last frame seen they stand still. Raises InputError when frames or people do not match,
    MissingAssetError when the body is not installed.
    """
    frames = seen_frames(reconstruction, sequence)
    pairs = _matched(reconstruction, sequence, frames)
    if len(frames) == sequence.frames:
        people = {true: _as_seen(person, reconstruction) for true, person in pairs.items()}
    else:
        body = body or load_body(reconstruction.provenance.body)
        at = FrameTimes.of(np.arange(sequence.frames, dtype=np.float64), frames.astype(np.float64))
        people = {true: _interpolated(person, at, body) for true, person in pairs.items()}
    return SequencePrediction(
        frames=frames,
        depth_m=lambda index: np.asarray(reconstruction.depth_m[index]),
        world_from_camera=np.asarray(reconstruction.cameras.world_from_camera, np.float64),
        people=people,
        intrinsics=np.asarray(reconstruction.cameras.intrinsics),
        faces=np.asarray(reconstruction.faces),
        world_up=_up(reconstruction),
    )


def _up(reconstruction: Reconstruction) -> Float[np.ndarray, "3"] | None:
    """Up, where the world is upright: then its floor is at z = 0."""
    up = np.asarray(reconstruction.world_up, np.float64)
    return up if np.allclose(up, (0, 0, 1), atol=1e-3) else None


def seen_frames(reconstruction: Reconstruction, sequence: BenchmarkSequence) -> Int[np.ndarray, "seen"]:
    """Which frames of the sequence the reconstruction is of: all, or those at its times.

    Raises InputError when its times are not frames of the sequence.
    """
    if len(reconstruction) == sequence.frames:
        return np.arange(sequence.frames)
    frames = np.round(np.asarray(reconstruction.times_s) * sequence.fps).astype(int)
    if len(frames) > sequence.frames or frames[0] < 0 or frames[-1] >= sequence.frames or (np.diff(frames) < 1).any():
        raise InputError(
            f"{sequence.name} has {sequence.frames} frames at {sequence.fps:g} per second, but the result has "
            f"{len(reconstruction)} frames from {reconstruction.times_s[0]:.2f} s to {reconstruction.times_s[-1]:.2f} "
            "s; reconstruct the images of this sequence, at its frame rate or a lower one."
        )
    return frames


# --- matching people -------------------------------------------------------------------------------------------------


def _matched(reconstruction: Reconstruction, sequence: BenchmarkSequence, frames: np.ndarray) -> dict[int, Person]:
    """Id of each true person who is scored → the person of the result whose boxes overlap theirs most."""
    scored = [person for person in sequence.people if person.present.any()]
    predicted = reconstruction.people
    if len(scored) == len(predicted) == 1:
        return {scored[0].id: predicted[0]}
    cameras = reconstruction.cameras
    scale, margin = image_fit((cameras.width_px, cameras.height_px), sequence.size_px)
    boxes = [(np.asarray(person.boxes_px, np.float64) + np.tile(margin, 2)) / scale for person in predicted]
    overlap = np.array([[_overlap(person, frames, box) for box in boxes] for person in scored])
    overlap = overlap.reshape(len(scored), len(predicted))
    pairs = {
        scored[row].id: predicted[column]
        for row, column in zip(*linear_sum_assignment(-overlap), strict=True)
        if overlap[row, column] >= LEAST_OVERLAP
    }
    for person in scored:
        if person.id not in pairs:
            raise InputError(
                f"{sequence.name}: none of the {len(predicted)} people in the result overlaps person {person.id} of "
                "the sequence; give the method the true boxes."
            )
    return pairs


def _overlap(person: TruePerson, frames: np.ndarray, boxes_px: np.ndarray) -> float:
    """Mean intersection over union of the boxes in the frames that are scored."""
    scored = person.present[frames]
    true, predicted = person.boxes_px[frames][scored].astype(np.float64), boxes_px[scored]
    if not len(true):
        return 0.0
    sides = np.minimum(true[:, 2:], predicted[:, 2:]) - np.maximum(true[:, :2], predicted[:, :2])
    shared = sides.clip(min=0).prod(-1)
    areas = [(boxes[:, 2:] - boxes[:, :2]).clip(min=0).prod(-1) for boxes in (true, predicted)]
    return float((shared / np.maximum(areas[0] + areas[1] - shared, 1e-9)).mean())


# --- people --------------------------------------------------------------------------------------------------------


def _as_seen(person: Person, reconstruction: Reconstruction) -> PersonPrediction:
    camera_from_world = np.linalg.inv(np.asarray(reconstruction.cameras.world_from_camera, np.float64))

    def vertices_world(frames: Int[np.ndarray, "n"]) -> Float[np.ndarray, "n vertices 3"]:
        return np.stack([np.asarray(person.vertices_world[frame], np.float64) for frame in frames])

    joints_world = np.asarray(person.joints_world, np.float64)
    return PersonPrediction(
        joints_world=joints_world,
        joints_camera=move(camera_from_world, joints_world),
        vertices_world=vertices_world,
        vertices_camera=lambda frames: move(camera_from_world[frames], vertices_world(frames)),
    )


def _interpolated(person: Person, at: FrameTimes, body: BodyModel) -> PersonPrediction:
    betas = torch.from_numpy(np.array(person.betas))
    in_world, in_camera = motion_world(person, at), motion_camera(person, at)
    return PersonPrediction(
        joints_world=_joints(body, betas, in_world),
        joints_camera=_joints(body, betas, in_camera),
        vertices_world=_surface(body, betas, in_world),
        vertices_camera=_surface(body, betas, in_camera),
    )


def _joints(body: BodyModel, betas: Tensor, motion: Motion) -> Float[np.ndarray, "frames 24 3"]:
    parents = tuple(int(parent) for parent in body.parents)
    _, positions = joint_transforms(motion.rotations, body.rest_joints(betas).double(), parents)
    return (positions + motion.translation[:, None]).numpy()


def _surface(body: BodyModel, betas: Tensor, motion: Motion) -> Surface:
    def vertices(frames: Int[np.ndarray, "n"]) -> Float[np.ndarray, "n vertices 3"]:
        chosen = torch.from_numpy(frames)
        with torch.inference_mode():
            rotations, translation = motion.rotations[chosen].float(), motion.translation[chosen].float()
            posed = body(betas.expand(len(chosen), -1), rotations, translation)
        return posed.vertices.double().numpy()

    return vertices


def require_finite(numbers: np.ndarray, what: str, sequence: BenchmarkSequence) -> None:
    """Raises InputError where a method's numbers are not finite: leaving them out would flatter it."""
    if not np.isfinite(numbers).all():
        raise InputError(f"{sequence.name}: the {what} of the result are not finite everywhere; make the result again.")


def move(
    matrix: Float[np.ndarray, "frames 4 4"], points: Float[np.ndarray, "frames points 3"]
) -> Float[np.ndarray, "frames points 3"]:
    """Points of the matrices' right-hand frame, expressed in their left-hand frame."""
    return points @ np.swapaxes(matrix[:, :3, :3], -1, -2) + matrix[:, None, :3, 3]
