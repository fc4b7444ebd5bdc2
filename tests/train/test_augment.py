"""Augmented clips stay true to themselves: pictures, depth, cameras and bodies move together."""

import dataclasses

import cv2
import numpy as np
import pytest
import torch

from train.data.augment import (
    centred_view,
    fit_inside,
    mirror,
    mirror_view,
    random_view,
    sample_view,
    shrink,
    take_frames,
)
from train.data.pretrain_batches import (
    CropSettings,
    ViewSettings,
    batch_of_views,
    box_info,
    human_batch,
    scene_batch,
    square_crop,
)
from unish.body import open_body
from unish.body.data import MIRRORED_JOINTS
from unish.geometry.camera import project
from unish.video.preprocess import bbox_info, crop_people


def pixel_of_a_world_point(clip, frame: int, point: np.ndarray) -> np.ndarray:
    camera = np.linalg.inv(clip.world_from_camera[frame]) @ np.append(point, 1.0)
    return (clip.intrinsics[frame] @ camera[:3])[:2] / camera[2]


def joints(body, clip) -> torch.Tensor:
    betas = torch.from_numpy(clip.betas)[:, None]
    return body(betas, torch.from_numpy(clip.body_rotations), torch.from_numpy(clip.translation_camera)).joints


def test_a_mirrored_body_has_mirrored_joints(clips):
    body = open_body()
    clip = dataclasses.replace(clips[0], betas=np.zeros((1, 10), np.float32))
    offset = body.pelvis_offset(torch.from_numpy(clip.betas)).numpy()
    found, expected = joints(body, mirror(clip, offset)), joints(body, clip)[:, :, list(MIRRORED_JOINTS)]
    expected = expected * torch.tensor([-1.0, 1.0, 1.0])
    assert (found - expected).norm(dim=-1).max() < 0.01  # the template itself is symmetric to a few millimetres
    unswapped = mirror(
        dataclasses.replace(clip, body_rotations=clip.body_rotations[:, :, list(MIRRORED_JOINTS)]), offset
    )
    assert (joints(body, unswapped) - expected).norm(dim=-1).max() > 0.05


def test_mirroring_twice_changes_nothing(clips):
    offset = np.array([[0.01, -0.2, 0.03]], np.float32)
    again = mirror(mirror(clips[0], offset), offset)
    for field in dataclasses.fields(clips[0]):
        if isinstance(getattr(clips[0], field.name), np.ndarray):
            np.testing.assert_allclose(getattr(again, field.name), getattr(clips[0], field.name), atol=1e-5)


def test_a_mirrored_clip_sees_the_mirrored_world(clips):
    clip = clips[0]
    flipped = mirror(clip, np.zeros((1, 3), np.float32))
    point = np.array([0.3, -0.2, 4.0])
    for frame in range(clip.frames):
        pixel = pixel_of_a_world_point(clip, frame, point)
        seen = pixel_of_a_world_point(flipped, frame, point * [-1, 1, 1])
        np.testing.assert_allclose(seen, [clip.images.shape[2] - pixel[0], pixel[1]], rtol=1e-4)


def test_a_turned_and_zoomed_camera_sees_the_same_world(clips):
    clip = take_frames(clips[1], np.array([4, 0, 2]))
    turns = np.stack([cv2.Rodrigues(np.array(v))[0] for v in ([0.03, 0.02, 0.05], [0.0, -0.04, 0.0], [0.0, 0.0, 0.0])])
    view = sample_view(clip, turns.astype(np.float32), 150.0, 98, 70)
    batch = batch_of_views([view], ViewSettings())
    # Points of the new view, carried to the world and back into the stored frame, meet the stored depth.
    for frame in range(3):
        points = batch.points_camera[0, frame].reshape(-1, 3).numpy()
        points = points[points[:, 2] > 0]
        world = points @ view.world_from_camera[frame, :3, :3].T + view.world_from_camera[frame, :3, 3]
        stored_from_world = np.linalg.inv(clip.world_from_camera[frame])
        stored = (world @ stored_from_world[:3, :3].T + stored_from_world[:3, 3]).astype(np.float32)
        uv = project(torch.from_numpy(stored), torch.from_numpy(clip.intrinsics[frame])).numpy()
        column, row = np.floor(uv).astype(int).T
        inside = (column >= 0) & (column < 112) & (row >= 0) & (row < 84)
        assert inside.mean() > 0.99
        depth = clip.depth_m[frame][row[inside], column[inside]]
        assert np.median(np.abs(depth - stored[inside, 2])) < 0.01
    bright = view.images[1].mean(-1) > 250
    agree = (bright == (view.person_mask[1] > 0)).mean()
    assert agree > 0.97  # nearest and bilinear sampling differ along the outline only


def test_views_keep_sizes_and_never_leave_the_image(clips):
    rng = np.random.default_rng(0)
    for width, height in ((98, 56), (56, 98), (70, 70)):
        view = centred_view(clips[0], width, height)
        assert view.images.shape == (6, height, width, 3)
        assert view.focal_px == pytest.approx(fit_inside(clips[0], width, height))
        outside = (random_view(clips[0], width, height, rng).depth_m[:, height // 4 :] == 0).mean()
        assert outside < 0.05
    batch = batch_of_views([mirror_view(centred_view(clips[0], 98, 56))], ViewSettings())
    plain = batch_of_views([centred_view(clips[0], 98, 56)], ViewSettings())
    mean_x, plain_mean_x = (item.points_camera[..., 0].mean().item() for item in (batch, plain))
    assert mean_x == pytest.approx(-plain_mean_x, abs=1e-3)


def test_a_shrunk_clip_sees_the_same_world(clips):
    small = shrink(clips[0], 56)
    assert small.images.shape == (6, 42, 56, 3) and shrink(clips[0], 112) is clips[0]
    point = np.array([0.3, -0.2, 4.0])
    large_pixel, small_pixel = (pixel_of_a_world_point(clip, 1, point) for clip in (clips[0], small))
    np.testing.assert_allclose(small_pixel, large_pixel / 2, rtol=1e-5)
    np.testing.assert_allclose(small.boxes_px, clips[0].boxes_px / 2)
    assert small.depth_m[0, 40, 20] == pytest.approx(clips[0].depth_m[0, 80:82, 40:42].mean(), rel=0.02)


def test_crops_are_those_of_the_pipeline(clips):
    image, box = clips[0].images[2], clips[0].boxes_px[0, 2]
    reference = crop_people(image[None], box[None])[0].permute(1, 2, 0).numpy()
    assert np.abs(square_crop(image, box) / 255 - reference).mean() < 2 / 255
    info = bbox_info(torch.from_numpy(box), torch.tensor(90.0), 112, 84)
    np.testing.assert_allclose(box_info(box, 112, 84, 90.0), info.numpy(), rtol=1e-6)


def test_batches_are_functions_of_clips_and_generator(clips):
    settings = ViewSettings(sizes=((56, 42),), frames=(3,), images_per_batch=6)
    for draw in (
        lambda rng: scene_batch(clips, settings, rng),
        lambda rng: human_batch(clips, CropSettings(crops_per_batch=4), rng),
    ):
        first, second, other = (draw(np.random.default_rng(seed)) for seed in (5, 5, 6))
        names = [field.name for field in dataclasses.fields(first) if getattr(first, field.name) is not None]
        assert all(torch.equal(getattr(first, name), getattr(second, name)) for name in names)
        assert any(not torch.equal(getattr(first, name), getattr(other, name)) for name in names)
        assert all(torch.isfinite(getattr(first, name)).all() for name in names)
