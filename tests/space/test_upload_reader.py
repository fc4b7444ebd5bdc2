"""Uploads are read within limits, which are checked before anything is decoded."""

from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest

from space import upload_reader
from space.limits import MAX_KEPT_BYTES
from space.request import ClipRequest
from space.upload_reader import kept_side_px, open_upload, part_used, read_upload
from tests.test_cli import write_video
from unish.errors import InputError


def test_an_ordinary_clip_is_read(tmp_path):
    request = ClipRequest.of(write_video(tmp_path / "clip.mp4"), 4)
    assert open_upload(request).size == (96, 64)
    assert read_upload(request).frames.shape == (4, 64, 96, 3)


@pytest.mark.parametrize(
    ("bound", "value", "sentence"),
    [
        ("MAX_UPLOAD_MB", 1e-4, "MB"),
        ("MAX_SECONDS", 0.5, "1 s long; the limit here is 0 s"),
        ("MAX_FRAME_MEGAPIXELS", 0.001, "96×64"),
        ("MAX_DECODED_MEGAPIXELS", 0.04, "too many pixels"),
    ],
)
def test_too_much_is_one_sentence_before_anything_is_decoded(tmp_path, monkeypatch, bound, value, sentence):
    request = ClipRequest.of(write_video(tmp_path / "clip.mp4"))
    monkeypatch.setattr(upload_reader, bound, value)
    monkeypatch.setattr("unish.video.decode.VideoSource.frames", pytest.fail)
    with pytest.raises(InputError, match=sentence):
        read_upload(request)


def test_what_lies_outside_of_the_part_counts_for_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(upload_reader, "MAX_DECODED_MEGAPIXELS", 0.04)
    open_upload(ClipRequest.of(write_video(tmp_path / "clip.mp4"), 6, 0.2, 0.5))


def test_a_text_file_is_no_video(tmp_path):
    path = tmp_path / "notes.mp4"
    path.write_text("no video")
    with pytest.raises(InputError, match="couldn't open this file as a video"):
        open_upload(ClipRequest.of(path))


def test_more_or_larger_frames_are_kept_smaller():
    assert kept_side_px((640, 360), 300) == 640 and kept_side_px((3840, 2160), 30) == 3840
    side = kept_side_px((3840, 2160), 300)
    assert 0.95 * MAX_KEPT_BYTES < 300 * 3 * side * side * 9 / 16 <= MAX_KEPT_BYTES


def test_a_longer_clip_than_is_used_is_said_before_the_run():
    path = Path("walk.mp4")

    def said(fps: float, start_s=None, end_s=None) -> str | None:
        times_s = np.arange(180 * 30) / 30
        source = SimpleNamespace(times_s=times_s, step_s=1 / 30, length_s=float("inf"), size=(640, 360))
        return part_used(ClipRequest.of(path, fps, start_s, end_s), source)  # type: ignore[arg-type]

    sentence = said(6)
    assert sentence and sentence.startswith("Only 0 s to 50 s of 3 min will be used (300 frames is the limit).")
    sentence = said(6, 50, 150)
    assert sentence and sentence.startswith("Only 50 s to 1 min 40 s of 2 min 30 s will be used")
    assert said(1.5) is None and said(6, 60, 100) is None and said(6, "2:20") is None


def test_a_header_that_states_a_wild_rate_is_bounded_all_the_same(tmp_path):
    """A rate of a million frames per second in a file of two frames."""
    path = tmp_path / "fast.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(1_000_000))
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for moment in (0, 2000):
            frame = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")
            frame.pts, frame.time_base = moment, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    try:
        assert len(read_upload(ClipRequest.of(path)).frames) <= 2
    except InputError as error:
        assert "too many pixels" in str(error)


@pytest.mark.parametrize("name", ["jump.mkv", "clip_hang.avi"])
def test_times_that_jump_cost_nothing(repository, name):
    """Files that once kept a reader busy for ever."""
    path = repository.parent / "shared" / "cases" / "hostile" / name
    if not path.is_file():
        pytest.skip(f"not at {path}")
    try:
        assert len(read_upload(ClipRequest.of(path)).frames) <= 300
    except InputError as error:
        assert "long; the limit here is" in str(error) or "couldn't" in str(error), error
