"""Captured motion on the open body: what is read is what the file says, and people stay on the floor."""

from pathlib import Path

import bvhio
import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from train.synthetic.assets import Assets
from train.synthetic.clips import generate_clip
from train.synthetic.kinematics import BODY_TO_WORLD, forward_kinematics, joint_rotations
from train.synthetic.motion_files import read_amass, read_amc, read_bvh
from train.synthetic.motion_library import MotionLibrary, leg_length
from train.synthetic.random_poses import LIMB_LIMITS, TRUNK_LIMITS, random_pose_curves
from train.synthetic.retarget import match_segments, retarget
from unish.body import open_body
from unish.body.data import JOINT_NAMES, PARENTS
from unish.errors import InputError

BODY = open_body()
REST = BODY.joint_template.numpy().astype(np.float64)
FRAMES = 5


def bvh_text(names=JOINT_NAMES, unit: float = 100.0, seed: int = 0, fps: float = 30.0) -> tuple[str, np.ndarray]:
    """A BVH file of the open body's skeleton in random poses, and their rotations (T,24,3,3), the root's y up."""
    rng = np.random.default_rng(seed)
    angles = rng.uniform(-40, 40, (FRAMES, 24, 3))
    order: list[int] = []

    def joint(index: int, indent: str) -> list[str]:
        order.append(index)
        offset = (REST[index] - REST[PARENTS[index]] if index else 0 * REST[0]) * unit
        kind = f"{'JOINT' if index else 'ROOT'} {names[index]}"
        channels = ("6 Xposition Yposition Zposition " if index == 0 else "3 ") + "Zrotation Xrotation Yrotation"
        lines = [kind, "{", "  OFFSET " + " ".join(f"{n:.6f}" for n in offset), "  CHANNELS " + channels]
        children = [child for child, parent in enumerate(PARENTS) if parent == index]
        for child in children:
            lines += joint(child, indent + "  ")
        if not children:
            lines += ["  End Site", "  {", "    OFFSET 0 1 0", "  }"]
        return [indent + line for line in lines] + [indent + "}"]

    lines = ["HIERARCHY", *joint(0, ""), "MOTION", f"Frames: {FRAMES}", f"Frame Time: {1 / fps:.8f}"]
    for frame in range(FRAMES):
        place = [10.0 * frame, 95.0, 0.0]
        lines.append(" ".join(f"{n:.6f}" for n in [*place, *angles[frame, order].ravel()]))
    rotations = Rotation.from_euler("ZXY", angles.reshape(-1, 3), degrees=True).as_matrix()
    return "\n".join(lines) + "\n", rotations.reshape(FRAMES, 24, 3, 3)


def test_a_bvh_file_of_smpls_joints_comes_back_as_its_rotations(tmp_path):
    text, rotations = bvh_text()
    (tmp_path / "a.bvh").write_text(text)
    recording = retarget(read_bvh(tmp_path / "a.bvh"), REST, "a.bvh")
    rotations[:, 0] = BODY_TO_WORLD @ rotations[:, 0]
    expected, _ = forward_kinematics(rotations, REST, PARENTS)
    world, _ = forward_kinematics(recording.rotations, REST, PARENTS)
    held = [i for i, name in enumerate(JOINT_NAMES) if "hand" not in name and "elbow" not in name]
    np.testing.assert_allclose(world[:, held], expected[:, held], atol=1e-5)
    # The forearm takes half of the wrist's twist, and points where it did.
    for elbow, wrist in ((18, 20), (19, 21)):
        bone = REST[wrist] - REST[elbow]
        np.testing.assert_allclose(world[:, elbow] @ bone, expected[:, elbow] @ bone, atol=1e-6)
    np.testing.assert_allclose(recording.root[:, 0] * leg_length(REST), 0.1 * np.arange(FRAMES), atol=1e-5)
    assert recording.fps == pytest.approx(30)


def test_our_bvh_reader_agrees_with_bvhio(tmp_path):
    (tmp_path / "a.bvh").write_text(bvh_text()[0])
    capture = read_bvh(tmp_path / "a.bvh")
    places = {capture.names[0]: capture.root[3]}
    for index, parent in list(enumerate(capture.parents))[1:]:
        joint, above = (JOINT_NAMES.index(capture.names[k]) for k in (index, parent))
        bone = capture.orientations[3, parent] @ (REST[joint] - REST[above]) * 100
        places[capture.names[index]] = places[capture.names[parent]] + bone
    root = bvhio.readAsHierarchy(str(tmp_path / "a.bvh")).loadPose(3)
    for joint, _, _ in root.layout():
        np.testing.assert_allclose(places[joint.Name], [*joint.PositionWorld], atol=1e-2)


def test_segments_are_told_by_the_names_of_common_skeletons(tmp_path):
    mixamo = {
        "pelvis": "Hips", "spine1": "Spine", "spine2": "Spine1", "spine3": "Spine2", "neck": "Neck", "head": "Head",
        "hip": "UpLeg", "knee": "Leg", "ankle": "Foot", "foot": "ToeBase", "collar": "Shoulder", "shoulder": "Arm",
        "elbow": "ForeArm", "wrist": "Hand", "hand": "HandMiddle1",
    }  # fmt: skip

    def renamed(name: str) -> str:
        side, _, part = name.partition("_")
        return "mixamorig:" + (side.capitalize() + mixamo[part] if part else mixamo[name])

    (tmp_path / "m.bvh").write_text(bvh_text([renamed(name) for name in JOINT_NAMES])[0])
    capture = read_bvh(tmp_path / "m.bvh")
    matched = match_segments(capture)
    for name in JOINT_NAMES:
        if "hand" not in name:
            assert capture.names[matched[name]] == renamed(name)


ASF_BONES = {
    "lhipjoint": ("0.7 -0.7 0", 2, "0 0 0", ""), "lfemur": ("0.34202 -0.939693 0", 7, "0 0 20", "rx ry rz"),
    "ltibia": ("0.34202 -0.939693 0", 7, "0 0 20", "rx"), "lfoot": ("0 -0.2 0.98", 2, "-90 0 20", "rx rz"),
    "rhipjoint": ("-0.7 -0.7 0", 2, "0 0 0", ""), "rfemur": ("-0.34202 -0.939693 0", 7, "0 0 -20", "rx ry rz"),
    "rtibia": ("-0.34202 -0.939693 0", 7, "0 0 -20", "rx"), "rfoot": ("0 -0.2 0.98", 2, "-90 0 -20", "rx rz"),
    "lowerback": ("0 1 0", 2, "0 0 0", "rx ry rz"), "thorax": ("0 1 0", 2, "0 0 0", "rx ry rz"),
    "lowerneck": ("0 1 0", 2, "0 0 0", "rx ry rz"), "head": ("0 1 0", 2, "0 0 0", "rx ry rz"),
    "lclavicle": ("1 0.3 0", 2, "0 0 0", "ry rz"), "lhumerus": ("1 0 0", 5, "180 -30 -90", "rx ry rz"),
    "lradius": ("1 0 0", 3, "180 -30 -90", "rx"), "rclavicle": ("-1 0.3 0", 2, "0 0 0", "ry rz"),
    "rhumerus": ("-1 0 0", 5, "180 30 90", "rx ry rz"), "rradius": ("-1 0 0", 3, "180 30 90", "rx"),
}  # fmt: skip
ASF_TREE = """root lhipjoint rhipjoint lowerback
lhipjoint lfemur
lfemur ltibia
ltibia lfoot
rhipjoint rfemur
rfemur rtibia
rtibia rfoot
lowerback thorax
thorax lowerneck lclavicle rclavicle
lowerneck head
lclavicle lhumerus
lhumerus lradius
rclavicle rhumerus
rhumerus rradius"""


def write_acclaim(folder: Path, frames: list[dict[str, str]]) -> Path:
    """A small Acclaim skeleton and a motion; bones that a frame leaves out stay at 0."""
    lines = [":version 1.10", ":root", "order TX TY TZ RX RY RZ", "position 0 0 0", ":bonedata"]
    for name, (direction, length, axis, dof) in ASF_BONES.items():
        lines += ["begin", f"name {name}", f"direction {direction}", f"length {length}", f"axis {axis} XYZ"]
        lines += [f"dof {dof}", "end"] if dof else ["end"]
    (folder / "7.asf").write_text("\n".join([*lines, ":hierarchy", "begin", ASF_TREE, "end"]))
    rows = ["#!OML:ASF", ":FULLY-SPECIFIED", ":DEGREES"]
    for number, frame in enumerate(frames, start=1):
        rows += [str(number), "root " + frame.get("root", "0 14 0 0 0 0")]
        for name, (*_, dof) in ASF_BONES.items():
            if dof:
                rows.append(f"{name} " + frame.get(name, " ".join("0" for _ in dof.split())))
    (folder / "7_01.amc").write_text("\n".join(rows))
    return folder / "7_01.amc"


def test_an_acclaim_motion_bends_the_limbs_that_it_bends(tmp_path):
    straight = {"lfemur": "0 0 -20", "rfemur": "0 0 20"}  # from 20 degrees astride to legs that hang down
    file = write_acclaim(
        tmp_path,
        [{}, {"ltibia": "90"}, {"rfemur": "-90 0 0"}, {"root": "14 14 0 0 90 0"} | straight, {"lradius": "90"}],
    )
    recording = retarget(read_amc(file, tmp_path / "7.asf"), REST, "7_01.amc")
    world, _ = forward_kinematics(recording.rotations, REST, PARENTS)

    def pointing(frame: int, joint: int, child: int) -> np.ndarray:
        """Where a bone points: left, forward and up of a body that faces the world's -y."""
        bone = world[frame, joint] @ (REST[child] - REST[joint])
        return (bone / np.linalg.norm(bone)) @ np.array([[1.0, 0, 0], [0, -1, 0], [0, 0, 1]])

    astride = [np.sin(np.radians(20)), 0, -np.cos(np.radians(20))]
    np.testing.assert_allclose(pointing(0, 1, 4), astride, atol=1e-5)
    np.testing.assert_allclose(pointing(0, 16, 18), [1, 0, 0], atol=1e-5)
    np.testing.assert_allclose(pointing(1, 4, 7), [0, -1, 0], atol=1e-5)  # the shin goes back
    np.testing.assert_allclose(pointing(1, 1, 4), astride, atol=1e-5)
    np.testing.assert_allclose(pointing(2, 2, 5), [0, 1, 0], atol=1e-5)  # the thigh comes forward
    np.testing.assert_allclose(pointing(3, 1, 4), [0, 0, -1], atol=1e-3)
    np.testing.assert_allclose(pointing(3, 16, 18), [0, -1, 0], atol=1e-5)  # turned to its left, the left arm is behind
    assert pointing(4, 18, 20)[0] < 0.1 and np.allclose(pointing(4, 16, 18), [1, 0, 0], atol=1e-5)
    np.testing.assert_allclose(recording.root[3] - recording.root[0], [1.0, 0, 0], atol=1e-9)  # one leg to the left


def amass(path: Path, poses: np.ndarray, place: np.ndarray, fps: float = 60.0) -> Path:
    np.savez(path, poses=poses, trans=place, mocap_framerate=fps, betas=np.zeros(16), gender="neutral")
    return path


def test_an_amass_motion_keeps_its_rotations(tmp_path):
    rng = np.random.default_rng(0)
    poses, place = rng.normal(0, 0.3, (4, 156)), rng.normal(0, 1, (4, 3))
    motion = read_amass(amass(tmp_path / "a.npz", poses, place))
    expected = Rotation.from_rotvec(poses[:, :66].reshape(-1, 3)).as_matrix().reshape(4, 22, 3, 3)
    np.testing.assert_allclose(motion.rotations[:, :22], expected, atol=1e-12)
    np.testing.assert_allclose(motion.rotations[:, 22:], np.broadcast_to(np.eye(3), (4, 2, 3, 3)))
    np.testing.assert_allclose(motion.root, place)


@pytest.fixture(scope="module")
def jumper(tmp_path_factory) -> MotionLibrary:
    """Somebody stands, hops for a third of a second, stands, and hangs in the air for two seconds."""
    folder = tmp_path_factory.mktemp("motions")
    t = np.arange(480) / 60
    height = np.where((t > 2) & (t < 2.33), 0.3, 0.0) + np.where(t > 6, 0.9, 0.0)
    poses = np.zeros((len(t), 66))
    poses[:, 0] = np.pi / 2  # upright in a world with z up
    poses[:, 3 * 16 + 2] = -1.2  # the left arm hangs down, the right one does not
    amass(folder / "jump.npz", poses, np.stack([0.5 * t, 0 * t, 0.95 + height], 1))
    return MotionLibrary.of(folder, open_body())


def test_a_drawn_stretch_never_hangs_in_the_air_but_may_jump(jumper):
    highest = 0.0
    for seed in range(12):
        motion = jumper.draw(np.random.default_rng(seed), 2.0, 0.8)
        assert motion is not None and motion.clearance is not None
        flying = motion.clearance > 0
        highest = max(highest, motion.clearance.max())
        assert flying.mean() < 0.4
        np.testing.assert_allclose(np.linalg.norm(np.diff(motion.track, axis=0), axis=1).mean() * 60, 0.5, atol=0.12)
        np.testing.assert_allclose(np.linalg.det(motion.rotations), 1.0, atol=1e-6)
    assert 0.25 < highest < 0.35
    assert jumper.draw(np.random.default_rng(0), 7.0, 0.8) is None


def test_half_of_the_stretches_are_mirrored(jumper):
    lowered = []
    for seed in range(12):
        motion = jumper.draw(np.random.default_rng(seed), 1.0, 0.8)
        assert motion is not None
        _, joints = forward_kinematics(motion.rotations, REST, PARENTS)
        lowered.append(bool(joints[0, 20, 2] < joints[0, 21, 2]))
        # Mirrored or not, left is on the body's left.
        across = joints[0, 1] - joints[0, 2]
        np.testing.assert_allclose(np.cross(across, motion.rotations[0, 0] @ [0, 0, 1.0])[2] < 0, True)
    assert 2 < sum(lowered) < 10


def test_people_in_captured_motion_stand_on_the_floor_or_jump(jumper):
    heights = []
    for seed in range(3):
        clip = generate_clip(seed, frames=4, long_side_px=56, people_count=1, assets=Assets(motions=jumper))
        pose = clip.world_from_camera.astype(np.float64)
        with torch.no_grad():
            vertices = BODY(
                torch.from_numpy(clip.betas[0]).expand(4, 10),
                torch.from_numpy(clip.body_rotations[0]),
                torch.from_numpy(clip.translation_camera[0]),
            ).vertices.numpy()
        world = np.einsum("tij,tvj->tvi", pose[:, :3, :3], vertices) + pose[:, None, :3, 3]
        heights.append(world[..., 2].min(1))
    assert np.min(heights) > -0.002 and np.median(heights) < 0.002 and np.max(heights) < 0.4
    again = generate_clip(2, frames=4, long_side_px=56, people_count=1, assets=Assets(motions=jumper))
    np.testing.assert_array_equal(clip.images, again.images)


def test_random_poses_keep_to_the_limits_and_out_of_the_trunk():
    for seed in range(6):
        curves = random_pose_curves(np.random.default_rng(seed), 3.0, REST, PARENTS)
        for name, (low, high) in TRUNK_LIMITS.items():
            assert (curves[name] > min(low, -0.6) - 0.3).all() and (curves[name] < max(high, 0.6) + 0.3).all()
        for side in "lr":
            for name, (low, high) in LIMB_LIMITS.items():
                assert (curves[f"{side}_{name}"] >= low - 0.35).all() and (
                    curves[f"{side}_{name}"] <= high + 0.35
                ).all()
            assert (curves[f"{side}_knee"] > -0.2).all() and (curves[f"{side}_elbow"] >= 0).all()
        _, joints = forward_kinematics(joint_rotations(curves, 0.0), REST, PARENTS)
        spine = joints[:, None, 0] + np.linspace(0, 1, 8)[:, None] * (joints[:, None, 12] - joints[:, None, 0])
        hands = np.linalg.norm(joints[:, [20, 21], None] - spine[:, None], axis=-1).min((1, 2))
        assert (hands > 0.15).mean() > 0.9  # between two free poses the way may lead closer by


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.bvh", "HIERARCHY\nROOT hips\n{\n"),
        ("a.bvh", bvh_text()[0].rpartition("Frames")[0] + "Frames: 9\nFrame Time: 0.03\n1 2 3\n"),
        ("a.bvh", bvh_text([f"bone{k}" for k in range(24)])[0]),
        ("a.npz", "no archive"),
        ("a.amc", "1\nroot 0 0 0 0 0 0\n"),
        ("a.txt", "nothing that moves"),
    ],
)
def test_a_damaged_file_is_an_input_error(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=r"a\.|--motions"):
        MotionLibrary.of(tmp_path, open_body()).draw(np.random.default_rng(0), 1.0, 0.8)
