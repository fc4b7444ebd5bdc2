"""A posed body as a camera and the floor meet it: its visible surface, its feet."""

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.spatial.distance import cdist

from unish.geometry.visibility import visible_vertices

FEET = np.array([[7, 10], [8, 11]])
"""SMPL's joints at the ends of each foot: ankle and ball, left then right."""


def visible_surface(
    vertices_camera: Float[np.ndarray, "vertices 3"],
    faces: Int[np.ndarray, "faces 3"],
    intrinsics: Float[np.ndarray, "3 3"],
    size_px: tuple[int, int],
) -> Float[np.ndarray, "visible 3"]:
    """The vertices that a camera of size (width, height) sees, metres, the body itself being all that can hide them."""
    width, height = size_px
    surface = torch.from_numpy(vertices_camera).float()
    triangles, camera = torch.from_numpy(np.ascontiguousarray(faces)), torch.from_numpy(intrinsics).float()
    return vertices_camera[visible_vertices(surface, triangles, camera, height, width).numpy()]


def sole_height_m(
    vertices_world: Float[np.ndarray, "vertices 3"],
    joints_world: Float[np.ndarray, "24 3"],
    foot: int,
    up: Float[np.ndarray, "3"],
) -> float:
    """Height of a foot's lowest vertex, metres; `foot` is 0 for the left one, 1 for the right one.

    The foot's vertices are those that have its ankle or ball for their nearest joint; all vertices where none has, as
    in a mesh that is not a body.
    """
    nearest = cdist(vertices_world, joints_world).argmin(axis=1)
    of_foot = np.isin(nearest, FEET[foot])
    return float((vertices_world[of_foot] if of_foot.any() else vertices_world).dot(up).min())
