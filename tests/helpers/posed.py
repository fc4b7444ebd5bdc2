"""A reconstruction with the real open body: a floor and a wall, a tilted camera that moves, people who walk and wave.

Everything agrees: bodies in the world and in the camera, masks, depth and colours with what the camera sees.
"""

import functools

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from unish.body import BodyModel, move_translation, open_body
from unish.structures import Cameras, Person, Provenance, Reconstruction

WALL_M = 7.0
"""The wall stands across y at this distance from the origin; the floor is z = 0."""
FPS = 6.0
SKIN = np.float32([[200, 120, 80], [80, 120, 200], [120, 200, 90], [190, 90, 190]])


@functools.cache
def shared_open_body() -> BodyModel:
    return open_body()


def make_posed(
    frames: int = 6, people: int = 2, height: int = 60, width: int = 80, body: BodyModel | None = None
) -> Reconstruction:
    """Deterministic. All but the first person are absent from the middle third of the frames.

    `body` is the open body unless another is given; `provenance.body` bears its name.
    """
    body = body or shared_open_body()
    world_from_camera = _cameras(frames)
    intrinsics = np.tile(np.float32([[70, 0, width / 2], [0, 70, height / 2], [0, 0, 1]]), (frames, 1, 1))
    cameras = Cameras(world_from_camera.astype(np.float32), intrinsics, width, height)
    walkers = tuple(_person(index, frames, cameras, body) for index in range(people))
    pictures = [_seen(frame, cameras, walkers, body.faces.numpy()) for frame in range(frames)]
    images, depth_m, person_mask = (np.stack(parts) for parts in zip(*pictures, strict=True))
    return Reconstruction(
        images=images,
        depth_m=depth_m,
        confidence=np.random.default_rng(0).uniform(0.3, 1, depth_m.shape).astype(np.float32),
        person_mask=person_mask,
        cameras=cameras,
        people=walkers,
        faces=body.faces.numpy().astype(np.int32),
        times_s=0.5 + np.arange(frames) / FPS,
        fps=FPS,
        world_up=np.float32([0, 0, 1]),
        provenance=Provenance("walk.mp4", "mini", "boxes", body.name, "cpu", 0, "0", 1.5, source_fps=FPS),
    )


def _cameras(frames: int) -> np.ndarray:
    """The first looks along +y, 14° down; then it turns, rolls and moves."""
    share = np.linspace(0, 1, frames)
    level = np.float64([[1, 0, 0], [0, 0, 1], [0, -1, 0]])  # camera's x, y, z as columns, looking along +y
    cameras = np.tile(np.eye(4), (frames, 1, 1))
    pitch_deg, yaw_deg, roll_deg = -14 + 4 * share, 12 * share, 5 * np.sin(2 * share)
    for frame in range(frames):
        turn = Rotation.from_euler("ZX", [yaw_deg[frame], pitch_deg[frame]], degrees=True).as_matrix()
        roll = Rotation.from_euler("z", roll_deg[frame], degrees=True).as_matrix()
        cameras[frame, :3, :3] = turn @ level @ roll
        cameras[frame, :3, 3] = [0.4 * share[frame], 0.2 * share[frame], 1.6]
    return cameras


def _person(index: int, frames: int, cameras: Cameras, body: BodyModel) -> Person:
    random = np.random.default_rng(100 + index)
    share = np.linspace(0, 1, frames)
    swing = random.normal(0, 0.35, (2, 24, 3)) * np.where(np.arange(24) == 0, 0.15, 1)[:, None]
    vectors = swing[0] + np.sin(2 * share + index)[:, None, None] * swing[1]
    rotations = Rotation.from_rotvec(vectors.reshape(-1, 3)).as_matrix().reshape(frames, 24, 3, 3)
    # Upright (body y to world z), then turned about the vertical, the second person through more than half a turn.
    yaw_rad = 0.4 + 3.5 * index + (1.2 + 2.5 * index) * share
    yaw = Rotation.from_rotvec(yaw_rad[:, None] * [0, 0, 1])
    rotations[:, 0] = yaw.as_matrix() @ Rotation.from_euler("x", 90, degrees=True).as_matrix() @ rotations[:, 0]
    betas = torch.from_numpy(random.normal(0, 0.8, 10).astype(np.float32))
    turns = torch.from_numpy(rotations.astype(np.float32))
    place = np.stack([-0.7 + 1.5 * index + 0.5 * share, 3.6 + 0.4 * index - 0.3 * share, 0.92 + 0 * share], -1)
    translation = torch.from_numpy(place.astype(np.float32))
    with torch.no_grad():
        posed = body(betas, turns, translation)
    camera_from_world = torch.linalg.inv(torch.from_numpy(cameras.world_from_camera).double()).float()
    turn, shift = camera_from_world[:, :3, :3], camera_from_world[:, :3, 3]
    in_camera = torch.cat([(turn @ turns[:, 0])[:, None], turns[:, 1:]], dim=1)
    vertices_camera = posed.vertices @ turn.mT + shift[:, None]
    pixels = vertices_camera @ torch.from_numpy(cameras.intrinsics).mT
    pixels = pixels[..., :2] / pixels[..., 2:]
    present = np.ones(frames, bool)
    if index:
        present[frames // 3 : frames - frames // 3] = False
    return Person(
        id=index + 1,
        name=f"Person {index + 1}",
        present=present,
        confidence=present.astype(np.float32),
        boxes_px=torch.cat([pixels.amin(1), pixels.amax(1)], dim=-1).numpy(),
        betas=betas.numpy(),
        body_rotations=in_camera.numpy(),
        translation_camera=move_translation(turn, shift, translation, body.pelvis_offset(betas)).numpy(),
        root_rotation_world=turns[:, 0].numpy().copy(),
        translation_world=translation.numpy(),
        joints_world=posed.joints.numpy(),
        vertices_world=posed.vertices.numpy(),
    )


def _seen(
    frame: int, cameras: Cameras, people: tuple[Person, ...], faces: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(image, depth, mask): rays to floor and wall, and before them the people who are present, a dot a face."""
    height, width = cameras.height_px, cameras.width_px
    world_from_camera, intrinsics = cameras.world_from_camera[frame].astype(np.float64), cameras.intrinsics[frame]
    v, u = np.mgrid[:height, :width] + 0.5
    rays = np.stack([u, v, np.ones_like(u)], -1) @ np.linalg.inv(intrinsics.astype(np.float64)).T
    rays_world, center = rays @ world_from_camera[:3, :3].T, world_from_camera[:3, 3]
    to_wall = (WALL_M - center[1]) / rays_world[..., 1]
    to_floor = np.where(rays_world[..., 2] < -1e-6, -center[2] / np.minimum(rays_world[..., 2], -1e-6), np.inf)
    depth = np.minimum(to_wall, to_floor)
    points = center + depth[..., None] * rays_world
    squares = np.floor(points * 2 + 1e-6).astype(int).sum(-1) % 2
    floor = to_floor < to_wall
    image = np.where(floor[..., None], [90, 110, 60], [170, 160, 140]) + 40 * squares[..., None]
    mask = np.zeros((height, width), np.uint8)
    camera_from_world = np.linalg.inv(world_from_camera)
    for index, person in enumerate(people):
        if not person.present[frame]:
            continue
        vertices = person.vertices_world[frame] @ camera_from_world[:3, :3].T + camera_from_world[:3, 3]
        dots = np.concatenate([vertices, vertices[faces].mean(1)])
        columns, rows = np.floor((dots @ intrinsics.T)[:, :2] / dots[:, 2:]).astype(int).T
        inside = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
        near = np.full((height, width), np.inf)
        np.minimum.at(near, (rows[inside], columns[inside]), dots[inside, 2])
        nearer = near < depth
        depth = np.where(nearer, near, depth)
        mask[nearer] = index + 1
        image = np.where(nearer[..., None], SKIN[index % len(SKIN)], image)
    return image.clip(0, 255).astype(np.uint8), depth.astype(np.float32), mask
