"""Gravity and the floor: exact on clips with labels, honest about what each piece of evidence can say."""

from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from train.data.schema import ClipSample
from train.synthetic.clips import generate_clip
from unish.body import open_body
from unish.errors import InputError
from unish.fusion.gravity import BodyEvidence, Upright, find_upright
from unish.geometry.camera import unproject_depth

LEVEL = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])  # rotation of a camera that looks along +y in a world with z up
POINTS = 20_000


def rigid(rotation: np.ndarray, translation: np.ndarray) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = rotation, translation
    return matrix


def move(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    return points @ matrix[:3, :3].T + matrix[:3, 3]


def moved(person: BodyEvidence, matrix: np.ndarray) -> BodyEvidence:
    return BodyEvidence(move(matrix, person.soles_world), move(matrix, person.joints_world), person.present)


def filmed(sample: ClipSample, tilt: Rotation, noise: float, outliers: float) -> tuple:
    """What is known of a clip filmed by a phone held askew by `tilt`: cameras, points, confidence and people in the
    world of its first camera; and upright_from_world as it should be found."""
    rng = np.random.default_rng(0)
    world_from_camera = sample.world_from_camera.astype(np.float64)
    points_camera = unproject_depth(torch.from_numpy(sample.depth_m), torch.from_numpy(sample.intrinsics)).numpy()
    points_camera = points_camera * (1 + rng.normal(0, noise, sample.depth_m.shape)[..., None])
    points = np.concatenate([
        move(world_from_camera[k], points_camera[k][(sample.depth_m[k] > 0) & (sample.person_mask[k] == 0)])
        for k in range(sample.frames)
    ])  # fmt: skip
    points = points[rng.permutation(len(points))[:POINTS]]
    stray = rng.random(len(points)) < outliers
    points[stray] = rng.uniform(points.min(0), points.max(0), (stray.sum(), 3))
    body = open_body()
    posed = body(
        *(torch.from_numpy(a) for a in (sample.betas[:, None], sample.body_rotations, sample.translation_camera))
    )
    soles, joints = (
        np.stack([[move(m, p) for m, p in zip(world_from_camera, person, strict=True)] for person in values.numpy()])
        for values in (posed.vertices[:, :, body.soles], posed.joints)
    )
    seen = sample.visibility > 0.2
    people = [BodyEvidence(s, j, here) for s, j, here in zip(soles, joints, seen, strict=True)]
    world_from_camera[:, :3, :3] = world_from_camera[:, :3, :3] @ tilt.as_matrix()
    first_from_world = np.linalg.inv(world_from_camera[0])
    forward = world_from_camera[0, :2, 2] / np.linalg.norm(world_from_camera[0, :2, 2])
    turn = np.array([[forward[1], -forward[0], 0], [forward[0], forward[1], 0], [0, 0, 1]])
    shift = -turn @ (world_from_camera[0, :3, 3] * [1, 1, 0])
    wanted = rigid(turn, shift) @ world_from_camera[0]
    people = [moved(person, first_from_world) for person in people]
    cameras = first_from_world @ world_from_camera
    return cameras, move(first_from_world, points), np.ones(len(points)), people, wanted


@cache
def sample_of(seed: int, camera: str) -> ClipSample:
    return generate_clip(seed, frames=8, camera=camera, long_side_px=168)


def angle_deg(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.degrees(np.arctan2(np.linalg.norm(np.cross(a, b)), a @ b)))


def check_promises(found: Upright, cameras: np.ndarray) -> None:
    """What holds whatever the input."""
    matrix = found.upright_from_world
    np.testing.assert_allclose(matrix[:3, :3] @ matrix[:3, :3].T, np.eye(3), atol=1e-9)
    assert np.linalg.det(matrix[:3, :3]) > 0
    np.testing.assert_array_equal(matrix[3], [0, 0, 0, 1])
    np.testing.assert_allclose(matrix[:3, :3] @ found.up_world, [0, 0, 1], atol=1e-9)
    first = matrix @ cameras[np.isfinite(cameras).all((1, 2))][0]
    np.testing.assert_allclose(first[:2, 3], 0, atol=1e-9)
    if abs(first[2, 2]) < 0.98:
        assert first[1, 2] > 0
        np.testing.assert_allclose(first[0, 2], 0, atol=1e-9)
    assert 0 < found.tilt_sigma_deg <= 90
    assert found.floor_from in ("ground points", "feet", "camera")
    assert set(found.evidence) <= {"horizon", "bodies", "feet", "ground"}


@pytest.mark.parametrize("tilt_deg", [(0, 0), (10, 0), (-8, -12), (5, 15)], ids=str)
@pytest.mark.parametrize("camera", ["static", "orbit", "walk"])
@pytest.mark.parametrize("seed", [11, 13, 14])
def test_a_clip_comes_out_upright_however_the_phone_is_held(seed, camera, tilt_deg):
    """Rolled by up to 10° and pitched by up to 15° on top of what the scene's own camera does."""
    tilt = Rotation.from_euler("ZX", tilt_deg, degrees=True)
    *given_, wanted = filmed(sample_of(seed, camera), tilt, noise=0.01, outliers=0.08)
    found = find_upright(*given_)
    check_promises(found, given_[0])
    assert angle_deg(found.up_world, wanted[2, :3]) < 3
    people = np.concatenate([person.joints_world[person.present].reshape(-1, 3) for person in given_[3]])
    middle = np.median(people, axis=0)
    assert abs((move(found.upright_from_world, middle) - move(wanted, middle))[2]) < 0.05
    assert "ground" in found.evidence
    assert found.tilt_sigma_deg < 8


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 2**32 - 1), st.booleans(), st.booleans())
def test_the_world_that_is_given_does_not_matter(seed, with_points, with_people):
    cameras, points, confidence, people, _ = filmed(sample_of(11, "orbit"), Rotation.identity(), 0.01, 0.08)
    points, confidence = (points, confidence) if with_points else (points[:0], confidence[:0])
    people = people if with_people else []
    turn = rigid(Rotation.random(random_state=seed).as_matrix(), np.random.default_rng(seed).normal(0, 3, 3))
    found = find_upright(cameras, points, confidence, people)
    other = find_upright(turn @ cameras, move(turn, points), confidence, [moved(person, turn) for person in people])
    check_promises(other, turn @ cameras)
    np.testing.assert_allclose(other.up_world, turn[:3, :3] @ found.up_world, atol=1e-6)
    np.testing.assert_allclose(other.upright_from_world @ turn, found.upright_from_world, atol=1e-5)
    assert (other.floor_from, other.evidence) == (found.floor_from, found.evidence)


def test_single_precision_does():
    cameras, points, confidence, people, wanted = filmed(sample_of(11, "orbit"), Rotation.identity(), 0.0, 0.0)
    people = [
        BodyEvidence(p.soles_world.astype(np.float32), p.joints_world.astype(np.float32), p.present) for p in people
    ]
    found = find_upright(cameras.astype(np.float32), points.astype(np.float32), confidence.astype(np.float32), people)
    assert angle_deg(found.up_world, wanted[2, :3]) < 1


# --- one evidence at a time: worlds with z up and the floor at z = 0 --------------------------------------------------


def cameras_at(height_m: float, *, pitch_deg: float = 0, roll_deg: float = 0, yaw_deg=(0.0,)) -> np.ndarray:
    """Cameras that look along +y, turned to the left by `yaw_deg`, then down by `pitch_deg`, and rolled."""
    turns = [
        Rotation.from_euler("z", yaw, True).as_matrix()
        @ LEVEL
        @ Rotation.from_euler("XZ", [-pitch_deg, roll_deg], True).as_matrix()
        for yaw in yaw_deg
    ]
    return np.stack([rigid(turn, np.array([0, 0, height_m])) for turn in turns])


def patch(low: tuple, high: tuple, count: int, seed: int = 0, noise_m: float = 0.01) -> np.ndarray:
    """Points of an axis-aligned rectangle."""
    rng = np.random.default_rng(seed)
    return rng.uniform(low, high, (count, 3)) + rng.normal(0, noise_m, (count, 3))


def crouching(places: np.ndarray) -> BodyEvidence:
    """A person with folded legs who says nothing of up but by the feet, three frames at each place on the floor."""
    places = np.repeat(places, 3, axis=0)
    joints = np.zeros((len(places), 24, 3)) + places[:, None]
    for index, height in {
        0: 0.35,
        1: 0.35,
        2: 0.35,
        4: 0.5,
        5: 0.5,
        7: 0.1,
        8: 0.1,
        10: 0.05,
        11: 0.05,
        12: 0.7,
        15: 0.8,
    }.items():
        joints[:, index, 2] += height
    joints[:, [2, 5, 8, 11], 0] += 0.2
    joints[:, [4, 5], 1] += 0.3
    x, y = np.meshgrid(np.linspace(-0.04, 0.04, 4), np.linspace(-0.05, 0.15, 8))
    sole = np.stack([x, y, np.zeros_like(x)], -1).reshape(-1, 3)
    soles = np.concatenate([sole, sole + np.array([0.2, 0, 0])])
    return BodyEvidence(places[:, None] + soles, joints, np.ones(len(places), bool))


def find(cameras, points=None, people=()) -> Upright:
    points = np.zeros((0, 3)) if points is None else points
    found = find_upright(cameras, points, np.ones(len(points)), people)
    check_promises(found, cameras)
    return found


def test_a_camera_that_turns_shows_its_horizon():
    cameras = cameras_at(1.5, pitch_deg=35, yaw_deg=np.linspace(-70, 70, 9))
    found = find(cameras)
    assert angle_deg(found.up_world, np.array([0, 0, 1])) < 3
    assert (found.floor_from, found.evidence) == ("camera", ("horizon",))
    np.testing.assert_allclose(found.upright_from_world[2, 3] + 1.5 * found.up_world[2], 1.6, atol=1e-9)
    one = find(cameras[4:5])
    assert one.tilt_sigma_deg > 2 * found.tilt_sigma_deg
    assert angle_deg(one.up_world, -cameras[4, :3, 1]) < 1e-6


@pytest.mark.parametrize("seed", [11, 14])
def test_people_alone_say_how_the_camera_is_pitched(seed):
    tilt = Rotation.from_euler("x", -25, degrees=True)
    cameras, _, _, people, wanted = filmed(sample_of(seed, "static"), tilt, 0, 0)
    found = find(cameras, people=people)
    assert angle_deg(-cameras[0, :3, 1], wanted[2, :3]) > 15
    assert angle_deg(found.up_world, wanted[2, :3]) < 6
    assert found.floor_from == "feet" and "bodies" in found.evidence


def test_footprints_all_over_the_floor_level_it():
    places = np.array([[-1.5, 2, 0], [1.5, 2, 0], [-1.5, 5, 0], [1.5, 5, 0], [0, 3.5, 0]])
    found = find(cameras_at(1.6, pitch_deg=30, roll_deg=5), people=[crouching(places)])
    assert angle_deg(found.up_world, np.array([0, 0, 1])) < 3
    assert found.floor_from == "feet" and "feet" in found.evidence and "bodies" not in found.evidence
    assert abs(move(found.upright_from_world, places[-1])[2]) < 0.05


def test_footprints_along_a_line_say_nothing_across_it():
    places = np.array([[0, y, 0] for y in np.linspace(2, 6, 6)])
    cameras = cameras_at(1.6, pitch_deg=30, roll_deg=6)
    found = find(cameras, people=[crouching(places)])
    assert abs(np.degrees(np.arcsin(found.up_world[1]))) < 3
    assert abs(angle_deg(found.up_world, cameras[0, :3, 0]) - 90) < 1.5
    assert found.tilt_sigma_deg > 3


@pytest.mark.parametrize("pitch_deg, roll_deg", [(0, 0), (30, 0), (25, 10), (-10, -10)])
def test_the_ground_alone_is_enough(pitch_deg, roll_deg):
    floor = patch((-2, 1.5, 0), (2, 5, 0), 3000)
    stray = np.random.default_rng(1).uniform([-3, 1, -1], [3, 6, 3], (300, 3))
    found = find(cameras_at(1.5, pitch_deg=pitch_deg, roll_deg=roll_deg), np.concatenate([floor, stray]))
    assert angle_deg(found.up_world, np.array([0, 0, 1])) < 2
    assert found.floor_from == "ground points" and "ground" in found.evidence
    assert abs(move(found.upright_from_world, np.array([0, 3.0, 0]))[2]) < 0.02


CLUTTER = {
    "table": patch((-1.2, 1.5, 0.75), (1.2, 3.5, 0.75), 6000, 2),
    "wall": patch((-3, 5, 0), (3, 5, 2.5), 9000, 3),
    "ceiling": patch((-3, 0, 2.5), (3, 5, 2.5), 9000, 4),
    "steep ramp": patch((-3, 2, 0), (3, 4, 0), 4000, 5) @ Rotation.from_euler("x", 50, True).as_matrix().T,
}


@pytest.mark.parametrize("name", CLUTTER)
@pytest.mark.parametrize("people", [0, 1])
def test_clutter_does_not_win(name, people):
    """With two to four times the floor's points."""
    points = np.concatenate([patch((-3, 1, 0), (3, 5, 0), 2300), CLUTTER[name]])
    walker = [crouching(np.array([[0.5, 3.0, 0], [1.0, 3.2, 0]]))] * people
    found = find(cameras_at(1.5, pitch_deg=15, roll_deg=5), points, walker)
    assert angle_deg(found.up_world, np.array([0, 0, 1])) < 2
    assert found.floor_from == "ground points"
    assert abs(move(found.upright_from_world, np.array([0, 3.0, 0]))[2]) < 0.03


def test_a_table_is_no_floor_to_somebody_who_stands_below_it():
    """The floor itself is out of the picture."""
    walker = crouching(np.array([[0.5, 3.0, 0], [1.0, 3.2, 0]]))
    found = find(cameras_at(1.5, pitch_deg=15), CLUTTER["table"], [walker])
    assert found.floor_from == "feet" and "ground" not in found.evidence
    assert abs(move(found.upright_from_world, np.array([0.75, 3.1, 0]))[2]) < 0.05


def test_a_bumpy_floor_counts_less_than_an_even_one():
    even = patch((-2, 1.5, 0), (2, 5, 0), 3000)
    bumpy = even + np.array([0, 0, 0.08]) * np.sin(2.2 * even[:, :1] + 1.7 * even[:, 1:2])
    sure, unsure = (find(cameras_at(1.5), points).tilt_sigma_deg for points in (even, bumpy))
    assert unsure > 1.5 * sure


# --- hardly anything to go by ----------------------------------------------------------------------------------------


FLOOR = patch((-2, 1.5, 0), (2, 5, 0), 2000)
LINE = np.linspace([-2, 3, 0], [2, 3, 0], 500)
NOBODY = crouching(np.array([[0.0, 3, 0]]))


@pytest.mark.parametrize(
    "points, people, floor_from",
    [
        (np.zeros((0, 3)), [], "camera"),
        (np.full((100, 3), np.nan), [], "camera"),
        (np.where(np.arange(4000)[:, None] % 2, np.nan, np.repeat(FLOOR, 2, axis=0)), [], "ground points"),
        (np.full((500, 3), np.inf), [], "camera"),
        (LINE, [], "camera"),
        (np.tile([[0.0, 3, 0]], (500, 1)), [], "camera"),
        (FLOOR[:5], [], "camera"),
        (LINE, [BodyEvidence(NOBODY.soles_world, NOBODY.joints_world, NOBODY.present & False)], "camera"),
        (LINE, [BodyEvidence(NOBODY.soles_world * np.nan, NOBODY.joints_world, NOBODY.present)], "camera"),
        (LINE, [BodyEvidence(NOBODY.soles_world[:1], NOBODY.joints_world[:1], NOBODY.present[:1])], "feet"),
        (LINE, [BodyEvidence(NOBODY.soles_world[:, :0], NOBODY.joints_world, NOBODY.present)], "feet"),
        (LINE, [BodyEvidence(NOBODY.soles_world[:0], NOBODY.joints_world[:0], NOBODY.present[:0])], "camera"),
    ],
)  # fmt: skip
def test_without_evidence_the_cameras_own_up_has_to_do(points, people, floor_from):
    found = find(cameras_at(1.6, pitch_deg=5), points, people)
    assert angle_deg(found.up_world, np.array([0, 0, 1])) < 6
    assert found.floor_from == floor_from
    assert found.tilt_sigma_deg > 15 or floor_from == "ground points"


def test_points_without_confidence_do_not_count():
    confidence = np.where(np.arange(len(FLOOR)) % 2, np.nan, 0.05)
    assert find_upright(cameras_at(1.6), FLOOR, confidence, []).floor_from == "camera"


@pytest.mark.parametrize("pitch_deg", [60, 90, -90])
def test_a_camera_that_looks_straight_down_or_up(pitch_deg):
    cameras = cameras_at(1.6, pitch_deg=pitch_deg)
    alone = find(cameras)
    assert alone.tilt_sigma_deg > 15 and alone.floor_from == "camera"
    find(cameras, FLOOR, [NOBODY])


def test_cameras_that_are_not_finite_are_left_out():
    cameras = cameras_at(1.6, yaw_deg=(0, 5, 10))
    cameras[0, 0, 3] = np.nan
    assert angle_deg(find(cameras, FLOOR).up_world, np.array([0, 0, 1])) < 1
    with pytest.raises(InputError, match="camera"):
        find_upright(np.full((2, 4, 4), np.nan), FLOOR, np.ones(len(FLOOR)), [])
    with pytest.raises(InputError, match="camera"):
        find_upright(cameras[:0], FLOOR, np.ones(len(FLOOR)), [])
