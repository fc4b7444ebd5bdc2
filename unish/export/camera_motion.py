"""The camera at an even frame rate, as exporters write it."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from unish.analysis.interpolation import FrameTimes, cameras_at
from unish.export.person_motion import even_fps, even_times_s
from unish.export.source_mapping import content_of, original_frame
from unish.structures import FrameSequence, Reconstruction

CAMERA_FROM_GL = np.diag([1.0, -1, -1])
"""A camera that looks along its −z, y up, in ours (z forward, y down)."""
STILL = 1e-5
"""What changes by less does not move: metres, entries of a rotation, shares of a focal length."""


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
    size = (cameras.width_px, cameras.height_px) if clip is None else clip.frame_size
    frame = original_frame(cameras, *size, content_of(reconstruction, clip))
    even = cameras_at(cameras, FrameTimes.of(times_s, np.asarray(reconstruction.times_s, np.float64)))
    poses, intrinsics = even.world_from_camera.astype(np.float64), frame.map_intrinsics(even.intrinsics)
    if _stands(cameras.world_from_camera):
        poses = np.repeat(poses[:1], len(poses), axis=0)
    if _stands(cameras.intrinsics / cameras.intrinsics[:1, :1, :1]):
        intrinsics = np.repeat(intrinsics[:1], len(intrinsics), axis=0)
    return CameraMotion(fps, times_s, poses, intrinsics, *size)


def _stands(values: Float[np.ndarray, "frames rows columns"]) -> bool:
    return float(np.ptp(values, axis=0).max()) < STILL
