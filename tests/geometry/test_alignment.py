"""Similarity and robust scale fits against brute force and known answers."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unish.geometry.alignment import scale_weighted_l1, umeyama, weighted_median
from unish.geometry.rotations import nearest_rotation


@given(st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_umeyama_recovers_a_similarity(seed):
    generator = torch.Generator().manual_seed(seed)
    source = torch.randn(3, 20, 3, generator=generator, dtype=torch.float64)
    rotation = nearest_rotation(torch.randn(3, 3, 3, generator=generator, dtype=torch.float64))
    scale = torch.rand(3, generator=generator, dtype=torch.float64) + 0.2
    shift = torch.randn(3, 3, generator=generator, dtype=torch.float64)
    target = scale[:, None, None] * source @ rotation.mT + shift[:, None]
    found_scale, found_rotation, found_shift = umeyama(source, target)
    assert torch.allclose(found_scale, scale) and torch.allclose(found_rotation, rotation)
    assert torch.allclose(found_shift, shift)
    rigid_scale, rigid_rotation, _ = umeyama(source, target / scale[:, None, None], with_scale=False)
    assert torch.equal(rigid_scale, torch.ones_like(scale)) and torch.allclose(rigid_rotation, rotation)


@given(st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_scale_fit_is_the_exact_minimiser(seed):
    generator = torch.Generator().manual_seed(seed)
    predicted = torch.randn(40, generator=generator, dtype=torch.float64)
    target = 1.7 * predicted + 0.3 * torch.randn(40, generator=generator, dtype=torch.float64)
    weights = torch.rand(40, generator=generator, dtype=torch.float64)
    found = scale_weighted_l1(predicted, target, weights)
    candidates = torch.cat([target / predicted, found[None]])
    objective = (weights * (candidates[:, None] * predicted - target).abs()).sum(-1)
    assert objective[-1] <= objective.min() + 1e-9


def test_scale_fit_ignores_outliers():
    predicted = torch.rand(100) + 0.5
    target = 2 * predicted
    target[:30] = 100.0
    assert torch.isclose(scale_weighted_l1(predicted, target, torch.ones(100)), torch.tensor(2.0))


def test_weighted_median_counts_weight():
    values = torch.tensor([[3.0, 1.0, 2.0], [3.0, 1.0, 2.0]])
    weights = torch.tensor([[1.0, 1.0, 1.0], [5.0, 1.0, 1.0]])
    assert weighted_median(values, weights).tolist() == [2.0, 3.0]
