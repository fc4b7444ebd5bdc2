"""A small room with a person walking through it, rendered by formula; and a Chromium that may not use the network."""

from collections.abc import Callable

import numpy as np
import pytest

from unish.structures import Cameras, Person, Provenance, Reconstruction

RADII = np.array([0.25, 0.85, 0.2])  # of the ellipsoid that stands for a body, metres
CENTER_Y, CENTER_Z, FLOOR_Y = 0.55, 3.0, 1.4
PLANES = [  # a room: (axis, where, colour)
    (1, FLOOR_Y, (150, 120, 90)),
    (2, 5.0, (120, 150, 190)),
    (0, -2.4, (190, 140, 120)),
    (0, 2.4, (130, 180, 140)),
    (1, -1.6, (225, 225, 220)),
]


def ellipsoid(center: np.ndarray, rows: int = 16, columns: int = 24) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (V, 3) and faces (F, 3) around a centre."""
    polar, turn = np.meshgrid(
        np.linspace(0, np.pi, rows), np.linspace(0, 2 * np.pi, columns, endpoint=False), indexing="ij"
    )
    unit = np.stack([np.sin(polar) * np.cos(turn), -np.cos(polar), np.sin(polar) * np.sin(turn)], -1)
    index = np.arange(rows * columns).reshape(rows, columns)
    beside = np.roll(index, -1, axis=1)
    faces = np.concatenate(
        [
            np.stack([index[:-1], index[1:], beside[:-1]], -1).reshape(-1, 3),
            np.stack([beside[:-1], index[1:], beside[1:]], -1).reshape(-1, 3),
        ]
    )
    return (unit * RADII + center).reshape(-1, 3), faces


def walking_room(
    frames: int = 12, names: tuple[str, ...] = ("Person 1",), height: int = 96, width: int = 128, fps: float = 6.0
) -> Reconstruction:
    """People (ellipsoids) cross the room from left to right; the camera slides right and points forward."""
    focal = 0.9 * width
    intrinsics = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]], np.float32)
    j, i = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    rays = np.stack([(j - width / 2) / focal, (i - height / 2) / focal, np.ones_like(j)], -1)
    poses = np.tile(np.eye(4, dtype=np.float32), (frames, 1, 1))
    poses[:, 0, 3] = np.linspace(0, 0.6, frames)
    walk = np.linspace(-1.2, 1.2, frames)
    centers = np.array(
        [[[x, CENTER_Y, CENTER_Z + 0.9 * person] for x in (walk if person % 2 == 0 else -walk)]
         for person in range(len(names))]
    ).reshape(len(names), frames, 3)  # fmt: skip
    images = np.zeros((frames, height, width, 3), np.uint8)
    depth = np.zeros((frames, height, width), np.float32)
    mask = np.zeros((frames, height, width), np.uint8)
    for frame in range(frames):
        images[frame], depth[frame], mask[frame] = _render(rays, poses[frame, :3, 3], centers[:, frame])
    faces = ellipsoid(np.zeros(3))[1]
    return Reconstruction(
        images=images,
        depth_m=depth,
        confidence=np.broadcast_to(np.linspace(0.05, 1, width, dtype=np.float32), depth.shape).copy(),
        person_mask=mask,
        cameras=Cameras(poses, np.tile(intrinsics, (frames, 1, 1)), width, height),
        people=tuple(_person(index, name, centers[index]) for index, name in enumerate(names)),
        faces=faces,
        times_s=np.arange(frames) / fps,
        fps=fps,
        world_up=np.array([0, -1, 0], np.float32),
        provenance=Provenance("room.mp4", "none", "none", "ellipsoid", "cpu", 0, "0", 1.0),
    )


def _render(rays: np.ndarray, origin: np.ndarray, centers: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    depth = np.full(rays.shape[:2], np.inf)
    color, mask = np.zeros(rays.shape), np.zeros(rays.shape[:2])
    for axis, where, rgb in PLANES:
        with np.errstate(divide="ignore"):
            hit = (where - origin[axis]) / rays[..., axis]
        closer = (hit > 0) & (hit < depth)
        depth[closer] = hit[closer]
        checks = np.floor((origin + rays * hit[..., None])[closer] * 2 + 1e-6).sum(-1) % 2
        color[closer] = np.array(rgb) * (0.85 + 0.15 * checks[:, None])
    for person, center in enumerate(centers):
        a = ((rays / RADII) ** 2).sum(-1)
        b = ((rays / RADII) * ((origin - center) / RADII)).sum(-1)
        inside = b**2 - a * ((((origin - center) / RADII) ** 2).sum() - 1)
        hit = (-b - np.sqrt(np.maximum(inside, 0))) / a
        closer = (inside > 0) & (hit < depth)
        depth[closer], mask[closer], color[closer] = hit[closer], person + 1, (70, 60, 110)
    return color.astype(np.uint8), depth.astype(np.float32), mask.astype(np.uint8)


def _person(index: int, name: str, centers: np.ndarray) -> Person:
    frames = len(centers)
    eye = np.tile(np.eye(3, dtype=np.float32), (frames, 24, 1, 1))
    centers = centers.astype(np.float32)
    return Person(
        id=index + 1,
        name=name,
        present=np.ones(frames, bool),
        confidence=np.ones(frames, np.float32),
        boxes_px=np.tile(np.array([0, 0, 10, 10], np.float32), (frames, 1)),
        betas=np.zeros(10, np.float32),
        body_rotations=eye,
        translation_camera=centers,
        root_rotation_world=eye[:, 0],
        translation_world=centers,
        joints_world=np.repeat(centers[:, None], 24, axis=1),
        vertices_world=(ellipsoid(np.zeros(3))[0] + centers[:, None]).astype(np.float32),
    )


@pytest.fixture(scope="session")
def room() -> Callable[..., Reconstruction]:
    return walking_room
