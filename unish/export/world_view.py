"""A view of the world from a place that stands still: scene, people and the camera's path, as the viewer shows them."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8

from unish.analysis.point_cloud import PointCloud
from unish.export.drawing import Canvas, draw_line, draw_mesh, draw_points
from unish.export.scene_points import scene_points
from unish.geometry.clouds import surface_spacing
from unish.structures import Cameras, Reconstruction
from unish.utils.colors import person_color

BACKGROUND = (24, 27, 34)
PATH_COLOR, CAMERA_COLOR = (150, 160, 176), (255, 170, 0)
MAX_POINTS = 120_000
_FIELD_OF_VIEW = np.radians(50)
_ELEVATION = np.radians(28)
_MARGIN = 0.86
"""Of the image that people and camera may fill."""


@dataclass(frozen=True)
class WorldView:
    """What stands still in the view, drawn once, and the camera that sees it."""

    still: Canvas
    camera_from_world: Float[np.ndarray, "4 4"]

    @staticmethod
    def of(reconstruction: Reconstruction, size_px: tuple[int, int]) -> "WorldView":
        """The view, `size_px` (width, height) pixels large: from behind the clip's first camera and above it, far
        enough away to have people and cameras of the whole clip in the image."""
        width, height = size_px
        focal = 0.5 * height / np.tan(0.5 * _FIELD_OF_VIEW)
        intrinsics = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
        camera_from_world = _stand(reconstruction, intrinsics, size_px)
        canvas = _blank(size_px, intrinsics)
        scene = scene_points(reconstruction, MAX_POINTS)
        points_camera = _moved(camera_from_world, scene.points_world)
        draw_points(canvas, points_camera, scene.colors, _size_of(scene, points_camera, focal))
        return WorldView(canvas, camera_from_world)

    def picture(
        self,
        bodies: list[tuple[Float[np.ndarray, "vertices 3"], int]],
        faces: np.ndarray,
        cameras: Cameras,
        moment: int,
    ) -> UInt8[np.ndarray, "height width 3"]:
        """The view at a moment: `bodies` as (vertices in the world, id of the person), the way of `cameras` and
        where they are at the moment."""
        still = self.still
        canvas = Canvas(still.rgb.copy(), still.depth_m.copy(), still.intrinsics)
        for vertices_world, person in bodies:
            draw_mesh(canvas, _moved(self.camera_from_world, vertices_world), faces, person_color(person))
        draw_line(canvas, _moved(self.camera_from_world, cameras.centers_world), PATH_COLOR)
        for line in _frustum(cameras, moment):
            draw_line(canvas, _moved(self.camera_from_world, line), CAMERA_COLOR, 2)
        return canvas.rgb


def _blank(size_px: tuple[int, int], intrinsics: np.ndarray) -> Canvas:
    width, height = size_px
    picture = np.full((height, width, 3), BACKGROUND, np.uint8)
    return Canvas(picture, np.full((height, width), np.inf, np.float32), intrinsics)


def _stand(reconstruction: Reconstruction, intrinsics: np.ndarray, size_px: tuple[int, int]) -> np.ndarray:
    """camera_from_world of a view that looks along the first camera's heading, down by `_ELEVATION`."""
    poses = reconstruction.cameras.world_from_camera.astype(np.float64)
    up = reconstruction.world_up.astype(np.float64)
    wanted = np.concatenate([poses[:, :3, 3], *_pelvises(reconstruction)])
    ahead = poses[0, :3, 2] - up * (up @ poses[0, :3, 2])
    if np.linalg.norm(ahead) < 1e-6:  # it looks straight up or down
        ahead = poses[0, :3, 1] - up * (up @ poses[0, :3, 1])
    ahead /= np.linalg.norm(ahead)
    forward = np.cos(_ELEVATION) * ahead - np.sin(_ELEVATION) * up
    right = np.cross(forward, up) / np.linalg.norm(np.cross(forward, up))
    rotation = np.stack([right, np.cross(forward, right), forward])
    seen = (wanted - wanted.mean(0)) @ rotation.T
    # Far enough back for every point to lie within the image's half width and half height.
    half = _MARGIN * np.array(size_px) / 2 / np.diag(intrinsics)[:2]
    back = max(1.5, float((np.abs(seen[:, :2]) / half - seen[:, 2:]).max()))
    result = np.eye(4)
    result[:3, :3] = rotation
    result[:3, 3] = -rotation @ wanted.mean(0) + [0, 0, back]
    return result


def _pelvises(reconstruction: Reconstruction) -> list[np.ndarray]:
    """Where people are in the frames in which they are seen; the surroundings where there is nobody."""
    people = [person.joints_world[person.present, 0].astype(np.float64) for person in reconstruction.people]
    if any(len(places) for places in people):
        return people
    return [reconstruction.points_world(0)[::8, ::8].reshape(-1, 3).astype(np.float64)]


def _size_of(scene: PointCloud, points_camera: np.ndarray, focal_px: float) -> int:
    """Pixels that a point has to cover for a surface to look closed, up to 6."""
    if not len(scene):
        return 2
    distance = np.median(np.abs(points_camera[:, 2]))
    return int(np.clip(np.ceil(focal_px * surface_spacing(scene.points_world) / distance), 2, 6))


def _frustum(cameras: Cameras, moment: int, depth_m: float = 0.3) -> list[Float[np.ndarray, "points 3"]]:
    """Lines of the clip's camera in the world: its image, and the way to two opposite corners through its centre."""
    width, height = cameras.width_px, cameras.height_px
    pixels = np.array([[0, 0, 1], [width, 0, 1], [width, height, 1], [0, height, 1]], float)
    corners = depth_m * pixels @ np.linalg.inv(cameras.intrinsics[moment].astype(np.float64)).T
    pose = cameras.world_from_camera[moment].astype(np.float64)
    center, corners = np.zeros((1, 3)), corners
    lines = [corners[[0, 1, 2, 3, 0]], *(np.concatenate([corners[[k]], center, corners[[k + 2]]]) for k in (0, 1))]
    return [_moved(pose, line) for line in lines]


def _moved(matrix: np.ndarray, points: np.ndarray) -> Float[np.ndarray, "points 3"]:
    return points.astype(np.float64) @ matrix[:3, :3].T + matrix[:3, 3]
