from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.helpers.videos import gray_ramp, quadrants, ramp_numbers, write_video
from unish.errors import InputError
from unish.video.reader import read_clip


def test_samples_evenly_in_time(tmp_path):
    path = write_video(tmp_path / "clip.mp4", gray_ramp(50))
    told = []
    clip = read_clip(path, fps=6, progress=lambda share, message: told.append((share, message)))
    assert ramp_numbers(clip.frames) == list(range(0, 50, 5))
    assert clip.source_frames == tuple(range(0, 50, 5))
    np.testing.assert_allclose(clip.times_s, np.arange(10) / 6, atol=1e-3)
    assert clip.fps == 6.0
    assert (clip.source_name, clip.source_size, clip.warnings) == ("clip.mp4", (64, 48), ())
    assert told == sorted(told) and told[-1] == (1.0, "Reading video")


@pytest.mark.parametrize(("start_s", "end_s", "expected"), [(0.5, 1.0, [15, 20, 25]), (1.2, None, [36, 41, 46])])
def test_reads_a_stretch(tmp_path, start_s, end_s, expected):
    clip = read_clip(write_video(tmp_path / "clip.mp4", gray_ramp(50)), 6, start_s, end_s)
    assert ramp_numbers(clip.frames) == expected
    assert clip.source_frames == tuple(expected)


def test_stops_at_max_frames(tmp_path):
    clip = read_clip(write_video(tmp_path / "clip.mp4", gray_ramp(50)), fps=6, max_frames=4)
    assert ramp_numbers(clip.frames) == [0, 5, 10, 15]
    (warning,) = clip.warnings
    assert warning.startswith("Only the first 0.5 s were used (4 frames is the limit).")
    whole = read_clip(tmp_path / "clip.mp4", fps=6, max_frames=10)
    assert len(whole.frames) == 10 and whole.warnings == ()


def test_a_folder_stops_at_max_frames(tmp_path):
    for number in range(5):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.zeros((40, 60, 3), np.uint8))
    assert "3 frames is the limit" in read_clip(tmp_path, max_frames=3, source_fps=6).warnings[0]
    assert read_clip(tmp_path, max_frames=5, source_fps=6).warnings == ()


def test_frames_of_a_long_clip_are_kept_small_enough_and_on_disk(tmp_path, monkeypatch):
    path = write_video(tmp_path / "clip.mp4", gray_ramp(50))
    whole = read_clip(path, fps=30)
    monkeypatch.setattr("unish.video.reader._KEPT_BYTES", whole.frames.nbytes // 4)
    monkeypatch.setattr("unish.video.reader._LEAST_SIDE_PX", 1)
    monkeypatch.setattr("unish.utils.disk_arrays.IN_MEMORY_BYTES", 1000)
    small = read_clip(path, fps=30)
    assert isinstance(small.frames, np.memmap) and len(small.frames) == len(whole.frames)
    assert small.frames.shape[1] == pytest.approx(whole.frames.shape[1] / 2, abs=2)
    assert small.source_size == whole.source_size
    assert "kept at" in small.warnings[0] and whole.warnings == ()
    np.testing.assert_allclose(ramp_numbers(small.frames), ramp_numbers(whole.frames), atol=1)


@pytest.mark.parametrize("count", [2, 5])
def test_slow_source_repeats_no_frame(tmp_path, count):
    path = write_video(tmp_path / "slow.mp4", gray_ramp(count), times_s=np.arange(count) * 1.0, rate=1)
    clip = read_clip(path, fps=6)
    assert ramp_numbers(clip.frames) == list(range(count))
    assert clip.fps == pytest.approx(1.0, rel=1e-3)


def test_variable_frame_rate_follows_presentation_times(tmp_path):
    # The first second has 30 frames, the second one only 10: by number, a sampler would drift.
    times = np.concatenate([np.arange(30) / 30, 1 + np.arange(10) / 10])
    clip = read_clip(write_video(tmp_path / "vfr.mp4", gray_ramp(40), times_s=times), fps=5)
    assert ramp_numbers(clip.frames) == [0, 6, 12, 18, 24, 30, 32, 34, 36, 38]
    np.testing.assert_allclose(clip.times_s, np.arange(10) / 5, atol=1e-3)


@pytest.mark.parametrize("rotation", [0, 90, -90, 180])
@pytest.mark.parametrize("flip", [False, True])
def test_honours_the_display_matrix(tmp_path, rotation, flip):
    path = write_video(tmp_path / "turned.mp4", [quadrants()] * 3, rotation=rotation, flip=flip)
    clip = read_clip(path)
    expected = np.rot90(quadrants(), rotation // 90)
    if flip:
        expected = expected[:, ::-1]
    assert clip.frames.shape[1:] == expected.shape
    assert clip.source_size == (expected.shape[1], expected.shape[0])
    difference = np.abs(clip.frames[0].astype(int) - expected)
    assert difference[8:24, 8:24].max() < 30 and difference[-24:-8, -24:-8].max() < 30
    assert difference[8:24, -24:-8].max() < 30


@pytest.mark.parametrize(("pixel_format", "name"), [("yuv420p10le", "a.mkv"), ("bgr0", "b.avi")])
def test_ten_bits_and_odd_sizes(tmp_path, pixel_format, name):
    frames = gray_ramp(12, width=63, height=47)
    clip = read_clip(write_video(tmp_path / name, frames, codec="ffv1", pixel_format=pixel_format), fps=30)
    assert clip.frames.shape == (12, 47, 63, 3)
    assert ramp_numbers(clip.frames) == list(range(12))


def test_large_frames_are_reduced_while_decoding(tmp_path):
    path = write_video(tmp_path / "large.mp4", [quadrants(320, 200)] * 2, rotation=90)
    clip = read_clip(path, max_long_side_px=160)
    assert clip.source_size == (200, 320)
    assert clip.frames.shape[1:] == (160, 100, 3)


def test_one_frame(tmp_path):
    clip = read_clip(write_video(tmp_path / "one.mp4", gray_ramp(1)))
    assert len(clip.frames) == 1 and clip.fps == 6.0 and clip.times_s.tolist() == [0.0]


def test_folder_and_single_image(tmp_path):
    for number in (1, 2, 10):
        cv2.imwrite(str(tmp_path / f"frame_{number}.png"), np.full((20, 30, 3), 20 + 4 * number, np.uint8))
    clip = read_clip(tmp_path, fps=2, source_fps=2)
    assert ramp_numbers(clip.frames) == [1, 2, 10]
    assert clip.times_s.tolist() == [0.0, 0.5, 1.0] and clip.fps == 2 and clip.source_size == (30, 20)
    single = read_clip(tmp_path / "frame_2.png", max_long_side_px=15)
    assert single.frames.shape == (1, 10, 15, 3) and single.source_size == (30, 20)
    assert read_clip(tmp_path, fps=2, source_fps=2, start_s=0.5, end_s=1.0).source_frames == (1,)


def test_images_are_rgb(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.full((4, 4, 3), (0, 0, 250), np.uint8))  # OpenCV writes BGR
    assert read_clip(tmp_path / "a.png").frames[0, 0, 0].tolist() == [250, 0, 0]


def test_a_video_that_breaks_off_gives_its_first_part_and_a_warning(tmp_path):
    random = np.random.default_rng(0)
    frames = random.integers(0, 255, (60, 48, 64, 3)).astype(np.uint8)
    whole = write_video(tmp_path / "whole.mp4", frames, options={"movflags": "faststart"})
    data = whole.read_bytes()
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(data[: len(data) // 2])
    clip = read_clip(broken, fps=10)
    assert 3 <= len(clip.frames) < 15
    assert len(clip.warnings) == 1 and clip.warnings[0] == "Only the first 1.0 s of 2.0 s could be read."
    np.testing.assert_array_equal(clip.frames, read_clip(whole, fps=10).frames[: len(clip.frames)])


def _audio_only(folder: Path) -> Path:
    import av

    path = folder / "sound.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((2, 1024), np.float32), format="fltp", layout="stereo")
        frame.rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def _bad_path(kind: str, folder: Path) -> Path:
    path = folder / "bad.mp4"
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("This is not a video.\n" * 50)
    elif kind == "truncated":
        data = write_video(folder / "whole.mp4", gray_ramp(20)).read_bytes()
        path.write_bytes(data[: len(data) // 3])
    elif kind == "broken image":
        path = folder / "bad.png"
        path.write_bytes(b"\x89PNG nothing more")
    elif kind == "folder without images":
        path = folder / "texts"
        path.mkdir()
        (path / "notes.txt").write_text("no picture")
    elif kind == "sound":
        path = _audio_only(folder)
    elif kind == "images of two sizes":
        path = folder / "mixed"
        path.mkdir()
        for number in (1, 2):
            cv2.imwrite(str(path / f"{number}.png"), np.zeros((10 * number, 10, 3), np.uint8))
    return path


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("missing", "found nothing"),
        ("empty", "0 bytes"),
        ("text", "cannot be opened"),
        ("truncated", "cannot be opened"),
        ("broken image", "cannot be read"),
        ("folder without images", "found none"),
        ("images of two sizes", "one size"),
        ("sound", "audio only"),
    ],
)
def test_bad_files_give_one_clear_sentence(tmp_path, kind, message):
    with pytest.raises(InputError, match=message) as caught:
        read_clip(_bad_path(kind, tmp_path), source_fps=6)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"fps": 0}, "frame rate"),
        ({"fps": -3.0}, "frame rate"),
        ({"fps": float("nan")}, "frame rate"),
        ({"fps": float("inf")}, "frame rate"),
        ({"fps": 1e308}, "at most 1000"),
        ({"source_fps": 0}, "frame rate"),
        ({"start_s": 1e18}, "inside the clip"),
        ({"start_s": float("nan")}, "0 s or later"),
        ({"end_s": float("nan")}, "later than the start"),
        ({"start_s": 2.0, "end_s": 1.0}, "later than the start"),
        ({"start_s": 1.0, "end_s": 1.0}, "later than the start"),
        ({"start_s": -1.0}, "0 s or later"),
        ({"start_s": 50.0}, "inside the clip"),
        ({"max_frames": 0}, "At least one frame"),
    ],
)
def test_bad_numbers(tmp_path, arguments, message):
    path = write_video(tmp_path / "clip.mp4", gray_ramp(30))
    with pytest.raises(InputError, match=message):
        read_clip(path, **arguments)


def test_real_clips(clips_dir):
    skating = read_clip(clips_dir / "skating.mp4")
    assert skating.frames.shape == (21, 364, 686, 3) and skating.fps == 6.0 and skating.warnings == ()
    walking = read_clip(clips_dir / "man_walking_1fps.mp4")
    assert walking.frames.shape == (24, 352, 720, 3) and walking.fps == pytest.approx(1.0)
