"""The clip with bodies over it: read back with another decoder."""

import dataclasses

import av
import cv2
import numpy as np
import pytest

from tests.helpers.reconstructions import make_reconstruction
from tests.test_report import true_reconstruction
from train.synthetic.clips import generate_clip
from unish.errors import InputError
from unish.export import write_mp4
from unish.export.mp4 import overlay


@pytest.fixture(scope="module")
def true_scene():
    return true_reconstruction(generate_clip(910000018, frames=4, people_count=1, long_side_px=336, clear_view=True))


def read(path) -> tuple[np.ndarray, float]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264" and stream.codec_context.pix_fmt == "yuv420p"
        rate = float(stream.average_rate)
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]), rate


def test_true_bodies_cover_true_people(true_scene):
    """What is drawn over a picture agrees with the mask of the person in it."""
    height, width = true_scene.images.shape[1:3]
    for frame in range(len(true_scene)):
        drawn = overlay(true_scene, frame, true_scene.images[frame], (width, height))
        changed = np.abs(drawn.astype(int) - true_scene.images[frame]).max(-1) > 8
        person = true_scene.person_mask[frame] > 0
        assert (changed & person).sum() / (changed | person).sum() > 0.85


def test_frames_of_another_size_and_a_cut_margin_are_met(true_scene):
    """The network saw the middle of a frame twice as large, whose sides did not fit its patches."""
    height, width = true_scene.images.shape[1:3]
    cut = 20
    inner = dataclasses.replace(
        true_scene,
        images=true_scene.images[:, cut:-cut],
        depth_m=true_scene.depth_m[:, cut:-cut],
        confidence=true_scene.confidence[:, cut:-cut],
        person_mask=true_scene.person_mask[:, cut:-cut],
        cameras=dataclasses.replace(
            true_scene.cameras,
            intrinsics=true_scene.cameras.intrinsics - np.float32([[0, 0, 0], [0, 0, cut], [0, 0, 0]]),
            height_px=height - 2 * cut,
        ),
    ) if height < width else true_scene  # fmt: skip
    large = cv2.resize(true_scene.images[0], (2 * width, 2 * height), interpolation=cv2.INTER_LINEAR)
    drawn = overlay(inner, 0, large, (2 * width, 2 * height))
    changed = cv2.resize((np.abs(drawn.astype(int) - large).max(-1) > 8).astype(np.uint8), (width, height)) > 0
    person = true_scene.person_mask[0] > 0
    assert (changed & person).sum() / (changed | person).sum() > 0.8


def test_the_video_has_every_frame_at_the_clips_rate(tmp_path):
    scene = make_reconstruction(7)
    shares = []
    path = write_mp4(scene, tmp_path / "overlay.mp4", progress=shares.append)
    frames, rate = read(path)
    assert len(frames) == 7 and rate == pytest.approx(6) and shares == sorted(shares) and shares[-1] == 1
    assert frames.shape[1] % 2 == 0 and frames.shape[2] % 2 == 0


def test_nobody_is_drawn_where_nobody_is_seen():
    scene = make_reconstruction(3)
    size = (scene.images.shape[2] * 4, scene.images.shape[1] * 4)
    plain = cv2.resize(scene.images[1], size, interpolation=cv2.INTER_CUBIC)
    assert (overlay(scene, 1, scene.images[1], size) != plain).any()
    gone = dataclasses.replace(scene.people[0], present=np.array([True, False, True]))
    away = dataclasses.replace(scene, people=(gone,))
    assert np.array_equal(overlay(away, 1, scene.images[1], size), plain)


def test_other_frames_than_the_results_are_refused(tmp_path):
    with pytest.raises(InputError, match="Expected the 5 frames"):
        write_mp4(make_reconstruction(5), tmp_path / "x.mp4", np.zeros((4, 24, 32, 3), np.uint8))
    assert list(tmp_path.iterdir()) == []
