"""Pictures of a training clip: what the network made of it beside what was labelled."""

import cv2
import numpy as np
import torch

from train.data.schema import ClipSample
from unish.geometry.camera import project
from unish.structures import Reconstruction

COLORS = ((255, 140, 0), (0, 170, 255), (90, 220, 90))


def overview(found: Reconstruction, clip: ClipSample, frames: int = 4) -> np.ndarray:
    """(height, width, 3) uint8: a few frames from left to right; below each other the picture with the bodies'
    vertices drawn on it, the depth that was found, and the depth that was labelled (same colours for the same share of
    each map's median)."""
    chosen = np.linspace(0, len(found.images) - 1, min(frames, len(found.images))).round().astype(int)
    height, width = found.images.shape[1:3]
    columns = []
    for k in chosen:
        labelled = cv2.resize(clip.depth_m[k].astype(np.float32), (width, height), interpolation=cv2.INTER_NEAREST)
        columns.append(np.concatenate([_with_bodies(found, k), _colored(found.depth_m[k]), _colored(labelled)]))
    return np.concatenate(columns, axis=1)


def _with_bodies(found: Reconstruction, frame: int) -> np.ndarray:
    picture = found.images[frame].copy()
    camera_from_world = np.linalg.inv(found.cameras.world_from_camera[frame].astype(np.float64))
    for index, person in enumerate(found.people):
        points = person.vertices_world[frame][::4] @ camera_from_world[:3, :3].T + camera_from_world[:3, 3]
        points = points[points[:, 2] > 0.1].astype(np.float32)
        intrinsics = torch.from_numpy(found.cameras.intrinsics[frame].astype(np.float32))
        pixels = project(torch.from_numpy(points), intrinsics).numpy()
        inside = (pixels >= 0).all(1) & (pixels < [picture.shape[1], picture.shape[0]]).all(1)
        column, row = pixels[inside].astype(int).T
        picture[row, column] = COLORS[index % len(COLORS)]
    return picture


def _colored(depth: np.ndarray) -> np.ndarray:
    """Near is bright, unknown is black; from a third to three times the median on a logarithmic scale."""
    known = depth > 0
    middle = np.median(depth[known]) if known.any() else 1.0
    level = 0.5 - np.log(np.maximum(depth, 1e-6) / middle) / (2 * np.log(3))
    colors = cv2.applyColorMap((255 * level.clip(0, 1)).astype(np.uint8), cv2.COLORMAP_TURBO)[..., ::-1]
    return np.where(known[..., None], colors, 0)
