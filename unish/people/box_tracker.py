"""Tracking a box drawn by the user, without a trained network.

In each next frame the person is first located by appearance, as correlation-and-colour trackers do (Staple: a template
for the structure, colour histograms of person and background for what deforms), then the box is fitted to the person
by foreground segmentation (GrabCut). Each works where the other fails: the template holds on to a person whose
colours blend into the background, the colours to one who moves every limb.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8

from unish.people.appearance import (
    Appearance,
    appearance_features,
    color_similarity,
    crop_features,
    moving_average,
    person_and_background_colors,
    person_likelihood,
    tracker_response,
)
from unish.people.grabcut import components_of_person, ellipse, fitted_box, segment_person
from unish.people.tracking import box_iou

_WORKING_SIDE_PX = 480
_MIN_MASK_GROWTH, _MAX_MASK_GROWTH = 0.35, 2.5


@dataclass(frozen=True)
class BoxTrackerConfig:
    """When and where a drawn person is located again."""

    scales: tuple[float, ...] = (0.93, 1.0, 1.08)
    search_radius: float = 0.6
    """How far the person may move between frames, in box sides; grows while they are lost."""
    min_score: float = 0.45
    """Below this (mean of response and colour similarity) the person counts as not seen."""
    min_response: float = 0.16
    """And below this response, about 1 for an exact match and 0 for chance, whatever the colours."""
    reappearance_margin: float = 0.12
    """How much higher both must be for somebody who was not seen in the frame before."""
    learning_rate: float = 0.15
    """How fast the appearance adapts."""
    min_color_similarity: float = 0.6
    """How well the colours of a detection must match somebody who was lost (Bhattacharyya coefficient)."""
    detection_iou: float = 0.7
    """A detection that overlaps the tracked box this much replaces it."""


@dataclass(frozen=True)
class BoxTrack:
    """Where the drawn person was seen; boxes in pixels of the frames, masks of the whole frames, perhaps reduced."""

    boxes_px: Float[np.ndarray, "frames 4"]
    present: Bool[np.ndarray, "frames"]
    confidence: Float[np.ndarray, "frames"]
    masks: Bool[np.ndarray, "frames height width"]


@dataclass(frozen=True)
class _State:
    """The tracker after a frame; all in pixels of the reduced frames."""

    box: Float[np.ndarray, "4"]
    mask: Bool[np.ndarray, "height width"]
    appearance: Appearance
    velocity: Float[np.ndarray, "2"]
    frames_lost: int = 0


DetectedBoxes = Callable[[int], Float[np.ndarray, "people 4"]]
"""Frame number → boxes of a detector in that frame, in its pixels."""


def track_box(
    frames: UInt8[np.ndarray, "frames height width 3"],
    box_px: Float[np.ndarray, "4"],
    start_frame: int,
    detected_boxes: DetectedBoxes | None = None,
    config: BoxTrackerConfig = BoxTrackerConfig(),
) -> BoxTrack:
    """Track the box drawn in frame `start_frame` to the end of the clip and back to its beginning.

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
    first = _initial_state(small(start_frame), box_px * to_small)
    boxes[start_frame], masks[start_frame], confidence[start_frame] = first.box, first.mask, 1.0
    for direction in (range(start_frame + 1, count), range(start_frame - 1, -1, -1)):
        state = first
        for index in direction:
            detections = None if detected_boxes is None else detected_boxes(index) * to_small
            state, confidence[index] = _step(small(index), state, detections, config)
            boxes[index], masks[index] = state.box, state.mask & (confidence[index] > 0)
    return BoxTrack(boxes / to_small, confidence > 0, confidence, masks)


# ---------------------------------------------------------------- one step


def _initial_state(frame: UInt8[np.ndarray, "h w 3"], box: Float[np.ndarray, "4"]) -> _State:
    mask = segment_person(frame, box, None)
    if mask.sum() < 0.15 * (box[2:] - box[:2]).prod():
        mask = ellipse(frame.shape, box, 0.35, 0.48)  # the colours do not separate: assume the middle of the box
    person, background = person_and_background_colors(frame, box, mask)
    template = crop_features(appearance_features(frame, person_likelihood(frame, person, background)), box)
    return _State(box, mask, Appearance(template, template, person, background), np.zeros(2))


def _step(
    frame: UInt8[np.ndarray, "h w 3"],
    state: _State,
    detections: Float[np.ndarray, "people 4"] | None,
    config: BoxTrackerConfig,
) -> tuple[_State, float]:
    """The state after one more frame, and how sure it is; 0 where the person is not seen."""
    appearance = state.appearance
    likelihood = person_likelihood(frame, appearance.person_colors, appearance.background_colors)
    box, response = _locate(frame, likelihood, state, config)
    carried = _carried_mask(state, box)
    prior = 0.6 * likelihood + 0.4 * carried
    mask = components_of_person(segment_person(frame, box, prior), prior, box)
    # When the colours do not separate, the shape of the last mask is the better guess.
    if not _MIN_MASK_GROWTH < mask.sum() / max(state.mask.sum(), 1) < _MAX_MASK_GROWTH:
        mask = carried > 0.5
    score = 0.5 * response + 0.5 * color_similarity(frame, mask, appearance)
    margin = config.reappearance_margin if state.frames_lost else 0.0
    if response < config.min_response + margin or score < config.min_score + margin:
        return _recovered(frame, state, detections, config)
    box = fitted_box(mask, box)
    if detections is not None and len(detections):
        overlap = box_iou(box[None], detections)[0]
        if overlap.max() >= config.detection_iou:
            box = detections[overlap.argmax()]
    center_shift = (box - state.box).reshape(2, 2).mean(0)
    # The appearance adapts only as far as the location is to be trusted.
    rate = config.learning_rate * min(1.0, max(0.0, (score - config.min_score) / 0.2))
    person, background = person_and_background_colors(frame, box, mask)
    template = crop_features(appearance_features(frame, likelihood), box, appearance.template.shape[:2])
    adapted = Appearance(
        template=moving_average(appearance.template, template, rate),
        drawn_template=appearance.drawn_template,
        person_colors=moving_average(appearance.person_colors, person, rate),
        background_colors=moving_average(appearance.background_colors, background, 2 * rate),
    )
    return _State(box, mask, adapted, 0.5 * state.velocity + 0.5 * center_shift), float(min(score, 1.0))


def _recovered(
    frame: UInt8[np.ndarray, "h w 3"],
    state: _State,
    detections: Float[np.ndarray, "people 4"] | None,
    config: BoxTrackerConfig,
) -> tuple[_State, float]:
    """Somebody not located by appearance is the nearest detection in reach whose colours match, or else lost."""
    size, center = state.box[2:] - state.box[:2], (state.box[:2] + state.box[2:]) / 2
    candidates = np.empty((0, 4)) if detections is None else detections
    distances = np.linalg.norm((candidates[:, :2] + candidates[:, 2:]) / 2 - center, axis=1) / np.sqrt(size.prod())
    for index in np.argsort(distances):
        box = candidates[index]
        growth = np.sqrt((box[2:] - box[:2]).prod() / size.prod())
        if distances[index] > 2 * config.search_radius * (1 + 0.5 * state.frames_lost) or not 0.4 < growth < 2.5:
            continue
        mask = segment_person(frame, box, None)
        similarity = color_similarity(frame, mask, state.appearance)
        if similarity >= config.min_color_similarity:
            return _State(box, mask, state.appearance, np.zeros(2)), 0.5 * similarity
    return replace(state, velocity=state.velocity * 0.5, frames_lost=state.frames_lost + 1), 0.0


def _locate(
    frame: UInt8[np.ndarray, "h w 3"], likelihood: Float32[np.ndarray, "h w"], state: _State, config: BoxTrackerConfig
) -> tuple[Float[np.ndarray, "4"], float]:
    """The box of the highest response near the predicted place, over the scales, and that response."""
    features = appearance_features(frame, likelihood)
    size = state.box[2:] - state.box[:2]
    center = (state.box[:2] + state.box[2:]) / 2 + 0.5 * state.velocity
    radius = config.search_radius * (1 + 0.5 * min(state.frames_lost, 4)) * np.sqrt(size.prod())
    best_box, best_response = state.box, -np.inf
    template_height, template_width = state.appearance.template.shape[:2]
    for scale in config.scales:
        scaled = size * scale
        window = np.concatenate([center - scaled / 2 - radius, center + scaled / 2 + radius])
        per_template = np.array([template_width, template_height]) / scaled
        columns, rows = (int(side) for side in np.ceil((window[2:] - window[:2]) * per_template))
        window[2:] = window[:2] + np.array([columns, rows]) / per_template
        region = crop_features(features, window, (rows, columns))
        response = tracker_response(region, state.appearance)
        down, across = (np.linspace(-1, 1, side + 2)[1:-1] for side in response.shape)
        off_center = np.hypot(down[:, None], across[None])
        response = response - 0.15 * off_center**2 - 0.3 * abs(np.log(scale))
        row, column = np.unravel_index(response.argmax(), response.shape)
        if response[row, column] > best_response:
            best_response = float(response[row, column])
            corner = window[:2] + np.array([column, row]) / per_template
            best_box = np.concatenate([corner, corner + scaled])
    return best_box, best_response


def _carried_mask(state: _State, box: Float[np.ndarray, "4"]) -> Float32[np.ndarray, "h w"]:
    """The last mask moved to the new box, blurred by what a body moves between frames."""
    old, new = state.box, box
    scale = (old[2:] - old[:2]) / np.maximum(new[2:] - new[:2], 1e-6)
    shift = old[:2] - new[:2] * scale
    matrix = np.array([[scale[0], 0, shift[0]], [0, scale[1], shift[1]]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    carried = cv2.warpAffine(state.mask.astype(np.float32), matrix, state.mask.shape[::-1], flags=flags)
    blur = 0.06 * float(np.sqrt(max((new[2:] - new[:2]).prod(), 1.0)))
    return cv2.GaussianBlur(carried, (0, 0), blur)
