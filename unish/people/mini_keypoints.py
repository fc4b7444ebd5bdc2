"""The mini keypoint network: a small convolutional network in the repository, one crop per person and frame.

For every keypoint it says how likely each cell of the crop shows it, and how likely the crop does not: one softmax over
both. Where the probability is gathered around one cell, the network is sure.
"""

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional

from unish.people.keypoints import crop_region, crop_regions, heatmap_peaks
from unish.people.pyramid import STRIDE, PyramidConfig, PyramidNet
from unish.structures import KEYPOINT_NAMES
from unish.utils.assets import MINI_KEYPOINTS
from unish.utils.bundled_network import load_bundled, save_bundled

MIRRORED_KEYPOINTS = tuple(
    KEYPOINT_NAMES.index({"left": "right", "right": "left"}.get(side, side) + rest)
    for side, rest in ((name.split("_")[0], name[len(name.split("_")[0]) :]) for name in KEYPOINT_NAMES)
)
"""Which keypoint each one becomes in a mirror."""
_LEAST_CONFIDENCE = 0.2
"""A smaller probability is no sighting: such keypoints get confidence 0."""
_AROUND = 5
"""Cells on a side of the square around a peak whose probability counts as the peak's."""
_NEAR, _REACH = 4.0, 12
"""In cells: being r off is worth exp(−r / `_NEAR`), and nothing from `_REACH` on."""


@dataclass(frozen=True)
class MiniKeypointConfig(PyramidConfig):
    """Sizes of the network and of the crops."""

    decoder_channels: int = 64
    width_px: int = 128
    height_px: int = 192


class MiniKeypointOutput(NamedTuple):
    """Logits of one softmax per keypoint over the cells and the chance that the crop does not show it."""

    cell_logits: Float[Tensor, "batch 17 h w"]
    absent_logits: Float[Tensor, "batch 17"]


class MiniKeypointNet(PyramidNet):
    """The pyramid with a head of one channel per keypoint."""

    what = "keypoint network"

    def __init__(self, config: MiniKeypointConfig) -> None:
        super().__init__(config, outputs=len(KEYPOINT_NAMES))
        self.config = config
        self.absent = nn.Linear(config.channels[-1], len(KEYPOINT_NAMES))

    def forward(self, images: Float[Tensor, "batch 3 height width"]) -> MiniKeypointOutput:
        """`images` in 0..1, of the configuration's size."""
        features = self.features(images)
        return MiniKeypointOutput(self.head(features.quarter), self.absent(features.coarsest.mean((-2, -1))))


@dataclass(frozen=True)
class MiniKeypoints:
    """The network with its decoding (`KeypointEstimator`)."""

    network: MiniKeypointNet
    visible_from: float = 0.1
    """Measured on the bundled network's people: masks miss more with 0.3, as confidences are squares."""

    def estimate(
        self, frames: UInt8[np.ndarray, "frames height width 3"], boxes_px: Float[np.ndarray, "frames 4"]
    ) -> Float[np.ndarray, "frames 17 3"]:
        """Where each keypoint is likeliest, and the square of the probability around there; the mean over the crop and
        its mirror image."""
        size = self.network.config.width_px, self.network.config.height_px
        regions = crop_regions(boxes_px, size[0] / size[1])
        crops = np.stack([crop_region(frame, region, size) for frame, region in zip(frames, regions, strict=True)])
        images = torch.from_numpy(crops).permute(0, 3, 1, 2).float() / 255
        with torch.inference_mode():
            seen, mirrored = (cell_probabilities(self.network(view)) for view in (images, images.flip(-1)))
            heatmaps = (seen + mirrored.flip(-1)[:, list(MIRRORED_KEYPOINTS)]) / 2
        cells, confidence = keypoints_in_cells(heatmaps)
        # Squared: a network this small is surer than it is right.
        confidence = np.where(confidence < _LEAST_CONFIDENCE, 0.0, confidence) ** 2
        # Pixel centres of the crop lie evenly from the region's one edge to the other, those of cells between them.
        pixels = (cells + 0.5) * STRIDE - 0.5
        points = regions[:, None, :2] + pixels / (np.array(size) - 1) * (regions[:, None, 2:] - regions[:, None, :2])
        return np.concatenate([points, confidence[..., None]], axis=-1)


def cell_probabilities(output: MiniKeypointOutput) -> Float[Tensor, "batch 17 h w"]:
    """How likely each cell shows each keypoint; what is missing to 1 is the chance that none does."""
    logits = torch.cat([output.cell_logits.flatten(2), output.absent_logits[..., None]], dim=-1)
    return logits.softmax(-1)[..., :-1].unflatten(-1, output.cell_logits.shape[-2:])


def keypoints_in_cells(
    probabilities: Float[Tensor, "batch 17 h w"],
) -> tuple[Float[np.ndarray, "batch 17 2"], Float[np.ndarray, "batch 17"]]:
    """Column and row of each keypoint, in cells, and the probability around there.

    Not the likeliest cell, but the one that is nearest to the likely ones: a broad bump beats a sharper, smaller one.
    """
    around = functional.avg_pool2d(probabilities, _AROUND, stride=1, padding=_AROUND // 2, divisor_override=1)
    planes = probabilities.flatten(0, 1)[:, None]
    worth = functional.conv2d(planes, _nearness(), padding=_REACH).view_as(probabilities)
    cells, _ = heatmap_peaks(worth.numpy())
    return cells, around.amax((-2, -1)).clamp(0, 1).numpy().astype(np.float64)


@functools.cache
def _nearness() -> Float[Tensor, "1 1 side side"]:
    along = torch.arange(-_REACH, _REACH + 1.0)
    return torch.exp(-torch.hypot(along[:, None], along) / _NEAR)[None, None]


@functools.lru_cache(maxsize=2)
def load_mini_keypoints(folder: Path = MINI_KEYPOINTS) -> MiniKeypoints:
    """The network from `model.safetensors` and `config.json`, on the CPU, ready to use.

    Raises `MissingAssetError` when a file is not there, `CheckpointError` when one is damaged or does not fit.
    """
    return MiniKeypoints(load_bundled(MiniKeypointNet, MiniKeypointConfig, folder))


def save_mini_keypoints(network: MiniKeypointNet, folder: Path) -> None:
    """Write the weights in half precision and their configuration; a failed save leaves nothing behind."""
    save_bundled(network, network.config, folder)
