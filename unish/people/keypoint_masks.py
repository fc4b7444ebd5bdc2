"""Masks of people whose keypoints are known: limbs drawn around the keypoints, fitted to the image by GrabCut."""

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8

from unish.people.grabcut import components_of_person, ellipse, segment_person
from unish.structures import KEYPOINT_NAMES, PersonTrack
from unish.utils.disk_arrays import new_array

_LONG_SIDE_PX = 480
"""Masks have this long side, or the frames' where that is less."""
_SURE = 2.5
"""Head and torso between keypoints that are so many times surer than visible ones are the person's, whatever their
colour, and so is the middle of limbs."""
_MIN_KEYPOINTS = 6
_GROWTH = (0.4, 2.5)
"""A segmentation whose area over that of the drawn limbs lies outside followed the background."""
_LIMBS = (
    ("shoulder", "elbow", 0.05), ("elbow", "wrist", 0.04), ("hip", "knee", 0.07), ("knee", "ankle", 0.05),
    ("shoulder", "hip", 0.07),
)  # fmt: skip
"""From, to and half the width, over the person's size; on both sides."""
_TORSO = ("left_shoulder", "right_shoulder", "right_hip", "left_hip")
_HEAD = ("nose", "left_eye", "right_eye", "left_ear", "right_ear")
_HEAD_RADIUS, _FOOT_RADIUS, _HAND_RADIUS = 0.075, 0.05, 0.045
_SURE_HEAD_RADIUS, _SURE_THICKNESS = 0.045, 0.5


def keypoint_masks(
    frames: UInt8[np.ndarray, "frames height width 3"], track: PersonTrack, visible_from: float
) -> Bool[np.ndarray, "frames mask_height mask_width"]:
    """The person's pixels in every frame in which they are present; the track must have keypoints, which are visible
    from that confidence on (`KeypointEstimator`).

    Where too few keypoints are known, from the mask that the track has, else from its box.
    """
    height, width = frames.shape[1:3]
    scale = min(1.0, _LONG_SIDE_PX / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    per_mask = np.array([size[0] / width, size[1] / height])
    masks = new_array((len(frames), size[1], size[0]), bool)
    assert track.keypoints_px is not None
    for index in np.flatnonzero(track.present):
        frame = cv2.resize(np.ascontiguousarray(frames[index]), size, interpolation=cv2.INTER_AREA)
        keypoints = track.keypoints_px[index] * [*per_mask, 1.0]
        box = track.boxes_px[index] * np.tile(per_mask, 2)
        guess = None
        if track.masks is not None and track.masks[index].any():
            guess = cv2.resize(np.asarray(track.masks[index]).astype(np.float32), size, interpolation=cv2.INTER_LINEAR)
        masks[index] = _mask(frame, box, keypoints, visible_from, guess)
    return masks


def _mask(
    frame: UInt8[np.ndarray, "h w 3"],
    box_px: Float[np.ndarray, "4"],
    keypoints: Float[np.ndarray, "17 3"],
    visible_from: float,
    guess: Float32[np.ndarray, "h w"] | None = None,
) -> Bool[np.ndarray, "h w"]:
    size_px, core, sure = float((box_px[2:] - box_px[:2]).max()), None, None
    if (keypoints[:, 2] >= visible_from).sum() >= _MIN_KEYPOINTS:
        surely = min(_SURE * visible_from, 1.0)
        drawn = _drawn_limbs(frame.shape, keypoints, size_px, visible_from)
        core = _core(frame.shape, keypoints, size_px, surely)
        sure = _drawn_limbs(frame.shape, keypoints, size_px, surely, _SURE_THICKNESS) > 0.5
    elif guess is not None:
        drawn = guess
    else:
        drawn = ellipse(frame.shape, box_px, 0.35, 0.48).astype(np.float32)
    narrow, wide = (cv2.GaussianBlur(drawn, (0, 0), max(0.5, share * size_px)) for share in (0.01, 0.05))
    prior = 0.6 * narrow + 0.4 * wide
    mask = components_of_person(segment_person(frame, box_px, prior, core), prior, box_px)
    mask = mask if _GROWTH[0] < mask.sum() / max(float(drawn.sum()), 1.0) < _GROWTH[1] else drawn > 0.5
    return mask if sure is None else mask | sure


def _drawn_limbs(
    shape: tuple[int, ...],
    keypoints: Float[np.ndarray, "17 3"],
    size_px: float,
    min_confidence: float,
    thickness: float = 1.0,
) -> Float32[np.ndarray, "h w"]:
    """1 on limbs, torso and head between keypoints that are sure enough, else 0."""
    drawn, sure = np.zeros(shape[:2], np.float32), _sure_places(keypoints, min_confidence)

    def radius(share: float) -> int:
        return max(1, round(thickness * share * size_px))

    for side in ("left", "right"):
        for start, end, share in _LIMBS:
            ends = sure.get(f"{side}_{start}"), sure.get(f"{side}_{end}")
            if ends[0] and ends[1]:
                cv2.line(drawn, ends[0], ends[1], 1.0, 2 * radius(share))
        for name, share in (("ankle", _FOOT_RADIUS), ("wrist", _HAND_RADIUS)):
            if place := sure.get(f"{side}_{name}"):
                cv2.circle(drawn, place, radius(share), 1.0, cv2.FILLED)
    _draw_torso_and_head(drawn, sure, radius(_HEAD_RADIUS))
    return drawn


def _core(
    shape: tuple[int, ...], keypoints: Float[np.ndarray, "17 3"], size_px: float, min_confidence: float
) -> Bool[np.ndarray, "h w"]:
    """Head and torso between sure keypoints; arms and legs are too thin to be sure of."""
    drawn = np.zeros(shape[:2], np.float32)
    _draw_torso_and_head(drawn, _sure_places(keypoints, min_confidence), max(1, round(_SURE_HEAD_RADIUS * size_px)))
    return drawn > 0.5


def _sure_places(keypoints: Float[np.ndarray, "17 3"], min_confidence: float) -> dict[str, tuple[int, int]]:
    return {
        name: (round(float(x)), round(float(y)))
        for name, (x, y, confidence) in zip(KEYPOINT_NAMES, keypoints, strict=True)
        if confidence >= min_confidence
    }


def _draw_torso_and_head(
    drawn: Float32[np.ndarray, "h w"], sure: dict[str, tuple[int, int]], head_radius_px: int
) -> None:
    if all(name in sure for name in _TORSO):
        cv2.fillConvexPoly(drawn, cv2.convexHull(np.array([sure[name] for name in _TORSO])), 1.0)
    if head := [sure[name] for name in _HEAD if name in sure]:
        x, y = np.mean(head, axis=0)
        cv2.circle(drawn, (round(float(x)), round(float(y))), head_radius_px, 1.0, cv2.FILLED)
