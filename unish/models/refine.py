"""Pixel-sharp maps for small networks: rays as a starting point, and a U-Net refinement guided by the image."""

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


class _Block(nn.Module):
    """A depthwise 5×5 filter and a two-layer perceptron on every cell, beside a residual path (ConvNeXt)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.filter = nn.Conv2d(channels, channels, 5, padding=2, groups=channels)
        self.norm = nn.GroupNorm(1, channels)
        self.widen = nn.Conv2d(channels, 2 * channels, 1)
        self.narrow = nn.Conv2d(2 * channels, channels, 1)

    def forward(self, x: Float[Tensor, "frames c h w"]) -> Float[Tensor, "frames c h w"]:
        return x + self.narrow(F.gelu(self.widen(self.norm(self.filter(x)))))


class Refiner(nn.Module):
    """Adds a correction, read from the image and the coarse maps, to points and confidence.

    Patch heads draw each block of pixels on its own; here edges follow the image. A U-Net at a half, a quarter and an
    eighth of the resolution gathers what surrounds a pixel, and two convolutions at full resolution place the edges:
    no pixel-shuffle, which leaves a checkerboard. The last layer starts at zero, so that training begins with the
    coarse maps.
    """

    MAPS = 7
    """Channels that are read: the normalised image, x/z, y/z and log z, confidence."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half, quarter, eighth = channels, 2 * channels, 3 * channels
        self.stem = nn.Conv2d(4 * self.MAPS, half, 3, padding=1)
        self.at_half = nn.Sequential(_Block(half), _Block(half))
        self.to_quarter = nn.Conv2d(half, quarter, 2, stride=2)
        self.at_quarter = nn.Sequential(_Block(quarter), _Block(quarter))
        self.to_eighth = nn.Conv2d(quarter, eighth, 2, stride=2)
        self.at_eighth = nn.Sequential(_Block(eighth), _Block(eighth), _Block(eighth))
        self.from_eighth, self.from_quarter = nn.Conv2d(eighth, quarter, 1), nn.Conv2d(quarter, half, 1)
        self.mix_quarter, self.mix_half = _Block(quarter), _Block(half)
        self.edges = nn.Conv2d(half + self.MAPS, 16, 3, padding=1)
        self.last = nn.Conv2d(16, 4, 3, padding=1)
        for parameter in self.last.parameters():
            nn.init.zeros_(parameter)

    def forward(
        self,
        images: Float[Tensor, "frames 3 height width"],
        point_map: Float[Tensor, "frames 3 height width"],
        logits: Float[Tensor, "frames 1 height width"],
    ) -> tuple[Tensor, Tensor]:
        """Refined slopes and log depth, and refined confidence logits; any height and width."""
        height, width = point_map.shape[-2:]
        maps = torch.cat([images, point_map, logits], dim=1)
        maps = F.pad(maps, (0, -width % 8, 0, -height % 8), mode="replicate").contiguous(
            memory_format=torch.channels_last
        )
        half = self.at_half(self.stem(F.pixel_unshuffle(maps, 2)))
        quarter = self.at_quarter(self.to_quarter(half))
        eighth = self.at_eighth(self.to_eighth(quarter))
        quarter = self.mix_quarter(quarter + _doubled(self.from_eighth(eighth)))
        half = self.mix_half(half + _doubled(self.from_quarter(quarter)))
        edges = F.gelu(self.edges(torch.cat([_doubled(half), maps], dim=1)))
        correction = self.last(edges)[..., :height, :width].float()
        return point_map + correction[:, :3], logits + correction[:, 3:]


def _doubled(x: Float[Tensor, "frames c h w"]) -> Float[Tensor, "frames c 2*h 2*w"]:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
