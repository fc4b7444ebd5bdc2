"""Bounds for uploads, and what a GPU is asked for."""

import pytest

from space import limits
from space.limits import check_upload, gpu_seconds
from tests.test_cli import write_video
from unish.errors import InputError


def test_an_ordinary_clip_is_taken(tmp_path):
    check_upload(write_video(tmp_path / "clip.mp4"))


@pytest.mark.parametrize(
    ("bound", "value", "sentence"),
    [("MAX_UPLOAD_MB", 1e-4, "MB"), ("MAX_SECONDS", 0.5, "lasts 1 s"), ("MAX_SIDE_PX", 80, "96×64")],
)
def test_too_much_is_one_sentence_before_anything_is_decoded(tmp_path, monkeypatch, bound, value, sentence):
    path = write_video(tmp_path / "clip.mp4")
    monkeypatch.setattr(limits, bound, value)
    monkeypatch.setattr("unish.video.decode.timed_frames", pytest.fail)
    with pytest.raises(InputError, match=sentence):
        check_upload(path)


def test_a_text_file_is_no_video(tmp_path):
    path = tmp_path / "notes.mp4"
    path.write_text("no video")
    with pytest.raises(InputError, match="video"):
        check_upload(path)


def test_the_gpu_is_asked_for_what_a_visitor_without_an_account_has():
    """120 s a day, and what is asked for counts one and a half times."""
    longest = gpu_seconds(limits.MAX_FRAMES, people=8)
    assert longest * 1.5 <= 120
    assert gpu_seconds(20, 1) < gpu_seconds(120, 1) <= gpu_seconds(120, 3) <= longest
    assert gpu_seconds(1, 1) >= 10
