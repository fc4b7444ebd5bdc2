"""Intrinsics of a clip: one focal length, or one per frame where it zooms, and one depth shift per window."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from scipy.ndimage import median_filter
from torch import Tensor

from unish.fusion.windows import WindowPrediction
from unish.geometry.camera import fit_pinhole
from unish.geometry.metric import VALID_CONFIDENCE
from unish.utils.device import float64_device

ZOOM_SPREAD = 0.12
"""Focal lengths of the windows that spread more than this (log, robust) and more than within them are a zoom."""
SMOOTHED_FRAMES = 9


@dataclass(frozen=True)
class ClipIntrinsics:
    """Focal length of every frame and depth shift of every forward pass."""

    focal: Float[np.ndarray, "frames"]
    """In half diagonals of the frame."""
    depth_shift: tuple[float, ...]
    """In units of each pass."""
    is_constant: bool
    """One focal length for the whole clip."""


def frame_focals(
    points_camera: Float[Tensor, "frames samples 3"],
    confidence: Float[Tensor, "frames samples"],
    uv: Float[np.ndarray, "samples 2"],
    fit_shift: bool,
    min_confidence: float = VALID_CONFIDENCE,
) -> Float[np.ndarray, "frames"]:
    """The focal length that fits each frame of a pass, given the one depth shift of the pass; NaN without valid points.

    Points are valid where their confidence is above `min_confidence`. Computed where the points are, if
    float64 is.
    """
    points_camera, confidence = (part.to(float64_device(part.device)) for part in (points_camera, confidence))
    sample_uv, valid = torch.from_numpy(uv).to(points_camera.device), confidence > min_confidence
    all_frames = (points_camera.flatten(0, 1), sample_uv.repeat(len(points_camera), 1), valid.flatten())
    _, shift = fit_pinhole(*all_frames, fit_shift=fit_shift)
    shifted = torch.cat([points_camera[..., :2], points_camera[..., 2:] + shift], dim=-1)
    focals, _ = fit_pinhole(shifted, sample_uv, valid, fit_shift=False)
    return torch.where(valid.sum(-1) >= 2, focals, torch.nan).cpu().numpy()


def solve_intrinsics(
    predictions: Sequence[WindowPrediction],
    uv: Float[np.ndarray, "samples 2"],
    frames: int,
    fit_shift: bool,
    focal_gain: float = 1.0,
    known_focal: float | Float[np.ndarray, "frames"] | None = None,
    min_confidence: float = VALID_CONFIDENCE,
) -> ClipIntrinsics:
    """Intrinsics of a clip of so many frames from its forward passes; a `known_focal` (half diagonals, of all
    frames or of each) is kept.

    `focal_gain` is what the network's focal lengths have to be multiplied by. `fit_shift`: the network's depth is known
    up to a shift; the focal length that fits a pass is then uncertain along with it, so the shift is fitted again for
    the clip's one. Points are valid where their confidence is above `min_confidence`.
    """
    if known_focal is not None:
        focal, is_constant = np.full(frames, known_focal / focal_gain), np.ndim(known_focal) == 0
    else:
        focals = [frame_focals(*_tensors(prediction), uv, fit_shift, min_confidence) for prediction in predictions]
        focal, is_constant = _clip_focal(focals, predictions, frames)
    shifts = [_depth_shift(p, uv, focal[p.frames], min_confidence) if fit_shift else 0.0 for p in predictions]
    return ClipIntrinsics(focal * focal_gain, tuple(shifts), is_constant)


def _clip_focal(
    focals: list[np.ndarray], predictions: Sequence[WindowPrediction], frames: int
) -> tuple[np.ndarray, bool]:
    """The focal length of every frame, and whether it is the same for all."""
    all_focals = np.concatenate(focals)
    if np.isnan(all_focals).all():
        return np.ones(frames), True
    log_focals = np.log(np.maximum(all_focals, 1e-3))
    median = float(np.nanmedian(log_focals))
    if _spread(log_focals) <= ZOOM_SPREAD or len(all_focals) < 2 * SMOOTHED_FRAMES:
        return np.full(frames, np.exp(median)), True
    sums, counts = np.zeros(frames), np.zeros(frames)
    finite = ~np.isnan(all_focals)
    indices = np.concatenate([prediction.frames for prediction in predictions])[finite]
    np.add.at(sums, indices, log_focals[finite])
    np.add.at(counts, indices, 1)
    seen = np.flatnonzero(counts)
    mean = np.interp(np.arange(frames), seen, sums[seen] / counts[seen])
    smooth = median_filter(mean, SMOOTHED_FRAMES, mode="nearest")
    # What is left after smoothing is noise; a zoom is more than that.
    if _spread(smooth) <= max(ZOOM_SPREAD, 2 * _spread(mean - smooth)):
        return np.full(frames, np.exp(median)), True
    return np.exp(smooth), False


def _spread(values: np.ndarray) -> float:
    """Standard deviation by the median absolute deviation."""
    values = values[np.isfinite(values)]
    return float(1.4826 * np.median(np.abs(values - np.median(values)))) if len(values) else 0.0


def _depth_shift(prediction: WindowPrediction, uv: np.ndarray, focal: np.ndarray, min_confidence: float) -> float:
    points, confidence = _tensors(prediction)
    # At focal length 1, uv over the frame's own focal length.
    sample_uv = torch.from_numpy(uv / focal[:, None, None]).flatten(0, 1)
    valid = (confidence > min_confidence).flatten()
    unit = torch.ones((), dtype=torch.float64)
    return float(fit_pinhole(points.flatten(0, 1), sample_uv, valid, focal=unit)[1])


def _tensors(prediction: WindowPrediction) -> tuple[Tensor, Tensor]:
    """Points of a pass and their confidence."""
    return torch.from_numpy(prediction.points_camera), torch.from_numpy(prediction.confidence)
