"""The convolutional networks in the repository: an encoder over five resolutions, a decoder back to a quarter.

The person detector and the keypoint network are heads on this; see `mini_detector` and `mini_keypoints`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from unish.errors import InputError
from unish.utils.bundled_network import BundledNetwork

STRIDE = 4
"""Input pixels per cell of the output."""
MULTIPLE_PX = 32
"""Sides of the input are multiples of this."""


@dataclass(frozen=True)
class PyramidConfig:
    """Sizes of the network."""

    channels: tuple[int, ...] = (16, 32, 64, 128, 192)
    """At 1/2, 1/4, 1/8, 1/16 and 1/32 of the input."""
    depths: tuple[int, ...] = (0, 1, 3, 5, 4)
    decoder_channels: int = 48

    def __post_init__(self) -> None:
        if len(self.channels) != 5 or len(self.depths) != 5:
            raise InputError("The network has five stages; give five channels and five depths.")


class PyramidFeatures(NamedTuple):
    """What the decoder and the encoder hold."""

    quarter: Float[Tensor, "batch c h w"]
    """The decoder's, at a quarter of the input's resolution."""
    levels: tuple[Float[Tensor, "batch _ _ _"], ...]
    """The encoder's at 1/2, 1/4, 1/8, 1/16 and 1/32."""


class Block(nn.Module):
    """A depthwise 5×5 filter, then a two-layer perceptron on every cell, beside a residual path."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.filter = nn.Conv2d(channels, channels, 5, padding=2, groups=channels, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.widen = nn.Conv2d(channels, 2 * channels, 1)
        self.narrow = nn.Conv2d(2 * channels, channels, 1)

    def forward(self, x: Float[Tensor, "batch c h w"]) -> Float[Tensor, "batch c h w"]:
        return x + self.narrow(functional.relu(self.widen(self.norm(self.filter(x)))))


def _reduced(channels_in: int, channels_out: int) -> nn.Sequential:
    """Half the resolution."""
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, 2, stride=2, bias=False), nn.BatchNorm2d(channels_out), nn.ReLU()
    )


class PyramidNet(BundledNetwork):
    """Encoder over five resolutions, decoder back to a quarter with additive skips, and a head."""

    def __init__(self, config: PyramidConfig, outputs: int) -> None:
        super().__init__()
        widths, width = config.channels, config.decoder_channels
        self.stem = nn.Sequential(
            nn.Conv2d(3, widths[0], 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(widths[0]), nn.ReLU()
        )
        self.reductions = nn.ModuleList(_reduced(a, b) for a, b in pairwise(widths))
        self.stages = nn.ModuleList(
            nn.Sequential(*(Block(c) for _ in range(depth)))
            for c, depth in zip(widths[1:], config.depths[1:], strict=True)
        )
        self.laterals = nn.ModuleList(nn.Conv2d(c, width, 1) for c in widths[1:])
        self.mixers = nn.ModuleList(Block(width) for _ in widths[2:])
        self.head = nn.Sequential(Block(width), nn.ReLU(), nn.Conv2d(width, outputs, 1))

    def features(self, images: Float[Tensor, "batch 3 height width"]) -> PyramidFeatures:
        """`images` in 0..1, both sides multiples of 32."""
        levels = [self.stem((images - 0.45) / 0.25)]
        for reduction, stage in zip(self.reductions, self.stages, strict=True):
            levels.append(stage(reduction(levels[-1])))
        return PyramidFeatures(decoded(levels[1:], self.laterals, self.mixers), tuple(levels))


def decoded(
    levels: Sequence[Float[Tensor, "batch _ _ _"]], laterals: nn.ModuleList, mixers: nn.ModuleList
) -> Float[Tensor, "batch c h w"]:
    """From the coarsest level to the first, each added through its lateral and mixed."""
    x = laterals[-1](levels[-1])
    for index in range(len(levels) - 2, -1, -1):
        x = functional.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
        x = mixers[index](x + laterals[index](levels[index]))
    return x
