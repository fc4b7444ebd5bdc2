"""Similarity and robust fits against brute force, reference numbers and known answers."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from unish.geometry import alignment
from unish.geometry.alignment import robust_affine, scale_weighted_l1, umeyama, weighted_median
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


def affine_objective(scale, shift, x, y, w, truncation):
    """Σ min(w·|s·x + t − y|, τ) of each row, for any number of lines (..., lines) a row (..., n)."""
    w, x, y = (v.double()[..., None, :] for v in (w, x, y))
    error = w * (scale.double()[..., None] * x + shift.double()[..., None] - y).abs()
    return error.clamp(max=truncation or torch.inf).sum(-1)


def best_by_pairs(x, y, w, truncation):
    """The lowest objective of one row among all lines through two points that count, and level ones through one."""
    x, y, w = (v[w > 0].double() for v in (x, y, w))
    i, j = torch.triu_indices(len(x), len(x), 1)
    i, j = i[x[i] != x[j]], j[x[i] != x[j]]
    scale = torch.cat([(y[i] - y[j]) / (x[i] - x[j]), torch.zeros(len(x), dtype=torch.float64)])
    shift = torch.cat([y[i], y]) - scale * torch.cat([x[i], x])
    return affine_objective(scale, shift, x, y, w, truncation).min()


@pytest.mark.parametrize(("name", "truncation"), [("l1", None), ("truncated_0.05", 0.05)])
def test_affine_fit_is_as_good_as_the_reference(reference_dir, name, truncation):
    golden = load_file(reference_dir / "robust_affine.safetensors")
    x, y, w = (golden[f"input.{key}"] for key in ("depth_predicted", "depth_pseudo", "weight"))
    scale, shift = robust_affine(x, y, w, truncation)
    found = affine_objective(scale[:, None], shift[:, None], x, y, w, truncation)[:, 0]
    assert (found <= golden[f"{name}.objective"] * (1 + 1e-5)).all()


@given(st.integers(0, 10_000), st.booleans(), st.booleans())
@settings(max_examples=40, deadline=None)
def test_affine_fit_is_the_exact_minimiser(seed, truncated, ties):
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(4, 24, generator=generator, dtype=torch.float64) * 3 - 1
    y = 1.7 * x - 0.4 + 0.05 * torch.randn(4, 24, generator=generator, dtype=torch.float64)
    y[:, :8] += 3 * torch.randn(4, 8, generator=generator, dtype=torch.float64)
    if ties:
        x, y = (x * 4).round() / 4, (y * 4).round() / 4
    w = torch.rand(4, 24, generator=generator, dtype=torch.float64)
    w[torch.rand(4, 24, generator=generator) < 0.3] = 0.0
    truncation = 0.1 if truncated else None
    scale, shift = robust_affine(x, y, w, truncation)
    found = affine_objective(scale[:, None], shift[:, None], x, y, w, truncation)[:, 0]
    expected = torch.stack([best_by_pairs(*row, truncation) for row in zip(x, y, w, strict=True)])
    assert (found <= expected + 1e-9).all()


@pytest.mark.parametrize("truncation", [None, 0.05])
def test_affine_fit_ignores_outliers_and_pairs_without_weight(truncation):
    x = torch.linspace(1, 2, 40).repeat(2, 3, 1)
    y, w = 2 * x + 0.5, torch.ones_like(x)
    y[..., ::4] = 50.0
    w[..., 1], y[..., 1], x[..., 1] = 0.0, torch.nan, torch.inf
    scale, shift = robust_affine(x, y, w, truncation)
    assert scale.shape == (2, 3)
    assert torch.allclose(scale, torch.tensor(2.0), atol=1e-5) and torch.allclose(shift, torch.tensor(0.5), atol=1e-5)
    other = y.clone()
    other[..., 1] = 7.0
    again = robust_affine(x.nan_to_num(posinf=-3.0), other, w, truncation)
    assert torch.equal(scale, again[0]) and torch.equal(shift, again[1])


def test_truncation_holds_where_most_points_are_outliers():
    x = torch.linspace(1, 2, 50)
    y = torch.where(torch.arange(50) < 20, 2 * x, 5 + 7 * torch.sin(40 * x))
    scale, shift = robust_affine(x, y, torch.ones(50), 0.02)
    assert scale.item() == pytest.approx(2.0, abs=1e-5) and shift.item() == pytest.approx(0.0, abs=1e-5)


@pytest.mark.parametrize("truncation", [None, 0.05])
def test_affine_fit_of_rows_without_a_line(truncation):
    x = torch.tensor([[2.0, 2.0, 2.0], [1.0, 2.0, 3.0], [1.0, 2.0, 3.0]])
    y = torch.tensor([[3.0, 5.0, 5.0], [4.0, 9.0, 9.0], [4.0, 9.0, 9.0]])
    w = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    scale, shift = robust_affine(x, y, w, truncation)
    assert scale.tolist() == [1.0, 1.0, 1.0] and shift.tolist() == [3.0, 3.0, 0.0]
    single = robust_affine(x[:, :1], y[:, :1], w[:, :1], truncation)
    assert single[0].tolist() == [1.0, 1.0, 1.0] and single[1].tolist() == [1.0, 3.0, 0.0]


def test_affine_fit_does_not_depend_on_how_it_is_cut_up(monkeypatch):
    x, y, w = torch.rand(3, 5, 30, generator=torch.Generator().manual_seed(0))
    whole = robust_affine(x, y, w, 0.1)
    monkeypatch.setattr(alignment, "MAX_SLOPES", 1000)
    parts = robust_affine(x, y, w, 0.1)
    assert torch.equal(whole[0], parts[0]) and torch.equal(whole[1], parts[1])
    assert not robust_affine(x.requires_grad_(), y, w)[0].requires_grad
