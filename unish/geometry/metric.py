"""From network units to metres (UniSH: the scale that AlignNet predicts is the metric size of unit-norm points)."""

import torch
from jaxtyping import Float
from torch import Tensor

from unish.geometry import VALID_CONFIDENCE


def clip_norm(
    points_camera: Float[Tensor, "batch frames height width 3"],
    confidence: Float[Tensor, "batch frames height width"],
    threshold: float = VALID_CONFIDENCE,
) -> Float[Tensor, "batch"]:
    """Mean distance of a clip's valid points (confidence above the threshold) from their cameras, in network units.

    Where nothing is valid every point counts, so that the result stays finite.
    """
    weight = (confidence > threshold).to(points_camera.dtype)
    weight = torch.where(weight.sum((1, 2, 3), keepdim=True) > 0, weight, torch.ones_like(weight))
    return (points_camera.norm(dim=-1) * weight).sum((1, 2, 3)) / weight.sum((1, 2, 3))


def metric_factor(
    scale: Float[Tensor, "batch"],
    points_camera: Float[Tensor, "batch frames height width 3"],
    confidence: Float[Tensor, "batch frames height width"],
) -> Float[Tensor, "batch"]:
    """Metres per network unit: multiplies points, camera translations and body translations."""
    return scale / clip_norm(points_camera, confidence)
