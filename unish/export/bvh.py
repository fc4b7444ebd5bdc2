"""A person's motion as BVH, the skeleton format that nearly every animation program reads.

The hierarchy is SMPL's tree with its joints' names; offsets are the person's own T-pose (facing +z, y up), so a frame
of zeros is that T-pose. The root has six channels, `Xposition Yposition Zposition Zrotation Xrotation Yrotation`: the
pelvis's position in a world that is y up (our x, z, −y), and its rotation; the others have `Zrotation Xrotation
Yrotation`. Angles are in degrees; a joint's rotation, relative to its parent, is Z · X · Y, the channels' order.
The root's own offset is zero. Lengths are metres (Blender's importer) or centimetres (Maya, MotionBuilder, Unreal).

BVH has one frame rate, so the motion is resampled from the true times of the frames (`even_motion`). It has no skin, no
shape and no absence: where a person was not seen the motion is the interpolated one.
"""

import warnings
from pathlib import Path

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from unish.body import BodyModel
from unish.body.data import JOINT_NAMES, PARENTS
from unish.errors import InputError
from unish.export.person_files import write_each
from unish.export.person_motion import Y_UP_FROM_WORLD, EvenMotion, body_of, even_motion, rest_joints_m
from unish.export.settings import Unit
from unish.structures import Person, Reconstruction

PER_METRE = {"m": 1.0, "cm": 100.0}
TIP_SHARE = 0.5
"""Length of the last bones (head, hands, feet), which end in no joint, as a share of the bone before them."""
_TURN = "Zrotation Xrotation Yrotation"


def write_bvh(
    reconstruction: Reconstruction,
    path: str | Path,
    person: int | None = None,
    unit: Unit = "m",
    body: BodyModel | None = None,
    fps: float | int | None = None,
) -> tuple[Path, ...]:
    """Write a person's motion to a file that ends in .bvh, or everybody's (or one's) into a folder: `person_ID.bvh`.

    `person` is an id; a single file needs it where the result has several people. `body` as in `write_glb`, `fps` as in
    `even_fps`. Returns the files. Raises `InputError` for an unknown unit or person, a bad rate, or a path that cannot
    be written, and as `body_of` does.
    """
    if unit not in PER_METRE:
        raise InputError(f'Expected the unit "m" or "cm", got {unit!r}.')
    using = body_of(reconstruction, body)

    def write(one: Person, file: Path) -> None:
        motion = even_motion(reconstruction, one, fps)
        file.write_text(_bvh(motion, rest_joints_m(one, using), PER_METRE[unit]), encoding="ascii")

    return write_each(reconstruction, path, person, ".bvh", write)


def _bvh(motion: EvenMotion, rest: Float[np.ndarray, "24 3"], per_metre: float) -> str:
    offsets = np.concatenate([np.zeros((1, 3)), rest[1:] - rest[list(PARENTS[1:])]])
    lines = ["HIERARCHY", *_joint(0, offsets * per_metre)]
    pelvis = (rest[0] + motion.translation) @ Y_UP_FROM_WORLD.T * per_metre
    rotations = motion.rotations.copy()
    rotations[:, 0] = Y_UP_FROM_WORLD @ rotations[:, 0]
    angles = np.stack([euler_zxy_deg(rotations[:, joint]) for joint in range(len(PARENTS))], axis=1)
    # Channels come in the order in which the hierarchy lists the joints: depth first.
    channels = np.concatenate([pelvis, angles[:, _depth_first(0)].reshape(len(pelvis), -1)], axis=1)
    lines += ["MOTION", f"Frames: {len(channels)}", f"Frame Time: {1 / motion.fps:.8f}"]
    lines += [" ".join(f"{value:.6f}" for value in row) for row in channels.tolist()]
    return "\n".join(lines) + "\n"


def _joint(joint: int, offsets: Float[np.ndarray, "24 3"]) -> list[str]:
    """The lines of a joint and its descendants; `offsets` are from the parent."""
    channels = f"6 Xposition Yposition Zposition {_TURN}" if joint == 0 else f"3 {_TURN}"
    inner = [f"OFFSET {_numbers(offsets[joint])}", f"CHANNELS {channels}"]
    inner += [line for child in _children(joint) for line in _joint(child, offsets)]
    if not _children(joint):
        inner += ["End Site", "{", f"\tOFFSET {_numbers(offsets[joint] * TIP_SHARE)}", "}"]
    return [f"{'JOINT' if joint else 'ROOT'} {JOINT_NAMES[joint]}", "{", *("\t" + line for line in inner), "}"]


def _children(joint: int) -> list[int]:
    return [child for child, parent in enumerate(PARENTS) if parent == joint]


def _depth_first(joint: int) -> list[int]:
    return [joint, *(below for child in _children(joint) for below in _depth_first(child))]


def _numbers(values: np.ndarray) -> str:
    return " ".join(f"{value:.6f}" for value in values.tolist())


def euler_zxy_deg(rotations: Float[np.ndarray, "frames 3 3"]) -> Float[np.ndarray, "frames 3"]:
    """Angles (z, x, y) in degrees with rotation = Rz · Rx · Ry, as close as possible to the frame before.

    A rotation has two triples, and each angle any number of whole turns; taking the nearest keeps curves smooth, so
    that programs can interpolate between frames. Where x is ±90° (gimbal lock) only z ± y is determined.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Gimbal lock")
        first = Rotation.from_matrix(rotations).as_euler("ZXY", degrees=True)
    second = first * [1, -1, 1] + [180, 180, 180]
    smooth = first.copy()
    for frame in range(1, len(first)):
        options = np.stack([first[frame], second[frame]])
        options += 360 * np.round((smooth[frame - 1] - options) / 360)
        smooth[frame] = options[np.abs(options - smooth[frame - 1]).sum(axis=1).argmin()]
    return smooth
