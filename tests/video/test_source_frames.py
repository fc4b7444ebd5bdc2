"""A clip read again at full resolution shows the same moments."""

import weakref

import av
import cv2
import numpy as np
import pytest

from unish.errors import InputError
from unish.video.pixels import to_rgb
from unish.video.reader import read_clip
from unish.video.source_frames import SourceFrames

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


def levels(frames) -> np.ndarray:
    return np.array([frame.mean() for frame in frames])


@pytest.mark.parametrize("rate, start_s", [(24, None), (25, 0.1), (30, 1.23), (5, 0.3), (5, 2.7)])
def test_a_video_shows_the_same_frames_at_full_size(tmp_path, rate, start_s):
    """Also where the samples fall between frames, and where the source is slower than the sampling."""
    frames = 4 * rate if rate > 5 else 30
    path = write_video(tmp_path / "clip.mp4", rate, frames)
    small = read_clip(path, 6.0, start_s, max_long_side_px=48)
    large = SourceFrames.open(path, small.times_s, small.fps)
    every = read_clip(path, 1000.0)
    assert len(every) == frames and len(small) > 10
    assert large.frame_size == SIZE and large.fps == pytest.approx(rate) and large.source_name == "clip.mp4"
    shown = np.searchsorted(large.times_s, small.times_s)
    np.testing.assert_array_equal(large.times_s[shown], small.times_s)
    assert np.array_equal(list(large.read(shown.tolist())), every.frames[list(small.source_frames)])
    first, last = small.source_frames[0], small.source_frames[-1]
    assert np.array_equal(list(large.read(range(len(large)))), every.frames[first : last + 1])


def test_a_frame_may_be_asked_for_again(tmp_path):
    path = write_video(tmp_path / "clip.mp4", 6, 12)
    large = SourceFrames.open(path, np.arange(12) / 6, 6.0)
    np.testing.assert_allclose(levels(large.read([2, 2, 3, 7, 7])), [14, 14, 21, 49, 49], atol=2)


def test_only_one_frame_is_in_memory(tmp_path, monkeypatch):
    path = write_video(tmp_path / "clip.mp4", 24, 48)
    large = SourceFrames.open(path, np.arange(12) / 6, 6.0)
    made: list[weakref.ref] = []

    def watched(frame, aspect, limit):
        rgb, size = to_rgb(frame, aspect, limit)
        rgb = rgb.view(Watched)
        made.append(weakref.ref(rgb))
        return rgb, size

    monkeypatch.setattr("unish.video.decode.to_rgb", watched)
    for _ in large.read(range(len(large))):
        assert sum(ref() is not None for ref in made) <= 3
    assert len(made) == len(large)


class Watched(np.ndarray):
    """An array that can be watched."""


def test_a_folder_of_images_shows_the_same_frames(tmp_path):
    for index in range(12):
        cv2.imwrite(str(tmp_path / f"{index}.png"), np.full((64, 96, 3), 20 * index, np.uint8))
    small = read_clip(tmp_path, 6.0, 0.5, 1.5, max_long_side_px=48, source_fps=6)
    large = SourceFrames.open(tmp_path, small.times_s, small.fps, 6.0)
    assert large.frame_size == SIZE and np.array_equal(levels(large.read(range(len(large)))), levels(small.frames))


def test_another_clip_is_refused(tmp_path):
    times_s = np.arange(12) / 6
    with pytest.raises(InputError, match=r"no frame at 1\.17 s"):
        SourceFrames.open(write_video(tmp_path / "short.mp4", 24, 26), times_s, 6.0)
    folder = tmp_path / "images"
    folder.mkdir()
    for index in range(9):
        cv2.imwrite(str(folder / f"{index}.png"), np.zeros((64, 96, 3), np.uint8))
    with pytest.raises(InputError, match=r"no frame at 1\.50 s"):
        SourceFrames.open(folder, times_s, 6.0, 6.0)
    with pytest.raises(InputError, match="found nothing"):
        SourceFrames.open(tmp_path / "nowhere.mp4", times_s, 6.0)
    (tmp_path / "text.mp4").write_text("no video" * 100)
    with pytest.raises(InputError, match=r"text\.mp4"):
        SourceFrames.open(tmp_path / "text.mp4", times_s, 6.0)
