"""A person's motion as exporters write it: the body that posed it, even frame rates, a world that is y up."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.interpolate import PchipInterpolator

from unish.analysis.interpolation import FrameTimes, motion_world, seen_at
from unish.body import BodyModel, load_body, move_translation
from unish.body.installed_bodies import INSTALLED
from unish.errors import InputError, MissingAssetError
from unish.export.settings import FALLBACK_FPS, MAX_FPS, check_fps
from unish.geometry.rotations import matrix_to_axis_angle, matrix_to_quaternion
from unish.structures import Person, Reconstruction

Y_UP_FROM_WORLD = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])
"""Our world (z up, the first camera looking along +y) as most file formats want it: y up, looking along −z."""
SAME_BODY_M = 1e-3


# --- the body ------------------------------------------------------------------------------------------------------


def body_of(reconstruction: Reconstruction, body: BodyModel | None = None) -> BodyModel:
    """The body that the people were posed with: `body` if given, else the one that the provenance names.

    Raises `MissingAssetError` when that one cannot be loaded, `InputError` when `body` is another one: with it the
    result's parameters do not give the result's vertices.
    """
    name = reconstruction.provenance.body
    if body is None:
        if name not in ("open", *INSTALLED):
            raise MissingAssetError(
                f"The people were posed with the body file {name!r}, and a result stores a body's name, not its path. "
                "Give the file (in Python: body=unish.body.load_body(PATH))."
            )
        body = load_body(name)
    for person in reconstruction.people[:1]:
        frame = int(np.argmax(person.present))
        vertices = _posed(person, body, frame)
        if vertices.shape != person.vertices_world[frame].shape or not (
            np.abs(vertices - person.vertices_world[frame]).max() < SAME_BODY_M
        ):
            raise InputError(
                f"The body {body.name!r} does not give the vertices of this result, which was made with {name!r}. "
                "Use that body, or run the clip again with this one."
            )
    return body


def _posed(person: Person, body: BodyModel, frame: int) -> Float[np.ndarray, "vertices 3"]:
    rotations = torch.from_numpy(rotations_from_world(person, np.eye(3))[frame]).float()
    with torch.no_grad():
        posed = body(torch.from_numpy(person.betas), rotations, torch.from_numpy(person.translation_world[frame]))
    return posed.vertices.numpy()


def rest_joints_m(person: Person, body: BodyModel) -> Float[np.ndarray, "24 3"]:
    """Joints of the person's own shape in its T-pose, SMPL's frame (y up, facing +z), metres."""
    return body.rest_joints(torch.from_numpy(person.betas)).double().numpy()


@dataclass(frozen=True)
class TPose:
    """A person's own shape in the pose that skins are bound in: y up, facing +z, standing on y = 0, the pelvis above
    the origin. SMPL's own hangs about its origin; programs that retarget take the pelvis's height from this one."""

    joints_m: Float[np.ndarray, "24 3"]
    vertices_m: Float[np.ndarray, "vertices 3"]


def standing_t_pose(person: Person, body: BodyModel) -> TPose:
    """The T-pose of a person in metres, its lowest vertex on y = 0."""
    vertices_m = body.shaped(torch.from_numpy(person.betas)).double().numpy()
    joints_m = rest_joints_m(person, body)
    below_pelvis = np.array([joints_m[0, 0], vertices_m[:, 1].min(), joints_m[0, 2]])
    return TPose(joints_m - below_pelvis, vertices_m - below_pelvis)


# --- motion --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class EvenMotion:
    """A person's motion in the world at an even frame rate, for formats that know nothing else."""

    fps: float
    times_s: Float[np.ndarray, "samples"]
    """Seconds of the source: 1 / fps apart, the first at the result's first frame."""
    rotations: Float[np.ndarray, "samples 24 3 3"]
    """The root's from the world, the others' relative to the parent joint."""
    translation: Float[np.ndarray, "samples 3"]
    """SMPL's `transl`, metres."""
    present: Bool[np.ndarray, "samples"]
    confidence: Float[np.ndarray, "samples"]


def even_fps(reconstruction: Reconstruction, fps: float | int | None = None) -> float:
    """The frame rate to write: `fps` if given, else the source's, at most `MAX_FPS`.

    In millionths, since the rate of uneven frames is an estimate with more digits than files should show. Results that
    do not know their source's rate get `FALLBACK_FPS`, a common one. Raises `InputError` for a rate that
    is out of range.
    """
    check_fps(fps)
    return round(float(fps or min(MAX_FPS, reconstruction.provenance.source_fps or FALLBACK_FPS)), 6)


def even_times_s(reconstruction: Reconstruction, fps: float) -> Float[np.ndarray, "samples"]:
    """Seconds of the source, 1 / fps apart: from the first frame on until the last one is reached."""
    frame_times_s = np.asarray(reconstruction.times_s, np.float64)
    steps = math.ceil((frame_times_s[-1] - frame_times_s[0]) * fps - 1e-3)
    return frame_times_s[0] + np.arange(steps + 1) / fps


def even_motion(reconstruction: Reconstruction, person: Person, fps: float | int | None = None) -> EvenMotion:
    """Resample a person's motion from the true times of the frames to even ones, from the first frame on.

    Rotations by slerp; the translation by a monotone cubic spline (PCHIP), which neither overshoots in long gaps nor
    has corners at the frames. The last sample may lie up to one step behind the last frame, where the path goes on as
    it was, so that all frames are between samples. Raises as `even_fps`.
    """
    fps = even_fps(reconstruction, fps)
    frame_times_s = np.asarray(reconstruction.times_s, np.float64)
    times_s = even_times_s(reconstruction, fps)
    at = FrameTimes.of(times_s, frame_times_s)
    translation = np.asarray(person.translation_world, np.float64)
    return EvenMotion(
        fps=fps,
        times_s=times_s,
        rotations=motion_world(person, at).rotations.numpy(),
        translation=PchipInterpolator(frame_times_s, translation)(times_s) if len(translation) > 1 else translation,
        present=seen_at(person, at),
        confidence=at.blend(person.confidence).numpy(),
    )


def rotations_from_world(
    person: Person, frame_from_world: Float[np.ndarray, "3 3"]
) -> Float[np.ndarray, "frames 24 3 3"]:
    """Rotations of the 24 joints at the result's frames: the root's in a turned world, the others' to the parent."""
    rotations = person.body_rotations.astype(np.float64)
    rotations[:, 0] = frame_from_world @ person.root_rotation_world.astype(np.float64)
    return rotations


def translation_from_world(
    person: Person, frame_from_world: Float[np.ndarray, "3 3"], body: BodyModel
) -> Float[np.ndarray, "frames 3"]:
    """SMPL's `transl` in a turned world, metres. It does not turn like a point, because the body turns about its pelvis
    (see `move_translation`)."""
    turn = torch.from_numpy(frame_from_world).expand(len(person.present), 3, 3)
    pelvis = torch.from_numpy(rest_joints_m(person, body)[0])
    translation = torch.from_numpy(person.translation_world.astype(np.float64))
    return move_translation(turn, torch.zeros(3, dtype=torch.float64), translation, pelvis).numpy()


def axis_angles(rotations: Float[np.ndarray, "*batch 3 3"]) -> Float[np.ndarray, "*batch 3"]:
    """Rotation vectors in radians."""
    return matrix_to_axis_angle(torch.from_numpy(rotations)).numpy()


def continuous_quaternions(rotations: Float[np.ndarray, "frames *batch 3 3"]) -> Float[np.ndarray, "frames *batch 4"]:
    """Unit quaternions (x, y, z, w) whose sign does not jump between frames, so that they can be interpolated."""
    quaternions = matrix_to_quaternion(torch.from_numpy(rotations)).numpy()[..., [1, 2, 3, 0]]
    flips = (quaternions[1:] * quaternions[:-1]).sum(-1) < 0
    signs = np.concatenate([np.ones((1, *flips.shape[1:])), np.where(flips, -1.0, 1.0)])
    return quaternions * np.cumprod(signs, axis=0)[..., None]
