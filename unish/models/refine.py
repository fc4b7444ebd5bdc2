"""Pixel-sharp maps for small networks: rays as a starting point, and a U-shaped refinement guided by the image."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


def pixel_rays(like: Float[Tensor, "frames 3 height width"]) -> Float[Tensor, "1 3 height width"]:
    """x/z, y/z and log z = 0 of each pixel's centre for a camera whose focal length is half the diagonal."""
    height, width = like.shape[-2:]
    half_diagonal = 0.5 * (height**2 + width**2) ** 0.5
    x = (torch.arange(width, device=like.device) + 0.5 - width / 2) / half_diagonal
    y = (torch.arange(height, device=like.device) + 0.5 - height / 2) / half_diagonal
    rays = [x.expand(height, width), y[:, None].expand(height, width), torch.zeros_like(like[0, 0])]
    return torch.stack(rays)[None].to(like.dtype)


class Refiner(nn.Module):
    """Adds a correction, read from the image and the coarse maps, to points and confidence.

    Patch heads draw each block of pixels on its own; the convolutions let edges follow the image. Everything
    runs on folded 2 × 2 pixels, where convolutions are cheap and nothing is lost. The last layer starts at zero,
    so that training begins with the coarse maps.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        last = nn.Conv2d(channels, 4 * 4, 3, padding=1)
        for parameter in last.parameters():
            nn.init.zeros_(parameter)
        self.layers = nn.Sequential(
            nn.PixelUnshuffle(2),
            nn.Conv2d(4 * 7, channels, 3, padding=1),
            nn.GELU(),
            nn.Conv2d(channels, channels, 3, padding=2, dilation=2),
            nn.GELU(),
            last,
            nn.PixelShuffle(2),
        )

    def forward(
        self,
        images: Float[Tensor, "frames 3 height width"],
        point_map: Float[Tensor, "frames 3 height width"],
        logits: Float[Tensor, "frames 1 height width"],
    ) -> tuple[Tensor, Tensor]:
        """Refined slopes and log depth, and refined confidence logits; any height and width."""
        height, width = point_map.shape[-2:]
        seen = torch.cat([images, point_map, logits], dim=1)
        even = F.pad(seen, (0, width % 2, 0, height % 2), mode="replicate")
        correction = self.layers(even.contiguous(memory_format=torch.channels_last))[..., :height, :width].float()
        return point_map + correction[:, :3], logits + correction[:, 3:]
