"""Masks of tracked people, by a network that tells the pixels of the person in a box from all others."""

import dataclasses
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from unish.structures import PersonTrack
from unish.utils.disk_arrays import new_array, release_pages
from unish.utils.progress import Progress, no_progress, part_of

_LONG_SIDE_PX = 480
"""Masks have this long side, or the frames' where that is less."""
_LEAST_SHARE = 0.1
"""A mask with less of its box than this is of nobody."""
_BATCH = 16


@runtime_checkable
class MaskEstimator(Protocol):
    """Tells the pixels of a person in a box from all others."""

    def masks(
        self, frames: UInt8[np.ndarray, "frames height width 3"], boxes_px: Float[np.ndarray, "frames 4"]
    ) -> Bool[np.ndarray, "frames height width"]:
        """The person's pixels, for one box per frame."""
        ...


def with_masks(
    frames: UInt8[np.ndarray, "frames height width 3"],
    tracks: Sequence[PersonTrack],
    estimator: MaskEstimator | None,
    progress: Progress = no_progress,
    anew: bool = False,
) -> tuple[PersonTrack, ...]:
    """The tracks with masks, unless they have masks of their own that are not wanted `anew`. Without an estimator they
    stay as they are."""
    masked = []
    for number, track in enumerate(tracks):
        if estimator is not None and (anew or track.masks is None):
            part = part_of(progress, number / len(tracks), (number + 1) / len(tracks))
            track = dataclasses.replace(track, masks=person_masks(frames, track, estimator, part))
        masked.append(track)
    return tuple(masked)


def person_masks(
    frames: UInt8[np.ndarray, "frames height width 3"],
    track: PersonTrack,
    estimator: MaskEstimator,
    progress: Progress = no_progress,
) -> Bool[np.ndarray, "frames mask_height mask_width"]:
    """The person's pixels in every frame in which they are present; where the network sees nobody in the box, those of
    the mask that the track has."""
    height, width = frames.shape[1:3]
    scale = min(1.0, _LONG_SIDE_PX / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    masks, present = new_array((len(frames), size[1], size[0]), bool), np.flatnonzero(track.present)
    for start in range(0, len(present), _BATCH):
        some = present[start : start + _BATCH]
        small = np.stack([cv2.resize(frames[index], size, interpolation=cv2.INTER_AREA) for index in some])
        boxes = track.boxes_px[some] * np.tile([size[0] / width, size[1] / height], 2)
        masks[some] = estimator.masks(small, boxes)
        if track.masks is not None:
            areas = (boxes[:, 2:] - boxes[:, :2]).prod(-1)
            for index in some[masks[some].sum((1, 2)) < _LEAST_SHARE * areas]:
                masks[index] = cv2.resize(track.masks[index].astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
        progress((start + len(some)) / len(present), "Segmenting people")
    release_pages(frames, masks)
    return masks
