"""A person's SMPL parameters as NumPy archives, in the two layouts that other programs read.

`write_amass`: AMASS's layout, in our world (z up, metres), for Blender's SMPL add-ons and whatever loads AMASS.

    poses               (F, 156)  rotation vectors of SMPL+H's 52 joints: root, 21 joints, 30 finger joints left at zero
    root_orient, pose_body, pose_hand   the same in three parts: (F, 3), (F, 63), (F, 90)
    poses_smpl          (F, 72)   SMPL's 24 joints as estimated, with the last two (hands), which SMPL+H does not have
    trans               (F, 3)    SMPL's `transl`: added to the body after its rotation about the pelvis
    betas               (16,)     our 10, then zeros;  dmpls (F, 8) zeros;  gender;  surface_model_type "smplh"
    mocap_framerate, mocap_frame_rate   frames per second, under both names that AMASS has used

AMASS has one frame rate, so its motion is resampled from the true times of the frames (`even_motion`).

`write_motion`: camera and world under the (flattened) keys of WHAM and GVHMR, and the camera, at the result's frames.

    incam_…, global_…   GVHMR's smpl_params_incam and smpl_params_global: global_orient (F, 3), body_pose (F, 69),
                        transl (F, 3), betas (F, 10). GVHMR's body_pose is SMPL-X's: the first 63 numbers of ours
    pose, trans, pose_world, trans_world, betas, frame_ids   WHAM's: (F, 72), (F, 3), (F, 72), (F, 3), (F, 10), (F,)
    K_fullimg           (F, 3, 3) intrinsics in pixels of an image of image_size (width, height): the clip's where its
                        frames are given, else the network's, which may be cropped
    focal_mm            (F,) the same focal length on film of sensor_width_mm, 36: the source's film is not known
    T_wc                (F, 4, 4) world from camera: a point of the camera's frame → the world; the last column is
                        where the camera stands. T_cw is its inverse, camera from world (others' w2c)

The camera is OpenCV's (x right, y down, z forward). The world of this file is y up as WHAM's and GVHMR's are (our
(x, y, z) is (x, z, −y) here), and T_cw carries the global body onto the incam one exactly. Both files also hold
`present` (F,) where the person was seen (elsewhere the motion is interpolated), `confidence` (F,), `times_s` (F,),
`person_id`, `fps`, and `body`: the body's name. Shape parameters belong to that body: those of the open body give SMPL
another shape, and its pelvis is elsewhere, so only the pose carries over from it.
"""

import logging
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from unish.body import BodyModel
from unish.export.camera_motion import FILM_WIDTH_MM, focal_mm, lens_frame, with_steady_camera
from unish.export.person_files import write_each
from unish.export.person_motion import (
    Y_UP_FROM_WORLD,
    EvenMotion,
    axis_angles,
    body_of,
    even_motion,
    rotations_from_world,
    translation_from_world,
)
from unish.structures import FrameSequence, Person, Reconstruction

log = logging.getLogger("unish")

AMASS_SUFFIX, MOTION_SUFFIX = "_amass.npz", "_motion.npz"
_SHARED_JOINTS = 22
"""SMPL and SMPL+H share the root and 21 joints; then come SMPL's two hands, or SMPL+H's fingers."""
_FINGERS, _AMASS_BETAS, _AMASS_DMPLS = 30, 16, 8


def write_amass(
    reconstruction: Reconstruction, path: str | Path, person: int | None = None, fps: float | int | None = None
) -> tuple[Path, ...]:
    """Write AMASS's layout to a file that ends in .npz, or into a folder: `person_ID_amass.npz`.

    A single file holds the person with that id, which may be left out where there is only one. Takes no body; `fps` as
    in `even_fps`. Returns the files. Raises `InputError` for an unknown person, a bad rate, or a path that cannot be
    written.
    """
    if reconstruction.provenance.body == "open":
        log.warning("The shape parameters (betas) are the open body's; with SMPL they give another shape.")
    return write_each(
        reconstruction,
        path,
        person,
        _suffix(path, AMASS_SUFFIX),
        lambda one, file: _write(file, amass_arrays(reconstruction, one, even_motion(reconstruction, one, fps))),
    )


def write_motion(
    reconstruction: Reconstruction,
    path: str | Path,
    person: int | None = None,
    body: BodyModel | None = None,
    clip: FrameSequence | None = None,
) -> tuple[Path, ...]:
    """Write the layout with camera and world, as `write_amass`, at the result's own frames: `person_ID_motion.npz`.

    Turning the world takes the person's pelvis, so the body that posed the people is loaded unless it is given. The
    lens is that of the images of `clip`, else of the network's. Raises also as `body_of` and `original_frame` do.
    """
    using, reconstruction = body_of(reconstruction, body), with_steady_camera(reconstruction)
    lens = _lens(reconstruction, clip)
    return write_each(
        reconstruction, path, person, _suffix(path, MOTION_SUFFIX),
        lambda one, file: _write(file, {**_motion(reconstruction, one, using), **lens}),
    )  # fmt: skip


def write_npz(
    reconstruction: Reconstruction,
    folder: str | Path,
    person: int | None = None,
    body: BodyModel | None = None,
    fps: float | int | None = None,
    clip: FrameSequence | None = None,
) -> tuple[Path, ...]:
    """Write both layouts into a folder; see `write_amass` and `write_motion`."""
    return (
        *write_amass(reconstruction, folder, person, fps),
        *write_motion(reconstruction, folder, person, body, clip),
    )


def _suffix(path: str | Path, in_folder: str) -> str:
    return ".npz" if Path(path).suffix == ".npz" else in_folder


def _write(file: Path, arrays: dict[str, Any]) -> None:
    np.savez_compressed(file, allow_pickle=False, **arrays)


def amass_arrays(reconstruction: Reconstruction, person: Person, motion: EvenMotion) -> dict[str, Any]:
    """A person's arrays in AMASS's layout, by their keys; `motion` is the person's, at an even rate."""
    frames = len(motion.times_s)
    rotations = axis_angles(motion.rotations).reshape(frames, -1)
    fingers = np.zeros((frames, 3 * _FINGERS))
    body = rotations[:, 3 : 3 * _SHARED_JOINTS]
    return {
        "poses": np.concatenate([rotations[:, :3], body, fingers], axis=1),
        "root_orient": rotations[:, :3],
        "pose_body": body,
        "pose_hand": fingers,
        "poses_smpl": rotations,
        "trans": motion.translation,
        "betas": np.concatenate([person.betas, np.zeros(_AMASS_BETAS - len(person.betas))]).astype(np.float64),
        "dmpls": np.zeros((frames, _AMASS_DMPLS)),
        "gender": np.array(_gender(reconstruction.provenance.body)),
        "surface_model_type": np.array("smplh"),
        "mocap_framerate": np.array(motion.fps),
        "mocap_frame_rate": np.array(motion.fps),
        "present": motion.present,
        "confidence": motion.confidence,
        "times_s": motion.times_s,
        "fps": np.array(motion.fps),
        **_names(reconstruction, person),
    }


def _motion(reconstruction: Reconstruction, person: Person, body: BodyModel) -> dict[str, Any]:
    frames, cameras = len(person.present), reconstruction.cameras
    incam = axis_angles(person.body_rotations.astype(np.float64)).reshape(frames, -1)
    world = axis_angles(rotations_from_world(person, Y_UP_FROM_WORLD)).reshape(frames, -1)
    incam_transl = person.translation_camera.astype(np.float64)
    world_transl = translation_from_world(person, Y_UP_FROM_WORLD, body)
    betas = np.tile(person.betas.astype(np.float64), (frames, 1))
    world_from_camera = cameras.world_from_camera.astype(np.float64)
    world_from_camera[:, :3] = Y_UP_FROM_WORLD @ world_from_camera[:, :3]
    return {
        **_smpl_params("incam", incam, incam_transl, betas),
        **_smpl_params("global", world, world_transl, betas),
        "pose": incam,
        "trans": incam_transl,
        "pose_world": world,
        "trans_world": world_transl,
        "betas": betas,
        "frame_ids": np.arange(frames),
        "T_wc": world_from_camera,
        "T_cw": np.linalg.inv(world_from_camera),
        "present": person.present,
        "confidence": person.confidence,
        "times_s": reconstruction.times_s,
        "fps": np.array(float(reconstruction.fps)),
        **_names(reconstruction, person),
    }


def _lens(reconstruction: Reconstruction, clip: FrameSequence | None) -> dict[str, Any]:
    frame = lens_frame(reconstruction, clip)
    intrinsics = frame.map_intrinsics(reconstruction.cameras.intrinsics)
    return {
        "K_fullimg": intrinsics,
        "image_size": np.array([frame.width_px, frame.height_px]),
        "focal_mm": focal_mm(intrinsics, frame.width_px),
        "sensor_width_mm": np.array(FILM_WIDTH_MM),
    }


def _smpl_params(
    frame: str, pose: Float[np.ndarray, "frames 72"], transl: Float[np.ndarray, "frames 3"], betas: np.ndarray
) -> dict[str, np.ndarray]:
    parts = {"global_orient": pose[:, :3], "body_pose": pose[:, 3:], "transl": transl, "betas": betas}
    return {f"{frame}_{name}": values for name, values in parts.items()}


def _names(reconstruction: Reconstruction, person: Person) -> dict[str, Any]:
    return {"person_id": np.array(person.id), "body": np.array(reconstruction.provenance.body)}


def _gender(body: str) -> str:
    """The word after "smpl_" in an installed body's name; neutral for any other body."""
    return body.removeprefix("smpl_") if body in ("smpl_female", "smpl_male") else "neutral"
