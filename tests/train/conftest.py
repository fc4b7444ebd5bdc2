"""A tiny world for the training tests: clips with exact labels, built without the renderer, and a tiny network."""

import numpy as np
import pytest
import torch

from train.data.schema import ClipSample
from unish.geometry.rotations import axis_angle_to_matrix
from unish.models.config import AlignConfig, HumanConfig, SceneConfig, UniSHConfig


def fake_clip(seed: int, frames: int = 6, width: int = 112, height: int = 84) -> ClipSample:
    """A slanted floor of noise seen by a moving camera, and one person: a bright box with a pose."""
    rng = np.random.default_rng(seed)
    focal = 90.0
    _, i = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    slope = (i - height / 2) / focal
    depth = np.tile((3.0 / (1.0 + 0.5 * slope)).astype(np.float32), (frames, 1, 1))
    images = rng.integers(40, 200, size=(frames, height, width, 3), dtype=np.uint8)
    mask = np.zeros((frames, height, width), np.uint8)
    boxes = np.zeros((1, frames, 4), np.float32)
    for k in range(frames):
        x0 = 30 + 3 * k
        boxes[0, k] = [x0, 10, x0 + 25, 75]
        mask[k, 10:75, x0 : x0 + 25] = 1
        images[k, 10:75, x0 : x0 + 25] = 255
    depth[mask > 0] = 2.0
    depth[:, :4] = 0.0
    world_from_camera = np.tile(np.eye(4, dtype=np.float32), (frames, 1, 1))
    world_from_camera[:, 0, 3] = np.linspace(0, 0.5, frames)
    turns = torch.from_numpy(rng.normal(0, 0.2, size=(frames, 3)).astype(np.float32))
    world_from_camera[:, :3, :3] = axis_angle_to_matrix(turns).numpy()
    pose = torch.from_numpy(rng.normal(0, 0.3, size=(1, frames, 24, 3)).astype(np.float32))
    translation = np.tile(np.array([0.1, 0.2, 2.1], np.float32), (1, frames, 1))
    intrinsics = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]], np.float32)
    return ClipSample(
        clip_id=f"fake-{seed}",
        fps=6.0,
        images=images,
        depth_m=depth,
        person_mask=mask,
        intrinsics=np.tile(intrinsics, (frames, 1, 1)),
        world_from_camera=world_from_camera,
        body_rotations=axis_angle_to_matrix(pose).numpy(),
        translation_camera=translation,
        betas=rng.normal(size=(1, 10)).astype(np.float32),
        boxes_px=boxes,
        visibility=np.ones((1, frames), np.float32),
        joints_px=rng.uniform(10, 70, size=(1, frames, 24, 2)).astype(np.float32),
    )


@pytest.fixture(scope="session")
def clips() -> list[ClipSample]:
    return [fake_clip(seed) for seed in range(3)]


@pytest.fixture(scope="session")
def tiny() -> UniSHConfig:
    """A network that trains a step in milliseconds."""
    return UniSHConfig(
        scene=SceneConfig(
            patch_size=14, image_long_side_px=56, width=32, encoder_depth=1, encoder_heads=2, encoder_registers=0,
            position_grid=4, decoder_depth=2, decoder_heads=2, decoder_registers=2, decoder_layer_scale=0.3,
            head_width=32, head_depth=1, head_heads=2, camera_width=16, mlp_ratio=2.0,
        ),
        human=HumanConfig(
            patch_size=64, patch_padding=0, width=32, depth=1, heads=2, mlp_ratio=2.0, head_width=32, head_depth=1,
            head_heads=2, head_head_width=16, head_hidden=32,
        ),
        align=AlignConfig(width=16, depth=1, heads=2, hidden=16, dropout=0.0),
    )  # fmt: skip
