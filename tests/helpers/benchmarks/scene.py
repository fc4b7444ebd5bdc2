"""A tilted wall seen by a camera that turns and moves; metres, OpenCV axes, pixel centres at (j + ½, i + ½)."""

import io
import shutil
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.spatial.transform import Rotation

from unish.evaluation.benchmark import BenchmarkSequence

WIDTH, HEIGHT, FOCAL_PX = 48, 36, 40.0
NORMAL_WORLD, OFFSET_M = np.array([-0.3, 0.1, 1.0]), 4.0
"""The wall is where NORMAL · x = OFFSET."""


def cameras(frames: int) -> np.ndarray:
    """World-from-camera (frames, 4, 4)."""
    share = 0.5 * np.sin(np.arange(frames) / 3)
    matrices = np.tile(np.eye(4), (frames, 1, 1))
    matrices[:, :3, :3] = Rotation.from_euler("yxz", np.stack([share, -share / 2, share / 3], -1)).as_matrix()
    matrices[:, :3, 3] = np.stack([0.2 * share, -0.1 * share, 0.4 * share], -1)
    return matrices


def intrinsics(corner: float = 0.5) -> np.ndarray:
    """With `corner` 0, as most data sets store them: for pixel centres at (j, i)."""
    shift = 0.5 - corner
    return np.array([[FOCAL_PX, 0, WIDTH / 2 - shift], [0, FOCAL_PX, HEIGHT / 2 - shift], [0, 0, 1]])


def wall_depth_m(world_from_camera: np.ndarray) -> np.ndarray:
    """Depth of the wall at every pixel, along the camera's axis."""
    u, v = np.meshgrid(np.arange(WIDTH) + 0.5, np.arange(HEIGHT) + 0.5)
    rays = np.stack([(u - WIDTH / 2) / FOCAL_PX, (v - HEIGHT / 2) / FOCAL_PX, np.ones_like(u)], -1)
    rays_world = rays @ world_from_camera[:3, :3].T
    return (OFFSET_M - NORMAL_WORLD @ world_from_camera[:3, 3]) / (rays_world @ NORMAL_WORLD)


def rgb(frame: int) -> np.ndarray:
    """Red grows to the right, green downwards, blue with the frame: smooth, so that JPEG keeps it."""
    columns, rows = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
    return np.stack([columns * 5, rows * 7, np.full_like(rows, 20 * (frame % 10))], -1).astype(np.uint8)


def encoded(image: np.ndarray, kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, kind, **({"quality": 98} if kind == "JPEG" else {}))
    return buffer.getvalue()


def write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def assert_wall(sequence: BenchmarkSequence) -> None:
    """A point of the wall, through the sequence's camera, lies in the pixel that shows it, at the depth it has."""
    for frame in range(sequence.frames):
        world_from_camera, depth_m = sequence.world_from_camera[frame], sequence.depth_m(frame)
        camera_from_world = np.linalg.inv(world_from_camera)
        for row, column in ((5, 7), (20, 40), (30, 11)):
            depth = depth_m[row, column]
            centre_px = np.array([column + 0.5, row + 0.5, 1])
            point_world = (world_from_camera @ [*(np.linalg.inv(sequence.intrinsics[frame]) @ centre_px * depth), 1])[
                :3
            ]
            assert abs(NORMAL_WORLD @ point_world - OFFSET_M) < 1e-3
            seen = sequence.intrinsics[frame] @ (camera_from_world @ [*point_world, 1])[:3]
            np.testing.assert_allclose(seen[:2] / seen[2], centre_px[:2], atol=1e-6)


def assert_sentence(error: BaseException, page: str) -> None:
    """One line, saying what to download from where."""
    text = str(error)
    assert "\n" not in text and text.endswith(".") and page in text, text
    assert "Errno" not in text and "Traceback" not in text


def fresh_copy(folder: Path, place: Path) -> Path:
    """A folder to break."""
    return Path(shutil.copytree(folder, place / folder.name))
