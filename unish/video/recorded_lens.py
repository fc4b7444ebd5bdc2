"""The focal length that a camera wrote into its file: iPhones into videos, nearly all phones into photographs."""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from PIL import ExifTags

from unish.errors import UniSHError
from unish.video.containers import open_file
from unish.video.images import holds_image, images_in_order, opened_image

APPLE_FOCAL_KEY = "com.apple.quicktime.camera.focal_length.35mm_equivalent"
"""Of the metadata of a video track (Apple, AVMetadataIdentifier): text like "26.00mm", or a number. Programs that
keep it put it among the user data of the whole file (`ffmpeg -movflags use_metadata_tags`)."""
_LENSES_MM = (6.0, 500.0)
_MOST_ATOMS = 4096
_MOST_METADATA_BYTES = 2**20
_TEXT = 1
_NUMBERS = {23: ">f", 24: ">d", 65: ">b", 66: ">h", 67: ">i", 74: ">q", 75: ">B", 76: ">H", 77: ">I", 78: ">Q"}
_SIGNED, _UNSIGNED = 21, 22
"""Types of values in QuickTime metadata; integers of the last two have any length."""


def recorded_focal_mm(path: Path) -> float | None:
    """Focal length in millimetres of 35 mm film, of the video, the image or the first image of the folder at `path`.

    None where the file does not say it, or says what no lens has. By the diagonal: 43.27 mm of film span the frame's.
    """
    try:
        if path.is_dir():
            images = images_in_order(path)
            focal_mm = _from_image(images[0]) if images else None
        else:
            focal_mm = _from_image(path) if holds_image(path) else _from_video(path)
    except (UniSHError, OSError, ValueError, struct.error):  # what is wrong with a file, its reader says
        return None
    return focal_mm if focal_mm is not None and _LENSES_MM[0] <= focal_mm <= _LENSES_MM[1] else None


def _from_image(path: Path) -> float | None:
    with opened_image(path) as image:
        exif = image.getexif().get_ifd(ExifTags.IFD.Exif)
    value = exif.get(ExifTags.Base.FocalLengthIn35mmFilm)
    return None if value is None else float(value)


class _Atom(NamedTuple):
    """A piece of a QuickTime or MP4 file: its four-letter name and where its content lies."""

    name: bytes
    start: int
    stop: int


def _from_video(path: Path) -> float | None:
    """From the metadata of the first track that has it, else from that of the whole file."""
    with open_file(path) as file:
        file.seek(0, 2)
        whole = _Atom(b"", 0, file.tell())
        movies = list(_atoms(file, whole, b"moov"))
        tracks = [track for movie in movies for track in _atoms(file, movie, b"trak")]
        user_data = [data for movie in movies for data in _atoms(file, movie, b"udta")]
        for place in (*tracks, *movies, *user_data):
            for metadata in _atoms(file, place, b"meta"):
                value = _apple_value(file, metadata)
                if value is not None:
                    return value
    return None


def _atoms(file: BinaryIO, within: _Atom, name: bytes | None = None) -> Iterator[_Atom]:
    """The atoms that lie in another, or those of one name; as far as they can be followed."""
    start = within.start
    for _ in range(_MOST_ATOMS):
        file.seek(start)
        head = file.read(16)
        if start + 8 > within.stop or len(head) < 8:
            return
        size, kind = struct.unpack(">I4s", head[:8])
        header = 8
        if size == 1 and len(head) == 16:
            size, header = struct.unpack(">Q", head[8:])[0], 16
        stop = within.stop if size == 0 else start + size
        if stop < start + header or stop > within.stop:
            return
        if name in (None, kind):
            yield _Atom(kind, start + header, stop)
        start = stop


def _apple_value(file: BinaryIO, metadata: _Atom) -> float | None:
    """The value of `APPLE_FOCAL_KEY` in an atom of keys and values."""
    if metadata.stop - metadata.start > _MOST_METADATA_BYTES:
        return None
    file.seek(metadata.start)
    if file.read(8)[4:] != b"hdlr":  # MP4's has a version in front, QuickTime's has none
        metadata = metadata._replace(start=metadata.start + 4)
    parts = {atom.name: atom for atom in _atoms(file, metadata)}
    if b"keys" not in parts or b"ilst" not in parts:
        return None
    names = [_bytes(file, key).decode("utf-8", "replace") for key in _keys(file, parts[b"keys"])]
    for item in _atoms(file, parts[b"ilst"]):
        number = int.from_bytes(item.name, "big")  # of its key, from 1
        if 1 <= number <= len(names) and names[number - 1] == APPLE_FOCAL_KEY:
            return next((_number(_bytes(file, data)) for data in _atoms(file, item, b"data")), None)
    return None


def _keys(file: BinaryIO, keys: _Atom) -> Iterator[_Atom]:
    """Names of the keys, in order: they look like atoms, after a version and a count."""
    return _atoms(file, keys._replace(start=keys.start + 8))


def _bytes(file: BinaryIO, atom: _Atom) -> bytes:
    file.seek(atom.start)
    return file.read(atom.stop - atom.start)


def _number(data: bytes) -> float | None:
    """The number in a value: its type, its language and its bytes. Raises ValueError or struct.error for nonsense."""
    kind, value = int.from_bytes(data[:4], "big"), data[8:]
    if kind == _TEXT:
        return float(value.decode("utf-8", "replace").strip().removesuffix("mm"))
    if kind in (_SIGNED, _UNSIGNED):
        return float(int.from_bytes(value, "big", signed=kind == _SIGNED))
    return float(struct.unpack(_NUMBERS[kind], value)[0]) if kind in _NUMBERS else None
