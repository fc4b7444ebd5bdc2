"""The camera's path, its lens and sparse points of a clip by structure from motion (COLMAP), where the camera moves.

A network guesses lens and depth from what it has seen; a camera that moves past a still scene measures both, up to one
scale. COLMAP is the library pycolmap: SIFT features beside the people, matches of frames near each other in time, and
incremental mapping with one focal length.
"""

import collections
import contextlib
import importlib.util
import json
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int

from unish.fusion import colmap_worker
from unish.fusion.still_scene import features_of_standing_camera, write_images
from unish.fusion.turning_camera import (
    MAX_FOCAL_LOG_ERROR,
    SYSTEMATIC_LOG_ERROR,
    SharedFeatures,
    TurningCamera,
    standing_camera,
    turning_camera,
)
from unish.structures import Clip, PersonTrack
from unish.utils.progress import Progress, no_progress

log = logging.getLogger("unish")

MAX_FRAMES = 24
"""Of longer clips every second, third ... frame is mapped."""
FEW_FRAMES = 12
"""So few say less, and take little time: they are looked at more closely, and where no two maps agree, once more with
`FAINT` features: in a plain room these decide whether there is a map at all."""
FIRST_FOCALS = 1.5, 1.1, 2.0
"""Half diagonals; where the search for an unknown lens begins, one after the other until two maps that can be trusted
have the same lens: 32, 24 and 43 mm on film. Of a camera that goes straight ahead, each start may have its own."""
AGREEING_LOG = 0.1
"""Difference of the logarithms of two lenses that are the same."""
FOCAL_RANGE = 0.55, 3.2
"""Of phones, from 12 to 70 mm. Where the camera hardly moves, a wrong map has a far longer lens."""
LEAST_FRAMES = 3
LEAST_REGISTERED = 0.7
LEAST_POINTS = 20
"""Median over the frames. With less, or a lens less certain than `MAX_FOCAL_LOG_ERROR`, a map is not to be trusted."""
FEATURE_ERROR_PX = 0.5
MOST_THREADS = 8
NEAREST = 1e-6
"""In the map's unit: what lies nearer is behind the camera."""


@dataclass(frozen=True)
class _Detail:
    """How closely frames are looked at."""

    long_side_px: int
    """Frames are scaled to it, up or down."""
    most_features: int
    """Of a frame."""
    least_contrast: float = 0.003
    """Of a feature."""
    most_log_error: float = MAX_FOCAL_LOG_ERROR
    """Of a lens that is to be trusted."""


COARSE, FINE, FAINT = _Detail(800, 2000), _Detail(960, 3000), _Detail(960, 6000, 0.001, most_log_error=0.1)


@dataclass(frozen=True)
class FramePoints:
    """Sparse points that a frame sees."""

    uv: Float[np.ndarray, "points 2"]
    """Half diagonals from the middle of the frame."""
    depth: Float[np.ndarray, "points"]
    """Along the camera's axis, in the map's unit."""
    log_error: Float[np.ndarray, "points"]
    """Standard deviation of the depth's logarithm, from the angle between the views of the point."""


@dataclass(frozen=True)
class SparseMap:
    """Cameras, lens and points of a clip in a world of its own, whose unit is arbitrary."""

    focal: float
    """Half diagonals."""
    focal_log_error: float
    """Standard deviation of its logarithm; 0 where the focal length was given."""
    world_from_camera: Float[np.ndarray, "frames 4 4"]
    """Of registered frames; the identity for others."""
    registered: Bool[np.ndarray, "frames"]
    points: tuple[FramePoints, ...]
    """Of every frame; none where it is not registered."""


MeasuredCamera = SparseMap | TurningCamera
"""A map, or the camera alone where it stays where it is."""


def map_clip(
    clip: Clip,
    tracks: Sequence[PersonTrack],
    *,
    focal: float | None = None,
    focal_is_exact: bool = False,
    seed: int = 0,
    progress: Progress = no_progress,
) -> MeasuredCamera | None:
    """The map of a clip beside its people, or its camera alone where that stays where it is; None where neither can be
    trusted.

    `focal` in half diagonals is where the search for the lens begins, and its end where it `is_exact`. An exception
    raised in `progress` cancels it. Without pycolmap only a camera that stands still is found, and the log says so. The
    same clip and seed give the same map.
    """
    frames = np.arange(0, len(clip.frames), -(-len(clip.frames) // MAX_FRAMES) or 1)
    if len(frames) < LEAST_FRAMES:
        return None
    progress(0.0, "Measuring camera motion")
    features = features_of_standing_camera(clip, tracks, frames.tolist())
    if features is not None:
        return standing_camera(features, frames)
    if importlib.util.find_spec("pycolmap") is None:
        log.warning("pycolmap is not installed, so cameras and lens are the network's. To measure them, install it.")
        return None
    details = (FINE, FAINT) if len(frames) <= FEW_FRAMES else (COARSE,)
    alone: SparseMap | None = None
    for number, detail in enumerate(details):

        def report(share: float, message: str, number: int = number) -> None:
            progress((number + share) / len(details), message)

        found = _looked_at(clip, tracks, frames, detail, focal, focal_is_exact, seed, report)
        if isinstance(found, TurningCamera):
            return found
        if _agree(found) or (found and focal is not None):
            return found[0]
        if detail is not FAINT and len(found) == 1:
            alone = found[0]
    return alone


def _looked_at(
    clip: Clip,
    tracks: Sequence[PersonTrack],
    frames: Int[np.ndarray, "some"],
    detail: _Detail,
    focal: float | None,
    focal_is_exact: bool,
    seed: int,
    progress: Progress,
) -> TurningCamera | list[SparseMap]:
    """The camera that turns, or the maps that can be trusted: of each start one, until two agree."""
    starts = FIRST_FOCALS if focal is None else (focal,)
    trusted: list[SparseMap] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        size = write_images(clip, tracks, frames.tolist(), detail.long_side_px, folder)
        half_diagonal_px = float(np.hypot(*size)) / 2
        job = {
            "count": len(frames),
            "focals_px": [start * half_diagonal_px for start in starts],
            "focal_is_exact": focal_is_exact,
            "most_features": detail.most_features,
            "least_contrast": detail.least_contrast,
            "seed": seed,
            "threads": min(MOST_THREADS, os.cpu_count() or 1),
        }
        (folder / "job.json").write_text(json.dumps(job))
        with contextlib.closing(_findings(folder, progress)) as findings:
            for found in findings:
                if colmap_worker.MATCHES in found:
                    shared = _shared_features(found[colmap_worker.MATCHES], size)
                    # Faint features lie too loosely to tell a camera that turns.
                    turning = None if detail is FAINT else turning_camera(shared, frames, focal, focal_is_exact)
                    if turning is not None:
                        return turning
                    continue
                sparse = _as_map(found, frames, len(clip.frames), size)
                if _is_trusted(sparse, len(frames), focal is not None, detail.most_log_error):
                    trusted.append(sparse)
                if len(starts) == 1 or _agree(trusted):
                    break
    return trusted


# --- COLMAP ----------------------------------------------------------------------------------------------------------


def _findings(folder: Path, progress: Progress) -> Generator[Mapping[str, np.ndarray]]:
    """What COLMAP finds: the matches of all frames, then its attempts, one after the other; its process ends with the
    caller's interest."""
    command = [sys.executable, colmap_worker.__file__, str(folder)]
    last: collections.deque[str] = collections.deque(maxlen=20)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if line.startswith(colmap_worker.SHARE):
                    progress(float(line[len(colmap_worker.SHARE) :]), "Measuring camera motion")
                elif line.startswith(colmap_worker.FOUND):
                    with np.load(folder / line[len(colmap_worker.FOUND) :].strip()) as arrays:
                        yield dict(arrays)
                elif line.strip():
                    last.append(line.strip())
        finally:
            process.kill()
    if process.returncode:
        log.warning(
            "COLMAP broke off (%s), so cameras and lens are the network's.",
            last[-1] if last else f"code {process.returncode}",
        )


# --- what was found --------------------------------------------------------------------------------------------------


def _shared_features(matches: Float[np.ndarray, "matches 6"], size: tuple[int, int]) -> SharedFeatures:
    uv = [(matches[:, k : k + 2] - np.array(size) / 2) / (float(np.hypot(*size)) / 2) for k in (2, 4)]
    return SharedFeatures(matches[:, 0].astype(int), matches[:, 1].astype(int), *uv)


def _as_map(
    attempt: Mapping[str, np.ndarray], frames: Int[np.ndarray, "some"], count: int, size: tuple[int, int]
) -> SparseMap:
    """What an attempt found of the frames that were mapped, as a map of a clip of `count` frames."""
    half_diagonal_px = float(np.hypot(*size)) / 2
    poses, registered = np.tile(np.eye(4), (count, 1, 1)), np.zeros(count, bool)
    points = [FramePoints(np.zeros((0, 2)), np.zeros(0), np.zeros(0))] * count
    views = attempt["views"][attempt["views"][:, 3] > NEAREST]
    for place, camera_from_world in zip(attempt["places"].tolist(), attempt["camera_from_world"], strict=True):
        frame = frames[place]
        poses[frame], registered[frame] = np.linalg.inv(camera_from_world), True
        x, y, depth, angle = views[views[:, 0] == place, 1:].T
        uv = (np.stack([x, y], axis=1) - np.array(size) / 2) / half_diagonal_px
        log_error = FEATURE_ERROR_PX / float(attempt["focal_px"]) / np.maximum(angle, 1e-4)
        points[frame] = FramePoints(uv, depth, log_error)
    error = float(attempt["focal_error"])
    log_error = round(float(np.hypot(2 * error, SYSTEMATIC_LOG_ERROR)), 4) if error > 0 else 0.0
    return SparseMap(float(attempt["focal_px"]) / half_diagonal_px, log_error, poses, registered, tuple(points))


def _agree(maps: Sequence[SparseMap]) -> bool:
    """Whether the last of several maps has about the same lens as the first."""
    return len(maps) > 1 and abs(float(np.log(maps[-1].focal / maps[0].focal))) < AGREEING_LOG


def _is_trusted(found: SparseMap, mapped: int, knows_lens: bool, most_log_error: float) -> bool:
    """Whether enough of the `mapped` frames are in a map, and its lens is certain and like a phone's, or known."""
    points = np.median([len(part.depth) for part, known in zip(found.points, found.registered, strict=True) if known])
    log.info(
        "Structure from motion: %d frames, %.0f points each, focal length %.3f ± %.0f %%",
        found.registered.sum(), points, found.focal, 100 * found.focal_log_error,
    )  # fmt: skip
    likely = knows_lens or FOCAL_RANGE[0] < found.focal < FOCAL_RANGE[1]
    certain = found.focal_log_error <= most_log_error
    return bool(found.registered.sum() >= LEAST_REGISTERED * mapped and points >= LEAST_POINTS and certain and likely)
