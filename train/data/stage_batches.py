"""A clip as the training stages see it: what inference would give the network, and the labels beside it."""

from dataclasses import dataclass

import numpy as np
import torch

from train.data.augment import take_frames
from train.data.pretrain_batches import Batch
from train.data.schema import ClipSample
from unish.video.preprocess import FrameTransform, crop_people, fit_frames

SMALLEST_BOX_PX = 4.0


@dataclass(frozen=True)
class ViewConfig:
    """How a clip is shown."""

    frames: int = 30
    """Frames at most, one after the other (paper: 30, 5 s at 6 a second)."""
    long_side_px: int | None = None
    """Longer side of the pictures; None takes the network's own (paper: 518)."""
    most_people: int = 3
    """People at most; drawn at random where there are more."""
    min_visibility: float = 0.3
    """Less of a person does not count as seen."""
    min_share: float = 0.5
    """Share of the frames in which a person must be seen."""


def stage_batch(
    sample: ClipSample, view: ViewConfig, long_side_px: int, patch_size: int, rng: np.random.Generator
) -> Batch | None:
    """A stretch of one clip as a batch of one; None where nobody is seen long enough.

    images (1,F,3,H,W) 0..1; depth_m (1,F,H,W) 0 = unknown; person_mask (1,F,H,W) label p + 1 for person p of the batch;
    intrinsics (1,F,3,3) pixels; crops (1,P,F,3,256,256); boxes_px (1,P,F,4); seen (1,P,F) 0 or 1; body_rotations,
    translation_camera, betas as in `ClipSample`; joints_px (1,P,F,24,2), NaN unknown; fps (1,).
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
    labels = np.zeros(sample.people + 1, np.uint8)
    labels[people + 1] = np.arange(1, len(people) + 1)
    size = window.images.shape[1:3]
    arrays = {
        "depth_m": frame.map_masks(window.depth_m, size),
        "person_mask": labels[frame.map_masks(window.person_mask, size)],
        "intrinsics": _intrinsics(window.intrinsics, frame),
        "seen": seen[people].astype(np.float32),
        "body_rotations": window.body_rotations[people],
        "translation_camera": window.translation_camera[people],
        "betas": window.betas[people],
    }
    tensors = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}
    tensors |= {
        "images": images,
        "crops": torch.stack(crops),
        "boxes_px": frame.map_boxes(torch.from_numpy(boxes).float()),
        "joints_px": frame.map_points(torch.from_numpy(window.joints_px[people]).float()),
        "fps": torch.tensor(window.fps),
    }
    return {name: tensor[None] for name, tensor in tensors.items()}


def _nearest_seen(seen: np.ndarray) -> np.ndarray:
    """For each frame the nearest one in which the person is seen: what inference shows the human branch."""
    frames = np.flatnonzero(seen)
    return frames[np.abs(np.arange(len(seen))[:, None] - frames).argmin(axis=1)]


def _intrinsics(intrinsics: np.ndarray, frame: FrameTransform) -> np.ndarray:
    """Intrinsics of the clip's pixels, in pixels of the network's frame."""
    scaled = intrinsics * np.array([[frame.scale], [frame.scale], [1]], np.float32)
    scaled[:, :2, 2] -= [frame.offset_x_px, frame.offset_y_px]
    return scaled.astype(np.float32)
