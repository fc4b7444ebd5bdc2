"""The clip with the bodies drawn over it, as an H.264 video that plays in every browser."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from jaxtyping import Float, UInt8

from unish.errors import InputError
from unish.files import atomic_path
from unish.palette import person_color
from unish.structures import Person, Reconstruction

LONG_SIDE_PX = 960
"""Videos are no larger than this, so that a clip of minutes is drawn in seconds."""
COVER = 0.8
"""How much a body hides what is behind it."""
NEAREST_M = 0.05


def write_mp4(
    reconstruction: Reconstruction,
    path: str | Path,
    frames: UInt8[np.ndarray, "frames height width 3"] | None = None,
    progress: Callable[[float], None] | None = None,
) -> Path:
    """Draw the people, where they are seen, over the clip's frames and write them at the clip's rate.

    `frames` are those the result was made from (`Clip.frames`); without them the smaller ones in the result are taken.
    Raises `InputError` when they are not as many, or the file cannot be written.
    """
    pictures = reconstruction.images if frames is None else frames
    if len(pictures) != len(reconstruction):
        raise InputError(
            f"Expected the {len(reconstruction)} frames that the result was made from, got {len(pictures)}; "
            "read the clip as it was read then."
        )
    with atomic_path(path) as temporary, av.open(str(temporary), "w", format="mp4") as container:
        rate = Fraction(reconstruction.fps).limit_denominator(1000)
        stream = container.add_stream("libx264", rate=rate, options={"crf": "20", "preset": "veryfast"})
        stream.width, stream.height = _even_size(pictures.shape[2], pictures.shape[1])
        stream.pix_fmt = "yuv420p"
        for index in range(len(pictures)):
            drawn = overlay(reconstruction, index, pictures[index], (stream.width, stream.height))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(drawn, format="rgb24")))
            if progress is not None:
                progress((index + 1) / len(pictures))
        container.mux(stream.encode())
    return Path(path)


def overlay(
    reconstruction: Reconstruction, frame: int, picture: UInt8[np.ndarray, "height width 3"], size: tuple[int, int]
) -> UInt8[np.ndarray, "h w 3"]:
    """One frame at `size` (width, height) with the people who are seen in it drawn over it, the nearest last."""
    picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if size[0] < picture.shape[1] else cv2.INTER_CUBIC)
    camera = reconstruction.cameras
    camera_from_world = np.linalg.inv(camera.world_from_camera[frame].astype(np.float64))
    # The network saw the frame's middle, at one scale: the longer side is never cut.
    scale = max(size) / max(camera.width_px, camera.height_px)
    margin = (np.array(size) - scale * np.array([camera.width_px, camera.height_px])) / 2
    seen = [(index, person) for index, person in enumerate(reconstruction.people) if person.present[frame]]
    bodies = [(_in_camera(person, frame, camera_from_world), index) for index, person in seen]
    for vertices, index in sorted(bodies, key=lambda body: -float(np.median(body[0][:, 2]))):
        color = np.array(person_color(index), np.float64)
        drawn = _draw(picture, vertices, reconstruction.faces, camera.intrinsics[frame], scale, margin, color)
        picture = cv2.addWeighted(drawn, COVER, picture, 1 - COVER, 0)
    return picture


def _even_size(width: int, height: int) -> tuple[int, int]:
    scale = min(1.0, LONG_SIDE_PX / max(width, height)) if max(width, height) > 320 else 320 / max(width, height)
    return max(2, round(width * scale / 2) * 2), max(2, round(height * scale / 2) * 2)


def _in_camera(person: Person, frame: int, camera_from_world: np.ndarray) -> Float[np.ndarray, "vertices 3"]:
    return person.vertices_world[frame].astype(np.float64) @ camera_from_world[:3, :3].T + camera_from_world[:3, 3]


def _draw(
    picture: np.ndarray,
    vertices: np.ndarray,
    faces: np.ndarray,
    intrinsics: np.ndarray,
    scale: float,
    margin: np.ndarray,
    color: np.ndarray,
) -> np.ndarray:
    """The picture with a shaded body on it: faces that look at the camera, the farthest first."""
    corners = vertices[faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    middle = corners.mean(axis=1)
    towards = -(normals * middle).sum(-1) / np.maximum(
        np.linalg.norm(normals, axis=-1) * np.linalg.norm(middle, axis=-1), 1e-12
    )
    shown = np.flatnonzero((towards > 0) & (corners[..., 2] > NEAREST_M).all(-1))
    shown = shown[np.argsort(-middle[shown, 2], kind="stable")]
    pixels = corners[shown, :, :2] / corners[shown, :, 2:] * np.diag(intrinsics)[:2] + intrinsics[:2, 2]
    # Sixteenths of a pixel, and pixel (0, 0) has its middle at (½, ½).
    fine = np.round((pixels * scale + margin - 0.5) * 16).clip(-(2**20), 2**20).astype(np.int32)
    shades = (color * (0.35 + 0.65 * towards[shown])[:, None]).round()
    drawn = picture.copy()
    for triangle, shade in zip(fine, shades.tolist(), strict=True):
        cv2.fillConvexPoly(drawn, triangle, shade, cv2.LINE_8, shift=4)
    return drawn
