"""Pictures with depth, drawn on the CPU."""

import numpy as np
import pytest

from unish.export.drawing import Canvas, draw_line, draw_mesh, draw_points

RED, BLUE = (200, 0, 0), (0, 0, 200)
SQUARE = np.int32([[0, 1, 2], [0, 2, 3], [0, 2, 1], [0, 3, 2]])  # both sides


@pytest.fixture
def canvas() -> Canvas:
    intrinsics = np.array([[100.0, 0, 60], [0, 100.0, 40], [0, 0, 1]])
    return Canvas(np.zeros((80, 120, 3), np.uint8), np.full((80, 120), np.inf, np.float32), intrinsics)


def square(depth_m: float, half_m: float = 0.2) -> np.ndarray:
    corners = half_m * np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]], float)
    return corners + np.array([0, 0, depth_m])


def test_a_square_covers_the_pixels_that_it_projects_to(canvas):
    draw_mesh(canvas, square(2.0), SQUARE, RED)
    rows, columns = np.nonzero(canvas.rgb[..., 0])
    assert (rows.min(), rows.max()) == pytest.approx((30, 49), abs=1)
    assert (columns.min(), columns.max()) == pytest.approx((50, 69), abs=1)
    assert np.allclose(canvas.depth_m[40, 60], 2.0) and np.isinf(canvas.depth_m[0, 0])


@pytest.mark.parametrize("order", [(1.0, 3.0), (3.0, 1.0)])
def test_what_is_nearer_is_seen_whatever_is_drawn_first(canvas, order):
    colors = {1.0: RED, 3.0: BLUE}
    for depth in order:
        draw_mesh(canvas, square(depth, 0.2 * depth), SQUARE, colors[depth])
    assert canvas.rgb[40, 60, 0] > 0 and canvas.rgb[40, 60, 2] == 0


def test_the_scene_hides_what_is_behind_it(canvas):
    canvas.depth_m[:, :60] = 1.0
    draw_mesh(canvas, square(2.0), SQUARE, RED)
    assert not canvas.rgb[:, :60].any() and canvas.rgb[40, 62, 0] > 0


def test_points_hide_one_another_by_depth(canvas):
    points = np.array([[0, 0, 3.0], [0, 0, 1.0], [0, 0, 2.0], [0.5, 0, -1.0]])
    draw_points(canvas, points, np.uint8([BLUE, RED, BLUE, BLUE]), size_px=3)
    assert canvas.rgb[39:42, 59:62].reshape(-1, 3).tolist() == [list(RED)] * 9
    assert canvas.rgb.any(-1).sum() == 9 and canvas.depth_m[40, 60] == 1.0


def test_what_lies_outside_or_behind_is_left_out(canvas):
    draw_mesh(canvas, square(-2.0), SQUARE, RED)
    draw_mesh(canvas, square(2.0) + np.array([9, 0, 0]), SQUARE, RED)
    draw_line(canvas, np.array([[0, 0, -1.0], [0, 0, -2.0]]), RED)
    assert not canvas.rgb.any()


def test_a_line_goes_from_end_to_end(canvas):
    draw_line(canvas, np.array([[-0.5, 0, 1.0], [0.5, 0, 1.0]]), RED)
    assert canvas.rgb[38:42, 12:108, 0].max(0).min() > 0


def test_the_light_shows_a_figure_and_not_its_anatomy(canvas):
    """Small bumps of a wall are evened out, and a flat wall is lit as before."""
    x, y = np.meshgrid(np.linspace(-1, 1, 41), np.linspace(-0.7, 0.7, 29))
    index = np.arange(x.size).reshape(x.shape)
    a, b, c, d = (index[i : i - 1 or None, j : j - 1 or None].ravel() for i, j in ((0, 0), (0, 1), (1, 0), (1, 1)))
    faces = np.concatenate([np.stack([a, b, c], 1), np.stack([b, d, c], 1)])[:, ::-1]
    spread = []
    for bump_m in (0.0, 0.01):
        canvas.rgb[:], canvas.depth_m[:] = 0, np.inf
        depth = 2 + bump_m * np.random.default_rng(0).standard_normal(x.shape)
        draw_mesh(canvas, np.stack([x, y, depth], -1).reshape(-1, 3), faces, RED)
        spread.append(canvas.rgb[25:55, 35:85, 0].astype(float).std())
    assert canvas.rgb[40, 60, 0] > 190 and spread[1] < spread[0] + 4
