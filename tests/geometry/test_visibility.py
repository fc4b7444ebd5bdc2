"""Visible vertices against shapes worked by hand and against rays cast by Embree."""

import math

import numpy as np
import pytest
import torch

from unish.body import open_body
from unish.geometry import visibility
from unish.geometry.camera import intrinsics_from_focal, pixel_centers
from unish.geometry.rotations import axis_angle_to_matrix
from unish.geometry.visibility import visible_vertices


def camera(height: int, width: int) -> torch.Tensor:
    return intrinsics_from_focal(torch.tensor(float(max(height, width))), width, height)


def square(z: float, half: float, x: float = 0.0) -> torch.Tensor:
    corners = torch.tensor([[-1.0, -1.0, 0.0], [1.0, -1.0, 0.0], [1.0, 1.0, 0.0], [-1.0, 1.0, 0.0]])
    return corners * half + torch.tensor([x, 0.0, z])


SQUARE = torch.tensor([[0, 1, 2], [0, 2, 3]])
TWO_SQUARES = torch.cat([SQUARE, SQUARE + 4])


def seen(vertices: torch.Tensor, faces: torch.Tensor = TWO_SQUARES) -> list[bool]:
    return visible_vertices(vertices, faces, camera(60, 80), 60, 80).tolist()


def test_the_nearer_of_two_squares_hides_the_other():
    near, far = square(1.0, 0.2), square(2.0, 0.2)
    assert seen(torch.cat([near, far])) == [True] * 4 + [False] * 4
    assert seen(torch.cat([far, near])) == [False] * 4 + [True] * 4
    assert seen(torch.cat([near, square(2.0, 0.5)])) == [True] * 8  # the larger one shows around the nearer
    assert seen(torch.cat([near, far]), TWO_SQUARES.flip(-1)) == [True] * 4 + [False] * 4  # faces have two sides


def test_what_is_behind_or_outside_is_not_seen():
    assert seen(torch.cat([square(-1.0, 0.2), square(2.0, 0.2)])) == [False] * 4 + [True] * 4
    assert seen(torch.cat([square(1.0, 0.2, x=2.0), square(2.0, 0.2)])) == [False] * 4 + [True] * 4
    assert not any(seen(torch.cat([square(1.0, 1e-4, x=0.001), square(-1.0, 0.2)])))  # no pixel's centre
    assert not any(seen(torch.full((8, 3), torch.nan)))


def test_a_floor_that_runs_under_the_camera_is_seen():
    floor = torch.tensor([[-5.0, 1.0, -5.0], [5.0, 1.0, -5.0], [5.0, 1.0, 20.0], [-5.0, 1.0, 20.0]])
    assert seen(floor, SQUARE) == [True] * 4
    assert seen(floor * torch.tensor([1.0, 1.0, -0.25]) - torch.tensor([0.0, 0.0, 2.0]), SQUARE) == [False] * 4


def test_leading_axes_cut_up_work_and_mixed_precision(monkeypatch):
    body = open_body()
    rotations = torch.eye(3).repeat(2, 3, 24, 1, 1)
    rotations[..., 0, :, :] = axis_angle_to_matrix(torch.tensor([math.pi, 0.0, 0.0]))
    shift = torch.tensor([[0.0, 0.3, 2.0], [0.5, 0.3, 3.0], [0.0, 0.3, 4.0]]).expand(2, 3, 3)
    vertices = body(torch.zeros(10), rotations, shift).vertices.requires_grad_()
    together = visible_vertices(vertices, body.faces, camera(60, 80), 60, 80)
    one = visible_vertices(vertices[1, 2], body.faces, camera(60, 80), 60, 80)
    assert together.shape == (2, 3, body.num_vertices) and torch.equal(together[1, 2], one)
    each = camera(60, 80).expand(2, 1, 3, 3)
    monkeypatch.setattr(visibility, "MAX_TESTS", 1000)
    assert torch.equal(visible_vertices(vertices, body.faces, each, 60, 80), together)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(visible_vertices(vertices, body.faces, each, 60, 80), together)


def embree_visible(vertices: torch.Tensor, faces: torch.Tensor, intrinsics: torch.Tensor, height: int, width: int):
    """Vertices of the first faces that rays through all pixel centres meet."""
    scenes = pytest.importorskip("embreex.rtcore_scene")
    from embreex.mesh_construction import TriangleMesh

    scene, indices = scenes.EmbreeScene(), faces.numpy().astype(np.int32)
    TriangleMesh(scene, vertices.numpy(), indices)
    pixels = torch.nn.functional.pad(pixel_centers(height, width).flatten(0, 1), (0, 1), value=1.0)
    rays = (pixels @ torch.linalg.inv(intrinsics).mT).numpy()
    met = scene.run(np.zeros_like(rays), rays, query="INTERSECT")
    visible = torch.zeros(len(vertices), dtype=torch.bool)
    visible[faces[np.unique(met[met >= 0])]] = True
    return visible


# Turn about the upright axis, lean back (both degrees), and where the pelvis stands (metres).
VIEWS = {
    "front": (0, 0, (0.0, 0.3, 3.0)),
    "side": (90, 0, (0.2, 0.3, 2.5)),
    "back": (180, 10, (-0.3, 0.3, 5.0)),
    "far": (40, 0, (1.0, 0.0, 12.0)),
    "close": (30, -20, (0.1, 0.1, 0.8)),
    "partly outside": (60, 0, (0.85, 0.9, 3.0)),
    "partly behind": (10, 80, (0.4, 0.3, 0.4)),
}


@pytest.mark.parametrize("size", [(126, 168), (294, 518), (518, 294)], ids=str)
@pytest.mark.parametrize("view", VIEWS)
def test_a_body_is_seen_as_embree_sees_it(view, size):
    turn, lean, place = VIEWS[view]
    generator = torch.Generator().manual_seed(turn)
    body = open_body()
    rotations = axis_angle_to_matrix(0.3 * torch.randn(24, 3, generator=generator))
    upright = axis_angle_to_matrix(torch.tensor([math.pi + math.radians(lean), 0.0, 0.0]))
    rotations[0] = upright @ axis_angle_to_matrix(torch.tensor([0.0, math.radians(turn), 0.0]))
    vertices = body(torch.randn(10, generator=generator), rotations, torch.tensor(place)).vertices
    expected = embree_visible(vertices, body.faces, camera(*size), *size)
    found = visible_vertices(vertices, body.faces, camera(*size), *size)
    assert expected.sum() > 100
    assert (found == expected).float().mean() > 0.99
    assert (found & expected).sum() > 0.99 * (found | expected).sum()
    if view == "partly behind":
        assert (vertices[:, 2] < 0).any()
