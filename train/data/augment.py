"""Augmentation of clips: mirroring, resampling in time, a rotated and zoomed camera, colour, image quality.

All are pure functions, and labels stay consistent with the images.
"""

import dataclasses

import cv2
import numpy as np

from train.data.schema import ClipSample
from unish.body.data import MIRRORED_JOINTS

_FLIP = np.diag([-1.0, 1.0, 1.0]).astype(np.float32)
_FLIP4 = np.diag([-1.0, 1.0, 1.0, 1.0]).astype(np.float32)


_NOISE = np.random.default_rng(0).normal(0, 32, (512, 640, 3)).astype(np.float32)
"""Drawn once: fresh noise for each image would take longer than all other augmentation."""


@dataclasses.dataclass(frozen=True)
class SampleView:
    """Frames of one clip as one virtual camera sees them: what the scene branch learns from."""

    images: np.ndarray
    """(frames, height, width, 3) uint8"""
    depth_m: np.ndarray
    """(frames, height, width), 0 where unknown"""
    person_mask: np.ndarray
    """(frames, height, width) uint8, 0 for nobody"""
    focal_px: float
    """Of a camera with square pixels and a centred principal point"""
    world_from_camera: np.ndarray
    """(frames, 4, 4), metres"""


def mirror(sample: ClipSample, pelvis_offset: np.ndarray) -> ClipSample:
    """The mirrored clip: left and right change places in images, world, cameras and bodies.

    `pelvis_offset` (people, 3) is the body model's J0(β), about which the root rotates, metres. The shape is kept,
    since bodies are nearly symmetric.
    """
    width = sample.images.shape[2]
    intrinsics = sample.intrinsics.copy()
    intrinsics[:, 0, 2] = width - intrinsics[:, 0, 2]
    pelvis = pelvis_offset[:, None]
    boxes = sample.boxes_px.copy()
    boxes[..., [0, 2]] = width - boxes[..., [2, 0]]
    joints = sample.joints_px[..., list(MIRRORED_JOINTS), :]
    joints[..., 0] = width - joints[..., 0]
    return dataclasses.replace(
        sample,
        images=np.ascontiguousarray(sample.images[:, :, ::-1]),
        depth_m=np.ascontiguousarray(sample.depth_m[:, :, ::-1]),
        person_mask=np.ascontiguousarray(sample.person_mask[:, :, ::-1]),
        intrinsics=intrinsics,
        world_from_camera=_FLIP4 @ sample.world_from_camera @ _FLIP4,
        body_rotations=mirror_pose(sample.body_rotations),
        translation_camera=(sample.translation_camera + pelvis) * np.diagonal(_FLIP) - pelvis,
        boxes_px=boxes,
        joints_px=joints,
    )


def mirror_pose(rotations: np.ndarray) -> np.ndarray:
    """Body rotations (…, 24, 3, 3) of the mirrored body: sides swapped, each rotation reflected."""
    return _FLIP @ rotations[..., list(MIRRORED_JOINTS), :, :] @ _FLIP


def mirror_view(view: SampleView) -> SampleView:
    """The mirrored view; its world is mirrored with it."""
    return SampleView(
        np.ascontiguousarray(view.images[:, :, ::-1]),
        np.ascontiguousarray(view.depth_m[:, :, ::-1]),
        np.ascontiguousarray(view.person_mask[:, :, ::-1]),
        view.focal_px,
        _FLIP4 @ view.world_from_camera @ _FLIP4,
    )


def take_frames(sample: ClipSample, frames: np.ndarray, fps: float | None = None) -> ClipSample:
    """The clip with these frames in this order; `fps` is their new rate where they are still in temporal order."""
    per_frame = ("images", "depth_m", "person_mask", "intrinsics", "world_from_camera")
    per_person = ("body_rotations", "translation_camera", "boxes_px", "visibility", "joints_px")
    changes = {name: getattr(sample, name)[frames] for name in per_frame}
    changes |= {name: getattr(sample, name)[:, frames] for name in per_person}
    return dataclasses.replace(sample, **changes, fps=sample.fps if fps is None else fps)


def shrink(sample: ClipSample, long_side_px: int) -> ClipSample:
    """The clip scaled down to a longer side of `long_side_px`, unless it is that small already."""
    height, width = sample.images.shape[1:3]
    ratio = long_side_px / max(height, width)
    if ratio >= 1:
        return sample
    size = (round(width * ratio), round(height * ratio))
    factor = np.array([size[0] / width, size[1] / height], np.float32)

    def nearest(maps: np.ndarray) -> np.ndarray:
        return np.stack([cv2.resize(frame, size, interpolation=cv2.INTER_NEAREST_EXACT) for frame in maps])

    return dataclasses.replace(
        sample,
        images=np.stack([cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in sample.images]),
        depth_m=nearest(sample.depth_m),
        person_mask=nearest(sample.person_mask),
        intrinsics=sample.intrinsics * np.array([[factor[0]], [factor[1]], [1]], np.float32),
        boxes_px=sample.boxes_px * np.tile(factor, 2),
        joints_px=sample.joints_px * factor,
    )


def fit_inside(sample: ClipSample, width: int, height: int, margin: float = 1.0) -> float:
    """The smallest focal length, in pixels of a width × height image, whose view lies inside the clip's frames."""
    source_height, source_width = sample.images.shape[1:3]
    focal = float(sample.intrinsics[:, 0, 0].max())
    return margin * focal * max(width / source_width, height / source_height)


def sample_view(sample: ClipSample, rotations: np.ndarray, focal_px: float, width: int, height: int) -> SampleView:
    """The clip seen by a camera at the same place, but rotated and with another focal length.

    `rotations` (frames, 3, 3) are rotated_from_camera. Exact, since a rotation about the camera's centre reveals
    nothing new: images are resampled bilinearly, depth and masks by the nearest pixel. Depth is 0 outside the frame.
    """
    j, i = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    rays = np.stack([(j - width / 2) / focal_px, (i - height / 2) / focal_px, np.ones_like(j)], -1)
    frames = [
        _sample_frame(image, depth, mask, intrinsics, rays @ rotation, focal_px)
        for image, depth, mask, intrinsics, rotation in zip(
            sample.images, sample.depth_m, sample.person_mask, sample.intrinsics, rotations, strict=True
        )
    ]
    images, depth_m, person_mask = (np.stack(part) for part in zip(*frames, strict=True))
    world_from_camera = sample.world_from_camera.copy()
    world_from_camera[:, :3, :3] = world_from_camera[:, :3, :3] @ rotations.swapaxes(-1, -2)
    return SampleView(images, depth_m, person_mask, focal_px, world_from_camera)


def random_view(
    sample: ClipSample, width: int, height: int, rng: np.random.Generator, max_zoom: float = 1.5
) -> SampleView:
    """A view with random zoom and random rotations, per clip and per frame, as far as the zoom leaves room for them;
    every second view is the centred one, which is what inference sees."""
    if rng.random() < 0.5:
        return centred_view(sample, width, height)
    widest = fit_inside(sample, width, height)
    focal = widest * float(np.exp(rng.uniform(0.0, np.log(max_zoom)))) if rng.random() < 0.75 else widest
    source_height, source_width = sample.images.shape[1:3]
    source_focal = float(sample.intrinsics[:, 0, 0].max())
    room_x = np.arctan(source_width / 2 / source_focal) - np.arctan(width / 2 / focal)
    room_y = np.arctan(source_height / 2 / source_focal) - np.arctan(height / 2 / focal)
    room = 0.85 * np.maximum([room_y, room_x, 0.5 * min(room_x, room_y)], 0.0)
    shake_share = rng.choice([0.0, 0.3, 0.8])  # of the room, for rotations that differ between frames
    frames = len(sample.images)
    angles = (1 - shake_share) * rng.uniform(-room, room) + shake_share * rng.uniform(-room, room, size=(frames, 3))
    rotations = np.stack([cv2.Rodrigues(angle)[0] for angle in angles]).astype(np.float32)
    return sample_view(sample, rotations, focal, width, height)


def centred_view(sample: ClipSample, width: int, height: int) -> SampleView:
    """The middle of the frames, as large as fits: what inference sees."""
    rotations = np.tile(np.eye(3, dtype=np.float32), (len(sample.images), 1, 1))
    return sample_view(sample, rotations, fit_inside(sample, width, height), width, height)


def color_jitter(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """uint8 images (…, height, width, 3) with random channel gains, gamma, contrast and saturation."""
    gain = np.exp(rng.normal(0, 0.12) + rng.normal(0, 0.04, size=3))
    gamma, contrast = np.exp(rng.normal(0, [0.12, 0.1]))
    saturation = np.exp(rng.normal(0, 0.25)) * (rng.random() > 0.04)
    levels = (np.linspace(0, 1, 256)[:, None] ** gamma * gain - 0.5) * contrast + 0.5
    table = np.clip(255 * levels, 0, 255).astype(np.uint8)
    mix = saturation * np.eye(3) + (1 - saturation) / 3
    flat = images.reshape(-1, *images.shape[-2:])
    return cv2.transform(cv2.LUT(flat, table[None]), mix).reshape(images.shape)


def degrade(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One uint8 image (height, width, 3) as from a cheap camera: at times blurred, low-resolution or noisy."""
    height, width = image.shape[:2]
    kind = rng.random()
    if kind < 0.1:
        image = cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.4, 0.5 + 0.008 * width)))
    elif kind < 0.25:
        shrink = float(rng.uniform(0.25, 0.7))
        small = cv2.resize(image, (int(width * shrink), int(height * shrink)), interpolation=cv2.INTER_AREA)
        image = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
    if rng.random() < 0.15:
        row, column = rng.integers(_NOISE.shape[0] - height), rng.integers(_NOISE.shape[1] - width)
        noise = _NOISE[row : row + height, column : column + width]
        image = cv2.addWeighted(image.astype(np.float32), 1.0, noise, float(rng.uniform(0.04, 0.4)), 0)
        image = np.clip(image, 0, 255).astype(np.uint8)
    return image


def _sample_frame(
    image: np.ndarray,
    depth: np.ndarray,
    mask: np.ndarray,
    intrinsics: np.ndarray,
    rays: np.ndarray,
    focal_px: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One frame sampled along `rays` (height, width, 3) of its own camera frame."""
    pixels = rays @ intrinsics.T.astype(np.float64)
    u, v = pixels[..., 0] / pixels[..., 2], pixels[..., 1] / pixels[..., 2]
    height, width = depth.shape
    shrink = float(intrinsics[0, 0]) / focal_px
    if shrink > 1.3:  # an area average first, or fine texture would alias
        image = cv2.resize(image, (round(width / shrink), round(height / shrink)), interpolation=cv2.INTER_AREA)
    scale_x, scale_y = image.shape[1] / width, image.shape[0] / height
    map_x, map_y = (u * scale_x - 0.5).astype(np.float32), (v * scale_y - 0.5).astype(np.float32)
    seen = cv2.remap(image, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    column, row = np.floor(u).astype(np.int64), np.floor(v).astype(np.int64)
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    column, row = column.clip(0, width - 1), row.clip(0, height - 1)
    new_depth = np.where(inside, depth[row, column].astype(np.float32) / rays[..., 2].astype(np.float32), 0)
    return seen, new_depth, np.where(inside, mask[row, column], 0).astype(np.uint8)
