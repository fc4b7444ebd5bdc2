"""The GLB, read back with pygltflib and skinned again here, and judged by the Khronos validator where it is at hand."""

import dataclasses
import json
import logging
import shutil
import subprocess

import numpy as np
import pygltflib
import pytest
from scipy.spatial.transform import Rotation, Slerp

from tests.body.bodies import made_up_arrays
from tests.helpers.posed import make_posed
from unish.body import BodyModel
from unish.body.data import JOINT_NAMES, PARENTS, check_arrays
from unish.errors import InputError, MissingAssetError
from unish.export.glb import write_glb
from unish.export.gltf import GltfDocument
from unish.export.scene_points import scene_points
from unish.structures import Clip

Y_UP = np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]])
TYPES = {5121: np.uint8, 5123: np.uint16, 5125: np.uint32, 5126: np.float32}
WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}
VALIDATE = """
const validator = require('gltf-validator');
const bytes = new Uint8Array(require('fs').readFileSync(process.argv[1]));
validator.validateBytes(bytes).then(report => console.log(JSON.stringify(report.issues)));
"""


class Read:
    """A GLB as a program sees that knows nothing of us: nodes, arrays, and the pose of any node at any time."""

    def __init__(self, path):
        self.gltf = pygltflib.GLTF2().load(str(path))
        self.names = {node.name: index for index, node in enumerate(self.gltf.nodes)}
        self.parent = {child: k for k, node in enumerate(self.gltf.nodes) for child in node.children or ()}
        self.curves = {}
        for animation in self.gltf.animations:
            for channel in animation.channels:
                sampler = animation.samplers[channel.sampler]
                curve = self.array(sampler.input), self.array(sampler.output), sampler.interpolation
                self.curves[channel.target.node, channel.target.path] = curve

    def array(self, index):
        accessor = self.gltf.accessors[index]
        view = self.gltf.bufferViews[accessor.bufferView]
        blob = self.gltf.binary_blob()[view.byteOffset : view.byteOffset + view.byteLength]
        values = np.frombuffer(blob, TYPES[accessor.componentType]).reshape(accessor.count, -1)
        assert values.shape[1] == WIDTHS[accessor.type]
        return values[:, 0] if accessor.type == "SCALAR" else values

    def sampled(self, node, path, time):
        if (node, path) not in self.curves:
            return getattr(self.gltf.nodes[node], path)
        times, values, way = self.curves[node, path]
        last = int(np.clip(np.searchsorted(times, time + 1e-6, side="right") - 1, 0, len(times) - 1))
        if way == "STEP" or last == len(times) - 1 or abs(times[last] - time) < 1e-6:
            return values[last]
        share = (time - times[last]) / (times[last + 1] - times[last])
        if path == "rotation":
            ends = Rotation.from_quat(values[last : last + 2])
            return Slerp([0, 1], ends)(share).as_quat()
        return (1 - share) * values[last] + share * values[last + 1]

    def world(self, node, time):
        """4×4 from the node's frame to the world, Y up."""
        matrix = np.eye(4)
        rotation, move, scale = (self.sampled(node, path, time) for path in ("rotation", "translation", "scale"))
        turn = np.eye(3) if rotation is None else Rotation.from_quat(rotation).as_matrix()
        matrix[:3, :3] = turn * (1 if scale is None else np.asarray(scale, float))
        matrix[:3, 3] = 0 if move is None else move
        return self.world(self.parent[node], time) @ matrix if node in self.parent else matrix

    def skinned(self, name, time):
        """Vertices of a skinned node in the world."""
        node = self.gltf.nodes[self.names[name]]
        primitive, skin = self.gltf.meshes[node.mesh].primitives[0], self.gltf.skins[node.skin]
        # pygltflib keeps the first set of joints and weights as fields, the others where they came from.
        attributes = vars(primitive.attributes)
        place = self.array(attributes["POSITION"])
        binds = self.array(skin.inverseBindMatrices).reshape(-1, 4, 4).swapaxes(1, 2)
        moves = np.stack([self.world(joint, time) for joint in skin.joints]) @ binds
        blended = np.zeros((len(place), 4, 4))
        for key in sorted(key for key, index in attributes.items() if key.startswith("JOINTS_") and index is not None):
            joints, weights = (self.array(attributes[name]) for name in (key, key.replace("JOINTS", "WEIGHTS")))
            blended += np.einsum("vk,vkab->vab", weights.astype(float), moves[joints])
        return np.einsum("vab,vb->va", blended, np.c_[place, np.ones(len(place))])[:, :3]


@pytest.fixture(scope="module")
def posed():
    return make_posed()


@pytest.fixture(scope="module")
def glb(posed, tmp_path_factory):
    return Read(write_glb(posed, tmp_path_factory.mktemp("glb") / "walk.glb", max_points=3000))


def clock(reconstruction):
    return reconstruction.times_s - reconstruction.times_s[0]


def test_skinned_again_the_bodies_are_ours_at_every_frame(posed, glb):
    for person in posed.people:
        for frame in np.flatnonzero(person.present):
            found = glb.skinned(f"person_{person.id}", clock(posed)[frame])
            assert np.abs(found - person.vertices_world[frame] @ Y_UP.T).max() < 1e-3


def test_the_t_pose_stands_upright_on_the_floor_below_which_no_retargeter_finds_the_pelvis(posed, glb):
    for person in posed.people:
        node = glb.gltf.nodes[glb.names[f"person_{person.id}"]]
        place = glb.array(vars(glb.gltf.meshes[node.mesh].primitives[0].attributes)["POSITION"])
        assert abs(place[:, 1].min()) < 1e-6 and 1.4 < place[:, 1].max() < 2.2
        x, height, z = glb.gltf.nodes[glb.gltf.skins[node.skin].joints[0]].translation
        assert (x, z) == (0, 0) and 0.7 < height < 1.2


def test_between_two_frames_the_body_is_between(posed, glb):
    """The poses of neighbouring frames are blended the short way: nothing turns the long way round."""
    person, times = posed.people[0], clock(posed)
    for frame in range(len(posed) - 1):
        middle = glb.skinned("person_1", (times[frame] + times[frame + 1]) / 2)
        ends = person.vertices_world[frame : frame + 2] @ Y_UP.T
        assert np.linalg.norm(middle - ends.mean(0), axis=-1).max() < 0.1


def test_quaternions_keep_their_sign():
    """Some programs blend numbers, not rotations; here a body turns more than once about the vertical."""
    from unish.export.person_motion import continuous_quaternions

    turns = Rotation.from_rotvec(np.linspace(0, 8, 30)[:, None] * [0, 0, 1]).as_matrix()
    found = continuous_quaternions(np.stack([turns, turns.swapaxes(1, 2)], axis=1))
    assert ((found[1:] * found[:-1]).sum(-1) > 0.9).all()
    assert np.allclose(Rotation.from_quat(found[:, 0]).as_matrix(), turns)


def test_who_is_not_seen_is_scaled_away_and_comes_back(posed, glb):
    gone = posed.people[1].present
    assert not gone.all() and gone.any()
    for frame, time in enumerate(clock(posed)):
        size = np.ptp(glb.skinned("person_2", time), axis=0).max()
        assert (size > 1) if gone[frame] else (size == 0)
    assert (glb.names["person_1_skeleton"], "scale") not in glb.curves


def test_joints_are_smpls_and_stand_where_ours_stand(posed, glb):
    for person in posed.people:
        skin = glb.gltf.skins[glb.gltf.nodes[glb.names[f"person_{person.id}"]].skin]
        assert [glb.gltf.nodes[joint].name for joint in skin.joints] == list(JOINT_NAMES)
        assert [glb.parent[joint] for joint in skin.joints[1:]] == [skin.joints[parent] for parent in PARENTS[1:]]
        places = np.stack([glb.world(joint, clock(posed)[0])[:3, 3] for joint in skin.joints])
        assert np.abs(places - person.joints_world[0] @ Y_UP.T).max() < 1e-4


def test_points_seen_through_the_camera_fall_on_their_pixels(posed, glb):
    """Points, the camera's pose and its field of view at once: as a program draws them, they meet the pixels that saw
    them, in their colours."""
    points = scene_points(posed, 3000)
    camera, node = glb.gltf.cameras[0].perspective, glb.names["camera"]
    attributes = glb.gltf.meshes[glb.gltf.nodes[glb.names["scene"]].mesh].primitives[0].attributes
    place, color = glb.array(attributes.POSITION), glb.array(attributes.COLOR_0)[:, :3] / 65535
    assert len(place) == len(points) > 1000
    shown = np.where(color <= 0.0031308, 12.92 * color, 1.055 * color ** (1 / 2.4) - 0.055) * 255
    row, column = points.pixel.T
    assert np.abs(shown - posed.images[points.frame, row, column]).max() < 0.5
    height, width = posed.images.shape[1:3]
    for frame, time in enumerate(clock(posed)):
        seen = points.frame == frame
        camera_from_world = np.linalg.inv(glb.world(node, time))
        x, y, z = camera_from_world[:3, :3] @ place[seen].T + camera_from_world[:3, 3:]
        assert (z < 0).all()
        up = y / -z / np.tan(camera.yfov / 2)
        right = x / -z / np.tan(camera.yfov / 2) / camera.aspectRatio
        assert np.abs((right + 1) / 2 * width - (column[seen] + 0.5)).max() < 0.01
        assert np.abs((1 - up) / 2 * height - (row[seen] + 0.5)).max() < 0.01


def test_a_camera_that_stands_still_has_no_keys(posed, glb, tmp_path):
    poses = np.repeat(posed.cameras.world_from_camera[:1], len(posed), axis=0)
    poses[1:, :3, 3] += np.float32(1e-6)
    still = dataclasses.replace(posed, cameras=dataclasses.replace(posed.cameras, world_from_camera=poses))
    animated = [
        any(channel.target.node == read.names["camera"] for channel in read.gltf.animations[0].channels)
        for read in (glb, Read(write_glb(still, tmp_path / "still.glb", 0)))
    ]
    assert animated == [True, False]


def test_the_cameras_view_is_the_lens_of_the_clip(posed, tmp_path):
    intrinsics = posed.cameras.intrinsics.copy()
    intrinsics[:, [0, 1], [0, 1]] *= np.linspace(1, 1.5, len(posed), dtype=np.float32)[:, None]
    zoomed = dataclasses.replace(posed, cameras=dataclasses.replace(posed.cameras, intrinsics=intrinsics))
    camera = Read(write_glb(zoomed, tmp_path / "zoom.glb", 0)).gltf.cameras[0]
    angles = 2 * np.arctan(posed.images.shape[1] / 2 / intrinsics[:, 1, 1])
    assert camera.extras["yfov_of_frames"] == pytest.approx(angles)
    assert angles.min() < camera.perspective.yfov < angles.max()
    lengths = 36 * intrinsics[:, 0, 0] / posed.images.shape[2]
    assert camera.extras["focal_mm_of_frames"] == pytest.approx(lengths) and camera.extras["sensor_width_mm"] == 36
    assert camera.extras["focal_mm"] == pytest.approx(np.median(lengths))
    assert camera.extras["focal_px"] == pytest.approx(np.median(intrinsics[:, [0, 1], [0, 1]], axis=0))
    assert camera.extras["image_size"] == [80, 60]


def test_with_the_clip_the_view_is_that_of_its_whole_images(posed, tmp_path):
    """Four times as large, and wider than what the network saw."""
    clip = Clip(np.zeros((6, 240, 332, 3), np.uint8), posed.times_s, posed.fps, "walk.mp4", (332, 240))
    camera = Read(write_glb(posed, tmp_path / "wide.glb", 0, clip=clip)).gltf.cameras[0]
    assert camera.perspective.yfov == pytest.approx(2 * np.arctan(120 / 280))
    assert camera.perspective.aspectRatio == pytest.approx(332 / 240)
    assert camera.extras["image_size"] == [332, 240] and camera.extras["focal_mm"] == pytest.approx(36 * 280 / 332)


def test_points_leave_people_out_and_keep_to_the_budget(posed):
    for budget in (0, 1, 50, 2000, 10**7):
        points = scene_points(posed, budget)
        assert len(points) <= budget and (budget == 0 or len(points) > budget / 4 or budget == 10**7)
    row, column = points.pixel.T
    assert (posed.person_mask[points.frame, row, column] == 0).all()
    seen = np.stack([posed.points_world(frame) for frame in range(len(posed))])
    assert np.array_equal(seen[points.frame, row, column], points.points_world)
    again = scene_points(posed, 2000)
    assert np.array_equal(again.points_world, scene_points(posed, 2000).points_world)
    with pytest.raises(InputError, match="0 or more"):
        scene_points(posed, -1)


def test_points_that_are_not_sure_or_float_are_left_out(posed):
    confidence, depth = posed.confidence.copy(), posed.depth_m.copy()
    confidence[:, :, 40:], depth[:, :5], depth[:, 20, 20] = 0.05, np.nan, 1.0
    points = scene_points(dataclasses.replace(posed, confidence=confidence, depth_m=depth), 10**7)
    row, column = points.pixel.T
    assert len(points) and column.max() < 40 and row.min() >= 5
    assert not ((row == 20) & (column == 20)).any()


def test_a_skin_without_pose_correctives_is_announced(tmp_path, caplog):
    """A made-up SMPL-format body whose vertices have up to 24 joints: the skin is the body without what it lacks."""
    arrays = made_up_arrays()
    body = BodyModel(check_arrays("made_up", arrays, "here"))
    plain = BodyModel(check_arrays("made_up", {k: v for k, v in arrays.items() if k != "posedirs"}, "here"))
    result = make_posed(frames=3, people=1, body=body)
    with caplog.at_level(logging.WARNING, "unish"):
        glb = Read(write_glb(result, tmp_path / "a.glb", 0, body))
    assert "no pose correctives" in caplog.text
    expected = make_posed(frames=3, people=1, body=plain).people[0].vertices_world @ Y_UP.T
    found = np.stack([glb.skinned("person_1", time) for time in clock(result)])
    assert np.abs(found - expected).max() < 1e-3
    assert np.abs(found - result.people[0].vertices_world @ Y_UP.T).max() > 1e-2


def test_the_body_must_be_there_and_be_the_one(posed, tmp_path):
    lost = dataclasses.replace(posed, provenance=dataclasses.replace(posed.provenance, body="my_scan"))
    with pytest.raises(MissingAssetError, match="body file 'my_scan', and a result stores a body's name"):
        write_glb(lost, tmp_path / "a.glb")
    other = BodyModel(check_arrays("made_up", made_up_arrays(), "here"))
    with pytest.raises(InputError, match="'made_up' does not give the vertices"):
        write_glb(posed, tmp_path / "a.glb", body=other)
    bent = dataclasses.replace(posed.people[0], betas=posed.people[0].betas + 0.5)
    with pytest.raises(InputError, match="does not give the vertices"):
        write_glb(dataclasses.replace(posed, people=(bent,)), tmp_path / "a.glb")
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_write_leaves_nothing(posed, tmp_path, monkeypatch):
    def stop(self, path, scene):
        path.write_bytes(b"glTF")
        raise KeyboardInterrupt

    monkeypatch.setattr(GltfDocument, "write", stop)
    with pytest.raises(KeyboardInterrupt):
        write_glb(posed, tmp_path / "a.glb", 100)
    assert list(tmp_path.iterdir()) == []


def test_a_clip_without_people_and_one_of_a_single_frame(posed, tmp_path):
    empty = Read(write_glb(dataclasses.replace(posed, people=()), tmp_path / "empty.glb", 100))
    assert set(empty.names) == {"scene", "camera"} and not empty.gltf.skins
    single = make_posed(frames=1, people=1)
    glb = Read(write_glb(single, tmp_path / "single.glb", 0))
    assert np.abs(glb.skinned("person_1", 0) - single.people[0].vertices_world[0] @ Y_UP.T).max() < 1e-3


@pytest.mark.parametrize("case", ["whole", "no people", "nothing but a camera", "a frame", "many joints a vertex"])
def test_the_khronos_validator_finds_nothing(case, posed, tmp_path):
    """`npm install gltf-validator`, with NODE_PATH naming its node_modules."""
    node = shutil.which("node")
    if node is None or subprocess.run([node, "-e", "require('gltf-validator')"], capture_output=True).returncode:
        pytest.skip("node with gltf-validator in NODE_PATH is not here")
    body = BodyModel(check_arrays("made_up", made_up_arrays(), "here")) if case == "many joints a vertex" else None
    result = {
        "whole": lambda: posed,
        "no people": lambda: dataclasses.replace(posed, people=()),
        "nothing but a camera": lambda: dataclasses.replace(posed, people=()),
        "a frame": lambda: make_posed(frames=1),
        "many joints a vertex": lambda: make_posed(frames=3, body=body),
    }[case]()
    path = write_glb(result, tmp_path / "a.glb", 0 if case == "nothing but a camera" else 500, body)
    issues = json.loads(subprocess.check_output([node, "-e", VALIDATE, str(path)]))
    made_up = {"ACCESSOR_INDEX_TRIANGLE_DEGENERATE"} if body else set()  # its triangles are drawn by lot
    assert [issue for issue in issues["messages"] if issue["code"] not in made_up] == []


def test_a_result_read_from_disk_gives_the_same_file(posed, tmp_path):
    loaded = type(posed).load(posed.save(tmp_path / "result"))
    files = [write_glb(result, tmp_path / name, 500) for result, name in ((posed, "a.glb"), (loaded, "b.glb"))]
    assert files[0].read_bytes() == files[1].read_bytes()
