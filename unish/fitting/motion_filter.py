"""Motion freed from jitter before anything is fitted: the smoothest course that the noise of the network allows."""

import torch
from jaxtyping import Float
from torch import Tensor

MAX_NOISE_M, MAX_NOISE_RAD = 0.025, 0.08


def smoothed(
    values: Float[Tensor, "frames *rest"],
    times_s: Float[Tensor, "frames"],
    sigma_per_s2: float,
    most_noise: float,
) -> Float[Tensor, "frames *rest"]:
    """Values with the least sum of (change / noise)² + (acceleration / `sigma_per_s2`)² (Whittaker 1923).

    The noise is what the values themselves show, by the median of their third differences, at most `most_noise`. At
    few frames per second a motion's own acceleration is larger than any noise, and hardly anything is changed.
    """
    if len(values) < 5:
        return values
    flat = values.flatten(1).double()
    third = flat.diff(n=3, dim=0).abs().flatten()
    noise = min(1.4826 * float(third.median()) / 20**0.5, most_noise)  # 1, 3, 3, 1: their squares add up to 20
    difference = _second_derivative(times_s.double()) / sigma_per_s2
    normal = torch.eye(len(flat), dtype=flat.dtype, device=flat.device) / max(noise, 1e-9) ** 2
    system = normal + difference.mT @ difference
    return torch.linalg.solve(system, normal @ flat).reshape(values.shape).to(values.dtype)


def _second_derivative(times_s: Tensor) -> Float[Tensor, "frames_less_2 frames"]:
    """Matrix that takes values at these times to their second derivatives."""
    count, step = len(times_s), times_s.diff()
    before, after = step[:-1], step[1:]
    matrix = times_s.new_zeros(count - 2, count)
    row = torch.arange(count - 2, device=times_s.device)
    matrix[row, row] = 2 / (before * (before + after))
    matrix[row, row + 1] = -2 / (before * after)
    matrix[row, row + 2] = 2 / (after * (before + after))
    return matrix
