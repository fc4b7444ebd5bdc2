"""The floor under the soles of bodies that are being fitted."""

import numpy as np
import torch
from jaxtyping import Float

from unish.analysis.floor_map import FloorMap


def floor_under(
    floor: FloorMap, soles_world: Float[torch.Tensor, "frames 2 soles 3"]
) -> tuple[Float[np.ndarray, "frames 2"], Float[np.ndarray, "frames 2"]]:
    """Height of the lowest sole vertex of each foot, and of the floor under it (0, the plane, where no points show
    it)."""
    soles = soles_world.detach().cpu().double().numpy()
    lowest = soles[..., 2].argmin(-1)
    under = np.take_along_axis(soles, lowest[..., None, None], axis=2)[:, :, 0]
    return under[..., 2], floor.heights_or_plane_m(under.reshape(-1, 3)).reshape(under.shape[:2])
