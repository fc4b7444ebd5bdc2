"""A COLMAP project's cameras and points once more in nerfstudio's format, `transforms.json` and `points.ply`.

Source: docs.nerf.studio, "Data conventions". The world is ours (z up, metres), as nerfstudio's is z up; a camera looks
along its −z, y up. Intrinsics are in pixels, at the top where one lens made all images, else in each frame. The format
has no field for millimetres, so `focal_mm` (on film `sensor_width_mm` wide) stands beside `fl_x`, and `time_s`, seconds
of the source, in each frame; readers pass over names that they do not know.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from unish.export.camera_motion import CAMERA_FROM_GL, FILM_WIDTH_MM
from unish.export.colmap_model import ColmapCamera, ColmapImage, ColmapModel
from unish.export.ply import write_points

POINTS_FILE = "points.ply"


def mask_name(image_name: str) -> str:
    """Name of an image's mask, white where the image may be used."""
    return Path(image_name).with_suffix(".png").name


def write_transforms(model: ColmapModel, times_s: Float[np.ndarray, "frames"], folder: Path) -> None:
    """Write `transforms.json`, and `points.ply` where there are points, beside the `images/` and `masks/` of `model`.

    `times_s` are those of its images.
    """
    cameras = {camera.id: camera for camera in model.cameras}
    one_lens = len(cameras) == 1
    content: dict[str, Any] = {"camera_model": "OPENCV", "sensor_width_mm": FILM_WIDTH_MM}
    content |= _lens(model.cameras[0]) if one_lens else {}
    content["frames"] = [
        {
            "file_path": f"images/{image.name}",
            "mask_path": f"masks/{mask_name(image.name)}",
            "transform_matrix": _world_from_gl_camera(image).tolist(),
            "time_s": time_s,
            **({} if one_lens else _lens(cameras[image.camera_id])),
        }
        for image, time_s in zip(model.images, times_s.tolist(), strict=True)
    ]
    if len(model.points.ids):
        content["ply_file_path"] = POINTS_FILE
        write_points(folder / POINTS_FILE, model.points.points_world.astype(np.float32), model.points.colors)
    (folder / "transforms.json").write_text(json.dumps(content, indent=1), encoding="utf-8")


def _lens(camera: ColmapCamera) -> dict[str, Any]:
    """A lens without distortion."""
    fx, fy, cx, cy = camera.parameters
    pixels = {"w": camera.width_px, "h": camera.height_px, "fl_x": fx, "fl_y": fy, "cx": cx, "cy": cy}
    return {**pixels, "k1": 0.0, "k2": 0.0, "p1": 0.0, "p2": 0.0, "focal_mm": FILM_WIDTH_MM * fx / camera.width_px}


def _world_from_gl_camera(image: ColmapImage) -> Float[np.ndarray, "4 4"]:
    world_from_camera = Rotation.from_quat(image.quaternion[[1, 2, 3, 0]]).inv()
    pose = np.eye(4)
    pose[:3, :3] = world_from_camera.as_matrix() @ CAMERA_FROM_GL
    pose[:3, 3] = -world_from_camera.apply(image.translation)
    return pose
