"""Pure geometry on tensors: rotations, rigid motions, cameras, scale, robust fits. Batched, differentiable."""

VALID_CONFIDENCE = 0.1
"""Points of a lower confidence (0..1) are not used."""
