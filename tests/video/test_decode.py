"""Frames come with their own number and time from every kind of file, wherever reading begins."""

import itertools
import random
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from tests.helpers.numbered import number_of, numbers_of, write_numbered
from unish.people.prompts import Box, BoxPrompts, MaskPrompts
from unish.video.pixels import to_rgb
from unish.video.reader import read_clip
from unish.video.source import open_source

RATE = 30
KINDS = {
    "libx264": (".mp4", ".mov", ".mkv", ".ts", ".avi", ".flv", ".h264"),
    "mpeg4": (".mp4", ".avi", ".mkv"),
    "libvpx": (".webm",),
    "libvpx-vp9": (".webm", ".mkv"),
    "mjpeg": (".avi",),
}


def moved(steps: int):
    """Packets with all stamps later by so many frames; where they come before 0, MP4 writes an edit list."""

    def restamped(packets: list) -> list:
        for packet in packets:
            ticks = round(Fraction(steps, RATE) / packet.time_base)
            packet.pts, packet.dts = packet.pts + ticks, packet.dts + ticks
        return packets

    return restamped


def everything(path: Path) -> list[tuple[int, int, float]]:
    """Of every frame: its number, the number that it carries, and its time in frames."""
    source, faults = open_source(path), []
    frames = list(source.frames(range(len(source.times_s)), 1000, faults))
    assert not faults
    return [(frame.number, number_of(frame.rgb), frame.time_s * RATE) for frame in frames]


@pytest.mark.parametrize("codec, suffix", [(codec, suffix) for codec, kinds in KINDS.items() for suffix in kinds])
@pytest.mark.parametrize("b_frames", [0, 3])
def test_every_frame_has_its_number_and_time(tmp_path, codec, suffix, b_frames):
    if b_frames and codec not in ("libx264", "mpeg4"):
        pytest.skip("has no B-frames")
    path = write_numbered(tmp_path / f"clip{suffix}", codec=codec, b_frames=b_frames, frames=40)
    for number, (given, carried, time) in enumerate(everything(path)):
        assert given == carried == number and time == pytest.approx(number, abs=0.05)
    assert len(everything(path)) == 40


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".ts", ".flv"])
@pytest.mark.parametrize("steps", [7, 300])
def test_clips_that_do_not_begin_at_0(tmp_path, suffix, steps):
    frames = everything(write_numbered(tmp_path / f"clip{suffix}", frames=30, restamped=moved(steps)))
    assert [frame[:2] for frame in frames] == [(number, number) for number in range(30)]
    np.testing.assert_allclose([frame[2] for frame in frames], range(30), atol=0.05)


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
@pytest.mark.parametrize("cut", [3, 10, 13])
def test_frames_that_an_edit_list_leaves_out_are_not_there(tmp_path, suffix, cut):
    options = {"avoid_negative_ts": "disabled"}
    path = write_numbered(tmp_path / f"clip{suffix}", frames=40, restamped=moved(-cut), container=options)
    frames = everything(path)
    assert [frame[0] for frame in frames] == list(range(40 - cut))
    assert [frame[1] for frame in frames] == list(range(cut, 40))
    np.testing.assert_allclose([frame[2] for frame in frames], range(40 - cut), atol=0.05)
    assert read_clip(path, start_s=0.5).warnings == ()


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
def test_a_gap_is_kept_and_read_over(tmp_path, suffix):
    times_s = np.arange(60) / RATE + 4.0 * (np.arange(60) >= 30)
    path = write_numbered(tmp_path / f"clip{suffix}", times_s=times_s)
    np.testing.assert_allclose([frame[2] / RATE for frame in everything(path)], times_s, atol=2e-3)
    clip = read_clip(path)
    assert numbers_of(clip.frames) == list(clip.source_frames) and clip.fps == pytest.approx(6, abs=0.01)
    assert np.diff(clip.times_s).max() == pytest.approx(4.0, abs=0.2) and clip.warnings == ()


def test_repeated_stamps_do_not_shift_the_frames_after_them(tmp_path):
    def repeated(packets: list) -> list:
        shown = sorted(packets, key=lambda packet: packet.pts)
        for at in (20, 40):
            shown[at].pts = shown[at - 1].pts
        return packets

    for suffix in (".mp4", ".mkv", ".ts"):
        path = write_numbered(tmp_path / f"clip{suffix}", restamped=repeated)
        for number, (given, carried, time) in enumerate(everything(path)):
            assert given == carried == number and time == pytest.approx(number, abs=0.05)


def test_a_clock_that_is_set_back_midway(tmp_path):
    first = write_numbered(tmp_path / "a.ts", frames=30).read_bytes()
    second = write_numbered(tmp_path / "b.ts", frames=40, first=30).read_bytes()
    (tmp_path / "both.ts").write_bytes(first + second)
    clip = read_clip(tmp_path / "both.ts", start_s=1.2)
    assert numbers_of(clip.frames) == list(clip.source_frames) == list(range(36, 70, 5))
    np.testing.assert_allclose(clip.times_s, np.arange(36, 70, 5) / RATE, atol=1e-3)
    assert "stamps of the video jump" in clip.warnings[0]


# ---------------------------------------------------------------- seeking


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts", ".avi", ".flv"])
@pytest.mark.parametrize("gop, b_frames", [(300, 2), (25, 3), (7, 0), (1, 0)])
def test_seeking_gives_what_decoding_from_the_start_gives(tmp_path, suffix, gop, b_frames):
    """However far the key frame lies before, or how many there are."""
    path = write_numbered(tmp_path / f"clip{suffix}", frames=150, gop=gop, b_frames=b_frames)
    source = open_source(path)
    for start in (0, 1, 24, 49, 50, 77, 148, 149):
        faults: list[str] = []
        frames = list(source.frames([start], 1000, faults))
        assert [(frame.number, number_of(frame.rgb)) for frame in frames] == [(start, start)] and not faults
    sparse = list(range(3, 150, 60))
    assert [number_of(frame.rgb) for frame in source.frames(sparse, 1000, [])] == sparse


def test_only_what_is_needed_is_decoded(tmp_path, monkeypatch):
    path = write_numbered(tmp_path / "clip.mp4", frames=300, gop=30)
    decoded = []
    whole = av.Packet.decode
    monkeypatch.setattr(
        "unish.video.decode._decoded", lambda packets, faults: _counting(packets, decoded, whole), raising=True
    )
    clip = read_clip(path, start_s=9.0)
    assert clip.source_frames[0] == 270 and len(decoded) <= 32
    decoded.clear()
    assert read_clip(path, fps=0.25).source_frames == (0, 120, 240) and len(decoded) < 60


def _counting(packets, decoded: list, decode):
    for packet in packets:
        frames = decode(packet)
        decoded += frames
        yield from frames


def test_a_failed_seek_reads_from_the_start(tmp_path, monkeypatch):
    path = write_numbered(tmp_path / "clip.mp4", frames=120, gop=10)
    source = open_source(path)

    def fail(*arguments, **options):
        raise av.error.PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("unish.video.decode.VideoSource._seek", fail)
    assert [number_of(frame.rgb) for frame in source.frames([90, 95], 1000, [])] == [90, 95]


@pytest.mark.parametrize("failing", [{5}, {20}, {5, 20}])
def test_frames_whose_pixels_cannot_be_had_are_faults(tmp_path, monkeypatch, failing):
    """As where there is no memory for them."""

    def without_memory(frame, aspect, long_side_px):
        rgb, size = to_rgb(frame, aspect, long_side_px)
        if number_of(rgb) in failing:
            raise MemoryError
        return rgb, size

    monkeypatch.setattr("unish.video.decode.to_rgb", without_memory)
    source, faults = open_source(write_numbered(tmp_path / "clip.mp4", 24)), []
    assert numbers_of([frame.rgb for frame in source.frames([5, 12, 20], 1000, faults)]) == sorted(
        {5, 12, 20} - failing
    )
    assert len(faults) == len(failing)


# ---------------------------------------------------------------- against a plain decoder


def plain(path: Path) -> tuple[list[int], np.ndarray]:
    """Numbers that FFmpeg's decoder gives out, and their times."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = [(number_of(frame.to_ndarray(format="rgb24")), frame.pts) for frame in container.decode(stream)]
        tick_s = stream.time_base
    numbers = [number for number, _ in frames]
    if path.suffix in (".avi", ".h264"):  # their stamps are made up
        return numbers, np.arange(len(numbers)) / RATE
    return numbers, np.array([float((stamp - frames[0][1]) * tick_s) for _, stamp in frames])


def moving_masks(folder: Path, count: int) -> Path:
    """A mask for every source frame, a quarter of the frames' size: somebody one pixel wide, at column number % 12."""
    folder.mkdir()
    for number in range(count):
        mask = np.zeros((12, 16), np.uint8)
        mask[3:9, number % 12] = 1
        Image.fromarray(mask).save(folder / f"{number:05d}.png")
    return folder


def test_selections_are_those_of_ffmpegs_own_decoding(tmp_path):
    """40 clips of random kind, groups, B-frames, rates and offsets; random start, end and rate; and the frames that
    boxes and masks belong to."""
    draw = random.Random(7)
    kinds = itertools.cycle([(codec, suffix) for codec, suffixes in KINDS.items() for suffix in suffixes])
    for index, (codec, suffix) in zip(range(40), kinds, strict=False):
        count = draw.randint(20, 60)
        steady = suffix in (".avi", ".h264") or codec == "mpeg4" or draw.random() < 0.5
        steps = [1] * count if steady else [draw.choice((1, 1, 2, 3)) for _ in range(count)]
        times_s = np.cumsum([0, *steps[:-1]]) / RATE
        path = write_numbered(
            tmp_path / f"{index}{suffix}",
            frames=count,
            times_s=times_s,
            codec=codec,
            gop=draw.choice((1, 8, 30, 250)),
            b_frames=draw.choice((0, 1, 3)) if codec in ("libx264", "mpeg4") else 0,
            restamped=moved(draw.choice((0, 5))) if suffix in (".mp4", ".mov", ".mkv", ".ts") else lambda p: p,
        )
        numbers, shown_s = plain(path)
        start_s = draw.choice((0.0, 0.21, 0.5, 0.77 * times_s[-1]))
        end_s = draw.choice((None, start_s + 0.4))
        fps = draw.choice((2.0, 6.0, 10.0, 29.97))
        clip = read_clip(path, fps, start_s, end_s)
        moments = start_s + np.arange(200) / fps
        moments = moments[moments < (np.inf if end_s is None else end_s) - 1e-6]
        moments = moments[moments < shown_s[-1] + 1 / RATE / 2 - 1e-3]
        distances = np.abs(shown_s[:, None] - moments)
        as_near = distances <= distances.min(0) + 2e-6
        expected = {int(place) for place in len(shown_s) - 1 - as_near[::-1].argmax(0)}  # of two as near, the later
        near = [numbers[place] for place in sorted(expected)]
        assert numbers_of(clip.frames) == near, (path.name, start_s, end_s, fps)
        assert list(clip.source_frames) == sorted(expected)
        drawn = draw.randrange(len(near))
        at_s = float(shown_s[sorted(expected)[drawn]])
        prompts = BoxPrompts.for_clip(clip, [Box(8, 8, 30, 30), Box(8, 8, 30, 30, at_s)])
        assert numbers_of(clip.frames[list(prompts.frame_indices)]) == [near[0], near[drawn]]
        (track,) = MaskPrompts(moving_masks(tmp_path / str(index), len(numbers)), clip.source_frames).track(clip.frames)
        assert [round(x / 4) % 12 for x in track.boxes_px[:, 0]] == [place % 12 for place in sorted(expected)]
