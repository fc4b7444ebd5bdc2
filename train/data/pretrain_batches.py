"""Batches for pretraining, drawn from clips in memory: each is a function of the clips and a random generator alone.

A loop that seeds its generator from (seed, step) can therefore stop anywhere and resume with the same batches.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from train.data.augment import (
    SampleView,
    centred_view,
    color_jitter,
    degrade,
    mirror,
    mirror_pose,
    mirror_view,
    random_view,
    take_frames,
)
from train.data.batches import HumanBatch, RelativeDepthBatch, SceneBatch
from train.data.schema import ClipSample
from unish.body import BodyModel
from unish.errors import InputError
from unish.geometry import CROP_SIZE_PX
from unish.geometry.camera import intrinsics_from_focal, unproject_depth
from unish.video.preprocess import crop_people

Clips = Sequence[ClipSample]


@dataclass(frozen=True)
class ViewSettings:
    """Sizes, frame counts and pixel weights of the scene branch's batches."""

    sizes: tuple[tuple[int, int], ...] = ((112, 84), (112, 84), (112, 70), (98, 98), (84, 112), (70, 112))
    """(width, height) of a batch in pixels, multiples of the patch size; one is drawn at random."""
    frames: tuple[int, ...] = (2, 4, 4, 8)
    """Frames per clip; one count is drawn at random for each batch."""
    images_per_batch: int = 8
    """A batch holds this many images: with more frames per clip, fewer clips."""
    max_depth_m: float = 30.0
    """Pixels beyond this depth have no weight."""
    real_images_per_batch: int = 8
    """Frames of real clips with a teacher's depth, where there are any: two per clip."""
    person_weight: float = 2.5
    """Weight of a person's pixels, relative to the rest."""


_ASPECT_DRAWS = 6
"""Clips that are drawn for a view, of which the one of the nearest aspect is taken."""
LARGE_VIEWS = ViewSettings(
    sizes=((168, 126), (168, 126), (168, 98), (140, 140), (126, 168), (98, 168)), frames=(2, 4, 8, 8)
)
"""The input size of the mini model at inference."""


@dataclass(frozen=True)
class CropSettings:
    """How people are cropped for the human branch, and how the crops are augmented."""

    crops_per_batch: int = 12
    real_crops_per_batch: int = 12
    """Crops of real people with labelled keypoints, where there are any."""
    min_visibility: float = 0.5
    """Smallest visible share of the person's silhouette."""
    min_box_px: float = 36.0
    """Smallest longer side of the box, in pixels of the stored frames."""
    shift: float = 0.1
    """Largest random shift of the box's centre, as a share of its longer side."""
    scale: tuple[float, float] = (0.9, 1.3)
    """Range of the random factor on the box's size."""
    truncate: float = 0.1
    """Share of crops truncated by an artificial image border."""
    erase: float = 0.2
    """Share of crops with an artificial occluder."""
    focal_noise: float = 0.1
    """Standard deviation of the log error of the focal length in `bbox_info`: at inference it is an estimate."""


# --- scene ---------------------------------------------------------------------------------------------------------


def scene_batch(clips: Clips, settings: ViewSettings, rng: np.random.Generator) -> SceneBatch:
    """Frames of random clips, in random order, as the scene branch sees them; with metric points and cameras."""
    width, height = settings.sizes[rng.integers(len(settings.sizes))]
    frames = settings.frames[rng.integers(len(settings.frames))]
    frames = min(frames, max(len(clip.images) for clip in clips))
    views = []
    for _ in range(max(1, settings.images_per_batch // frames)):
        clip = _clip_of_aspect(clips, frames, width / height, rng)
        order = rng.permutation(_random_frames(len(clip.images), frames, rng))
        view = random_view(take_frames(clip, order), width, height, rng)
        views.append(mirror_view(view) if rng.random() < 0.5 else view)
    return batch_of_views(views, settings, rng)


def batch_of_views(
    views: Sequence[SampleView], settings: ViewSettings, rng: np.random.Generator | None = None
) -> SceneBatch:
    """Views of equal size as one batch; their colours and sharpness are augmented where a generator is given."""
    images = np.stack(
        [view.images if rng is None else [degrade(f, rng) for f in color_jitter(view.images, rng)] for view in views]
    )
    depth_m = torch.from_numpy(np.stack([view.depth_m for view in views])).float()
    focal_px = torch.tensor([view.focal_px for view in views])
    height, width = depth_m.shape[-2:]
    intrinsics = intrinsics_from_focal(focal_px, width, height)[:, None]
    valid = (depth_m > 0) & (depth_m < settings.max_depth_m)
    on_person = torch.from_numpy(np.stack([view.person_mask for view in views])) > 0
    return SceneBatch(
        images=torch.from_numpy(images).movedim(-1, 2).float() / 255,
        points_camera=unproject_depth(depth_m, intrinsics),
        intrinsics=intrinsics,
        weight=valid * torch.where(on_person, settings.person_weight, 1.0),
        world_from_camera=torch.from_numpy(np.stack([view.world_from_camera for view in views])).float(),
    )


def relative_depth_batch(clips: Clips, settings: ViewSettings, rng: np.random.Generator) -> RelativeDepthBatch:
    """Pairs of frames of real clips with a teacher's depth: a random part of each at a random zoom, every second pair
    mirrored, with augmented colours and sharpness."""
    width, height = settings.sizes[rng.integers(len(settings.sizes))]
    images, depths = [], []
    for _ in range(max(1, settings.real_images_per_batch // 2)):
        clip = clips[int(rng.integers(len(clips)))]
        pair = np.resize(rng.permutation(len(clip.images)), 2)
        cut, flip = _random_part(clip.images.shape[2], clip.images.shape[1], width, height, rng)
        shown = np.stack([cv2.resize(i[cut], (width, height), interpolation=cv2.INTER_AREA) for i in clip.images[pair]])
        depth_m = [cv2.resize(d[cut].astype(np.float32), (width, height)) for d in clip.depth_m[pair]]
        images.append([degrade(image, rng) for image in color_jitter(shown[:, :, ::flip], rng)])
        depths.append(np.stack(depth_m)[:, :, ::flip])
    depth = torch.from_numpy(np.stack(depths))
    return RelativeDepthBatch(
        images=torch.from_numpy(np.stack(images)).movedim(-1, 2).float() / 255,
        inverse_depth=torch.where(depth > 0, 1 / depth.clamp(min=1e-3), 0.0),
    )


def _random_part(
    source_width: int, source_height: int, width: int, height: int, rng: np.random.Generator
) -> tuple[tuple[slice, slice], int]:
    """Rows and columns of a random part of the frame with the aspect ratio of width × height, and −1 for mirrored."""
    zoom = float(rng.uniform(0.55, 1.0)) if rng.random() < 0.6 else 1.0
    scale = zoom * min(source_width / width, source_height / height)
    part_width, part_height = round(scale * width), round(scale * height)
    x = int(rng.integers(source_width - part_width + 1))
    y = int(rng.integers(source_height - part_height + 1))
    return (slice(y, y + part_height), slice(x, x + part_width)), -1 if rng.random() < 0.5 else 1


def _random_clip(clips: Clips, frames: int, rng: np.random.Generator) -> ClipSample:
    """A random clip of at least that many frames, or any clip where those are rare."""
    clip = clips[int(rng.integers(len(clips)))]
    for _ in range(500):
        if len(clip.images) >= frames:
            break
        clip = clips[int(rng.integers(len(clips)))]
    return clip


def _clip_of_aspect(clips: Clips, frames: int, aspect: float, rng: np.random.Generator) -> ClipSample:
    """A random clip of about that width over height. A view of another aspect is a narrow part of its clip: its lens
    is longer than those of whole frames, which is what inference sees."""
    drawn = [_random_clip(clips, frames, rng) for _ in range(_ASPECT_DRAWS)]
    return min(drawn, key=lambda clip: abs(np.log(clip.images.shape[2] / clip.images.shape[1] / aspect)))


def _random_frames(length: int, frames: int, rng: np.random.Generator) -> np.ndarray:
    """`frames` indices with a random stride from a random start; the last one repeats where the clip is too short."""
    stride = int(rng.integers(1, max(1, min(4, (length - 1) // max(frames - 1, 1))) + 1))
    start = int(rng.integers(0, max(1, length - stride * (frames - 1))))
    return np.minimum(start + stride * np.arange(frames), length - 1)


# --- people --------------------------------------------------------------------------------------------------------


class _CropExample(NamedTuple):
    """One crop and its labels, named as in `HumanBatch`."""

    crop: np.ndarray
    bbox_info: np.ndarray
    body_rotations: np.ndarray
    betas: np.ndarray
    translation_camera: np.ndarray
    crop_from_camera: np.ndarray
    side: np.ndarray
    focal_ratio: np.ndarray


def human_batch(clips: Clips, settings: CropSettings, rng: np.random.Generator) -> HumanBatch:
    """Crops of random people in random frames, with their SMPL parameters."""
    examples = [_random_example(clips, settings, rng) for _ in range(settings.crops_per_batch)]
    crops, *labels = (torch.from_numpy(np.stack(values)) for values in zip(*examples, strict=True))
    fields: dict[str, Any] = dict(zip(_CropExample._fields[1:], (label.float() for label in labels), strict=True))
    return HumanBatch(crops=crops.movedim(-1, 1).float() / 255, **fields)


def _random_example(clips: Clips, settings: CropSettings, rng: np.random.Generator) -> _CropExample:
    clip, person, frame = _random_person(clips, settings, rng)
    height, width = clip.images.shape[1:3]
    intrinsics = clip.intrinsics[frame]
    box = _clipped(clip.boxes_px[person, frame], width, height)
    image = clip.images[frame]
    if rng.random() < settings.truncate:
        image, box = _truncated(image, box, rng)
    box = jittered(box, settings, rng)
    crop = square_crop(image, box)
    crop = occluded(crop, rng) if rng.random() < settings.erase else crop
    crop = degrade(color_jitter(crop, rng), rng)
    focal_ratio = float(np.exp(rng.normal(0, settings.focal_noise)))
    info = box_info(box, width, height, float(intrinsics[0, 0]) * focal_ratio)
    rotations = clip.body_rotations[person, frame]
    crop_from_camera = np.linalg.inv(np.vstack([image_from_crop(box), [0, 0, 1]])) @ intrinsics
    side = 1.0 if rng.random() < 0.5 else -1.0
    if side < 0:
        crop, info, rotations = crop[:, ::-1], info * np.array([-1, 1, 1]), mirror_pose(rotations)
        flip = np.array([[-1, 0, CROP_SIZE_PX], [0, 1, 0], [0, 0, 1]])
        crop_from_camera = flip @ crop_from_camera @ np.diag([-1, 1, 1])
    return _CropExample(
        crop=crop,
        bbox_info=info,
        body_rotations=rotations,
        betas=clip.betas[person],
        translation_camera=clip.translation_camera[person, frame],
        crop_from_camera=crop_from_camera,
        side=np.array(side),
        focal_ratio=np.array(focal_ratio),
    )


def _random_person(clips: Clips, settings: CropSettings, rng: np.random.Generator) -> tuple[ClipSample, int, int]:
    """A clip, and a person and a frame of it where enough of the person is visible."""
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
    raise InputError("Expected clips with visible people, found none in 200 tries. Check the data set.")


def square_crop(image: np.ndarray, box_px: np.ndarray) -> np.ndarray:
    """The crop of `unish.video.preprocess.crop_people`, faster and in uint8: (256, 256, 3)."""
    size = (CROP_SIZE_PX, CROP_SIZE_PX)
    return cv2.warpAffine(image, image_from_crop(box_px), size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)


def image_from_crop(box_px: np.ndarray) -> np.ndarray:
    """(2, 3) affine transform from pixels of the box's crop to pixels of the image."""
    center, side = (box_px[:2] + box_px[2:]) / 2, max(*(box_px[2:] - box_px[:2]), 1e-3)
    step = side / CROP_SIZE_PX
    start = center - CROP_SIZE_PX / 2 * step
    return np.array([[step, 0, start[0]], [0, step, start[1]]])


def box_info(box_px: np.ndarray, width: int, height: int, focal_px: float) -> np.ndarray:
    """CameraHMR's [cx − W/2, cy − H/2, b] / f of one box."""
    x0, y0, x1, y1 = box_px
    return np.array([(x0 + x1 - width) / 2, (y0 + y1 - height) / 2, max(x1 - x0, y1 - y0)]) / focal_px


def _clipped(box_px: np.ndarray, width: int, height: int) -> np.ndarray:
    """The part of a box inside the image, which is all that a detector sees."""
    return np.clip(box_px, 0, [width, height, width, height])


def jittered(box: np.ndarray, settings: CropSettings, rng: np.random.Generator) -> np.ndarray:
    """The box moved and resized at random, as a detector would draw it less exactly."""
    side = max(box[2] - box[0], box[3] - box[1])
    center = (box[:2] + box[2:]) / 2 + side * rng.uniform(-settings.shift, settings.shift, size=2)
    half = (box[2:] - box[:2]) / 2 * rng.uniform(*settings.scale)
    return np.concatenate([center - half, center + half])


def _truncated(image: np.ndarray, box: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The image blackened below, left or right of a line through the person, and the box cut there."""
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


def occluded(crop: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The crop with a rectangle or ellipse, of one colour or of noise, in front of the person."""
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


@dataclass(frozen=True)
class AlignWindow:
    """Consecutive frames of a clip and one of its people, as inference would see both."""

    view: SampleView
    crops: Float[Tensor, "frames 3 256 256"]
    boxes_px: Float[Tensor, "frames 4"]
    """In pixels of the view"""
    translation_camera: Float[Tensor, "frames 3"]
    """SMPL translation, metres"""
    visibility: Float[Tensor, "frames"]
    fps: float


def align_window(
    clips: Clips, frames: int, stride: int, size: tuple[int, int], body: BodyModel, rng: np.random.Generator
) -> AlignWindow:
    """Every `stride`-th frame of a random clip, in order, for a view of `size` (width, height) pixels; every second
    window is mirrored."""
    clip = _clip_of_aspect(clips, stride * (frames - 1) + 1, size[0] / size[1], rng)
    while len(clip.betas) == 0:
        clip = _clip_of_aspect(clips, stride * (frames - 1) + 1, size[0] / size[1], rng)
    start = int(rng.integers(0, max(1, len(clip.images) - stride * (frames - 1))))
    order = np.minimum(start + stride * np.arange(frames), len(clip.images) - 1)
    window = take_frames(clip, order, fps=clip.fps / stride)
    if rng.random() < 0.5:
        window = mirror(window, body.pelvis_offset(torch.from_numpy(window.betas)).numpy())
    person = int(rng.integers(len(clip.betas)))
    view = centred_view(window, *size)
    ratio = view.focal_px / float(window.intrinsics[0, 0, 0])
    source_height, source_width = window.images.shape[1:3]
    boxes = _clipped(window.boxes_px[person], source_width, source_height)
    source_centre, view_centre = np.array([source_width, source_height] * 2) / 2, np.array([*size, *size]) / 2
    return AlignWindow(
        view=view,
        crops=crop_people(window.images, boxes.astype(np.float32)),
        boxes_px=torch.from_numpy((boxes - source_centre) * ratio + view_centre).float(),
        translation_camera=torch.from_numpy(window.translation_camera[person]).float(),
        visibility=torch.from_numpy(window.visibility[person]).float(),
        fps=window.fps,
    )
