"""What goes into a scene file: which points, at what precision, and that it reads back."""

import dataclasses
import gzip
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.spatial.transform import Rotation

from unish.errors import InputError
from unish.geometry.clouds import depth_edges
from unish.geometry.transforms import upright_rotation
from unish.viewer import SceneArrays, decode_scene, encode_scene, scene_arrays, write_scene
from unish.viewer.scene_file import LEVELS, dequantise, quantise


def display(scene: SceneArrays, points_world: np.ndarray) -> np.ndarray:
    return points_world @ np.array(scene.meta["display_from_world"]).T


def pose(rotation: Rotation) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = rotation.as_matrix()
    return matrix


def points(scene: SceneArrays, name: str) -> np.ndarray:
    place = scene.meta[name]
    return dequantise(scene.arrays[f"{name}_xyz"], np.array(place["low"]), np.array(place["high"]))


@given(
    hnp.arrays(np.float64, (20, 3), elements=st.floats(-50, 50)),
    hnp.arrays(np.float64, (3,), elements=st.floats(0.01, 100)),
)
def test_quantised_coordinates_err_by_half_a_step_at_most(values, extent):
    low = values.min(0)
    high = np.maximum(values.max(0), low + extent)
    back = dequantise(quantise(values, low, high), low, high)
    assert (np.abs(back - values) <= 0.5 * (high - low) / LEVELS * (1 + 1e-6) + 1e-12).all()


@settings(max_examples=30)
@given(
    st.dictionaries(
        st.text(min_size=1, max_size=8),
        st.sampled_from([np.uint8, np.uint16, np.uint32]).flatmap(
            lambda kind: hnp.arrays(kind, hnp.array_shapes(max_dims=3, max_side=5, min_side=0))
        ),
        max_size=4,
    ),
    st.text(max_size=30),
)
def test_a_scene_file_reads_back_and_is_aligned(arrays, text):
    data = encode_scene(SceneArrays({"text": text}, arrays))
    back = decode_scene(data)
    assert back.meta == {"text": text}
    assert back.arrays.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(back.arrays[name], array)
    raw = gzip.decompress(data)
    length = int.from_bytes(raw[4:8], "little")
    offsets = [entry["offset"] for entry in json.loads(raw[8 : 8 + length])["arrays"].values()]
    assert (8 + length) % 8 == 0 and all(offset % 8 == 0 for offset in offsets)


@pytest.mark.parametrize("data", [b"", b"USCN", b"PK\x03\x04 something else", b'USCN\x10\x00\x00\x00{"version": 1'])
def test_other_bytes_are_refused(data):
    with pytest.raises(InputError):
        decode_scene(data)


def test_a_cut_file_is_refused(room):
    data = encode_scene(scene_arrays(room(2), max_points=500))
    with pytest.raises(InputError, match="cut short"):
        decode_scene(data[:-100])


def test_bodies_come_back_where_they_stand(room, tmp_path):
    reconstruction = room(5, names=("A", "B"))
    scene = decode_scene(write_scene(reconstruction, tmp_path / "scene.bin").read_bytes())
    low, high = (np.array(scene.meta["bodies"][end]) for end in ("low", "high"))
    for index, person in enumerate(reconstruction.people):
        body = dequantise(scene.arrays[f"body_{index}"], low, high)
        assert (np.abs(body - display(scene, person.vertices_world)) <= 0.5 * (high - low) / LEVELS + 1e-6).all()
    np.testing.assert_array_equal(scene.arrays["faces"], reconstruction.faces)


def test_still_points_lie_on_the_room_and_moving_ones_on_the_person(room):
    scene = scene_arrays(room(6), max_points=8000)
    still, moving = points(scene, "still"), points(scene, "moving")
    # z is up: the floor 1.4 m below the camera, the ceiling 1.6 m above, walls at x = ±2.4 and y = 5.
    to_room = np.stack(
        [
            np.abs(still[:, 2] + 1.4),
            np.abs(still[:, 2] - 1.6),
            np.abs(np.abs(still[:, 0]) - 2.4),
            np.abs(still[:, 1] - 5),
        ]
    ).min(0)
    assert to_room.max() < 2e-3
    assert (moving[:, 1] < 3.2).all() and (moving[:, 1] > 2.7).all()
    start = scene.arrays["moving_start"]
    assert start[0] == 0 and start[-1] == len(moving) and (np.diff(start.astype(int)) > 0).all()
    walked = [moving[start[f] : start[f + 1], 0].mean() for f in range(6)]
    assert (np.diff(walked) > 0.3).all()


def test_a_threshold_is_a_prefix(room):
    scene = scene_arrays(room(4), max_points=3000)
    confidence = scene.arrays["still_color"][:, 3].astype(int)
    assert (np.diff(confidence) <= 0).all() and confidence[0] > 240 > 40 > confidence[-1]
    start, moving = scene.arrays["moving_start"], scene.arrays["moving_color"][:, 3].astype(int)
    assert all((np.diff(moving[start[f] : start[f + 1]]) <= 0).all() for f in range(4))


@pytest.mark.parametrize("budget", [1, 50, 4000])
def test_the_budget_holds_for_what_is_drawn_at_once(room, budget):
    scene = scene_arrays(room(6), max_points=budget)
    moving = np.diff(scene.arrays["moving_start"].astype(int)).max()
    still = len(scene.arrays["still_xyz"])
    assert still > 0 and still + moving <= budget


def test_points_cover_the_room_evenly(room):
    """Thinning by voxel: no metre of the floor gets many times the points of another."""
    still = points(scene := scene_arrays(room(6), max_points=3000), "still")
    floor = still[np.abs(still[:, 2] + 1.4) < 0.01]
    counts, _, _ = np.histogram2d(floor[:, 0], floor[:, 1], bins=[4, 2], range=[[-1.5, 1.5], [3.2, 4.8]])
    assert counts.min() > 0 and counts.max() / counts.min() < 2.5
    assert 0.01 < scene.meta["still"]["spacing_m"] < 0.3


def test_the_same_result_gives_the_same_file(room):
    reconstruction = room(3)
    assert encode_scene(scene_arrays(reconstruction, 2000)) == encode_scene(scene_arrays(reconstruction, 2000))


def test_values_that_are_not_finite_are_left_out(room):
    reconstruction = room(3)
    depth, confidence = reconstruction.depth_m.copy(), reconstruction.confidence.copy()
    depth[:, :40] = np.nan
    depth[:, 40:50] = np.inf
    confidence[:, 50:60] = np.nan
    vertices = reconstruction.people[0].vertices_world.copy()
    vertices[1, 7] = np.nan
    person = dataclasses.replace(reconstruction.people[0], vertices_world=vertices)
    scene = scene_arrays(
        dataclasses.replace(reconstruction, depth_m=depth, confidence=confidence, people=(person,)), max_points=5000
    )
    encode_scene(scene)  # JSON without NaN
    assert np.isfinite(points(scene, "still")).all()
    assert points(scene, "still")[:, 2].max() < -0.2  # only rows below 60 of 96 are left: the wall's foot and the floor
    np.testing.assert_array_equal(scene.arrays["present"], [[1, 0, 1]])


def test_floaters_between_two_surfaces_are_edges():
    depth = np.full((20, 20), 4.0, np.float32)
    depth[:, :9] = 2.0
    depth[:, 9:11] = [2.6, 3.3]
    edges = depth_edges(depth)
    assert edges[:, 9:11].all() and not edges[:, :7].any() and not edges[:, 13:].any()


def test_a_floor_seen_at_a_grazing_angle_is_no_edge():
    rows_to_horizon = np.arange(40)[::-1] + 0.5
    depth = np.tile((60 / rows_to_horizon).astype(np.float32)[:, None], (1, 30))
    assert (np.diff(depth[30:, 0]) > 0.1 * depth[31:, 0]).all()  # a test on depth steps alone would call it an edge
    assert not depth_edges(depth).any()


def test_missing_depth_is_an_edge():
    depth = np.full((5, 6), 2.0, np.float32)
    depth[2, 3], depth[0, 0] = 0, np.nan
    edges = depth_edges(depth)
    assert edges[2, 3] and edges[0, 0]


@given(hnp.arrays(np.float64, (3,), elements=st.floats(-1, 1)), st.integers(0, 2**32 - 1))
def test_up_becomes_z_without_mirroring(world_up, seed):
    camera = pose(Rotation.random(random_state=seed))
    rotation = upright_rotation(world_up, camera)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-9)
    assert np.linalg.det(rotation) > 0
    if np.linalg.norm(world_up) > 1e-6:
        np.testing.assert_allclose(rotation @ world_up, [0, 0, np.linalg.norm(world_up)], atol=1e-9)


@pytest.mark.parametrize("pitch_deg", [-90, -89, -40, 0, 40, 89, 90])
@pytest.mark.parametrize("roll_deg", [0, 15])
def test_the_first_camera_faces_y_however_the_world_is_turned(pitch_deg, roll_deg):
    """Pitched up or down, even all the way; at the ends it is the picture that says where forward is."""
    level = Rotation.from_matrix([[1, 0, 0], [0, 0, 1], [0, -1, 0]])
    upright_from_camera = level * Rotation.from_euler("XZ", [pitch_deg, roll_deg if abs(pitch_deg) < 85 else 0], True)
    world_from_upright = Rotation.from_euler("xyz", [70, -130, 20], True)
    rotation = upright_rotation(
        world_from_upright.apply([0, 0, 2.0]), pose(world_from_upright * upright_from_camera).astype(np.float32)
    )
    np.testing.assert_allclose(rotation @ world_from_upright.as_matrix(), np.eye(3), atol=1e-5)


def test_a_world_that_is_upright_is_drawn_as_it_is(room):
    reconstruction = room(2)
    turn = np.eye(4, dtype=np.float32)
    turn[:3, :3] = [[1, 0, 0], [0, 0, 1], [0, -1, 0]]
    cameras = dataclasses.replace(
        reconstruction.cameras, world_from_camera=turn @ reconstruction.cameras.world_from_camera
    )
    upright = dataclasses.replace(reconstruction, cameras=cameras, world_up=np.array([0, 0, 1], np.float32))
    np.testing.assert_allclose(scene_arrays(upright).meta["display_from_world"], np.eye(3), atol=1e-7)


@pytest.mark.parametrize("world_up", [[0.0, 0, 0], [np.nan, 0, 1]])
def test_an_unknown_up_is_the_cameras_and_an_unknown_camera_is_the_world(world_up):
    camera = pose(Rotation.from_euler("y", 30, True))
    np.testing.assert_allclose(upright_rotation(np.array(world_up), camera) @ camera[:3, 1], [0, 0, -1], atol=1e-9)
    rotation = upright_rotation(np.array([0, -1.0, 0]), np.full((4, 4), np.nan))
    np.testing.assert_allclose(rotation, [[1, 0, 0], [0, 0, 1], [0, -1, 0]], atol=1e-9)


def test_camera_frusta_look_where_the_camera_looks(room):
    scene = scene_arrays(room(3), max_points=500)
    corners = scene.arrays["camera_corners"]
    np.testing.assert_allclose(corners[:, 0], [[0, 0, 0], [0.3, 0, 0], [0.6, 0, 0]], atol=1e-6)
    top_left, _, bottom_right, _ = corners[0, 1:]
    assert (corners[:, 1:, 1] > 0.1).all()
    assert top_left[0] < 0 < bottom_right[0] and top_left[2] > 0 > bottom_right[2]


def test_nobody_and_one_frame(room):
    scene = scene_arrays(room(1, names=()), max_points=1000)
    assert scene.meta["people"] == [] and scene.meta["frames"] == 1
    assert len(scene.arrays["still_xyz"]) > 500 and len(scene.arrays["moving_xyz"]) == 0


def test_an_empty_clip_and_no_points_are_refused(room):
    with pytest.raises(InputError, match="max_points"):
        scene_arrays(room(1), max_points=0)
    with pytest.raises(InputError, match="frame"):
        scene_arrays(room(0))


def test_a_long_clip_is_shown_in_fewer_frames(room, monkeypatch):
    reconstruction = room(10)
    whole = scene_arrays(reconstruction)
    frame_bytes = 6 * reconstruction.people[0].vertices_world.shape[1] + 96 * 128
    monkeypatch.setattr("unish.viewer.scene.MAX_FRAMES_BYTES", 4 * frame_bytes)
    thin = scene_arrays(reconstruction)
    assert thin.meta["frames"] == 4 and thin.meta["times_s"] == whole.meta["times_s"][::3]
    assert thin.meta["fps"] == pytest.approx(whole.meta["fps"] / 3)
    assert thin.arrays["body_0"].shape[0] == 4 and thin.arrays["camera_corners"].shape[0] == 4
    np.testing.assert_allclose(thin.arrays["camera_corners"], whole.arrays["camera_corners"][::3], atol=1e-6)
    assert "one frame in 3" in thin.meta["notes"][-1] and not any("one frame" in note for note in whole.meta["notes"])


def test_the_first_view_has_people_in_it_wherever_they_go(room):
    """Somebody walks from far on the left to the right: every joint lies within 45 degrees, from side to side too."""
    reconstruction = room(12)
    aside = np.linspace(-1.6, 1.2, 12)[:, None, None] * [1.0, 0, 0]
    (person,) = reconstruction.people
    person = dataclasses.replace(
        person,
        joints_world=(person.joints_world + aside).astype(np.float32),
        vertices_world=(person.vertices_world + aside).astype(np.float32),
    )
    reconstruction = dataclasses.replace(reconstruction, people=(person,))
    scene = scene_arrays(reconstruction, 500)
    eye, target = (np.array(scene.meta["view"][name]) for name in ("eye", "target"))
    ahead = (target - eye) / np.linalg.norm(target - eye)
    right = np.cross(ahead, [0, 0, 1])
    right /= np.linalg.norm(right)
    joints = display(scene, reconstruction.people[0].joints_world).reshape(-1, 3) - eye
    across, up, depth = joints @ right, joints @ np.cross(right, ahead), joints @ ahead
    inside = np.maximum(np.abs(across), np.abs(up)) < np.tan(np.radians(22.5)) * depth
    assert inside.mean() > 0.95
