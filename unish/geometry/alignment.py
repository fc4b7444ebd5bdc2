"""Fitting one set of points or depths onto another, with and without outliers."""

import itertools

import torch
from jaxtyping import Float
from torch import Tensor

MAX_SLOPES = 2**20
"""How many slopes between pairs of points `robust_affine` looks at together: a bound on its memory."""


L1_STEPS = 5
"""How many of `robust_rigid`'s steps reweight for the L1 fit that it starts from."""


def umeyama(
    source: Float[Tensor, "*batch points 3"],
    target: Float[Tensor, "*batch points 3"],
    with_scale: bool = True,
    weights: Float[Tensor, "*batch points"] | None = None,
) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch 3 3"], Float[Tensor, "*batch 3"]]:
    """Least-squares similarity (scale, rotation, translation) with target ≈ scale · rotation · source + translation.

    Source: Umeyama 1991. `with_scale=False` fits a rigid motion (scale 1); `weights` are non-negative, default equal.
    """
    share = torch.full_like(source[..., 0], 1 / source.shape[-2]) if weights is None else weights
    share = (share / share.sum(-1, keepdim=True).clamp(min=torch.finfo(source.dtype).tiny))[..., None]
    source_mean, target_mean = ((share * points).sum(-2, keepdim=True) for points in (source, target))
    source_centred, target_centred = source - source_mean, target - target_mean
    covariance = target_centred.mT @ (share * source_centred)
    u, singular, vh = torch.linalg.svd(covariance)
    sign = torch.det(u @ vh)
    flip = torch.stack([torch.ones_like(sign), torch.ones_like(sign), sign], dim=-1)
    rotation = (u * flip[..., None, :]) @ vh
    spread = (share * source_centred.square()).sum((-2, -1)).clamp(min=torch.finfo(source.dtype).tiny)
    scale = (singular * flip).sum(-1) / spread if with_scale else torch.ones_like(sign)
    translation = target_mean[..., 0, :] - scale[..., None] * (rotation @ source_mean.mT)[..., 0]
    return scale, rotation, translation


def robust_rigid(
    source: Float[Tensor, "points 3"],
    target: Float[Tensor, "points 3"],
    weights: Float[Tensor, "points"],
    tolerance: Float[Tensor, "points"],
    steps: int = 30,
) -> tuple[Float[Tensor, "3 3"], Float[Tensor, "3"], Float[Tensor, "points"]]:
    """Rotation and translation with target ≈ rotation · source + translation, and how much each point counted (0..1).

    Iteratively reweighted least squares under the Geman–McClure loss of distance / `tolerance` (how far a point may
    be off, in the points' unit, up to a common factor: that factor is found from the residuals, 1.4826 times their
    weighted median, and only shrinks, so that outliers let go step by step). Starts from the L1 fit.
    """
    base = weights / tolerance.square()
    trust = torch.ones_like(base)
    reach = torch.tensor(torch.inf, dtype=source.dtype)
    for step in itertools.count():
        _, rotation, translation = umeyama(source, target, with_scale=False, weights=base * trust)
        if step == steps:
            break
        residual = (source @ rotation.mT + translation - target).norm(dim=-1) / tolerance
        spread = 1.4826 * weighted_median(residual, weights)
        if step < L1_STEPS:
            trust = 1 / residual.clamp(min=1e-3 * spread + 1e-12)
            continue
        reach = torch.minimum(reach, 3 * spread).clamp(min=1e-9)
        trust = 1 / (1 + (residual / reach).square()).square()
    return rotation, translation, trust


def weighted_median(values: Float[Tensor, "*batch n"], weights: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch"]:
    """The value at which half of the (non-negative) weight lies below: the minimiser of Σ w·|value − m|."""
    order = values.argsort(dim=-1)
    ordered = values.gather(-1, order)
    cumulative = weights.gather(-1, order).cumsum(-1)
    position = (cumulative < 0.5 * cumulative[..., -1:]).sum(-1, keepdim=True)
    return ordered.gather(-1, position.clamp(max=values.shape[-1] - 1))[..., 0]


def scale_weighted_l1(
    predicted: Float[Tensor, "*batch n"], target: Float[Tensor, "*batch n"], weights: Float[Tensor, "*batch n"]
) -> Float[Tensor, "*batch"]:
    """The scale s that minimises Σ w·|s·predicted − target|, exactly: a weighted median of the ratios.

    Robust to outliers of up to half the weight. Works on any flattened quantity (depths, coordinates).
    """
    size = predicted.abs()
    usable = size > torch.finfo(predicted.dtype).eps
    ratio = torch.where(usable, target / torch.where(usable, predicted, torch.ones_like(predicted)), 0.0)
    return weighted_median(ratio, weights * size * usable)


@torch.no_grad()
def robust_affine(
    predicted: Float[Tensor, "*batch n"],
    target: Float[Tensor, "*batch n"],
    weights: Float[Tensor, "*batch n"],
    truncation: float | None = None,
) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch"]]:
    """The (scale, shift) that minimise Σ w·|s·predicted + t − target|, exactly; no gradient.

    With a `truncation` τ > 0 each term counts at most τ: Σ min(w·|s·predicted + t − target|, τ). Weights are
    non-negative; a pair without weight, or not finite, never counts. The scale is 1 where all predicted values are
    equal (to 1e-9 of their size), and (1, 0) is the answer where no pair counts. The fit is made in float64; where
    predicted values differ in their last digits only, rounding the answer to float32 is what limits it. Source: MoGe's
    robust solver (ROE).
    """
    usable = ((weights > 0) & predicted.isfinite() & target.isfinite()).reshape(-1, weights.shape[-1])
    x, y, w = (v.double().reshape(usable.shape).where(usable, 0.0) for v in (predicted, target, weights))
    # A best line goes through a pair that counts (so does a truncated one: it is the best line of its inliers). Each
    # such pair in turn is the anchor; what is left is one number, the slope.
    step = max(1, MAX_SLOPES // max(1, usable.numel()))
    chunks = [
        _slopes_through(x, y, w, anchors, truncation)
        for anchors in torch.arange(x.shape[1], device=x.device).split(step)
    ]
    slopes, costs = (torch.cat(parts, dim=1) for parts in zip(*chunks, strict=True))
    best = costs.where(usable, torch.inf).argmin(dim=1, keepdim=True)
    scale, anchor_x, anchor_y = (v.gather(1, best)[:, 0] for v in (slopes, x, y))
    some = usable.any(dim=1)
    scale, shift = scale.where(some, 1.0), (anchor_y - scale * anchor_x).where(some, 0.0)
    return scale.to(predicted.dtype).reshape(weights.shape[:-1]), shift.to(predicted.dtype).reshape(weights.shape[:-1])


def _slopes_through(
    x: Tensor, y: Tensor, w: Tensor, anchors: Tensor, truncation: float | None
) -> tuple[Tensor, Tensor]:
    """The best slope of a line through each anchor, and what it costs: (rows, anchors) both."""
    dx, dy = (v[:, None, :] - v[:, anchors, None] for v in (x, y))
    apart = dx.abs() > 1e-9 * x.abs()[:, None, :]
    slope = torch.where(apart, dy / dx.where(apart, 1.0), 1.0)
    steepness = w[:, None, :] * dx.abs() * apart  # a pair's cost is its steepness times how far the slope is off
    best = weighted_median(slope, steepness) if truncation is None else _truncated_median(slope, steepness, truncation)
    cost = w[:, None, :] * (best[..., None] * dx - dy).abs()
    return best, cost.clamp(max=truncation or torch.inf).sum(-1)


def _truncated_median(values: Tensor, weights: Tensor, truncation: float) -> Tensor:
    """The minimiser m of Σ min(w·|value − m|, τ) over the last axis; it is one of the values.

    Each term is a notch, and the sum a broken line: sorting where notches begin, turn and end, and adding up the
    lines a·m + b that start there, gives its height at every value at once.
    """
    counts = weights > 0
    reach = torch.where(counts, truncation / weights.where(counts, 1.0), 0.0)
    depth, product = truncation * counts, weights * values
    breaks = torch.cat([values - reach, values, values + reach], dim=-1)
    slopes = torch.cat([-weights, 2 * weights, -weights], dim=-1)
    offsets = torch.cat([product - depth, -2 * product, product + depth], dim=-1)
    order = breaks.argsort(dim=-1)
    breaks, slopes, offsets = (v.gather(-1, order) for v in (breaks, slopes, offsets))
    height = slopes.cumsum(-1) * breaks + offsets.cumsum(-1)
    n = values.shape[-1]
    turns = (order >= n) & (order < 2 * n)
    return breaks.gather(-1, height.where(turns, torch.inf).argmin(-1, keepdim=True))[..., 0]
