"""Images of a training clip: the network's output beside the labels."""

import cv2
import numpy as np
import torch

from train.data.schema import ClipSample
from unish.geometry.camera import project
from unish.structures import Reconstruction

PERSON_COLORS = ((255, 140, 0), (0, 170, 255), (90, 220, 90))


def overview(result: Reconstruction, clip: ClipSample, frames: int = 4) -> np.ndarray:
    """(height, width, 3) uint8: a few frames side by side; from top to bottom the frame with the vertices of the
    predicted bodies, the predicted depth and the labelled depth, both coloured relative to their own median."""
    chosen = np.linspace(0, len(result.images) - 1, min(frames, len(result.images))).round().astype(int)
    height, width = result.images.shape[1:3]
    columns = []
    for k in chosen:
        labelled = cv2.resize(clip.depth_m[k].astype(np.float32), (width, height), interpolation=cv2.INTER_NEAREST)
        columns.append(np.concatenate([_with_bodies(result, k), _colored(result.depth_m[k]), _colored(labelled)]))
    return np.concatenate(columns, axis=1)


def _with_bodies(result: Reconstruction, frame: int) -> np.ndarray:
    image = result.images[frame].copy()
    camera_from_world = np.linalg.inv(result.cameras.world_from_camera[frame].astype(np.float64))
    for index, person in enumerate(result.people):
        points = person.vertices_world[frame][::4] @ camera_from_world[:3, :3].T + camera_from_world[:3, 3]
        points = points[points[:, 2] > 0.1].astype(np.float32)
        intrinsics = torch.from_numpy(result.cameras.intrinsics[frame].astype(np.float32))
        pixels = project(torch.from_numpy(points), intrinsics).numpy()
        inside = (pixels >= 0).all(1) & (pixels < [image.shape[1], image.shape[0]]).all(1)
        column, row = pixels[inside].astype(int).T
        image[row, column] = PERSON_COLORS[index % len(PERSON_COLORS)]
    return image


def _colored(depth: np.ndarray) -> np.ndarray:
    """Near is bright, unknown is black; logarithmic, from a third to three times the median."""
    known = depth > 0
    median = np.median(depth[known]) if known.any() else 1.0
    level = 0.5 - np.log(np.maximum(depth, 1e-6) / median) / (2 * np.log(3))
    colors = cv2.applyColorMap((255 * level.clip(0, 1)).astype(np.uint8), cv2.COLORMAP_TURBO)[..., ::-1]
    return np.where(known[..., None], colors, 0)
