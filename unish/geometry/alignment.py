"""Fitting one set of points or depths onto another, with and without outliers."""

import torch
from jaxtyping import Float
from torch import Tensor


def umeyama(
    source: Float[Tensor, "*batch points 3"], target: Float[Tensor, "*batch points 3"], with_scale: bool = True
) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch 3 3"], Float[Tensor, "*batch 3"]]:
    """Least-squares similarity (scale, rotation, translation) with target ≈ scale · rotation · source + translation.

    Source: Umeyama 1991. `with_scale=False` fits a rigid motion (scale 1).
    """
    source_mean, target_mean = source.mean(-2, keepdim=True), target.mean(-2, keepdim=True)
    source_centred, target_centred = source - source_mean, target - target_mean
    covariance = target_centred.mT @ source_centred
    u, singular, vh = torch.linalg.svd(covariance)
    sign = torch.det(u @ vh)
    flip = torch.stack([torch.ones_like(sign), torch.ones_like(sign), sign], dim=-1)
    rotation = (u * flip[..., None, :]) @ vh
    spread = source_centred.square().sum((-2, -1)).clamp(min=torch.finfo(source.dtype).tiny)
    scale = (singular * flip).sum(-1) / spread if with_scale else torch.ones_like(sign)
    translation = target_mean[..., 0, :] - scale[..., None] * (rotation @ source_mean.mT)[..., 0]
    return scale, rotation, translation


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
