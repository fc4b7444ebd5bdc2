"""Results against truths: the truth scores perfectly, known faults score their known numbers."""

import dataclasses

import cv2
import numpy as np
import pytest
import torch

from tests.helpers.true_sequences import HEIGHT, WIDTH, make_world
from unish.body import open_body
from unish.errors import InputError, MissingAssetError
from unish.evaluation.metric_values import MetricValues, WeightedMean, means_of, pooled
from unish.evaluation.people_scores import FEET_VERTICES
from unish.evaluation.predict import sampled_frames
from unish.evaluation.predictions import prediction_of, seen_frames
from unish.evaluation.scene_scores import mask_on_map, on_image
from unish.evaluation.scoring import FIT, METRICS, score
from unish.geometry.rotations import axis_angle_to_matrix
from unish.video.preprocess import frame_transform

DEPTH = ("abs_rel", "delta_125", "body_abs_rel", "body_delta_125", "surface_abs_rel", "scale_error")
CAMERAS = ("ate_m", "rpe_trans_m", "rpe_rot_deg", "camera_ate_cm")
BODIES = ("pa_mpjpe_mm", "mpjpe_mm", "pve_mm", "accel", "wa_mpjpe_mm", "w_mpjpe_mm", "rte_percent", "root_error_mm")
PERFECT = dict.fromkeys((*DEPTH, *CAMERAS, *BODIES), 0.0) | {"delta_125": 1.0, "body_delta_125": 1.0}


@pytest.fixture(scope="module")
def body():
    return open_body()


@pytest.fixture(scope="module")
def world(body):
    return make_world(body)


def scored(result, sequence, *metrics: str, alignment: str = "scale", body=None) -> dict[str, float]:
    means = means_of(score(result, sequence, metrics, alignment, body))
    return {name: mean.value for name, mean in means.items()}


def moved(result, shift):
    """The result with all people elsewhere in the world (frames, 3), metres."""
    shift = np.asarray(shift, np.float32)
    people = [
        dataclasses.replace(
            person,
            joints_world=person.joints_world + shift[..., None, :],
            vertices_world=person.vertices_world + shift[..., None, :],
            translation_world=person.translation_world + shift,
        )
        for person in result.people
    ]
    return dataclasses.replace(result, people=tuple(people))


def with_cameras(result, world_from_camera):
    cameras = dataclasses.replace(result.cameras, world_from_camera=np.asarray(world_from_camera, np.float32))
    return dataclasses.replace(result, cameras=cameras)


# --- the truth -----------------------------------------------------------------------------------------------------


def test_the_truth_is_perfect(world):
    found = scored(world.result(), world.sequence(), *PERFECT)
    assert set(found) == set(PERFECT)
    for name, value in found.items():
        # Positions are stored in float32: a thousandth of a millimetre; its second difference times 30² is 0.003 m/s².
        assert value == pytest.approx(PERFECT[name], abs=1e-2), name


def test_the_truth_of_every_fifth_frame_is_perfect_at_all_of_them(body):
    world = make_world(body, turning=False)
    sequence = world.sequence()
    frames = sampled_frames(sequence, 6.0)
    assert frames.tolist() == [0, 5, 10, 15, 20, 25, 30]
    found = scored(world.result(frames), sequence, *PERFECT, body=body)
    for name in BODIES:
        assert found[name] == pytest.approx(0, abs=1e-2), name
    assert len(score(world.result(frames), sequence, ["mpjpe_mm"])["mpjpe_mm"].values) == 31 * 2


def test_a_turn_at_constant_speed_is_met_exactly_between_the_frames(body):
    world = make_world(body, frames=9, people=1, turning=False)
    answer = prediction_of(world.result(np.array([0, 8])), world.sequence())
    np.testing.assert_allclose(answer.people[1].joints_world, world.joints(world.motions[0]), atol=1e-5)
    surface = answer.people[1].vertices_world(np.array([3, 4]))
    np.testing.assert_allclose(surface, world.vertices(world.motions[0], np.array([3, 4])), atol=1e-5)
    linear = (np.arange(9) / 8)[:, None, None] * np.diff(world.joints(world.motions[0])[[0, 8]], axis=0)
    linear = linear + world.joints(world.motions[0])[0]
    assert np.abs(linear - answer.people[1].joints_world).max() > 5e-3  # joints themselves do not move evenly


def test_before_the_first_and_after_the_last_frame_seen_people_stand_still(body):
    world = make_world(body, frames=9, people=1, turning=False)
    joints = prediction_of(world.result(np.array([2, 6])), world.sequence()).people[1].joints_world
    np.testing.assert_array_equal(joints[:2], joints[[2, 2]])
    np.testing.assert_array_equal(joints[7:], joints[[6, 6]])
    np.testing.assert_allclose(joints[4], world.joints(world.motions[0])[4], atol=1e-5)


# --- depth ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("alignment", "abs_rel"),
    [("metric", 0.1), ("scale", 0.0), ("scale&shift", 0.0)],
)
def test_depth_a_tenth_too_large(world, alignment, abs_rel):
    result = dataclasses.replace(world.result(), depth_m=1.1 * world.depth_m)
    found = scored(result, world.sequence(), *DEPTH, alignment=alignment)
    assert found["abs_rel"] == pytest.approx(abs_rel, abs=1e-6)
    assert found["body_abs_rel"] == pytest.approx(abs_rel, abs=1e-6)
    assert found["scale_error"] == pytest.approx(0.1, abs=1e-6) and found["delta_125"] == 1


def test_a_shift_of_depth_counts_unless_it_may_be_taken_away(world):
    result = dataclasses.replace(world.result(), depth_m=1.3 * world.depth_m + 0.5)
    assert scored(result, world.sequence(), "abs_rel", alignment="scale&shift")["abs_rel"] < 1e-6
    assert scored(result, world.sequence(), "abs_rel", alignment="scale")["abs_rel"] > 0.01
    assert scored(result, world.sequence(), "surface_abs_rel")["surface_abs_rel"] < 1e-6


def test_depth_is_pooled_by_its_valid_pixels(world):
    sequence = world.sequence()
    series = score(world.result(), sequence, DEPTH)
    assert series["abs_rel"].mean().weight == (world.depth_m > 0).sum()
    on_bodies = sum(int(((world.mask(k) > 0) & (world.depth_m[k] > 0)).sum()) for k in range(world.frames))
    assert series["body_abs_rel"].mean().weight == on_bodies
    assert series["scale_error"].mean().weight == 1
    rows = [{"abs_rel": WeightedMean(0.1, 300.0)}, {"abs_rel": WeightedMean(0.3, 100.0)}, {}]
    assert pooled(rows) == {"abs_rel": pytest.approx(0.15)}


def test_true_depth_from_seventy_metres_on_does_not_count(world):
    far = world.depth_m.copy()
    far[:, 10:20] = 75
    sequence = dataclasses.replace(world.sequence(), depth_m=lambda frame: far[frame])
    assert scored(world.result(), sequence, "abs_rel")["abs_rel"] == pytest.approx(0, abs=1e-6)


def test_a_map_of_the_middle_falls_on_the_middle_of_the_image():
    picture = (640, 480)
    crop = frame_transform(*picture, long_side_px=518, patch_size=14)
    assert (crop.width_px, crop.height_px) == (518, 392)

    def plane(points_px: torch.Tensor) -> np.ndarray:
        return (3 + 0.002 * points_px[..., 0] + 0.004 * points_px[..., 1]).numpy()

    def centres(width: int, height: int) -> torch.Tensor:
        grid = torch.meshgrid(torch.arange(width) + 0.5, torch.arange(height) + 0.5, indexing="xy")
        return torch.stack(grid, dim=-1)

    depth = plane(crop.unmap_points(centres(518, 392)))
    found, true = on_image(depth, picture), plane(centres(*picture))
    np.testing.assert_allclose(found[4:-4, 6:-6], true[4:-4, 6:-6], atol=5e-4)  # a tenth of a pixel
    np.testing.assert_allclose(found[:, :2], np.broadcast_to(found[:, 2:3], (480, 2)), atol=2e-3)  # carried outwards
    noise = np.random.default_rng(0).random((240, 320), np.float32)
    np.testing.assert_allclose(
        on_image(noise, picture), cv2.resize(noise, picture, interpolation=cv2.INTER_CUBIC), atol=1e-4
    )
    mask = np.zeros((480, 640), np.uint8)
    mask[:240, :320] = 1
    on_map = mask_on_map(mask, (518, 392))
    assert (on_map[:196, :259] == 1).all() and not on_map[196:].any() and not on_map[:, 259:].any()


# --- cameras -------------------------------------------------------------------------------------------------------


def test_cameras_count_up_to_a_similarity(world):
    cameras = world.world_from_camera.numpy().copy()
    turn = axis_angle_to_matrix(torch.tensor([0.3, -1.0, 0.2], dtype=torch.float64)).numpy()
    cameras[:, :3, :3] = turn @ cameras[:, :3, :3]
    cameras[:, :3, 3] = 3 * cameras[:, :3, 3] @ turn.T + 2
    found = scored(with_cameras(world.result(), cameras), world.sequence(), *CAMERAS)
    assert max(found[name] for name in ("ate_m", "rpe_trans_m", "camera_ate_cm")) < 1e-4
    assert found["rpe_rot_deg"] < 1e-2


def test_a_camera_that_turns_a_degree_a_frame_too_much(world):
    cameras = world.world_from_camera.clone()
    angle = torch.deg2rad(torch.arange(world.frames, dtype=torch.float64))
    cameras[:, :3, :3] = cameras[:, :3, :3] @ axis_angle_to_matrix(torch.stack([angle, 0 * angle, 0 * angle], -1))
    found = scored(with_cameras(world.result(), cameras), world.sequence(), *CAMERAS)
    assert found["rpe_rot_deg"] == pytest.approx(1.0, abs=0.2) and found["ate_m"] < 1e-5


# --- people --------------------------------------------------------------------------------------------------------


def test_a_body_beside_its_place_is_off_by_as_much(world):
    found = scored(moved(world.result(), [0.3, 0.0, 0.4]), world.sequence(), *BODIES)
    assert found["root_error_mm"] == pytest.approx(500, abs=0.01)
    for name in ("pa_mpjpe_mm", "mpjpe_mm", "pve_mm", "wa_mpjpe_mm", "w_mpjpe_mm", "rte_percent"):
        assert found[name] == pytest.approx(0, abs=1e-2), name


def test_a_world_twice_as_large_has_wrong_ways_only(world):
    result = world.result()
    people = [dataclasses.replace(person, joints_world=2 * person.joints_world) for person in result.people]
    found = scored(dataclasses.replace(result, people=tuple(people)), world.sequence(), *BODIES)
    assert found["wa_mpjpe_mm"] < 1e-2 and found["w_mpjpe_mm"] < 1e-2 and found["pa_mpjpe_mm"] < 1e-2
    assert found["rte_percent"] > 10 and found["mpjpe_mm"] > 50


def test_a_surface_a_centimetre_off_its_joints(world):
    result = world.result()
    people = [
        dataclasses.replace(person, vertices_world=person.vertices_world + np.float32([0, 0.01, 0]))
        for person in result.people
    ]
    found = scored(dataclasses.replace(result, people=tuple(people)), world.sequence(), "pve_mm", "mpjpe_mm")
    assert found["pve_mm"] == pytest.approx(10, abs=0.01) and found["mpjpe_mm"] < 1e-2


def test_surfaces_of_another_topology_have_no_pve(world):
    result = world.result()
    people = [dataclasses.replace(person, vertices_world=person.vertices_world[:, :100]) for person in result.people]
    found = score(dataclasses.replace(result, people=tuple(people)), world.sequence(), ["pve_mm", "mpjpe_mm"])
    assert set(found) == {"mpjpe_mm"}


def test_one_joint_that_is_pushed_has_its_acceleration(body):
    world = make_world(body, people=1)
    joints = world.result().people[0].joints_world.astype(np.float64)
    time = np.arange(world.frames) / world.fps
    joints[:, 20, 1] += 0.5 * 6.0 * time**2  # 6 m/s² on one of 24 joints
    person = dataclasses.replace(world.result().people[0], joints_world=joints.astype(np.float32))
    result = dataclasses.replace(world.result(), people=(person,))
    assert scored(result, world.sequence(), "accel")["accel"] == pytest.approx(6 / 24, abs=0.01)


def test_jitter_is_the_third_derivative(body):
    world = make_world(body, people=1)
    time = np.arange(world.frames) / world.fps
    push = np.zeros((world.frames, 3))
    push[:, 0] = 50 * time**3  # 300 m/s³
    still = np.zeros((world.frames, 24, 3), np.float32)
    person = dataclasses.replace(world.result().people[0], joints_world=(still + push[:, None]).astype(np.float32))
    found = scored(dataclasses.replace(world.result(), people=(person,)), world.sequence(), "jitter")
    assert found["jitter"] == pytest.approx(30, rel=0.01)


def test_feet_slide_where_smpl_feet_should_stand(body):
    world = make_world(body, frames=11, people=1)
    standing = np.zeros((11, 6890, 3), np.float32)
    standing[6:, FEET_VERTICES[:2]] += np.float32([0, 0, 0.5])  # both vertices of one foot take a step
    sliding = standing + (0.004 * np.arange(11, dtype=np.float32))[:, None, None] * np.float32([1, 0, 0])
    true = dataclasses.replace(world.sequence().people[0], vertices_world=lambda frame: standing[frame])
    sequence = dataclasses.replace(world.sequence(), people=(true,))
    person = dataclasses.replace(world.result().people[0], vertices_world=sliding)
    series = score(dataclasses.replace(world.result(), people=(person,)), sequence, ["foot_sliding_mm"])
    values = series["foot_sliding_mm"].values
    assert len(values) == 4 * 10 - 2  # the step itself is no contact
    np.testing.assert_allclose(values, 4, atol=1e-3)
    assert "foot_sliding_mm" not in score(world.result(), world.sequence(), ["foot_sliding_mm"])  # not SMPL's


def test_a_world_of_half_the_size_has_half_its_extent_and_its_cameras_are_off_by_metres(world):
    result = world.result()
    cameras = result.cameras.world_from_camera.copy()
    cameras[:, :3, 3] *= 0.5
    people = [dataclasses.replace(person, joints_world=0.5 * person.joints_world) for person in result.people]
    small = with_cameras(dataclasses.replace(result, people=tuple(people)), cameras)
    names = ("world_size", "ate_m", "rigid_ate_m")
    found, perfect = (scored(one, world.sequence(), *names) for one in (small, result))
    assert perfect["world_size"] == pytest.approx(1, abs=1e-4) and found["world_size"] == pytest.approx(0.5, abs=1e-4)
    assert perfect["rigid_ate_m"] < 1e-5 > found["ate_m"]
    centers = world.sequence().world_from_camera[:, :3, 3]
    extent_m = np.sqrt(np.square(centers - centers.mean(0)).sum(-1).mean())
    assert found["rigid_ate_m"] == pytest.approx(0.5 * extent_m, rel=1e-3)


def test_feet_in_contact_slide_and_float(body):
    """Both feet stand while the true body does not move; the predicted one drifts, 12 cm above its floor."""
    world = make_world(body, frames=6, people=1)
    true, person = world.sequence().people[0], world.result().people[0]
    still = np.repeat(true.joints_world[:1], 6, axis=0)
    surface = np.repeat(person.vertices_world[:1], 6, axis=0)
    drift = (0.02 * np.arange(6, dtype=np.float32))[:, None, None] * np.float32([1, 0, 0])
    lift = np.float32([0, 0, 0.12]) - surface[0, :, 2].min() * np.float32([0, 0, 1])
    person = dataclasses.replace(
        person, joints_world=(still + drift + lift).astype(np.float32), vertices_world=surface + drift + lift
    )
    sequence = dataclasses.replace(world.sequence(), people=(dataclasses.replace(true, joints_world=still),))
    upright = dataclasses.replace(world.result(), people=(person,), world_up=np.float32([0, 0, 1]))
    names = ("foot_sliding_cm_s", "foot_floor_gap_cm", "world_size")
    values = score(upright, sequence, names)
    assert set(values) == set(names[:2])  # who stays where they are has no trajectory
    np.testing.assert_allclose(values["foot_sliding_cm_s"].values, 100 * 0.02 * world.fps, rtol=1e-3)
    assert len(values["foot_sliding_cm_s"].values) == 5 * 4 and len(values["foot_floor_gap_cm"].values) == 5 * 2
    assert values["foot_floor_gap_cm"].values.min() == pytest.approx(12, abs=0.01)
    tilted = dataclasses.replace(upright, world_up=np.float32([0, -1, 0]))
    assert set(score(tilted, sequence, names)) == {"foot_sliding_cm_s"}


def test_who_does_not_move_has_no_rte(body):
    world = make_world(body, people=1)
    true = world.sequence().people[0]
    still = dataclasses.replace(true, joints_world=np.repeat(true.joints_world[:1], world.frames, axis=0))
    sequence = dataclasses.replace(world.sequence(), people=(still,))
    assert set(score(world.result(), sequence, ["rte_percent", "wa_mpjpe_mm"])) == {"wa_mpjpe_mm"}


def test_frames_that_are_not_known_or_not_scored_are_dropped(body):
    world = make_world(body, people=1)
    true = world.sequence().people[0]
    joints, present = true.joints_world.copy(), np.ones(world.frames, bool)
    joints[3], present[7] = np.nan, False
    sequence = dataclasses.replace(
        world.sequence(), people=(dataclasses.replace(true, joints_world=joints, present=present),)
    )
    assert len(score(world.result(), sequence, ["mpjpe_mm"])["mpjpe_mm"].values) == world.frames - 2
    assert scored(world.result(), sequence, "mpjpe_mm")["mpjpe_mm"] < 1e-2


def test_numbers_that_are_not_finite_are_refused(world):
    broken = world.result()
    joints = broken.people[0].joints_world.copy()
    joints[4, 2] = np.nan
    person = dataclasses.replace(broken.people[0], joints_world=joints)
    with pytest.raises(InputError, match="joints of person 1"):
        score(dataclasses.replace(broken, people=(person, *broken.people[1:])), world.sequence(), ["mpjpe_mm"])
    depth = world.depth_m.copy()
    depth[2, 30, 30] = np.inf
    with pytest.raises(InputError, match="depths of frame 2"):
        score(dataclasses.replace(broken, depth_m=depth), world.sequence(), ["abs_rel"])
    with pytest.raises(InputError, match="cameras"):
        score(with_cameras(broken, np.full((world.frames, 4, 4), np.nan)), world.sequence(), ["ate_m"])


def test_people_are_known_by_their_boxes_not_by_their_numbers(world):
    result = world.result()
    swapped = tuple(dataclasses.replace(p, id=3 - p.id) for p in reversed(result.people))
    found = scored(dataclasses.replace(result, people=swapped), world.sequence(), "root_error_mm")
    assert found["root_error_mm"] < 1e-2
    with pytest.raises(InputError, match="person 2"):
        score(dataclasses.replace(result, people=result.people[:1]), world.sequence(), ["mpjpe_mm"])
    elsewhere = dataclasses.replace(result.people[1], boxes_px=result.people[1].boxes_px + 100)
    with pytest.raises(InputError, match="overlaps person 2"):
        score(dataclasses.replace(result, people=(result.people[0], elsewhere)), world.sequence(), ["mpjpe_mm"])


def test_a_body_before_its_points_shows_in_centimetres(body):
    world = make_world(body, frames=4, people=1)
    deep = np.full((4, HEIGHT, WIDTH), 4.0, np.float32)
    result = dataclasses.replace(world.result(), depth_m=deep)
    names = ("body_off_points_cm", "points_behind_cm")
    here = scored(result, world.sequence(), *names)
    further = scored(dataclasses.replace(result, depth_m=deep + 0.3), world.sequence(), *names)
    assert further["points_behind_cm"] - here["points_behind_cm"] == pytest.approx(30, abs=0.1)
    assert further["body_off_points_cm"] > here["body_off_points_cm"]


def test_the_fit_of_a_result_with_itself_is_a_value_a_person(body):
    world = make_world(body, frames=4)
    series = score(world.result(), world.sequence(), FIT)
    assert {"fit_feet_gap_cm", "fit_feet_penetration_cm"} <= set(series)
    assert all(1 <= len(values.values) <= 2 for values in series.values())


# --- what does not fit ---------------------------------------------------------------------------------------------


def test_frames_must_be_those_of_the_sequence(world):
    sequence = world.sequence()
    assert seen_frames(world.result(np.array([0, 6, 30])), sequence).tolist() == [0, 6, 30]
    late = dataclasses.replace(world.result(np.array([0, 6, 30])), times_s=np.array([0, 0.2, 5.0]))
    with pytest.raises(InputError, match="31 frames"):
        seen_frames(late, sequence)
    twice = dataclasses.replace(world.result(np.array([0, 6, 30])), times_s=np.array([0, 0.2, 0.2]))
    with pytest.raises(InputError, match="walk"):
        seen_frames(twice, sequence)


def test_the_body_that_a_result_names_must_be_there(world):
    result = world.result(np.array([0, 15, 30]))
    result = dataclasses.replace(result, provenance=dataclasses.replace(result.provenance, body="no_such_body"))
    with pytest.raises(MissingAssetError, match="no_such_body"):
        score(result, world.sequence(), ["mpjpe_mm"])


def test_measures_and_alignments_have_names(world):
    with pytest.raises(InputError, match="mpjpe"):
        score(world.result(), world.sequence(), ["mpjpe"])
    with pytest.raises(InputError, match="scale&shift"):
        score(world.result(), world.sequence(), ["abs_rel"], "affine")


def test_what_the_truth_does_not_know_is_not_scored(world):
    sequence = dataclasses.replace(
        world.sequence(), depth_m=None, world_from_camera=None, person_mask=None, people=world.sequence().people[:0]
    )
    assert score(world.result(), sequence, [name for name in METRICS if name not in FIT]) == {}


def test_rates_choose_the_nearest_frames(world):
    sequence = dataclasses.replace(world.sequence(), fps=25.0)
    assert sampled_frames(sequence, 6.0).tolist() == [0, 4, 8, 12, 17, 21, 25, 29]
    assert sampled_frames(sequence, None).tolist() == sampled_frames(sequence, 60.0).tolist() == list(range(31))


def test_a_series_in_short():
    assert MetricValues(np.array([1.0, 3.0]), 5).mean() == WeightedMean(2.0, 10.0)
    assert MetricValues(np.zeros(0)).mean() is None and means_of({"abs_rel": MetricValues(np.zeros(0))}) == {}
