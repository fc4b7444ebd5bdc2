"""The focal length that cameras write into their files, and files that say nonsense."""

import struct

import numpy as np
import pytest
from PIL import Image

from tests.helpers.videos import gray_ramp, write_video
from train.synthetic import sample_clip as rendered
from unish.video.reader import read_clip
from unish.video.recorded_lens import recorded_focal_mm

KEY = b"com.apple.quicktime.camera.focal_length.35mm_equivalent"


def atom(name: bytes, *parts: bytes) -> bytes:
    content = b"".join(parts)
    return struct.pack(">I4s", 8 + len(content), name) + content


def metadata(kind: int, value: bytes, key: bytes = KEY, version: bytes = b"") -> bytes:
    """`meta` with the key as the second of two."""
    names = (b"com.apple.quicktime.camera.lens_model", key)
    keys = b"".join(struct.pack(">I4s", 8 + len(name), b"mdta") + name for name in names)
    values = ((1, 1, b"back camera 6.765mm"), (2, kind, value))
    items = [atom(struct.pack(">I", n), atom(b"data", struct.pack(">II", k, 0), v)) for n, k, v in values]
    handler = atom(b"hdlr", bytes(8), b"mdta", bytes(12))
    return atom(b"meta", version, handler, atom(b"keys", struct.pack(">II", 0, 2), keys), atom(b"ilst", *items))


def with_metadata(video: bytes, extra: bytes, in_track: bool) -> bytes:
    """An MP4 whose `moov` comes last, `extra` added to its first track or to itself."""
    at = video.rindex(b"moov") - 4
    grown = {at}
    inside = len(video)
    if in_track:
        track = video.index(b"trak", at) - 4
        grown.add(track)
        inside = track + struct.unpack(">I", video[track : track + 4])[0]
    out = bytearray(video)
    for place in grown:
        out[place : place + 4] = struct.pack(">I", struct.unpack(">I", video[place : place + 4])[0] + len(extra))
    return bytes(out[:inside]) + extra + bytes(out[inside:])


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> bytes:
    return write_video(tmp_path_factory.mktemp("lens") / "clip.mp4", gray_ramp(12)).read_bytes()


@pytest.mark.parametrize("in_track", [True, False])
@pytest.mark.parametrize(
    ("kind", "value"), [(1, b"26.00mm"), (1, b"26"), (21, b"\x1a"), (22, b"\0\x1a"), (23, struct.pack(">f", 26))]
)
def test_a_video_that_says_its_lens(video, tmp_path, kind, value, in_track):
    path = tmp_path / "clip.mov"
    path.write_bytes(with_metadata(video, metadata(kind, value, version=b"" if in_track else bytes(4)), in_track))
    assert recorded_focal_mm(path) == 26
    clip = read_clip(path)
    assert clip.recorded_focal_mm == 26 and len(clip) > 1


def test_our_own_clips_say_the_lens_that_they_were_rendered_with(tmp_path):
    rendered.write_video(np.zeros((2, 16, 16, 3), np.uint8), 30, tmp_path / "clip.mp4", focal_mm=30.081)
    assert recorded_focal_mm(tmp_path / "clip.mp4") == 30.08
    rendered.write_video(np.zeros((2, 16, 16, 3), np.uint8), 30, tmp_path / "clip.mp4")
    assert recorded_focal_mm(tmp_path / "clip.mp4") is None


@pytest.mark.parametrize(
    "extra",
    [
        b"",
        metadata(1, b"wide"),
        metadata(1, b"nan"),
        metadata(1, b"0"),
        metadata(1, b"1e9"),
        metadata(23, b"\0"),
        metadata(99, b"26"),
        metadata(1, b"26", key=b"com.apple.quicktime.camera.focal_length.actual"),
        metadata(1, b"26")[:-9] + b"\xff" * 9,
        atom(b"meta", b"\0" * 7),
        atom(b"meta", atom(b"hdlr"), struct.pack(">I4s", 2**32 - 1, b"keys")),
        atom(b"meta", atom(b"hdlr"), atom(b"keys", b"\0"), atom(b"ilst")),
    ],
)
def test_a_video_that_says_nothing_of_its_lens_or_nonsense(video, tmp_path, extra):
    path = tmp_path / "clip.mp4"
    path.write_bytes(with_metadata(video, extra, in_track=True))
    assert recorded_focal_mm(path) is None


def test_photographs_say_their_lens(tmp_path):
    for value, expected in ((28, 28.0), (0, None), (None, None)):
        data = Image.Exif()
        if value is not None:
            data.get_ifd(0x8769)[0xA405] = value
        folder = tmp_path / f"frames{value}"
        folder.mkdir()
        Image.fromarray(np.zeros((32, 48, 3), np.uint8)).save(folder / "frame_0.jpg", exif=data)
        assert recorded_focal_mm(folder) == recorded_focal_mm(folder / "frame_0.jpg") == expected
    assert recorded_focal_mm(tmp_path) is None and recorded_focal_mm(tmp_path / "nothing.mov") is None


def test_hostile_sizes_end_the_search(tmp_path):
    path = tmp_path / "clip.mov"
    for content in (b"", b"\0" * 64, atom(b"moov", b"\0\0\0\x01trak" + b"\xff" * 8), struct.pack(">I4s", 4, b"moov")):
        path.write_bytes(content)
        assert recorded_focal_mm(path) is None
