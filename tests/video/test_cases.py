"""Files that once gave a wrong result: the right one."""

import numpy as np
import pytest

from unish.errors import InputError
from unish.video.reader import read_clip
from unish.video.source import open_source

CORNERS = {"top left": (200, 30, 30), "top right": (30, 200, 30), "bottom left": (30, 30, 200)}


def number_in(frame: np.ndarray) -> int:
    """The number in the middle row: ten blocks, black or white, a twelfth of the width each."""
    height, width = frame.shape[:2]
    columns = ((np.arange(10) + 1.5) * width / 12).astype(int)
    bits = [frame[height // 2 - 2 : height // 2 + 3, column - 1 : column + 2].mean() > 128 for column in columns]
    return sum(int(bit) << place for place, bit in enumerate(bits))


def corner_colors(frame: np.ndarray) -> dict[str, np.ndarray]:
    height, width = frame.shape[:2]
    y, x = height // 8, width // 8
    return {"top left": frame[y, x], "top right": frame[y, -x], "bottom left": frame[-y, x]}


def read(cases_dir, name: str, **options):
    clip = read_clip(cases_dir / "clips" / name, **options)
    return clip, [number_in(frame) for frame in clip.frames]


@pytest.mark.parametrize(
    "name, start_s, first",
    [
        ("gop2s.ts", 5.1, [153, 158, 163, 168, 173, 178]),
        ("back.ts", 1.2, [36, 41, 46, 51, 56]),
        ("vfr_key.mp4", 3.0, [80, 82, 83]),
        ("h264_b.avi", None, [0, 5, 10]),
        ("mpeg4_b.avi", None, [0, 5, 10]),
        ("noctts.mp4", None, [0, 5, 10]),
        ("anim.webp", None, [0, 5, 10, 15]),
    ],
)
def test_seek_and_numbers(cases_dir, name, start_s, first):
    clip, numbers = read(cases_dir, name, start_s=start_s)
    assert numbers[: len(first)] == first and list(clip.source_frames) == numbers
    if name != "vfr_key.mp4":
        np.testing.assert_allclose(clip.times_s, np.array(numbers) / 30, atol=2e-3)
    assert clip.times_s[0] == pytest.approx(start_s or 0.0, abs=1e-6)


@pytest.mark.parametrize("start_s", [1.2, 2.5, 4.5])
def test_seeking_shows_what_decoding_from_the_start_shows(cases_dir, start_s):
    path = cases_dir / "clips" / "camcorder_sample.ts"
    clip, whole = read_clip(path, start_s=start_s), read_clip(path, fps=30)
    np.testing.assert_array_equal(clip.frames, whole.frames[list(clip.source_frames)])
    assert clip.times_s[0] == pytest.approx(start_s) and clip.source_frames[0] == round(start_s * 30)


def test_the_stream_is_the_one_that_players_show(cases_dir):
    clip, numbers = read(cases_dir, "two_streams.mp4")
    assert clip.frame_size == (320, 240) and numbers == list(range(0, 60, 5))


@pytest.mark.parametrize(
    "name, frames, fps", [("onefps.mp4", 10, 1.0), ("one_picture.mp4", 1, 6.0), ("late_start.mkv", 12, 6.0)]
)
def test_nothing_is_said_where_nothing_is_missing(cases_dir, name, frames, fps):
    clip, numbers = read(cases_dir, name)
    assert clip.warnings == () and len(numbers) == frames and clip.fps == pytest.approx(fps) and clip.times_s[0] == 0
    assert open_source(cases_dir / "clips" / name).length_s == pytest.approx(frames / fps, abs=1.0)


def test_one_frame_a_second(clips_dir):
    clip = read_clip(clips_dir / "man_walking_1fps.mp4")
    assert clip.warnings == () and len(clip) == 24 and clip.fps == pytest.approx(1)


def test_high_definition_without_a_matrix_is_bt709(cases_dir):
    clip, _ = read(cases_dir, "hd_untagged709.mp4")
    for corner, color in corner_colors(clip.frames[0]).items():
        np.testing.assert_allclose(color, CORNERS[corner], atol=4)


def test_a_grid_of_tiles_is_one_image(cases_dir):
    pytest.importorskip("pi_heif")
    clip, numbers = read(cases_dir, "grid.heic")
    assert numbers == [5] and clip.source_size == (512, 384) and clip.warnings == ()
    for corner, color in corner_colors(clip.frames[0]).items():
        np.testing.assert_allclose(color, CORNERS[corner], atol=12)


def test_a_grid_of_tiles_that_is_turned(cases_dir, tmp_path):
    pytest.importorskip("pi_heif")
    data = bytearray((cases_dir / "clips" / "grid.heic").read_bytes())
    at = data.index(b"irot") + 4
    upright = read_clip(cases_dir / "clips" / "grid.heic").frames[0]
    for turns in (1, 2, 3):
        data[at] = turns
        (tmp_path / "turned.heic").write_bytes(data)
        clip = read_clip(tmp_path / "turned.heic")
        np.testing.assert_array_equal(clip.frames[0], np.rot90(upright, turns))
        assert clip.source_size == clip.frames.shape[2:0:-1]


@pytest.mark.parametrize(
    "name, message",
    [
        ("60000x60000.png", "million is the most"),
        ("clip_no_width.mp4", "cannot be decoded here"),
        ("clip_zero_size.ts", "how large its frames are"),
        ("69_csc_huge.pkl", "cannot be opened"),
        ("321_enc.npz", "cannot be opened"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(cases_dir, name, message):
    with pytest.raises(InputError, match=message) as caught:
        read_clip(cases_dir / "hostile" / name)
    assert "\n" not in str(caught.value)


def test_stamps_that_jump_end(cases_dir):
    far = read_clip(cases_dir / "hostile" / "jump.mkv", fps=30)
    assert len(far) == 5 and far.times_s[-1] < 1 and "stamps of the video jump" in far.warnings[0]
    slow = read_clip(cases_dir / "hostile" / "clip_hang.avi", fps=25)
    assert len(slow) == 60 and slow.times_s[-1] < 10


def test_a_title_that_is_no_utf8(cases_dir):
    assert len(read_clip(cases_dir / "hostile" / "clip_latin1_title.avi")) == 12


def test_a_stream_that_appears_midway(cases_dir):
    clip = read_clip(cases_dir / "hostile" / "clip_new_stream.ts")
    assert len(clip) >= 1 and len(clip.warnings) == 1
