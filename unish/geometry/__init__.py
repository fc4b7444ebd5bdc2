"""Pure geometry on tensors: rotations, rigid motions, cameras, metric scale, robust fits. Batched and differentiable."""
