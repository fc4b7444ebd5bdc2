"""A clip as the training stages see it: the network's inputs, as inference would make them, and the labels."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from train.data.augment import take_frames
from train.data.batches import StageBatch
from train.data.schema import ClipSample
from unish.video.preprocess import FrameTransform, crop_people, fit_frames

SMALLEST_BOX_PX = 4.0


@dataclass(frozen=True)
class ViewConfig:
    """Which part of a clip a stage sees, and at what size."""

    frames: int = 30
    """Most consecutive frames (paper: 30, which is 5 s at 6 fps)."""
    long_side_px: int | None = None
    """Longer side of the images in pixels; None takes the network's own (paper: 518)."""
    most_people: int = 3
    """Most people; drawn at random where there are more."""
    min_visibility: float = 0.3
    """A person counts as visible in a frame from this share of its silhouette on."""
    min_share: float = 0.5
    """Share of the frames in which a person must be visible."""


def stage_batch(
    sample: ClipSample, view: ViewConfig, long_side_px: int, patch_size: int, rng: np.random.Generator
) -> StageBatch | None:
    """A stretch of one clip as a batch of one; None where nobody is visible for long enough.

    The longer side of the images is `view.long_side_px`, else `long_side_px`, and both sides are multiples of
    `patch_size`.
    """
    start = int(rng.integers(0, max(1, sample.frames - view.frames + 1)))
    window = take_frames(sample, np.arange(start, min(start + view.frames, sample.frames)))
    sides = window.boxes_px[..., 2:] - window.boxes_px[..., :2]
    seen = (window.visibility >= view.min_visibility) & (sides.min(-1) > SMALLEST_BOX_PX)
    people = np.flatnonzero(seen.mean(1) >= view.min_share)
    if not len(people):
        return None
    people = np.sort(rng.permutation(people)[: view.most_people])
    images, frame = fit_frames(window.images, view.long_side_px or long_side_px, patch_size)
    shown = [_nearest_seen(row) for row in seen[people]]
    boxes = np.stack([window.boxes_px[p][order] for p, order in zip(people, shown, strict=True)])
    crops = [crop_people(window.images[order], box) for order, box in zip(shown, boxes, strict=True)]
    label_of = np.zeros(sample.people + 1, np.uint8)
    label_of[people + 1] = np.arange(1, len(people) + 1)
    size = window.images.shape[1:3]
    return StageBatch(
        images=images[None],
        depth_m=_batch_of_one(frame.map_masks(window.depth_m, size)),
        person_mask=_batch_of_one(label_of[frame.map_masks(window.person_mask, size)]),
        intrinsics=_batch_of_one(_intrinsics(window.intrinsics, frame)),
        crops=torch.stack(crops)[None],
        boxes_px=frame.map_boxes(torch.from_numpy(boxes).float())[None],
        seen=_batch_of_one(seen[people].astype(np.float32)),
        body_rotations=_batch_of_one(window.body_rotations[people]),
        translation_camera=_batch_of_one(window.translation_camera[people]),
        betas=_batch_of_one(window.betas[people]),
        joints_px=frame.map_points(torch.from_numpy(window.joints_px[people]).float())[None],
        fps=torch.tensor([window.fps]),
    )


def _batch_of_one(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))[None]


def _nearest_seen(seen: np.ndarray) -> np.ndarray:
    """For each frame the nearest one in which the person is visible: what inference shows the human branch."""
    frames = np.flatnonzero(seen)
    return frames[np.abs(np.arange(len(seen))[:, None] - frames).argmin(axis=1)]


def _intrinsics(intrinsics: np.ndarray, frame: FrameTransform) -> np.ndarray:
    """Intrinsics of the clip's pixels, in pixels of the network's frame."""
    scaled = intrinsics * np.array([[frame.scale], [frame.scale], [1]], np.float32)
    scaled[:, :2, 2] -= [frame.offset_x_px, frame.offset_y_px]
    return scaled.astype(np.float32)
