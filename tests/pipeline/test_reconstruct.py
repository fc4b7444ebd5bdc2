"""From what the network says to metres in one world, with a network that knows the answer."""

import dataclasses

import numpy as np
import pytest
import torch

from tests.helpers.oracle import HEIGHT, WIDTH, OracleNetwork, make_clip, make_track, make_truth
from unish.analysis.summary import summarise
from unish.body import open_body
from unish.errors import InputError
from unish.geometry.camera import intrinsics_from_focal, unproject_depth
from unish.geometry.transforms import transform_points
from unish.people.detection import DetectedPeople
from unish.pipeline import reconstruct, reconstruct_clip, reconstruct_tracked
from unish.pipeline.options import NetworkChoices, Options


@pytest.fixture(scope="module")
def body():
    return open_body()


@pytest.fixture(scope="module")
def truth():
    return make_truth()


@pytest.fixture(scope="module")
def scene(truth, body):
    second = make_track(person=2)
    keypoints = np.zeros((len(second.present), 17, 3))
    keypoints[:, 0, :2], keypoints[:, 16, :2] = second.boxes_px[:, :2], second.boxes_px[:, 2:]
    keypoints[:, 16, 2] = 0.75
    tracks = (make_track(), dataclasses.replace(second, keypoints_px=keypoints))
    return reconstruct_tracked(make_clip(), tracks, OracleNetwork(truth, body), body, finder="oracle")


def first_camera_from_world(scene):
    """The truth's world is its first camera; the result's is upright."""
    return np.linalg.inv(scene.cameras.world_from_camera[0])


def test_cameras_focal_and_depth_come_back_in_metres(scene, truth):
    assert np.allclose(
        first_camera_from_world(scene) @ scene.cameras.world_from_camera, truth.world_from_camera, atol=2e-3
    )
    assert np.allclose(scene.cameras.intrinsics[:, 0, 0], truth.focal_px, rtol=1e-3)
    assert np.allclose(scene.depth_m, truth.depth_m, rtol=2e-3)
    intrinsics = intrinsics_from_focal(torch.tensor(truth.focal_px), WIDTH, HEIGHT)
    points = unproject_depth(truth.depth_m, intrinsics)
    world = transform_points(truth.world_from_camera, points.flatten(1, 2)).reshape(points.shape)
    for frame in range(len(scene)):
        turn = torch.from_numpy(first_camera_from_world(scene))
        found = transform_points(turn, torch.from_numpy(scene.points_world(frame)).flatten(0, 1))
        assert np.allclose(found.reshape(points.shape[1:]), world[frame], atol=0.02)


def test_bodies_stand_where_they_stood(scene, truth, body):
    rotations = torch.cat([truth.root_world[:, None], truth.body_pose], dim=1)
    posed = body(truth.betas.expand(len(rotations), -1), rotations, truth.translation_world)
    turn = torch.from_numpy(first_camera_from_world(scene))
    for person in scene.people:
        vertices, joints = (torch.from_numpy(points) for points in (person.vertices_world, person.joints_world))
        assert np.allclose(transform_points(turn, vertices), posed.vertices, atol=5e-3)
        assert np.allclose(transform_points(turn, joints), posed.joints, atol=5e-3)


def test_camera_frame_parameters_agree_with_the_world(scene, body):
    """Posing the body in the camera and moving it by the camera gives the body in the world."""
    person = scene.people[0]
    posed = body(
        torch.from_numpy(person.betas).expand(len(scene), -1),
        torch.from_numpy(person.body_rotations),
        torch.from_numpy(person.translation_camera),
    )
    moved = transform_points(torch.from_numpy(scene.cameras.world_from_camera), posed.vertices)
    assert np.allclose(moved, person.vertices_world, atol=1e-4)


def test_absence_is_bridged_evenly(truth, body):
    track = make_track(absent=(0, 2, 3, 5))
    scene = reconstruct_tracked(make_clip(), (track,), OracleNetwork(truth, body), body, finder="oracle")
    person = scene.people[0]
    assert person.present.tolist() == [False, True, False, False, True, False]
    place = person.translation_world
    assert np.allclose(place[0], place[1]) and np.allclose(place[5], place[4])
    assert np.allclose(place[2], place[1] + (place[4] - place[1]) / 3, atol=1e-5)
    assert np.allclose(np.linalg.det(person.root_rotation_world), 1, atol=1e-5)


def test_masks_label_people_at_the_networks_size(scene):
    assert scene.person_mask.shape == (6, HEIGHT, WIDTH)
    assert set(np.unique(scene.person_mask)) == {0, 2}  # the second person's mask covers the first's


def test_uncertain_pixels_are_labelled_as_masks_are(scene, truth, body):
    assert scene.uncertain_mask is None
    track = make_track(person=2)
    around = np.roll(track.masks, 10, axis=2)
    tracks = (make_track(), dataclasses.replace(track, uncertain_masks=around))
    result = reconstruct_tracked(make_clip(), tracks, OracleNetwork(truth, body), body, finder="oracle")
    assert result.uncertain_mask.shape == scene.person_mask.shape and set(np.unique(result.uncertain_mask)) == {0, 2}
    assert (result.uncertain_mask > 0).sum() == (result.person_mask == 2).sum() > 0
    assert not ((result.uncertain_mask > 0) & (result.person_mask > 0)).any()


def test_keypoints_lie_where_the_boxes_do(scene):
    first, second = scene.people
    assert first.keypoints_px is None
    corners = np.concatenate([second.keypoints_px[:, 0, :2], second.keypoints_px[:, 16, :2]], axis=1)
    assert np.allclose(corners, second.boxes_px, atol=1e-3)
    assert (second.keypoints_px[:, 0, 2] == 0).all() and (second.keypoints_px[:, 16, 2] == 0.75).all()


def test_same_input_same_numbers(scene, truth, body):
    again = reconstruct_tracked(
        make_clip(), (make_track(), make_track(person=2)), OracleNetwork(truth, body), body, finder="oracle"
    )
    assert np.array_equal(scene.people[1].vertices_world, again.people[1].vertices_world)
    assert np.array_equal(scene.depth_m, again.depth_m)


def test_one_frame_is_enough(body):
    truth = make_truth(1)
    scene = reconstruct_tracked(make_clip(1), (make_track(1),), OracleNetwork(truth, body), body, finder="oracle")
    assert len(scene) == 1 and np.isfinite(scene.people[0].vertices_world).all()


def test_nobody_says_how_to_draw_a_box(truth, body):
    with pytest.raises(InputError, match=r"Draw a box around a person .*x0,y0,x1,y1"):
        reconstruct_tracked(make_clip(), (), OracleNetwork(truth, body), body, finder="oracle")


def test_progress_runs_forward_and_can_cancel(truth, body):
    shares: list[float] = []

    def stop(share, message):
        shares.append(share)
        if share > 0.5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        reconstruct_tracked(
            make_clip(), (make_track(),), OracleNetwork(truth, body), body, finder="oracle", progress=stop
        )
    assert shares == sorted(shares) and len(shares) >= 2


def test_an_unknown_option_is_named():
    with pytest.raises(InputError, match="zoom"):
        reconstruct("clip.mp4", zoom=3)


def test_result_is_frozen(scene):
    with pytest.raises(dataclasses.FrozenInstanceError):
        scene.people[0].name = "somebody"


def test_the_focal_gain_of_small_networks_reaches_the_result_only(scene, truth, body):
    network = OracleNetwork(truth, body, focal_gain=0.5)
    other = reconstruct_tracked(make_clip(), (make_track(),), network, body, finder="oracle")
    assert np.allclose(other.cameras.intrinsics[:, 0, 0], 0.5 * scene.cameras.intrinsics[:, 0, 0], rtol=1e-6)
    assert np.array_equal(other.depth_m, scene.depth_m)
    assert np.allclose(other.people[0].translation_camera, scene.people[0].translation_camera, atol=1e-5)


class UnsureNetwork(OracleNetwork):
    """The left half of its frames is three times as wide as it is, and of confidence 0.3; people's boxes are kept."""

    def scene(self, images):
        features = super().scene(images)
        points, confidence = features.points_camera.clone(), features.confidence.clone()
        points[..., : WIDTH // 2, :2] *= 3
        confidence[..., : WIDTH // 2] = 0.3
        return dataclasses.replace(features, points_camera=points, confidence=confidence)

    def people(self, features, crops, bbox_info, fps):
        self.bbox_info = bbox_info
        sure = dataclasses.replace(features, confidence=(features.confidence > 0.5).float())
        return super().people(sure, crops, bbox_info, fps)


def test_only_points_above_the_confidence_count_and_wide_boxes_are_told(truth, body):
    def result(**choices):
        network = UnsureNetwork(truth, body)
        found = reconstruct_tracked(
            make_clip(), (make_track(),), network, body, finder="oracle", choices=NetworkChoices(**choices)
        )
        return found, network.bbox_info

    (scene, boxes), (trusting, _), (_, wide) = result(confidence=0.5), result(), result(confidence=0.5, box_scale=1.5)
    assert scene.provenance.metres_per_unit == pytest.approx(2.5, rel=1e-4)
    assert np.allclose(scene.cameras.intrinsics[:, 0, 0], truth.focal_px, rtol=1e-3)
    assert trusting.provenance.metres_per_unit < 2.3
    assert (np.abs(trusting.cameras.intrinsics[:, 0, 0] - truth.focal_px) > 10).all()
    assert torch.equal(wide[..., :2], boxes[..., :2]) and torch.allclose(wide[..., 2], 1.5 * boxes[..., 2])


@pytest.mark.parametrize(
    ("widened", "enlarged", "problem"), [(1e4, 1, "focal length of"), (1, 1e20, "median depth of")]
)
def test_points_that_make_no_sense_are_refused(truth, body, monkeypatch, widened, enlarged, problem):
    class Absurd(OracleNetwork):
        def scene(self, images):
            features = super().scene(images)
            points = features.points_camera * torch.tensor([widened, widened, 1.0])
            return dataclasses.replace(features, points_camera=points)

        def people(self, features, crops, bbox_info, fps):
            people = super().people(features, crops, bbox_info, fps)
            return dataclasses.replace(people, scale=enlarged * people.scale)

    people = DetectedPeople((make_track(),), "oracle")
    monkeypatch.setattr("unish.pipeline.reconstruction.detect_people", lambda clip, **options: people)
    assert np.isfinite(reconstruct_clip(make_clip(), OracleNetwork(truth, body), body).depth_m).all()
    with pytest.raises(InputError, match=f"{problem} .*cannot make sense of this clip"):
        reconstruct_clip(make_clip(), Absurd(truth, body), body)


def test_the_lens_that_the_camera_recorded_is_that_of_the_result(truth, body, monkeypatch):
    monkeypatch.setattr(
        "unish.pipeline.reconstruction.detect_people", lambda *a, **k: DetectedPeople((make_track(),), "oracle")
    )
    clip = dataclasses.replace(make_clip(), recorded_focal_mm=30.0)
    for options, lens in (
        (Options(), "30 mm lens (recorded by the camera)"),
        (Options(focal="50mm"), "50 mm lens (as given)"),
        (Options(focal="estimate"), f"{round(43.27 * truth.focal_px / np.hypot(WIDTH, HEIGHT))} mm lens (estimated)"),
    ):
        assert summarise(reconstruct_clip(clip, OracleNetwork(truth, body), body, options)).lens() == lens


@pytest.mark.parametrize(("fps", "warned"), [(6.0, False), (5.994, False), (1.0, True)])
def test_a_frame_rate_below_that_of_training_is_warned_of(truth, body, fps, warned):
    clip = dataclasses.replace(make_clip(), fps=fps)
    scene = reconstruct_tracked(clip, (make_track(),), OracleNetwork(truth, body), body, finder="oracle")
    assert warned == any("sampled at 1 fps" in warning for warning in scene.provenance.warnings)


def test_half_precision_moves_results_by_millimetres(repository):
    """bfloat16 in the trunk and its weights against float32, on the bundled clip."""
    clip = repository / "unish" / "assets" / "sample_clip.mp4"
    how = {"weights": "mini", "finder": "mini", "body": "open", "device": "cpu", "end_s": 1.5, "fit": "off"}
    full, half = (reconstruct(clip, precision=precision, **how) for precision in ("float32", "bfloat16"))
    off = np.abs(half.depth_m - full.depth_m) / full.depth_m
    assert 0 < np.median(off) < 0.003
    joints_mm = 1000 * np.linalg.norm(half.people[0].joints_world - full.people[0].joints_world, axis=-1)
    assert joints_mm.mean() < 12
    with pytest.raises(InputError, match="float32 or bfloat16"):
        reconstruct(clip, precision="float8", **how)
