"""The camera as exporters write it: at an even frame rate, still where it stands still, its lens in millimetres."""

import dataclasses
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from unish.analysis.interpolation import FrameTimes, cameras_at
from unish.export.person_motion import even_fps, even_times_s
from unish.export.source_mapping import OriginalFrame, content_of, original_frame
from unish.structures import Cameras, FrameSequence, Reconstruction

CAMERA_FROM_GL = np.diag([1.0, -1, -1])
"""A camera that looks along its −z, y up, in ours (z forward, y down)."""
STILL = 1e-5
"""What changes by less does not move: metres, entries of a rotation, shares of a focal length."""
FILM_WIDTH_MM = 36.0
"""The width that the image is taken to have on film, as the source's is not known."""


@dataclass(frozen=True)
class CameraMotion:
    """The clip's camera at even times. What stands still has exactly the same numbers at all of them."""

    fps: float
    times_s: Float[np.ndarray, "samples"]
    """Seconds of the source, as in `EvenMotion`."""
    world_from_camera: Float[np.ndarray, "samples 4 4"]
    intrinsics: Float[np.ndarray, "samples 3 3"]
    """In pixels of an image of `width_px` × `height_px`."""
    width_px: int
    height_px: int


def even_camera(
    reconstruction: Reconstruction, clip: FrameSequence | None = None, fps: float | int | None = None
) -> CameraMotion:
    """Resample the camera as `even_motion` does people: turned at constant speed, moved and zoomed linearly.

    The lens is that of the images of `clip`, else of the network's. Raises as `even_fps` and `original_frame`.
    """
    fps, cameras = even_fps(reconstruction, fps), reconstruction.cameras
    times_s = even_times_s(reconstruction, fps)
    frame = lens_frame(reconstruction, clip)
    even = cameras_at(cameras, FrameTimes.of(times_s, np.asarray(reconstruction.times_s, np.float64)))
    poses, intrinsics = even.world_from_camera.astype(np.float64), frame.map_intrinsics(even.intrinsics)
    pose_stands, lens_stands = _stands(cameras)
    poses, intrinsics = _first(poses, pose_stands), _first(intrinsics, lens_stands)
    return CameraMotion(fps, times_s, poses, intrinsics, frame.width_px, frame.height_px)


def lens_frame(reconstruction: Reconstruction, clip: FrameSequence | None) -> OriginalFrame:
    """The image whose lens is exported: that of `clip`, else the network's. Raises as `original_frame`."""
    cameras = reconstruction.cameras
    size = (cameras.width_px, cameras.height_px) if clip is None else clip.frame_size
    return original_frame(cameras, *size, content_of(reconstruction, clip))


def steady(cameras: Cameras) -> Cameras:
    """The same cameras, with the first frame's pose in all frames where the pose does not change (`STILL`), and so the
    lens."""
    pose_stands, lens_stands = _stands(cameras)
    return dataclasses.replace(
        cameras,
        world_from_camera=_first(cameras.world_from_camera, pose_stands),
        intrinsics=_first(cameras.intrinsics, lens_stands),
    )


def with_steady_camera(reconstruction: Reconstruction) -> Reconstruction:
    """The result with its cameras made `steady`."""
    return dataclasses.replace(reconstruction, cameras=steady(reconstruction.cameras))


def focal_mm(intrinsics: Float[np.ndarray, "*frames 3 3"], width_px: int) -> Float[np.ndarray, "*frames"]:
    """Focal lengths on film `FILM_WIDTH_MM` wide, of intrinsics in pixels of an image of `width_px`."""
    return FILM_WIDTH_MM * intrinsics[..., 0, 0].astype(np.float64) / width_px


def _stands(cameras: Cameras) -> tuple[bool, bool]:
    """Whether the pose does not change, and whether the lens does not."""
    values = (cameras.world_from_camera, cameras.intrinsics / cameras.intrinsics[:1, :1, :1])
    return float(np.ptp(values[0], axis=0).max()) < STILL, float(np.ptp(values[1], axis=0).max()) < STILL


def _first(values: Float[np.ndarray, "frames rows columns"], always: bool) -> Float[np.ndarray, "frames rows columns"]:
    return np.repeat(values[:1], len(values), axis=0) if always else values
