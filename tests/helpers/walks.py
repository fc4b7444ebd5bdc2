"""A person who walks over a floor before a camera: truth with depth, masks and boxes, and a network that is off."""

import dataclasses

import numpy as np
import torch

from train.synthetic.performers import Wardrobe, perform
from unish.body import BodyModel
from unish.body.data import COCO_LIMBS, SMPL_LIMBS
from unish.export.drawing import Canvas, draw_mesh
from unish.fusion.motion import BodyMotion, posed_person, transformed_motion
from unish.geometry.camera import unproject_depth
from unish.structures import Cameras, PersonTrack, Provenance, Reconstruction

WIDTH, HEIGHT, FOCAL_PX = 96, 128, 110.0


def make_walk(body: BodyModel, frames: int = 8, fps: float = 6.0, people: int = 1, seed: int = 3) -> Reconstruction:
    """The true result of a clip: z up, floor at 0, a camera at 1.4 m that drifts sideways."""
    times = np.arange(frames) / fps
    cameras = torch.eye(4, dtype=torch.float64).repeat(frames, 1, 1)
    cameras[:, :3, :3] = torch.tensor([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]], dtype=torch.float64)
    cameras[:, :3, 3] = torch.tensor([0.0, -4.5, 1.0], dtype=torch.float64)
    cameras[:, 0, 3] += 0.2 * torch.from_numpy(times)
    rng = np.random.default_rng(seed)
    cast = [perform(rng, Wardrobe.of(body), times, ("walk",)) for _ in range(people)]
    intrinsics = np.tile(np.array([[FOCAL_PX, 0, WIDTH / 2], [0, FOCAL_PX, HEIGHT / 2], [0, 0, 1]]), (frames, 1, 1))
    faces = body.faces.numpy()
    depth, mask = _floor(cameras.numpy(), intrinsics), np.zeros((frames, HEIGHT, WIDTH), np.uint8)
    depth = depth.astype(np.float32)
    found = []
    for index, one in enumerate(cast):
        moved = one.moved(np.array([1.1 * index - 0.5 * (people - 1), 0.0]) - one.track.mean(0))
        boxes = np.zeros((frames, 4))
        for frame in range(frames):
            pose = np.linalg.inv(cameras[frame].numpy())
            canvas = Canvas(np.zeros((HEIGHT, WIDTH, 3), np.uint8), depth[frame].copy(), intrinsics[frame])
            draw_mesh(canvas, moved.vertices[frame] @ pose[:3, :3].T + pose[:3, 3], faces, (255, 255, 255))
            covered = canvas.depth_m < depth[frame] - 1e-6
            mask[frame][covered], depth[frame] = index + 1, canvas.depth_m
            pixels = (moved.vertices[frame] @ pose[:3, :3].T + pose[:3, 3]) @ intrinsics[frame].T
            pixels = pixels[:, :2] / pixels[:, 2:]
            boxes[frame] = np.concatenate([pixels.min(0), pixels.max(0)])
        track = PersonTrack(index + 1, boxes, np.ones(frames, bool), np.ones(frames))
        betas = torch.from_numpy(moved.betas).float()
        rotations = torch.from_numpy(moved.rotations).float()
        motion = BodyMotion(betas, rotations, torch.from_numpy(moved.translation).float())
        found.append(posed_person(track, boxes, motion, cameras, body))
    return Reconstruction(
        images=np.zeros((frames, HEIGHT, WIDTH, 3), np.uint8),
        depth_m=depth,
        confidence=np.ones_like(depth),
        person_mask=mask,
        cameras=Cameras(cameras.float().numpy(), intrinsics.astype(np.float32), WIDTH, HEIGHT),
        people=tuple(found),
        faces=faces.astype(np.int32),
        times_s=times,
        fps=fps,
        world_up=np.array([0, 0, 1], np.float32),
        provenance=Provenance("walk.mp4", "truth", "truth", body.name, "cpu", 0, "0", 1.0),
    )


def displaced(
    scene: Reconstruction, body: BodyModel, offset_m=(0.2, 0.1, 0.5), jitter_m: float = 0.0
) -> Reconstruction:
    """The same with all bodies displaced in each frame's camera (right, down, away)."""
    rng, people = np.random.default_rng(1), []
    cameras = torch.from_numpy(scene.cameras.world_from_camera.astype(np.float64))
    for person in scene.people:
        off = np.array(offset_m) + jitter_m * rng.standard_normal((len(scene), 3))
        translation = torch.from_numpy(person.translation_camera + off).float()
        motion = BodyMotion(torch.from_numpy(person.betas), torch.from_numpy(person.body_rotations), translation)
        track = PersonTrack(person.id, person.boxes_px, person.present, person.confidence)
        people.append(posed_person(track, person.boxes_px, transformed_motion(motion, cameras, body), cameras, body))
    return dataclasses.replace(scene, people=tuple(people))


def joints_px(scene: Reconstruction, index: int) -> np.ndarray:
    """(frames, 24, 2) where the cameras see a person's joints."""
    camera_from_world = np.linalg.inv(scene.cameras.world_from_camera.astype(np.float64))
    joints = scene.people[index].joints_world @ camera_from_world[:, :3, :3].swapaxes(1, 2)
    pixels = (joints + camera_from_world[:, None, :3, 3]) @ scene.cameras.intrinsics.swapaxes(1, 2)
    return pixels[..., :2] / pixels[..., 2:]


def with_limbs_seen(scene: Reconstruction, confidence: float) -> Reconstruction:
    """The scene with keypoints on its first person's limbs."""
    keypoints = np.zeros((len(scene), 17, 3), np.float32)
    keypoints[:, list(COCO_LIMBS)] = np.insert(joints_px(scene, 0)[:, list(SMPL_LIMBS)], 2, confidence, axis=-1)
    seen = dataclasses.replace(scene.people[0], keypoints_px=keypoints)
    return dataclasses.replace(scene, people=(seen, *scene.people[1:]))


def root_errors_m(scene: Reconstruction, truth: Reconstruction) -> np.ndarray:
    """(people, frames) distance of pelvises from the true ones, relative to the cameras' own places."""

    def pelvises(result: Reconstruction) -> np.ndarray:
        camera = np.linalg.inv(result.cameras.world_from_camera.astype(np.float64))
        joints = np.stack([person.joints_world[:, 0] for person in result.people])
        return np.einsum("fij,pfj->pfi", camera[:, :3, :3], joints) + camera[:, :3, 3]

    return np.linalg.norm(pelvises(scene) - pelvises(truth), axis=-1)


def _floor(world_from_camera: np.ndarray, intrinsics: np.ndarray) -> np.ndarray:
    """Depth of the floor, and of a wall at 12 m beyond it."""
    ones = torch.ones(len(intrinsics), HEIGHT, WIDTH, dtype=torch.float64)
    rays = unproject_depth(ones, torch.from_numpy(intrinsics)).numpy()
    down = np.einsum("fj,fhwj->fhw", world_from_camera[:, 2, :3], rays)
    height = world_from_camera[:, 2, 3][:, None, None]
    return np.where(down < -1e-3, np.minimum(-height / np.minimum(down, -1e-3), 12.0), 12.0)
