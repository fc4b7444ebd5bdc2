"""People and camera as binary FBX 7.4, written by Blender's Python module in a process of its own.

A folder, because programs rename the joints of a second skeleton in the same file: `person_ID.fbx` for each person,
`camera.fbx`, and `scene.fbx` where a mesh of the scene is asked for, all in the same world and with the same clock.
Y up (our x, z, −y), centimetres, no scale and no rotation on the nodes above the skeleton. Frames are even
(`even_motion`, `even_camera`), the first at time 0.

- A person: the mesh in its T-pose with the person's shape baked in, facing +z and standing on y = 0, skinned to 24
  joints whose names and axes are a `Rig`'s; one take. Without the take the joints are in the T-pose, too. Custom
  properties hold the id, the name, the shape numbers and the frames in which the person was seen; the motion itself
  goes on, bridged.
- The camera: pose and focal length of each frame, no keys for what does not change; film 36 mm wide as in USD; its
  horizontal field of view is exact. Custom properties hold the image's size and the first frame's second of the clip.
- The scene: a mesh that does not move, with sRGB colours at its vertices (`Color`). FBX has no points.

Left out: points of the scene, pose correctives of licensed SMPL bodies, a principal point that moves (its median is
the film offset), pixels that are not square.
"""

import collections
import json
import logging
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from unish.body import BodyModel
from unish.body.data import PARENTS
from unish.errors import UniSHError
from unish.export import fbx_worker
from unish.export.camera_motion import CAMERA_FROM_GL, FILM_WIDTH_MM, CameraMotion, even_camera, focal_mm
from unish.export.glb import influences, linear
from unish.export.optional_packages import check_fbx
from unish.export.person_files import chosen_people
from unish.export.person_motion import (
    Y_UP_FROM_WORLD,
    EvenMotion,
    body_of,
    continuous_quaternions,
    even_fps,
    even_motion,
    rest_joints_m,
    standing_t_pose,
)
from unish.export.rigs import Rig, bones_m, rest_axes, rig_of
from unish.export.scene_mesh import MAX_TRIANGLES, SharedSceneMesh
from unish.export.settings import RigName, Scene
from unish.geometry.isosurface import TriangleMesh
from unish.structures import FrameSequence, Person, Reconstruction
from unish.utils.atomic_write import atomic_path
from unish.utils.colors import person_color
from unish.utils.result_files import EXPORT_FILES

log = logging.getLogger("unish")

CM_PER_M = 100.0
_MIN_BONE_CM = 1.0


def write_fbx(
    reconstruction: Reconstruction,
    path: str | Path,
    clip: FrameSequence | None = None,
    names: RigName = "smpl",
    body: BodyModel | None = None,
    fps: float | int | None = None,
    scene: Scene = "points",
    max_triangles: int = MAX_TRIANGLES,
    shared_mesh: SharedSceneMesh | None = None,
    progress: Callable[[float], None] | None = None,
) -> Path:
    """Write the result into the folder `path` as the module says; `progress` is called with the share done.

    `names` chooses the joints' names and axes (`rig_of`), `clip` and `fps` are as in `even_camera`, `body`,
    `max_triangles` and `shared_mesh` as in `write_glb`. The scene is a mesh unless `scene` is "points", which FBX
    does not have. Raises as these do, `InputError` when the folder cannot be written, `MissingDependencyError` without
    bpy, and `UniSHError` with Blender's last words when its process fails.
    """
    check_fbx()
    rig, path = rig_of(names), Path(path)
    if reconstruction.people:
        body = body_of(reconstruction, body)
        if body.pose_directions is not None:
            log.warning("An FBX skin holds no pose correctives: bodies differ from the result's at bent joints.")
    if scene == "both":
        log.warning("FBX has no points: scene.fbx shows the scene as a mesh alone.")
    shared = shared_mesh or SharedSceneMesh(reconstruction, max_triangles)
    mesh = None if scene == "points" else shared.mesh()
    with atomic_path(path, EXPORT_FILES["fbx"]) as folder, tempfile.TemporaryDirectory() as job:
        folder.mkdir()
        describe_scene(reconstruction, Path(job), clip, rig, body, fps, mesh)
        _run_blender(Path(job), folder, progress or (lambda share: None))
    return path


# --- what Blender is to build --------------------------------------------------------------------------------------


def describe_scene(
    reconstruction: Reconstruction,
    folder: Path,
    clip: FrameSequence | None,
    rig: Rig,
    body: BodyModel | None,
    fps: float | int | None,
    mesh: TriangleMesh | None = None,
) -> None:
    """Write `job.json` and an NPZ for each file to be made: all that the process with Blender needs to know.

    There is a file of the scene where `mesh` has triangles.
    """
    files: list[dict[str, Any]] = []
    for person in chosen_people(reconstruction):
        assert body is not None
        motion = even_motion(reconstruction, person, fps)
        name = f"person_{person.id}"
        np.savez(folder / f"{name}.npz", **person_arrays(person, body, motion, rig))
        files.append(
            {
                "kind": "person",
                "name": name,
                "skeleton": rig.skeleton or f"{name}_skeleton",
                "joints": list(rig.names),
                "parents": list(PARENTS),
                "root": rig.root,
                "color": [*linear(np.array(person_color(person.id), np.uint8)).tolist(), 1.0],
                "properties": _properties(person, body, motion),
            }
        )
    camera = even_camera(reconstruction, clip, fps)
    np.savez(folder / "camera.npz", **camera_arrays(camera))
    files.append(
        {
            "kind": "camera",
            "name": "camera",
            "width_px": camera.width_px,
            "height_px": camera.height_px,
            "properties": {
                "unish_first_frame_s": f"{camera.times_s[0]:.6f}",
                "unish_image_size": f"{camera.width_px} {camera.height_px}",
            },
        }
    )
    if mesh is not None and len(mesh.faces):
        np.savez(folder / "scene.npz", **mesh_arrays(mesh))
        files.append({"kind": "scene", "name": "scene"})
    job = {"fps": even_fps(reconstruction, fps), "frames": len(camera.times_s), "files": files}
    (folder / "job.json").write_text(json.dumps(job))


def person_arrays(person: Person, body: BodyModel, motion: EvenMotion, rig: Rig) -> dict[str, Any]:
    """The person as Blender's bones want it, y up, centimetres, quaternions w x y z.

    A pose bone's rotation is in the axes of its rest pose, so that with axes A of a joint and SMPL's rotation R it is
    Aᵀ R A; the root's place is its way from the rest pose in these axes.
    """
    rest = standing_t_pose(person, body)
    axes = rest_axes(rig, rest.joints_m)
    rotations = motion.rotations.copy()
    rotations[:, 0] = Y_UP_FROM_WORLD @ rotations[:, 0]
    pelvis_m = (rest_joints_m(person, body)[0] + motion.translation) @ Y_UP_FROM_WORLD.T
    groups = influences(body.weights.numpy())
    joints, weights = (np.concatenate([group[part] for group in groups], axis=1) for part in (0, 1))
    return {
        "vertices_cm": rest.vertices_m * CM_PER_M,
        "faces": body.faces.numpy().astype(np.int32),
        "joint_indices": joints,
        "joint_weights": weights,
        "rest_cm": rest.joints_m * CM_PER_M,
        "rest_axes": axes,
        "bone_cm": np.maximum(_MIN_BONE_CM, CM_PER_M * np.linalg.norm(bones_m(rest.joints_m), axis=1)),
        "rotations_wxyz": continuous_quaternions(np.swapaxes(axes, 1, 2) @ rotations @ axes)[..., [3, 0, 1, 2]],
        "root_cm": (pelvis_m - rest.joints_m[0]) @ axes[0] * CM_PER_M,
    }


def camera_arrays(camera: CameraMotion) -> dict[str, Any]:
    """Pose of a camera that looks along its −z in the y-up world, centimetres, and its lens on film 36 mm wide."""
    # From the optical axis to the middle of the image, right and up, as shares of the image's width.
    right = np.median(camera.width_px / 2 - camera.intrinsics[:, 0, 2]) / camera.width_px
    up = np.median(camera.intrinsics[:, 1, 2] - camera.height_px / 2) / camera.width_px
    turns = Y_UP_FROM_WORLD @ camera.world_from_camera[:, :3, :3] @ CAMERA_FROM_GL
    return {
        "rotations_wxyz": continuous_quaternions(turns)[:, [3, 0, 1, 2]],
        "places_cm": camera.world_from_camera[:, :3, 3] @ Y_UP_FROM_WORLD.T * CM_PER_M,
        "focal_mm": focal_mm(camera.intrinsics, camera.width_px),
        "film_mm": np.array([FILM_WIDTH_MM, FILM_WIDTH_MM * camera.height_px / camera.width_px]),
        "shift": np.array([right, up]),
    }


def mesh_arrays(mesh: TriangleMesh) -> dict[str, Any]:
    """The scene's mesh, y up, centimetres, with sRGB bytes."""
    return {
        "vertices_cm": mesh.vertices_world.astype(np.float64) @ Y_UP_FROM_WORLD.T * CM_PER_M,
        "faces": mesh.faces.astype(np.int32),
        "colors": mesh.colors,
    }


def _properties(person: Person, body: BodyModel, motion: EvenMotion) -> dict[str, str]:
    return {
        "unish_id": str(person.id),
        "unish_name": person.name,
        "unish_body": body.name,
        "unish_betas": " ".join(f"{beta:.6f}" for beta in person.betas.tolist()),
        "unish_seen_frames": " ".join(f"{first}-{last}" for first, last in _stretches(motion.present)),
    }


def _stretches(present: np.ndarray) -> list[tuple[int, int]]:
    """First and last of the samples in a row that are true."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], present, [False]]).astype(int)))
    return [(int(first), int(after) - 1) for first, after in edges.reshape(-1, 2)]


# --- the process with Blender --------------------------------------------------------------------------------------


def _run_blender(job: Path, folder: Path, progress: Callable[[float], None]) -> None:
    """Blender's module prints, keeps its state in globals and may crash: it runs in a process of its own."""
    # -P, which every Python with bpy knows: modules beside the worker must not hide others of the same name.
    command = [sys.executable, "-P", fbx_worker.__file__, str(job), str(folder)]
    last: collections.deque[str] = collections.deque(maxlen=20)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if line.startswith(fbx_worker.SHARE):
                    progress(float(line[len(fbx_worker.SHARE) :]))
                elif line.strip():
                    last.append(line.strip())
        finally:
            process.kill()
    wanted = [folder / f"{file['name']}.fbx" for file in json.loads((job / "job.json").read_text())["files"]]
    missing = [file.name for file in wanted if not file.exists()]
    if missing:
        # The system's own word, where there is one: a full disk is no fault of Blender's (`atomic_path` says it).
        if refused := re.search(r"\[Errno (\d+)\]", "\n".join(last)):
            raise OSError(int(refused[1]), os.strerror(int(refused[1])))
        reason = last[-1] if last else f"its process ended with code {process.returncode}"
        log.debug("Blender said:\n%s", "\n".join(last))
        raise UniSHError(
            f"Blender's Python module did not write {', '.join(missing)}: {reason}. Check that python -c 'import bpy' "
            "works, or choose another format (glb, usd, bvh)."
        )
