"""Long videos are read piece by piece; clips follow each other, never across a cut or a gap."""

import cv2
import numpy as np
import pytest

from tests.helpers.videos import gray_ramp, ramp_numbers, write_video
from train.data.prepare import footage
from train.data.prepare.footage import UnreadableVideoError, clips_of


def film(lengths: list[int], width: int = 128, height: int = 96) -> np.ndarray:
    """Shots of still, different pictures."""
    shots = []
    for seed, frames in enumerate(lengths):
        rng = np.random.default_rng(seed)
        coarse = rng.integers(0, 255, (6, 8, 3), dtype=np.uint8)
        picture = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_NEAREST)
        shots.append(np.tile(picture, (frames, 1, 1, 1)))
    return np.concatenate(shots)


@pytest.mark.parametrize("a_piece", [1, 4])
def test_clips_cover_a_long_video_once_and_in_order(tmp_path, monkeypatch, a_piece):
    monkeypatch.setattr(footage, "_CLIPS_A_PIECE", a_piece)
    path = write_video(tmp_path / "ramp.mp4", gray_ramp(100, step=2), rate=12)  # 50 sampled frames
    left = []
    clips = list(clips_of(path, 8, 6.0, 64, left_over=lambda: left.append(1)))
    assert [len(clip.frames) for clip in clips] == [8] * 6 and len(left) == 1
    numbers = np.concatenate([ramp_numbers(clip.frames, step=2) for clip in clips])
    np.testing.assert_array_equal(numbers, 2 * np.arange(48))
    times_s = np.concatenate([clip.times_s for clip in clips])
    np.testing.assert_allclose(times_s, np.arange(48) / 6, atol=1e-3)
    assert all(clip.fps == pytest.approx(6.0) for clip in clips)


@pytest.mark.parametrize("a_piece", [1, 4])
def test_no_clip_crosses_a_cut(tmp_path, monkeypatch, a_piece):
    monkeypatch.setattr(footage, "_CLIPS_A_PIECE", a_piece)
    lengths = [13, 5, 21, 10]
    path = write_video(tmp_path / "film.mp4", film(lengths), rate=6)
    left = []
    clips = list(clips_of(path, 8, 6.0, 128, left_over=lambda: left.append(1)))
    starts = [round(float(clip.times_s[0]) * 6) for clip in clips]
    assert starts == [0, 18, 26, 39]
    assert len(left) == 4
    assert all(np.abs(clip.frames.astype(int) - clip.frames[0]).max() < 60 for clip in clips)


def test_a_gap_in_time_parts_clips(tmp_path):
    times_s = np.concatenate([np.arange(10) / 6, 5 + np.arange(10) / 6])
    path = write_video(tmp_path / "gap.mp4", film([20]), times_s=times_s, rate=6)
    clips = list(clips_of(path, 8, 6.0, 128))
    assert len(clips) == 2
    assert all(np.diff(clip.times_s).max() < 0.4 for clip in clips)


def test_a_slow_video_keeps_its_own_rate_and_no_frame_comes_twice(tmp_path, monkeypatch):
    monkeypatch.setattr(footage, "_CLIPS_A_PIECE", 2)
    path = write_video(tmp_path / "slow.mp4", gray_ramp(20, step=10), rate=1)
    clips = list(clips_of(path, 4, 6.0, 64))
    numbers = np.concatenate([ramp_numbers(clip.frames, step=10) for clip in clips])
    np.testing.assert_array_equal(numbers, np.arange(20))
    assert all(clip.fps == pytest.approx(1.0) for clip in clips)


def test_a_broken_file_is_named_and_a_truncated_one_gives_what_there_is(tmp_path):
    rubbish = tmp_path / "rubbish.mp4"
    rubbish.write_bytes(b"not a video")
    with pytest.raises(UnreadableVideoError, match=r"rubbish\.mp4"):
        list(clips_of(rubbish, 8, 6.0, 64))
    whole = write_video(tmp_path / "whole.mkv", film([300]), rate=6)
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    clips = list(clips_of(cut, 8, 6.0, 128))
    assert 5 < len(clips) < 37


def test_large_images_are_reduced(tmp_path):
    path = write_video(tmp_path / "large.mp4", film([10], width=320, height=240), rate=6)
    (clip,) = clips_of(path, 8, 6.0, 160)
    assert clip.frames.shape == (8, 120, 160, 3)
