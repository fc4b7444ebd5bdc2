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

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from unish.fusion import colmap_worker
from unish.fusion.colmap_worker import image_name
from unish.structures import Clip, PersonTrack
from unish.utils.progress import Progress, no_progress

log = logging.getLogger("unish")

MAX_FRAMES = 24
"""Of longer clips every second, third ... frame is mapped."""
FEW_FRAMES = 12
"""So few say less, and take little time: they are looked at more closely."""
FIRST_FOCALS = 1.5, 1.1, 2.0
"""Half diagonals; where the search for an unknown lens begins, one after the other until a map can be trusted: 32, 24
and 43 mm on film."""
FOCAL_RANGE = 0.55, 3.2
"""Of phones, from 12 to 70 mm. Where the camera hardly moves, a wrong map has a far longer lens."""
PERSON_MARGIN = 0.015
"""Nearer to a person than this share of the long side nothing counts as still."""

STILL_SHARE = 0.01
"""A camera whose image moves less than this share of the long side all through the clip is taken to stand still."""
STILL_PAIRS = 6

LEAST_FRAMES = 3
LEAST_REGISTERED = 0.7
LEAST_POINTS = 20
"""Median over the frames."""
MAX_FOCAL_LOG_ERROR = 0.2
"""Beyond these a map is not to be trusted."""
FEATURE_ERROR_PX = 0.5
SYSTEMATIC_LOG_ERROR = 0.02
"""Of a lens: what distortion and the rolling shutter leave. Beside it the adjustment's own error counts twice, since
features are not as independent as it takes them to be."""
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


COARSE, FINE = _Detail(800, 2000), _Detail(960, 3000)


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


def map_clip(
    clip: Clip,
    tracks: Sequence[PersonTrack],
    *,
    focal: float | None = None,
    focal_is_exact: bool = False,
    seed: int = 0,
    progress: Progress = no_progress,
) -> SparseMap | None:
    """The map of a clip beside its people; None where the camera stands still, or what is found cannot be trusted.

    `focal` in half diagonals is where the search for the lens begins, and its end where it `is_exact`. An exception
    raised in `progress` cancels it. Without pycolmap there is no map, and the log says so. The same clip and seed give
    the same map.
    """
    frames = range(0, len(clip.frames), -(-len(clip.frames) // MAX_FRAMES) or 1)
    if len(frames) < LEAST_FRAMES:
        return None
    progress(0.0, "Measuring camera motion")
    detail = FINE if len(frames) <= FEW_FRAMES else COARSE
    if _stands_still(clip, tracks, frames):
        return None
    if importlib.util.find_spec("pycolmap") is None:
        log.warning("pycolmap is not installed, so cameras and lens are the network's. To measure them, install it.")
        return None
    starts = FIRST_FOCALS if focal is None else (focal,)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        size = _write_images(clip, tracks, frames, detail.long_side_px, folder)
        half_diagonal_px = float(np.hypot(*size)) / 2
        job = {
            "count": len(frames),
            "focals_px": [start * half_diagonal_px for start in starts],
            "focal_is_exact": focal_is_exact,
            "most_features": detail.most_features,
            "seed": seed,
            "threads": min(MOST_THREADS, os.cpu_count() or 1),
        }
        (folder / "job.json").write_text(json.dumps(job))
        with contextlib.closing(_attempts(folder, progress)) as attempts:
            for attempt in attempts:
                found = _as_map(attempt, frames, len(clip.frames), size)
                if _is_trusted(found, len(frames), focal is not None):
                    return found
    return None


# --- images ----------------------------------------------------------------------------------------------------------


def _stands_still(clip: Clip, tracks: Sequence[PersonTrack], frames: range) -> bool:
    """Whether features beside the people stay where they are between frames that are spread over the clip."""
    places = np.linspace(0, len(frames) - 1, min(len(frames), STILL_PAIRS + 1)).round().astype(int)
    chosen = [frames[place] for place in places.tolist()]
    grey = [cv2.cvtColor(_scaled(clip, frame, COARSE.long_side_px), cv2.COLOR_RGB2GRAY) for frame in chosen]
    for before, after, frame in zip(grey[:-1], grey[1:], chosen[:-1], strict=True):
        still = _still_mask(clip, tracks, frame, (before.shape[1], before.shape[0]))
        corners = cv2.goodFeaturesToTrack(before, 200, 0.01, 8, mask=still)
        if corners is None:
            continue
        moved, found, _ = cv2.calcOpticalFlowPyrLK(before, after, corners, np.zeros_like(corners))
        tracked = found.ravel() > 0
        if tracked.mean() < 0.5:
            return False
        steps = np.linalg.norm((moved - corners)[tracked].reshape(-1, 2), axis=1)
        if np.median(steps) > STILL_SHARE * max(before.shape):
            return False
    return True


def _scaled(clip: Clip, frame: int, long_side_px: int) -> UInt8[np.ndarray, "height width 3"]:
    image = np.asarray(clip.frames[frame])
    factor = long_side_px / max(image.shape)
    size = round(image.shape[1] * factor), round(image.shape[0] * factor)
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC)


def _still_mask(
    clip: Clip, tracks: Sequence[PersonTrack], frame: int, size: tuple[int, int]
) -> UInt8[np.ndarray, "height width"]:
    """255 clear of all people, else 0; `size` is (width, height) of the scaled frame."""
    width, height = clip.frame_size
    people = np.zeros((size[1], size[0]), np.uint8)
    for track in tracks:
        if not track.present[frame]:
            continue
        if track.masks is not None and track.masks[frame].any():
            shown = np.asarray(track.masks[frame]).astype(np.uint8)
            people[cv2.resize(shown, size, interpolation=cv2.INTER_NEAREST) > 0] = 1
        else:
            ends = track.boxes_px[frame] * np.tile([size[0] / width, size[1] / height], 2)
            x0, y0, x1, y1 = np.clip(ends, 0, [*size, *size]).round().astype(int)
            people[y0:y1, x0:x1] = 1
    margin_px = round(PERSON_MARGIN * max(size))
    return 255 * (1 - cv2.dilate(people, np.ones((2 * margin_px + 1,) * 2, np.uint8)))


def _write_images(
    clip: Clip, tracks: Sequence[PersonTrack], frames: range, long_side_px: int, folder: Path
) -> tuple[int, int]:
    """Scaled frames and masks of what is still as files named by their place in `frames`; their (width, height)."""
    (folder / "images").mkdir()
    (folder / "masks").mkdir()
    size = 0, 0
    for place, frame in enumerate(frames):
        image = _scaled(clip, frame, long_side_px)
        size = image.shape[1], image.shape[0]
        cv2.imwrite(str(folder / "images" / image_name(place)), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        cv2.imwrite(str(folder / "masks" / f"{image_name(place)}.png"), _still_mask(clip, tracks, frame, size))
    return size


# --- COLMAP ----------------------------------------------------------------------------------------------------------


def _attempts(folder: Path, progress: Progress) -> Generator[Mapping[str, np.ndarray]]:
    """What COLMAP finds in its attempts, one after the other; its process ends with the caller's interest."""
    command = [sys.executable, colmap_worker.__file__, str(folder)]
    last: collections.deque[str] = collections.deque(maxlen=20)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if line.startswith(colmap_worker.SHARE):
                    progress(float(line[len(colmap_worker.SHARE) :]), "Measuring camera motion")
                elif line.startswith(colmap_worker.ATTEMPT):
                    with np.load(folder / f"attempt_{int(line[len(colmap_worker.ATTEMPT) :])}.npz") as arrays:
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


def _as_map(attempt: Mapping[str, np.ndarray], frames: range, count: int, size: tuple[int, int]) -> SparseMap:
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


def _is_trusted(found: SparseMap, mapped: int, knows_lens: bool) -> bool:
    """Whether enough of the `mapped` frames are in a map, and its lens is certain and like a phone's, or known."""
    points = np.median([len(part.depth) for part, known in zip(found.points, found.registered, strict=True) if known])
    log.info(
        "Structure from motion: %d frames, %.0f points each, focal length %.3f ± %.0f %%",
        found.registered.sum(), points, found.focal, 100 * found.focal_log_error,
    )  # fmt: skip
    likely = knows_lens or FOCAL_RANGE[0] < found.focal < FOCAL_RANGE[1]
    certain = found.focal_log_error <= MAX_FOCAL_LOG_ERROR
    return bool(found.registered.sum() >= LEAST_REGISTERED * mapped and points >= LEAST_POINTS and certain and likely)
