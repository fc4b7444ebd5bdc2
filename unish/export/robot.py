"""What programs that retarget human motion to robots take: motion, contacts, floor and obstacles in one folder.

Z up, metres, the floor at z = 0, 30 or 50 frames per second. `person_ID.npz` has the keys of AMASS (`unish.export.npz`)
and:

    foot_contacts       (F, 4) whether left ankle, left ball, right ankle, right ball stand (`foot_contact_names`)
    soles_m             (F, 2) height of the lowest point of the left and of the right sole
    joints_m            (F, 24, 3) SMPL's 24 joints in the world (`joint_names`): the motion without any body model
    stature_m           height of the person in the T-pose
    lift_m              (F,) by how much the motion was raised so that no sole is deeper than `DEEPEST_M`
    floor_plane         (4,) a, b, c, d with a·x + b·y + c·z = d: 0, 0, 1, 0

`collision.obj` is the scene as a closed mesh, where the clip shows one; `scene.xml` is floor and mesh as MJCF.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.ndimage import maximum_filter1d, uniform_filter1d

from unish.body import BodyModel
from unish.body.data import JOINT_NAMES
from unish.errors import InputError
from unish.export.npz import amass_arrays
from unish.export.obj import mesh_text
from unish.export.person_motion import EvenMotion, body_of, even_motion
from unish.export.scene_mesh import collision_mesh
from unish.fitting.contacts import feet_of, standing_feet
from unish.fitting.sparse_body import sole_vertices
from unish.structures import Person, Reconstruction
from unish.utils.atomic_write import atomic_path
from unish.utils.result_files import EXPORT_FILES

RATES_FPS = (30.0, 50.0)
DEEPEST_M = 0.01
"""No sole lies deeper under the floor; half of what a check should allow."""
LIFT_S = 0.5
"""Motion is raised and lowered over about this time."""
COLLISION_TRIANGLES = 20_000
CONTACT_NAMES = ("left_ankle", "left_ball", "right_ankle", "right_ball")
CHUNK_FRAMES = 64

_SCENE = """<mujoco model="unish">
  <asset>{asset}</asset>
  <worldbody>
    <geom name="floor" type="plane" size="0 0 1" pos="0 0 0"/>{geom}
  </worldbody>
</mujoco>
"""
_ASSET = '<mesh name="scene" file="collision.obj"/>'
_GEOM = '\n    <geom name="scene" type="mesh" mesh="scene" contype="0" conaffinity="0"/>'
_README = """# Motion for robots

Made by unish {version} from {source}. Z up, metres, the floor at z = 0, {fps:g} frames per second.

- `person_ID.npz`: keys of AMASS (poses, root_orient, pose_body, trans, betas (16), gender, mocap_frame_rate), for GMR
  and others that read AMASS. Besides: `foot_contacts` (left ankle, left ball, right ankle, right ball), `soles_m`
  (height of the left and the right sole), `lift_m`, `floor_plane` (a, b, c, d of a·x + b·y + c·z = d), and `present`:
  where the person was seen. Elsewhere the motion is interpolated. `joints_m` are the joints in the world, for
  programs without a body model; `stature_m` is the person's height.
- `collision.obj`: the scene without people as closed plates, where the clip shows one. What nobody saw is missing.
- `scene.xml`: floor and mesh for MuJoCo. The mesh is only shown: MuJoCo collides with a mesh's convex hull, so
  decompose it first.

The shape parameters and `trans` are those of the body `{body}`; the open body's give SMPL another shape. A program that
poses another body (GMR poses SMPL-X) puts its pelvis elsewhere. `joints_m[:, 0]` is where the pelvis is, so that

    trans = joints_m[:, 0] - (the other body's pelvis in its T-pose)

puts it there again; only the difference in the length of the legs remains. GMR takes the person's height from
`betas[0]`: give it `stature_m`, and what remains above or below the floor to its `set_ground_offset`.

A contact is a foot at rest, on the floor or on something that stands on it. Feet above the floor were left there; where
a sole was deeper than {deepest:g} cm under it, the motion was raised by `lift_m`, and the mesh was not:
{lifts}

How well the motion can be retargeted was not measured.
"""


def write_robot(
    reconstruction: Reconstruction,
    folder: str | Path,
    body: BodyModel | None = None,
    fps: float | int | None = None,
    progress: Callable[[float], None] | None = None,
) -> Path:
    """Write the bundle as the module says into a new or replaced folder, at 30 (or None) or 50 frames per second.

    Raises `InputError` for another rate or a folder that cannot be written, and as `body_of` does.
    """
    rate = robot_fps(fps)
    report, using = progress or (lambda share: None), body_of(reconstruction, body)
    with atomic_path(folder, EXPORT_FILES["robot"]) as temporary:
        temporary.mkdir()
        lifts = []
        for index, person in enumerate(reconstruction.people):
            arrays = _arrays(reconstruction, person, using, rate)
            np.savez_compressed(temporary / f"person_{person.id}.npz", allow_pickle=False, **arrays)
            lifts.append(f"- person {person.id}: by {100 * arrays['lift_m'].max():.1f} cm at most")
            report(0.4 * (index + 1) / len(reconstruction.people))
        mesh = collision_mesh(reconstruction, COLLISION_TRIANGLES, lambda share: report(0.4 + 0.5 * share))
        has_mesh = len(mesh.faces) > 0
        if has_mesh:
            (temporary / "collision.obj").write_text(
                mesh_text(mesh.vertices_world, mesh.faces, "z up"), encoding="ascii"
            )
        parts = {"asset": _ASSET, "geom": _GEOM} if has_mesh else {"asset": "", "geom": ""}
        (temporary / "scene.xml").write_text(_SCENE.format(**parts), encoding="utf-8")
        made = reconstruction.provenance
        words = {"version": made.unish_version, "source": made.source_name, "body": made.body}
        text = _README.format(**words, fps=rate, deepest=100 * DEEPEST_M, lifts="\n".join(lifts))
        (temporary / "README.md").write_text(text, encoding="utf-8")
    report(1.0)
    return Path(folder)


def robot_fps(fps: float | int | None) -> float:
    """The rate of the bundle's motion; 30 for None. Raises `InputError` for one that robots' tools do not expect."""
    rate = float(fps or RATES_FPS[0])
    if rate not in RATES_FPS:
        raise InputError(f"Expected 30 or 50 frames per second for robots, got {rate:g}; give --fps 30 or 50.")
    return rate


def _arrays(reconstruction: Reconstruction, person: Person, body: BodyModel, fps: float) -> dict[str, Any]:
    motion = even_motion(reconstruction, person, fps)
    soles_m, joints_m = _posed(person, body, motion)
    lift_m = _lift(soles_m.min(1), fps)
    soles_m, joints_m[..., 2] = soles_m + lift_m[:, None], joints_m[..., 2] + lift_m[:, None]
    arrays = amass_arrays(reconstruction, person, motion)
    standing: Bool[np.ndarray, "frames 4"] = standing_feet(
        feet_of(torch.from_numpy(joints_m)), soles_m, np.zeros_like(soles_m), motion.times_s
    )[0]
    arrays["trans"] = arrays["trans"] + lift_m[:, None] * [0, 0, 1]
    return {
        **arrays,
        "foot_contacts": standing,
        "foot_contact_names": np.array(CONTACT_NAMES),
        "soles_m": soles_m,
        "joints_m": joints_m,
        "joint_names": np.array(JOINT_NAMES),
        "stature_m": np.ptp(body.shaped(torch.from_numpy(person.betas)).numpy()[:, 1]),
        "lift_m": lift_m,
        "floor_plane": np.array([0.0, 0, 1, 0]),
    }


def _posed(
    person: Person, body: BodyModel, motion: EvenMotion
) -> tuple[Float[np.ndarray, "frames 2"], Float[np.ndarray, "frames 24 3"]]:
    """Heights of both soles, and the joints, in the world."""
    betas, soles = torch.from_numpy(person.betas), sole_vertices(body)
    heights, joints = [], []
    for start in range(0, len(motion.times_s), CHUNK_FRAMES):
        chunk = slice(start, start + CHUNK_FRAMES)
        rotations = torch.from_numpy(motion.rotations[chunk]).float()
        with torch.no_grad():
            posed = body(betas, rotations, torch.from_numpy(motion.translation[chunk]).float())
        heights.append(torch.stack([posed.vertices[:, foot, 2].amin(1) for foot in soles], dim=1).double().numpy())
        joints.append(posed.joints[:, : len(JOINT_NAMES)].double().numpy())
    return np.concatenate(heights), np.concatenate(joints)


def _lift(lowest_m: Float[np.ndarray, "frames"], fps: float) -> Float[np.ndarray, "frames"]:
    """The smooth rise that no frame needs more than: the highest need around each frame, averaged over as long."""
    need = np.maximum(-DEEPEST_M - lowest_m, 0)
    window = 2 * round(LIFT_S * fps / 2) + 1
    return uniform_filter1d(maximum_filter1d(need, window, mode="nearest"), window, mode="nearest")
