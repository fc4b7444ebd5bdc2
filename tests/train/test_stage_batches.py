"""A clip as a stage sees it: everything moves with the pictures, and the right people are shown."""

import dataclasses

import numpy as np
import torch
from conftest import fake_clip

from train.data.stage_batches import ViewConfig, stage_batch
from unish.video.preprocess import crop_people, frame_transform


def batch_of(clip, seed=0, **view):
    return stage_batch(clip, ViewConfig(**view), 56, 14, np.random.default_rng(seed))


def crowd(people, frames=6):
    clip = fake_clip(0, frames)
    names = ("body_rotations", "translation_camera", "betas", "boxes_px", "visibility", "joints_px")
    changes = {name: np.repeat(getattr(clip, name), people, 0).copy() for name in names}
    changes["betas"][:, 0] = np.arange(people)
    mask = clip.person_mask.copy()
    for p in range(people):
        mask[:, 20 + 12 * p : 32 + 12 * p][mask[:, 20 + 12 * p : 32 + 12 * p] > 0] = p + 1
    return dataclasses.replace(clip, person_mask=mask, **changes)


def test_shapes():
    shapes = {name: tuple(tensor.shape) for name, tensor in vars(batch_of(fake_clip(0))).items()}
    assert shapes == {
        "images": (1, 6, 3, 42, 56), "depth_m": (1, 6, 42, 56), "person_mask": (1, 6, 42, 56),
        "intrinsics": (1, 6, 3, 3), "crops": (1, 1, 6, 3, 256, 256), "boxes_px": (1, 1, 6, 4), "seen": (1, 1, 6),
        "body_rotations": (1, 1, 6, 24, 3, 3), "translation_camera": (1, 1, 6, 3), "betas": (1, 1, 10),
        "joints_px": (1, 1, 6, 24, 2), "fps": (1,),
    }  # fmt: skip


def test_labels_move_with_the_image_through_resize_and_centre_crop():
    clip = fake_clip(0, width=120, height=84)
    frame = frame_transform(120, 84, 56, 14)
    point = clip.translation_camera[0, 0]
    pixel = clip.intrinsics[0] @ point
    clip.joints_px[0, :, 0] = pixel[:2] / pixel[2]
    clip.joints_px[0, :, 1] = np.nan
    batch = batch_of(clip)
    assert frame.height_px == 42 and frame.offset_x_px > 1
    expected = batch.intrinsics[0, 0] @ torch.from_numpy(point)
    joint = batch.joints_px[0, 0, 0, 0]
    torch.testing.assert_close(joint, expected[:2] / expected[2], atol=1e-3, rtol=0)
    assert batch.joints_px[0, 0, :, 1].isnan().all()
    principal = clip.intrinsics[0, :2, 2] * frame.scale - [frame.offset_x_px, frame.offset_y_px]
    np.testing.assert_allclose(batch.intrinsics[0, 0, :2, 2], principal, atol=1e-4)
    column, row = joint.int().tolist()
    source = frame.unmap_points(torch.tensor([column + 0.5, row + 0.5])).int()
    assert np.abs(source + 0.5 - clip.joints_px[0, 0, 0]).max() < 0.5 / frame.scale + 0.5
    assert batch.depth_m[0, 0, row, column] == clip.depth_m[0, source[1], source[0]]
    x0, _, x1, _ = batch.boxes_px[0, 0, 0].tolist()
    columns = batch.person_mask[0, 0].any(0).nonzero()
    assert abs(columns.min() - x0) < 1 and abs(columns.max() + 1 - x1) < 1
    middle = batch.images[0, 0, :, :, int(x0) + 2 : int(x1) - 2]
    assert middle[:, 8:20].min() > 0.9  # the person is white


def test_absent_frames_show_the_nearest_seen_one():
    clip = fake_clip(0)
    clip.visibility[0] = [0, 1, 1, 1, 0, 0]
    clip.boxes_px[0, [0, 4, 5]] = 0
    batch = batch_of(clip)
    assert batch.seen[0, 0].tolist() == [0, 1, 1, 1, 0, 0]
    order = [1, 1, 2, 3, 3, 3]
    expected = crop_people(clip.images[order], clip.boxes_px[0, order])
    torch.testing.assert_close(batch.crops[0, 0], expected)
    torch.testing.assert_close(batch.boxes_px[0, 0], batch.boxes_px[0, 0, order])


def test_people_seen_too_little_are_left_out_and_labels_renumbered():
    clip = crowd(3)
    clip.visibility[1, :4] = 0.1
    batch = batch_of(clip)
    assert batch.betas[0, :, 0].tolist() == [0, 2]
    frame = frame_transform(112, 84, 56, 14)
    before = frame.map_masks(clip.person_mask, (84, 112))
    np.testing.assert_array_equal(batch.person_mask[0], np.array([0, 1, 0, 2], np.uint8)[before])


def test_nobody_seen_gives_nothing():
    clip = fake_clip(0)
    clip.visibility[:] = 0
    assert batch_of(clip) is None


def test_a_crowd_is_drawn_from_at_random_and_reproducibly():
    clip = crowd(5)
    drawn = [tuple(batch_of(clip, seed, most_people=2).betas[0, :, 0].tolist()) for seed in (*range(12), *range(12))]
    assert drawn[:12] == drawn[12:]
    assert all(len(people) == 2 and people[0] < people[1] for people in drawn)
    assert {person for people in drawn for person in people} == {0, 1, 2, 3, 4}


def test_a_window_of_frames_is_taken():
    clip = fake_clip(0, frames=8)
    clip.translation_camera[0, :, 0] = np.arange(8)
    taken = [batch_of(clip, seed, frames=3).translation_camera[0, 0, :, 0].tolist() for seed in range(40)]
    assert all(frames == [frames[0], frames[0] + 1, frames[0] + 2] for frames in taken)
    assert {frames[0] for frames in taken} == set(range(6))
