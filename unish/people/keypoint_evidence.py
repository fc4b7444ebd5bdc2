"""What keypoints say of tracks: whether one is a person, whether two are the same, how far a body reaches."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from unish.structures import KEYPOINT_NAMES, PersonTrack

_TRUNK = [KEYPOINT_NAMES.index(f"{side}_{joint}") for joint in ("shoulder", "hip") for side in ("left", "right")]
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


def trunk_confidence(track: PersonTrack) -> float:
    """Highest confidence (0 to 1) among shoulders and hips, averaged over the frames in which the person is present.

    Whoever is in view shows a shoulder or a hip; an arm that reaches in, a dog or a chair does not. 0 for a track
    without keypoints.
    """
    if track.keypoints_px is None or not track.present.any():
        return 0.0
    return float(track.keypoints_px[track.present][:, _TRUNK, 2].max(axis=1).mean())


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
    distances = []
    for frame in np.flatnonzero(track.present & other.present):
        mine, theirs = track.keypoints_px[frame], other.keypoints_px[frame]
        seen = np.minimum(mine[:, 2], theirs[:, 2]) >= _SEEN
        if seen.sum() >= _MIN_KEYPOINTS:
            side = min((box[2:] - box[:2]).max() for box in (track.boxes_px[frame], other.boxes_px[frame]))
            distances.append(np.median(np.linalg.norm(mine[seen, :2] - theirs[seen, :2], axis=1)) / max(side, 1.0))
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
    masks = None
    if surer.masks is not None and other.masks is not None:
        masks = surer.masks
        for frame in np.flatnonzero(added):  # in place, as they may lie on disk
            masks[frame] = other.masks[frame]
    return PersonTrack(
        first.id,
        np.where(added[:, None], other.boxes_px, surer.boxes_px),
        first.present | second.present,
        np.where(added, other.confidence, surer.confidence),
        masks,
        np.where(added[:, None, None], other.keypoints_px, surer.keypoints_px),
    )


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
    return dataclasses.replace(track, boxes_px=grown)


def _grown(box_px: Float[np.ndarray, "4"], points_px: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "4"]:
    if not len(points_px):
        return box_px
    margin = _MARGIN * max(box_px[2:] - box_px[:2])
    low, high = points_px.min(axis=0) - margin, points_px.max(axis=0) + margin
    return np.concatenate([np.minimum(box_px[:2], low), np.maximum(box_px[2:], high)])
