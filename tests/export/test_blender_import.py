"""scripts/blender_import.py, run in Blender's Python module: what stands in Blender's scene is the result."""

import ast
import dataclasses
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.export.test_export_command import SIZE, write_video
from tests.helpers.posed import make_posed
from unish.export import export
from unish.export.rigs import rig_of
from unish.export.settings import RIG_NAMES

SCRIPT = Path(__file__).parents[2] / "scripts" / "blender_import.py"
LOOK = """
import json, sys
sys.path.insert(0, sys.argv[1])
import blender_import
import bpy
from bpy_extras.object_utils import world_to_camera_view
from mathutils import Vector

def body_of(skeleton):
    return next(thing for thing in bpy.data.objects if thing.type == "MESH" and thing.find_armature() == skeleton)

names, points, frames = json.loads(sys.argv[2])
blender_import.main(sys.argv[3:])
scene = bpy.context.scene
skeletons = sorted((thing for thing in bpy.data.objects if thing.type == "ARMATURE"), key=lambda thing: thing.name)
seen = {"fps": scene.render.fps / scene.render.fps_base, "range": [scene.frame_start, scene.frame_end]}
seen["joints"], seen["pixels"], seen["hidden"] = [], [], []
for frame in frames:
    scene.frame_set(frame)
    bones = [[skeleton.matrix_world @ skeleton.pose.bones[name].head for name in names] for skeleton in skeletons]
    seen["joints"].append([[list(bone) for bone in person] for person in bones])
    seen["hidden"].append([skeleton.scale[0] == 0 or body_of(skeleton).hide_render for skeleton in skeletons])
    seen["pixels"].append([list(world_to_camera_view(scene, scene.camera, Vector(point)))[:2] for point in points])
behind = scene.camera.data.background_images[0]
seen["footage"] = [list(behind.clip.size), behind.clip.frame_start]
for thing in bpy.data.objects:
    if thing.name == "scene":
        geometry = thing.evaluated_get(bpy.context.evaluated_depsgraph_get()).evaluated_geometry()
        seen["points"] = len(geometry.pointcloud.points)
print("SEEN", json.dumps(seen))
"""


def test_the_script_needs_nothing_but_blenders_python():
    """It is run by a user whose Blender has no unish."""
    tree = ast.parse(SCRIPT.read_text())
    imported = {
        (alias.name if isinstance(node, ast.Import) else node.module or "").split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    assert imported - set(sys.stdlib_module_names) <= {"bpy", "bpy_extras", "mathutils", "pxr"}


@pytest.mark.blender
@pytest.mark.parametrize(("name", "names"), [("glb", "smpl"), ("usd", "smpl"), *(("fbx", one) for one in RIG_NAMES)])
def test_people_camera_footage_and_points_stand_in_blender(tmp_path, name, names):
    if importlib.util.find_spec("bpy") is None:
        pytest.skip("Blender's Python module is not installed")
    size = SIZE if name == "glb" else SIZE[::-1]  # a phone's footage is upright
    posed = make_posed(height=size[1] // 4, width=size[0] // 4)
    intrinsics = posed.cameras.intrinsics.copy()
    intrinsics[:, [0, 1], [0, 1]] *= np.linspace(1, 1.5, len(posed), dtype=np.float32)[:, None]
    posed = dataclasses.replace(posed, cameras=dataclasses.replace(posed.cameras, intrinsics=intrinsics))
    clip = write_video(tmp_path / "walk.mp4", size, 48)
    export(posed, tmp_path / "exports", [name], max_points=300, fps=24, names=names)
    frames = [round(24 * (time_s - posed.times_s[0])) for time_s in posed.times_s]
    points = posed.people[0].joints_world[0].tolist()
    asked = json.dumps([list(rig_of(names).names), points, frames])
    command = [sys.executable, "-c", LOOK, str(SCRIPT.parent), asked, str(tmp_path), "--clip", str(clip)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith("SEEN ")]
    assert lines, done.stderr[-2000:]
    seen = json.loads(lines[0].removeprefix("SEEN "))
    assert seen["fps"] == pytest.approx(24) and seen["range"] == [0, 20]
    assert seen["footage"] == [list(size), -12]  # the result starts half a second into the clip
    assert name == "fbx" or seen["points"] > 100
    joints = np.array(seen["joints"])
    for index, person in enumerate(posed.people):
        for frame in range(len(posed)):
            if not seen["hidden"][frame][index]:
                assert np.abs(joints[frame, index] - person.joints_world[frame]).max() < 1e-3
    hidden = np.array(seen["hidden"]).T
    assert hidden.any() and np.array_equal(hidden, [~person.present for person in posed.people])
    for frame in range(len(posed)):
        camera_from_world = np.linalg.inv(posed.cameras.world_from_camera[frame].astype(np.float64))
        inside = np.array(points) @ camera_from_world[:3, :3].T + camera_from_world[:3, 3]
        expected = inside @ posed.cameras.intrinsics[frame].T.astype(np.float64)
        expected = expected[:, :2] / expected[:, 2:] / [posed.cameras.width_px, posed.cameras.height_px]
        found = np.array(seen["pixels"][frame]) * [1, -1] + [0, 1]
        assert np.abs(found - expected).max() < 1e-3


@pytest.mark.blender
def test_footage_that_would_run_away_from_the_motion_is_refused_in_a_sentence(tmp_path):
    """Frames of a file at 12 per second, and of footage at 24."""
    if importlib.util.find_spec("bpy") is None:
        pytest.skip("Blender's Python module is not installed")
    clip = write_video(tmp_path / "walk.mp4", SIZE, 48)
    export(make_posed(), tmp_path / "exports", ["usd"], max_points=0, fps=12)
    command = [sys.executable, str(SCRIPT), str(tmp_path), "--clip", str(clip)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "Export it again with --fps 24, or take scene.glb" in done.stderr
