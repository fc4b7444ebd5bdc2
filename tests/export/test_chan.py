"""Nuke's .chan, read back line by line: a projection built of it alone puts joints where the clip's camera does."""

import dataclasses

import numpy as np
import pytest

from tests.helpers.posed import make_posed
from unish.errors import InputError
from unish.export.chan import write_chan
from unish.structures import Clip

UP_PX = 4
"""How much larger the clip is than the network's image."""


@pytest.fixture(scope="module")
def posed():
    return make_posed()


def about(axis: int, degrees: float) -> np.ndarray:
    """The right-handed rotation about x, y or z, written out."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    a, b = [(1, 2), (2, 0), (0, 1)][axis]
    turn = np.eye(3)
    turn[a, a], turn[b, b], turn[a, b], turn[b, a] = c, c, -s, s
    return turn


def project(row: np.ndarray, points_y_up: np.ndarray, width: int, height: int) -> np.ndarray:
    """Pixels, with the origin at the upper left corner, of points before the camera of a line."""
    x, y, z, view = row[4], row[5], row[6], row[7]
    camera_from_world = (about(1, y) @ about(0, x) @ about(2, z)).T
    right, up, back = camera_from_world @ (points_y_up - row[1:4]).T
    assert (back < 0).all()
    focal_px = height / 2 / np.tan(np.radians(view) / 2)
    return np.stack([width / 2 + focal_px * right / -back, height / 2 - focal_px * up / -back], axis=-1)


def seen_by_the_clip(posed, frame: int, points_world: np.ndarray) -> np.ndarray:
    camera_from_world = np.linalg.inv(posed.cameras.world_from_camera[frame].astype(np.float64))
    points = points_world @ camera_from_world[:3, :3].T + camera_from_world[:3, 3]
    pixels = points @ posed.cameras.intrinsics[frame].T.astype(np.float64)
    return pixels[:, :2] / pixels[:, 2:]


@pytest.mark.parametrize(("unit", "per_metre"), [("m", 1), ("cm", 100)])
@pytest.mark.parametrize("scale", [1, UP_PX])
def test_joints_project_to_where_the_clip_has_them(posed, tmp_path, unit, per_metre, scale):
    width, height = posed.cameras.width_px * scale, posed.cameras.height_px * scale
    frames = np.zeros((len(posed), height, width, 3), np.uint8)
    clip = None if scale == 1 else Clip(frames, posed.times_s, posed.fps, "walk.mp4", (width, height))
    rows = np.loadtxt(write_chan(posed, tmp_path / "camera.chan", clip, unit))
    assert rows[:, 0].tolist() == list(range(1, len(posed) + 1)) and rows.shape[1] == 8
    for frame, row in enumerate(rows):
        joints = np.concatenate([person.joints_world[frame] for person in posed.people]).astype(np.float64)
        y_up = np.stack([joints[:, 0], joints[:, 2], -joints[:, 1]], axis=-1) * per_metre
        expected = seen_by_the_clip(posed, frame, joints) * scale
        assert np.abs(project(row, y_up, width, height) - expected).max() < 0.1


def test_frames_are_even_and_their_camera_is_between_the_results(posed, tmp_path):
    """Uneven times: the frame in the middle comes late, and its camera with it."""
    times_s = posed.times_s.copy()
    times_s[2] += 0.5 / posed.fps
    uneven = dataclasses.replace(posed, times_s=times_s)
    rows = np.loadtxt(write_chan(uneven, tmp_path / "camera.chan", fps=2 * posed.fps))
    assert len(rows) == 2 * (len(posed) - 1) + 1
    x = posed.cameras.world_from_camera[:, 0, 3]
    assert np.abs(rows[:, 1] - np.interp(posed.times_s[0] + np.arange(len(rows)) / 12, times_s, x)).max() < 1e-5


def test_a_camera_that_stands_still_has_one_place(posed, tmp_path):
    poses = np.repeat(posed.cameras.world_from_camera[3:4], len(posed), axis=0)
    poses[1:, :3, 3] += np.float32(1e-6)
    still = dataclasses.replace(posed, cameras=dataclasses.replace(posed.cameras, world_from_camera=poses))
    lines = write_chan(still, tmp_path / "camera.chan", fps=50).read_text().splitlines()
    assert len(lines) > len(posed) and len({line.split("\t", 1)[1] for line in lines}) == 1


def test_what_cannot_be_written(posed, tmp_path):
    with pytest.raises(InputError, match='"m" or "cm", got'):
        write_chan.__wrapped__(posed, tmp_path / "a.chan", unit="inch")  # past the tests' own checks of types
    with pytest.raises(InputError, match="frame rate above 0"):
        write_chan(posed, tmp_path / "a.chan", fps=0)
    tall = Clip(np.zeros((6, 80, 60, 3), np.uint8), posed.times_s, posed.fps, "tall.mp4", (60, 80))
    with pytest.raises(InputError, match="60×80"):
        write_chan(posed, tmp_path / "a.chan", tall)
    assert list(tmp_path.iterdir()) == []
