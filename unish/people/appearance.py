"""Appearance of a person without a trained network: templates and colour histograms, as in Staple."""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8

from unish.people.grabcut import clipped

_TEMPLATE_SIDE_PX = 48
_HISTOGRAM_BINS = 16


@dataclass(frozen=True)
class Appearance:
    """Two templates (current, and as drawn) and the colour histograms of the person and of the background."""

    template: Float32[np.ndarray, "h w channels"]
    drawn_template: Float32[np.ndarray, "h w channels"]
    person_colors: Float32[np.ndarray, "colors"]
    background_colors: Float32[np.ndarray, "colors"]


def appearance_features(
    frame: UInt8[np.ndarray, "h w 3"], likelihood: Float32[np.ndarray, "h w"]
) -> Float32[np.ndarray, "h w 4"]:
    """Brightness, gradients along x and y, and the person likelihood of each colour; all about in −1..1."""
    gray = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    edges = [np.tanh(4 * cv2.Sobel(gray, cv2.CV_32F, dx, 1 - dx, scale=0.25)) for dx in (1, 0)]
    return np.stack([gray, *edges, likelihood], axis=-1)


def crop_features(
    features: Float32[np.ndarray, "h w channels"], box: Float[np.ndarray, "4"], shape: tuple[int, ...] | None = None
) -> Float32[np.ndarray, "rows columns channels"]:
    """The features in a box, resampled to (rows, columns), by default so that its mean side is the template's."""
    size = np.maximum(box[2:] - box[:2], 1.0)
    if shape is None:
        columns, rows = np.maximum(np.round(size * _TEMPLATE_SIDE_PX / np.sqrt(size.prod())), 4).astype(int)
        shape = (int(rows), int(columns))
    rows, columns = int(shape[0]), int(shape[1])
    steps = size / np.array([columns, rows])
    if steps.max() > 1.5:  # downsampling: smooth first, against aliasing
        sigma = 0.4 * float(steps.max())
        features = cv2.GaussianBlur(features, (0, 0), sigma)
    matrix = np.array([[steps[0], 0, box[0] + steps[0] / 2 - 0.5], [0, steps[1], box[1] + steps[1] / 2 - 0.5]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(features, matrix, (columns, rows), flags=flags, borderMode=cv2.BORDER_REPLICATE)


def color_similarity(frame: UInt8[np.ndarray, "h w 3"], mask: Bool[np.ndarray, "h w"], appearance: Appearance) -> float:
    """How well the colours under a mask match the person's: the Bhattacharyya coefficient, 0..1."""
    return float(np.sqrt(_histogram(_color_codes(frame)[mask]) * appearance.person_colors).sum())


def _color_codes(frame: UInt8[np.ndarray, "h w 3"]) -> np.ndarray:
    levels = frame.astype(np.int32) * _HISTOGRAM_BINS // 256
    return (levels[..., 0] * _HISTOGRAM_BINS + levels[..., 1]) * _HISTOGRAM_BINS + levels[..., 2]


def person_and_background_colors(
    frame: UInt8[np.ndarray, "h w 3"], box: Float[np.ndarray, "4"], mask: Bool[np.ndarray, "h w"]
) -> tuple[Float32[np.ndarray, "colors"], Float32[np.ndarray, "colors"]]:
    """Smoothed colour histograms of the person and of their surroundings."""
    size = box[2:] - box[:2]
    x0, y0, x1, y1 = clipped(np.concatenate([box[:2] - 0.7 * size, box[2:] + 0.7 * size]), frame.shape)
    codes, person = _color_codes(frame[y0:y1, x0:x1]), mask[y0:y1, x0:x1]
    near = cv2.dilate(person.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    return _histogram(codes[person]), _histogram(codes[~near])


def _histogram(codes: np.ndarray) -> Float32[np.ndarray, "colors"]:
    """Normalised colour counts; neighbouring bins share a quarter, so that slight changes do not matter."""
    bins = _HISTOGRAM_BINS
    counts = np.bincount(codes.ravel(), minlength=bins**3).astype(np.float32).reshape(bins, bins, bins)
    for axis in range(3):
        padded = np.concatenate([np.take(counts, [0], axis), counts, np.take(counts, [-1], axis)], axis)
        low, high = (np.take(padded, np.arange(start, start + bins), axis) for start in (0, 2))
        counts = 0.5 * counts + 0.25 * (low + high)
    return (counts / max(float(counts.sum()), 1e-6)).ravel()


def person_likelihood(
    frame: UInt8[np.ndarray, "h w 3"],
    person: Float32[np.ndarray, "colors"],
    background: Float32[np.ndarray, "colors"],
) -> Float32[np.ndarray, "h w"]:
    """Probability of person against background by colour, pixel by pixel, slightly smoothed; 0.5 for unseen colours."""
    share = (person + 1e-5) / (person + background + 2e-5)
    return cv2.GaussianBlur(share[_color_codes(frame)].astype(np.float32), (0, 0), 1.0)


def tracker_response(
    region: Float32[np.ndarray, "h w channels"], appearance: Appearance
) -> Float32[np.ndarray, "rows columns"]:
    """Response map of a search region: about 1 where it matches the person exactly, 0 for chance."""
    structure = 0.0
    for template, share in ((appearance.template, 0.35), (appearance.drawn_template, 0.2)):
        similar = cv2.matchTemplate(region, template, cv2.TM_CCOEFF_NORMED)
        structure = structure + share * np.nan_to_num(similar, posinf=0.0, neginf=0.0)
    # Colour: the likelihood inside, where the person's shape is, against a ring around it.
    height, width = appearance.template.shape[:2]
    likelihood = region[..., -1]
    shape = np.clip(appearance.template[..., -1], 0, None)
    inside = cv2.matchTemplate(likelihood, shape, cv2.TM_CCORR) / max(float(shape.sum()), 1e-6)
    outer = cv2.boxFilter(likelihood, -1, (round(width * 1.6), round(height * 1.4)), borderType=cv2.BORDER_REPLICATE)
    inner = cv2.boxFilter(likelihood, -1, (width, height), borderType=cv2.BORDER_REPLICATE)
    ring = (outer * (1.6 * 1.4) - inner) / (1.6 * 1.4 - 1)
    top, left = height // 2, width // 2
    ring = ring[top : top + inside.shape[0], left : left + inside.shape[1]]
    return (structure + 0.45 * np.clip(inside - ring, -1, 1)).astype(np.float32)


def moving_average(
    old: Float32[np.ndarray, "..."], new: Float32[np.ndarray, "..."], rate: float
) -> Float32[np.ndarray, "..."]:
    """A step of `rate` from the old values to the new."""
    return ((1 - rate) * old + rate * new).astype(np.float32)
