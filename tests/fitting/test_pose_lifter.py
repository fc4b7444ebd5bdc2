"""Lifted poses are rotations, mirror with the clip, ignore what is not seen, and start the fit of the mini's bodies."""

import dataclasses

import numpy as np
import pytest
import torch

from tests.helpers.walks import make_walk, with_limbs_seen
from unish.body import open_body
from unish.errors import CheckpointError, InputError, MissingAssetError
from unish.fitting.lifting import lifted_scene
from unish.fitting.measures import off_keypoints, worse
from unish.fitting.pose_lifter import (
    FRAMES,
    PoseLifter,
    PoseLifterConfig,
    Sighting,
    lift,
    load_pose_lifter,
    mirrored_pose,
    save_pose_lifter,
)
from unish.geometry.rotations import axis_angle_to_matrix

SIZE = torch.tensor([336.0, 252.0])


def small() -> PoseLifter:
    torch.manual_seed(0)
    lifter = PoseLifter(PoseLifterConfig(width=24, depth=2, heads=3)).eval()
    torch.nn.init.normal_(lifter.pose.weight, std=0.3)
    return lifter.requires_grad_(False)


def sighting(frames: int, seed: int = 0) -> Sighting:
    draw = torch.Generator().manual_seed(seed)
    low = SIZE * torch.rand(frames, 2, generator=draw) * 0.4
    boxes = torch.cat([low, low + 60 + 60 * torch.rand(frames, 2, generator=draw)], dim=1)
    places = low[:, None] + 60 * torch.rand(frames, 17, 2, generator=draw)
    keypoints = torch.cat([places, torch.rand(frames, 17, 1, generator=draw)], dim=2)
    rotations = axis_angle_to_matrix(torch.randn(frames, 24, 3, generator=draw))
    return Sighting(keypoints, boxes, rotations, torch.full((frames,), 300.0), SIZE, torch.arange(frames) / 6)


@pytest.mark.parametrize("frames", [1, 5, FRAMES, FRAMES + 1, 3 * FRAMES + 5])
def test_poses_are_rotations_of_every_frame(frames):
    found = lift(small(), sighting(frames))
    assert found.shape == (frames, 24, 3, 3)
    torch.testing.assert_close(found @ found.mT, torch.eye(3).expand_as(found), atol=1e-5, rtol=0)
    assert (found.det() > 0.99).all()


def test_a_mirrored_clip_gives_mirrored_poses():
    seen = sighting(20)
    torch.testing.assert_close(seen.mirrored().mirrored().keypoints_px, seen.keypoints_px)
    plain, mirrored = lift(small(), seen), lift(small(), seen.mirrored())
    assert (plain - mirrored).abs().max() > 0.1
    torch.testing.assert_close(mirrored, mirrored_pose(plain), atol=1e-4, rtol=0)


def test_the_gaze_goes_through_the_middle_of_the_box():
    seen = sighting(4)
    middle = (seen.boxes_px[:, :2] + seen.boxes_px[:, 2:] - SIZE) / 2 / 300
    ahead = seen.camera_from_gaze()[..., 2]
    torch.testing.assert_close(ahead[:, :2] / ahead[:, 2:], middle)


def test_a_person_seen_elsewhere_is_in_the_same_pose_along_the_gaze():
    """The camera turned: pose and gaze turn with it, what is looked at along the gaze does not."""
    seen = sighting(3)
    turned = dataclasses.replace(seen, rotations=seen.rotations.clone())
    shift = torch.tensor([40.0, -15.0])
    turned = dataclasses.replace(
        turned,
        boxes_px=seen.boxes_px + shift.repeat(2),
        keypoints_px=seen.keypoints_px + torch.tensor([40.0, -15.0, 0.0]),
    )
    turned.rotations[:, 0] = turned.camera_from_gaze() @ seen.camera_from_gaze().mT @ seen.rotations[:, 0]
    pose = slice(-144, None)
    torch.testing.assert_close(turned.observed()[:, pose], seen.observed()[:, pose], atol=1e-5, rtol=0)
    torch.testing.assert_close(turned.observed()[:, :34], seen.observed()[:, :34], atol=1e-5, rtol=0)


def test_where_a_keypoint_without_confidence_lies_does_not_matter():
    seen, moved = sighting(4), sighting(4)
    for some in (seen, moved):
        some.keypoints_px[:, 3, 2] = 0
    moved.keypoints_px[:, 3, :2] += 50
    torch.testing.assert_close(lift(small(), seen), lift(small(), moved))


def test_weights_are_saved_and_loaded_and_foreign_ones_refused(tmp_path):
    save_pose_lifter(small(), tmp_path / "weights")
    loaded = load_pose_lifter(tmp_path / "weights")
    torch.testing.assert_close(lift(loaded, sighting(4)), lift(small(), sighting(4)), atol=2e-2, rtol=0)
    with pytest.raises(MissingAssetError, match="pose lifter"):
        load_pose_lifter(tmp_path)
    (tmp_path / "weights/model.safetensors").write_bytes(b"not weights")
    load_pose_lifter.cache_clear()
    with pytest.raises(CheckpointError, match="pose lifter"):
        load_pose_lifter(tmp_path / "weights")
    with pytest.raises(InputError, match="multiple of the heads"):
        PoseLifterConfig(width=25)


# --- in a fit ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def walk():
    return with_limbs_seen(make_walk(open_body(), frames=6), 0.8)


def of_weights(scene, name):
    return dataclasses.replace(scene, provenance=dataclasses.replace(scene.provenance, weights=name))


def test_only_the_minis_people_with_keypoints_are_lifted(walk):
    body = open_body()
    assert lifted_scene(of_weights(walk, "release"), body).people is walk.people
    mini = of_weights(walk, "mini")
    lifted = lifted_scene(mini, body).people
    assert np.abs(lifted[0].body_rotations - walk.people[0].body_rotations).max() > 0.05
    np.testing.assert_allclose(lifted[0].joints_world[:, 0], walk.people[0].joints_world[:, 0], atol=1e-4)
    unseen = dataclasses.replace(mini, people=(dataclasses.replace(mini.people[0], keypoints_px=None),))
    assert lifted_scene(unseen, body).people[0] is unseen.people[0]
    broken = np.where(walk.people[0].keypoints_px > 0.7, np.nan, walk.people[0].keypoints_px).astype(np.float32)
    unseen = dataclasses.replace(mini, people=(dataclasses.replace(mini.people[0], keypoints_px=broken),))
    assert lifted_scene(unseen, body).people[0] is unseen.people[0]


def test_without_a_fit_lifted_bodies_stand_on_their_keypoints(walk):
    body, person = open_body(), walk.people[0]
    beside = np.float32([0.3, -0.2, 0.8])  # of the network, in the camera's frame
    off = dataclasses.replace(
        person,
        translation_camera=person.translation_camera + beside,
        joints_world=person.joints_world + 9,
    )
    network = of_weights(dataclasses.replace(walk, people=(off, *walk.people[1:])), "mini")
    placed = lifted_scene(network, body, on_keypoints=True)
    assert off_keypoints(placed, 0) < 0.6 * off_keypoints(lifted_scene(network, body), 0)
    depth = placed.people[0].translation_camera[:, 2] / person.translation_camera[:, 2]
    assert abs(np.median(np.log(depth))) < 0.1
    unknown = person.keypoints_px * np.float32([1, 1, 0.2])  # seen, but too little to stand on
    unsure = dataclasses.replace(network, people=(dataclasses.replace(off, keypoints_px=unknown),))
    kept = lifted_scene(unsure, body, on_keypoints=True).people[0]
    np.testing.assert_allclose(kept.translation_camera, lifted_scene(unsure, body).people[0].translation_camera)
    assert lifted_scene(of_weights(network, "release"), body, on_keypoints=True).people[0] is off


def test_distance_from_keypoints_is_measured_in_percent_of_the_box(walk):
    assert off_keypoints(walk, 0) == pytest.approx(0, abs=0.05)
    person = walk.people[0]
    height = np.ptp(person.boxes_px[:, 1::2], axis=1)
    moved = person.keypoints_px.copy()
    moved[..., 0] += 0.1 * height[:, None]
    shifted = dataclasses.replace(walk, people=(dataclasses.replace(person, keypoints_px=moved),))
    assert off_keypoints(shifted, 0) == pytest.approx(10, abs=0.1)
    without = dataclasses.replace(walk, people=(dataclasses.replace(person, keypoints_px=None),))
    assert off_keypoints(without, 0) is None


def test_feet_may_suffer_more_where_joints_come_nearer_to_keypoints():
    before, after = {"feet_off_floor": 2.0, "off_keypoints": 8.0}, {"feet_off_floor": 8.0, "off_keypoints": 7.0}
    assert worse(before, after) == ["feet off the floor"]
    assert worse(before, after | {"off_keypoints": 4.0}) == []
