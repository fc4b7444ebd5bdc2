"""The measured camera in the way through: before the network, its lens for the network; after it, the rest."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch

from unish.fusion.mapped_scene import onto_map, onto_turns
from unish.fusion.motion import WindowBody
from unish.fusion.structure_from_motion import MeasuredCamera, map_clip
from unish.fusion.turning_camera import TurningCamera
from unish.pipeline.clip_predictions import ClipPredictions
from unish.pipeline.options import ClipPriors
from unish.structures import Clip, PersonTrack
from unish.utils.disk_arrays import new_array, release_pages
from unish.utils.progress import Progress, no_progress


def map_scene(
    clip: Clip,
    tracks: Sequence[PersonTrack],
    priors: ClipPriors,
    seed: int = 0,
    progress: Progress = no_progress,
) -> MeasuredCamera | None:
    """The map of a clip, or its camera alone where that stays where it is; None where neither can be trusted, or the
    camera is known to stand still."""
    if priors.static_camera:
        return None
    is_exact = priors.focal is not None and priors.focal_from == "given"
    return map_clip(clip, tracks, focal=priors.focal, focal_is_exact=is_exact, seed=seed, progress=progress)


def with_measured_lens(priors: ClipPriors, measured: MeasuredCamera | None) -> ClipPriors:
    """What is known of a clip with the measured lens, unless a better one is known."""
    if measured is None or measured.focal is None:
        return priors
    if priors.focal is not None and priors.focal_log_error <= measured.focal_log_error:
        return priors
    return dataclasses.replace(
        priors, focal=measured.focal, focal_from="measured", focal_log_error=measured.focal_log_error
    )


def laid_onto_map(predictions: ClipPredictions, priors: ClipPriors, measured: MeasuredCamera) -> ClipPredictions:
    """The windows of a clip with the measured cameras, and depth that agrees with them."""
    if isinstance(measured, TurningCamera):
        return _turned(predictions, priors, measured)
    intrinsics = predictions.intrinsics(priors)
    depth, windows, mapped = new_array(predictions.depth.shape, np.float32), [], set()
    for number, (window, shift) in enumerate(zip(predictions.windows, intrinsics.depth_shift, strict=True)):
        rows = predictions.rows(number)
        laid, depth[rows] = onto_map(window, predictions.depth[rows], shift, intrinsics.focal[window.frames], measured)
        if laid is not window:
            mapped |= set(window.frames[measured.registered[window.frames]].tolist())
        windows.append(laid)
        release_pages(predictions.depth, depth)
    return dataclasses.replace(predictions, windows=tuple(windows), depth=depth, mapped_frames=len(mapped))


def _turned(predictions: ClipPredictions, priors: ClipPriors, camera: TurningCamera) -> ClipPredictions:
    intrinsics = predictions.intrinsics(priors)
    focal = float(np.exp(np.log(intrinsics.focal).mean()))
    turns = camera.at(focal, len(intrinsics.focal))
    if not camera.zooms:
        turns = dataclasses.replace(turns, focal=intrinsics.focal)
    depth, windows, bodies = new_array(predictions.depth.shape, np.float32), [], []
    for number, (window, shift) in enumerate(zip(predictions.windows, intrinsics.depth_shift, strict=True)):
        rows = predictions.rows(number)
        seen_with = intrinsics.focal[window.frames]
        laid, depth[rows], factors = onto_turns(window, predictions.depth[rows], shift, seen_with, turns)
        windows.append(laid)
        bodies.append({k: _farther(body, factors, shift) for k, body in predictions.bodies[number].items()})
        release_pages(predictions.depth, depth)
    return dataclasses.replace(
        predictions,
        windows=tuple(windows),
        bodies=tuple(bodies),
        depth=depth,
        mapped_frames=int(turns.registered.sum()),
        zoom_focal=turns.focal if camera.zooms else None,
    )


def _farther(body: WindowBody, factors: np.ndarray, shift: float) -> WindowBody:
    translation = body.translation_camera.clone()
    translation[:, 2] = (translation[:, 2] + shift) * torch.from_numpy(factors).to(translation) - shift
    return dataclasses.replace(body, translation_camera=translation)
