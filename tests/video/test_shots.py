"""Shot cuts: known cuts are found; pans, flashes, moving people and restless hands cut nothing."""

import cv2
import numpy as np
import pytest

from unish.errors import InputError
from unish.structures import Clip
from unish.video.reader import read_clip
from unish.video.shots import one_shot, shot_starts, shots_of


def scene(seed: int, width: int = 1400, height: int = 180) -> np.ndarray:
    """A wide picture with its own palette and shapes at several sizes."""
    rng = np.random.default_rng(seed)
    palette = rng.integers(20, 235, (6, 3))
    picture = np.zeros((height, width, 3), np.uint8)
    picture[:] = palette[0]
    for _ in range(120):
        x, y, r = rng.integers(0, width), rng.integers(0, height), rng.integers(5, 45)
        cv2.circle(picture, (int(x), int(y)), int(r), palette[rng.integers(6)].tolist(), -1)
    return picture


def shot(seed: int, frames: int, step_px: float = 1.0, width: int = 320) -> np.ndarray:
    """A camera that pans over a scene by `step_px` a frame."""
    picture = scene(seed)
    starts = (np.arange(frames) * step_px).astype(int) % (picture.shape[1] - width)
    return np.stack([picture[:, x : x + width] for x in starts])


@pytest.mark.parametrize("lengths", [(12, 9, 30), (4, 5, 6, 7), (2, 20, 2)])
def test_known_cuts_are_found(lengths):
    film = np.concatenate([shot(seed, frames) for seed, frames in enumerate(lengths)])
    assert shot_starts(film) == [0, *np.cumsum(lengths)[:-1]]


@pytest.mark.parametrize("share", [0.05, 0.15, 0.3])
def test_a_pan_is_no_cut(share):
    assert shot_starts(shot(3, 12, step_px=share * 320)) == [0]


def test_a_cut_is_found_between_two_pans():
    film = np.concatenate([shot(1, 10, step_px=30), shot(2, 10, step_px=-30)])
    assert shot_starts(film) == [0, 10]


@pytest.mark.parametrize("at", [1, 7, 18])
def test_a_flash_is_no_cut(at):
    film = shot(4, 20).copy()
    film[at] = 255 - (255 - film[at]) // 8
    assert shot_starts(film) == [0]


def test_light_that_fades_is_no_cut():
    light = np.linspace(1.0, 0.3, 24)[:, None, None, None]
    assert shot_starts((shot(5, 24) * light).astype(np.uint8)) == [0]


def test_somebody_who_crosses_the_image_is_no_cut():
    film = shot(6, 14, step_px=0).copy()
    for k in range(14):
        film[k, 20:170, 15 + 20 * k : 60 + 20 * k] = (200, 30, 40)
    assert shot_starts(film) == [0]


def test_one_frame_is_one_shot():
    assert shot_starts(shot(0, 1)) == [0]
    assert shot_starts(np.zeros((5, 40, 60, 3), np.uint8)) == [0]  # nothing to compare but black


def test_real_footage(clips_dir):
    skating = read_clip(clips_dir / "skating.mp4", max_long_side_px=320).frames
    walking = read_clip(clips_dir / "man_walking_1fps.mp4", fps=1, max_long_side_px=320).frames
    assert shot_starts(skating) == shot_starts(walking) == [0]
    height, width = walking.shape[1:3]
    resized = np.stack([cv2.resize(frame, (width, height)) for frame in skating])
    assert shot_starts(np.concatenate([resized, walking[:10], resized[:5]])) == [0, 21, 31]


# ---------------------------------------------------------------- shots of a clip


def clip_of_shots(*lengths: int) -> Clip:
    frames = np.concatenate([shot(seed, length) for seed, length in enumerate(lengths)])
    count = len(frames)
    return Clip(frames, np.arange(count) / 6, 6.0, "cuts.mp4", (320, 180), source_frames=tuple(range(0, 5 * count, 5)))


def test_only_the_longest_shot_is_kept_and_that_is_said():
    clip = one_shot(clip_of_shots(9, 14, 6), "longest")
    assert clip.source_frames == tuple(range(45, 115, 5)) and len(clip) == 14
    assert clip.times_s[0] == pytest.approx(1.5)
    assert clip.warnings == ("The video has 3 shots: only the longest was used, shot 2, from 1.5 s to 3.7 s.",)


def test_a_shot_by_its_number():
    whole = clip_of_shots(9, 14, 6)
    parts = [one_shot(whole, number) for number in (1, 2, 3)]
    np.testing.assert_array_equal(np.concatenate([part.frames for part in parts]), whole.frames)
    assert [part.warnings for part in parts] == [(), (), ()]
    for number in (0, 4, "all"):
        with pytest.raises(InputError, match="from 1 to 3"):
            one_shot(whole, number)


def test_without_a_cut_nothing_is_said():
    whole = clip_of_shots(12)
    assert one_shot(whole, "longest") is whole and len(shots_of(whole)) == 1


def test_the_cut_of_a_film(cases_dir):
    path = cases_dir / "clips" / "cut_sample.mp4"
    first, second = shots_of(read_clip(path))
    assert second.start_s == pytest.approx(3.0) and first.end_s < 3.0
    clip = read_clip(path, shot=2)
    assert clip.times_s[0] == pytest.approx(3.0) and len(clip) == 18
