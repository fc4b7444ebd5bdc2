"""From detections in single frames to people who keep their identity.

Tracking by detection: motion-predicted boxes are matched to the detections of the next frame by an optimal assignment
over overlap, distance and colour (SORT), detections of high score before those of low score (ByteTrack). Detections of
low score alone make no track: each needs one of high score, before or after.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, UInt8
from scipy.optimize import linear_sum_assignment

from unish.structures import KEYPOINT_NAMES, PersonTrack
from unish.utils.disk_arrays import new_array
from unish.utils.progress import Progress, no_progress

RELAXED = 0.6
"""A second, less strict pass asks for this share of every score."""


_MOTION_DECAY = 0.85
"""What is left of a person's velocity from one frame unseen to the next."""
_DENSE_S, _SPARSE_S, _SPARSE_REACH = 0.5, 1.0, 1.5
"""Up to the first interval between frames a person moves at most `max_distance`, from the second on so many times as
far. Chosen on clips that the detector was trained on, at one frame per second."""
_LONGEST_GAP_S = 1.0
"""Between two detections farther apart than this nobody moves evenly: no boxes are made up for the frames between."""


@dataclass(frozen=True)
class Detections:
    """The people detected in one frame."""

    boxes_px: Float[np.ndarray, "people 4"]
    """x0, y0, x1, y1 in pixels of the frame."""
    scores: Float[np.ndarray, "people"]
    """In 0..1."""
    masks: Bool[np.ndarray, "people height width"] | None = None
    """At one resolution for the whole clip, with the frame's aspect ratio."""
    colors: Float[np.ndarray, "people bins"] | None = None
    """Appearance of each person: vectors of unit length, compared by their dot product."""
    keypoints_px: Float[np.ndarray, "people 17 3"] | None = None
    """x, y in pixels of the frame, and confidence in 0..1."""

    def __len__(self) -> int:
        return len(self.boxes_px)


@runtime_checkable
class FrameDetector(Protocol):
    """Detects the people in single frames."""

    def detect(
        self, frames: UInt8[np.ndarray, "frames height width 3"], progress: Progress = no_progress
    ) -> tuple[Detections, ...]:
        """One `Detections` per frame."""
        ...


@dataclass(frozen=True)
class TrackingConfig:
    """When two detections are one person."""

    high_score: float = 0.45
    """A track needs at least one detection of this score."""
    low_score: float = 0.2
    """In other frames detections count down to this score."""
    min_evidence: float = 0.3
    """Tracks with less `evidence` of a person are dropped."""
    max_distance: float = 1.0
    """Farthest a person moves between two frames beyond the prediction, in mean box sides."""
    max_size_ratio: float = 2.0
    max_gap: int = 3
    """Absences up to this many frames are filled in."""
    max_age: int = 12
    """Frames after which an unmatched track ends; the same person would come back as somebody new."""
    min_detections: int = 3
    """Tracks with fewer detections are dropped (half the clip's frames where that is less)."""
    duplicate_iou: float = 0.5
    """Two tracks whose boxes overlap by more, on average over the frames that they share, are of one body."""

    def at_step(self, step_s: float) -> "TrackingConfig":
        """The same for frames that are `step_s` seconds apart: the fewer there are, the farther people move between
        two of them, and the less is known of what they did meanwhile."""
        reach = float(np.interp(step_s, [_DENSE_S, _SPARSE_S], [1.0, _SPARSE_REACH]))
        most = round(_LONGEST_GAP_S / max(step_s, 1e-3)) - 1
        return replace(self, max_distance=reach * self.max_distance, max_gap=min(self.max_gap, max(0, most)))

    def relaxed(self) -> "TrackingConfig":
        """For a second pass, after those who were missed."""
        return replace(
            self,
            high_score=RELAXED * self.high_score,
            low_score=RELAXED * self.low_score,
            min_evidence=RELAXED * self.min_evidence,
            min_detections=1,
        )


@dataclass
class _Track:
    """A person being tracked: detections by frame, and the state that predicts the next box."""

    detections: dict[int, tuple[int, float]] = field(default_factory=dict)
    """Frame → (index of the detection in it, its score)."""
    box_px: np.ndarray = field(default_factory=lambda: np.zeros(4))
    velocity_px: np.ndarray = field(default_factory=lambda: np.zeros(4))
    color: np.ndarray | None = None
    last_frame: int = -1

    def predicted_box(self, frame: int) -> np.ndarray:
        # Motion fades out: after a long absence the person has not gone on for all of it.
        steps = (1 - _MOTION_DECAY ** (frame - self.last_frame)) / (1 - _MOTION_DECAY)
        return self.box_px + self.velocity_px * steps

    def update(self, frame: int, index: int, detections: Detections) -> None:
        """Take a detection of this frame as this person's."""
        box = detections.boxes_px[index]
        if self.detections:
            center_shift = (box - self.box_px).reshape(2, 2).mean(0) / (frame - self.last_frame)
            self.velocity_px = 0.5 * self.velocity_px + 0.5 * np.tile(center_shift, 2)
        if detections.colors is not None:
            color = detections.colors[index]
            self.color = color if self.color is None else 0.8 * self.color + 0.2 * color
        self.detections[frame] = (index, float(detections.scores[index]))
        self.box_px, self.last_frame = box, frame

    def boxes_px(self, detections: Sequence[Detections]) -> Float[np.ndarray, "detections 4"]:
        """The boxes of this person's detections, in the order of frames."""
        return np.stack([detections[frame].boxes_px[self.detections[frame][0]] for frame in sorted(self.detections)])


def box_iou(boxes: Float[np.ndarray, "n 4"], others: Float[np.ndarray, "m 4"]) -> Float[np.ndarray, "n m"]:
    """Intersection over union of every box with every other; 0 for boxes without area."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    shared = np.prod(np.clip(high - low, 0, None), axis=-1)
    areas = [np.prod(np.clip(b[:, 2:] - b[:, :2], 0, None), axis=-1) for b in (boxes, others)]
    union = areas[0][:, None] + areas[1][None] - shared
    return shared / np.maximum(union, 1e-9)


def track_people(
    detections: Sequence[Detections],
    config: TrackingConfig = TrackingConfig(),
) -> tuple[PersonTrack, ...]:
    """Link the detections of consecutive frames into people, the most prominent (large, sure, often seen) first.

    Ids count from 1 in that order. Short absences are filled by interpolation and marked present with half the
    confidence of their neighbours; in longer ones `present` is False and the boxes are interpolated.
    """
    tracks: list[_Track] = []
    for frame, detected in enumerate(detections):
        high = np.flatnonzero(detected.scores >= config.high_score)
        low = np.flatnonzero((detected.scores >= config.low_score) & (detected.scores < config.high_score))
        open_tracks = [track for track in tracks if frame - track.last_frame <= config.max_age]
        for candidates in (high, low):
            matched = _match(open_tracks, detected, candidates, frame, config)
            open_tracks = [track for track in open_tracks if track.last_frame != frame]
            for index in sorted(set(candidates.tolist()) - matched):
                tracks.append(_Track())
                tracks[-1].update(frame, index, detected)
    tracks = _without_duplicates(tracks, detections, config)
    needed = min(config.min_detections, max(1, len(detections) // 2))
    kept = [track for track in tracks if len(track.detections) >= needed and _is_person(track, detections, config)]
    people = [_person_track(track, detections, config) for track in kept]
    order = sorted(range(len(people)), key=lambda i: -prominence(people[i]))
    return tuple(replace(people[i], id=number) for number, i in enumerate(order, start=1))


def prominence(track: PersonTrack) -> float:
    """How much of the clip a person is: the sum over frames of box area times confidence, in square pixels."""
    width, height = (track.boxes_px[:, 2:] - track.boxes_px[:, :2]).T
    return float((width * height * track.confidence * track.present).sum())


def _match(
    tracks: list[_Track], detected: Detections, candidates: np.ndarray, frame: int, config: TrackingConfig
) -> set[int]:
    """Give each track at most one of the candidate detections; returns the detections that were given."""
    if not tracks or not len(candidates):
        return set()
    predicted = np.stack([track.predicted_box(frame) for track in tracks])
    cost = _costs(predicted, detected.boxes_px[candidates], config)
    if detected.colors is not None:
        colors = np.stack([track.color for track in tracks if track.color is not None])
        cost = cost + 0.5 * (1 - colors @ detected.colors[candidates].T)
    cost = cost + 0.02 * np.array([[frame - track.last_frame] for track in tracks])
    rows, columns = linear_sum_assignment(np.minimum(cost, 1e6))
    matched = set()
    for row, column in zip(rows, columns, strict=True):
        if cost[row, column] < np.inf:
            matched.add(int(candidates[column]))
            tracks[row].update(frame, int(candidates[column]), detected)
    return matched


def _costs(
    predicted: Float[np.ndarray, "tracks 4"], boxes: Float[np.ndarray, "people 4"], config: TrackingConfig
) -> Float[np.ndarray, "tracks people"]:
    """1 − IoU plus the distance in box sides, infinite where that is out of reach or the size does not fit."""
    sizes = [np.sqrt(np.maximum((b[:, 2:] - b[:, :2]).prod(-1), 1.0)) for b in (predicted, boxes)]
    mean_side = (sizes[0][:, None] + sizes[1][None]) / 2
    ratio = np.maximum(sizes[0][:, None] / sizes[1][None], sizes[1][None] / sizes[0][:, None])
    centers = [(b[:, :2] + b[:, 2:]) / 2 for b in (predicted, boxes)]
    distance = np.linalg.norm(centers[0][:, None] - centers[1][None], axis=-1) / mean_side
    cost = (1 - box_iou(predicted, boxes)) + 0.5 * distance
    return np.where((distance <= config.max_distance) & (ratio <= config.max_size_ratio), cost, np.inf)


def _is_person(track: _Track, detections: Sequence[Detections], config: TrackingConfig) -> bool:
    frames = np.array(sorted(track.detections))
    scores = np.array([track.detections[frame][1] for frame in frames])
    enough = evidence(track.boxes_px(detections), frames, scores) >= config.min_evidence
    return bool(enough and scores.max() >= config.high_score)


def evidence(
    boxes_px: Float[np.ndarray, "detections 4"], frames: np.ndarray, scores: Float[np.ndarray, "detections"]
) -> float:
    """How much speaks for a person, at most the mean score: less for one who is seen now and then, or who jumps.

    Bodies move smoothly and stay in view; what a detector takes for one here and there does not.
    """
    seen = len(frames) / (frames[-1] - frames[0] + 1)
    centers = (boxes_px[:, :2] + boxes_px[:, 2:]) / 2
    sides = np.sqrt(np.maximum((boxes_px[:, 2:] - boxes_px[:, :2]).prod(-1), 1.0))
    together = (frames[2:] - frames[:-2]) == 2
    jumps = np.linalg.norm(centers[2:] - 2 * centers[1:-1] + centers[:-2], axis=1)[together] / sides[1:-1][together]
    return float(scores.mean() * np.sqrt(seen) * np.exp(-np.median(jumps) if len(jumps) else 0.0))


def _without_duplicates(tracks: list[_Track], detections: Sequence[Detections], config: TrackingConfig) -> list[_Track]:
    """Tracks of one body made one: those that overlap wherever both are seen, for some frames or half of a life.

    The longer track keeps its detections and takes the other's where it has none. People who cross are seen apart too.
    """
    merged: list[_Track] = []
    for track in sorted(tracks, key=lambda track: -len(track.detections)):
        for longer in merged:
            shared = sorted(track.detections.keys() & longer.detections.keys())
            enough = len(shared) >= min(config.min_detections, (len(track.detections) + 1) // 2)
            if enough and _overlap(track, longer, shared, detections) > config.duplicate_iou:
                longer.detections = track.detections | longer.detections
                break
        else:
            merged.append(track)
    return merged


def _overlap(track: _Track, other: _Track, frames: list[int], detections: Sequence[Detections]) -> float:
    """Mean IoU of two tracks' boxes over these frames."""
    pairs = [[detections[frame].boxes_px[t.detections[frame][0]] for t in (track, other)] for frame in frames]
    return float(np.mean([box_iou(a[None], b[None])[0, 0] for a, b in pairs]))


def _person_track(track: _Track, detections: Sequence[Detections], config: TrackingConfig) -> PersonTrack:
    frames = np.array(sorted(track.detections))
    boxes = track.boxes_px(detections)
    scores = np.array([track.detections[frame][1] for frame in frames])
    masks = None
    if all(detected.masks is not None for detected in detections):
        masks = new_array((len(detections), *detections[frames[0]].masks.shape[1:]), bool)  # type: ignore[union-attr]
        for frame in frames:
            masks[frame] = detections[frame].masks[track.detections[frame][0]]  # type: ignore[index]
    keypoints = None
    if all(detected.keypoints_px is not None for detected in detections):
        keypoints = np.zeros((len(detections), len(KEYPOINT_NAMES), 3))
        for frame in frames:
            keypoints[frame] = detections[frame].keypoints_px[track.detections[frame][0]]  # type: ignore[index]
    confidence = np.zeros(len(detections))
    confidence[frames] = scores
    present, confidence = fill_gaps(frames, confidence, config.max_gap)
    boxes = interpolated_boxes(boxes, frames, len(detections))
    return PersonTrack(0, boxes, present, confidence, masks, keypoints)


def fill_gaps(
    frames: np.ndarray, confidence: Float[np.ndarray, "frames"], max_gap: int
) -> tuple[Bool[np.ndarray, "frames"], Float[np.ndarray, "frames"]]:
    """Presence and confidence of somebody detected in `frames`, which are in rising order.

    Absences up to `max_gap` frames between two detections count as present, with half the lower confidence of the two;
    longer ones stay.
    """
    present, confidence = np.zeros(len(confidence), bool), confidence.copy()
    present[frames] = True
    for before, after in pairwise(frames):
        if 1 < after - before <= max_gap + 1:
            present[before + 1 : after] = True
            confidence[before + 1 : after] = 0.5 * min(confidence[before], confidence[after])
    return present, confidence


def interpolated_boxes(
    boxes_px: Float[np.ndarray, "detections 4"], frames: np.ndarray, count: int
) -> Float[np.ndarray, "frames 4"]:
    """Boxes for all `count` frames from those at `frames`: linear between them, the nearest one outside."""
    return np.stack([np.interp(np.arange(count), frames, boxes_px[:, side]) for side in range(4)], axis=-1)


def color_histogram(
    frame: np.ndarray, box_px: np.ndarray, mask: np.ndarray | None = None, bins: int = 6
) -> Float[np.ndarray, "bins"]:
    """Appearance of a person: the square root of the RGB histogram in the box (where `mask`, of the frame's aspect, is
    set), so that dot products are Bhattacharyya coefficients."""
    height, width = frame.shape[:2]
    x0, y0, x1, y1 = np.clip(np.round(box_px), 0, [width, height, width, height]).astype(int)
    step = max(1, (y1 - y0) // 48)
    rows, columns = np.arange(y0, y1, step), np.arange(x0, x1, step)
    pixels = frame[rows[:, None], columns]
    if mask is not None:
        inside = mask[rows[:, None] * mask.shape[0] // height, columns * mask.shape[1] // width]
        pixels = pixels[inside] if inside.any() else pixels
    codes = (pixels.reshape(-1, 3).astype(int) * bins // 256) @ np.array([bins * bins, bins, 1])
    counts = np.bincount(codes, minlength=bins**3).astype(float) + 1e-9
    return np.sqrt(counts / counts.sum())
