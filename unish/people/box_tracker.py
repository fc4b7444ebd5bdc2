"""Following a box that somebody drew, with nothing learned beforehand.

In each next frame the box is first found again by its looks, as correlation-and-colour trackers do (Staple: a
template for the structure, colour histograms of person and surroundings for what deforms), then fitted to the person
by cutting out the foreground (GrabCut). Each works where the other fails: the template holds on to a person whose
colours blend into the background, the colours to one who moves every limb.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8

from unish.people.appearance import (
    Looks,
    blend,
    colors_around,
    features_of,
    likelihood_of,
    patch,
    resemblance_of,
    response,
)
from unish.people.grabcut import cut_out, ellipse, fitted_box, parts_of_person
from unish.people.tracking import box_iou

_WORKING_SIDE_PX = 480
_MOST_SHRINKING, _MOST_GROWTH = 0.35, 2.5


@dataclass(frozen=True)
class FollowConfig:
    """How a drawn box is followed."""

    scales: tuple[float, ...] = (0.93, 1.0, 1.08)
    reach: float = 0.6
    """How far the person may move between frames, in box sides; grows while nobody is seen."""
    lost_score: float = 0.45
    """Below this (mean of response and likeness of the colours) the person counts as not seen."""
    least_response: float = 0.16
    """And below this response, about 1 for the same picture and 0 for chance, whatever the colours."""
    return_doubt: float = 0.12
    """How much higher both must be for somebody who was not seen in the frame before."""
    learning_rate: float = 0.15
    """How fast the looks adapt."""
    least_resemblance: float = 0.6
    """How much the colours of a detection must fit somebody who was lost (Bhattacharyya coefficient)."""
    detection_iou: float = 0.5
    """A detection that overlaps the found box this much is taken in its place."""


@dataclass(frozen=True)
class Followed:
    """Where the drawn person was seen; boxes in pixels of the frames, masks of the whole frames, perhaps reduced."""

    boxes_px: Float[np.ndarray, "frames 4"]
    present: Bool[np.ndarray, "frames"]
    confidence: Float[np.ndarray, "frames"]
    masks: Bool[np.ndarray, "frames height width"]


@dataclass(frozen=True)
class _State:
    box: Float[np.ndarray, "4"]
    mask: Bool[np.ndarray, "height width"]
    looks: Looks
    velocity: Float[np.ndarray, "2"]
    missed: int = 0


Nearby = Callable[[int], Float[np.ndarray, "people 4"]]
"""Boxes in frame pixels that a detector found in a frame."""


def follow_box(
    frames: UInt8[np.ndarray, "frames height width 3"],
    box_px: Float[np.ndarray, "4"],
    start_frame: int,
    nearby: Nearby | None = None,
    config: FollowConfig = FollowConfig(),
) -> Followed:
    """Follow the box drawn in frame `start_frame` to the end of the clip and back to its beginning.

    The drawn box itself is kept as it is. Where the person is not seen, the box rests and confidence is 0.
    """
    height, width = frames.shape[1:3]
    scale = min(1.0, _WORKING_SIDE_PX / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    to_small = np.tile([size[0] / width, size[1] / height], 2)

    def small(index: int) -> UInt8[np.ndarray, "h w 3"]:
        return cv2.resize(frames[index], size, interpolation=cv2.INTER_AREA) if scale < 1 else frames[index]

    count = len(frames)
    boxes, masks = np.empty((count, 4)), np.zeros((count, size[1], size[0]), bool)
    confidence = np.zeros(count)
    first = _begin(small(start_frame), box_px * to_small)
    boxes[start_frame], masks[start_frame], confidence[start_frame] = first.box, first.mask, 1.0
    for onward in (range(start_frame + 1, count), range(start_frame - 1, -1, -1)):
        state = first
        for index in onward:
            detected = None if nearby is None else nearby(index) * to_small
            state, confidence[index] = _step(small(index), state, detected, config)
            boxes[index], masks[index] = state.box, state.mask & (confidence[index] > 0)
    return Followed(boxes / to_small, confidence > 0, confidence, masks)


# ---------------------------------------------------------------- one step


def _begin(frame: UInt8[np.ndarray, "h w 3"], box: Float[np.ndarray, "4"]) -> _State:
    mask = cut_out(frame, box, None)
    if mask.sum() < 0.15 * (box[2:] - box[:2]).prod():
        mask = ellipse(frame.shape, box, 0.35, 0.48)  # the colours do not separate: the person fills the box's middle
    person, rest = colors_around(frame, box, mask)
    template = patch(features_of(frame, likelihood_of(frame, person, rest)), box)
    return _State(box, mask, Looks(template, template, person, rest), np.zeros(2))


def _step(
    frame: UInt8[np.ndarray, "h w 3"],
    state: _State,
    detected: Float[np.ndarray, "people 4"] | None,
    config: FollowConfig,
) -> tuple[_State, float]:
    looks = state.looks
    likelihood = likelihood_of(frame, looks.person_colors, looks.rest_colors)
    box, likeness = _locate(frame, likelihood, state, config)
    carried = _carried_mask(state, box)
    prior = 0.6 * likelihood + 0.4 * carried
    mask = parts_of_person(cut_out(frame, box, prior), prior, box)
    # When the colours do not separate, the shape of the last mask is the better guess.
    if not _MOST_SHRINKING < mask.sum() / max(state.mask.sum(), 1) < _MOST_GROWTH:
        mask = carried > 0.5
    resemblance = resemblance_of(frame, mask, looks)
    score = 0.5 * likeness + 0.5 * resemblance
    doubt = config.return_doubt if state.missed else 0.0
    if likeness < config.least_response + doubt or score < config.lost_score + doubt:
        return _regained(frame, state, detected, config)
    fitted = fitted_box(mask, box)
    if detected is not None and len(detected):
        overlap = box_iou(fitted[None], detected)[0]
        if overlap.max() >= config.detection_iou:
            fitted = detected[overlap.argmax()]
    center_shift = (fitted - state.box).reshape(2, 2).mean(0)
    # Looks adapt only as far as the sighting is to be trusted.
    rate = config.learning_rate * min(1.0, max(0.0, (score - config.lost_score) / 0.2))
    person, rest = colors_around(frame, fitted, mask)
    blended = Looks(
        template=blend(looks.template, patch(features_of(frame, likelihood), fitted, looks.template.shape[:2]), rate),
        drawn_template=looks.drawn_template,
        person_colors=blend(looks.person_colors, person, rate),
        rest_colors=blend(looks.rest_colors, rest, 2 * rate),
    )
    return _State(fitted, mask, blended, 0.5 * state.velocity + 0.5 * center_shift), float(min(score, 1.0))


def _regained(
    frame: UInt8[np.ndarray, "h w 3"],
    state: _State,
    detected: Float[np.ndarray, "people 4"] | None,
    config: FollowConfig,
) -> tuple[_State, float]:
    """Somebody not found by their looks is the nearest detection in reach whose colours fit, or else not seen."""
    size, center = state.box[2:] - state.box[:2], (state.box[:2] + state.box[2:]) / 2
    candidates = np.empty((0, 4)) if detected is None else detected
    distances = np.linalg.norm((candidates[:, :2] + candidates[:, 2:]) / 2 - center, axis=1) / np.sqrt(size.prod())
    for index in np.argsort(distances):
        box = candidates[index]
        growth = np.sqrt((box[2:] - box[:2]).prod() / size.prod())
        if distances[index] > 2 * config.reach * (1 + 0.5 * state.missed) or not 0.4 < growth < 2.5:
            continue
        mask = cut_out(frame, box, None)
        resemblance = resemblance_of(frame, mask, state.looks)
        if resemblance >= config.least_resemblance:
            return _State(box, mask, state.looks, np.zeros(2)), 0.5 * resemblance
    return replace(state, velocity=state.velocity * 0.5, missed=state.missed + 1), 0.0


def _locate(
    frame: UInt8[np.ndarray, "h w 3"], likelihood: Float32[np.ndarray, "h w"], state: _State, config: FollowConfig
) -> tuple[Float[np.ndarray, "4"], float]:
    """The place and size that look most like the person, near where the motion points to."""
    features = features_of(frame, likelihood)
    size = state.box[2:] - state.box[:2]
    center = (state.box[:2] + state.box[2:]) / 2 + 0.5 * state.velocity
    reach = config.reach * (1 + 0.5 * min(state.missed, 4)) * np.sqrt(size.prod())
    best_box, best_score = state.box, -np.inf
    template_height, template_width = state.looks.template.shape[:2]
    for scale in config.scales:
        scaled = size * scale
        window = np.concatenate([center - scaled / 2 - reach, center + scaled / 2 + reach])
        per_template = np.array([template_width, template_height]) / scaled
        columns, rows = (int(side) for side in np.ceil((window[2:] - window[:2]) * per_template))
        window[2:] = window[:2] + np.array([columns, rows]) / per_template
        region = patch(features, window, (rows, columns))
        likeness = response(region, state.looks)
        down, across = (np.linspace(-1, 1, side + 2)[1:-1] for side in likeness.shape)
        away = np.hypot(down[:, None], across[None])
        likeness = likeness - 0.15 * away**2 - 0.3 * abs(np.log(scale))
        row, column = np.unravel_index(likeness.argmax(), likeness.shape)
        if likeness[row, column] > best_score:
            best_score = float(likeness[row, column])
            corner = window[:2] + np.array([column, row]) / per_template
            best_box = np.concatenate([corner, corner + scaled])
    return best_box, best_score


def _carried_mask(state: _State, box: Float[np.ndarray, "4"]) -> Float32[np.ndarray, "h w"]:
    """The last mask carried to the new box, blurred by what a body moves between frames."""
    old, new = state.box, box
    scale = (old[2:] - old[:2]) / np.maximum(new[2:] - new[:2], 1e-6)
    shift = old[:2] - new[:2] * scale
    matrix = np.array([[scale[0], 0, shift[0]], [0, scale[1], shift[1]]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    carried = cv2.warpAffine(state.mask.astype(np.float32), matrix, state.mask.shape[::-1], flags=flags)
    blur = 0.06 * float(np.sqrt(max((new[2:] - new[:2]).prod(), 1.0)))
    return cv2.GaussianBlur(carried, (0, 0), blur)
