"""Files of visitors are gone after their time, and not before."""

import os
import time

from space.keeping import start_sweeping, sweep


def test_what_is_old_goes_as_a_whole_and_what_is_new_stays(tmp_path):
    for name in ("unish-old", "unish-new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "scene.bin").write_bytes(b"1")
    (tmp_path / "upload.mp4").write_bytes(b"1")
    assert sweep(tmp_path, keep_s=60) == 0
    time.sleep(0.3)
    (tmp_path / "unish-new" / "overlay.mp4").write_bytes(b"1")
    assert sweep(tmp_path, keep_s=0.2) == 2
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["overlay.mp4", "scene.bin", "unish-new"]


def test_the_time_is_that_of_the_copy(tmp_path):
    """A copy that keeps the date of its original is no older for that."""
    (tmp_path / "clip.mp4").write_bytes(b"1")
    os.utime(tmp_path / "clip.mp4", (0, 0))
    assert sweep(tmp_path, keep_s=60) == 0


def test_sweeping_goes_on_in_the_background(tmp_path):
    start_sweeping(tmp_path, keep_s=0.2, every_s=0.05)
    (tmp_path / "upload.mp4").write_bytes(b"1")
    until = time.monotonic() + 20
    while (tmp_path / "upload.mp4").exists():
        assert time.monotonic() < until
        time.sleep(0.05)
