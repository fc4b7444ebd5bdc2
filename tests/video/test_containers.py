"""Nothing but the given file is ever opened, and whatever is wrong with it is one sentence."""

import os
from pathlib import Path

import av
import numpy as np
import pytest

from tests.helpers.numbered import numbered_frame, numbers_of, write_numbered
from unish.errors import InputError
from unish.video import containers
from unish.video.reader import read_clip
from unish.video.source import open_source
from unish.video.source_frames import SourceFrames

PLAYLISTS = {
    "m3u8": "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{target}\n#EXT-X-ENDLIST\n",
    "ffconcat": "ffconcat version 1.0\nfile '{target}'\n",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
    "mpd": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><Period><AdaptationSet>'
    "<Representation id='v'><BaseURL>{target}</BaseURL></Representation></AdaptationSet></Period></MPD>",
}


@pytest.mark.parametrize("kind", PLAYLISTS)
@pytest.mark.parametrize("named", ["as it is", "clip.mp4"])
@pytest.mark.parametrize("relative", [True, False])
def test_a_file_that_names_others_is_refused(tmp_path, kind, named, relative):
    target = write_numbered(tmp_path / "secret.ts", frames=6)
    path = tmp_path / (f"list.{kind}" if named == "as it is" else named)
    path.write_text(PLAYLISTS[kind].format(target=target.name if relative else target))
    for read in (open_source, read_clip, lambda p: SourceFrames.open(p, np.arange(3) / 6, 6.0)):
        with pytest.raises(InputError, match="names other files"):
            read(path)


def test_the_demuxer_can_open_no_other_file(tmp_path):
    """Even if a kind of file that names others were let through: there is no protocol to reach them with."""
    target = write_numbered(tmp_path / "secret.ts", frames=6)
    path = tmp_path / "list.ffconcat"
    path.write_text(PLAYLISTS["ffconcat"].format(target=target.name))
    options = {"protocol_whitelist": "", "safe": "0"}
    with (
        path.open("rb") as file,
        pytest.raises((av.FFmpegError, OSError)),
        av.open(file, "r", format="concat", options=options) as container,
    ):
        list(container.demux(video=0))


@pytest.mark.parametrize(
    "name", ["2024-11-14T22:57:44+02:00.mp4", "http:clip.mp4", "concat:a.mp4|b.mp4", "%03d.mp4", "-i.mp4"]
)
def test_any_file_name_is_a_file(tmp_path, name, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_numbered(tmp_path / "clip.mp4", frames=12).replace(name)
    clip = read_clip(name)
    assert numbers_of(clip.frames) == [0, 5, 10] and clip.source_name == name
    assert next(SourceFrames.open(name, clip.times_s, clip.fps).read([5])).shape == (48, 64, 3)


def test_a_name_that_is_no_utf8(tmp_path):
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.mp4"))
    write_numbered(tmp_path / "clip.mp4", frames=12).rename(path)
    clip = read_clip(path)
    assert clip.source_name == "caf\\xe9.mp4" and clip.source_name.encode()
    path.write_bytes(b"nothing")
    with pytest.raises(InputError) as caught:
        read_clip(path)
    assert str(caught.value).encode()


def linked_to_nothing(folder: Path) -> Path:
    (folder / "gone.mp4").symlink_to(folder / "nowhere.mp4")
    return folder / "gone.mp4"


def linked_to_itself(folder: Path) -> Path:
    (folder / "self.mp4").symlink_to(folder / "self.mp4")
    return folder / "self.mp4"


def pipe(folder: Path) -> Path:
    os.mkfifo(folder / "pipe.mp4")
    return folder / "pipe.mp4"


def folder_named_as_an_image(folder: Path) -> Path:
    (folder / "empty.jpg").mkdir()
    return folder / "empty.jpg"


def folder_with_a_dangling_link(folder: Path) -> Path:
    (folder / "images").mkdir()
    (folder / "images" / "1.jpg").symlink_to(folder / "nowhere.jpg")
    return folder / "images"


@pytest.mark.parametrize(
    "make",
    [
        linked_to_nothing,
        linked_to_itself,
        pipe,
        folder_named_as_an_image,
        folder_with_a_dangling_link,
        lambda folder: folder / ("x" * 300 + ".mp4"),
        lambda folder: folder / "nul\0.mp4",
        lambda folder: Path("/dev/zero"),
    ],
)
def test_what_is_no_file_is_one_sentence(tmp_path, make):
    with pytest.raises(InputError) as caught:
        read_clip(make(tmp_path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts", ".avi", ".webm", ".flv"])
def test_a_broken_file_gives_frames_or_one_sentence(tmp_path, suffix):
    """Bytes changed, and files cut, anywhere."""
    path = write_numbered(tmp_path / f"clip{suffix}", frames=24, codec="libvpx" if suffix == ".webm" else "libx264")
    whole = np.frombuffer(path.read_bytes(), np.uint8)
    random = np.random.default_rng(3)
    for attempt in range(25):
        data = whole.copy()
        places = random.integers(0, min(len(data), 3000), random.integers(1, 30))
        data[places] = random.integers(0, 256, len(places))
        path.write_bytes(data[: random.integers(1, len(data))].tobytes() if attempt % 5 == 0 else data.tobytes())
        for options in ({}, {"start_s": 0.5, "fps": 2.0}):
            try:
                clip = read_clip(path, **options)
            except InputError as error:
                assert "\n" not in str(error)
            else:
                assert len(clip) >= 1 and np.isfinite(clip.times_s).all()


def test_frames_too_large_are_refused_before_they_are_decoded(tmp_path, monkeypatch):
    path = write_numbered(tmp_path / "clip.mp4", frames=2)
    monkeypatch.setattr(containers, "MOST_PIXELS", 64 * 48 - 1)
    monkeypatch.setattr("unish.video.decode._decoded", pytest.fail)
    with pytest.raises(InputError, match="64×48"):
        read_clip(path)


def test_more_frames_than_fit_are_refused_before_they_are_decoded(tmp_path, monkeypatch):
    path = write_numbered(tmp_path / "clip.mp4", frames=30)
    monkeypatch.setattr("unish.video.reader._MOST_BYTES", 1000)
    monkeypatch.setattr("unish.video.reader._KEPT_BYTES", 1000)
    monkeypatch.setattr("unish.video.decode._decoded", pytest.fail)
    with pytest.raises(InputError, match="shorter part"):
        read_clip(path)


def test_covers_and_thumbnails_are_not_the_clip(tmp_path):
    path = tmp_path / "song.mp4"
    with av.open(str(path), "w") as output:
        cover = output.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 640, 480, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        video = output.add_stream("libx264", rate=30)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        output.mux(cover.encode(av.VideoFrame(640, 480, "yuvj420p")))
        for number in range(12):
            output.mux(video.encode(av.VideoFrame.from_ndarray(numbered_frame(number), format="rgb24")))
        output.mux(video.encode(None))
        output.mux(cover.encode(None))
    with av.open(str(path)) as container:
        assert len(container.streams.video) == 2
    assert numbers_of(read_clip(path).frames) == [0, 5, 10]
