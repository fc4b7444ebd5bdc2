"""BEDLAM's files as they are downloaded, read into metres, pixels and OpenCV axes.

The layout of a scene, as the rendering tools of BEDLAM (Black et al., CVPR 2023) write it:

    png/SEQ/SEQ_NNNN.png                    image; NNNN counts at 30 a second, also in 6 fps files
    depth/SEQ/SEQ_NNNN_depth.exr            channel "Depth": centimetres along the optical axis
    masks/SEQ/SEQ_NNNN_env.png              white where there is nobody
    masks/SEQ/SEQ_NNNN_PP_{body,clothing,hair}.png   parts of actor PP; missing where the actor is out of sight
    ground_truth/camera/SEQ_camera.csv      one row per image: centimetres, degrees (Unreal axes), millimetres

Labels are one npz a scene with one row a person and frame.
"""

from __future__ import annotations

import csv
import io
import re
import zipfile
import zlib
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from unish.errors import InputError, MissingDependencyError

MAX_DEPTH_M = 200.0
"""What is farther (the sky is at a million metres) has no depth."""
LABELS_FILE = "bedlam-labels-smpl.zip"
NOBODY, SOMEBODY = 0, 255
"""In a map of actors; SOMEBODY where files do not say who."""

_OPENCV_FROM_UNREAL = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, -1.0], [1.0, 0.0, 0.0]])
"""Unreal: x forward, y right, z up (left-handed). OpenCV: x right, y down, z forward."""
_SMPL_OF_44 = {0: 8, 1: 12, 2: 9, 4: 13, 5: 10, 7: 14, 8: 11, 12: 1, 16: 5, 17: 2, 18: 6, 19: 3, 20: 7, 21: 4}
"""SMPL joint → its place among the 44 key points of 4D-Humans and CameraHMR (25 of OpenPose, 19 others)."""
_NEEDED = ("imgname", "center", "scale", "pose_cam", "shape", "trans_cam", "cam_ext", "cam_int", "gtkps")


# ---------------------------------------------------------------- cameras


def unreal_rotation(yaw: np.ndarray, pitch: np.ndarray, roll: np.ndarray) -> np.ndarray:
    """(…, 3, 3) world_from_camera in Unreal axes of angles in degrees.

    First yaw about z (to the right), then pitch about the new y (upwards), then roll about the new x (clockwise as
    the camera sees it, so the image turns the other way).
    """

    def turn(angle: np.ndarray, from_axis: int, to_axis: int) -> np.ndarray:
        cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
        matrix = np.broadcast_to(np.eye(3), (*np.shape(angle), 3, 3)).copy()
        matrix[..., from_axis, from_axis] = matrix[..., to_axis, to_axis] = cos
        matrix[..., to_axis, from_axis], matrix[..., from_axis, to_axis] = sin, -sin
        return matrix

    forward, right, up = range(3)
    return turn(yaw, forward, right) @ turn(pitch, forward, up) @ turn(roll, up, right)


def read_cameras(path: Path, names: list[str], width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    """Intrinsics (frames, 3, 3) in pixels and world_from_camera (frames, 4, 4), OpenCV axes and metres.

    `names` are the images' file names, by which the rows are found. Raises InputError without them.
    """
    if not path.is_file():
        raise InputError(f"{path.name} is missing; unpack the scene's ground truth (…_gt.tar.gz) beside its images.")
    columns = ("x", "y", "z", "yaw", "pitch", "roll", "focal_length", "sensor_width", "sensor_height")
    sensor = {"sensor_width": "36", "sensor_height": "20.25"}
    try:
        with path.open(newline="") as file:
            rows = {row["name"]: [float((sensor | row)[column]) for column in columns] for row in csv.DictReader(file)}
        table = np.array([rows[name] for name in names])
    except (KeyError, ValueError, TypeError, csv.Error) as error:
        raise InputError(
            f"{path.name} should have columns name, {', '.join(columns[:7])} and a row for each image, "
            f"but {error} is missing or no number; download it again."
        ) from error
    intrinsics = np.tile(np.eye(3), (len(names), 1, 1))
    intrinsics[:, 0, 0], intrinsics[:, 1, 1] = table[:, 6] / table[:, 7] * width, table[:, 6] / table[:, 8] * height
    intrinsics[:, :2, 2] = width / 2, height / 2
    world_from_camera = np.tile(np.eye(4), (len(names), 1, 1))
    axes = _OPENCV_FROM_UNREAL
    world_from_camera[:, :3, :3] = axes @ unreal_rotation(table[:, 3], table[:, 4], table[:, 5]) @ axes.T
    world_from_camera[:, :3, 3] = table[:, :3] @ axes.T / 100
    return intrinsics, world_from_camera


# ---------------------------------------------------------------- images


def frame_numbers(folder: Path) -> list[int]:
    """The numbers NNNN of a sequence's images, in order."""
    matches = (re.fullmatch(re.escape(folder.name) + r"_(\d+)\.png", path.name) for path in folder.glob("*.png"))
    return sorted(int(match[1]) for match in matches if match)


def import_openexr() -> Any:
    """The package that reads depth. Raises MissingDependencyError without it."""
    try:
        import OpenEXR
    except ImportError as error:
        raise MissingDependencyError("Depth of BEDLAM needs the package OpenEXR: pip install OpenEXR.") from error
    return OpenEXR


def read_depth(path: Path) -> np.ndarray:
    """(height, width) float32 metres along the optical axis, 0 where it is not finite or beyond 200 m.

    Raises InputError for a missing or damaged file, MissingDependencyError without the package OpenEXR.
    """
    OpenEXR = import_openexr()
    if not path.is_file():
        raise InputError(f"{path.name} is missing; unpack the scene's depth beside its images.")
    try:
        channels = OpenEXR.File(str(path), separate_channels=True).channels()
        depth_m = np.asarray(channels["Depth"].pixels, np.float32) / 100
    except (RuntimeError, ValueError, KeyError, IndexError, OSError) as error:
        raise InputError(f"{path.name} is damaged or has no channel Depth ({error}); download it again.") from error
    with np.errstate(invalid="ignore"):
        return np.where(np.isfinite(depth_m) & (depth_m > 0) & (depth_m <= MAX_DEPTH_M), depth_m, 0)


def read_actors(folder: Path, numbers: list[int], shape: tuple[int, int]) -> np.ndarray:
    """(frames, height, width) uint8 map of who is where: NOBODY, actor PP as PP + 1, or SOMEBODY.

    Where the sequence has masks of actors these are read, else the inverse of its masks of the surroundings.
    Raises InputError for a frame without any mask.
    """
    parts: dict[int, list[tuple[int, Path]]] = {}
    surroundings: dict[int, Path] = {}
    for path in sorted(folder.glob("*.png")):
        match = re.fullmatch(re.escape(folder.name) + r"_(\d+)_(?:env|(\d+)_[a-z]+)\.png", path.name)
        if match and match[2] is None:
            surroundings[int(match[1])] = path
        elif match:
            parts.setdefault(int(match[1]), []).append((int(match[2]), path))
    maps = np.zeros((len(numbers), *shape), np.uint8)
    for actors, number in zip(maps, numbers, strict=True):
        if number not in parts and number not in surroundings:
            raise InputError(f"frame {number:04d} has no mask; unpack the scene's masks beside its images.")
        if not parts:
            actors[_mask(surroundings[number], shape) == 0] = SOMEBODY
        for actor, path in parts.get(number, ()):
            actors[_mask(path, shape) > 0] = actor + 1
    return maps


def _mask(path: Path, shape: tuple[int, int]) -> np.ndarray:
    mask = _decoded(path, cv2.IMREAD_GRAYSCALE)
    if mask.shape != shape:
        raise InputError(f"{path.name} should have its image's size {shape}, got {mask.shape}; download it again.")
    return mask > 127


def _decoded(path: Path, mode: int) -> np.ndarray:
    """Pixels of an image; never from a file of which the end is missing."""
    if not path.is_file():
        raise InputError(f"{path.name} is missing; unpack the scene's archive again.")
    data = path.read_bytes()
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), mode) if data.rstrip(b"\0")[-8:-4] == b"IEND" else None
    if pixels is None:
        raise InputError(f"{path.name} is damaged; download it again.")
    return pixels


# ---------------------------------------------------------------- labels


@dataclass(frozen=True)
class Labels:
    """Labels of a scene or a sequence, one row for each person in each frame. All arrays have `rows` first."""

    sequence: np.ndarray
    """Name of the sequence."""
    number: np.ndarray
    """Number of the image, as in its file name."""
    subject: np.ndarray
    """Who it is; two people of a sequence may be the same subject."""
    pose: np.ndarray
    """(rows, 24, 3) SMPL's rotation vectors, the first one the root's in the camera frame."""
    betas: np.ndarray
    """(rows, 10)"""
    translation_camera: np.ndarray
    """(rows, 3) SMPL's translation in the camera frame, metres."""
    boxes_px: np.ndarray
    """(rows, 4) squares around the joints in the image with BEDLAM's margin, not clipped."""
    joints_px: np.ndarray
    """(rows, 24, 2) SMPL's joints, NaN where the labels lack one."""

    def of(self, sequence: str) -> Labels:
        """The rows of one sequence."""
        rows = self.sequence == sequence
        return Labels(*(getattr(self, field.name)[rows] for field in fields(self)))


def label_files(source: Path) -> dict[str, str]:
    """Scene (with or without its frame rate) → its label file in a folder or a zip archive.

    Raises InputError where there is none.
    """
    if source.is_dir():
        paths = [str(path.relative_to(source)) for path in sorted(source.rglob("*.npz"))]
    elif zipfile.is_zipfile(source):
        with zipfile.ZipFile(source) as archive:
            paths = [name for name in sorted(archive.namelist()) if name.endswith(".npz")]
    else:
        paths = []
    if not paths:
        raise InputError(
            f"--labels should be {LABELS_FILE} or the folder unpacked from it, with one .npz for each scene, "
            f"got {source}; download it from bedlam.is.tue.mpg.de."
        )
    return {Path(path).stem: path for path in paths} | {scene_name(Path(path).stem): path for path in paths}


def scene_name(folder_name: str) -> str:
    """The name of a scene without its frame rate."""
    return re.sub(r"_(6|30)fps$", "", folder_name)


@lru_cache(maxsize=1)
def read_labels(source: Path, path: str) -> Labels:
    """The labels of one scene. Raises InputError for a damaged file, and for one that is not BEDLAM's in SMPL."""
    try:
        if source.is_dir():
            content = (source / path).read_bytes()
        else:
            with zipfile.ZipFile(source) as archive:
                content = archive.read(path)
        with np.load(io.BytesIO(content), allow_pickle=False) as stored:
            missing = [name for name in _NEEDED if name not in stored.files]
            arrays = {name: stored[name] for name in (*_NEEDED, "sub") if name in stored.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(
            f"{path} should hold plain arrays only, but is damaged or holds Python objects ({error}), which are never "
            f"loaded; take the file from {LABELS_FILE}."
        ) from error
    if missing or arrays["pose_cam"].reshape(len(arrays["imgname"]), -1).shape[1] != 72:
        got = f"lacks {', '.join(missing)}" if missing else "has another body's poses (SMPL-X?)"
        raise InputError(f"{path} should hold BEDLAM's labels in SMPL, but it {got}; take it from {LABELS_FILE}.")
    return _labels(arrays, path)


def _labels(arrays: dict[str, np.ndarray], path: str) -> Labels:
    rows = len(arrays["imgname"])
    names = [re.fullmatch(r"(?:.*/)?(.+)_(\d+)\.\w+", str(name)) for name in arrays["imgname"]]
    if not all(names):
        raise InputError(f"{path} should name images like seq_000000/seq_000000_0005.png; download it again.")
    betas = arrays["shape"][:, :10]
    # A subject has one shape, so the shape tells people apart where the file does not name them.
    subject = arrays["sub"] if "sub" in arrays else np.unique(betas.round(3), axis=0, return_inverse=True)[1]
    translation = arrays["trans_cam"] + arrays["cam_ext"][:, :3, 3]
    joints_px = _smpl_joints(arrays["gtkps"], path)
    _check_pelvis(joints_px[:, 0], translation, arrays["cam_int"], path)
    half = arrays["scale"].reshape(rows, 1) * 100
    return Labels(
        sequence=np.array([match[1] for match in names if match]),
        number=np.array([int(match[2]) for match in names if match]),
        subject=np.asarray(subject).reshape(rows),
        pose=arrays["pose_cam"].reshape(rows, 24, 3).astype(np.float32),
        betas=betas,
        translation_camera=translation,
        boxes_px=np.concatenate([arrays["center"] - half, arrays["center"] + half], axis=1),
        joints_px=joints_px.astype(np.float32),
    )


def _smpl_joints(keypoints: np.ndarray, path: str) -> np.ndarray:
    """(rows, 24, 2) of BEDLAM's `gtkps`, which start with SMPL's joints unless they are the 44 of 4D-Humans."""
    count = keypoints.shape[1]
    if count == 44:
        joints = np.full((len(keypoints), 24, 2), np.nan)
        joints[:, list(_SMPL_OF_44)] = keypoints[:, list(_SMPL_OF_44.values()), :2]
        return joints
    if count < 24:
        raise InputError(f"{path} should have 24 or more key points in gtkps, got {count}; download it again.")
    return keypoints[:, :24, :2]


def _check_pelvis(pelvis_px: np.ndarray, translation: np.ndarray, intrinsics: np.ndarray, path: str) -> None:
    """SMPL's pelvis is about 22 cm above its translation; a nose or a crop's coordinates would be farther off."""
    projected = np.einsum("rij,rj->ri", intrinsics, translation)[:, :2] / translation[:, 2:]
    off_m = np.linalg.norm(pelvis_px - projected, axis=1) * translation[:, 2] / intrinsics[:, 0, 0]
    off_m[translation[:, 2] <= 0] = np.inf
    if len(off_m) and not np.median(off_m) < 0.5:
        raise InputError(
            f"{path} should have each pelvis (gtkps) within half a metre of trans_cam + cam_ext, but half of them are "
            f"{np.median(off_m):.1f} m away or more; take the file from {LABELS_FILE}."
        )
