"""Images as frames: folders with a rate, animations with their own times, HEIC where the library is there."""

import sys

import cv2
import numpy as np
import pytest
from PIL import Image

from tests.helpers.numbered import numbered_frame, numbers_of
from tests.helpers.videos import quadrants
from unish.errors import InputError, MissingAssetError
from unish.video.images import read_image
from unish.video.reader import read_clip
from unish.video.source_frames import SourceFrames


def folder_of(folder, count: int, exif=None):
    folder.mkdir()
    for number in range(count):
        image = Image.fromarray(numbered_frame(number))
        if exif is None:
            image.save(folder / f"frame_{number}.png")
            continue
        data = Image.Exif()
        data.get_ifd(0x8769)[0x9003], fraction = exif(number)
        if fraction is not None:
            data.get_ifd(0x8769)[0x9291] = fraction
        image.save(folder / f"frame_{number}.jpg", quality=95, exif=data)
    return folder


def test_a_folder_is_sampled_as_a_video_is(tmp_path):
    folder = folder_of(tmp_path / "frames", 30)
    clip = read_clip(folder, source_fps=30)
    assert numbers_of(clip.frames) == list(clip.source_frames) == list(range(0, 30, 5))
    np.testing.assert_allclose(clip.times_s, np.arange(6) / 6)
    assert clip.fps == 6 and clip.warnings == ()
    slow = read_clip(folder, source_fps=3, start_s=2)
    assert numbers_of(slow.frames) == list(range(6, 30)) and slow.fps == pytest.approx(3)


def test_a_folder_that_does_not_say_its_rate_is_taken_at_30(tmp_path):
    clip = read_clip(folder_of(tmp_path / "frames", 30))
    assert numbers_of(clip.frames) == list(range(0, 30, 5)) and "30 frames per second were assumed" in clip.warnings[0]


def test_images_that_say_when_they_were_taken(tmp_path):
    folder = folder_of(tmp_path / "frames", 10, lambda n: (f"2024:05:01 10:00:{n // 4:02d}", f"{n % 4 * 25:02d}"))
    clip = read_clip(folder)
    np.testing.assert_allclose(clip.times_s, np.arange(10) / 4)
    assert clip.fps == pytest.approx(4) and clip.warnings == ()
    assert read_clip(folder, source_fps=30).source_frames == (0, 5)


def test_whole_seconds_do_not_tell_the_times_of_a_burst(tmp_path):
    folder = folder_of(tmp_path / "frames", 10, lambda n: (f"2024:05:01 10:00:{n // 5:02d}", None))
    assert "assumed" in read_clip(folder).warnings[0]


@pytest.mark.parametrize("suffix", [".gif", ".png", ".webp"])
def test_an_animation_is_a_clip(tmp_path, suffix):
    path = tmp_path / f"clip{suffix}"
    first, *rest = (Image.fromarray(numbered_frame(number)) for number in range(30))
    shown_ms = [40] * 15 + [80] * 15
    first.save(path, save_all=True, append_images=rest, duration=shown_ms, lossless=True)
    clip = read_clip(path, fps=11, start_s=0.31)
    times_s = np.concatenate([[0], np.cumsum(shown_ms)[:-1]]) / 1000
    expected = [int(np.abs(times_s - at_s).argmin()) for at_s in np.arange(0.31, times_s[-1] + 0.03, 1 / 11)]
    assert numbers_of(clip.frames) == list(clip.source_frames) == expected
    np.testing.assert_allclose(clip.times_s, times_s[expected])
    large = SourceFrames.open(path, clip.times_s, clip.fps)
    assert numbers_of([next(large.read([3]))]) == [expected[0] + 3]


def test_a_still_of_those_kinds_is_one_frame(tmp_path):
    for suffix in (".gif", ".png", ".webp", ".bmp", ".tif", ".jpg"):
        Image.fromarray(numbered_frame(77)).save(tmp_path / f"a{suffix}")
        clip = read_clip(tmp_path / f"a{suffix}")
        assert numbers_of(clip.frames) == [77] and clip.warnings == ()


def test_an_image_is_known_by_what_it_holds(tmp_path):
    Image.fromarray(numbered_frame(5)).save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / "a.mp4")
    assert numbers_of(read_clip(tmp_path / "a.mp4").frames) == [5]


@pytest.mark.parametrize("orientation, turns", [(1, 0), (3, 2), (6, 3), (8, 1)])
def test_images_are_turned_upright(tmp_path, orientation, turns):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(quadrants()).save(tmp_path / "a.jpg", quality=95, exif=exif)
    clip = read_clip(tmp_path / "a.jpg")
    expected = np.rot90(quadrants(), turns)
    assert clip.frames.shape[1:] == expected.shape and clip.source_size == expected.shape[1::-1]
    assert np.abs(clip.frames[0].astype(int) - expected)[8:24, 8:24].max() < 30


def test_sixteen_bits(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.full((20, 30, 3), 40_000, np.uint16))
    assert read_image(tmp_path / "a.png")[0, 0].tolist() == pytest.approx([156] * 3, abs=1)


def test_heic_without_its_library_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pi_heif", None)
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    (tmp_path / "a.jpg").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 64)
    with pytest.raises(MissingAssetError, match=r"unish\[heic\]"):
        read_clip(tmp_path / "a.jpg")


@pytest.mark.parametrize("name", ["broken.jpg", "broken.png", "broken.gif", "broken.webp", "broken.heic", "broken.tif"])
def test_broken_images_are_one_sentence(tmp_path, name):
    good = tmp_path / ("a." + ("png" if name.endswith("heic") else name.rsplit(".")[-1]))
    Image.fromarray(numbered_frame(5)).save(good)
    random = np.random.default_rng(0)
    whole = np.frombuffer(good.read_bytes(), np.uint8)
    for length in (0, 1, 5, 12, len(whole) // 2, len(whole)):
        data = whole[:length].copy()
        if length == len(whole):
            data[10:60] = random.integers(0, 256, 50)
        (tmp_path / name).write_bytes(data.tobytes())
        try:
            read_clip(tmp_path / name)
        except InputError as error:
            assert "\n" not in str(error)
