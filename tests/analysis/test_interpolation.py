"""A result between its frames."""

import dataclasses

import numpy as np
import pytest
import torch

from tests.helpers.reconstructions import make_reconstruction
from unish.analysis.interpolation import FrameTimes, cameras_at, motion_camera, motion_world, seen_at
from unish.geometry.rotations import axis_angle_to_matrix


def about_up(angles: np.ndarray) -> np.ndarray:
    return axis_angle_to_matrix(torch.from_numpy(np.outer(angles, [0, 0, 1]))).numpy().astype(np.float32)


@pytest.fixture
def turning():
    """Five frames at 6 a second in which a person and the camera turn by a quarter a frame."""
    scene = make_reconstruction(5)
    turn = about_up(0.5 * np.pi * np.arange(5))
    rotations = np.tile(np.eye(3, dtype=np.float32), (5, 24, 1, 1))
    rotations[:, 3] = rotations[:, 0] = turn
    person = dataclasses.replace(scene.people[0], body_rotations=rotations, root_rotation_world=turn)
    poses = scene.cameras.world_from_camera.copy()
    poses[:, :3, :3] = turn
    cameras = dataclasses.replace(scene.cameras, world_from_camera=poses)
    return dataclasses.replace(scene, people=(person,), cameras=cameras)


def test_at_its_own_frames_a_result_is_itself(turning):
    at = FrameTimes.of(turning.times_s, turning.times_s)
    person = turning.people[0]
    assert np.array_equal(at.nearest, np.arange(5)) and seen_at(person, at).all()
    assert np.allclose(motion_world(person, at).translation, person.translation_world)
    assert np.allclose(motion_camera(person, at).rotations, person.body_rotations, atol=1e-6)
    assert np.allclose(cameras_at(turning.cameras, at).world_from_camera, turning.cameras.world_from_camera, atol=1e-6)


@pytest.mark.parametrize("place", [0.25, 1.5, 3.9])
def test_turning_and_walking_at_one_speed_go_on_at_that_speed(turning, place):
    at = FrameTimes.of(np.array([place / 6]), turning.times_s)
    motion = motion_world(turning.people[0], at)
    expected = about_up(np.array([0.5 * np.pi * place]))[0]
    for rotation in (
        motion.rotations[0, 0],
        motion.rotations[0, 3],
        cameras_at(turning.cameras, at).world_from_camera[0, :3, :3],
    ):
        assert np.allclose(rotation, expected, atol=1e-5)
    assert motion.translation[0].numpy() == pytest.approx([0.2 * place, 0, 3], abs=1e-6)
    assert cameras_at(turning.cameras, at).centers_world[0] == pytest.approx([0.1 * place, 0, 0], abs=1e-6)


def test_outside_the_clip_everything_stands_still(turning):
    at = FrameTimes.of(np.array([-1.0, 9.0]), turning.times_s)
    assert np.allclose(motion_world(turning.people[0], at).translation, turning.people[0].translation_world[[0, -1]])


def test_a_person_is_seen_between_two_frames_only_if_seen_in_both(turning):
    person = dataclasses.replace(turning.people[0], present=np.array([True, True, False, False, True]))
    times = np.array([0, 0.5, 1, 1.5, 2, 3.5, 4]) / 6
    at = FrameTimes.of(times, turning.times_s)
    assert seen_at(person, at).tolist() == [
        True,
        True,
        True,
        False,
        False,
        False,
        True,
    ]


def test_one_frame_is_a_clip():
    scene = make_reconstruction(1)
    at = FrameTimes.of(np.array([0.0, 2.0]), scene.times_s)
    assert at.nearest.tolist() == [0, 0]
    assert np.allclose(motion_world(scene.people[0], at).translation, scene.people[0].translation_world[[0, 0]])
