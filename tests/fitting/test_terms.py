"""Every term of a fit: its value in a case that is plain, and its gradient."""

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck

from unish.fitting import terms

GENERATOR = torch.Generator().manual_seed(0)
BOXES = torch.tensor([[10.0, 20, 50, 120], [0, 0, 30, 60]], dtype=torch.float64)


def random(*shape: int, size: float = 1.0) -> torch.Tensor:
    return size * torch.rand(*shape, generator=GENERATOR, dtype=torch.float64)


def test_robust_losses_are_half_a_square_near_zero_and_less_far_away():
    x = torch.tensor([0.0, 0.01, 100.0], dtype=torch.float64)
    assert terms.charbonnier(x) == pytest.approx([0, 5e-5, 99.005], rel=1e-3)
    assert terms.geman_mcclure(x) == pytest.approx([0, 5e-5, 2.0], rel=1e-3)


def test_a_body_that_fills_its_box_costs_nothing_and_edges_that_do_not_count_do_not():
    corners = torch.stack([BOXES[:, :2], BOXES[:, 2:]], dim=1)
    counted = torch.ones(2, 4, dtype=torch.bool)
    exact = torch.zeros(2, 4, dtype=torch.float64)
    assert terms.box_term(corners, BOXES, exact, BOXES, counted, 0.02).tolist() == [0, 0]
    lower = corners.clone()
    lower[0, 1, 1] += 2.0  # one standard deviation of a box 100 pixels high
    assert terms.box_term(lower, BOXES, exact, BOXES, counted, 0.02).tolist() == pytest.approx([2**0.5 - 1, 0])
    unsure = exact + 1.5
    assert terms.box_term(lower, BOXES, unsure, BOXES, counted, 0.02)[0].item() == pytest.approx(1.64**0.5 - 1)
    counted[0, 3] = False
    assert terms.box_term(lower, BOXES, exact, BOXES, counted, 0.02).tolist() == [0, 0]


def test_vertices_outside_the_mask_cost_where_there_is_a_mask():
    off = torch.tensor([[0.0, 0.0], [0.0, 60.0]], dtype=torch.float64)
    both = terms.outside_term(off, BOXES, torch.tensor([True, True]), 0.02)
    assert both[0] == 0 and 7 < both[1] < 8
    assert terms.outside_term(off, BOXES, torch.tensor([True, False]), 0.02).tolist() == [0, 0]


def test_a_mask_is_covered_up_to_the_spacing_of_the_vertices():
    samples, vertices = torch.tensor([[[10.0, 10], [10, 14]]]).double(), torch.tensor([[[10.0, 10.0]]]).double()
    boxes, weights = BOXES[:1], torch.ones(1, 2, dtype=torch.float64)
    assert terms.coverage_term(samples, weights, vertices, boxes, 0.05, 0.02).item() == pytest.approx(0, abs=1e-6)
    assert terms.coverage_term(samples, weights, vertices, boxes, 0.01, 0.02).item() > 0.5
    weights[0, 1] = 0
    assert terms.coverage_term(samples, weights, vertices, boxes, 0.01, 0.02).item() == pytest.approx(0, abs=1e-6)


def test_the_surface_lies_on_the_points_and_not_before_them():
    z, points = torch.tensor([[4.0, 4.0]]).double(), torch.tensor([[4.0, 4.4]]).double()
    weights, sigma = torch.ones(1, 2).double(), torch.tensor([0.1]).double()
    x = np.log(1.1) / 0.1
    assert terms.surface_term(z, points, weights, sigma).item() == pytest.approx(4 * (2 * x**2 / (4 + x**2)) / 2)
    assert terms.order_term(z, points, weights, sigma).item() == pytest.approx(np.sqrt(1 + (x / 2) ** 2) - 1)
    assert terms.order_term(points, z, weights, sigma).item() == 0  # behind them: only the surface term counts
    weights[0, 1] = 0
    points[0, 1] = torch.nan
    assert terms.surface_term(z, points, weights, sigma).item() == 0


@pytest.mark.parametrize(("confidence", "sigma_px"), [(1.0, 1.0), (0.5, 3.0)])
def test_keypoints_count_by_their_confidence(confidence, sigma_px):
    joints, known = torch.zeros(1, 2, 2).double(), torch.tensor([[[sigma_px, 0], [torch.nan, 0]]]).double()
    seen = torch.tensor([[confidence, 0.0]]).double()
    expected = confidence * (2**0.5 - 1)  # one standard deviation
    assert terms.keypoint_term(joints, known, seen, BOXES[:1], 0.01, 0.16).item() == pytest.approx(expected)


def test_even_motion_is_free_at_uneven_times():
    times = torch.tensor([0.0, 0.1, 0.35, 0.4]).double()
    joints = times[:, None, None] * torch.tensor([[1.0, -2.0, 0.5]]).double()
    assert terms.acceleration_term(joints, times, 8.0).tolist() == pytest.approx([0, 0], abs=1e-6)
    falling = -0.5 * 8.0 * times.square()[:, None, None].expand(-1, 2, 3)
    falling = falling * torch.tensor([0, 0, 1.0])
    assert terms.acceleration_term(falling, times, 8.0) == pytest.approx(2 * [12 * (2**0.5 - 1)], rel=1e-6)


def test_feet_are_held_while_they_stand_and_soles_lie_on_the_floor():
    feet, places = torch.zeros(1, 2, 3).double(), torch.tensor([[[0.01, 0, 0], [5, 5, 5]]]).double()
    standing = torch.tensor([[True, False]])
    assert terms.held_term(feet, places, standing, 0.01).item() == pytest.approx(2**0.5 - 1, rel=0.05)
    heights = torch.tensor([[0.01, 0.2]]).double()
    assert terms.sole_term(heights, standing, 0.01).item() == pytest.approx(2**0.5 - 1, rel=0.05)
    assert terms.sole_term(-heights, torch.tensor([[False, False]]), 0.01).item() > 5  # no foot below its floor
    far = torch.full((1, 2, 3), 9.0).double()
    assert terms.held_term(feet, far, standing, 0.01).item() == pytest.approx(terms.MOST_FOOT)


def test_offsets_have_a_standard_deviation_and_drift():
    times = torch.tensor([0.0, 0.1, 0.3]).double()
    precision = terms.offset_precision(times, 0.5, 0.2)
    same, step = torch.ones(3).double(), torch.tensor([0.0, 0.0, 1.0]).double()
    assert (same @ precision @ same).item() == pytest.approx(3 / 0.5**2)
    assert (step @ precision @ step).item() == pytest.approx(1 / 0.5**2 + 1 / (2 * 0.2**2))
    assert torch.linalg.eigvalsh(precision).min() > 0


def test_hinges_bend_within_limits():
    limits = torch.tensor([[-0.1, 2.0]]).double()
    bends = torch.tensor([[0.5], [2.1], [-0.3]]).double()
    assert terms.limit_term(bends, limits, 0.1).tolist() == pytest.approx([0, 0.5, 2.0], rel=1e-4)


@pytest.mark.parametrize(
    "term",
    [
        lambda x: terms.box_term(100 * x[..., :2], BOXES, ERRORS, BOXES, ALL_EDGES, 0.02),
        lambda x: terms.outside_term(5 * x[..., 0], BOXES, torch.tensor([True, True]), 0.02),
        lambda x: terms.coverage_term(random_samples, torch.ones(2, 4).double(), 100 * x[..., :2], BOXES, 0.02, 0.05),
        lambda x: terms.surface_term(3 + x[..., 0], 3 + random_depth, torch.ones(2, 5).double(), SIGMA),
        lambda x: terms.order_term(3 + x[..., 0], 4 + random_depth, torch.ones(2, 5).double(), SIGMA),
        lambda x: terms.keypoint_term(9 * x[..., :2], 9 * random_samples[:, [0] * 5], random_depth, BOXES, 0.01, 0.1),
        lambda x: terms.acceleration_term(x.reshape(5, 2, 3), TIMES, 3.0),
        lambda x: terms.held_term(x, random_places, torch.ones(2, 5, dtype=torch.bool), 0.1),
        lambda x: terms.sole_term(x[..., 0] - 0.5, torch.tensor([[True, False, True, False, True]] * 2), 0.1),
        lambda x: terms.limit_term(4 * x[..., 0], torch.tensor([[0.5, 2.0]] * 5).double(), 0.1),
    ],
)
def test_gradients(term):
    assert gradcheck(term, random(2, 5, 3).requires_grad_())


ALL_EDGES, ERRORS = torch.ones(2, 4, dtype=torch.bool), torch.full((2, 4), 0.7, dtype=torch.float64)
SIGMA, TIMES = torch.tensor([0.05, 0.1]).double(), torch.tensor([0.0, 0.1, 0.25, 0.3, 0.5]).double()
random_samples, random_depth, random_places = random(2, 4, 2, size=100), random(2, 5), random(2, 5, 3)
