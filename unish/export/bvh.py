"""A person's motion as BVH, the skeleton format that nearly every animation program reads.

The hierarchy is SMPL's tree with its joints' names; offsets are the person's own T-pose (facing +z, y up), so a frame
of zeros is that T-pose. The root has six channels, `Xposition Yposition Zposition Zrotation Xrotation Yrotation`: where
the pelvis is, in a world that is y up (our x, z, −y), and its turn; the others have `Zrotation Xrotation Yrotation`.
Angles are degrees and a joint's rotation is Z · X · Y, the order in which the channels stand, relative to its parent.
The root's own offset is zero. Lengths are metres (Blender's importer) or centimetres (Maya, MotionBuilder, Unreal).

BVH knows no skin, no shape and no absence: where a person was not seen the motion is the bridged one.
"""

import warnings
from pathlib import Path

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from unish.body import BodyModel
from unish.body.data import JOINT_NAMES, PARENTS
from unish.errors import InputError
from unish.export.person_motion import Y_UP_FROM_WORLD, body_of, rest_joints_m, rotations_from_world, write_each
from unish.export.settings import Unit
from unish.structures import Person, Reconstruction

PER_METRE = {"m": 1.0, "cm": 100.0}
TIP_SHARE = 0.5
"""A bone that ends in no joint (head, hands, feet) goes on by this much of the bone before it, in its direction."""
_TURN = "Zrotation Xrotation Yrotation"


def write_bvh(
    reconstruction: Reconstruction,
    path: str | Path,
    person: int | None = None,
    unit: Unit = "m",
    body: BodyModel | None = None,
) -> tuple[Path, ...]:
    """Write a person's motion to a file that ends in .bvh, or everybody's (or one's) into a folder: `person_ID.bvh`.

    `person` is an id; a single file needs it where the result has several people. `body` as in `write_glb`. Returns
    the files. Raises `InputError` for a unit, a person or a place that cannot be, and as `body_of` does.
    """
    if unit not in PER_METRE:
        raise InputError(f'Expected the unit "m" or "cm", got {unit!r}.')
    using = body_of(reconstruction, body)

    def write(one: Person, file: Path) -> None:
        file.write_text(_bvh(one, using, float(reconstruction.fps), PER_METRE[unit]), encoding="ascii")

    return write_each(reconstruction, path, person, ".bvh", write)


def _bvh(person: Person, body: BodyModel, fps: float, per_metre: float) -> str:
    rest = rest_joints_m(person, body)
    offsets = np.concatenate([np.zeros((1, 3)), rest[1:] - rest[list(PARENTS[1:])]])
    lines = ["HIERARCHY", *_joint(0, offsets * per_metre)]
    pelvis = (rest[0] + person.translation_world) @ Y_UP_FROM_WORLD.T * per_metre
    angles = np.stack(
        [euler_zxy_deg(turns) for turns in np.moveaxis(rotations_from_world(person, Y_UP_FROM_WORLD), 1, 0)], axis=1
    )
    # Channels stand in the order in which the hierarchy names the joints: depth first.
    motion = np.concatenate([pelvis, angles[:, _depth_first(0)].reshape(len(pelvis), -1)], axis=1)
    lines += ["MOTION", f"Frames: {len(motion)}", f"Frame Time: {1 / fps:.8f}"]
    lines += [" ".join(f"{value:.6f}" for value in row) for row in motion.tolist()]
    return "\n".join(lines) + "\n"


def _joint(joint: int, offsets: Float[np.ndarray, "24 3"]) -> list[str]:
    """The lines of a joint and all below it; `offsets` are from the parent."""
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
    """Angles (z, x, y) in degrees with rotation = Rz · Rx · Ry, as near as can be to the frame before.

    A rotation has two triples and each angle any number of whole turns; taking the nearest keeps curves smooth, so
    that programs can blend between frames. Where x is ±90° (gimbal lock) only z ± y is determined.
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
