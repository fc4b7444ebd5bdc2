"""People found by a detector and followed by a segmenter: seen now and then, then drawn in every frame.

The detector looks at about one frame a second. Whoever is seen best is given to the segmenter as a box, and followed
from there to the end of the clip and back to its beginning; then whoever is seen best of those that nobody followed so
far explains, and so on. A person who was lost and is seen again is so followed a second time, and the two become one
where they agree.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, UInt8

from unish.people.mask_tracks import Followed, PromptConfig, as_tracks, joined, share_pixels
from unish.people.tracking import Detections, Detector, box_iou
from unish.structures import PersonTrack
from unish.utils.disk_arrays import release_pages
from unish.video.reader import Progress

_DETECTED_AT_ONCE = 16
_BORDER_SHARE = 0.01
"""A box that comes this close to the frame's border, in sides of the frame, is taken to be cut by it."""
_SECOND_BOX_IOU = 0.7
"""Boxes of one frame that overlap more are two of one person."""


class Segments(NamedTuple):
    """What a segmenter sees of the people it follows, in one frame."""

    masks: Bool[np.ndarray, "objects height width"]
    """At one resolution for all frames, with their aspect ratio; empty where somebody is not seen."""
    scores: Float[np.ndarray, "objects"]
    """In 0..1; 0 where somebody is not seen."""


@runtime_checkable
class Segmenter(Protocol):
    """Follows what is in a box through a row of frames."""

    def propagate(
        self, frames: Iterable[UInt8[np.ndarray, "height width 3"]], boxes_px: Float[np.ndarray, "objects 4"]
    ) -> Iterator[Segments]:
        """One `Segments` a frame, in their order; the boxes are drawn in the first of them, in its pixels."""
        ...


@dataclass(frozen=True)
class PromptedFinder:
    """People found by a detector in keyframes and followed by a segmenter from where each is seen best."""

    detector: Detector
    segmenter: Segmenter
    config: PromptConfig = field(default_factory=PromptConfig)
    progress: Progress | None = None
    """Called with the share done, 0 to 1; an exception raised in it cancels the work."""
    name: str = "sam2"

    def find(self, frames: UInt8[np.ndarray, "frames height width 3"]) -> tuple[PersonTrack, ...]:
        """People of the clip, the most prominent first, ids from 1 in that order, with masks.

        Short absences are filled as in `fill_gaps`, without a mask; in longer ones `present` is False and the boxes
        bridge the gap. Where masks overlap, a pixel belongs to whoever is seen more surely around that frame.
        """
        config, detections = self.config, self._detect(frames)
        waiting = _sure_sightings(detections, frames.shape[1:3], config)
        followed: list[Followed] = []
        people: list[Followed] = []
        report, all_sightings = self.progress or (lambda share: None), len(waiting)
        for _ in range(config.most_passes):
            room = config.most_people - len(people)
            if not waiting or room <= 0:
                break
            together = _seen_best(waiting, room, config)
            settled, step = 1 - len(waiting) / all_sightings, len(together) / all_sightings
            for person in self._follow(frames, together, _part(report, settled, step)):
                followed = joined(followed, person, config)
            # Who is nobody after all still explains detections, but takes nobody's place and no pixels.
            people = [person for person in followed if person in people or person.is_person(detections, config)]
            # At once: whoever was taken for somebody else is so looked for again where they were lost.
            share_pixels(people, config)
            others = [sighting for sighting in waiting if sighting not in together]
            waiting = [s for s in others if not any(p.explains(s.frame, s.box_px, config) for p in followed)]
            release_pages(frames, *(person.masks for person in followed))
        report(1.0)
        return as_tracks(people, config)

    def relaxed(self) -> "PromptedFinder":
        """The same finder, less strict."""
        return dataclasses.replace(self, config=self.config.relaxed())

    def _detect(self, frames: UInt8[np.ndarray, "frames height width 3"]) -> dict[int, Detections]:
        """What the detector sees, by keyframe."""
        keys = sorted({*range(0, len(frames), self.config.keyframe_step), *range(len(frames))[-1:]})
        found: list[Detections] = []
        for start in range(0, len(keys), _DETECTED_AT_ONCE):
            found += self.detector.detect(frames[keys[start : start + _DETECTED_AT_ONCE]])
        return dict(zip(keys, found, strict=True))

    def _follow(
        self, frames: UInt8[np.ndarray, "frames height width 3"], together: Sequence["_Sighting"], report: Progress
    ) -> list[Followed]:
        """Those sighted in one frame, from there to the end of the clip and back to its beginning."""
        start, boxes = together[0].frame, np.stack([sighting.box_px for sighting in together])
        people: list[Followed] = []
        done, forwards, backwards = 0, range(start, len(frames)), range(start, -1, -1)
        # From the first frame there is no way back.
        for order in (forwards, backwards) if start else (forwards,):
            row = (frames[index] for index in order)
            for index, segments in zip(order, self.segmenter.propagate(row, boxes), strict=True):
                people = people or [Followed.nobody(frames.shape, segments.masks.shape[1:]) for _ in together]
                for person, mask, score in zip(people, segments.masks, segments.scores, strict=True):
                    person.see(index, mask, float(score))
                done += 1
                report(done / (len(frames) + 1))
        return people


def _part(report: Progress, start: float, share: float) -> Progress:
    """Progress of a part that begins at `start` and is `share` of the whole."""
    return lambda done: report(start + share * done)


# ---------------------------------------------------------------- whom to follow next


@dataclass(frozen=True, eq=False)
class _Sighting:
    """A sure detection, and how well the person is seen in it."""

    frame: int
    box_px: Float[np.ndarray, "4"]
    score: float
    clearness: float
    """1 for a whole person in front of nobody."""

    @property
    def quality(self) -> float:
        return self.score * self.clearness * float(np.sqrt((self.box_px[2:] - self.box_px[:2]).prod()))


def _sure_sightings(
    detections: Mapping[int, Detections], frame_shape: tuple[int, ...], config: PromptConfig
) -> list[_Sighting]:
    size, sightings = np.array([frame_shape[1], frame_shape[0]]), []
    for frame, seen in detections.items():
        counted = seen.scores >= config.doubtful_score
        boxes, scores = seen.boxes_px[counted], seen.scores[counted]
        cut = (boxes[:, :2] < _BORDER_SHARE * size) | (boxes[:, 2:] > (1 - _BORDER_SHARE) * size)
        clearness = (1 - _covered_shares(boxes)) * np.where(cut.any(axis=1), config.cut_quality, 1.0)
        for index in np.flatnonzero(scores >= config.sure_score):
            sightings.append(_Sighting(frame, boxes[index], float(scores[index]), float(clearness[index])))
    return sightings


def _covered_shares(boxes: Float[np.ndarray, "people 4"]) -> Float[np.ndarray, "people"]:
    """How much of each box lies in the one other that covers the most of it, leaving out second boxes of itself."""
    iou = box_iou(boxes, boxes)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(-1)
    shared = iou / (1 + iou) * (areas[:, None] + areas[None])
    return np.where(iou > _SECOND_BOX_IOU, 0.0, shared / np.maximum(areas, 1e-9)[:, None]).max(axis=1, initial=0.0)


def _seen_best(sightings: Sequence[_Sighting], most: int, config: PromptConfig) -> list[_Sighting]:
    """The best sighting, and others in its frame that need not wait for a better one; at most `most`."""
    best = max(sightings, key=lambda sighting: sighting.quality)
    chosen = [best]
    beside = (s for s in sightings if s.frame == best.frame and s.clearness >= config.clear_enough)
    for sighting in sorted(beside, key=lambda sighting: -sighting.quality):
        overlap = box_iou(sighting.box_px[None], np.stack([other.box_px for other in chosen]))
        if len(chosen) < most and overlap.max() < config.explained_iou:
            chosen.append(sighting)
    return chosen
