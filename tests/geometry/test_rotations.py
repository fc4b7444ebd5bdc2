"""Group axioms of rotations and rigid motions, and round trips near angles 0 and π."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unish.geometry.rotations import (
    axis_angle_to_matrix,
    matrix_to_axis_angle,
    matrix_to_rotation_6d,
    nearest_rotation,
    rotation_6d_to_matrix,
    rotation_angle,
    slerp,
)
from unish.geometry.transforms import invert_rigid, relative_to_first, rigid, transform_points

seeds = st.integers(0, 2**31 - 1)


def random_rotations(seed, count=8):
    generator = torch.Generator().manual_seed(seed)
    return nearest_rotation(torch.randn(count, 3, 3, generator=generator, dtype=torch.float64))


def random_motions(seed, count=8):
    generator = torch.Generator().manual_seed(seed + 1)
    return rigid(random_rotations(seed, count), torch.randn(count, 3, generator=generator, dtype=torch.float64))


@given(seeds)
@settings(max_examples=30, deadline=None)
def test_rigid_motions_form_a_group(seed):
    a, b, c = random_motions(seed), random_motions(seed + 7), random_motions(seed + 13)
    identity = torch.eye(4, dtype=torch.float64).expand_as(a)
    assert torch.allclose(invert_rigid(a) @ a, identity, atol=1e-12)
    assert torch.allclose(a @ invert_rigid(a), identity, atol=1e-12)
    assert torch.allclose((a @ b) @ c, a @ (b @ c), atol=1e-12)
    points = torch.randn(8, 5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    assert torch.allclose(transform_points(a @ b, points), transform_points(a, transform_points(b, points)), atol=1e-11)


@given(seeds)
@settings(max_examples=30, deadline=None)
def test_every_form_of_a_rotation_comes_back(seed):
    rotation = random_rotations(seed)
    assert torch.allclose(rotation_6d_to_matrix(matrix_to_rotation_6d(rotation)), rotation, atol=1e-12)
    assert torch.allclose(axis_angle_to_matrix(matrix_to_axis_angle(rotation)), rotation, atol=1e-9)
    assert torch.allclose(matrix_to_axis_angle(rotation).norm(dim=-1), rotation_angle(rotation), atol=1e-9)
    assert torch.allclose(torch.det(rotation), torch.ones(8, dtype=torch.float64), atol=1e-12)


@pytest.mark.parametrize("angle", [0.0, 1e-9, 1e-5, 1e-3, 1.0, math.pi - 1e-3, math.pi - 1e-6, math.pi])
@pytest.mark.parametrize("axis", [(1, 0, 0), (0, 1, 0), (0, 0, 1), (0.6, 0, 0.8), (-0.6, 0.8, 0)])
def test_axis_angle_near_zero_and_pi(angle, axis):
    vector = angle * torch.tensor(axis, dtype=torch.float64)
    rotation = axis_angle_to_matrix(vector)
    back = matrix_to_axis_angle(rotation)
    assert back.norm().item() == pytest.approx(angle, abs=1e-9)
    assert torch.allclose(axis_angle_to_matrix(back), rotation, atol=1e-9)


def test_gradients_are_finite_at_zero():
    vector = torch.zeros(4, 3, dtype=torch.float64, requires_grad=True)
    axis_angle_to_matrix(vector).sum().backward()
    assert vector.grad is not None and torch.isfinite(vector.grad).all()
    assert torch.autograd.gradcheck(axis_angle_to_matrix, torch.randn(3, 3, dtype=torch.float64, requires_grad=True))


def test_nearest_rotation_of_a_reflection_is_proper():
    assert torch.det(nearest_rotation(torch.diag(torch.tensor([1.0, 1.0, -0.5])))).item() == pytest.approx(1)


def test_nearest_rotation_has_a_gradient_even_where_singular_values_meet():
    identity = torch.eye(3, dtype=torch.float64)[None]
    for matrix in (identity, identity + 0.2 * torch.randn(4, 3, 3, dtype=torch.float64)):
        assert torch.autograd.gradcheck(nearest_rotation, matrix.clone().requires_grad_())


def test_slerp_runs_at_constant_speed():
    start, end = random_rotations(1), random_rotations(2)
    whole = rotation_angle(start.mT @ end)
    for fraction in (0.0, 0.25, 1.0):
        way = slerp(start, end, torch.full((8,), fraction, dtype=torch.float64))
        assert torch.allclose(rotation_angle(start.mT @ way), fraction * whole, atol=1e-8)


def test_relative_to_first_starts_at_identity_and_keeps_relative_motion():
    cameras = random_motions(5, 6)
    relative = relative_to_first(cameras)
    assert torch.allclose(relative[0], torch.eye(4, dtype=torch.float64), atol=1e-12)
    assert torch.allclose(invert_rigid(relative[2]) @ relative[4], invert_rigid(cameras[2]) @ cameras[4], atol=1e-10)
