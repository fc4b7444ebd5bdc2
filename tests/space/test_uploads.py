"""A visitor names uploads, and no other file of the server."""

from pathlib import Path

import pytest

from space.uploads import uploaded_file
from unish.errors import InputError

HASH = "0123456789abcdef" * 4


@pytest.fixture
def root(tmp_path) -> Path:
    folder = tmp_path / "files"
    (folder / HASH).mkdir(parents=True)
    (folder / HASH / "clip.mp4").write_bytes(b"1")
    (folder / "unish-secret").mkdir()
    (folder / "unish-secret" / "overlay.mp4").write_bytes(b"1")
    (tmp_path / "private.mp4").write_bytes(b"1")
    (folder / HASH / "link.mp4").symlink_to(tmp_path / "private.mp4")
    return folder


def test_an_upload_is_taken_by_path_and_as_gradio_sends_it(root):
    path = root / HASH / "clip.mp4"
    assert uploaded_file(str(path), root) == path.resolve()
    assert uploaded_file({"path": str(path)}, root) == path.resolve()
    with pytest.raises(InputError, match="expired"):
        uploaded_file(str(root / HASH / "gone.mp4"), root)
    for nothing in (None, "", {}, {"path": None}):
        with pytest.raises(InputError, match="Add a video first"):
            uploaded_file(nothing, root)


def test_everything_else_is_the_same_sentence_whether_it_exists_or_not(root, tmp_path):
    others = [
        tmp_path / "private.mp4",
        tmp_path / "not there.mp4",
        root / HASH / "link.mp4",
        root / HASH / ".." / ".." / "private.mp4",
        root / HASH / "clip.mp4" / ".." / ".." / "unish-secret" / "overlay.mp4",
        root / "unish-secret" / "overlay.mp4",
        root / HASH,
        root,
        "/etc/passwd",
        "/proc/self/environ",
        "https://example.org/clip.mp4",
        "file:///etc/passwd",
        "clip.mp4",
        "/" + "a" * 5000,
        "a\0b",
        7,
        ["clip.mp4"],
        {"path": 7},
        {"path": ["clip.mp4"]},
    ]
    said = set()
    for other in others:
        with pytest.raises(InputError) as refused:
            uploaded_file(str(other) if isinstance(other, Path) else other, root)
        said.add(str(refused.value))
    assert len(said) == 1 and "upload the clip first" in said.pop()
