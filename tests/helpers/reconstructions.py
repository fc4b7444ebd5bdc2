"""A small reconstruction with known geometry: a tilted wall, a sliding camera, people who walk."""

import numpy as np

from unish.structures import Cameras, Person, Provenance, Reconstruction


def make_reconstruction(frames: int = 5, people: int = 1, height: int = 24, width: int = 32) -> Reconstruction:
    """Deterministic; the camera slides 10 cm a frame to the right, each person walks 20 cm a frame."""
    generator = np.random.default_rng(0)
    cameras = np.tile(np.eye(4, dtype=np.float32), (frames, 1, 1))
    cameras[:, 0, 3] = 0.1 * np.arange(frames)
    intrinsics = np.tile(np.float32([[30, 0, width / 2], [0, 30, height / 2], [0, 0, 1]]), (frames, 1, 1))
    depth = np.broadcast_to(np.linspace(4, 6, width, dtype=np.float32), (frames, height, width)).copy()
    mask = np.zeros((frames, height, width), np.uint8)
    for index in range(people):
        mask[:, 8:16, 4 + 8 * index : 8 + 8 * index] = index + 1
    return Reconstruction(
        images=generator.integers(0, 255, (frames, height, width, 3), np.uint8),
        depth_m=depth,
        confidence=generator.random((frames, height, width), np.float32),
        person_mask=mask,
        cameras=Cameras(cameras, intrinsics, width, height),
        people=tuple(_make_person(index, frames, generator) for index in range(people)),
        faces=np.int32([[0, 1, 2], [0, 2, 3], [0, 3, 1], [1, 3, 2]]),
        times_s=np.arange(frames) / 6,
        fps=6.0,
        world_up=np.float32([0, -1, 0]),
        provenance=Provenance("made up.mp4", "mini", "boxes", "open", "cpu", 0, "0", 1.5, ("a doubt",)),
    )


def _make_person(index: int, frames: int, generator: np.random.Generator) -> Person:
    walk = np.zeros((frames, 3), np.float32)
    walk[:, 0] = 0.2 * np.arange(frames) + index
    walk[:, 2] = 3
    tetrahedron = np.float32([[0, -0.5, 0], [0.3, 0.5, 0], [-0.3, 0.5, 0.2], [0, 0.5, -0.4]])
    return Person(
        id=index + 1,
        name=f"Person {index + 1}",
        present=np.ones(frames, bool),
        confidence=np.ones(frames, np.float32),
        boxes_px=np.tile(np.float32([4, 8, 8, 16]), (frames, 1)),
        betas=np.zeros(10, np.float32),
        body_rotations=np.tile(np.eye(3, dtype=np.float32), (frames, 24, 1, 1)),
        translation_camera=walk,
        root_rotation_world=np.tile(np.eye(3, dtype=np.float32), (frames, 1, 1)),
        translation_world=walk,
        joints_world=walk[:, None] + 0.2 * generator.standard_normal((1, 24, 3), np.float32),
        vertices_world=walk[:, None] + tetrahedron,
    )
