"""FBX: what is handed to Blender, checked here; what Blender wrote, read back where it is installed."""

import copy
import dataclasses
import importlib.util
import json
import subprocess
import sys

import numpy as np
import pytest

from tests.helpers.fbx_reader import Fbx
from tests.helpers.posed import make_posed, shared_open_body
from unish.body.data import JOINT_NAMES, PARENTS
from unish.cli import main
from unish.errors import InputError, MissingDependencyError, UniSHError
from unish.export import export, fbx, fbx_worker, installed_formats
from unish.export.fbx import describe_scene, write_fbx
from unish.export.person_motion import rest_joints_m, standing_t_pose
from unish.export.rigs import rest_axes, rig_of
from unish.export.scene_mesh import SharedSceneMesh
from unish.export.settings import RIG_NAMES
from unish.geometry.isosurface import TriangleMesh
from unish.structures import Clip

SIZE_PX = (320, 240)
"""Of the clip: four times the network's image."""
TRIANGLES = 2000
"""Of the scene's mesh at most."""


@pytest.fixture(scope="module")
def posed():
    """The lens zooms."""
    result = make_posed()
    intrinsics = result.cameras.intrinsics.copy()
    intrinsics[:, [0, 1], [0, 1]] *= np.linspace(1, 1.5, len(result), dtype=np.float32)[:, None]
    intrinsics[:, :2, 2] += np.float32([1.5, -2.5])
    return dataclasses.replace(result, cameras=dataclasses.replace(result.cameras, intrinsics=intrinsics))


def y_up_cm(points_world: np.ndarray) -> np.ndarray:
    x, y, z = np.moveaxis(np.asarray(points_world, np.float64), -1, 0)
    return 100 * np.stack([x, z, -y], axis=-1)


# --- names and axes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RIG_NAMES)
def test_a_rig_names_every_joint_once_and_keeps_left_and_right_apart(name):
    names = rig_of(name).names
    assert len(set(names)) == len(names) == 24
    ends = {"smpl": ("left_", "right_"), "mixamo": ("Left", "Right"), "ue5": ("_l", "_r")}[name]
    for ours, theirs in zip(JOINT_NAMES, names, strict=True):
        assert [end in theirs for end in ends] == ["left" in ours, "right" in ours]


def test_retargeters_find_the_joints_that_they_look_for():
    """The joints that Mixamo's skeleton and Unreal's mannequin have in the place of SMPL's."""
    place = {name: joint for joint, name in enumerate(JOINT_NAMES)}
    mixamo, ue5 = rig_of("mixamo").names, rig_of("ue5").names
    for ours, theirs, unreals in (
        ("pelvis", "mixamorig:Hips", "pelvis"),
        ("spine3", "mixamorig:Spine2", "spine_03"),
        ("left_collar", "mixamorig:LeftShoulder", "clavicle_l"),
        ("left_shoulder", "mixamorig:LeftArm", "upperarm_l"),
        ("right_elbow", "mixamorig:RightForeArm", "lowerarm_r"),
        ("left_wrist", "mixamorig:LeftHand", "hand_l"),
        ("right_hip", "mixamorig:RightUpLeg", "thigh_r"),
        ("right_knee", "mixamorig:RightLeg", "calf_r"),
        ("left_ankle", "mixamorig:LeftFoot", "foot_l"),
        ("left_foot", "mixamorig:LeftToeBase", "ball_l"),
    ):
        assert (mixamo[place[ours]], ue5[place[ours]]) == (theirs, unreals)
    assert rig_of("ue5").root == "root" and not rig_of("mixamo").root


@pytest.mark.parametrize(("name", "column"), [("mixamo", 1), ("ue5", 0)])
def test_axes_of_a_rig_are_right_handed_and_point_to_the_next_joint(posed, name, column):
    rest_m = rest_joints_m(posed.people[0], shared_open_body())
    axes = rest_axes(rig_of(name), rest_m)
    assert np.allclose(axes @ np.swapaxes(axes, 1, 2), np.eye(3), atol=1e-9) and np.allclose(np.linalg.det(axes), 1)
    for start, end in ((0, 3), (1, 4), (4, 7), (9, 12), (12, 15), (16, 18), (18, 20), (20, 22)):
        bone = rest_m[end] - rest_m[start]
        assert axes[start, :, column] @ bone > 0.999 * np.linalg.norm(bone)
    assert (axes[[3, 6, 9, 1, 2, 4, 5], 2, 2] > 0.9).all(), "z of spine and legs to the front"
    assert np.array_equal(rest_axes(rig_of("smpl"), rest_m), np.tile(np.eye(3), (24, 1, 1)))


# --- what Blender is handed ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RIG_NAMES)
def test_bones_posed_as_blender_does_give_our_joints(posed, tmp_path, name):
    """Forward kinematics of the job's arrays alone: rest pose, then each bone's turn in its own axes."""
    describe_scene(posed, tmp_path, None, rig_of(name), shared_open_body(), None)
    job = json.loads((tmp_path / "job.json").read_text())
    assert (job["fps"], job["frames"]) == (posed.fps, len(posed))
    assert [file["name"] for file in job["files"]] == ["person_1", "person_2", "camera"]
    for person, file in zip(posed.people, job["files"], strict=False):
        arrays = np.load(tmp_path / f"{file['name']}.npz")
        for frame in range(len(posed)):
            joints = posed_as_in_blender(arrays, file["parents"], frame)
            assert np.abs(joints - y_up_cm(person.joints_world[frame])).max() < 0.01
        assert np.allclose(arrays["joint_weights"].sum(1), 1, atol=1e-5)
        assert abs(arrays["vertices_cm"][:, 1].min()) < 1e-4, "the T-pose stands on the floor"
        (x, height, z) = arrays["rest_cm"][0]
        assert (x, z) == (0, 0) and 70 < height < 120, "from which retargeters take the pelvis's height"
    assert job["files"][1]["properties"]["unish_seen_frames"] == "0-1 4-5"


def posed_as_in_blender(arrays, parents, frame: int) -> np.ndarray:
    def matrix(rotation, place):
        result = np.eye(4)
        result[:3, :3], result[:3, 3] = rotation, place
        return result

    poses, rests = [], []
    for joint, parent in enumerate(parents):
        w, x, y, z = arrays["rotations_wxyz"][frame, joint]
        turn = np.array(
            [
                [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
                [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
                [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
            ]
        )
        rests.append(matrix(arrays["rest_axes"][joint], arrays["rest_cm"][joint]))
        basis = matrix(turn, arrays["root_cm"][frame] if parent < 0 else np.zeros(3))
        above = np.eye(4) if parent < 0 else poses[parent] @ np.linalg.inv(rests[parent])
        poses.append(above @ rests[joint] @ basis)
    return np.array(poses)[:, :3, 3]


def test_the_scenes_mesh_is_handed_on_in_centimetres_where_it_has_triangles(posed, tmp_path):
    triangle = TriangleMesh(
        np.float32([[0, 0, 0], [1, 0, 0], [0, 2, 3]]), np.int64([[0, 1, 2]]), np.eye(3, dtype=np.uint8)
    )
    nothing = TriangleMesh(triangle.vertices_world[:0], triangle.faces[:0], triangle.colors[:0])
    for mesh, kinds in ((triangle, ["camera", "scene"]), (nothing, ["camera"]), (None, ["camera"])):
        empty = dataclasses.replace(posed, people=())
        describe_scene(empty, tmp_path, None, rig_of("smpl"), None, None, mesh)
        files = json.loads((tmp_path / "job.json").read_text())["files"]
        assert [file["kind"] for file in files] == kinds and set(kinds) <= set(fbx_worker._BUILDERS)
    arrays = np.load(tmp_path / "scene.npz")
    assert arrays["vertices_cm"].tolist() == [[0, 0, 0], [100, 0, 0], [0, 300, -200]]
    assert arrays["faces"].tolist() == [[0, 1, 2]] and np.array_equal(arrays["colors"], triangle.colors)


@pytest.mark.parametrize(("scene", "words"), [("points", []), ("mesh", []), ("both", ["FBX has no points"])])
def test_the_scene_asked_for_reaches_blender_and_points_are_refused_in_a_sentence(
    posed, tmp_path, monkeypatch, caplog, scene, words
):
    jobs: list[str] = []
    monkeypatch.setattr(fbx, "check_fbx", lambda: None)
    monkeypatch.setattr(fbx, "_run_blender", lambda job, *rest: jobs.extend(path.name for path in job.iterdir()))
    shared = SharedSceneMesh(posed, 200)
    write_fbx(dataclasses.replace(posed, people=()), tmp_path / "fbx", scene=scene, shared_mesh=shared)
    assert sorted(jobs) == sorted(["job.json", "camera.npz"] + ["scene.npz"] * (scene != "points"))
    assert [record.message[: len("FBX has no points")] for record in caplog.records] == words


def test_without_blenders_module_the_format_is_not_offered(posed, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "fbx" not in installed_formats() and "glb" in installed_formats()
    with pytest.raises(MissingDependencyError, match="needs Blender's Python module bpy"):
        export(posed, tmp_path, ["ply", "fbx"])
    assert main(["export", str(tmp_path / "result"), "--to", "fbx", "--names", "ue5"]) == 2
    assert "pip install 'bpy==5.0.*'" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_process_that_fails_is_a_sentence_and_leaves_nothing(posed, tmp_path, monkeypatch):
    """Its last words are in the sentence."""
    fails = [sys.executable, "-c", "print('unish share done: 0.5'); raise SystemExit('no display')"]
    popen = subprocess.Popen
    monkeypatch.setattr(fbx.subprocess, "Popen", lambda command, **options: popen(fails, **options))
    monkeypatch.setattr(fbx, "check_fbx", lambda: None)
    shares: list[float] = []
    with pytest.raises(UniSHError, match=r"did not write person_1.fbx, .*camera.fbx: no display\. Check that"):
        write_fbx(posed, tmp_path / "fbx", body=shared_open_body(), progress=shares.append)
    assert shares == [0.5] and list(tmp_path.iterdir()) == []
    fails[2] = "print('OSError: [Errno 28] No space left on device'); raise SystemExit('Location: ops.py:109')"
    with pytest.raises(InputError, match=r"Could not write .*fbx: No space left on device\."):
        write_fbx(posed, tmp_path / "fbx", body=shared_open_body())
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InputError, match="smpl, mixamo, ue5 as the names of joints, got"):
        rig_of.__wrapped__("maya")  # past the tests' own checks of types


# --- what Blender wrote --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=RIG_NAMES)
def written(request, posed, tmp_path_factory):
    """(names, the files by their names), at twice the result's rate and with the lens of a larger clip."""
    if importlib.util.find_spec("bpy") is None:
        pytest.skip("Blender's Python module is not installed")
    shares: list[float] = []
    clip = Clip(np.zeros((6, *SIZE_PX[::-1], 3), np.uint8), posed.times_s, posed.fps, "walk.mp4", SIZE_PX)
    folder = tmp_path_factory.mktemp("fbx") / "fbx"
    shared = SharedSceneMesh(posed, TRIANGLES)
    body, rate = shared_open_body(), 2 * posed.fps
    write_fbx(posed, folder, clip, request.param, body, rate, "mesh", shared_mesh=shared, progress=shares.append)
    assert shares == sorted(shares) and shares[-1] == 1 and len(shares) > 6
    return request.param, {path.stem: Fbx(path) for path in folder.iterdir()}


@pytest.mark.blender
def test_fbx_has_centimetres_y_up_and_the_rate(written):
    _, files = written
    assert sorted(files) == ["camera", "person_1", "person_2", "scene"]
    for name, file in files.items():
        known = {name: values[0] for name, values in file.settings.items() if values}
        assert known["UnitScaleFactor"] == 1 and known["CustomFrameRate"] == 12
        assert [known[f"{name}Axis"] for name in ("Up", "Front", "Coord")] == [1, 2, 0]
        assert [known[f"{name}AxisSign"] for name in ("Up", "Front", "Coord")] == [1, 1, 1]
        if name == "scene":
            assert len(file.key_times_s()) == 0, "it stands still"
        else:
            assert np.abs(file.key_times_s() - np.arange(11) / 12).max() < 1e-6


@pytest.mark.blender
def test_fbx_joints_and_skin_are_ours_in_every_frame(written, posed):
    names, files = written
    rig = rig_of(names)
    for person in posed.people:
        file = files[f"person_{person.id}"]
        skeleton = rig.skeleton or f"person_{person.id}_skeleton"
        expected = [rig.names[parent] if parent >= 0 else rig.root or skeleton for parent in PARENTS]
        assert [file.parent(name) for name in rig.names] == expected
        known = file.objects[file.models[skeleton]].properties()
        assert known["unish_id"] == [str(person.id)] and known["unish_name"] == [person.name]
        for frame in range(len(posed)):
            assert np.abs(file.to_world(skeleton, frame / posed.fps) - np.eye(4)).max() < 1e-5, (
                "neither scaled nor turned"
            )
            joints = np.array([file.to_world(name, frame / posed.fps)[:3, 3] for name in rig.names])
            assert np.abs(joints - y_up_cm(person.joints_world[frame])).max() < 0.1  # cm: 1 mm
            skin = file.skinned(f"person_{person.id}", frame / posed.fps)
            assert np.abs(skin - y_up_cm(person.vertices_world[frame])).max() < 0.1


@pytest.mark.blender
def test_without_its_take_a_person_is_in_the_t_pose_on_the_floor(written, posed):
    """What programs take as the character's own pose: Unity its avatar, others the pose to retarget from."""
    names, files = written
    rig = rig_of(names)
    for person in posed.people:
        file = copy.copy(files[f"person_{person.id}"])
        file.curves = {}
        joints = np.array([file.to_world(name, 0.0)[:3, 3] for name in rig.names])
        expected = 100 * standing_t_pose(person, shared_open_body()).joints_m
        assert np.abs(joints - expected).max() < 0.01
        assert abs(file.skinned(f"person_{person.id}", 0.0)[:, 1].min()) < 0.01


@pytest.mark.blender
def test_fbx_camera_projects_as_the_clips(written, posed):
    """A camera of FBX looks along its +x, y up."""
    _, files = written
    file = files["camera"]
    (lens,) = file.below(file.models["camera"], "NodeAttribute")
    for frame in range(len(posed)):
        pose = file.to_world("camera", frame / posed.fps)
        joints = posed.people[0].joints_world[frame].astype(np.float64)
        ahead, up, right = ((y_up_cm(joints) - pose[:3, 3]) @ pose[:3, :3]).T
        focal_mm, film_inch, offset_x, offset_y = (
            float(file.value(lens, name, frame / posed.fps, [0.0])[0])
            for name in ("FocalLength", "FilmWidth", "FilmOffsetX", "FilmOffsetY")
        )
        px_per_mm = SIZE_PX[0] / (25.4 * film_inch)
        assert 25.4 * film_inch == pytest.approx(36, abs=1e-3)
        middle_px = np.array([SIZE_PX[0] / 2, SIZE_PX[1] / 2])
        middle_px += 25.4 * px_per_mm * np.array([-offset_x, offset_y])
        pixels = middle_px + focal_mm * px_per_mm * np.stack([right / ahead, -up / ahead], axis=-1)
        camera_from_world = np.linalg.inv(posed.cameras.world_from_camera[frame].astype(np.float64))
        points = joints @ camera_from_world[:3, :3].T + camera_from_world[:3, 3]
        expected = points @ posed.cameras.intrinsics[frame].T.astype(np.float64)
        assert np.abs(pixels - 4 * expected[:, :2] / expected[:, 2:]).max() < 0.1


LOOK = """
import json, sys
import bpy

bpy.ops.wm.read_factory_settings(use_empty=True)
bpy.ops.import_scene.fbx(filepath=sys.argv[1])
(scene,) = [thing for thing in bpy.data.objects if thing.type == "MESH"]
(colors,) = scene.data.color_attributes
places = [list(scene.matrix_world @ vertex.co) for vertex in scene.data.vertices]
seen = {"vertices": places, "triangles": len(scene.data.polygons), "domain": colors.domain}
seen["corners"] = [loop.vertex_index for loop in scene.data.loops]
seen["colors"] = [list(entry.color_srgb)[:3] for entry in colors.data]
print("SEEN", json.dumps(seen))
"""


@pytest.mark.blender
def test_fbx_scene_is_the_mesh_with_its_colours(written, posed, tmp_path):
    """Read by our reader, and by Blender's own importer, where it stands z up in metres."""
    names, files = written
    mesh = SharedSceneMesh(posed, TRIANGLES).mesh()
    assert 100 < len(mesh.faces) <= TRIANGLES and len(np.unique(mesh.colors, axis=0)) > 10
    vertices, corners, colors = files["scene"].surface("scene")
    assert np.abs(vertices - y_up_cm(mesh.vertices_world)).max() < 0.01 and np.array_equal(corners, mesh.faces)
    assert np.abs(255 * colors - mesh.colors[mesh.faces]).max() < 0.51
    assert np.allclose(files["scene"].to_world("scene", 0.0), np.eye(4), atol=1e-6)
    if names != "smpl":
        return
    write_fbx(
        posed, tmp_path / "fbx", body=shared_open_body(), scene="mesh", shared_mesh=SharedSceneMesh(posed, TRIANGLES)
    )
    command = [sys.executable, "-c", LOOK, str(tmp_path / "fbx" / "scene.fbx")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith("SEEN ")]
    assert lines, done.stderr[-2000:]
    seen = json.loads(lines[0].removeprefix("SEEN "))
    assert len(seen["vertices"]) == len(mesh.vertices_world) and seen["triangles"] == len(mesh.faces)
    assert np.abs(np.array(seen["vertices"]) - mesh.vertices_world).max() < 1e-4
    corners = np.arange(len(mesh.vertices_world)) if seen["domain"] == "POINT" else np.array(seen["corners"])
    assert np.abs(255 * np.array(seen["colors"]) - mesh.colors[corners]).max() < 0.51


@pytest.mark.blender
def test_fbx_camera_that_stands_still_has_no_keys(posed, tmp_path):
    if importlib.util.find_spec("bpy") is None:
        pytest.skip("Blender's Python module is not installed")
    cameras = posed.cameras
    still = dataclasses.replace(
        cameras,
        world_from_camera=np.repeat(cameras.world_from_camera[:1], len(posed), axis=0),
        intrinsics=np.repeat(cameras.intrinsics[:1], len(posed), axis=0),
    )
    write_fbx(dataclasses.replace(posed, people=(), cameras=still), tmp_path / "fbx")
    file = Fbx(tmp_path / "fbx" / "camera.fbx")
    assert not file.curves
    pose = file.to_world("camera", 0.0)
    assert np.abs(pose[:3, 3] - y_up_cm(still.world_from_camera[0, :3, 3])).max() < 0.01
    (lens,) = file.below(file.models["camera"], "NodeAttribute")
    assert file.value(lens, "FocalLength", 0.0, [0.0])[0] == pytest.approx(36 * 70 / 80, abs=1e-3)
