"""People segmented frame by frame: which detections they explain, which of them are one person, whose a pixel is."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float
from scipy.ndimage import uniform_filter1d

from unish.errors import InputError
from unish.people.prompts import mask_extent
from unish.people.tracking import RELAXED, Detections, box_iou, fill_gaps, interpolated_boxes, prominence
from unish.structures import PersonTrack
from unish.utils.disk_arrays import new_array

_COMPARED_FRAMES = 40
"""Two tracks are compared in at most so many frames."""
_SPECK_SHARE = 0.05
"""Parts of a mask smaller than this share of it do not count for its box."""


@dataclass(frozen=True)
class PromptConfig:
    """Who is segmented, when two tracks are one person, and which are dropped."""

    keyframe_step: int = 6
    """The detector runs on every `keyframe_step`-th frame and on the last one."""
    high_score: float = 0.5
    """A person needs at least one detection of this score."""
    low_score: float = 0.3
    """Detections down to this score support a track."""
    explained_iou: float = 0.5
    """A track explains a detection that overlaps its box this much,"""
    explained_inside: float = 0.8
    """or one that holds this share of its mask,"""
    explained_filled: float = 0.3
    """when the mask fills this share of the detection."""
    truncated_quality: float = 0.6
    """What a detection cut by the frame's border is worth, beside a whole one."""
    min_clearness: float = 0.8
    """Detections this free of others and of the border are segmented together with a better one in the same frame."""
    same_iou: float = 0.6
    """In one frame, masks that overlap this much are of one person."""
    same_share: float = 0.6
    """Two tracks with the same mask in this share of the frames that both are seen in are one person."""
    min_remaining: float = 0.2
    """A track left with less than this share of a mask, the rest being others', is not seen in that frame."""
    min_mean_score: float = 0.5
    """Tracks with a lower score on average are dropped,"""
    min_support: float = 0.25
    """and those that the detector confirms in less than this share of the keyframes in which they are seen."""
    min_frames: int = 3
    """Tracks seen in fewer frames are dropped (half the clip's frames where that is less)."""
    max_gap: int = 3
    """Absences up to this many frames are filled in."""
    max_people: int = 12
    max_passes: int = 24
    """The segmenter goes through the clip at most so many times."""

    def __post_init__(self) -> None:
        if self.keyframe_step < 1:
            raise InputError(f"Expected a keyframe every 1 or more frames, got every {self.keyframe_step}; raise it.")

    def relaxed(self) -> "PromptConfig":
        """For a second pass, after those who were missed."""
        return dataclasses.replace(
            self,
            high_score=RELAXED * self.high_score,
            low_score=RELAXED * self.low_score,
            min_mean_score=RELAXED * self.min_mean_score,
            min_support=RELAXED * self.min_support,
            min_frames=1,
        )


class MaskTrack:
    """The masks, boxes and scores of one person, filled in place while the segmenter goes through the clip.

    Masks of a long clip are kept on disk.
    """

    def __init__(self, frames_shape: tuple[int, ...], mask_shape: tuple[int, ...]) -> None:
        """Seen nowhere yet, in frames of the shape (count, height, width, …)."""
        count, height, width = frames_shape[:3]
        self.masks: Bool[np.ndarray, "frames h w"] = new_array((count, *mask_shape), bool)
        self.boxes_px: Float[np.ndarray, "frames 4"] = np.zeros((count, 4))
        """In pixels of the frames, around the mask without its specks; only where seen."""
        self.scores: Float[np.ndarray, frames] = np.zeros(count)
        """0 where not seen."""
        self._frame_per_mask = np.tile([width / mask_shape[1], height / mask_shape[0]], 2)

    @property
    def seen(self) -> Bool[np.ndarray, "frames"]:
        """In which frames the person is seen."""
        return self.scores > 0

    def record(self, frame: int, mask: Bool[np.ndarray, "h w"], score: float) -> None:
        """Write a frame; an empty mask or a score of 0 is an absence."""
        if score > 0 and mask.any():
            self.masks[frame], self.scores[frame] = mask, score
            self.boxes_px[frame] = np.array(mask_extent(_without_specks(mask))) * self._frame_per_mask
        else:
            self.masks[frame], self.scores[frame] = False, 0.0

    def merge(self, other: "MaskTrack") -> None:
        """Take the frames of the other track in which this one is not seen."""
        for frame in np.flatnonzero(other.seen & ~self.seen):
            self.masks[frame], self.boxes_px[frame] = other.masks[frame], other.boxes_px[frame]
            self.scores[frame] = other.scores[frame]

    def explains(self, frame: int, box_px: Float[np.ndarray, "4"], config: PromptConfig) -> bool:
        """Whether a detection in this frame is of this person: of all of them, or of what others leave visible."""
        overlap = box_iou(box_px[None], self.boxes_px[frame][None])[0, 0] if self.scores[frame] else 0.0
        if not 0 < overlap < config.explained_iou:
            return bool(overlap)
        x0, y0, x1, y1 = np.round(np.maximum(box_px, 0) / self._frame_per_mask).astype(int)
        inside = self.masks[frame, y0:y1, x0:x1]
        held, filled = inside.sum() / self.masks[frame].sum(), inside.sum() / max(inside.size, 1)
        return bool(held >= config.explained_inside and filled >= config.explained_filled)

    def is_same(self, other: "MaskTrack", config: PromptConfig) -> bool:
        """Whether both have the same mask in most of the frames that both are seen in."""
        both = np.flatnonzero(self.seen & other.seen)
        if not len(both):
            return False
        compared = both[np.unique(np.linspace(0, len(both) - 1, _COMPARED_FRAMES).astype(int))]
        alike = [_mask_iou(self.masks[frame], other.masks[frame]) >= config.same_iou for frame in compared]
        return float(np.mean(alike)) >= config.same_share

    def is_long_enough(self, config: PromptConfig) -> bool:
        """Whether the person is seen in enough frames."""
        needed = min(config.min_frames, max(1, len(self.scores) // 2))
        return int(self.seen.sum()) >= needed

    def is_person(self, detections: Mapping[int, Detections], config: PromptConfig) -> bool:
        """Seen in enough frames, with a high enough score, and confirmed by the detector (`detections` by keyframe)."""
        if not self.is_long_enough(config) or self.scores[self.seen].mean() < config.min_mean_score:
            return False
        confirmed = [
            any(self.explains(frame, box, config) for box in detected.boxes_px[detected.scores >= config.low_score])
            for frame, detected in detections.items()
            if self.scores[frame]
        ]
        return bool(confirmed) and float(np.mean(confirmed)) >= config.min_support


def _without_specks(mask: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """A mask that is not empty without its smallest parts."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    if count <= 2:
        return mask
    areas = stats[1:, cv2.CC_STAT_AREA]
    kept = areas >= min(_SPECK_SHARE * areas.sum(), areas.max())
    return np.isin(labels, 1 + np.flatnonzero(kept))


def _mask_iou(mask: Bool[np.ndarray, "h w"], other: Bool[np.ndarray, "h w"]) -> float:
    return float((mask & other).sum() / max((mask | other).sum(), 1))


def merge_into(tracks: list[MaskTrack], track: MaskTrack, config: PromptConfig) -> None:
    """Merge a track into the one of `tracks` that is the same person, else append it: both in place."""
    twin = next((other for other in tracks if other.is_same(track, config)), None)
    if twin is None:
        tracks.append(track)
    else:
        twin.merge(track)


def resolve_overlaps(tracks: Sequence[MaskTrack], config: PromptConfig) -> None:
    """Give every pixel that two tracks claim to the one with the higher score around that frame: in place."""
    # Averaged over about a second: two tracks that the segmenter takes for one would otherwise alternate.
    scores = [uniform_filter1d(track.scores, config.keyframe_step, mode="nearest") for track in tracks]
    shown = np.sum([track.seen for track in tracks], axis=0)
    for frame in np.flatnonzero(shown >= 2):
        taken = np.zeros(tracks[0].masks.shape[1:], bool)
        for index in sorted(range(len(tracks)), key=lambda index: -scores[index][frame]):
            track, mask = tracks[index], np.array(tracks[index].masks[frame])
            own = mask & ~taken
            taken |= mask
            if own.sum() < mask.sum():
                remains = own.sum() >= config.min_remaining * mask.sum()
                track.record(int(frame), own, float(track.scores[frame]) if remains else 0.0)


def person_tracks(tracks: Sequence[MaskTrack], config: PromptConfig) -> tuple[PersonTrack, ...]:
    """People with their short absences filled, the most prominent first, ids from 1 in that order."""
    people = []
    for track in tracks:
        if track.is_long_enough(config):  # resolving overlaps may have left too little
            seen = np.flatnonzero(track.seen)
            present, confidence = fill_gaps(seen, track.scores, config.max_gap)
            boxes = interpolated_boxes(track.boxes_px[seen], seen, len(present))
            people.append(PersonTrack(0, boxes, present, confidence, track.masks))
    people.sort(key=prominence, reverse=True)
    kept = people[: config.max_people]
    return tuple(dataclasses.replace(person, id=number) for number, person in enumerate(kept, start=1))
