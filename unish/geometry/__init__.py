"""Pure geometry on tensors: rotations, rigid motions, cameras, scale, robust fits. Batched, differentiable."""

CROP_SIZE_PX = 256
"""Side of the square crops of people that the human branch takes."""
VALID_CONFIDENCE = 0.1
"""Points of a lower confidence (0..1) are not used."""
