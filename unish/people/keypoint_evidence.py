"""What keypoints say of detections and tracks: whether one is a person, whether two are the same, how far a body
reaches."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float, UInt8
from scipy.special import expit, logit

from unish.people.keypoints import KeypointEstimator
from unish.people.tracking import Detections
from unish.structures import KEYPOINT_NAMES, TRUNK_KEYPOINTS, PersonTrack
from unish.utils.disk_arrays import release_pages
from unish.utils.progress import Progress, no_progress

_SURE = 0.4
"""From this confidence on, a keypoint belongs to the body."""
_MARGIN = 0.03
"""How far a body reaches beyond its keypoints, as a share of the box's longer side."""
_SEEN = 0.3
"""From this confidence on, a keypoint's place can be compared."""
_SAME_PLACE = 0.1
"""Keypoints of one body detected twice are closer than this share of the smaller box's longer side; those of two
people whose boxes overlap are about half a side apart."""
_MIN_KEYPOINTS, _MIN_FRAMES = 3, 3
"""Keypoints that both tracks see in a frame, and frames with as many, before two tracks are taken for one body; of
tracks that are shorter, half of their frames."""
_RELEASED_AFTER = 16
"""Frames after which those of a long clip, which lie on disk, leave the memory."""


def scored_by_keypoints(
    frames: UInt8[np.ndarray, "frames height width 3"],
    detections: Sequence[Detections],
    estimator: KeypointEstimator,
    progress: Progress = no_progress,
) -> tuple[Detections, ...]:
    """The detections with their keypoints, and scores to which these contribute; 0 for a body's second detection.

    The score and the highest confidence among shoulders and hips are taken for independent evidence, so their odds are
    multiplied. Keypoints tell people from shadows, rocks and chairs far better than the bundled detector's score does.
    """
    scored = []
    for index, (frame, detected) in enumerate(zip(frames, detections, strict=True)):
        repeated = np.broadcast_to(frame, (len(detected), *frame.shape))
        keypoints = (
            estimator.estimate(repeated, detected.boxes_px) if len(detected) else np.zeros((0, len(KEYPOINT_NAMES), 3))
        )
        scores = expit(
            _log_odds(detected.scores) + _log_odds(keypoints[:, list(TRUNK_KEYPOINTS), 2].max(axis=1, initial=0.0))
        )
        boxes, bodies = detected.boxes_px, []
        for i in np.argsort(-scores, kind="stable").tolist():
            if all(_distance(keypoints[i], keypoints[k], boxes[i], boxes[k]) >= _SAME_PLACE for k in bodies):
                bodies.append(i)
            else:
                scores[i] = 0.0
        scored.append(replace(detected, keypoints_px=keypoints, scores=scores))
        if index % _RELEASED_AFTER == 0:
            release_pages(frames)
        progress((index + 1) / len(frames), "Locating keypoints")
    return tuple(scored)


def _log_odds(probability: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
    return logit(probability.clip(1e-3, 1 - 1e-3))


def _distance(
    keypoints: Float[np.ndarray, "17 3"],
    others: Float[np.ndarray, "17 3"],
    box_px: Float[np.ndarray, "4"],
    other_px: Float[np.ndarray, "4"],
) -> float:
    """Median distance of the keypoints that both show, in longer sides of the smaller box; infinite for too few."""
    seen = np.minimum(keypoints[:, 2], others[:, 2]) >= _SEEN
    if seen.sum() < _MIN_KEYPOINTS:
        return np.inf
    side = min((box[2:] - box[:2]).max() for box in (box_px, other_px))
    return float(np.median(np.linalg.norm(keypoints[seen, :2] - others[seen, :2], axis=1)) / max(side, 1.0))


def trunk_confidence(track: PersonTrack) -> float:
    """Highest confidence (0 to 1) among shoulders and hips, averaged over the frames in which the person is present.

    Whoever is in view shows a shoulder or a hip; an arm that reaches in, a dog or a chair does not. 0 for a track
    without keypoints.
    """
    if track.keypoints_px is None or not track.present.any():
        return 0.0
    return float(track.keypoints_px[track.present][:, list(TRUNK_KEYPOINTS), 2].max(axis=1).mean())


def one_track_per_body(tracks: Sequence[PersonTrack]) -> tuple[PersonTrack, ...]:
    """The tracks in their order, those of one body merged: tracks whose keypoints (pixels) lie in the same places while
    both are present. In those frames the track with the surer keypoints counts, as its boxes fit the body better.

    A merged track keeps the id of the first. Masks of the given tracks may be written to: do not use them afterwards.
    """
    merged: list[PersonTrack] = []
    for track in tracks:
        for index, other in enumerate(merged):
            if _are_one_body(track, other):
                merged[index] = _united(other, track)
                break
        else:
            merged.append(track)
    return tuple(merged)


def _are_one_body(track: PersonTrack, other: PersonTrack) -> bool:
    if track.keypoints_px is None or other.keypoints_px is None:
        return False
    shared = np.flatnonzero(track.present & other.present)
    arrays = (track.keypoints_px, other.keypoints_px, track.boxes_px, other.boxes_px)
    distances = [_distance(*(array[frame] for array in arrays)) for frame in shared]
    distances = [distance for distance in distances if np.isfinite(distance)]
    fewest = min(int(track.present.sum()), int(other.present.sum()))
    enough = len(distances) >= min(_MIN_FRAMES, (fewest + 1) // 2)
    return bool(distances) and enough and float(np.median(distances)) < _SAME_PLACE


def _united(first: PersonTrack, second: PersonTrack) -> PersonTrack:
    """Both as one, with the first one's id: the surer one where it is present, the other one elsewhere."""
    assert first.keypoints_px is not None and second.keypoints_px is not None
    shared = first.present & second.present
    first_is_surer = first.keypoints_px[shared, :, 2].mean() >= second.keypoints_px[shared, :, 2].mean()
    surer, other = (first, second) if first_is_surer else (second, first)
    assert surer.keypoints_px is not None and other.keypoints_px is not None
    added = other.present & ~surer.present
    return PersonTrack(
        first.id,
        np.where(added[:, None], other.boxes_px, surer.boxes_px),
        first.present | second.present,
        np.where(added, other.confidence, surer.confidence),
        _joined_masks(surer.masks, other.masks, added),
        np.where(added[:, None, None], other.keypoints_px, surer.keypoints_px),
        _joined_masks(surer.uncertain_masks, other.uncertain_masks, added),
    )


def _joined_masks(
    masks: Bool[np.ndarray, "frames h w"] | None,
    other: Bool[np.ndarray, "frames h w"] | None,
    added: Bool[np.ndarray, "frames"],
) -> Bool[np.ndarray, "frames h w"] | None:
    """Masks with those of the other in the frames added: in place, as they may lie on disk."""
    if masks is None or other is None:
        return None
    for frame in np.flatnonzero(added):
        masks[frame] = other[frame]
    return masks


def grown_to_keypoints(track: PersonTrack, width_px: int, height_px: int) -> PersonTrack:
    """The track with boxes (pixels) that hold every sure keypoint within a frame of this size; no box gets smaller."""
    if track.keypoints_px is None:
        return track
    boxes = track.boxes_px.copy()
    for frame in np.flatnonzero(track.present):
        keypoints = track.keypoints_px[frame]
        boxes[frame] = _grown(boxes[frame], keypoints[keypoints[:, 2] >= _SURE, :2])
    inside = np.clip(boxes, 0, [width_px, height_px] * 2)
    grown = np.concatenate([np.minimum(inside, track.boxes_px)[:, :2], np.maximum(inside, track.boxes_px)[:, 2:]], 1)
    return replace(track, boxes_px=grown)


def _grown(box_px: Float[np.ndarray, "4"], points_px: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "4"]:
    if not len(points_px):
        return box_px
    margin = _MARGIN * max(box_px[2:] - box_px[:2])
    low, high = points_px.min(axis=0) - margin, points_px.max(axis=0) + margin
    return np.concatenate([np.minimum(box_px[:2], low), np.maximum(box_px[2:], high)])
