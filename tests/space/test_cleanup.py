"""Files of visitors are gone after their time, and not before."""

import os
import tempfile
import time
from pathlib import Path

from space.cleanup import start_sweeping, sweep


def upload(root: Path) -> Path:
    """As Gradio keeps one."""
    clip = root / ("0123456789abcdef" * 4) / "clip.mp4"
    clip.parent.mkdir()
    clip.write_bytes(b"1")
    return clip


def test_what_is_old_goes_as_a_whole_and_what_is_new_stays(tmp_path):
    for name in ("unish-old", "unish-new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "scene.bin").write_bytes(b"1")
    upload(tmp_path)
    (tmp_path / "thesis.tex").write_text("of somebody else")
    assert sweep(tmp_path, keep_s=60) == 0
    time.sleep(0.3)
    (tmp_path / "unish-new" / "overlay.mp4").write_bytes(b"1")
    assert sweep(tmp_path, keep_s=0.2) == 2
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["overlay.mp4", "scene.bin", "thesis.tex", "unish-new"]


def test_uploads_that_were_broken_off_go_too(tmp_path):
    """Gradio writes to a temporary file of Python's until the upload is whole, and leaves it there when it never is."""
    with tempfile.NamedTemporaryFile(dir=tmp_path, delete=False) as file:
        file.write(b"half a clip")
    (tmp_path / "tmp").mkdir()
    (tmp_path / "tmpfiles.conf").write_text("of somebody else")
    assert sweep(tmp_path, keep_s=60) == 0
    assert sweep(tmp_path, keep_s=-60) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tmp", "tmpfiles.conf"]


def test_the_time_is_that_of_the_copy(tmp_path):
    """A copy that keeps the date of its original is no older for that."""
    clip = upload(tmp_path)
    os.utime(clip, (0, 0))
    os.utime(clip.parent, (0, 0))
    assert sweep(tmp_path, keep_s=60) == 0


def test_sweeping_goes_on_in_the_background(tmp_path):
    start_sweeping(tmp_path, keep_s=0.2, every_s=0.05)
    clip = upload(tmp_path)
    until = time.monotonic() + 20
    while clip.exists():
        assert time.monotonic() < until
        time.sleep(0.05)
