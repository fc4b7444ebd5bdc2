"""People found by a detector and segmented through the clip: detected now and then, segmented in every frame.

The detector runs on about one frame per second. Its best detection is given to the segmenter as a box prompt and
propagated from there to the end of the clip and back to its beginning; then the best detection that no track explains
so far, and so on. A person who was lost and is detected again is thus segmented a second time, and the two tracks are
merged where they agree.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, UInt8

from unish.people.mask_tracks import MaskTrack, PromptConfig, merge_into, person_tracks, resolve_overlaps
from unish.people.tracking import Detections, FrameDetector, box_iou
from unish.structures import PersonTrack
from unish.utils.disk_arrays import release_pages
from unish.utils.progress import Progress, no_progress, part_of

_MESSAGE = "Segmenting people"
_DETECTION_BATCH = 16
_BORDER_SHARE = 0.01
"""A box that comes this close to the frame's border, in sides of the frame, counts as truncated by it."""
_DUPLICATE_IOU = 0.7
"""Boxes of one frame that overlap more are duplicates of one person."""


class Segments(NamedTuple):
    """What a segmenter sees of the people it was prompted with, in one frame."""

    masks: Bool[np.ndarray, "objects height width"]
    """At one resolution for all frames, with their aspect ratio; empty where somebody is not seen."""
    scores: Float[np.ndarray, "objects"]
    """In 0..1; 0 where somebody is not seen."""


@runtime_checkable
class Segmenter(Protocol):
    """Segments what is in a box through a sequence of frames."""

    def propagate(
        self, frames: Iterable[UInt8[np.ndarray, "height width 3"]], boxes_px: Float[np.ndarray, "objects 4"]
    ) -> Iterator[Segments]:
        """One `Segments` per frame, in their order; the boxes lie in the first of them, in its pixels."""
        ...


@dataclass(frozen=True)
class DetectAndSegment:
    """People detected in keyframes and segmented from where each is seen best."""

    detector: FrameDetector
    segmenter: Segmenter
    config: PromptConfig = field(default_factory=PromptConfig)
    name: str = "sam2"

    def track(
        self, frames: UInt8[np.ndarray, "frames height width 3"], progress: Progress = no_progress
    ) -> tuple[PersonTrack, ...]:
        """People of the clip, the most prominent first, ids from 1 in that order, with masks.

        Short absences are filled as in `fill_gaps`, without a mask; in longer ones `present` is False and the boxes
        are interpolated. Where masks overlap, a pixel belongs to the track with the higher score around that frame.
        """
        config, detections = self.config, self._detect(frames)
        remaining = _prompts(detections, frames.shape[1:3], config)
        tracks: list[MaskTrack] = []
        people: list[MaskTrack] = []
        total = len(remaining)
        for _ in range(config.max_passes):
            room = config.max_people - len(people)
            if not remaining or room <= 0:
                break
            batch = _best_prompts(remaining, room, config)
            done, step = 1 - len(remaining) / total, len(batch) / total
            for track in self._propagate(frames, batch, part_of(progress, done, done + step)):
                merge_into(tracks, track, config)
            # A track of nobody still explains detections, but takes nobody's place and no pixels.
            people = [track for track in tracks if track in people or track.is_person(detections, config)]
            # At once: whoever was taken for somebody else is thus prompted again where they were lost.
            resolve_overlaps(people, config)
            others = [prompt for prompt in remaining if prompt not in batch]
            remaining = [p for p in others if not any(track.explains(p.frame, p.box_px, config) for track in tracks)]
            release_pages(frames, *(track.masks for track in tracks))
        progress(1.0, _MESSAGE)
        return person_tracks(people, config)

    def relaxed(self) -> "DetectAndSegment":
        """The same, less strict."""
        return dataclasses.replace(self, config=self.config.relaxed())

    def _detect(self, frames: UInt8[np.ndarray, "frames height width 3"]) -> dict[int, Detections]:
        """Detections by keyframe."""
        keys = sorted({*range(0, len(frames), self.config.keyframe_step), *range(len(frames))[-1:]})
        detections: list[Detections] = []
        for start in range(0, len(keys), _DETECTION_BATCH):
            detections += self.detector.detect(frames[keys[start : start + _DETECTION_BATCH]])
        return dict(zip(keys, detections, strict=True))

    def _propagate(
        self, frames: UInt8[np.ndarray, "frames height width 3"], prompts: Sequence["_Prompt"], progress: Progress
    ) -> list[MaskTrack]:
        """Tracks of the people prompted in one frame, to the end of the clip and back to its beginning."""
        start, boxes = prompts[0].frame, np.stack([prompt.box_px for prompt in prompts])
        tracks: list[MaskTrack] = []
        done, forwards, backwards = 0, range(start, len(frames)), range(start, -1, -1)
        # From the first frame there is no way back.
        for order in (forwards, backwards) if start else (forwards,):
            sequence = (frames[index] for index in order)
            for index, segments in zip(order, self.segmenter.propagate(sequence, boxes), strict=True):
                tracks = tracks or [MaskTrack(frames.shape, segments.masks.shape[1:]) for _ in prompts]
                for track, mask, score in zip(tracks, segments.masks, segments.scores, strict=True):
                    track.record(index, mask, float(score))
                done += 1
                progress(done / (len(frames) + 1), _MESSAGE)
        return tracks


# ---------------------------------------------------------------- whom to prompt next


@dataclass(frozen=True, eq=False)
class _Prompt:
    """A detection of high score, and how well the person is seen in it."""

    frame: int
    box_px: Float[np.ndarray, "4"]
    score: float
    clearness: float
    """1 for a whole person whom nobody occludes."""

    @property
    def quality(self) -> float:
        return self.score * self.clearness * float(np.sqrt((self.box_px[2:] - self.box_px[:2]).prod()))


def _prompts(detections: Mapping[int, Detections], frame_shape: tuple[int, ...], config: PromptConfig) -> list[_Prompt]:
    size, prompts = np.array([frame_shape[1], frame_shape[0]]), []
    for frame, detected in detections.items():
        kept = detected.scores >= config.low_score
        boxes, scores = detected.boxes_px[kept], detected.scores[kept]
        truncated = (boxes[:, :2] < _BORDER_SHARE * size) | (boxes[:, 2:] > (1 - _BORDER_SHARE) * size)
        quality = np.where(truncated.any(axis=1), config.truncated_quality, 1.0)
        clearness = (1 - _covered_shares(boxes)) * quality
        for index in np.flatnonzero(scores >= config.high_score):
            prompts.append(_Prompt(frame, boxes[index], float(scores[index]), float(clearness[index])))
    return prompts


def _covered_shares(boxes: Float[np.ndarray, "people 4"]) -> Float[np.ndarray, "people"]:
    """How much of each box lies in the one other that covers the most of it, leaving out duplicates of itself."""
    iou = box_iou(boxes, boxes)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(-1)
    shared = iou / (1 + iou) * (areas[:, None] + areas[None])
    return np.where(iou > _DUPLICATE_IOU, 0.0, shared / np.maximum(areas, 1e-9)[:, None]).max(axis=1, initial=0.0)


def _best_prompts(prompts: Sequence[_Prompt], limit: int, config: PromptConfig) -> list[_Prompt]:
    """The best prompt, and others in its frame that need not wait for a better one; at most `limit`."""
    best = max(prompts, key=lambda prompt: prompt.quality)
    chosen = [best]
    beside = (p for p in prompts if p.frame == best.frame and p.clearness >= config.min_clearness)
    for prompt in sorted(beside, key=lambda prompt: -prompt.quality):
        overlap = box_iou(prompt.box_px[None], np.stack([other.box_px for other in chosen]))
        if len(chosen) < limit and overlap.max() < config.explained_iou:
            chosen.append(prompt)
    return chosen
