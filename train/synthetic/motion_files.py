"""Reads captured motion: ASF/AMC (Acclaim, as the CMU database has it), BVH, and the SMPL poses of AMASS (.npz).

A file becomes a `Capture`: orientations of named segments in a world with y up, where the skeleton's rest pose is the
identity. `retarget.py` carries it to SMPL's joints. AMASS is in SMPL's joints already and keeps its own path.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from unish.errors import InputError

_NOT_CHANNELS = {"#", ":"}


@dataclass(frozen=True)
class Capture:
    """Segments of a skeleton over time, y up. A segment is a bone (ASF) or a joint and what hangs on it (BVH).

    `names` and `parents` (-1 for the root) list the segments, parents first; `directions` (S,3) point along each one in
    the rest pose (zeros where it has no length) and `lengths` (S,) are in the file's unit; `orientations` (T,S,3,3)
    turn the rest pose into each frame's, in the world; `root` (T,3) is the place of the first segment, in that unit.
    """

    fps: float
    names: tuple[str, ...]
    parents: tuple[int, ...]
    directions: np.ndarray
    lengths: np.ndarray
    orientations: np.ndarray
    root: np.ndarray


def read_bvh(path: Path) -> Capture:
    """The motion of a BVH file.

    Raises:
        InputError: it is not a BVH file, or it ends early.
    """
    lines = [line.split() for line in _text(path).splitlines() if line.strip()]
    try:
        names, parents, offsets, channels, start = _bvh_hierarchy(lines)
        if lines[start][0] != "Frames:" or lines[start + 1][:2] != ["Frame", "Time:"]:
            raise ValueError("no frames after MOTION")
        frames, seconds = int(lines[start][1]), float(lines[start + 1][2])
        rows = np.array([[float(word) for word in row] for row in lines[start + 2 : start + 2 + frames]])
        if rows.shape != (frames, sum(len(used) for used in channels)) or frames < 1 or not seconds > 0:
            raise ValueError(f"its frames have shape {rows.shape}")
    except (ValueError, IndexError, KeyError) as error:
        raise _damaged(path, "BVH", error) from error
    local, root = _bvh_rotations(rows, channels, offsets[0])
    orientations = np.empty((frames, len(names), 3, 3))
    for segment, parent in enumerate(parents):
        orientations[:, segment] = local[segment] if parent < 0 else orientations[:, parent] @ local[segment]
    along = np.zeros((len(names), 3))
    for segment in range(len(names) - 1, 0, -1):  # so that the first child counts
        along[parents[segment]] = offsets[segment]
    lengths = np.linalg.norm(along, axis=1)
    return Capture(1 / seconds, names, parents, _unit(along), lengths, orientations, root)


def _bvh_hierarchy(lines: list[list[str]]):
    """Names, parents, offsets (S,3) and channels of the joints, and the line after MOTION. End sites are left out."""
    names: list[str] = []
    parents: list[int] = []
    offsets: list[list[float]] = []
    channels: list[list[str]] = []
    stack: list[int] = []
    latest = -1
    if lines[0] != ["HIERARCHY"]:
        raise ValueError("it does not begin with HIERARCHY")
    for number, words in enumerate(lines):
        if words[0] in ("ROOT", "JOINT"):
            latest = len(names)
            names.append(" ".join(words[1:]))
            parents.append(stack[-1] if stack else -1)
            offsets.append([0.0, 0.0, 0.0])
            channels.append([])
        elif words[0] == "End":
            latest = -1
        elif words[0] == "{":
            stack.append(latest)
        elif words[0] == "}":
            stack.pop()
        elif words[0] == "OFFSET" and stack[-1] >= 0:
            offsets[stack[-1]] = [float(word) for word in words[1:4]]
        elif words[0] == "CHANNELS":
            channels[stack[-1]] = words[2:]
        elif words[0] == "MOTION":
            return tuple(names), tuple(parents), np.array(offsets), channels, number + 1
    raise ValueError("no MOTION")


def _bvh_rotations(rows: np.ndarray, channels: list[list[str]], offset: np.ndarray):
    """Every joint's rotation (T,3,3) to its parent, and the root's place (T,3)."""
    local, place, column = [], np.tile(offset, (len(rows), 1)), 0
    for joint, used in enumerate(channels):
        order, angles = "", []
        for name in used:
            axis, kind = name[0].upper(), name[1:].lower()
            if axis not in "XYZ" or kind not in ("rotation", "position"):
                raise KeyError(name)
            if kind == "rotation":
                order += axis
                angles.append(rows[:, column])
            elif joint == 0:
                place[:, "XYZ".index(axis)] = rows[:, column]
            column += 1
        turned = Rotation.from_euler(order, np.stack(angles, 1), degrees=True).as_matrix() if order else None
        local.append(np.tile(np.eye(3), (len(rows), 1, 1)) if turned is None else turned)
    return local, place


def read_amc(path: Path, skeleton: Path, fps: float = 120.0) -> Capture:
    """The motion of an AMC file on its ASF skeleton. The formats name no frame rate; CMU's is 120.

    Raises:
        InputError: one of them is not what its name says.
    """
    try:
        bones, hierarchy = _asf(_text(skeleton))
    except (ValueError, IndexError, KeyError) as error:
        raise _damaged(skeleton, "ASF", error) from error
    names = ["root"]
    parents = [-1]
    for parent, children in hierarchy:
        for child in children:
            names.append(child)
            parents.append(names.index(parent))
    try:
        values = _amc(_text(path))
        missing = [name for name in names[1:] if bones[name]["dof"] and name not in values]
        if "root" not in values or missing:
            raise ValueError(f"no values of {', '.join(missing or ['root'])}")
        root = values["root"]
        orientations = np.empty((len(root), len(names), 3, 3))
        orientations[:, 0] = Rotation.from_euler("xyz", root[:, 3:6], degrees=True).as_matrix()
        for segment in range(1, len(names)):
            bone, angles = bones[names[segment]], np.zeros((len(root), 3))
            for column, axis in enumerate(bone["dof"]):
                angles[:, "xyz".index(axis)] = values[names[segment]][:, column]
            turn = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
            orientations[:, segment] = orientations[:, parents[segment]] @ bone["axis"] @ turn @ bone["axis"].T
    except (ValueError, IndexError, KeyError) as error:
        raise _damaged(path, "AMC", error) from error
    directions = np.stack([np.zeros(3), *(bones[name]["direction"] for name in names[1:])])
    lengths = np.array([0.0, *(bones[name]["length"] for name in names[1:])])
    return Capture(fps, tuple(names), tuple(parents), _unit(directions), lengths, orientations, root[:, :3])


def _asf(text: str):
    """Bones by name (direction, length, axes as a rotation, degrees of freedom), and the hierarchy."""
    sections = {part.split()[0]: part for part in text.split(":") if part.split()}
    bones: dict[str, dict] = {}
    for block in sections["bonedata"].split("begin")[1:]:
        words = {line.split()[0]: line.split()[1:] for line in block.splitlines() if line.split()}
        bones[words["name"][0]] = {
            "direction": np.array([float(word) for word in words["direction"]]),
            "length": float(words["length"][0]),
            "axis": Rotation.from_euler("xyz", [float(w) for w in words["axis"][:3]], degrees=True).as_matrix(),
            "dof": [word[1] for word in words.get("dof", []) if word[0] == "r"],
        }
    rows = [line.split() for line in sections["hierarchy"].splitlines()[1:] if line.split()]
    hierarchy = [(row[0], row[1:]) for row in rows if row[0] not in ("begin", "end")]
    unknown = {name for _, children in hierarchy for name in children} - set(bones)
    if not hierarchy or hierarchy[0][0] != "root" or unknown:
        raise ValueError("its hierarchy names bones that it does not describe")
    return bones, hierarchy


def _amc(text: str) -> dict[str, np.ndarray]:
    """Values of every bone, (T, degrees of freedom)."""
    values: dict[str, list[list[float]]] = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) > 1 and words[0][0] not in _NOT_CHANNELS:
            values.setdefault(words[0], []).append([float(word) for word in words[1:]])
    arrays = {name: np.array(rows) for name, rows in values.items()}
    if len({len(rows) for rows in arrays.values()}) != 1:
        raise ValueError("its bones have different numbers of frames")
    return arrays


@dataclass(frozen=True)
class SmplMotion:
    """Rotations of SMPL's joints (T,24,3,3), the root's in a world with z up, and the root's place (T,3) in metres."""

    fps: float
    rotations: np.ndarray
    root: np.ndarray


def read_amass(path: Path) -> SmplMotion:
    """The motion of an AMASS file: `poses` (T, 66 or more) axis-angle, `trans` (T,3), `mocap_framerate`.

    Raises:
        InputError: it is no such file.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            poses, place = np.asarray(stored["poses"], np.float64), np.asarray(stored["trans"], np.float64)
            rate = next(stored[name] for name in ("mocap_framerate", "mocap_frame_rate") if name in stored)
            fps = float(rate)
        if poses.ndim != 2 or poses.shape[1] < 66 or place.shape != (len(poses), 3) or not fps > 0 or len(poses) < 1:
            raise ValueError(f"poses have shape {poses.shape}, trans {place.shape}")
        if not (np.isfinite(poses).all() and np.isfinite(place).all()):
            raise ValueError("it holds numbers that are not finite")
    except (ValueError, KeyError, StopIteration, OSError, EOFError) as error:
        raise _damaged(path, "AMASS", error) from error
    rotations = np.tile(np.eye(3), (len(poses), 24, 1, 1))
    rotations[:, :22] = Rotation.from_rotvec(poses[:, :66].reshape(-1, 3)).as_matrix().reshape(-1, 22, 3, 3)
    return SmplMotion(fps, rotations, place)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}. Check the folder given to --motions.") from error


def _damaged(path: Path, kind: str, error: Exception) -> InputError:
    return InputError(f"{path} should be a motion in the {kind} format, got {error}. Remove it from --motions.")


def _unit(vectors: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.where(length > 1e-9, vectors / np.maximum(length, 1e-9), 0.0)
