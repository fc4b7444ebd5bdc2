"""The clip's lens: one focal length and one depth shift a window where the evidence says one camera, else a zoom."""

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

ZOOM = 0.12
"""Focal lengths of the windows that spread more than this (log, robust) and more than within them are a zoom."""
SMOOTH_FRAMES = 9


@dataclass(frozen=True)
class Lens:
    """Focal length of every frame, relative to half the diagonal, and the depth shift of every pass, in its units."""

    focal: Float[np.ndarray, "frames"]
    shift: tuple[float, ...]
    one: bool
    """One focal length for the whole clip."""


def frame_focals(
    points_camera: Float[Tensor, "frames samples 3"],
    confidence: Float[Tensor, "frames samples"],
    uv: Float[np.ndarray, "samples 2"],
    fit_shift: bool,
    threshold: float = VALID_CONFIDENCE,
) -> Float[np.ndarray, "frames"]:
    """The focal length that each frame of a pass asks for, given the one shift of the pass; NaN where it says none.

    Points count where the confidence is above `threshold`. Computed where the points are, if float64 is.
    """
    points_camera, confidence = (part.to(float64_device(part.device)) for part in (points_camera, confidence))
    seen_at, valid = torch.from_numpy(uv).to(points_camera.device), confidence > threshold
    whole = (points_camera.flatten(0, 1), seen_at.repeat(len(points_camera), 1), valid.flatten())
    _, shift = fit_pinhole(*whole, fit_shift=fit_shift)
    shifted = torch.cat([points_camera[..., :2], points_camera[..., 2:] + shift], dim=-1)
    focals, _ = fit_pinhole(shifted, seen_at, valid, fit_shift=False)
    return torch.where(valid.sum(-1) >= 2, focals, torch.nan).cpu().numpy()


def solve_lens(
    passes: Sequence[WindowPrediction],
    uv: Float[np.ndarray, "samples 2"],
    frames: int,
    fit_shift: bool,
    gain: float = 1.0,
    given: float | None = None,
    threshold: float = VALID_CONFIDENCE,
) -> Lens:
    """The lens of a clip of so many frames from its passes; a `given` focal length (half diagonals) is kept.

    `gain` is what the network's focal lengths have to be multiplied by. `fit_shift`: the network's depth is known up to
    a shift; the focal length that a pass asks for is then uncertain along with it, so the shift is fitted again for the
    clip's one. Points count where the confidence is above `threshold`.
    """
    if given is not None:
        focal, one = np.full(frames, given / gain), True
    else:
        focal, one = _clip_focal(
            [frame_focals(*_seen(found), uv, fit_shift, threshold) for found in passes], passes, frames
        )
    shifts = [_shift(found, uv, focal[found.frames], threshold) if fit_shift else 0.0 for found in passes]
    return Lens(focal * gain, tuple(shifts), one)


def _clip_focal(focals: list[np.ndarray], passes: Sequence[WindowPrediction], frames: int) -> tuple[np.ndarray, bool]:
    """The focal length of every frame, and whether it is the same for all."""
    every = np.concatenate(focals)
    if np.isnan(every).all():
        return np.ones(frames), True
    log = np.log(np.maximum(every, 1e-3))
    whole = float(np.nanmedian(log))
    if _spread(log) <= ZOOM or len(every) < 2 * SMOOTH_FRAMES:
        return np.full(frames, np.exp(whole)), True
    sums, counts = np.zeros(frames), np.zeros(frames)
    known = ~np.isnan(every)
    indices = np.concatenate([found.frames for found in passes])[known]
    np.add.at(sums, indices, log[known])
    np.add.at(counts, indices, 1)
    seen = np.flatnonzero(counts)
    mean = np.interp(np.arange(frames), seen, sums[seen] / counts[seen])
    smooth = median_filter(mean, SMOOTH_FRAMES, mode="nearest")
    # What is left after smoothing is noise; a zoom is more than that.
    if _spread(smooth) <= max(ZOOM, 2 * _spread(mean - smooth)):
        return np.full(frames, np.exp(whole)), True
    return np.exp(smooth), False


def _spread(values: np.ndarray) -> float:
    values = values[np.isfinite(values)]
    return float(1.4826 * np.median(np.abs(values - np.median(values)))) if len(values) else 0.0


def _shift(found: WindowPrediction, uv: np.ndarray, focal: np.ndarray, threshold: float) -> float:
    points, confidence = _seen(found)
    # At focal length 1, uv over the frame's own focal length.
    seen_at = torch.from_numpy(uv / focal[:, None, None]).flatten(0, 1)
    valid = (confidence > threshold).flatten()
    one = torch.ones((), dtype=torch.float64)
    return float(fit_pinhole(points.flatten(0, 1), seen_at, valid, focal=one)[1])


def _seen(found: WindowPrediction) -> tuple[Tensor, Tensor]:
    """A pass's points and how sure the network is of them."""
    return torch.from_numpy(found.points_camera), torch.from_numpy(found.confidence)
