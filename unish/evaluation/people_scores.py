"""Metrics of the people: in the camera's frame, in the world, and against the predicted points.

Frames that are not scored are dropped first, as the protocols do; the values of all people follow one another.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial import KDTree

from unish.analysis.body_surface import FEET, sole_height_m, visible_surface
from unish.evaluation import metrics
from unish.evaluation.benchmark import BenchmarkSequence, TruePerson
from unish.evaluation.metric_values import MetricValues
from unish.evaluation.predictions import PersonPrediction, SequencePrediction, Surface, move, require_finite
from unish.evaluation.scene_scores import mask_on_map
from unish.geometry.camera import unproject_depth

SMPL_VERTICES = 6890
FEET_VERTICES = np.array([3216, 3387, 6617, 6787])
"""SMPL's: two on each foot."""
CHUNK_FRAMES = 64
MAX_QUERIES = 500


@dataclass(frozen=True)
class _Pair:
    """A person's ground truth and prediction, at the frames that are scored."""

    true: TruePerson
    predicted: PersonPrediction
    frames: np.ndarray

    def joints_world(self) -> tuple[np.ndarray, np.ndarray]:
        """(frames, 24, 3) predicted and true, metres, each in its own world."""
        return self.predicted.joints_world[self.frames], self.true.joints_world[self.frames].astype(np.float64)


def _pairs(prediction: SequencePrediction, sequence: BenchmarkSequence) -> Iterator[_Pair]:
    for true in sequence.people:
        frames = np.flatnonzero(true.present & np.isfinite(true.joints_world).all((1, 2)))
        # A single frame has no motion, and aligning it leaves nothing of the world to score.
        if len(frames) >= 2 and true.id in prediction.people:
            predicted = prediction.people[true.id]
            require_finite(predicted.joints_world[frames], f"joints of person {true.id}", sequence)
            yield _Pair(true, predicted, frames)


def camera_frame_metrics(
    prediction: SequencePrediction, sequence: BenchmarkSequence, with_surfaces: bool = False
) -> dict[str, MetricValues]:
    """PA-MPJPE; and, where the true cameras are known, MPJPE, acceleration error, root error, and PVE if surfaces are
    requested (they take longer)."""
    values: dict[str, list[np.ndarray]] = {}
    cameras = sequence.world_from_camera
    for pair in _pairs(prediction, sequence):
        predicted, true = (
            pair.predicted.joints_camera[pair.frames],
            pair.true.joints_world[pair.frames].astype(np.float64),
        )
        values.setdefault("pa_mpjpe_mm", []).append(metrics.pa_mpjpe(predicted, true))
        if cameras is None:
            continue
        camera_from_world = np.linalg.inv(cameras[pair.frames].astype(np.float64))
        true = move(camera_from_world, true)
        values.setdefault("mpjpe_mm", []).append(metrics.mpjpe(predicted, true))
        values.setdefault("accel", []).append(metrics.accel(predicted, true, sequence.fps))
        root_error_m = np.linalg.norm(metrics.pelvis(predicted) - metrics.pelvis(true), axis=-1)[:, 0]
        values.setdefault("root_error_mm", []).append(metrics.MM_PER_M * root_error_m)
        if with_surfaces and _same_vertices(pair.true, pair.predicted.vertices_camera, pair.frames):
            values.setdefault("pve_mm", []).append(_pve(pair, predicted, true, camera_from_world))
    return _concatenated(values)


def world_metrics(
    prediction: SequencePrediction, sequence: BenchmarkSequence, with_surfaces: bool = False
) -> dict[str, MetricValues]:
    """WA-MPJPE, W-MPJPE, RTE, jitter, world size, sliding speed of the feet; and if surfaces are requested, the feet's
    gap to the floor, and sliding of SMPL's foot vertices where the surfaces are SMPL's."""
    values: dict[str, list[np.ndarray]] = {}
    for pair in _pairs(prediction, sequence):
        motion = metrics.world_motion(*pair.joints_world(), fps=sequence.fps)
        for name in ("wa_mpjpe_mm", "w_mpjpe_mm", "rte_percent", "jitter"):
            per_frame = getattr(motion, name)
            if np.isfinite(per_frame).all():  # RTE is undefined for people who never move
                values.setdefault(name, []).append(per_frame)
        predicted, true = pair.joints_world()
        size = metrics.world_size(predicted[:, 0], true[:, 0])
        if np.isfinite(size):
            values.setdefault("world_size", []).append(np.array([size]))
        sliding = metrics.foot_sliding_speed(predicted[:, FEET.ravel()], true[:, FEET.ravel()], sequence.fps)
        values.setdefault("foot_sliding_cm_s", []).append(sliding)
        surface = pair.predicted.vertices_world
        if with_surfaces and surface is not None and prediction.world_up is not None:
            values.setdefault("foot_floor_gap_cm", []).append(_floor_gap_cm(pair, prediction.world_up, sequence.fps))
        if with_surfaces and surface is not None and _same_vertices(pair.true, surface, pair.frames, SMPL_VERTICES):
            predicted = np.concatenate([surface(part)[:, FEET_VERTICES] for part in _parts(pair.frames)])
            assert pair.true.vertices_world is not None
            true = np.stack([pair.true.vertices_world(int(frame))[FEET_VERTICES] for frame in pair.frames])
            values.setdefault("foot_sliding_mm", []).append(metrics.foot_sliding(predicted, true.astype(np.float64)))
    return _concatenated(values)


def contact_metrics(prediction: SequencePrediction, sequence: BenchmarkSequence) -> dict[str, MetricValues]:
    """How the predicted bodies fit the predicted points of the same people, without ground truth: centimetres from a
    body's visible vertices to their nearest points, and how much deeper the points lie on average."""
    values: dict[str, list[np.ndarray]] = {}
    if prediction.intrinsics is None or prediction.faces is None or sequence.person_mask is None:
        return {}
    for index, frame in enumerate(prediction.frames.tolist()):
        depth, intrinsics = (
            np.asarray(x, np.float32) for x in (prediction.depth_m(index), prediction.intrinsics[index])
        )
        height, width = depth.shape
        points = unproject_depth(torch.from_numpy(depth), torch.from_numpy(intrinsics)).numpy()
        mask = mask_on_map(sequence.person_mask(frame), (width, height))
        for label, true in enumerate(sequence.people, start=1):
            predicted = prediction.people.get(true.id)
            if not true.present[frame] or predicted is None or predicted.vertices_camera is None:
                continue
            inside = points[mask == label]
            vertices = predicted.vertices_camera(np.array([frame]))[0]
            surface = visible_surface(vertices, prediction.faces, intrinsics, (width, height))
            if not len(inside) or not len(surface):
                continue
            distance, _ = KDTree(inside).query(surface[:: max(1, len(surface) // MAX_QUERIES)])
            behind = inside[:, 2].mean() - surface[:, 2].mean()
            for name, value in (("body_off_points_cm", distance.mean()), ("points_behind_cm", behind)):
                values.setdefault(name, []).append(np.array([metrics.CM_PER_M * value]))
    return _concatenated(values)


def _floor_gap_cm(pair: _Pair, up: np.ndarray, fps: float) -> np.ndarray:
    """How far the predicted soles are from the predicted floor, above or below, while the true foot is in contact."""
    assert pair.predicted.vertices_world is not None
    predicted, true = pair.joints_world()
    ends = true[:, FEET.ravel()]
    standing = np.asarray(metrics.in_contact(ends, fps).reshape(-1, *FEET.shape).any(axis=-1))
    gaps_m = []
    for part in _parts(np.flatnonzero(standing.any(axis=-1))):
        for frame, vertices in zip(part, pair.predicted.vertices_world(pair.frames[part]), strict=True):
            feet = np.flatnonzero(standing[frame])
            gaps_m += [abs(sole_height_m(vertices, predicted[frame], int(foot), up)) for foot in feet]
    return metrics.CM_PER_M * np.array(gaps_m)


# --- surfaces ------------------------------------------------------------------------------------------------------


def _same_vertices(true: TruePerson, predicted: Surface | None, frames: np.ndarray, count: int | None = None) -> bool:
    """Whether both have a surface with the same number of vertices, hence of the same topology."""
    if true.vertices_world is None or predicted is None:
        return False
    vertices = len(true.vertices_world(int(frames[0])))
    return vertices == (count or vertices) and vertices == predicted(frames[:1]).shape[1]


def _pve(pair: _Pair, predicted: np.ndarray, true: np.ndarray, camera_from_world: np.ndarray) -> np.ndarray:
    assert pair.predicted.vertices_camera is not None and pair.true.vertices_world is not None
    errors = []
    for part in _parts(np.arange(len(pair.frames))):
        surface = np.stack([pair.true.vertices_world(int(frame)) for frame in pair.frames[part]]).astype(np.float64)
        errors.append(
            metrics.pve(
                pair.predicted.vertices_camera(pair.frames[part]),
                move(camera_from_world[part], surface),
                predicted[part],
                true[part],
            )
        )
    return np.concatenate(errors)


def _parts(frames: np.ndarray) -> list[np.ndarray]:
    return [frames[start : start + CHUNK_FRAMES] for start in range(0, len(frames), CHUNK_FRAMES)]


def _concatenated(values: dict[str, list[np.ndarray]]) -> dict[str, MetricValues]:
    return {name: MetricValues(np.concatenate(parts)) for name, parts in values.items()}
