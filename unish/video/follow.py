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

from unish.video.tracking import box_iou

_TEMPLATE_SIDE_PX = 48
_WORKING_SIDE_PX = 480
_HISTOGRAM_BINS = 16
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
class _Looks:
    """What the person looks like: two templates (now, and as drawn) and colour histograms of person and rest."""

    template: Float32[np.ndarray, "h w channels"]
    drawn_template: Float32[np.ndarray, "h w channels"]
    person_colors: Float32[np.ndarray, "colors"]
    rest_colors: Float32[np.ndarray, "colors"]


@dataclass(frozen=True)
class _State:
    box: Float[np.ndarray, "4"]
    mask: Bool[np.ndarray, "height width"]
    looks: _Looks
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
    mask = _cut_out(frame, box, None)
    if mask.sum() < 0.15 * (box[2:] - box[:2]).prod():
        mask = _ellipse(frame.shape, box, 0.35, 0.48)  # the colours do not separate: the person fills the box's middle
    person, rest = _colors(frame, box, mask)
    template = _patch(_features(frame, _likelihood(frame, person, rest)), box)
    return _State(box, mask, _Looks(template, template, person, rest), np.zeros(2))


def _step(
    frame: UInt8[np.ndarray, "h w 3"],
    state: _State,
    detected: Float[np.ndarray, "people 4"] | None,
    config: FollowConfig,
) -> tuple[_State, float]:
    looks = state.looks
    likelihood = _likelihood(frame, looks.person_colors, looks.rest_colors)
    box, response = _locate(frame, likelihood, state, config)
    carried = _carried_mask(state, box)
    prior = 0.6 * likelihood + 0.4 * carried
    mask = _of_person(_cut_out(frame, box, prior), prior, box)
    # When the colours do not separate, the shape of the last mask is the better guess.
    if not _MOST_SHRINKING < mask.sum() / max(state.mask.sum(), 1) < _MOST_GROWTH:
        mask = carried > 0.5
    resemblance = float(np.sqrt(_histogram(_codes(frame)[mask]) * looks.person_colors).sum())
    score = 0.5 * response + 0.5 * resemblance
    doubt = config.return_doubt if state.missed else 0.0
    if response < config.least_response + doubt or score < config.lost_score + doubt:
        return replace(state, velocity=state.velocity * 0.5, missed=state.missed + 1), 0.0
    fitted = _fitted_box(mask, box, state.box, frame.shape)
    if detected is not None and len(detected):
        overlap = box_iou(fitted[None], detected)[0]
        if overlap.max() >= config.detection_iou:
            fitted = detected[overlap.argmax()]
    center_shift = (fitted - state.box).reshape(2, 2).mean(0)
    # Looks adapt only as far as the sighting is to be trusted.
    rate = config.learning_rate * min(1.0, max(0.0, (score - config.lost_score) / 0.2))
    person, rest = _colors(frame, fitted, mask)
    blended = _Looks(
        template=_blend(looks.template, _patch(_features(frame, likelihood), fitted, looks.template.shape[:2]), rate),
        drawn_template=looks.drawn_template,
        person_colors=_blend(looks.person_colors, person, rate),
        rest_colors=_blend(looks.rest_colors, rest, 2 * rate),
    )
    return _State(fitted, mask, blended, 0.5 * state.velocity + 0.5 * center_shift), float(min(score, 1.0))


def _blend(old: Float32[np.ndarray, "..."], new: Float32[np.ndarray, "..."], rate: float) -> Float32[np.ndarray, "..."]:
    return ((1 - rate) * old + rate * new).astype(np.float32)


def _locate(
    frame: UInt8[np.ndarray, "h w 3"], likelihood: Float32[np.ndarray, "h w"], state: _State, config: FollowConfig
) -> tuple[Float[np.ndarray, "4"], float]:
    """The place and size that look most like the person, near where the motion points to."""
    features = _features(frame, likelihood)
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
        region = _patch(features, window, (rows, columns))
        response = _response(region, state.looks)
        down, across = (np.linspace(-1, 1, side + 2)[1:-1] for side in response.shape)
        away = np.hypot(down[:, None], across[None])
        response = response - 0.15 * away**2 - 0.3 * abs(np.log(scale))
        row, column = np.unravel_index(response.argmax(), response.shape)
        if response[row, column] > best_score:
            best_score = float(response[row, column])
            corner = window[:2] + np.array([column, row]) / per_template
            best_box = np.concatenate([corner, corner + scaled])
    return best_box, best_score


def _response(region: Float32[np.ndarray, "h w channels"], looks: _Looks) -> Float32[np.ndarray, "rows columns"]:
    """How much each place in the region looks like the person: about 1 for the same picture, 0 for chance."""
    structure = 0.0
    for template, share in ((looks.template, 0.35), (looks.drawn_template, 0.2)):
        similar = cv2.matchTemplate(region, template, cv2.TM_CCOEFF_NORMED)
        structure = structure + share * np.nan_to_num(similar, posinf=0.0, neginf=0.0)
    # Colour: the likelihood inside, where the person's shape is, against a frame around it.
    height, width = looks.template.shape[:2]
    likelihood = region[..., -1]
    shape = np.clip(looks.template[..., -1], 0, None)
    inside = cv2.matchTemplate(likelihood, shape, cv2.TM_CCORR) / max(float(shape.sum()), 1e-6)
    outer = cv2.boxFilter(likelihood, -1, (round(width * 1.6), round(height * 1.4)), borderType=cv2.BORDER_REPLICATE)
    inner = cv2.boxFilter(likelihood, -1, (width, height), borderType=cv2.BORDER_REPLICATE)
    ring = (outer * (1.6 * 1.4) - inner) / (1.6 * 1.4 - 1)
    top, left = height // 2, width // 2
    ring = ring[top : top + inside.shape[0], left : left + inside.shape[1]]
    return (structure + 0.45 * np.clip(inside - ring, -1, 1)).astype(np.float32)


# ---------------------------------------------------------------- looks


def _features(
    frame: UInt8[np.ndarray, "h w 3"], likelihood: Float32[np.ndarray, "h w"]
) -> Float32[np.ndarray, "h w 4"]:
    """Brightness, edges along x and y, and how person-like the colour is; each about in −1..1."""
    gray = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    edges = [np.tanh(4 * cv2.Sobel(gray, cv2.CV_32F, dx, 1 - dx, scale=0.25)) for dx in (1, 0)]
    return np.stack([gray, *edges, likelihood], axis=-1)


def _patch(
    features: Float32[np.ndarray, "h w channels"], box: Float[np.ndarray, "4"], shape: tuple[int, ...] | None = None
) -> Float32[np.ndarray, "rows columns channels"]:
    """The features in a box, resampled to (rows, columns), by default so that its mean side is the template's."""
    size = np.maximum(box[2:] - box[:2], 1.0)
    if shape is None:
        columns, rows = np.maximum(np.round(size * _TEMPLATE_SIDE_PX / np.sqrt(size.prod())), 4).astype(int)
        shape = (int(rows), int(columns))
    rows, columns = int(shape[0]), int(shape[1])
    steps = size / np.array([columns, rows])
    if steps.max() > 1.5:  # the picture shrinks: average first
        sigma = 0.4 * float(steps.max())
        features = cv2.GaussianBlur(features, (0, 0), sigma)
    matrix = np.array([[steps[0], 0, box[0] + steps[0] / 2 - 0.5], [0, steps[1], box[1] + steps[1] / 2 - 0.5]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(features, matrix, (columns, rows), flags=flags, borderMode=cv2.BORDER_REPLICATE)


def _codes(frame: UInt8[np.ndarray, "h w 3"]) -> np.ndarray:
    levels = frame.astype(np.int32) * _HISTOGRAM_BINS // 256
    return (levels[..., 0] * _HISTOGRAM_BINS + levels[..., 1]) * _HISTOGRAM_BINS + levels[..., 2]


def _colors(
    frame: UInt8[np.ndarray, "h w 3"], box: Float[np.ndarray, "4"], mask: Bool[np.ndarray, "h w"]
) -> tuple[Float32[np.ndarray, "colors"], Float32[np.ndarray, "colors"]]:
    """Smoothed colour histograms of the person and of what is around."""
    size = box[2:] - box[:2]
    x0, y0, x1, y1 = _clipped(np.concatenate([box[:2] - 0.7 * size, box[2:] + 0.7 * size]), frame.shape)
    codes, person = _codes(frame[y0:y1, x0:x1]), mask[y0:y1, x0:x1]
    near = cv2.dilate(person.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    return _histogram(codes[person]), _histogram(codes[~near])


def _histogram(codes: np.ndarray) -> Float32[np.ndarray, "colors"]:
    bins = _HISTOGRAM_BINS
    counts = np.bincount(codes.ravel(), minlength=bins**3).astype(np.float32).reshape(bins, bins, bins)
    for axis in range(3):  # neighbouring colours lend each other a quarter
        padded = np.concatenate([np.take(counts, [0], axis), counts, np.take(counts, [-1], axis)], axis)
        low, high = (np.take(padded, np.arange(start, start + bins), axis) for start in (0, 2))
        counts = 0.5 * counts + 0.25 * (low + high)
    return (counts / max(float(counts.sum()), 1e-6)).ravel()


def _likelihood(
    frame: UInt8[np.ndarray, "h w 3"],
    person: Float32[np.ndarray, "colors"],
    rest: Float32[np.ndarray, "colors"],
) -> Float32[np.ndarray, "h w"]:
    """Share of the person's histogram in both, pixel by pixel, slightly smoothed; one half for colours never seen."""
    share = (person + 1e-5) / (person + rest + 2e-5)
    return cv2.GaussianBlur(share[_codes(frame)].astype(np.float32), (0, 0), 1.0)


# ---------------------------------------------------------------- shape


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


def _cut_out(
    frame: UInt8[np.ndarray, "h w 3"], box: Float[np.ndarray, "4"], prior: Float32[np.ndarray, "h w"] | None
) -> Bool[np.ndarray, "h w"]:
    """The person's pixels by GrabCut, from the box alone or from a prior of the same size as the frame."""
    # Limbs reach out of a box by a share of the person's height, however narrow the box is.
    margin_px = 0.3 * float((box[2:] - box[:2]).max())
    x0, y0, x1, y1 = _clipped(np.concatenate([box[:2] - 1.6 * margin_px, box[2:] + 1.6 * margin_px]), frame.shape)
    part = np.ascontiguousarray(frame[y0:y1, x0:x1])
    labels = np.full(part.shape[:2], cv2.GC_BGD, np.uint8)
    reach = box if prior is None else np.concatenate([box[:2] - margin_px, box[2:] + margin_px])
    left, top, right, bottom = _clipped(reach - np.tile([x0, y0], 2), part.shape)
    if prior is None:
        labels[top:bottom, left:right] = cv2.GC_PR_FGD
        labels[_ellipse(frame.shape, box, 0.08, 0.25)[y0:y1, x0:x1]] = cv2.GC_FGD
    else:
        inside = prior[y0:y1, x0:x1]
        labels[top:bottom, left:right] = np.where(inside > 0.5, cv2.GC_PR_FGD, cv2.GC_PR_BGD)[top:bottom, left:right]
        labels[inside < 0.1] = cv2.GC_BGD
    result = np.zeros(frame.shape[:2], bool)
    if _few(labels == cv2.GC_BGD) or _few(labels == cv2.GC_PR_FGD):  # a box that fills the picture, or no colour left
        result[y0:y1, x0:x1] = labels == cv2.GC_PR_FGD
        return result
    cv2.setRNGSeed(0)
    cv2.grabCut(part, labels, (0, 0, 1, 1), np.zeros((1, 65)), np.zeros((1, 65)), 2, cv2.GC_INIT_WITH_MASK)
    result[y0:y1, x0:x1] = (labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)
    return result


def _ellipse(shape: tuple[int, ...], box: Float[np.ndarray, "4"], wide: float, high: float) -> Bool[np.ndarray, "h w"]:
    """An ellipse in the middle of a box, its half axes shares of the box's sides."""
    center, size = (box[:2] + box[2:]) / 2, box[2:] - box[:2]
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return ((columns + 0.5 - center[0]) / (wide * size[0])) ** 2 + (
        (rows + 0.5 - center[1]) / (high * size[1])
    ) ** 2 < 1


def _of_person(
    mask: Bool[np.ndarray, "h w"], prior: Float32[np.ndarray, "h w"], box: Float[np.ndarray, "4"]
) -> Bool[np.ndarray, "h w"]:
    """The connected parts of a mask that belong to the person: those that the prior and the found box speak for."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    if count <= 2:
        return mask
    x0, y0, x1, y1 = _clipped(box, mask.shape)
    inside = np.zeros(mask.shape, bool)
    inside[y0:y1, x0:x1] = True
    support = np.bincount(labels[inside], prior[inside], minlength=count)[1:]
    areas = stats[1:, cv2.CC_STAT_AREA]
    kept = (support >= 0.05 * support.max()) & (support >= 0.35 * areas)
    return np.isin(labels, 1 + np.flatnonzero(kept))


def _few(labels: Bool[np.ndarray, "h w"]) -> bool:
    return int(labels.sum()) < 16


def _fitted_box(
    mask: Bool[np.ndarray, "h w"], found: Float[np.ndarray, "4"], last: Float[np.ndarray, "4"], shape: tuple[int, ...]
) -> Float[np.ndarray, "4"]:
    """The mask's extent where that is plausible beside the found box, else the found box."""
    count, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    if count < 2:
        return found
    areas = stats[1:, cv2.CC_STAT_AREA]
    parts = 1 + np.flatnonzero(areas >= 0.08 * areas.max())
    corners = stats[parts, :2]
    extent = np.concatenate([corners.min(0), (corners + stats[parts, 2:4]).max(0)]).astype(float)
    sides, found_sides = extent[2:] - extent[:2], found[2:] - found[:2]
    plausible = np.all((sides > 0.5 * found_sides) & (sides < 1.7 * found_sides))
    if not plausible or box_iou(extent[None], found[None])[0, 0] < 0.4:
        return found
    return extent


def _clipped(box: Float[np.ndarray, "4"], shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    height, width = shape[:2]
    x0, y0, x1, y1 = np.round(box).astype(int)
    x0, y0 = min(max(x0, 0), width - 1), min(max(y0, 0), height - 1)
    return int(x0), int(y0), int(min(max(x1, x0 + 1), width)), int(min(max(y1, y0 + 1), height))
