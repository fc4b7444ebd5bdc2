"""A sparse COLMAP model, and its two forms on disk, text and binary, which hold the same numbers.

Source: colmap.github.io/format.html. Files without rigs and frames, which every version of COLMAP reads.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int64, UInt8

_PINHOLE = 1


@dataclass(frozen=True)
class ColmapCamera:
    """A pinhole camera; several images may share it. Pixel (0, 0) has its centre at (½, ½)."""

    id: int
    width_px: int
    height_px: int
    parameters: tuple[float, float, float, float]
    """Focal lengths fx, fy and principal point cx, cy, in pixels."""


@dataclass(frozen=True)
class ColmapImage:
    """One image and what it observes."""

    id: int
    camera_id: int
    name: str
    quaternion: Float64[np.ndarray, "4"]
    """(w, x, y, z) of the rotation of world points into the camera's frame."""
    translation: Float64[np.ndarray, "3"]
    """Added after the rotation; in the world's unit."""
    pixels: Float64[np.ndarray, "observations 2"]
    point_ids: Int64[np.ndarray, "observations"]
    """Which point is observed at each of `pixels`."""


@dataclass(frozen=True)
class ColmapPoints:
    """Points, and their tracks one after the other."""

    ids: Int64[np.ndarray, "points"]
    points_world: Float64[np.ndarray, "points 3"]
    colors: UInt8[np.ndarray, "points 3"]
    errors_px: Float64[np.ndarray, "points"]
    """Mean distance of a point's observations from where its images' cameras see it."""
    track_ends: Int64[np.ndarray, "points"]
    """The track of point k ends before this element of `track`, and begins where that of the one before ends."""
    track: Int64[np.ndarray, "observations 2"]
    """(image id, place among the image's observations)."""

    def each(self) -> Iterator[tuple[int, list[float], list[int], float, np.ndarray]]:
        """(id, place, colour, error, track) of one point after the other."""
        tracks = np.split(self.track, self.track_ends[:-1]) if len(self.ids) else []
        return zip(
            self.ids.tolist(),
            self.points_world.tolist(),
            self.colors.tolist(),
            self.errors_px.tolist(),
            tracks,
            strict=True,
        )


@dataclass(frozen=True)
class ColmapModel:
    cameras: tuple[ColmapCamera, ...]
    images: tuple[ColmapImage, ...]
    points: ColmapPoints


def write_text(model: ColmapModel, folder: Path) -> None:
    """Write cameras.txt, images.txt and points3D.txt into an existing folder; every number is written in full."""
    with (folder / "cameras.txt").open("w") as file:
        file.write("# CAMERA_ID, MODEL, WIDTH, HEIGHT, PARAMS[] (fx, fy, cx, cy)\n")
        for camera in model.cameras:
            file.write(f"{camera.id} PINHOLE {camera.width_px} {camera.height_px} {_words(camera.parameters)}\n")
    with (folder / "images.txt").open("w") as file:
        file.write("# IMAGE_ID, QW, QX, QY, QZ, TX, TY, TZ, CAMERA_ID, NAME\n#   POINTS2D[] as (X, Y, POINT3D_ID)\n")
        for image in model.images:
            pose = _words([*image.quaternion.tolist(), *image.translation.tolist()])
            file.write(f"{image.id} {pose} {image.camera_id} {image.name}\n")
            seen = zip(image.pixels.tolist(), image.point_ids.tolist(), strict=True)
            file.write(" ".join(f"{x!r} {y!r} {point}" for (x, y), point in seen) + "\n")
    with (folder / "points3D.txt").open("w") as file:
        file.write("# POINT3D_ID, X, Y, Z, R, G, B, ERROR, TRACK[] as (IMAGE_ID, POINT2D_IDX)\n")
        for id, place, color, error, track in model.points.each():
            file.write(f"{id} {_words(place)} {_words(color)} {error!r} {_words(track.ravel().tolist())}\n")


def write_binary(model: ColmapModel, folder: Path) -> None:
    """Write cameras.bin, images.bin and points3D.bin into an existing folder."""
    with (folder / "cameras.bin").open("wb") as file:
        file.write(struct.pack("<Q", len(model.cameras)))
        for camera in model.cameras:
            sizes = (camera.width_px, camera.height_px)
            file.write(struct.pack("<IiQQ4d", camera.id, _PINHOLE, *sizes, *camera.parameters))
    with (folder / "images.bin").open("wb") as file:
        file.write(struct.pack("<Q", len(model.images)))
        for image in model.images:
            pose = (*image.quaternion.tolist(), *image.translation.tolist())
            file.write(struct.pack("<I7dI", image.id, *pose, image.camera_id))
            file.write(image.name.encode() + b"\0" + struct.pack("<Q", len(image.pixels)))
            seen = np.zeros(len(image.pixels), [("pixel", "<f8", (2,)), ("point", "<u8")])
            seen["pixel"], seen["point"] = image.pixels, image.point_ids
            file.write(seen.tobytes())
    with (folder / "points3D.bin").open("wb") as file:
        file.write(struct.pack("<Q", len(model.points.ids)))
        for id, place, color, error, track in model.points.each():
            file.write(struct.pack("<Q3d3BdQ", id, *place, *color, error, len(track)))
            file.write(track.astype("<u4").tobytes())


def _words(numbers) -> str:
    """Numbers with as many digits as it takes to read them back unchanged."""
    return " ".join(map(repr, numbers))
