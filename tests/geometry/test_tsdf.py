"""Depth maps of shapes that are known exactly, fused and meshed again."""

import numpy as np
import pytest
import trimesh

from unish.geometry.clouds import depth_edges
from unish.geometry.isosurface import closed_surface, open_surface
from unish.geometry.tsdf import DepthView, SignedDistances, coordinates_of, fuse_depth, voxel_keys

SIZE, FOCAL_PX, VOXEL_M = 64, 70.0, 0.05
RADIUS_M, WALL_M = 0.5, 2.0


def look(frame: int, views: int) -> DepthView:
    """A ball about the origin, green, seen from around at 2 m; its first view has a wall behind it as well."""
    angle = 2 * np.pi * frame / views
    forward = np.array([-np.cos(angle), -np.sin(angle), 0])
    pose = np.eye(4)
    pose[:3, :3] = np.stack([np.cross(forward, [0, 0, 1]), [0, 0, -1], forward], axis=1)
    pose[:3, 3] = -2 * forward
    intrinsics = np.array([[FOCAL_PX, 0, SIZE / 2], [0, FOCAL_PX, SIZE / 2], [0, 0, 1]])
    row, column = np.mgrid[:SIZE, :SIZE] + 0.5
    rays = np.stack([column, row, np.ones_like(row)], -1) @ np.linalg.inv(intrinsics).T
    # |z · ray − (0, 0, 2)| = radius
    square, along = (rays**2).sum(-1), 2 * rays[..., 2]
    root = along**2 - square * (4 - RADIUS_M**2)
    depth = np.where(root > 0, (along - np.sqrt(np.maximum(root, 0))) / square, WALL_M + 2 if frame == 0 else 0)
    colors = np.where((root > 0)[..., None], [20, 200, 40], [180, 0, 0]).astype(np.uint8)
    depth = np.where(depth_edges(depth), 0, depth)
    return DepthView(depth.astype(np.float32), np.ones((SIZE, SIZE), np.float32), colors, intrinsics, pose)


@pytest.fixture(scope="module")
def field() -> SignedDistances:
    return fuse_depth(lambda frame: look(frame, 8), range(8), VOXEL_M)


def test_a_ball_seen_from_around_is_a_ball(field):
    mesh = open_surface(field)
    distance = np.linalg.norm(mesh.vertices_world, axis=1)
    ball = distance < 1
    assert np.abs(distance[ball] - RADIUS_M).max() < 0.4 * VOXEL_M
    assert np.abs(distance[ball] - RADIUS_M).mean() < 0.1 * VOXEL_M
    assert np.abs(mesh.vertices_world[~ball, 0] + WALL_M).max() < 0.1 * VOXEL_M and (~ball).sum() > 100
    green = np.abs(mesh.colors[ball] - [20, 200, 40]).max(1) < 60
    assert green.mean() > 0.95, "colours are those of the pixels that saw the surface"


def test_faces_look_at_the_cameras_and_poles_that_nobody_saw_stay_open(field):
    mesh = open_surface(field)
    corners = mesh.vertices_world[mesh.faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    ball = np.linalg.norm(corners.mean(1), axis=1) < 1
    assert ((normals * corners.mean(1)).sum(1)[ball] > 0).all() and (normals[~ball, 0] > 0).all()
    assert np.abs(mesh.vertices_world[:, 2][np.linalg.norm(mesh.vertices_world, axis=1) < 1]).max() < RADIUS_M
    edges = trimesh.Trimesh(mesh.vertices_world, mesh.faces, process=False)
    assert not edges.is_watertight and edges.is_winding_consistent


def test_what_a_view_sees_through_is_not_there():
    """A wall that one view has before the ball, and eight see through."""

    def view(frame):
        seen = look(frame % 8, 8)
        depth = np.where(frame == 8, np.float32(1.0), seen.depth_m)
        return DepthView(depth, seen.weight, seen.colors, seen.intrinsics, seen.world_from_camera)

    x = open_surface(fuse_depth(view, range(9), VOXEL_M)).vertices_world
    assert not (np.abs(x[:, 0] - 1) < VOXEL_M)[np.abs(x[:, 1:]).max(1) < 0.15].any()


def test_the_closed_surface_has_two_faces_at_every_edge(field):
    mesh = closed_surface(field)
    closed = trimesh.Trimesh(mesh.vertices_world, mesh.faces, process=False)
    assert closed.is_watertight and closed.is_winding_consistent and closed.volume > 0
    ball = np.linalg.norm(mesh.vertices_world, axis=1) < 1
    assert np.linalg.norm(mesh.vertices_world[ball], axis=1).max() < RADIUS_M + 1.5 * VOXEL_M


def test_any_set_of_voxels_closes():
    """Voxels at random touch along edges and corners in every way."""
    random = np.random.default_rng(0)
    for share in (0.1, 0.4):
        coordinates = np.argwhere(random.random((9, 9, 9)) < share) - 4
        count = len(coordinates)
        field = SignedDistances(1.0, coordinates, np.full(count, -0.5, np.float32), np.zeros((count, 3), np.float32))
        mesh = closed_surface(field)
        assert trimesh.Trimesh(mesh.vertices_world, mesh.faces, process=False).is_watertight


def test_nothing_seen_is_no_surface():
    def blank(frame):
        seen = look(frame, 8)
        return DepthView(0 * seen.depth_m, seen.weight, seen.colors, seen.intrinsics, seen.world_from_camera)

    field = fuse_depth(blank, range(2), VOXEL_M)
    assert len(field.distance) == len(open_surface(field).faces) == len(closed_surface(field).faces) == 0


def test_keys_are_one_to_one_and_ordered():
    random = np.random.default_rng(0)
    coordinates = np.concatenate([random.integers(-(2**20), 2**20, (500, 3)), [[-(2**20)] * 3, [2**20 - 1] * 3]])
    keys = voxel_keys(coordinates)
    assert np.array_equal(coordinates_of(keys), coordinates)
    assert np.array_equal(np.argsort(keys), np.lexsort(coordinates.T[::-1]))
