"""People drawn frame by frame: which detections they explain, which of them are one person, whose a pixel is."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float
from scipy.ndimage import uniform_filter1d

from unish.errors import InputError
from unish.people.prompts import mask_extent
from unish.people.tracking import LENIENCE, Detections, box_iou, bridged_boxes, fill_gaps, prominence
from unish.structures import PersonTrack
from unish.utils.disk_arrays import new_array

_COMPARED_FRAMES = 40
"""Two people are compared in at most so many frames."""
_SPECK_SHARE = 0.05
"""Parts of a mask smaller than this share of it do not count for its box."""


@dataclass(frozen=True)
class PromptConfig:
    """Who is followed, when two are one, and who is dropped."""

    keyframe_step: int = 6
    """The detector looks at every so many-th frame, and at the last one."""
    sure_score: float = 0.5
    """A person must be detected at least once this surely."""
    doubtful_score: float = 0.3
    """Detections down to this speak for a person who is followed."""
    explained_iou: float = 0.5
    """A detection that overlaps a followed person's box this much is of that person."""
    explained_inside: float = 0.8
    """And so is one that holds this share of the person's mask,"""
    explained_filled: float = 0.3
    """when the mask fills this share of it."""
    cut_quality: float = 0.6
    """What a sighting cut by the frame's border is worth, beside a whole one."""
    clear_enough: float = 0.8
    """Sightings this free of others and of the border are followed together with a better one in the same frame."""
    same_iou: float = 0.6
    """In one frame, masks that overlap this much are of one person."""
    same_share: float = 0.6
    """Two who have the same mask in this share of the frames in which both are seen are one person."""
    least_remaining: float = 0.2
    """Somebody left with less than this share of a mask, the rest being others', is not seen in that frame."""
    mean_score: float = 0.5
    """People seen less surely than this on average are dropped."""
    least_support: float = 0.25
    """And those whom the detector sees in less than this share of the keyframes in which they are followed."""
    min_sightings: int = 3
    """People seen in fewer frames are dropped (half the clip's frames where that is less)."""
    filled_gap: int = 3
    """Absences up to this many frames are filled in."""
    most_people: int = 12
    most_passes: int = 24
    """The segmenter goes through the clip at most so many times."""

    def __post_init__(self) -> None:
        if self.keyframe_step < 1:
            raise InputError(f"Expected a keyframe every 1 or more frames, got every {self.keyframe_step}; raise it.")

    def relaxed(self) -> "PromptConfig":
        """For a second look at those who were missed."""
        return dataclasses.replace(
            self,
            sure_score=LENIENCE * self.sure_score,
            doubtful_score=LENIENCE * self.doubtful_score,
            mean_score=LENIENCE * self.mean_score,
            least_support=LENIENCE * self.least_support,
            min_sightings=1,
        )


@dataclass(frozen=True, eq=False)
class Followed:
    """Somebody whom the segmenter draws; the arrays are filled as it goes."""

    masks: Bool[np.ndarray, "frames h w"]
    boxes_px: Float[np.ndarray, "frames 4"]
    """In pixels of the frames, around the mask without its specks; only where seen."""
    scores: Float[np.ndarray, "frames"]
    """0 where not seen."""
    per_mask: Float[np.ndarray, "2"]
    """Width and height of the frames over those of the masks."""

    @staticmethod
    def nobody(frames_shape: tuple[int, ...], mask_shape: tuple[int, ...]) -> "Followed":
        """Somebody who is seen nowhere yet; masks of a long clip are kept on disk."""
        count, height, width = frames_shape[:3]
        per_mask = np.array([width / mask_shape[1], height / mask_shape[0]])
        return Followed(new_array((count, *mask_shape), bool), np.zeros((count, 4)), np.zeros(count), per_mask)

    @property
    def seen(self) -> Bool[np.ndarray, "frames"]:
        return self.scores > 0

    def see(self, frame: int, mask: Bool[np.ndarray, "h w"], score: float) -> None:
        """Write down a frame; an empty mask or no score is an absence."""
        if score > 0 and mask.any():
            self.masks[frame], self.scores[frame] = mask, score
            self.boxes_px[frame] = np.array(mask_extent(_without_specks(mask))) * np.tile(self.per_mask, 2)
        else:
            self.masks[frame], self.scores[frame] = False, 0.0

    def take_over(self, other: "Followed") -> None:
        """Be seen where the other is and this one is not."""
        for frame in np.flatnonzero(other.seen & ~self.seen):
            self.masks[frame], self.boxes_px[frame] = other.masks[frame], other.boxes_px[frame]
            self.scores[frame] = other.scores[frame]

    def explains(self, frame: int, box_px: Float[np.ndarray, "4"], config: PromptConfig) -> bool:
        """Whether a detection in this frame is of this person: of the whole of them, or of what others leave to see."""
        overlap = box_iou(box_px[None], self.boxes_px[frame][None])[0, 0] if self.scores[frame] else 0.0
        if not 0 < overlap < config.explained_iou:
            return bool(overlap)
        x0, y0, x1, y1 = np.round(np.maximum(box_px, 0) / np.tile(self.per_mask, 2)).astype(int)
        inside = self.masks[frame, y0:y1, x0:x1]
        held, filled = inside.sum() / self.masks[frame].sum(), inside.sum() / max(inside.size, 1)
        return bool(held >= config.explained_inside and filled >= config.explained_filled)

    def is_same(self, other: "Followed", config: PromptConfig) -> bool:
        """Whether both have the same mask most of the time that both are seen."""
        both = np.flatnonzero(self.seen & other.seen)
        if not len(both):
            return False
        compared = both[np.unique(np.linspace(0, len(both) - 1, _COMPARED_FRAMES).astype(int))]
        alike = [_mask_iou(self.masks[frame], other.masks[frame]) >= config.same_iou for frame in compared]
        return float(np.mean(alike)) >= config.same_share

    def is_often_seen(self, config: PromptConfig) -> bool:
        needed = min(config.min_sightings, max(1, len(self.scores) // 2))
        return int(self.seen.sum()) >= needed

    def is_person(self, detections: Mapping[int, Detections], config: PromptConfig) -> bool:
        """Seen often enough, surely enough, and by the detector (`detections` by keyframe) too."""
        if not self.is_often_seen(config) or self.scores[self.seen].mean() < config.mean_score:
            return False
        votes = [
            any(self.explains(frame, box, config) for box in found.boxes_px[found.scores >= config.doubtful_score])
            for frame, found in detections.items()
            if self.scores[frame]
        ]
        return bool(votes) and float(np.mean(votes)) >= config.least_support


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


def joined(people: Sequence[Followed], person: Followed, config: PromptConfig) -> list[Followed]:
    """The people and one more, who is made one with whoever is the same."""
    twin = next((other for other in people if other.is_same(person, config)), None)
    if twin is None:
        return [*people, person]
    twin.take_over(person)
    return list(people)


def share_pixels(people: Sequence[Followed], config: PromptConfig) -> None:
    """Give every pixel that two claim to the one who is seen more surely around that frame."""
    # Averaged over about a second: two who are both taken for one would else alternate.
    sureness = [uniform_filter1d(person.scores, config.keyframe_step, mode="nearest") for person in people]
    shown = np.sum([person.seen for person in people], axis=0)
    for frame in np.flatnonzero(shown >= 2):
        taken = np.zeros(people[0].masks.shape[1:], bool)
        for index in sorted(range(len(people)), key=lambda index: -sureness[index][frame]):
            person, mask = people[index], np.array(people[index].masks[frame])
            own = mask & ~taken
            taken |= mask
            if own.sum() < mask.sum():
                remains = own.sum() >= config.least_remaining * mask.sum()
                person.see(int(frame), own, float(person.scores[frame]) if remains else 0.0)


def as_tracks(people: Sequence[Followed], config: PromptConfig) -> tuple[PersonTrack, ...]:
    """People with their short absences filled, the most prominent first, ids from 1 in that order."""
    tracks = []
    for person in people:
        if person.is_often_seen(config):  # others may have taken what there was of somebody
            seen = np.flatnonzero(person.seen)
            present, confidence = fill_gaps(seen, person.scores, config.filled_gap)
            boxes = bridged_boxes(person.boxes_px[seen], seen, len(present))
            tracks.append(PersonTrack(0, boxes, present, confidence, person.masks))
    tracks.sort(key=prominence, reverse=True)
    kept = tracks[: config.most_people]
    return tuple(dataclasses.replace(track, id=number) for number, track in enumerate(kept, start=1))
