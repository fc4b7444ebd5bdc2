"""Pure geometry on tensors: rotations, rigid motions, cameras, scale, robust fits. Batched, differentiable."""
