"""Keypoints of tracked people, by a top-down network of transformers: ViTPose (Xu et al. 2022), one crop per frame."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8

from unish.errors import CheckpointError
from unish.people.detector import Preprocessing
from unish.people.hf_models import load_network, network_images, weights_folder
from unish.structures import KEYPOINT_NAMES, PersonTrack
from unish.utils.device import chosen_device
from unish.utils.disk_arrays import release_pages
from unish.utils.progress import Progress, no_progress

KEYPOINT_REPOSITORY = "usyd-community/vitpose-plus-small"
"""ViTPose++ small, 133 MB; Apache-2.0."""

PADDING = 1.25
"""How much larger than the box the crop is, as the network was trained."""
_PREPROCESSING = Preprocessing(192, 256, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_COCO = 0
"""The data set among those of ViTPose++ whose keypoints are asked for."""
_SMALLEST = 1e-6


@runtime_checkable
class KeypointEstimator(Protocol):
    """Locates the keypoints of a person in a box."""

    def estimate(
        self, frames: UInt8[np.ndarray, "frames height width 3"], boxes_px: Float[np.ndarray, "frames 4"]
    ) -> Float[np.ndarray, "frames 17 3"]:
        """x, y in pixels of the frames and confidence in 0..1 of `KEYPOINT_NAMES`, for one box per frame."""
        ...


@dataclass(frozen=True)
class VitPose:
    """ViTPose and the decoding of its heatmaps; see `load_keypoint_estimator`."""

    network: Any
    """A `VitPoseForPoseEstimation`."""
    device: torch.device
    preprocessing: Preprocessing = _PREPROCESSING

    def estimate(
        self, frames: UInt8[np.ndarray, "frames height width 3"], boxes_px: Float[np.ndarray, "frames 4"]
    ) -> Float[np.ndarray, "frames 17 3"]:
        """Position and confidence of the peak of each keypoint's heatmap."""
        size = self.preprocessing.width_px, self.preprocessing.height_px
        regions = crop_regions(boxes_px, size[0] / size[1])
        crops = np.stack([crop_region(frame, region, size) for frame, region in zip(frames, regions, strict=True)])
        experts = getattr(self.network.config.backbone_config, "num_experts", 1)
        dataset = torch.full((len(crops),), _COCO, device=self.device) if experts > 1 else None
        with torch.inference_mode():
            images = network_images(crops, size, self.device, self.preprocessing.mean, self.preprocessing.std)
            heatmaps = self.network(pixel_values=images, dataset_index=dataset).heatmaps.float().cpu().numpy()
        cells, confidence = heatmap_peaks(heatmaps)
        # The centres of the first and the last cell lie on the region's edges (unbiased data processing).
        last_cell = np.array(heatmaps.shape[:1:-1]) - 1
        points = regions[:, None, :2] + cells / last_cell * (regions[:, None, 2:] - regions[:, None, :2])
        return np.concatenate([points, confidence[..., None]], axis=-1)


def crop_regions(
    boxes_px: Float[np.ndarray, "n 4"], aspect: float, padding: float = PADDING
) -> Float[np.ndarray, "n 4"]:
    """What the crops show: around the boxes, `padding` times as large, of the network's aspect (width over height)."""
    centers, sizes = (boxes_px[:, :2] + boxes_px[:, 2:]) / 2, boxes_px[:, 2:] - boxes_px[:, :2]
    heights = np.maximum(np.maximum(sizes[:, 1], sizes[:, 0] / aspect), 1.0)
    half = 0.5 * padding * np.stack([heights * aspect, heights], axis=1)
    return np.concatenate([centers - half, centers + half], axis=1)


def crop_region(
    frame: UInt8[np.ndarray, "height width *channels"], region: Float[np.ndarray, "4"], size: tuple[int, int]
) -> UInt8[np.ndarray, "crop_height crop_width *channels"]:
    """The region at `size` (width, height), black outside the frame; pixel centres as for the heatmaps."""
    scale = (np.array(size) - 1) / (region[2:] - region[:2])
    corner = region[:2] - 0.5  # in OpenCV's coordinates, where pixel centres are whole numbers
    matrix = np.array([[scale[0], 0, -scale[0] * corner[0]], [0, scale[1], -scale[1] * corner[1]]])
    return cv2.warpAffine(np.ascontiguousarray(frame), matrix, size, flags=cv2.INTER_LINEAR)


def heatmap_peaks(
    heatmaps: Float[np.ndarray, "n keypoints rows columns"],
) -> tuple[Float[np.ndarray, "n keypoints 2"], Float[np.ndarray, "n keypoints"]]:
    """Column and row of each heatmap's peak, in cells, and its height in 0..1.

    Between cells by a parabola through the logarithms along each axis, which is exact for the Gaussians that such
    networks learn (Zhang et al. 2020).
    """
    count, keypoints, _, columns = heatmaps.shape
    best = heatmaps.reshape(count, keypoints, -1).argmax(-1)
    place = np.stack([best % columns, best // columns], axis=-1)
    logs = np.log(np.pad(np.maximum(heatmaps, _SMALLEST), ((0, 0), (0, 0), (1, 1), (1, 1)), mode="edge"))
    n, k = np.ogrid[:count, :keypoints]

    def at(dx: int, dy: int) -> np.ndarray:
        return logs[n, k, place[..., 1] + 1 + dy, place[..., 0] + 1 + dx].astype(np.float64)

    offsets = []
    for dx, dy in ((1, 0), (0, 1)):
        before, after = at(-dx, -dy), at(dx, dy)
        curvature = before - 2 * at(0, 0) + after
        offsets.append(np.where(curvature < -_SMALLEST, (before - after) / np.minimum(2 * curvature, -_SMALLEST), 0.0))
    confidence = heatmaps.max(axis=(-2, -1)).clip(0, 1)
    return place + np.stack(offsets, axis=-1).clip(-0.5, 0.5), confidence.astype(np.float64)


def load_keypoint_estimator(
    source: str | Path = KEYPOINT_REPOSITORY, device: torch.device | str | None = None
) -> VitPose:
    """ViTPose of a Hub repository (from the local cache when it is there) or of a local folder.

    Raises `MissingDependencyError` without transformers, `MissingAssetError` when the weights cannot be had,
    `CheckpointError` when they are damaged or of a network with other keypoints, `InputError` for a device that is not
    there.
    """
    target = chosen_device(device)
    network = load_network("VitPoseForPoseEstimation", source, target)
    if network.config.num_labels != len(KEYPOINT_NAMES):
        raise CheckpointError(
            f"Expected a network of COCO's {len(KEYPOINT_NAMES)} keypoints, but {source} has "
            f"{network.config.num_labels}; choose another."
        )
    return VitPose(network, target, Preprocessing.read(weights_folder(source), _PREPROCESSING))


def with_keypoints(
    frames: UInt8[np.ndarray, "frames height width 3"],
    tracks: Sequence[PersonTrack],
    estimator: KeypointEstimator,
    progress: Progress = no_progress,
    batch: int = 16,
) -> tuple[PersonTrack, ...]:
    """The tracks with keypoints in every frame in which their person is present; those that they have are kept."""
    known = [
        np.zeros((len(frames), len(KEYPOINT_NAMES), 3)) if track.keypoints_px is None else track.keypoints_px
        for track in tracks
    ]
    asked = [np.flatnonzero(t.present & (k[..., 2] == 0).all(1)) for t, k in zip(tracks, known, strict=True)]
    total, done, located = sum(map(len, asked)), 0, []
    for track, old, seen in zip(tracks, known, asked, strict=True):
        keypoints = old.copy()
        for start in range(0, len(seen), batch):
            some = seen[start : start + batch]
            keypoints[some] = estimator.estimate(frames[some], track.boxes_px[some])
            done += len(some)
            progress(done / total, "Locating keypoints")
        located.append(dataclasses.replace(track, keypoints_px=keypoints))
        release_pages(frames)
    return tuple(located)
