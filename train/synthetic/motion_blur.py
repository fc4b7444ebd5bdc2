"""Blur of what moves while the shutter is open: still things along the camera's way, people along their joints'."""

from __future__ import annotations

import cv2
import numpy as np

_FAR_M, _NEAR_M = 50.0, 0.1
_LONGEST_PX = 80.0
_SPREAD = 0.06
"""How far a joint's motion reaches around it, as a share of the person's size in the image."""
_STEPS = 9


def motion_field_px(
    depth_m: np.ndarray,
    person_mask: np.ndarray,
    joints_px: np.ndarray,
    intrinsics: np.ndarray,
    world_from_camera: np.ndarray,
) -> np.ndarray:
    """How far what each pixel shows moves until the next frame, (frames, height, width, 2); the last frame takes the
    motion before it.

    `depth_m` and `person_mask` (frames, height, width) and `joints_px` (people, frames, 24, 2) as in a `ClipSample`;
    what has no depth counts as far away.
    """
    frames, height, width = depth_m.shape
    field = np.zeros((frames, height, width, 2), np.float32)
    if frames == 1:
        return field
    u, v = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    rays = np.stack([u, v, np.ones_like(u)], -1) @ np.linalg.inv(intrinsics).T
    for k in range(frames):
        first = min(k, frames - 2)
        next_from_this = np.linalg.inv(world_from_camera[first + 1]) @ world_from_camera[first]
        points = rays * np.where(depth_m[k] > 0, depth_m[k], _FAR_M)[..., None]
        moved = points @ next_from_this[:3, :3].T + next_from_this[:3, 3]
        pixels = moved @ intrinsics.T
        field[k] = pixels[..., :2] / np.maximum(pixels[..., 2:], _NEAR_M) - np.stack([u, v], -1)
        for person, joints in enumerate(joints_px):
            rows, columns = np.nonzero(person_mask[k] == person + 1)
            step = joints[first + 1] - joints[first]
            known = np.isfinite(step).all(1) & np.isfinite(joints[k]).all(1)
            if len(rows) and known.any():
                at = np.stack([columns, rows], 1) + 0.5
                field[k, rows, columns] = _spread(at, joints[k][known], step[known])
        field[k] = cv2.GaussianBlur(field[k], (0, 0), 1.5)
    size = np.linalg.norm(field, axis=-1, keepdims=True)
    return field * np.minimum(1.0, _LONGEST_PX / np.maximum(size, 1e-6))


def _spread(points: np.ndarray, joints: np.ndarray, step: np.ndarray) -> np.ndarray:
    """Motion (N,2) of points of a person: that of the joints around each."""
    squared = ((points[:, None] - joints) ** 2).sum(-1)
    reach = _SPREAD * max(float(np.ptp(joints, axis=0).max()), 10.0)
    weight = np.exp(-(squared - squared.min(1, keepdims=True)) / (2 * reach**2))
    return weight @ step / weight.sum(1, keepdims=True)


def blur_along(image: np.ndarray, way_px: np.ndarray) -> np.ndarray:
    """The image (height, width, 3) averaged along each pixel's way (height, width, 2), which is centred on it."""
    if np.abs(way_px).max() < 0.5:
        return image
    height, width = image.shape[:2]
    column, row = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    way_px = way_px.astype(np.float32)
    total = np.zeros_like(image)
    for share in np.linspace(-0.5, 0.5, _STEPS, dtype=np.float32):
        x, y = column + share * way_px[..., 0], row + share * way_px[..., 1]
        total += cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return total / _STEPS
