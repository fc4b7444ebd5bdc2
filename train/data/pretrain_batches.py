"""Clips to training batches: each batch is a function of the clips and a random generator, nothing else.

A loop that draws its generator from (seed, step) can therefore stop anywhere and go on with the same batches.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from train.data.augment import (
    View,
    centred_look,
    color_jitter,
    degrade,
    mirror,
    mirror_pose,
    mirror_view,
    random_look,
    take_frames,
)
from train.data.schema import ClipSample
from unish.body import BodyModel
from unish.geometry.camera import intrinsics_from_focal, unproject_depth
from unish.video.preprocess import CROP_SIZE_PX, crop_people

Batch = dict[str, Tensor]
Clips = Sequence[ClipSample]


@dataclass(frozen=True)
class ViewSettings:
    """How clips are shown to the scene branch."""

    sizes: tuple[tuple[int, int], ...] = ((112, 84), (112, 84), (112, 70), (98, 98), (84, 112), (70, 112))
    """(width, height) of a batch, multiples of the patch size; picked at random."""
    frames: tuple[int, ...] = (2, 4, 4, 8)
    """Frames of a clip; picked at random for each batch."""
    images_per_batch: int = 8
    """Clips of a batch = this over its frames."""
    max_depth_m: float = 30.0
    person_weight: float = 2.5
    """How much more a pixel of a person counts."""


LARGE_VIEWS = ViewSettings(
    sizes=((168, 126), (168, 126), (168, 98), (140, 140), (126, 168), (98, 168)), frames=(2, 4, 8, 8)
)
"""The size at which the mini runs."""


@dataclass(frozen=True)
class CropSettings:
    """How people are cut out for the human branch."""

    crops_per_batch: int = 12
    min_visibility: float = 0.5
    min_box_px: float = 36.0
    """Longer side of the box, pixels of the stored frames."""
    shift: float = 0.1
    scale: tuple[float, float] = (0.9, 1.3)
    truncate: float = 0.1
    """Share of crops cut by a border that the picture did not have."""
    erase: float = 0.2
    """Share of crops with something in front."""
    focal_noise: float = 0.1
    """Standard deviation of the log of the focal length that `bbox_info` is told: inference has to guess it."""


def to_device(batch: Batch, device: torch.device) -> Batch:
    """The batch on a device."""
    return {name: value.to(device, non_blocking=True) for name, value in batch.items()}


# --- scene ---------------------------------------------------------------------------------------------------------


def scene_batch(clips: Clips, settings: ViewSettings, rng: np.random.Generator) -> Batch:
    """Frames of random clips as the scene branch sees them, with metric points, weights and cameras."""
    width, height = settings.sizes[rng.integers(len(settings.sizes))]
    frames = settings.frames[rng.integers(len(settings.frames))]
    frames = min(frames, max(len(clip.images) for clip in clips))
    views = []
    for _ in range(max(1, settings.images_per_batch // frames)):
        clip = _clip_of(clips, frames, rng)
        order = rng.permutation(_window(len(clip.images), frames, rng)[0])
        view = random_look(take_frames(clip, order), width, height, rng)
        views.append(mirror_view(view) if rng.random() < 0.5 else view)
    return view_tensors(views, settings, rng)


def view_tensors(views: Sequence[View], settings: ViewSettings, rng: np.random.Generator | None = None) -> Batch:
    """Views of equal size as tensors; in random light where a generator is given."""
    images = np.stack(
        [view.images if rng is None else [degrade(f, rng) for f in color_jitter(view.images, rng)] for view in views]
    )
    depth = torch.from_numpy(np.stack([view.depth_m for view in views])).float()
    focal = torch.tensor([view.focal_px for view in views])
    height, width = depth.shape[-2:]
    intrinsics = intrinsics_from_focal(focal, width, height)[:, None]
    valid = (depth > 0) & (depth < settings.max_depth_m)
    mask = torch.from_numpy(np.stack([view.person_mask for view in views])) > 0
    return {
        "images": torch.from_numpy(images).movedim(-1, 2).float() / 255,
        "points_camera": unproject_depth(depth, intrinsics),
        "intrinsics": intrinsics,
        "weight": valid * torch.where(mask, settings.person_weight, 1.0),
        "world_from_camera": torch.from_numpy(np.stack([view.world_from_camera for view in views])).float(),
    }


def _clip_of(clips: Clips, frames: int, rng: np.random.Generator) -> ClipSample:
    """A random clip of at least so many frames, or any where those are rare."""
    clip = clips[int(rng.integers(len(clips)))]
    for _ in range(500):
        if len(clip.images) >= frames:
            break
        clip = clips[int(rng.integers(len(clips)))]
    return clip


def _window(length: int, frames: int, rng: np.random.Generator) -> tuple[np.ndarray, int]:
    """`frames` indices at a random even stride from a random start (repeated at the end of too short clips)."""
    stride = int(rng.integers(1, max(1, min(4, (length - 1) // max(frames - 1, 1))) + 1))
    start = int(rng.integers(0, max(1, length - stride * (frames - 1))))
    return np.minimum(start + stride * np.arange(frames), length - 1), stride


# --- people --------------------------------------------------------------------------------------------------------


def human_batch(clips: Clips, settings: CropSettings, rng: np.random.Generator) -> Batch:
    """Crops of random people at random moments, with what they are to be taken for."""
    examples = [_example(clips, settings, rng) for _ in range(settings.crops_per_batch)]
    batch = {name: torch.from_numpy(np.stack([example[name] for example in examples])) for name in examples[0]}
    crops = batch.pop("crops").movedim(-1, 1).float() / 255
    return {"crops": crops} | {name: value.float() for name, value in batch.items()}


def _example(clips: Clips, settings: CropSettings, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """One crop and its labels. `crop_from_camera` (3, 3) projects camera points (of the mirrored world, where
    `side` is −1) to crop pixels; `translation` is that of the body before any mirroring; `focal_told` is the focal
    length behind `bbox_info` over the true one."""
    clip, person, frame = _someone(clips, settings, rng)
    height, width = clip.images.shape[1:3]
    intrinsics = clip.intrinsics[frame]
    box = _clipped(clip.boxes_px[person, frame], width, height)
    image = clip.images[frame]
    if rng.random() < settings.truncate:
        image, box = _truncated(image, box, rng)
    box = _jittered(box, settings, rng)
    crop = square_crop(image, box)
    crop = _erased(crop, rng) if rng.random() < settings.erase else crop
    crop = degrade(color_jitter(crop, rng), rng)
    told = float(np.exp(rng.normal(0, settings.focal_noise)))
    info = box_info(box, width, height, float(intrinsics[0, 0]) * told)
    rotations = clip.body_rotations[person, frame]
    crop_from_camera = np.linalg.inv(np.vstack([_picture_from_crop(box), [0, 0, 1]])) @ intrinsics
    side = 1.0 if rng.random() < 0.5 else -1.0
    if side < 0:
        crop, info, rotations = crop[:, ::-1], info * np.array([-1, 1, 1]), mirror_pose(rotations)
        flip = np.array([[-1, 0, CROP_SIZE_PX], [0, 1, 0], [0, 0, 1]])
        crop_from_camera = flip @ crop_from_camera @ np.diag([-1, 1, 1])
    return {
        "crops": crop,
        "bbox_info": info,
        "body_rotations": rotations,
        "betas": clip.betas[person],
        "translation": clip.translation_camera[person, frame],
        "crop_from_camera": crop_from_camera,
        "side": np.array(side),
        "focal_told": np.array(told),
    }


def _someone(clips: Clips, settings: CropSettings, rng: np.random.Generator) -> tuple[ClipSample, int, int]:
    """A clip, a person and a frame where enough of the person is seen."""
    for _ in range(200):
        clip = clips[int(rng.integers(len(clips)))]
        if len(clip.betas) == 0:
            continue
        person, frame = int(rng.integers(len(clip.betas))), int(rng.integers(len(clip.images)))
        height, width = clip.images.shape[1:3]
        box = _clipped(clip.boxes_px[person, frame], width, height)
        large = max(box[2] - box[0], box[3] - box[1]) >= settings.min_box_px
        if large and clip.visibility[person, frame] >= settings.min_visibility:
            return clip, person, frame
    raise ValueError("Expected clips with people to be seen, found none in 200 tries. Check the data.")


def square_crop(image: np.ndarray, box_px: np.ndarray) -> np.ndarray:
    """The crop of `unish.video.preprocess.crop_people`, faster and in uint8: (256, 256, 3)."""
    size = (CROP_SIZE_PX, CROP_SIZE_PX)
    return cv2.warpAffine(image, _picture_from_crop(box_px), size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)


def _picture_from_crop(box_px: np.ndarray) -> np.ndarray:
    """(2, 3): where in the picture each pixel of the box's crop is taken from."""
    center, side = (box_px[:2] + box_px[2:]) / 2, max(*(box_px[2:] - box_px[:2]), 1e-3)
    step = side / CROP_SIZE_PX
    start = center - CROP_SIZE_PX / 2 * step
    return np.array([[step, 0, start[0]], [0, step, start[1]]])


def box_info(box_px: np.ndarray, width: int, height: int, focal_px: float) -> np.ndarray:
    """CameraHMR's [cx − W/2, cy − H/2, b] / f of one box."""
    x0, y0, x1, y1 = box_px
    return np.array([(x0 + x1 - width) / 2, (y0 + y1 - height) / 2, max(x1 - x0, y1 - y0)]) / focal_px


def _clipped(box_px: np.ndarray, width: int, height: int) -> np.ndarray:
    """What a finder sees of a box that reaches out of the picture."""
    return np.clip(box_px, 0, [width, height, width, height])


def _jittered(box: np.ndarray, settings: CropSettings, rng: np.random.Generator) -> np.ndarray:
    side = max(box[2] - box[0], box[3] - box[1])
    center = (box[:2] + box[2:]) / 2 + side * rng.uniform(-settings.shift, settings.shift, size=2)
    half = (box[2:] - box[:2]) / 2 * rng.uniform(*settings.scale)
    return np.concatenate([center - half, center + half])


def _truncated(image: np.ndarray, box: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The picture black beyond a line through the lower, left or right part of the person, and the box cut there."""
    side, part = rng.choice(["below", "below", "left", "right"]), rng.uniform(0.1, 0.45)
    image, box = image.copy(), box.copy()
    if side == "below":
        box[3] -= part * (box[3] - box[1])
        image[int(box[3]) :] = 0
    elif side == "left":
        box[0] += part * (box[2] - box[0])
        image[:, : int(box[0])] = 0
    else:
        box[2] -= part * (box[2] - box[0])
        image[:, int(box[2]) :] = 0
    return image, box


def _erased(crop: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A rectangle or ellipse of one colour or of noise in front of the person."""
    size = crop.shape[0]
    center = rng.uniform(0.15, 0.85, size=2) * size
    half = rng.uniform(0.04, 0.22, size=2) * size
    shape = np.zeros(crop.shape[:2], np.uint8)
    if rng.random() < 0.5:
        cv2.ellipse(shape, (tuple(center), tuple(2 * half), float(rng.uniform(0, 180))), 1, -1)
    else:
        (x0, y0), (x1, y1) = (center - half).astype(int), (center + half).astype(int)
        shape[max(y0, 0) : y1, max(x0, 0) : x1] = 1
    cover = rng.integers(256, size=3 if rng.random() < 0.7 else crop.shape, dtype=np.uint8)
    return np.where(shape[..., None] > 0, cover, crop)


# --- scale and place -------------------------------------------------------------------------------------------------


def align_window(
    clips: Clips, frames: int, stride: int, size: tuple[int, int], body: BodyModel, rng: np.random.Generator
) -> tuple[View, Tensor, Tensor, Tensor, Tensor, float]:
    """A stretch of a random clip with one of its people, as inference would see both.

    Returns the view, crops (frames,3,256,256), boxes (frames,4) in the view's pixels, SMPL translations (frames,3) in
    metres, visibility (frames,) and frames a second. Frames keep their order; half of the windows are mirrored.
    """
    clip = _clip_of(clips, stride * (frames - 1) + 1, rng)
    while len(clip.betas) == 0:
        clip = _clip_of(clips, stride * (frames - 1) + 1, rng)
    start = int(rng.integers(0, max(1, len(clip.images) - stride * (frames - 1))))
    order = np.minimum(start + stride * np.arange(frames), len(clip.images) - 1)
    window = take_frames(clip, order, fps=clip.fps / stride)
    if rng.random() < 0.5:
        window = mirror(window, body.pelvis_offset(torch.from_numpy(window.betas)).numpy())
    person = int(rng.integers(len(clip.betas)))
    view = centred_look(window, *size)
    ratio = view.focal_px / float(window.intrinsics[0, 0, 0])
    source_height, source_width = window.images.shape[1:3]
    boxes = _clipped(window.boxes_px[person], source_width, source_height)
    crops = crop_people(window.images, boxes.astype(np.float32))
    corner = np.array([source_width, source_height] * 2) / 2
    boxes_view = (boxes - corner) * ratio + np.array([*size, *size]) / 2
    return (
        view,
        crops,
        torch.from_numpy(boxes_view).float(),
        torch.from_numpy(window.translation_camera[person]).float(),
        torch.from_numpy(window.visibility[person]).float(),
        window.fps,
    )
