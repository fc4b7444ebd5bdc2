"""What keypoints say of a track: whether it is a person at all, and how far the body reaches beyond its box."""

import dataclasses

import numpy as np
from jaxtyping import Float

from unish.structures import KEYPOINT_NAMES, PersonTrack

_TRUNK = [KEYPOINT_NAMES.index(f"{side}_{joint}") for joint in ("shoulder", "hip") for side in ("left", "right")]
_SURE = 0.4
"""From this confidence on, a keypoint belongs to the body."""
_FLESH = 0.03
"""What a body has beyond its keypoints, as a share of the box's longer side."""


def trunk_confidence(track: PersonTrack) -> float:
    """Confidence of the best keypoint of the trunk, mean over the frames in which the person is present.

    A body shows a shoulder or a hip whatever part of it is in view; an arm, a dog or a chair does not. 0 for a track
    without keypoints.
    """
    if track.keypoints_px is None or not track.present.any():
        return 0.0
    return float(track.keypoints_px[track.present][:, _TRUNK, 2].max(axis=1).mean())


def grown_to_keypoints(track: PersonTrack, width_px: int, height_px: int) -> PersonTrack:
    """The track with boxes that hold every sure keypoint, within the frame; no box gets smaller."""
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
    margin = _FLESH * max(box_px[2:] - box_px[:2])
    low, high = points_px.min(axis=0) - margin, points_px.max(axis=0) + margin
    return np.concatenate([np.minimum(box_px[:2], low), np.maximum(box_px[2:], high)])
