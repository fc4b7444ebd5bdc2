"""A clip read again at full resolution shows the same moments."""

import av
import cv2
import numpy as np
import pytest

from unish.errors import InputError
from unish.video.reader import read_clip
from unish.video.source_frames import read_original

SIZE = (96, 64)


def write_video(path, rate: int, frames: int):
    """Frame k is grey, at level 7k, from 0 again past 255."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate, options={"crf": "5"})
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        for index in range(frames):
            picture = np.full((SIZE[1], SIZE[0], 3), 7 * index % 256, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


def levels(clip) -> np.ndarray:
    return clip.frames.reshape(len(clip.frames), -1).mean(1)


@pytest.mark.parametrize("rate, start_s", [(24, None), (25, 0.1), (30, 1.23), (5, 0.3), (5, 2.7)])
def test_a_video_shows_the_same_frames_at_full_size(tmp_path, rate, start_s):
    """Also where the samples fall between frames, and where the source is slower than the sampling."""
    frames = 4 * rate if rate > 5 else 30
    path = write_video(tmp_path / "clip.mp4", rate, frames)
    small = read_clip(path, 6.0, start_s, max_long_side_px=48)
    large = read_original(path, small.times_s, small.fps)
    assert small.frames.shape[1:] == (32, 48, 3) and large.frames.shape[1:] == (64, 96, 3)
    every = read_clip(path, 1000.0)
    assert len(every.frames) == frames and len(small.frames) > 10
    assert np.array_equal(large.frames, every.frames[list(small.source_frames)])
    assert np.array_equal(large.times_s, small.times_s) and large.fps == small.fps and large.source_size == SIZE


def test_a_folder_of_pictures_shows_the_same_frames(tmp_path):
    for index in range(12):
        cv2.imwrite(str(tmp_path / f"{index}.png"), np.full((64, 96, 3), 20 * index, np.uint8))
    small = read_clip(tmp_path, 6.0, 0.5, 1.5, max_long_side_px=48)
    large = read_original(tmp_path, small.times_s, small.fps)
    assert large.frames.shape == (6, 64, 96, 3) and np.array_equal(levels(large), levels(small))


def test_progress_is_told(tmp_path):
    shares = []
    clip = read_clip(write_video(tmp_path / "clip.mp4", 24, 48), 6.0)
    read_original(tmp_path / "clip.mp4", clip.times_s, clip.fps, shares.append)
    assert shares == sorted(shares) and len(shares) == len(clip.frames) and shares[-1] == 1


def test_another_clip_is_refused(tmp_path):
    times_s = np.arange(12) / 6
    with pytest.raises(InputError, match=r"no frame at 1\.17 s"):
        read_original(write_video(tmp_path / "short.mp4", 24, 26), times_s, 6.0)
    folder = tmp_path / "pictures"
    folder.mkdir()
    for index in range(9):
        cv2.imwrite(str(folder / f"{index}.png"), np.zeros((64, 96, 3), np.uint8))
    with pytest.raises(InputError, match=r"no frame at 1\.50 s"):
        read_original(folder, times_s, 6.0)
    with pytest.raises(InputError, match="found nothing"):
        read_original(tmp_path / "nowhere.mp4", times_s, 6.0)
    (tmp_path / "text.mp4").write_text("no video" * 100)
    with pytest.raises(InputError, match=r"text\.mp4"):
        read_original(tmp_path / "text.mp4", times_s, 6.0)
