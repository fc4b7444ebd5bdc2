"""Bodies of a sequence: in the camera's frame, in the world, and against the points of the same answer.

Frames that are not scored are dropped first, as the protocols do; series of all people follow one another.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial import KDTree

from unish.evaluation import metrics
from unish.evaluation.benchmark import BenchmarkSequence, TruePerson
from unish.evaluation.metric_values import Series
from unish.evaluation.predictions import Answer, AnsweredPerson, Surface, move, require_finite
from unish.evaluation.scene_scores import mask_on_map
from unish.geometry.camera import unproject_depth
from unish.geometry.visibility import visible_vertices

SMPL_VERTICES = 6890
FEET_VERTICES = np.array([3216, 3387, 6617, 6787])
"""SMPL's: two on each foot."""
CHUNK_FRAMES = 64
MAX_QUERIES = 500


@dataclass(frozen=True)
class _Pair:
    """A person as true and as answered, at the frames that are scored."""

    true: TruePerson
    found: AnsweredPerson
    frames: np.ndarray

    def joints_world(self) -> tuple[np.ndarray, np.ndarray]:
        """(frames, 24, 3) answered and true, metres, each in its own world."""
        return self.found.joints_world[self.frames], self.true.joints_world[self.frames].astype(np.float64)


def _pairs(answer: Answer, sequence: BenchmarkSequence) -> Iterator[_Pair]:
    for true in sequence.people:
        frames = np.flatnonzero(true.present & np.isfinite(true.joints_world).all((1, 2)))
        # One frame alone has no motion, and an alignment of it leaves nothing of the world.
        if len(frames) >= 2 and true.id in answer.people:
            found = answer.people[true.id]
            require_finite(found.joints_world[frames], f"joints of person {true.id}", sequence)
            yield _Pair(true, found, frames)


def camera_frame_series(answer: Answer, sequence: BenchmarkSequence, with_surfaces: bool = False) -> dict[str, Series]:
    """PA-MPJPE; and, where the true cameras are known, MPJPE, acceleration, how far off the root stands, and PVE where
    surfaces are asked for (they take longer)."""
    series: dict[str, list[np.ndarray]] = {}
    cameras = sequence.world_from_camera
    for pair in _pairs(answer, sequence):
        found, true = pair.found.joints_camera[pair.frames], pair.true.joints_world[pair.frames].astype(np.float64)
        series.setdefault("pa_mpjpe_mm", []).append(metrics.pa_mpjpe(found, true))
        if cameras is None:
            continue
        camera_from_world = np.linalg.inv(cameras[pair.frames].astype(np.float64))
        true = move(camera_from_world, true)
        series.setdefault("mpjpe_mm", []).append(metrics.mpjpe(found, true))
        series.setdefault("accel", []).append(metrics.accel(found, true, sequence.fps))
        off_m = np.linalg.norm(metrics.pelvis(found) - metrics.pelvis(true), axis=-1)[:, 0]
        series.setdefault("root_error_mm", []).append(metrics.MM_PER_M * off_m)
        if with_surfaces and _same_vertices(pair.true, pair.found.vertices_camera, pair.frames):
            series.setdefault("pve_mm", []).append(_pve(pair, found, true, camera_from_world))
    return _joined(series)


def world_series(answer: Answer, sequence: BenchmarkSequence, with_surfaces: bool = False) -> dict[str, Series]:
    """WA-MPJPE, W-MPJPE, RTE, jitter and, where surfaces are asked for and are SMPL's, foot sliding."""
    series: dict[str, list[np.ndarray]] = {}
    for pair in _pairs(answer, sequence):
        motion = metrics.world_motion(*pair.joints_world(), fps=sequence.fps)
        for name in ("wa_mpjpe_mm", "w_mpjpe_mm", "rte_percent", "jitter"):
            values = getattr(motion, name)
            if np.isfinite(values).all():  # there is no RTE of people who stay where they are
                series.setdefault(name, []).append(values)
        surface = pair.found.vertices_world
        if with_surfaces and surface is not None and _same_vertices(pair.true, surface, pair.frames, SMPL_VERTICES):
            found = np.concatenate([surface(part)[:, FEET_VERTICES] for part in _parts(pair.frames)])
            assert pair.true.vertices_world is not None
            true = np.stack([pair.true.vertices_world(int(frame))[FEET_VERTICES] for frame in pair.frames])
            series.setdefault("foot_sliding_mm", []).append(metrics.foot_sliding(found, true.astype(np.float64)))
    return _joined(series)


def contact_series(answer: Answer, sequence: BenchmarkSequence) -> dict[str, Series]:
    """How the answered bodies sit on the answered points of their people, whatever the true ones: centimetres from a
    body's visible vertices to their nearest points, and how much deeper the points lie on average."""
    series: dict[str, list[np.ndarray]] = {}
    if answer.intrinsics is None or answer.faces is None or sequence.person_mask is None:
        return {}
    faces = torch.from_numpy(np.ascontiguousarray(answer.faces)).long()
    for index, frame in enumerate(answer.frames.tolist()):
        depth, intrinsics = (np.asarray(x, np.float32) for x in (answer.depth_m(index), answer.intrinsics[index]))
        height, width = depth.shape
        points = unproject_depth(torch.from_numpy(depth), torch.from_numpy(intrinsics)).numpy()
        mask = mask_on_map(sequence.person_mask(frame), (width, height))
        for label, true in enumerate(sequence.people, start=1):
            found = answer.people.get(true.id)
            if not true.present[frame] or found is None or found.vertices_camera is None:
                continue
            inside = points[mask == label]
            vertices = found.vertices_camera(np.array([frame]))[0]
            surface = torch.from_numpy(vertices).float()
            visible = visible_vertices(surface, faces, torch.from_numpy(intrinsics), height, width).numpy()
            shown = vertices[visible]
            if not len(inside) or not len(shown):
                continue
            distance, _ = KDTree(inside).query(shown[:: max(1, len(shown) // MAX_QUERIES)])
            behind = inside[:, 2].mean() - shown[:, 2].mean()
            for name, value in (("body_off_points_cm", distance.mean()), ("points_behind_cm", behind)):
                series.setdefault(name, []).append(np.array([metrics.CM_PER_M * value]))
    return _joined(series)


# --- surfaces ------------------------------------------------------------------------------------------------------


def _same_vertices(true: TruePerson, found: Surface | None, frames: np.ndarray, count: int | None = None) -> bool:
    """Whether both have a surface with equally many vertices: then they are of one topology."""
    if true.vertices_world is None or found is None:
        return False
    vertices = len(true.vertices_world(int(frames[0])))
    return vertices == (count or vertices) and vertices == found(frames[:1]).shape[1]


def _pve(pair: _Pair, found: np.ndarray, true: np.ndarray, camera_from_world: np.ndarray) -> np.ndarray:
    assert pair.found.vertices_camera is not None and pair.true.vertices_world is not None
    errors = []
    for part in _parts(np.arange(len(pair.frames))):
        surface = np.stack([pair.true.vertices_world(int(frame)) for frame in pair.frames[part]]).astype(np.float64)
        errors.append(
            metrics.pve(
                pair.found.vertices_camera(pair.frames[part]),
                move(camera_from_world[part], surface),
                found[part],
                true[part],
            )
        )
    return np.concatenate(errors)


def _parts(frames: np.ndarray) -> list[np.ndarray]:
    return [frames[start : start + CHUNK_FRAMES] for start in range(0, len(frames), CHUNK_FRAMES)]


def _joined(series: dict[str, list[np.ndarray]]) -> dict[str, Series]:
    return {name: Series(np.concatenate(values)) for name, values in series.items()}
