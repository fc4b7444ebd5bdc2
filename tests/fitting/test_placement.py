"""Where a body stands, by where its joints are seen."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unish.fitting.placement import placed, shifted


def seen_at(place, seed=0, noise=0.0):
    """Random joints about the origin, how a camera sees them from there, and random weights."""
    random = np.random.default_rng(seed)
    joints = torch.from_numpy(random.uniform([-0.4, -0.9, -0.3], [0.4, 0.9, 0.3], (12, 3)))
    in_camera = joints + torch.tensor(place, dtype=torch.float64)
    slopes = in_camera[:, :2] / in_camera[:, 2:] + noise * torch.from_numpy(random.normal(size=(12, 2)))
    return joints, slopes, torch.from_numpy(random.uniform(0.2, 1, 12))


@given(st.floats(-0.7, 0.7), st.floats(-0.5, 0.5), st.floats(2.5, 30), st.integers(0, 100))
def test_an_exact_view_gives_the_place_back(x, y, z, seed):
    place = [x * z, y * z, z]
    joints, slopes, weight = seen_at(place, seed)
    np.testing.assert_allclose(placed(joints, slopes, weight), place, atol=2e-3 * z)
    depth = torch.tensor(z, dtype=torch.float64)
    np.testing.assert_allclose(shifted(joints, slopes, weight, depth), place, atol=1e-9 * z)


def test_joints_without_weight_do_not_count():
    joints, slopes, weight = seen_at((0.5, 0.2, 4.0))
    weight[3] = weight[7] = 0
    wrong = slopes.clone()
    wrong[[3, 7]] += 5
    torch.testing.assert_close(placed(joints, wrong, weight), placed(joints, slopes, weight))
    depth = torch.tensor(4.0)
    torch.testing.assert_close(shifted(joints, wrong, weight, depth), shifted(joints, slopes, weight, depth))


def test_the_place_is_as_good_as_the_view():
    joints, slopes, weight = seen_at((0.0, 0.0, 4.0), noise=0.005)
    assert torch.linalg.vector_norm(placed(joints, slopes, weight) - torch.tensor([0.0, 0.0, 4.0])) < 0.2


def test_many_bodies_at_once_are_as_one_by_one():
    views = [seen_at((0.3 * k, -0.1 * k, 3.0 + k), seed=k) for k in range(3)]
    together = [torch.stack(column) for column in zip(*views, strict=True)]
    for one, view in zip(placed(*together), views, strict=True):
        torch.testing.assert_close(one, placed(*view))


def test_gradients_reach_the_joints_and_nothing_seen_is_finite():
    joints, slopes, weight = seen_at((0.3, 0.1, 3.0))
    joints.requires_grad_(True)
    placed(joints, slopes, weight).sum().backward()
    assert joints.grad is not None and joints.grad.isfinite().all() and joints.grad.abs().max() > 0
    away = placed(joints.detach(), slopes, torch.zeros(12, dtype=torch.float64))
    assert away.isfinite().all() and away[2] == pytest.approx(1e6)
