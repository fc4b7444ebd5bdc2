"""Points of people that contradict their fitted bodies, moved onto them.

A small network may place a person's points half a metre off the body that box, mask, keypoints and floor agree on, and
draw them flat, or behind them at their outlines. Where a larger one's are closer than clothes and hair, they stay as it
has them (`FitSettings.points_off_cm`).
"""

from collections.abc import Collection

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, UInt8
from scipy.ndimage import gaussian_filter

from unish.geometry.visibility import depth_map
from unish.structures import Reconstruction
from unish.utils.disk_arrays import new_array, release_pages

FEWEST_PIXELS = 12
"""That show body and person, for a frame's points to be moved."""
_SMOOTHING = ((0.08, 1.0), (0.25, 1e-2), (0.8, 1e-4))
"""Sigmas over the square root of the mask's area, with their weights. What is finer than the first, folds and hair, is
relief, the network's; what the body does not cover moves as the body around it does."""
_BODY_SMOOTHING = ((0.02, 1.0), (0.08, 1e-2), (0.25, 1e-4), (0.8, 1e-6))
"""The same of the body's own surface, which hardly needs any."""


def points_on_bodies(
    scene: Reconstruction, people: Collection[int], relief_log: float = np.inf
) -> tuple[Float32[np.ndarray, "frames height width"], UInt8[np.ndarray, "frames height width"]]:
    """`Reconstruction.depth_m` with the points of these people (indices) where their bodies are, and `person_mask` with
    the uncertain pixels that their bodies cover.

    Points move along their pixels' rays, by as much as the body's surface asks for, smoothly over the person's mask.
    What is then left between the points and that surface, carried on over the mask where the body does not cover it, is
    at most `relief_log` in the logarithm of depth. The same arrays where there are no such people.
    """
    if not people:
        return scene.depth_m, scene.person_mask
    shape = scene.depth_m.shape
    depth_m, person_mask = new_array(shape, np.float32), new_array(shape, np.uint8)
    for frame in range(len(scene)):
        depth_m[frame], person_mask[frame] = scene.depth_m[frame], scene.person_mask[frame]
        for index in people:
            if scene.people[index].present[frame]:
                body_m = _body_depth(scene, index, frame)
                if scene.uncertain_mask is not None:
                    uncertain = (scene.uncertain_mask[frame] == index + 1) & (person_mask[frame] == 0)
                    person_mask[frame][uncertain & np.isfinite(body_m)] = index + 1
                _move_onto(depth_m[frame], body_m, person_mask[frame] == index + 1, relief_log)
    release_pages(scene.depth_m, scene.person_mask, depth_m, person_mask)
    return depth_m, person_mask


def _body_depth(scene: Reconstruction, index: int, frame: int) -> Float[np.ndarray, "height width"]:
    """Depth of the body's surface; infinity beside it."""
    camera_from_world = np.linalg.inv(scene.cameras.world_from_camera[frame].astype(np.float64))
    vertices = np.asarray(scene.people[index].vertices_world[frame], np.float64)
    vertices = vertices @ camera_from_world[:3, :3].T + camera_from_world[:3, 3]
    return depth_map(
        torch.from_numpy(vertices.astype(np.float32)),
        torch.from_numpy(np.asarray(scene.faces, np.int64)),
        torch.from_numpy(np.asarray(scene.cameras.intrinsics[frame], np.float32)),
        *scene.depth_m.shape[1:],
    ).numpy()


def _move_onto(
    depth_m: Float32[np.ndarray, "height width"],
    body_m: Float[np.ndarray, "height width"],
    mask: Bool[np.ndarray, "height width"],
    relief_log: float,
) -> None:
    """Change depth in the mask, in place; not where too little of the body is seen."""
    known = np.isfinite(depth_m) & (depth_m > 0)
    shared = mask & np.isfinite(body_m) & known
    if shared.sum() < FEWEST_PIXELS:
        return
    points = np.log(depth_m, out=np.zeros(depth_m.shape), where=known)
    body = np.log(body_m, out=np.zeros(depth_m.shape), where=shared)
    moved = points + _carried_on(body - points, shared, mask, _SMOOTHING)
    if np.isfinite(relief_log):
        surface = _carried_on(body, shared, mask, _BODY_SMOOTHING)
        moved = surface + np.clip(moved - surface, -relief_log, relief_log)
    place = mask & known
    depth_m[place] = np.exp(moved[place])


def _carried_on(
    values: Float[np.ndarray, "height width"],
    shared: Bool[np.ndarray, "height width"],
    mask: Bool[np.ndarray, "height width"],
    smoothing: tuple[tuple[float, float], ...],
) -> Float[np.ndarray, "height width"]:
    """Values of the shared pixels, smoothed and continued beyond them."""
    total, weight = np.zeros(mask.shape), np.full(mask.shape, 1e-12)
    for share, counts in smoothing:
        sigma = share * np.sqrt(mask.sum())
        total += counts * gaussian_filter(np.where(shared, values, 0.0), sigma, mode="constant", truncate=6.0)
        weight += counts * gaussian_filter(shared.astype(np.float64), sigma, mode="constant", truncate=6.0)
    return total / weight
