"""The mini keypoint network: a small convolutional network in the repository, one crop per person and frame.

For every keypoint it says how likely each cell of the crop shows it, and how likely the crop does not: one softmax over
both. Where the probability is gathered around one cell, the network is sure. A second head says which pixels are the
person's.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor, nn
from torch.nn import functional

from unish.people.keypoints import PADDING, crop_region, crop_regions, heatmap_peaks
from unish.people.pyramid import STRIDE, Block, PyramidConfig, PyramidNet, decoded
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
_MASK_PADDING = 0.9 * PADDING
"""Masks come of a crop tighter than that of keypoints: finer pixels are worth more than what lies around."""
MASK_STRIDE = 2
"""Input pixels per cell of the mask."""
_NEAR, _REACH = 4.0, 12
"""In cells: being r off is worth exp(−r / `_NEAR`), and nothing from `_REACH` on."""


@dataclass(frozen=True)
class MiniKeypointConfig(PyramidConfig):
    """Sizes of the network and of the crops."""

    decoder_channels: int = 64
    mask_channels: int = 48
    width_px: int = 128
    height_px: int = 192


class MiniKeypointOutput(NamedTuple):
    """Logits of one softmax per keypoint over the cells and the chance that the crop does not show it; and of the
    chance that a pixel is the person's, at half the crop's resolution."""

    cell_logits: Float[Tensor, "batch 17 h w"]
    absent_logits: Float[Tensor, "batch 17"]
    mask_logits: Float[Tensor, "batch h2 w2"]


class MaskDecoder(nn.Module):
    """A decoder of its own for the mask, from the encoder's levels to half the crop's resolution."""

    def __init__(self, config: MiniKeypointConfig) -> None:
        super().__init__()
        width = config.mask_channels
        self.laterals = nn.ModuleList(nn.Conv2d(c, width, 1) for c in config.channels)
        self.mixers = nn.ModuleList(Block(width) for _ in config.channels[1:])
        self.head = nn.Sequential(Block(width), nn.ReLU(), nn.Conv2d(width, 1, 1))

    def forward(self, levels: Sequence[Float[Tensor, "batch _ _ _"]]) -> Float[Tensor, "batch h2 w2"]:
        return self.head(decoded(levels, self.laterals, self.mixers))[:, 0]


class MiniKeypointNet(PyramidNet):
    """The pyramid with a head of one channel per keypoint, and one for the mask."""

    what = "keypoint network"

    def __init__(self, config: MiniKeypointConfig) -> None:
        super().__init__(config, outputs=len(KEYPOINT_NAMES))
        self.config = config
        self.absent = nn.Linear(config.channels[-1], len(KEYPOINT_NAMES))
        self.mask = MaskDecoder(config)

    def forward(self, images: Float[Tensor, "batch 3 height width"]) -> MiniKeypointOutput:
        """`images` in 0..1, of the configuration's size."""
        features = self.features(images)
        absent = self.absent(features.levels[-1].mean((-2, -1)))
        return MiniKeypointOutput(self.head(features.quarter), absent, self.mask(features.levels))


@dataclass(frozen=True)
class MiniKeypoints:
    """The network with its decoding (`KeypointEstimator`, `MaskEstimator`)."""

    network: MiniKeypointNet

    def estimate(
        self, frames: UInt8[np.ndarray, "frames height width 3"], boxes_px: Float[np.ndarray, "frames 4"]
    ) -> Float[np.ndarray, "frames 17 3"]:
        """Where each keypoint is likeliest, and the square of the probability around there; the mean over the crop and
        its mirror image."""
        regions, images = self._crops(frames, boxes_px)
        with torch.inference_mode():
            seen, mirrored = (cell_probabilities(self.network(view)) for view in (images, images.flip(-1)))
            heatmaps = (seen + mirrored.flip(-1)[:, list(MIRRORED_KEYPOINTS)]) / 2
        cells, confidence = keypoints_in_cells(heatmaps)
        # Squared: a network this small is surer than it is right.
        confidence = np.where(confidence < _LEAST_CONFIDENCE, 0.0, confidence) ** 2
        # Pixel centres of the crop lie evenly from the region's one edge to the other, those of cells between them.
        pixels = (cells + 0.5) * STRIDE - 0.5
        points = regions[:, None, :2] + pixels * self._pixels_per_crop_pixel(regions)[:, None]
        return np.concatenate([points, confidence[..., None]], axis=-1)

    def person_chances(
        self, frames: UInt8[np.ndarray, "frames height width 3"], boxes_px: Float[np.ndarray, "frames 4"]
    ) -> Float32[np.ndarray, "frames height width"]:
        """How likely each pixel is the person's, 0 beside the crop; the mean over the crop and its mirror image."""
        regions, images = self._crops(frames, boxes_px, _MASK_PADDING)
        with torch.inference_mode():
            seen, mirrored = (self.network(view).mask_logits.sigmoid() for view in (images, images.flip(-1)))
        in_crops = ((seen + mirrored.flip(-1)) / 2).numpy()
        sides, chances = self._pixels_per_crop_pixel(regions), np.zeros(frames.shape[:3], np.float32)
        for chance, in_crop, region, side in zip(chances, in_crops, regions, sides, strict=True):
            # In OpenCV's coordinates, where the centres of cells and pixels are whole numbers.
            corner = region[:2] + (MASK_STRIDE - 1) / 2 * side - 0.5
            matrix = np.column_stack([np.diag(MASK_STRIDE * side), corner])
            chance[:] = cv2.warpAffine(in_crop, matrix, chance.shape[::-1], flags=cv2.INTER_LINEAR)
        return chances

    def _crops(
        self,
        frames: UInt8[np.ndarray, "frames height width 3"],
        boxes_px: Float[np.ndarray, "frames 4"],
        padding: float = PADDING,
    ) -> tuple[Float[np.ndarray, "frames 4"], Float[Tensor, "frames 3 crop_height crop_width"]]:
        """What the crops around the boxes show, and the crops, in 0..1."""
        size = self.network.config.width_px, self.network.config.height_px
        regions = crop_regions(boxes_px, size[0] / size[1], padding)
        crops = np.stack([crop_region(frame, region, size) for frame, region in zip(frames, regions, strict=True)])
        return regions, torch.from_numpy(crops).permute(0, 3, 1, 2).float() / 255

    def _pixels_per_crop_pixel(self, regions: Float[np.ndarray, "frames 4"]) -> Float[np.ndarray, "frames 2"]:
        size = np.array([self.network.config.width_px, self.network.config.height_px])
        return (regions[:, 2:] - regions[:, :2]) / (size - 1)


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
