"""Masks of tracked people, by a network that tells the pixels of the person in a box from all others."""

import dataclasses
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import cv2
import numpy as np
from jaxtyping import Float, Float32, Int, UInt8

from unish.people.guided_filter import guided_filter
from unish.structures import PersonTrack
from unish.utils.disk_arrays import new_array, release_pages
from unish.utils.progress import Progress, no_progress

_LONG_SIDE_PX = 480
"""Masks have this long side, or the frames' where that is less."""
_PERSON_FROM = 0.3
"""A pixel with this chance is the person's. Less than a half: a pixel missed keeps the depth of what is behind."""
_UNCERTAIN_FROM = 0.25
"""And with this one it is uncertain: the person's where the fitted body lies, else not."""
_LEAST_SHARE = 0.1
"""A mask with less of its box than this is of nobody."""
_EDGE_SHARE = 0.03
"""Of the longer side of the box: how far the mask's edges move to those of the image."""
_AROUND_SHARE = 0.25
"""Of the same: how far around the box its person's pixels are looked for."""
_BATCH = 16


@runtime_checkable
class MaskEstimator(Protocol):
    """Tells the pixels of a person in a box from all others."""

    def person_chances(
        self, frames: UInt8[np.ndarray, "frames height width 3"], boxes_px: Float[np.ndarray, "frames 4"]
    ) -> Float32[np.ndarray, "frames height width"]:
        """How likely each pixel is the person's, for one box per frame."""
        ...


def with_masks(
    frames: UInt8[np.ndarray, "frames height width 3"],
    tracks: Sequence[PersonTrack],
    estimator: MaskEstimator | None,
    progress: Progress = no_progress,
    anew: bool = False,
) -> tuple[PersonTrack, ...]:
    """The tracks with masks and uncertain ones, unless they have masks of their own that are not wanted `anew`. Without
    an estimator they stay as they are.

    A pixel that may be several people's is the one's whose it is likeliest. Where the network sees nobody in a box, the
    mask that the track has remains.
    """
    masked = list(tracks)
    wanted = [index for index, track in enumerate(tracks) if anew or track.masks is None]
    if estimator is None or not wanted:
        return tuple(masked)
    size = _mask_size(*frames.shape[1:3])
    shape = len(frames), size[1], size[0]
    masks, uncertain = ({index: new_array(shape, bool) for index in wanted} for _ in range(2))
    for start in range(0, len(frames), _BATCH):
        some = np.arange(start, min(start + _BATCH, len(frames)))
        small = np.stack([cv2.resize(frames[index], size, interpolation=cv2.INTER_AREA) for index in some])
        likeliest, owner = np.zeros(small.shape[:3], np.float32), np.full(small.shape[:3], -1)
        for index in wanted:
            boxes = tracks[index].boxes_px[some] * np.tile([size[0] / frames.shape[2], size[1] / frames.shape[1]], 2)
            chances = _chances(small, boxes, tracks[index], some, estimator)
            owner[chances > likeliest] = index
            likeliest = np.maximum(likeliest, chances)
        for index in wanted:
            masks[index][some] = (owner == index) & (likeliest >= _PERSON_FROM)
            uncertain[index][some] = (owner == index) & (likeliest >= _UNCERTAIN_FROM) & (likeliest < _PERSON_FROM)
        progress((some[-1] + 1) / len(frames), "Segmenting people")
    release_pages(frames, *masks.values(), *uncertain.values())
    for index in wanted:
        masked[index] = dataclasses.replace(tracks[index], masks=masks[index], uncertain_masks=uncertain[index])
    return tuple(masked)


def _mask_size(height_px: int, width_px: int) -> tuple[int, int]:
    """(width, height) of masks."""
    scale = min(1.0, _LONG_SIDE_PX / max(height_px, width_px))
    return max(1, round(width_px * scale)), max(1, round(height_px * scale))


def _chances(
    small: UInt8[np.ndarray, "some mask_height mask_width 3"],
    boxes_px: Float[np.ndarray, "some 4"],
    track: PersonTrack,
    some: Int[np.ndarray, "some"],
    estimator: MaskEstimator,
) -> Float32[np.ndarray, "some mask_height mask_width"]:
    """How likely each pixel of some frames is the person's, with the image's edges; 0 in frames without them."""
    chances = np.zeros(small.shape[:3], np.float32)
    present = np.flatnonzero(track.present[some])
    if not len(present):
        return chances
    chances[present] = estimator.person_chances(small[present], boxes_px[present])
    for index in present:
        _to_edges(chances[index], small[index], boxes_px[index])
        least = _LEAST_SHARE * (boxes_px[index, 2:] - boxes_px[index, :2]).prod()
        if track.masks is not None and (chances[index] >= _PERSON_FROM).sum() < least:
            own, size = track.masks[some[index]].astype(np.float32), small.shape[2:0:-1]
            chances[index] = _PERSON_FROM * cv2.resize(own, size, interpolation=cv2.INTER_NEAREST)
    return chances


def _to_edges(
    chance: Float32[np.ndarray, "height width"],
    image: UInt8[np.ndarray, "height width 3"],
    box_px: Float[np.ndarray, "4"],
) -> None:
    """Filtered in and around the box, in place."""
    side = float((box_px[2:] - box_px[:2]).max())
    low, high = box_px[:2] - _AROUND_SHARE * side, box_px[2:] + _AROUND_SHARE * side
    columns, rows = (slice(max(0, int(a)), max(0, int(np.ceil(b)))) for a, b in zip(low, high, strict=True))
    if chance[rows, columns].size:
        radius = max(1, round(_EDGE_SHARE * side))
        chance[rows, columns] = guided_filter(chance[rows, columns], image[rows, columns], radius)
