"""What the network says of one window of a clip."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Prediction:
    """What one forward pass gives, in network units: nothing here is metric but the meaning of `scale`."""

    points_camera: Float[Tensor, "batch frames height width 3"]
    confidence: Float[Tensor, "batch frames height width"]
    """In 0..1."""
    world_from_camera: Float[Tensor, "batch frames 4 4"]
    """The world is the first frame's camera."""
    scale: Float[Tensor, "batch people"]
    """Metric size of the clip when its points have mean norm 1."""
    translation_camera: Float[Tensor, "batch people frames 3"]
    body_rotations: Float[Tensor, "batch people frames 24 3 3"]
    """Index 0 turns the body into the camera's frame; the rest are relative to the parent joint."""
    betas: Float[Tensor, "batch people 10"]
