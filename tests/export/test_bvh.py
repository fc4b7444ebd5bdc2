"""BVH files, read by bvhio: its joints, by its own forward kinematics, are ours."""

import dataclasses

import bvhio
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tests.helpers.posed import make_posed, shared_open_body
from unish.body.data import JOINT_NAMES, PARENTS
from unish.errors import InputError, MissingAssetError
from unish.export import bvh
from unish.export.bvh import euler_zxy_deg, write_bvh
from unish.export.person_motion import rest_joints_m

Y_UP = np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]])


@pytest.fixture(scope="module")
def posed():
    return make_posed()


def read_joints(path) -> tuple[np.ndarray, float]:
    """Places of the 24 joints at every frame in the file's own unit, and the frame time."""
    container = bvhio.readAsBvh(str(path))
    root = bvhio.convertBvhToHierarchy(container.Root)
    found = []
    for frame in range(container.FrameCount):
        root.loadPose(frame)
        places = {joint.Name: np.array(joint.PositionWorld) for joint, *_ in root.layout()}
        found.append([places[name] for name in JOINT_NAMES])
    return np.array(found), container.FrameTime


@pytest.mark.parametrize(("unit", "per_metre"), [("m", 1), ("cm", 100)])
def test_joints_are_ours_at_every_frame(posed, tmp_path, unit, per_metre):
    files = write_bvh(posed, tmp_path, unit=unit)
    assert [file.name for file in files] == ["person_1.bvh", "person_2.bvh"]
    for person, file in zip(posed.people, files, strict=True):
        joints, frame_time = read_joints(file)
        assert np.abs(joints / per_metre - person.joints_world @ Y_UP.T).max() < 1e-3
        assert frame_time == pytest.approx(1 / posed.fps, abs=1e-7)


def test_the_tree_is_smpls_and_its_offsets_the_persons_t_pose(posed, tmp_path):
    (file,) = write_bvh(posed, tmp_path / "one.bvh", person=2)
    root = bvhio.readAsBvh(str(file)).Root
    parents = {child.Name: joint.Name for joint, *_ in root.layout() for child in joint.Children}
    assert root.Name == "pelvis" and len(list(root.layout())) == 24
    assert {name: JOINT_NAMES[parent] for name, parent in zip(JOINT_NAMES[1:], PARENTS[1:], strict=True)} == parents
    rest = rest_joints_m(posed.people[1], shared_open_body())
    for joint, *_ in root.layout():
        k = JOINT_NAMES.index(joint.Name)
        expected = rest[k] - rest[PARENTS[k]] if k else np.zeros(3)
        assert np.array(joint.Offset) == pytest.approx(expected, abs=1e-5)
        assert joint.Channels[-3:] == ["Zrotation", "Xrotation", "Yrotation"]


@pytest.mark.parametrize("speed", [0.2, 1.0, 2.5])
def test_angles_give_the_rotation_and_do_not_jump(speed):
    """Turning on through whole turns, past x = ±90°."""
    steps = np.linspace(0, 6, 80)
    turns = Rotation.from_rotvec(np.stack([speed * steps, 0.3 * np.sin(steps), steps], -1))
    angles = euler_zxy_deg(turns.as_matrix())
    assert np.abs(Rotation.from_euler("ZXY", angles, degrees=True).as_matrix() - turns.as_matrix()).max() < 1e-6
    plain = Rotation.from_matrix(turns.as_matrix()).as_euler("ZXY", degrees=True)
    assert np.abs(np.diff(plain, axis=0)).max() > 150  # what a program would blend through
    assert np.abs(np.diff(angles, axis=0)).max() < 90


def test_a_somersault_is_one_angle_that_grows():
    """Past x = 90° the usual triple turns z and y by half a turn; the other triple goes straight on."""
    angles = np.stack([np.full(50, 5.0), np.linspace(0, 401, 50), np.full(50, 3.0)], axis=-1)
    found = euler_zxy_deg(Rotation.from_euler("ZXY", angles, degrees=True).as_matrix())
    assert np.abs(found - angles).max() < 1e-4


def test_gimbal_lock_still_gives_the_rotation():
    turns = Rotation.from_euler("ZXY", [[10, 90, 20], [10, -90, 20], [0, 90, 0]], degrees=True).as_matrix()
    found = Rotation.from_euler("ZXY", euler_zxy_deg(turns), degrees=True).as_matrix()
    assert np.abs(found - turns).max() < 1e-6


def test_one_file_holds_one_person(posed, tmp_path):
    with pytest.raises(InputError, match=r"got a result with 1, 2; choose one"):
        write_bvh(posed, tmp_path / "who.bvh")
    with pytest.raises(InputError, match="got 7"):
        write_bvh(posed, tmp_path / "who.bvh", person=7)
    with pytest.raises(InputError, match="got a result with no people"):
        write_bvh(dataclasses.replace(posed, people=()), tmp_path / "who.bvh")
    with pytest.raises(InputError, match='"m" or "cm", got'):
        bvh.write_bvh.__wrapped__(posed, tmp_path, unit="inch")  # past the tests' own checks of types
    lost = dataclasses.replace(posed, provenance=dataclasses.replace(posed.provenance, body="my_scan"))
    with pytest.raises(MissingAssetError, match="my_scan"):
        write_bvh(lost, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_keeps_what_else_is_in_it(posed, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    assert write_bvh(posed, tmp_path, person=1) == (tmp_path / "person_1.bvh",)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["notes.txt", "person_1.bvh"]


def test_an_interrupted_write_leaves_nothing(posed, tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(bvh, "euler_zxy_deg", stop)
    with pytest.raises(KeyboardInterrupt):
        write_bvh(posed, tmp_path)
    assert list(tmp_path.iterdir()) == []
