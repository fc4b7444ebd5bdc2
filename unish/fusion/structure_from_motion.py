"""The camera's path, its lens and sparse points of a clip by structure from motion (COLMAP), where the camera moves.

A network guesses lens and depth from what it has seen; a camera that moves past a still scene measures both, up to one
scale. COLMAP is the library pycolmap: SIFT features beside the people, matches of frames near each other in time, and
incremental mapping with one focal length.
"""

import logging
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from unish.structures import Clip, PersonTrack
from unish.utils.progress import Progress, no_progress

log = logging.getLogger("unish")

LONG_SIDE_PX = 960
"""Frames are scaled to it, up or down: larger ones take longer and say little more."""
MAX_FRAMES = 48
"""Of longer clips every second, third ... frame is mapped."""
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
MAX_FOCAL_LOG_ERROR = 0.15
"""Beyond these a map is not to be trusted. In clips of the bundled benchmark within them lenses are off by 3 %."""
FEATURE_ERROR_PX = 0.5
SYSTEMATIC_LOG_ERROR = 0.02
"""Of a lens: what distortion and the rolling shutter leave. Beside it the adjustment's own error counts twice, since
features are not as independent as it takes them to be."""
DATABASE = "database.db"
MOST_THREADS = 8
BATCH_FRAMES, BATCH_PAIRS = 8, 60
"""Between two reports of progress."""


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
    if _stands_still(clip, tracks, frames):
        return None
    try:
        import pycolmap
    except ImportError:
        log.warning("pycolmap is not installed, so cameras and lens are the network's. To measure them, install it.")
        return None
    pycolmap.logging.minloglevel = int(pycolmap.logging.Level.FATAL)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        size = _write_images(clip, tracks, frames, folder)
        _match(pycolmap, folder, len(frames), seed, progress)
        for attempt, start in enumerate(FIRST_FOCALS if focal is None else (focal,)):
            progress(0.75 + 0.08 * attempt, "Measuring camera motion: solving")
            found = _solve(pycolmap, folder, start * np.hypot(*size) / 2, focal_is_exact, seed)
            if found is None:
                continue
            result = _as_map(pycolmap, found, frames, len(clip.frames), size, focal_is_exact)
            if _is_trusted(result, focal is not None):
                return result
    return None


# --- images ----------------------------------------------------------------------------------------------------------


def _stands_still(clip: Clip, tracks: Sequence[PersonTrack], frames: range) -> bool:
    """Whether features beside the people stay where they are between frames that are spread over the clip."""
    places = np.linspace(0, len(frames) - 1, min(len(frames), STILL_PAIRS + 1)).round().astype(int)
    chosen = [frames[place] for place in places.tolist()]
    grey = [cv2.cvtColor(_scaled(clip, frame), cv2.COLOR_RGB2GRAY) for frame in chosen]
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


def _scaled(clip: Clip, frame: int) -> UInt8[np.ndarray, "height width 3"]:
    image = np.asarray(clip.frames[frame])
    factor = LONG_SIDE_PX / max(image.shape)
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
    margin_px = round(PERSON_MARGIN * LONG_SIDE_PX)
    return 255 * (1 - cv2.dilate(people, np.ones((2 * margin_px + 1,) * 2, np.uint8)))


def _write_images(clip: Clip, tracks: Sequence[PersonTrack], frames: range, folder: Path) -> tuple[int, int]:
    """Scaled frames and masks of what is still as files named by their place in `frames`; their (width, height)."""
    (folder / "images").mkdir()
    (folder / "masks").mkdir()
    size = 0, 0
    for place, frame in enumerate(frames):
        image = _scaled(clip, frame)
        size = image.shape[1], image.shape[0]
        cv2.imwrite(str(folder / "images" / _name(place)), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        cv2.imwrite(str(folder / "masks" / f"{_name(place)}.png"), _still_mask(clip, tracks, frame, size))
    return size


def _name(place: int) -> str:
    return f"{place:05d}.png"


# --- COLMAP ----------------------------------------------------------------------------------------------------------


def _match(pycolmap: ModuleType, folder: Path, count: int, seed: int, progress: Progress) -> None:
    """Features of the images of a folder and their matches, into its database."""
    database, names = folder / DATABASE, [_name(place) for place in range(count)]
    reader, extraction = pycolmap.ImageReaderOptions(), pycolmap.FeatureExtractionOptions()
    reader.camera_model, reader.mask_path = "SIMPLE_PINHOLE", str(folder / "masks")
    extraction.num_threads, extraction.use_gpu = 1, False  # several would number the frames by chance
    extraction.sift.first_octave, extraction.sift.max_num_features, extraction.sift.peak_threshold = 0, 3000, 0.003
    for start in range(0, count, BATCH_FRAMES):
        progress(0.5 * start / count, "Measuring camera motion: finding features")
        pycolmap.extract_features(
            database,
            folder / "images",
            image_names=names[start : start + BATCH_FRAMES],
            camera_mode=pycolmap.CameraMode.SINGLE,
            reader_options=reader,
            extraction_options=extraction,
            device=pycolmap.Device.cpu,
        )
        if start == 0:  # all frames have one camera, also those of later batches
            with pycolmap.Database.open(database) as written:
                (camera,) = written.read_all_cameras()
            reader.existing_camera_id = camera.camera_id
    matching, verification = pycolmap.FeatureMatchingOptions(), pycolmap.TwoViewGeometryOptions()
    matching.num_threads, matching.use_gpu = _threads(), False
    verification.ransac.random_seed = seed
    pairs = list(_pairs(count))
    pairing = pycolmap.ImportedPairingOptions()
    pairing.match_list_path = folder / "pairs.txt"
    for start in range(0, len(pairs), BATCH_PAIRS):
        progress(0.5 + 0.25 * start / len(pairs), "Measuring camera motion: matching frames")
        lines = (f"{names[a]} {names[b]}" for a, b in pairs[start : start + BATCH_PAIRS])
        Path(pairing.match_list_path).write_text("\n".join(lines))
        pycolmap.match_image_pairs(
            database,
            matching_options=matching,
            pairing_options=pairing,
            verification_options=verification,
            device=pycolmap.Device.cpu,
        )


def _threads() -> int:
    """For what does not depend on their number: as many as there are cores, within reason."""
    return min(MOST_THREADS, os.cpu_count() or 1)


def _solve(pycolmap: ModuleType, folder: Path, focal_px: float, focal_is_exact: bool, seed: int) -> Any:
    """COLMAP's largest reconstruction from a folder's matches, from this focal length on; None if there is none."""
    with pycolmap.Database.open(folder / DATABASE) as database:
        for camera in database.read_all_cameras():
            camera.params = [focal_px, *camera.params[1:]]
            camera.has_prior_focal_length = True
            database.update_camera(camera)
    options = _mapping(pycolmap, focal_is_exact, seed)
    found = pycolmap.incremental_mapping(folder / DATABASE, folder / "images", folder, options=options)
    return max(found.values(), key=lambda part: part.num_reg_images(), default=None)


def _pairs(count: int) -> Iterator[tuple[int, int]]:
    """Places of frames that are matched: near each other, and at distances that double."""
    steps = [*range(1, 9), 16, 32, 64]
    return ((first, first + step) for step in steps for first in range(count - step))


def _mapping(pycolmap: ModuleType, focal_is_exact: bool, seed: int) -> Any:
    """Options for clips: small baselines, few points, one lens."""
    options = pycolmap.IncrementalPipelineOptions()
    options.num_threads, options.random_seed = 1, seed
    options.mapper.random_seed, options.triangulation.random_seed = seed, seed
    options.multiple_models, options.min_model_size, options.extract_colors = False, 3, False
    options.init_num_trials = 30
    options.ba_refine_extra_params = False
    options.ba_refine_focal_length = options.mapper.abs_pose_refine_focal_length = not focal_is_exact
    # Of the longer side: from a fisheye to a long telephoto lens.
    options.min_focal_length_ratio, options.max_focal_length_ratio = 0.3, 4.0
    options.mapper.init_min_tri_angle, options.mapper.init_min_num_inliers = 4.0, 30
    options.mapper.abs_pose_min_num_inliers = 15
    return options


# --- what was found --------------------------------------------------------------------------------------------------


def _as_map(
    pycolmap: ModuleType, found: Any, frames: range, count: int, size: tuple[int, int], focal_is_exact: bool
) -> SparseMap:
    (camera,) = found.cameras.values()
    half_diagonal = np.hypot(*size) / 2
    poses, registered = np.tile(np.eye(4), (count, 1, 1)), np.zeros(count, bool)
    points = [FramePoints(np.zeros((0, 2)), np.zeros(0), np.zeros(0))] * count
    angles = _widest_angles(found)
    for image in found.images.values():
        if not image.has_pose:
            continue
        frame = frames[int(Path(image.name).stem)]
        camera_from_world = np.vstack([image.cam_from_world().matrix(), [0, 0, 0, 1]])
        poses[frame], registered[frame] = np.linalg.inv(camera_from_world), True
        seen = [point for point in image.points2D if point.has_point3D()]
        if seen:
            world = np.array([found.points3D[point.point3D_id].xyz for point in seen])
            uv = (np.array([point.xy for point in seen]) - np.array(size) / 2) / half_diagonal
            depth = world @ camera_from_world[2, :3] + camera_from_world[2, 3]
            angle = np.array([angles[point.point3D_id] for point in seen])
            error = FEATURE_ERROR_PX / camera.params[0] / np.maximum(angle, 1e-4)
            front = depth > 1e-6
            points[frame] = FramePoints(uv[front], depth[front], error[front])
    error = 0.0 if focal_is_exact else _focal_log_error(pycolmap, found, camera)
    return SparseMap(float(camera.params[0] / half_diagonal), error, poses, registered, tuple(points))


def _widest_angles(found: Any) -> dict[int, float]:
    """Of every point, the largest angle, in radians, between rays from the cameras that see it."""
    centres = {number: image.projection_center() for number, image in found.images.items() if image.has_pose}
    widest = {}
    for number, point in found.points3D.items():
        rays = point.xyz - np.array([centres[element.image_id] for element in point.track.elements])
        rays /= np.linalg.norm(rays, axis=1, keepdims=True)
        widest[number] = float(np.arccos(np.clip((rays @ rays.T).min(), -1, 1)))
    return widest


def _focal_log_error(pycolmap: ModuleType, found: Any, camera: Any) -> float:
    """Standard deviation of the focal length's logarithm, from the curvature of the bundle adjustment."""
    config = pycolmap.BundleAdjustmentConfig()
    for number in found.reg_image_ids():
        config.add_image(number)
    config.fix_gauge(pycolmap.BundleAdjustmentGauge.TWO_CAMS_FROM_WORLD)
    options = pycolmap.BundleAdjustmentOptions()
    options.refine_extra_params = False
    adjuster = pycolmap.create_default_ceres_bundle_adjuster(options, config, found)
    covariance = pycolmap.estimate_ba_covariance(pycolmap.BACovarianceOptions(), found, adjuster)
    of_focal = None if covariance is None else covariance.get_other_params_cov(camera.params)
    if of_focal is None:
        return np.inf
    return round(float(np.hypot(2 * np.sqrt(of_focal[0, 0]) / camera.params[0], SYSTEMATIC_LOG_ERROR)), 4)


def _is_trusted(found: SparseMap, knows_lens: bool) -> bool:
    """Whether enough of the clip is in a map, and its lens certain and like a phone's or known beforehand."""
    mapped = found.registered.sum() / min(len(found.registered), MAX_FRAMES)
    points = np.median([len(part.depth) for part, known in zip(found.points, found.registered, strict=True) if known])
    log.info(
        "Structure from motion: %d frames, %.0f points each, focal length %.3f ± %.0f %%",
        found.registered.sum(), points, found.focal, 100 * found.focal_log_error,
    )  # fmt: skip
    likely = knows_lens or FOCAL_RANGE[0] < found.focal < FOCAL_RANGE[1]
    certain = found.focal_log_error <= MAX_FOCAL_LOG_ERROR
    return bool(mapped >= LEAST_REGISTERED and points >= LEAST_POINTS and certain and likely)
