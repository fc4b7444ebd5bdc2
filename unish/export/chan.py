"""The camera as Nuke's .chan: text, a line per frame, `frame tx ty tz rx ry rz vfov`.

The world is y up (our x, z, −y), in metres or centimetres; the camera looks along its −z. Angles are in degrees. The
rotation order is ZXY as Nuke names it, the default of its camera: about z first, then x, then y, so that world from
camera is Ry · Rx · Rz. `vfov` is the vertical field of view of the whole image. Frames count from 1, at an even rate.

Left out, because the format has no place for them: a principal point off the centre, pixels that are not square, and
the frame rate.
"""

from pathlib import Path

import numpy as np

from unish.errors import InputError
from unish.export.bvh import PER_METRE, euler_zxy_deg
from unish.export.camera_motion import CAMERA_FROM_GL, even_camera
from unish.export.person_motion import Y_UP_FROM_WORLD
from unish.export.settings import Unit
from unish.structures import FrameSequence, Reconstruction
from unish.utils.atomic_write import atomic_path


def write_chan(
    reconstruction: Reconstruction,
    path: str | Path,
    clip: FrameSequence | None = None,
    unit: Unit = "m",
    fps: float | int | None = None,
) -> Path:
    """Write the camera as the module says; a camera that stands still has the same numbers in every line.

    `clip`, `fps` and what is raised are as in `even_camera`. Raises `InputError` as well for an unknown unit or a file
    that cannot be written.
    """
    if unit not in PER_METRE:
        raise InputError(f'Expected the unit "m" or "cm", got {unit!r}.')
    camera = even_camera(reconstruction, clip, fps)
    places = camera.world_from_camera[:, :3, 3] @ Y_UP_FROM_WORLD.T * PER_METRE[unit]
    turns = Y_UP_FROM_WORLD @ camera.world_from_camera[:, :3, :3] @ CAMERA_FROM_GL
    # (Rz · Rx · Ry) of the inverse, with the signs turned, is Ry · Rx · Rz.
    angles = -euler_zxy_deg(np.swapaxes(turns, 1, 2))[:, [1, 2, 0]]
    view_deg = np.degrees(2 * np.arctan(camera.height_px / (2 * camera.intrinsics[:, 1, 1])))
    rows = np.concatenate([places, angles, view_deg[:, None]], axis=1) + 0.0  # no −0
    lines = [f"{frame}\t" + "\t".join(f"{value:.6f}" for value in row) for frame, row in enumerate(rows.tolist(), 1)]
    with atomic_path(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="ascii")
    return Path(path)
