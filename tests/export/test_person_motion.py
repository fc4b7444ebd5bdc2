"""Motion at an even rate: formats with one frame rate tell the same as a result whose frames come at any times."""

import dataclasses

import bvhio
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tests.helpers.posed import make_posed
from unish.errors import InputError
from unish.export.bvh import write_bvh
from unish.export.npz import write_amass
from unish.export.person_motion import even_fps, even_motion
from unish.structures import Clip, Reconstruction

WORLD_FROM_Y_UP = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]])
GAP_S = 4.0


@pytest.fixture(scope="module")
def walk() -> Reconstruction:
    """Twelve frames at uneven times with a gap of four seconds; the first person walks at 1.4 m/s with a sway."""
    posed = make_posed(frames=12)
    steps_s = np.array([0.17, 0.16, 0.21, 0.13, 0.17, GAP_S, 0.18, 0.15, 0.17, 0.3, 0.161])
    times_s = 0.5 + np.concatenate([[0.0], steps_s.cumsum()])
    path = np.stack([1.4 * times_s, 0.05 * np.sin(5 * times_s), 0.9 + 0.03 * np.cos(9 * times_s)], axis=-1)
    first = posed.people[0]
    moved = path.astype(np.float32) - first.translation_world
    walker = dataclasses.replace(
        first,
        translation_world=path.astype(np.float32),
        joints_world=first.joints_world + moved[:, None],
        vertices_world=first.vertices_world + moved[:, None],
    )
    provenance = dataclasses.replace(posed.provenance, source_fps=30.0)
    return dataclasses.replace(posed, people=(walker, posed.people[1]), times_s=times_s, provenance=provenance)


def at_the_frames(values: np.ndarray, fps: float, walk: Reconstruction) -> np.ndarray:
    """What a program shows at the result's times that plays samples (n, 3) at an even rate."""
    since_s = walk.times_s - walk.times_s[0]
    assert since_s[-1] <= (len(values) - 1) / fps + 1e-3  # all of the clip is there
    return np.stack([np.interp(since_s, np.arange(len(values)) / fps, axis) for axis in values.T], axis=-1)


def test_bvh_has_the_pelvis_at_the_clips_times(walk, tmp_path):
    file, _ = write_bvh(walk, tmp_path)
    container = bvhio.readAsBvh(str(file))
    assert container.FrameTime == pytest.approx(1 / 30, abs=1e-7)
    pelvis = np.array([[*pose.Position] for pose in container.Root.Keyframes]) @ WORLD_FROM_Y_UP.T
    off_m = np.linalg.norm(at_the_frames(pelvis, 30, walk) - walk.people[0].joints_world[:, 0], axis=-1)
    assert off_m.max() < 0.01


def test_amass_has_the_translation_at_the_clips_times(walk, tmp_path):
    file, _ = write_amass(walk, tmp_path)
    data = np.load(file)
    assert float(data["mocap_framerate"]) == float(data["fps"]) == 30.0
    off_m = at_the_frames(data["trans"], 30, walk) - walk.people[0].translation_world
    assert np.linalg.norm(off_m, axis=-1).max() < 0.01
    assert len(data["poses"]) == len(data["times_s"]) == len(data["present"]) == len(data["trans"])
    assert np.allclose(np.diff(data["times_s"]), 1 / 30) and data["times_s"][0] == walk.times_s[0]


def test_the_path_does_not_overshoot_in_a_gap(walk):
    motion = even_motion(walk, walk.people[0])
    inside = (motion.times_s > walk.times_s[5]) & (motion.times_s < walk.times_s[6])
    forward = motion.translation[inside, 0]
    assert (np.diff(forward) > 0).all()
    assert (
        walk.people[0].translation_world[5, 0] <= forward[0] and forward[-1] <= walk.people[0].translation_world[6, 0]
    )
    height = walk.people[0].translation_world[5:7, 2]
    assert height.min() - 1e-6 <= motion.translation[inside, 2].min()


def test_rotations_turn_at_constant_speed_between_frames(walk):
    motion = even_motion(walk, walk.people[1], fps=60)
    inside = np.flatnonzero((motion.times_s > walk.times_s[5]) & (motion.times_s < walk.times_s[6]))
    turns = Rotation.from_matrix(motion.rotations[inside, 0])
    speed = (turns[:-1].inv() * turns[1:]).magnitude()
    assert speed.max() - speed.min() < 1e-6 and speed.min() > 0


def test_even_times_at_the_results_own_rate_change_nothing():
    posed = make_posed()
    motion = even_motion(posed, posed.people[1])
    assert np.allclose(motion.times_s, posed.times_s)
    assert np.abs(motion.translation - posed.people[1].translation_world).max() < 1e-6
    assert np.abs(motion.rotations[:, 1:] - posed.people[1].body_rotations[:, 1:]).max() < 1e-5
    assert np.array_equal(motion.present, posed.people[1].present)
    assert np.array_equal(motion.confidence, posed.people[1].confidence)


def test_who_is_absent_stays_absent(walk):
    motion = even_motion(walk, walk.people[1])
    assert not motion.present[(motion.times_s > walk.times_s[4]) & (motion.times_s < walk.times_s[7])].any()
    assert motion.present[0] and motion.present[-2]


@pytest.mark.parametrize(("source_fps", "expected"), [(29.97, 29.97), (240.0, 60.0), (None, 30.0)])
def test_the_rate_is_the_sources(walk, source_fps, expected):
    provenance = dataclasses.replace(walk.provenance, source_fps=source_fps)
    assert even_fps(dataclasses.replace(walk, provenance=provenance)) == expected


@pytest.mark.parametrize("fps", [0.0, -1.0, 61.0, float("nan")])
def test_a_rate_out_of_range_is_refused(walk, tmp_path, fps):
    with pytest.raises(InputError, match="above 0 and up to 60"):
        write_bvh(walk, tmp_path, fps=fps)
    assert not list(tmp_path.iterdir())


def test_a_single_frame(tmp_path):
    posed = make_posed(frames=1, people=1)
    assert len(even_motion(posed, posed.people[0], fps=25).times_s) == 1


def test_a_clip_knows_the_rate_of_its_source():
    frames = np.zeros((4, 2, 2, 3), np.uint8)
    numbers = np.array([0, 5, 10, 35])
    clip = Clip(frames, numbers / 29.97, 6.0, "a.mp4", (2, 2), source_frames=tuple(numbers.tolist()))
    assert clip.source_fps == pytest.approx(29.97)
    assert dataclasses.replace(clip, source_frames=()).source_fps == 6.0
    assert dataclasses.replace(clip, times_s=np.zeros(4)).source_fps == 6.0
