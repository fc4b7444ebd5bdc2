"""Aligning the forward passes of a clip: one scale, then one pose per pass, from the frames that two passes share.

Two passes that share frames see the same pixels: the ratio of their depths is the ratio of their scales, and their
static points and cameras give the pose of one world in the other. A chain of passes needs no more; where loop-closure
passes add edges, all poses are optimised together (pose graph) and the drift is spread over the chain.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Float32
from scipy.optimize import least_squares
from scipy.sparse import lil_matrix
from scipy.spatial.transform import Rotation

from unish.fusion.intrinsics import ClipIntrinsics
from unish.fusion.windows import WindowPrediction
from unish.geometry.alignment import robust_rigid, weighted_median
from unish.geometry.metric import VALID_CONFIDENCE

CAMERA_SHARE = 0.2
"""Weight of the shared frames' cameras beside their static points, all in all."""
NEAREST_M = 1e-3
"""Nothing is nearer than this."""
MIN_STATIC_POINTS = 50
"""With fewer static points than this the cameras alone align two passes."""
MIN_RATIO_SIGMA = 0.003
MIN_SCALE_SPREAD = 0.02
MAX_LOOP_ERROR = 0.05
"""A loop-closure pass whose points fit worse than this (distance over depth), or three times as badly as the chain, is
left out."""


@dataclass(frozen=True)
class WindowAlignment:
    """Scale and cameras of the windows of a clip. The world is the first window's first camera, in metres."""

    metres_per_unit: Float[np.ndarray, "windows"]
    world_from_camera: tuple[Float[np.ndarray, "_ 4 4"], ...]
    """Of every frame of every window, depth shift included."""
    error: Float[np.ndarray, "windows"]
    """How far a window's static points lie from those of the one before it: median of distance over depth."""

    def scaled(self, factor: float) -> "WindowAlignment":
        """The same with everything `factor` times as large."""
        cameras = tuple(camera.copy() for camera in self.world_from_camera)
        for camera in cameras:
            camera[:, :3, 3] *= factor
        return WindowAlignment(self.metres_per_unit * factor, cameras, self.error)


@dataclass(frozen=True)
class _Edge:
    """Two passes, and which of their frames are the same."""

    first: int
    second: int
    frames_first: np.ndarray
    frames_second: np.ndarray


@dataclass(frozen=True)
class _MetricPass:
    """A pass in metres, in a world of its own."""

    world_from_camera: np.ndarray
    points_world: np.ndarray
    depth_m: np.ndarray


def align_windows(
    predictions: Sequence[WindowPrediction],
    intrinsics: ClipIntrinsics,
    uv: Float[np.ndarray, "samples 2"],
    loop_passes: int = 0,
    static_camera: bool = False,
) -> WindowAlignment:
    """Put the forward passes of a clip into one world.

    The last `loop_passes` predictions close loops between earlier ones; the others are windows, a chain in which each
    shares frames with the next. Loop-closure passes that do not fit are left out; the answer is about the windows.
    With `static_camera` the camera is known not to move.
    """
    edges = _edges(predictions, loop_passes)
    chain = len(predictions) - loop_passes
    scales = np.exp(solve_scales(predictions, intrinsics, edges))
    shifts = zip(predictions, scales, intrinsics.depth_shift, strict=True)
    metric = [_metric_pass(p, scale, shift, intrinsics, uv) for p, scale, shift in shifts]
    if static_camera:
        fixed = tuple(np.tile(np.eye(4), (len(p.frames), 1, 1)) for p in predictions[:chain])
        return WindowAlignment(scales[:chain], fixed, _depth_errors(predictions, metric, edges[: chain - 1])[:chain])
    measured = [_relative_pose(predictions, metric, edge) for edge in edges]
    typical = float(np.median([error for _, error in measured[: chain - 1]])) if chain > 1 else 0.0
    limit = max(MAX_LOOP_ERROR, 3 * typical)
    too_far = {edge.second for edge, (_, error) in zip(edges, measured, strict=True) if error > limit}
    if outliers := too_far - set(range(chain)):
        inliers = [k for k in range(len(predictions)) if k not in outliers]
        kept = replace(intrinsics, depth_shift=tuple(intrinsics.depth_shift[k] for k in inliers))
        return align_windows([predictions[k] for k in inliers], kept, uv, loop_passes - len(outliers))
    ends = [edge.first for edge in edges], [edge.second for edge in edges]
    poses = optimize_poses(*ends, [pose for pose, _ in measured], len(predictions), _typical_depth(metric))
    cameras = tuple(pose @ m.world_from_camera for pose, m in zip(poses, metric, strict=True))
    error = np.array([0.0, *(error for _, error in measured[: chain - 1])])
    return WindowAlignment(scales[:chain], cameras[:chain], error)


def _edges(predictions: Sequence[WindowPrediction], loop_passes: int) -> list[_Edge]:
    """Edges of the pose graph: those of the chain, then two for each loop-closure pass."""
    chain = len(predictions) - loop_passes
    pairs = [(k, k + 1) for k in range(chain - 1)]
    pairs += [(k, loop) for loop in range(chain, len(predictions)) for k in _loop_ends(predictions, loop, chain)]
    edges = []
    for first, second in pairs:
        _, a, b = np.intersect1d(predictions[first].frames, predictions[second].frames, return_indices=True)
        edges.append(_Edge(first, second, a, b))
    return edges


def _loop_ends(predictions: Sequence[WindowPrediction], loop: int, chain: int) -> list[int]:
    """The two windows that share most frames with the first and with the second half of a loop-closure pass."""
    frames = predictions[loop].frames
    halves = np.split(frames, [int(np.diff(frames).argmax()) + 1])
    return [max(range(chain), key=lambda k: len(np.intersect1d(predictions[k].frames, half))) for half in halves]


# --- scale ---------------------------------------------------------------------------------------------------------


def solve_scales(
    predictions: Sequence[WindowPrediction], intrinsics: ClipIntrinsics, edges: Sequence[_Edge]
) -> Float[np.ndarray, "passes"]:
    """Logarithm of the metres per unit of every pass.

    Ratios between passes come from the depths of shared frames. The people's scale estimates are shared by a weighted
    median over the clip; along a long chain, whose ratios drift, they also hold it (least squares on the ratios, least
    absolute deviations on the estimates, by reweighting).
    """
    count = len(predictions)
    ratios = [_log_ratio(predictions, intrinsics, edge) for edge in edges]
    relative = np.zeros(count)
    for edge, (ratio, _) in zip(edges, ratios, strict=True):
        if edge.second > 0 and relative[edge.second] == 0:
            relative[edge.second] = relative[edge.first] + ratio
    estimates = [
        (k, np.log(scale), weight) for k, p in enumerate(predictions) for _, scale, weight in p.scale_estimates
    ]
    if not estimates:
        return relative
    source, estimate, weight = (np.array(column) for column in zip(*estimates, strict=True))
    source, weight = source.astype(int), weight / weight.mean()
    shared = float(weighted_median(torch.tensor(estimate - relative[source]), torch.tensor(weight)))
    scales = relative + shared
    spread = max(MIN_SCALE_SPREAD, float(np.average(np.abs(estimate - scales[source]), weights=weight)))
    if count <= 2:
        return scales
    for _ in range(50):
        trust = weight / (spread * np.maximum(np.abs(estimate - scales[source]), 0.01 * spread))
        matrix, right = np.zeros((count, count)), np.zeros(count)
        np.add.at(matrix, (source, source), trust)
        np.add.at(right, source, trust * estimate)
        for edge, (ratio, sigma) in zip(edges, ratios, strict=True):
            a, b, w = edge.first, edge.second, 1 / sigma**2
            matrix[[a, b, a, b], [a, b, b, a]] += [w, w, -w, -w]
            right[[a, b]] += [-w * ratio, w * ratio]
        scales = np.linalg.solve(matrix, right)
    return scales


def _log_ratio(predictions: Sequence[WindowPrediction], intrinsics: ClipIntrinsics, edge: _Edge) -> tuple[float, float]:
    """Logarithm of the second pass's scale over the first's, and its standard error, from the depths of both."""
    depths = []
    for index, frames in ((edge.first, edge.frames_first), (edge.second, edge.frames_second)):
        depth = predictions[index].points_camera[frames, :, 2] + intrinsics.depth_shift[index]
        depths.append(np.maximum(depth, 1e-6))
    ratio = np.log(depths[0] / depths[1])
    weight = _shared_weight(predictions, edge)
    by_frame = [
        float(weighted_median(torch.tensor(r), torch.tensor(w))) for r, w in zip(ratio, weight, strict=True) if w.any()
    ]
    if not by_frame:
        return 0.0, 1.0
    overall = float(weighted_median(torch.tensor(ratio.ravel()), torch.tensor(weight.ravel())))
    sigma = 1.4826 * float(np.median(np.abs(np.array(by_frame) - overall))) / np.sqrt(len(by_frame))
    return overall, max(sigma, MIN_RATIO_SIGMA)


def _shared_weight(predictions: Sequence[WindowPrediction], edge: _Edge) -> np.ndarray:
    """Weight of each sample of the shared frames: its confidence where it is static; everywhere if too few are."""
    a, b = predictions[edge.first], predictions[edge.second]
    confidence = np.minimum(a.confidence[edge.frames_first], b.confidence[edge.frames_second]).astype(np.float64)
    weight = np.where(confidence > VALID_CONFIDENCE, confidence, 0.0)
    static = weight * (a.static_mask[edge.frames_first] & b.static_mask[edge.frames_second])
    return static if np.count_nonzero(static) >= MIN_STATIC_POINTS else weight


# --- poses ---------------------------------------------------------------------------------------------------------


def _metric_pass(
    prediction: WindowPrediction, scale: float, shift: float, intrinsics: ClipIntrinsics, uv: np.ndarray
) -> _MetricPass:
    """The pass with the clip's scale, intrinsics and shift.

    The depth shift moves points along the axis, so the camera steps back by as much: static points stay static.
    """
    points = metric_points(prediction, scale, shift, intrinsics, uv)
    cameras = prediction.world_from_camera.copy()
    cameras[:, :3, 3] = scale * (cameras[:, :3, 3] - shift * cameras[:, :3, 2])
    cameras = np.linalg.inv(cameras[0]) @ cameras
    return _MetricPass(cameras, _to_world(cameras, points), points[..., 2])


def metric_points(
    prediction: WindowPrediction,
    scale: float,
    shift: float,
    intrinsics: ClipIntrinsics,
    uv: Float[np.ndarray, "samples 2"],
) -> Float[np.ndarray, "frames samples 3"]:
    """A pass's samples as the result has them, in metres in their cameras: depth along the rays of the clip's focal
    length."""
    depth_m = np.maximum((prediction.points_camera[..., 2].astype(np.float64) + shift) * scale, NEAREST_M)
    rays = np.concatenate([np.broadcast_to(uv, (*depth_m.shape, 2)), np.ones((*depth_m.shape, 1))], axis=-1)
    rays[..., :2] /= intrinsics.focal[prediction.frames, None, None]
    return rays * depth_m[..., None]


def _to_world(world_from_camera: np.ndarray, points_camera: np.ndarray) -> np.ndarray:
    return np.einsum("fij,fsj->fsi", world_from_camera[:, :3, :3], points_camera) + world_from_camera[:, None, :3, 3]


def static_points(
    predictions: Sequence[WindowPrediction],
    intrinsics: ClipIntrinsics,
    alignment: WindowAlignment,
    uv: Float[np.ndarray, "samples 2"],
    limit: int,
) -> tuple[Float32[np.ndarray, "points 3"], Float32[np.ndarray, "points"]]:
    """Valid static points of a clip in its world, metres, evenly thinned to about `limit`, and their confidence."""
    points, confidence = [], []
    for k, prediction in enumerate(predictions):
        local = metric_points(
            prediction, float(alignment.metres_per_unit[k]), intrinsics.depth_shift[k], intrinsics, uv
        )
        valid = prediction.static_mask & (prediction.confidence > VALID_CONFIDENCE) & (local[..., 2] > NEAREST_M)
        points.append(_to_world(alignment.world_from_camera[k], local)[valid].astype(np.float32))
        confidence.append(prediction.confidence[valid])
    step = max(1, sum(len(part) for part in points) // limit)
    return np.concatenate(points)[::step], np.concatenate(confidence)[::step]


def _relative_pose(
    predictions: Sequence[WindowPrediction], metric: Sequence[_MetricPass], edge: _Edge
) -> tuple[np.ndarray, float]:
    """first_from_second (4,4), and the median of distance over depth of the static points after it."""
    a, b = metric[edge.first], metric[edge.second]
    weight = _shared_weight(predictions, edge)
    depth = a.depth_m[edge.frames_first]
    counts = weight > 0
    target, source = a.points_world[edge.frames_first][counts], b.points_world[edge.frames_second][counts]
    reach = np.full(len(edge.frames_first), np.median(depth[counts]) if counts.any() else 1.0)
    marks = [_camera_marks(m.world_from_camera[f], reach) for m, f in ((a, edge.frames_first), (b, edge.frames_second))]
    # Every camera is four points: its centre, and as far from it as the scene along each axis.
    share = max(weight.sum() * CAMERA_SHARE, 1e-9) / len(marks[0])
    few = np.count_nonzero(counts) < MIN_STATIC_POINTS
    weights = np.concatenate([weight[counts] * (0.0 if few else 1.0), np.full(len(marks[0]), 1.0 if few else share)])
    tolerance = np.concatenate([depth[counts], np.repeat(reach, 4)])
    source_target = (np.concatenate([source, marks[1]]), np.concatenate([target, marks[0]]))
    from_points, to_points, weights, reaches = (torch.from_numpy(x) for x in (*source_target, weights, tolerance))
    rotation, translation, _ = robust_rigid(from_points, to_points, weights, reaches)
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation.numpy(), translation.numpy()
    if few:
        return pose, 0.0
    residual = np.linalg.norm(source @ pose[:3, :3].T + pose[:3, 3] - target, axis=-1) / depth[counts]
    return pose, float(np.median(residual))


def _camera_marks(world_from_camera: np.ndarray, reach: np.ndarray) -> np.ndarray:
    centre = world_from_camera[:, None, :3, 3]
    axes = world_from_camera[:, :3, :3].transpose(0, 2, 1) * reach[:, None, None]
    return np.concatenate([centre, centre + axes], axis=1).reshape(-1, 3)


def _depth_errors(
    predictions: Sequence[WindowPrediction], metric: Sequence[_MetricPass], edges: Sequence[_Edge]
) -> np.ndarray:
    """The error of each alignment where the cameras are known to agree: difference of depths over depth."""
    error = np.zeros(len(predictions))
    for edge in edges:
        first, second = metric[edge.first].depth_m[edge.frames_first], metric[edge.second].depth_m[edge.frames_second]
        counts = _shared_weight(predictions, edge) > 0
        if counts.any():
            error[edge.second] = float(np.median(np.abs(first - second)[counts] / first[counts]))
    return error


def _typical_depth(metric: Sequence[_MetricPass]) -> float:
    return float(np.median([np.median(m.depth_m) for m in metric]))


def optimize_poses(
    first: Sequence[int], second: Sequence[int], relative_poses: Sequence[np.ndarray], count: int, depth_m: float
) -> Float[np.ndarray, "count 4 4"]:
    """Poses of `count` passes in the world of pass 0 from measured poses first_from_second: a pose graph.

    A chain is multiplied out. With more measurements than that, all poses are optimised together: rotations in radians
    and translations over the scene's depth have equal weight, under a robust (Cauchy) loss that rejects wrong loops.
    """
    poses = np.tile(np.eye(4), (count, 1, 1))
    placed = {0}
    for a, b, pose in zip(first, second, relative_poses, strict=True):
        if a in placed and b not in placed:
            poses[b] = poses[a] @ pose
            placed.add(b)
    if len(relative_poses) < count:
        return poses
    inverses = [np.linalg.inv(pose) for pose in relative_poses]

    def unpack(flat: np.ndarray) -> np.ndarray:
        moved = np.tile(np.eye(4), (count, 1, 1))
        six = flat.reshape(count - 1, 6)
        moved[1:, :3, :3] = poses[1:, :3, :3] @ Rotation.from_rotvec(six[:, :3]).as_matrix()
        moved[1:, :3, 3] = poses[1:, :3, 3] + six[:, 3:] * depth_m
        return moved

    def residuals(flat: np.ndarray) -> np.ndarray:
        moved = unpack(flat)
        error = np.stack(inverses) @ np.linalg.inv(moved[list(first)]) @ moved[list(second)]
        rotation = Rotation.from_matrix(error[:, :3, :3]).as_rotvec()
        return np.concatenate([rotation, error[:, :3, 3] / depth_m], axis=1).ravel()

    sparsity = lil_matrix((6 * len(relative_poses), 6 * (count - 1)), dtype=int)
    for row, pair in enumerate(zip(first, second, strict=True)):
        for node in pair:
            if node > 0:
                sparsity[6 * row : 6 * row + 6, 6 * node - 6 : 6 * node] = 1
    start = np.zeros(6 * (count - 1))
    solved = least_squares(residuals, start, jac_sparsity=sparsity, loss="cauchy", f_scale=0.02, method="trf")
    return unpack(solved.x)
