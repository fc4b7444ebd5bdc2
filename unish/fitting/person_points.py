"""Points of people that contradict their fitted bodies, moved onto them.

A small network may place a person's points half a metre off the body that box, mask, keypoints and floor agree on, and
draw them flat. Where the two are closer than clothes and hair, the points stay as the network has them.
"""

from collections.abc import Collection

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32
from scipy.ndimage import gaussian_filter

from unish.geometry.visibility import depth_map
from unish.structures import Reconstruction
from unish.utils.disk_arrays import new_array, release_pages

CONTRADICTION_CM = 8.0
"""Median distance from a fitted body to its points from which they are moved."""
FEWEST_PIXELS = 12
"""That show body and person, for a frame's points to be moved."""
SMOOTHING = ((0.08, 1.0), (0.25, 1e-2), (0.8, 1e-4))
"""Sigmas over the square root of the mask's area, with their weights. What is finer than the first, folds and hair,
stays the network's; what the body does not cover moves as the body around it does."""


def points_on_bodies(scene: Reconstruction, people: Collection[int]) -> Float32[np.ndarray, "frames height width"]:
    """`Reconstruction.depth_m` with the points of these people (indices) where their bodies are.

    Points move along their pixels' rays, by as much as the body's surface asks for, smoothly over the person's mask.
    The same array where there are no such people.
    """
    if not people:
        return scene.depth_m
    depth_m = new_array(scene.depth_m.shape, np.float32)
    for frame in range(len(scene)):
        depth_m[frame] = scene.depth_m[frame]
        for index in people:
            if scene.people[index].present[frame]:
                mask = np.asarray(scene.person_mask[frame]) == index + 1
                depth_m[frame] *= _factors(depth_m[frame], _body_depth(scene, index, frame), mask)
    release_pages(scene.depth_m, depth_m)
    return depth_m


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


def _factors(
    depth_m: Float[np.ndarray, "height width"],
    body_m: Float[np.ndarray, "height width"],
    mask: Bool[np.ndarray, "height width"],
) -> Float32[np.ndarray, "height width"]:
    """What depth is multiplied by: 1 beside the mask, and everywhere where too little of the body is seen."""
    factors = np.ones(depth_m.shape, np.float32)
    shared = mask & np.isfinite(body_m) & np.isfinite(depth_m) & (depth_m > 0)
    if shared.sum() < FEWEST_PIXELS:
        return factors
    ratios = np.log(np.divide(body_m, depth_m, out=np.ones_like(body_m), where=shared))
    total, weight = np.zeros(depth_m.shape), np.full(depth_m.shape, 1e-12)
    for share, counts in SMOOTHING:
        sigma = share * np.sqrt(mask.sum())
        total += counts * gaussian_filter(ratios, sigma, mode="constant", truncate=6.0)
        weight += counts * gaussian_filter(shared.astype(np.float64), sigma, mode="constant", truncate=6.0)
    factors[mask] = np.exp((total / weight)[mask])
    return factors
