"""MakeHuman's base mesh on the open body: where each of its vertices lies on the T-pose, and how it moves and grows.

The open body was made from this mesh and kept its texture coordinates, so these tell which points are the same. Each
joint's part of the base mesh is laid over the body's by a similarity; skinning weights blend the joints' similarities,
and what is then left between the two surfaces is spread smoothly over the space around them, helpers included.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial import KDTree

from train.synthetic.garment_files import BASE_BODY, read_obj
from unish.body import BodyModel
from unish.errors import InputError

_UV_TOLERANCE = 0.002
_NEAREST = 12
_LEAST_MATCHES = 0.3
_FEWEST = 12
"""Vertices that a similarity is fitted to."""
_AGREE_M = 0.008


@dataclass(frozen=True)
class BaseMesh:
    """The base mesh as it comes (`vertices` (B,3), its own pose and unit) and what of the open body goes with each of
    its vertices: skinning `weights` (B,24), `shape_directions` (B,3,10), and the place in the T-pose by `to_tpose`.

    `nearest` (V,) is the base vertex that each vertex of the open body comes from.
    """

    vertices: np.ndarray
    weights: np.ndarray
    shape_directions: np.ndarray
    nearest: np.ndarray
    linear: np.ndarray
    """(24,3,3) rotation and scale of each joint's similarity from the base mesh to the T-pose."""
    shift: np.ndarray
    """(24,3)"""
    residual: np.ndarray
    """(B,3) what is missing after the similarities, metres."""

    def to_tpose(self, points: np.ndarray, weights: np.ndarray, residual: np.ndarray) -> np.ndarray:
        """Points (N,3) of the base mesh's space in the open body's T-pose."""
        moved = np.einsum("jab,nb->nja", self.linear, points) + self.shift
        return (weights[..., None] * moved).sum(1) + residual


def find_base(folder: Path) -> Path:
    """The base mesh below a folder.

    Raises:
        InputError: there is none.
    """
    paths = sorted(Path(folder).rglob("base.obj"))
    if not paths:
        raise InputError(f"--wardrobe should be a folder of MakeHuman assets with 3dobjs/base.obj, got {folder}.")
    return paths[0]


def read_base_mesh(path: Path, body: BodyModel) -> BaseMesh:
    """Lays the base mesh over the open body.

    Raises:
        InputError: it is not the mesh that the body was made from, or the body has no texture coordinates.
    """
    if body.uv is None:
        raise InputError(f"--wardrobe needs the open body, got the body {body.name}, which has no texture coordinates.")
    mesh = read_obj(path)
    is_body = mesh.groups == BASE_BODY
    corners, sources = mesh.uv_faces[is_body].ravel(), mesh.faces[is_body].ravel()
    if not len(corners):
        raise InputError(f"{path} should have a group {BASE_BODY!r}, as MakeHuman's base.obj has.")
    distance, index = KDTree(mesh.uv[corners]).query(body.uv.numpy().astype(np.float64))
    nearest = sources[index]
    template, weights = body.template.numpy().astype(np.float64), body.weights.numpy().astype(np.float64)
    matched = distance < _UV_TOLERANCE
    linear, shift = _joint_similarities(mesh.vertices[nearest], template, weights, matched)
    own = np.einsum("jab,nb->nja", linear, mesh.vertices[nearest]) + shift
    left = template - (weights[..., None] * own).sum(1)
    trusted = matched & _agreeing(template, left)
    if trusted.mean() < _LEAST_MATCHES:
        raise InputError(
            f"{path} should be MakeHuman's base mesh (hm08), which the open body was made from; only "
            f"{trusted.mean():.0%} of the body's vertices are on it."
        )
    known = np.flatnonzero(trusted)
    nearest = nearest[known][KDTree(template[known]).query(template)[1]]  # at seams, that of a neighbour
    away, near = KDTree(mesh.vertices[nearest[known]]).query(mesh.vertices, k=min(_NEAREST, len(known)))
    share = np.exp(-((away / np.maximum(away[:, -1:], 1e-9)) ** 2) * 4) / np.maximum(away, 1e-6)
    share /= share.sum(1, keepdims=True)
    shape = body.shape_directions.numpy().astype(np.float64)[known].reshape(len(known), -1)
    spread = [(share[..., None] * values[near]).sum(1) for values in (weights[known], shape, left[known])]
    return BaseMesh(
        mesh.vertices,
        spread[0],
        spread[1].reshape(-1, *body.shape_directions.shape[1:]),
        nearest,
        linear,
        shift,
        spread[2],
    )


def _joint_similarities(source: np.ndarray, target: np.ndarray, weights: np.ndarray, matched: np.ndarray):
    """Similarities (24,3,3), (24,3) that lay each joint's vertices over the target's, by trimmed least squares."""
    joints = weights.shape[1]
    linear, shift = np.zeros((joints, 3, 3)), np.zeros((joints, 3))
    whole = _similarity(source[matched], target[matched])
    for joint in range(joints):
        # A joint that moves few vertices borrows those of its neighbours.
        chosen = np.flatnonzero(matched & (weights[:, joint] > 0.5))
        if len(chosen) < _FEWEST:
            chosen = np.flatnonzero(matched & (weights[:, joint] > 0.1))
        if len(chosen) < _FEWEST:
            linear[joint], shift[joint] = whole
            continue
        kept = chosen
        for quantile in (0.5, 0.6, 0.7, 0.8):
            linear[joint], shift[joint] = _similarity(source[kept], target[kept])
            error = np.linalg.norm(source[chosen] @ linear[joint].T + shift[joint] - target[chosen], axis=1)
            kept = chosen[error <= np.quantile(error, quantile)]
    return linear, shift


def _agreeing(points: np.ndarray, left: np.ndarray) -> np.ndarray:
    """Which points have about the residual of those around them: at seams of the texture a match may lie anywhere."""
    _, near = KDTree(points).query(points, k=min(_NEAREST, len(points)))
    around = np.median(left[near], axis=1)
    return np.linalg.norm(left - around, axis=1) < _AGREE_M


def _similarity(source: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scaled rotation (3,3) and shift (3,) that lay points over others (Umeyama 1991)."""
    middle, goal = np.median(source, 0), np.median(target, 0)
    a, b = source - middle, target - goal
    u, singular, vt = np.linalg.svd(b.T @ a)
    sign = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    linear = (u * sign) @ vt * ((singular * sign).sum() / max(float((a**2).sum()), 1e-12))
    return linear, goal - linear @ middle
