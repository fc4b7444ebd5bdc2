"""What the network is given of a clip and of each window, prepared while the network runs the window before."""

import functools
import os
from collections.abc import Generator
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int, UInt8
from torch import Tensor

from unish.fusion.windows import sample_uv
from unish.geometry import CROP_SIZE_PX
from unish.pipeline.options import NetworkChoices
from unish.structures import Clip, PersonTrack
from unish.utils.prefetch import prefetch
from unish.video.preprocess import FrameTransform, crop_people, frame_transform, resize_frames

if TYPE_CHECKING:
    from unish.models.unish import UniSH

MAX_THREADS = 8


@dataclass(frozen=True)
class ClipInputs:
    """What all forward passes of a clip share."""

    model: "UniSH"
    clip: Clip
    tracks: tuple[PersonTrack, ...]
    windows: tuple[range, ...]
    transform: FrameTransform
    """From the clip's frames to the network's."""
    known_focal: float | None = None
    """In half diagonals, as the network would predict it; None: it is estimated."""
    choices: NetworkChoices = NetworkChoices()  # noqa: RUF009 (frozen)

    @staticmethod
    def of(
        model: "UniSH",
        clip: Clip,
        tracks: tuple[PersonTrack, ...],
        windows: tuple[range, ...],
        known_focal: float | None = None,
        choices: NetworkChoices = NetworkChoices(),  # noqa: B008 (frozen)
    ) -> "ClipInputs":
        """For frames of the clip's size; `known_focal` in half diagonals, as the user knows it."""
        scene, (height, width) = model.config.scene, clip.frames.shape[1:3]
        transform = frame_transform(width, height, scene.image_long_side_px, scene.patch_size)
        focal = None if known_focal is None else known_focal / scene.focal_gain
        return ClipInputs(model, clip, tracks, windows, transform, focal, choices)

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.model.parameters()).device

    @property
    def fit_shift(self) -> bool:
        """Whether the network's depth is known up to a shift."""
        return not self.model.config.scene.ray_prior

    @property
    def uv(self) -> Float[np.ndarray, "samples 2"]:
        """Image coordinates of the samples of a pass, in half diagonals."""
        return sample_uv(self.transform.height_px, self.transform.width_px)

    def track_pixels(self, track: PersonTrack, frames: np.ndarray) -> Bool[np.ndarray, "frames height width"]:
        """Pixels of the network's frames that show a person: by the masks, else all of the box."""
        transform = self.transform
        if track.masks is not None:
            return self.at_pixels(track.masks[frames])
        shown = np.zeros((len(frames), transform.height_px, transform.width_px), bool)
        boxes = transform.map_boxes(torch.from_numpy(track.boxes_px[frames])).numpy()
        for mask, box, present in zip(shown, boxes, track.present[frames], strict=True):
            x0, y0, x1, y1 = np.round(np.clip(box, 0, [transform.width_px, transform.height_px] * 2)).astype(int)
            mask[y0:y1, x0:x1] = present
        return shown

    def at_pixels(self, masks: Bool[np.ndarray, "frames mask_height mask_width"]) -> Bool[np.ndarray, "frames h w"]:
        """Masks of the clip's frames at the pixels of the network's."""
        return self.transform.map_masks(masks, self.clip.frames.shape[1:3])


@dataclass(frozen=True)
class WindowInputs:
    """A window as the network sees it."""

    frames: Int[np.ndarray, "frames"]
    """Their numbers in the clip."""
    track_indices: tuple[int, ...]
    """Of the tracks that are seen in it."""
    images: UInt8[np.ndarray, "frames height width 3"]
    crops: Float32[Tensor, "people frames 3 256 256"]
    boxes: Float32[Tensor, "people frames 4"]
    """Of the people, in pixels of the network's frames; crops are `NetworkChoices.box_scale` times as large."""


def prepare_windows(inputs: ClipInputs, *, prefetched: bool) -> Generator[WindowInputs]:
    """The windows of a clip in order; with `prefetched`, each is prepared while the caller uses the one before it."""
    with ThreadPoolExecutor(min(MAX_THREADS, os.cpu_count() or 1)) as threads:
        prepare = functools.partial(_prepare_window, inputs, threads)
        yield from (prefetch if prefetched else map)(prepare, inputs.windows)


def _prepare_window(inputs: ClipInputs, threads: Executor, window: range) -> WindowInputs:
    clip, transform = inputs.clip, inputs.transform

    def resize(number: int) -> UInt8[np.ndarray, "height width 3"]:
        return resize_frames(clip.frames[number : number + 1], transform)[0]

    def crop(track: PersonTrack, number: int) -> Float32[Tensor, "3 256 256"]:
        frames, boxes = clip.frames[number : number + 1], track.boxes_px[number : number + 1]
        if inputs.choices.crop_source == "network":
            frames, boxes = resize_frames(frames, transform), transform.map_boxes(torch.from_numpy(boxes)).numpy()
        return crop_people(frames, boxes, inputs.choices.box_scale)[0]

    frames = np.arange(window.start, window.stop)
    images = np.stack(list(threads.map(resize, window)))
    indices = tuple(index for index, track in enumerate(inputs.tracks) if track.present[frames].any())
    crops = torch.empty(len(indices), len(frames), 3, CROP_SIZE_PX, CROP_SIZE_PX)
    boxes = torch.empty(len(indices), len(frames), 4)
    for row, track in enumerate(inputs.tracks[index] for index in indices):
        nearest = nearest_present_frames(track)[frames]
        for column, cropped in enumerate(threads.map(functools.partial(crop, track), nearest.tolist())):
            crops[row, column] = cropped
        boxes[row] = transform.map_boxes(torch.from_numpy(track.boxes_px[nearest]).float())
    return WindowInputs(frames, indices, images, crops, boxes)


def nearest_present_frames(track: PersonTrack) -> Int[np.ndarray, "frames"]:
    """For each frame the nearest one in which the person is seen."""
    seen = np.flatnonzero(track.present)
    frames = np.arange(len(track.present))
    after = np.searchsorted(seen, frames).clip(max=len(seen) - 1)
    before = (after - 1).clip(min=0)
    return np.where(frames - seen[before] <= seen[after] - frames, seen[before], seen[after])
