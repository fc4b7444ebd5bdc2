"""A network that knows the answer: ground truth in network units, with the ambiguities that the pipeline must undo."""

import dataclasses
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from unish.body import BodyModel
from unish.body.lbs import move_translation
from unish.geometry.camera import intrinsics_from_focal, unproject_depth
from unish.geometry.metric import clip_norm
from unish.geometry.rotations import axis_angle_to_matrix
from unish.geometry.transforms import invert_rigid, relative_to_first, rigid
from unish.models.config import MINI
from unish.models.scene_branch import SceneFeatures
from unish.models.unish import PeopleFeatures
from unish.structures import Clip, PersonTrack

HEIGHT, WIDTH, PATCH = 56, 70, 14


@dataclass(frozen=True)
class Truth:
    """A still wall and a walking person, seen by a camera that turns and climbs; metres, world = first camera."""

    focal_px: float
    depth_m: Tensor
    world_from_camera: Tensor
    root_world: Tensor
    translation_world: Tensor
    body_pose: Tensor
    betas: Tensor


def make_truth(frames: int = 6) -> Truth:
    generator = torch.Generator().manual_seed(3)
    time = torch.linspace(0, 1, frames)
    turn = axis_angle_to_matrix(torch.stack([0.5 * time, -0.7 * time, 0.1 * time], -1))
    place = torch.stack([1.5 * time, -0.8 * time, 0.3 * time], -1)
    facing = torch.stack([torch.full_like(time, torch.pi), 0.4 * time, 0 * time], -1)
    return Truth(
        focal_px=64.0,
        depth_m=3 + 2 * torch.rand(frames, HEIGHT, WIDTH, generator=generator),
        world_from_camera=relative_to_first(rigid(turn, place)),
        root_world=axis_angle_to_matrix(facing),
        translation_world=torch.stack([0.5 - time, 0.2 * time, 4 + 0 * time], -1),
        body_pose=axis_angle_to_matrix(0.3 * torch.randn(frames, 23, 3, generator=generator)),
        betas=0.8 * torch.randn(10, generator=generator),
    )


class OracleNetwork(nn.Module):
    """Ground truth divided by `unit_m`, with every depth `shift_m` too small and the cameras moved to match."""

    weights_name = "oracle"

    def __init__(
        self, truth: Truth, body: BodyModel, unit_m: float = 2.5, shift_m: float = 0.6, focal_gain: float = 1.0
    ) -> None:
        super().__init__()
        self.anchor = nn.Parameter(torch.zeros(()))
        pinhole = {"ray_prior": False, "focal_gain": focal_gain}
        scene = dataclasses.replace(MINI.scene, image_long_side_px=WIDTH, patch_size=PATCH, **pinhole)
        self.config = dataclasses.replace(MINI, scene=scene)
        self.truth, self.body, self.unit_m, self.shift_m = truth, body, unit_m, shift_m

    def scene(self, images: Tensor) -> SceneFeatures:
        truth = self.truth
        assert images.shape[1:] == (len(truth.depth_m), 3, HEIGHT, WIDTH)
        intrinsics = intrinsics_from_focal(torch.tensor(truth.focal_px), WIDTH, HEIGHT)
        points = unproject_depth(truth.depth_m, intrinsics)
        points[..., 2] -= self.shift_m
        cameras = truth.world_from_camera.clone()
        cameras[:, :3, 3] += self.shift_m * cameras[:, :3, 2]
        cameras = relative_to_first(cameras)
        cameras[:, :3, 3] /= self.unit_m
        confidence = torch.ones(1, *truth.depth_m.shape)
        hidden = torch.zeros(1, len(points), 1, 1)
        return SceneFeatures(points[None] / self.unit_m, confidence, confidence, cameras[None], cameras[None], hidden)

    def people(self, features: SceneFeatures, crops: Tensor, bbox_info: Tensor, fps: float) -> PeopleFeatures:
        truth, count = self.truth, crops.shape[1]
        camera_from_world = invert_rigid(truth.world_from_camera)
        turn = camera_from_world[:, :3, :3]
        offset = self.body.pelvis_offset(truth.betas)
        translation = move_translation(turn, camera_from_world[:, :3, 3], truth.translation_world, offset)
        translation = (translation - torch.tensor([0, 0, self.shift_m])) / self.unit_m
        rotations = torch.cat([(turn @ truth.root_world)[:, None], truth.body_pose], dim=1)
        scale = clip_norm(features.points_camera, features.confidence) * self.unit_m
        return PeopleFeatures(
            scale=scale[:, None].expand(-1, count),
            translation_camera=translation[None, None].expand(-1, count, -1, -1),
            body_rotations=rotations[None, None].expand(-1, count, -1, -1, -1, -1),
            betas=truth.betas[None, None].expand(-1, count, -1),
            human_tokens=torch.zeros(1, count, len(turn), 1),
        )


def make_clip(frames: int = 6) -> Clip:
    pictures = np.random.default_rng(0).integers(0, 255, (frames, 4 * HEIGHT, 4 * WIDTH, 3), np.uint8)
    return Clip(pictures, np.arange(frames) / 6, 6.0, "oracle.mp4", (4 * WIDTH, 4 * HEIGHT))


def make_track(frames: int = 6, absent: tuple[int, ...] = (), person: int = 1) -> PersonTrack:
    present = np.ones(frames, bool)
    present[list(absent)] = False
    masks = np.zeros((frames, HEIGHT, WIDTH), bool)
    masks[:, 20:40, 30:40] = True
    boxes = np.tile(np.array([120.0, 80, 160, 160]), (frames, 1))
    return PersonTrack(person, boxes, present, np.ones(frames, np.float32), masks)
