"""Pure geometry on tensors: rotations, rigid motions, cameras, scale, robust fits. Batched, differentiable."""

NUM_JOINTS, NUM_BETAS = 24, 10
"""Of SMPL-format bodies: joints, the root among them, and directions of shape."""
CROP_SIZE_PX = 256
"""Side of the square crops of people that the human branch takes."""
FILM_DIAGONAL_MM = 43.2666
"""Of a 36 × 24 mm frame of 35 mm film, which phones state focal lengths by."""
VALID_CONFIDENCE = 0.1
"""Points of a lower confidence (0..1) are not used."""
