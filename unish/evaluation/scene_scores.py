"""Metrics of depth and cameras, by the protocols of the papers on video depth and camera poses."""

from dataclasses import dataclass, field

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from unish.evaluation import metrics
from unish.evaluation.benchmark import BenchmarkSequence
from unish.evaluation.metric_values import MetricValues
from unish.evaluation.predictions import SequencePrediction, require_finite
from unish.geometry.camera import image_fit

DEPTH_ALIGNMENTS = ("scale", "scale&shift", "metric")
"""What is fitted to depth in each sequence before its error counts: a factor, a factor and a shift, nothing."""
MAX_DEPTH_M = 70.0
"""True depth from here on is not scored (Bonn's protocol in MonST3R and CUT3R)."""
MIN_SURFACE_PIXELS = 64


@dataclass(frozen=True)
class _Pixels:
    """The valid pixels of a sequence, frame after frame, and the errors of single bodies' surfaces."""

    predicted: list[np.ndarray] = field(default_factory=list)
    true: list[np.ndarray] = field(default_factory=list)
    on_body: list[np.ndarray] = field(default_factory=list)
    surfaces: list[float] = field(default_factory=list)


def depth_metrics(
    prediction: SequencePrediction, sequence: BenchmarkSequence, alignment: str
) -> dict[str, MetricValues]:
    """Depth errors after the alignment: one value per sequence, counted by its valid pixels.

    The scale error is that of depth as predicted; the surface error is that of single bodies, each after a scale and a
    shift of its own. Empty where there is no true depth.
    """
    pixels = _valid_pixels(prediction, sequence)
    if not sum(map(len, pixels.true)):
        return {}
    predicted, true = np.concatenate(pixels.predicted), np.concatenate(pixels.true)
    everywhere = np.ones(len(true), bool)
    scale = metrics.align_scale(predicted, true, everywhere)
    errors = {"scale_error": MetricValues(np.array([abs(1 / (scale or 1e-12) - 1)]))}
    slope, shift = 1.0, 0.0
    if alignment == "scale":
        slope = scale
    elif alignment == "scale&shift":
        slope, shift = metrics.align_scale_shift(predicted, true, everywhere)
    aligned = (slope * predicted + shift).astype(np.float32)
    parts = {"": everywhere}
    if pixels.on_body:
        parts["body_"] = np.concatenate(pixels.on_body)
    for prefix, part in parts.items():
        count = int(part.sum())
        if count:
            errors[f"{prefix}abs_rel"] = MetricValues(np.array([metrics.abs_rel(aligned, true, part)]), count)
            errors[f"{prefix}delta_125"] = MetricValues(np.array([metrics.delta_125(aligned, true, part)]), count)
    if pixels.surfaces:
        errors["surface_abs_rel"] = MetricValues(np.array(pixels.surfaces))
    return errors


def _valid_pixels(prediction: SequencePrediction, sequence: BenchmarkSequence) -> _Pixels:
    pixels, depth_m = _Pixels(), sequence.depth_m
    if depth_m is None:
        return pixels
    for index, frame in enumerate(prediction.frames.tolist()):
        true = depth_m(frame)
        valid = np.isfinite(true) & (true > 0) & (true < MAX_DEPTH_M)
        predicted = on_image(prediction.depth_m(index), (true.shape[1], true.shape[0]))
        require_finite(predicted[valid], f"depths of frame {frame}", sequence)
        pixels.predicted.append(predicted[valid])
        pixels.true.append(true[valid].astype(np.float32))
        if sequence.person_mask is not None:
            mask = sequence.person_mask(frame)
            pixels.on_body.append(mask[valid] > 0)
            for person in range(1, len(sequence.people) + 1):
                error = _surface_error(predicted, true, valid & (mask == person))
                if error is not None:
                    pixels.surfaces.append(error)
    return pixels


def on_image(
    depth: Float[np.ndarray, "height width"], size_px: tuple[int, int]
) -> Float[np.ndarray, "image_height image_width"]:
    """A depth map of the image's middle, resampled to the image's size (width, height): cubic, its border extended."""
    depth = np.asarray(depth, np.float32)
    if (depth.shape[1], depth.shape[0]) == size_px:
        return depth
    scale, margin = image_fit((depth.shape[1], depth.shape[0]), size_px)
    # Pixel centres are whole numbers in OpenCV, half a pixel more here.
    shift = 0.5 * scale - margin - 0.5
    matrix = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
    return cv2.warpAffine(
        depth, matrix, size_px, flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE
    )


def mask_on_map(
    mask: UInt8[np.ndarray, "image_height image_width"], size_px: tuple[int, int]
) -> UInt8[np.ndarray, "height width"]:
    """An image's mask, resampled (nearest) to a map of the image's middle of size (width, height)."""
    scale, margin = image_fit(size_px, (mask.shape[1], mask.shape[0]))
    columns, rows = (
        np.floor((np.arange(side) + 0.5 + offset) / scale).astype(int).clip(0, whole - 1)
        for side, offset, whole in zip(size_px, margin, mask.shape[::-1], strict=True)
    )
    return mask[rows[:, None], columns]


def _surface_error(
    depth: Float[np.ndarray, "height width"], true: Float[np.ndarray, "height width"], mask: np.ndarray
) -> float | None:
    """Abs Rel of one person's depth after a scale and a shift of its own, fitted by least squares: shape alone.

    The outermost pixels, where the surface ends, do not count. None for fewer than 64 pixels.
    """
    inside = cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    x, y = depth[inside].astype(np.float64), true[inside].astype(np.float64)
    if len(x) < MIN_SURFACE_PIXELS:
        return None
    middle = x.mean()
    slope = ((x - middle) * (y - y.mean())).sum() / max(((x - middle) ** 2).sum(), 1e-12)
    shift = y.mean() - slope * middle
    return float((np.abs(slope * x + shift - y) / y).mean())


def camera_metrics(prediction: SequencePrediction, sequence: BenchmarkSequence) -> dict[str, MetricValues]:
    """Camera errors after a similarity alignment, root mean squares, one per sequence; empty without true cameras."""
    if sequence.world_from_camera is None or len(prediction.frames) < 2:
        return {}
    predicted = prediction.world_from_camera.astype(np.float64)
    require_finite(predicted, "cameras", sequence)
    true = sequence.world_from_camera[prediction.frames].astype(np.float64)
    ate_cm = _root_mean_square(metrics.camera_ate(predicted, true))
    rigid_ate_cm = _root_mean_square(metrics.camera_ate(predicted, true, with_scale=False))
    translations_m, rotations_deg = metrics.camera_rpe(predicted, true)
    values = {
        "ate_m": ate_cm / metrics.CM_PER_M,
        "camera_ate_cm": ate_cm,
        "rigid_ate_m": rigid_ate_cm / metrics.CM_PER_M,
        "rpe_trans_m": _root_mean_square(translations_m),
        "rpe_rot_deg": _root_mean_square(rotations_deg),
    }
    return {name: MetricValues(np.array([value])) for name, value in values.items()}


def _root_mean_square(values: np.ndarray) -> float:
    return float(np.sqrt((values**2).mean()))
