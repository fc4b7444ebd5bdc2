"""Structure from motion in the way through: a map before the network, its lens for the network, its cameras after."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from unish.fusion.mapped_scene import onto_map
from unish.fusion.structure_from_motion import SparseMap, map_clip
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
) -> SparseMap | None:
    """The map of a clip; None where the camera stands still or is known to, and where no map can be trusted."""
    if priors.static_camera:
        return None
    is_exact = priors.focal is not None and priors.focal_from == "given"
    return map_clip(clip, tracks, focal=priors.focal, focal_is_exact=is_exact, seed=seed, progress=progress)


def with_measured_lens(priors: ClipPriors, sparse: SparseMap | None) -> ClipPriors:
    """What is known of a clip with the lens of its map, unless the user gave one."""
    if sparse is None or (priors.focal is not None and priors.focal_from == "given"):
        return priors
    return dataclasses.replace(
        priors, focal=sparse.focal, focal_from="measured", focal_log_error=sparse.focal_log_error
    )


def laid_onto_map(predictions: ClipPredictions, priors: ClipPriors, sparse: SparseMap) -> ClipPredictions:
    """The windows of a clip with the cameras of its map and depth that agrees with it."""
    intrinsics = predictions.intrinsics(priors)
    depth, windows, mapped = new_array(predictions.depth.shape, np.float32), [], set()
    for number, (window, shift) in enumerate(zip(predictions.windows, intrinsics.depth_shift, strict=True)):
        rows = predictions.rows(number)
        laid, depth[rows] = onto_map(window, predictions.depth[rows], shift, intrinsics.focal[window.frames], sparse)
        if laid is not window:
            mapped |= set(window.frames[sparse.registered[window.frames]].tolist())
        windows.append(laid)
        release_pages(predictions.depth, depth)
    return dataclasses.replace(predictions, windows=tuple(windows), depth=depth, mapped_frames=len(mapped))
