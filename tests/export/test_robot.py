"""The bundle for robots, read with NumPy and trimesh, posed again from its file alone, and loaded by MuJoCo."""

import dataclasses

import numpy as np
import pytest
import torch
import trimesh
from scipy.spatial.transform import Rotation

from tests.helpers.posed import make_posed, shared_open_body
from unish.body import BodyOutput
from unish.errors import InputError
from unish.export.npz import write_amass
from unish.export.robot import CONTACT_NAMES, write_robot

DEEPEST_M = 0.02


@pytest.fixture(scope="module")
def posed():
    """Both people sink: their soles are up to 0.3 m deep."""
    result = make_posed(4, 2)
    people = []
    for person in result.people:
        translation = person.translation_world.copy()
        translation[2:, 2] -= 0.3
        vertices = person.vertices_world + (translation - person.translation_world)[:, None]
        people.append(dataclasses.replace(person, translation_world=translation, vertices_world=vertices))
    return dataclasses.replace(result, people=tuple(people))


@pytest.fixture(scope="module", params=[None, 50])
def folder(request, posed, tmp_path_factory):
    return write_robot(posed, tmp_path_factory.mktemp("robot") / "robot", fps=request.param), request.param or 30


def posed_again(data) -> BodyOutput:
    """The open body from the file's keys."""
    rotations = Rotation.from_rotvec(data["poses_smpl"].reshape(-1, 3)).as_matrix().reshape(-1, 24, 3, 3)
    with torch.no_grad():
        body = shared_open_body()
        turns, places = torch.from_numpy(rotations).float(), torch.from_numpy(data["trans"]).float()
        return body(torch.from_numpy(data["betas"][:10]).float(), turns, places)


def test_the_file_of_a_person_has_amass_keys_and_no_sole_under_the_floor(folder, posed):
    path, rate = folder
    for person in posed.people:
        data = np.load(path / f"person_{person.id}.npz")
        frames = len(data["trans"])
        assert frames == round((posed.times_s[-1] - posed.times_s[0]) * rate) + 1 and data["mocap_frame_rate"] == rate
        assert data["poses"].shape == (frames, 156) and data["betas"].shape == (16,)
        assert data["foot_contacts"].shape == (frames, 4) and tuple(data["foot_contact_names"]) == CONTACT_NAMES
        assert data["floor_plane"].tolist() == [0, 0, 1, 0]
        again = posed_again(data)
        soles = again.vertices.numpy()[:, list(shared_open_body().soles), 2].min(1)
        assert soles.min() > -DEEPEST_M and np.abs(soles - data["soles_m"].min(1)).max() < 1e-3
        assert data["joints_m"].shape == (frames, 24, 3) and data["joint_names"][0] == "pelvis"
        assert np.abs(again.joints.numpy()[:, :24] - data["joints_m"]).max() < 1e-4
        stature_m = np.ptp(shared_open_body().shaped(torch.from_numpy(person.betas)).numpy()[:, 1])
        assert float(data["stature_m"]) == pytest.approx(stature_m) and 1.4 < stature_m < 2.2
        assert data["lift_m"].max() > 0.1 and np.abs(np.diff(data["lift_m"])).max() < 0.05, "raised, and smoothly"


def test_but_for_the_lift_the_motion_is_that_of_the_npz_export(folder, posed, tmp_path):
    path, rate = folder
    for amass in write_amass(posed, tmp_path / "npz", fps=rate):
        expected, actual = np.load(amass), np.load(path / amass.name.replace("_amass", ""))
        assert set(expected) < set(actual)
        for key in set(expected) - {"trans"}:
            np.testing.assert_array_equal(actual[key], expected[key], err_msg=key)
        lift = actual["lift_m"][:, None] * [0, 0, 1]
        np.testing.assert_array_equal(actual["trans"], expected["trans"] + lift)


def test_the_folder_explains_itself(folder, posed):
    path, rate = folder
    names = {"README.md", "collision.obj", "scene.xml", "person_1.npz", "person_2.npz"}
    assert {entry.name for entry in path.iterdir()} == names
    text = (path / "README.md").read_text()
    assert f"{rate} frames per second" in text and "person 2: by" in text and "`open`" in text
    mesh = trimesh.load(path / "collision.obj", process=False)
    assert mesh.is_watertight and np.median(np.abs(mesh.triangles_center[mesh.face_normals[:, 2] > 0.9, 2])) < 0.02


def test_mujocos_floor_and_the_feet_agree(folder, posed):
    mujoco = pytest.importorskip("mujoco", reason="mujoco is not installed")
    path, _ = folder
    model = mujoco.MjModel.from_xml_path(str(path / "scene.xml"))
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    floor = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_GEOM, "floor")
    assert mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_GEOM, "scene") >= 0
    height, up = data.geom_xpos[floor], data.geom_xmat[floor].reshape(3, 3)[:, 2]
    for person in posed.people:
        vertices = posed_again(np.load(path / f"person_{person.id}.npz")).vertices.numpy()
        assert ((vertices[:, list(shared_open_body().soles)] - height) @ up).min() > -DEEPEST_M


def test_other_rates_are_refused(posed, tmp_path):
    with pytest.raises(InputError, match="30 or 50 frames per second for robots, got 24"):
        write_robot(posed, tmp_path / "robot", fps=24)
    assert list(tmp_path.iterdir()) == []


def test_a_clip_without_a_scene_still_has_a_floor(posed, tmp_path):
    blind = dataclasses.replace(posed, confidence=np.zeros_like(posed.confidence), people=posed.people[:1])
    path = write_robot(blind, tmp_path / "robot")
    assert sorted(one.name for one in path.iterdir()) == ["README.md", "person_1.npz", "scene.xml"]
    assert "collision.obj" not in (path / "scene.xml").read_text()
