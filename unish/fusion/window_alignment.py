"""Joining the forward passes of a clip: one scale, then one rigid motion a pass, from what two passes see alike.

Two passes that share frames see the same pixels: the ratio of their depths is the ratio of their scales, and their
still points and cameras say how one world lies in the other. Chained passes need no more; where bridges close loops,
all motions are adjusted together and the drift is spread over the chain.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Float32
from scipy.optimize import least_squares
from scipy.sparse import lil_matrix
from scipy.spatial.transform import Rotation

from unish.fusion.intrinsics import Lens
from unish.fusion.windows import WindowPrediction
from unish.geometry.alignment import robust_rigid, weighted_median
from unish.geometry.metric import VALID_CONFIDENCE

CAMERA_SHARE = 0.2
"""How much the shared frames' cameras count beside their still points, all in all."""
NEAREST_M = 1e-3
"""Nothing is nearer than this."""
FEWEST_POINTS = 50
"""With fewer still points than this the cameras alone say how two passes lie."""
LEAST_RATIO_SIGMA = 0.003
LEAST_VOTE_SPREAD = 0.02
MAX_BRIDGE_ERROR = 0.05
"""A bridge whose points fit worse than this (distance over depth), or three times as badly as the chain, is left."""


@dataclass(frozen=True)
class Joined:
    """Where the passes lie. The world is the first pass's first camera, in metres."""

    metres_per_unit: Float[np.ndarray, "passes"]
    world_from_camera: tuple[Float[np.ndarray, "_ 4 4"], ...]
    """Of every frame of every pass, depth shift included."""
    error: Float[np.ndarray, "passes"]
    """How far a pass's still points lie from those of the one before it: median of distance over depth."""

    def grown(self, factor: float) -> "Joined":
        """The same with everything `factor` times as large."""
        cameras = tuple(camera.copy() for camera in self.world_from_camera)
        for camera in cameras:
            camera[:, :3, 3] *= factor
        return Joined(self.metres_per_unit * factor, cameras, self.error)


@dataclass(frozen=True)
class _Edge:
    """Two passes, and which of their frames are the same."""

    first: int
    second: int
    frames_first: np.ndarray
    frames_second: np.ndarray


@dataclass(frozen=True)
class _Metric:
    """A pass in metres, in a world of its own."""

    world_from_camera: np.ndarray
    points_world: np.ndarray
    depth_m: np.ndarray


def join_passes(
    passes: Sequence[WindowPrediction],
    lens: Lens,
    uv: Float[np.ndarray, "samples 2"],
    bridges: int = 0,
    static_camera: bool = False,
) -> Joined:
    """Put the passes of a clip into one world.

    The last `bridges` passes are bridges between earlier ones, the others a chain in which each shares frames with the
    next. Bridges that do not fit are left out; the answer is about the chain. With `static_camera` the camera is known
    not to move.
    """
    edges = _edges(passes, bridges)
    chain = len(passes) - bridges
    scales = np.exp(solve_scales(passes, lens, edges))
    metric = [_in_metres(p, s, shift, lens, uv) for p, s, shift in zip(passes, scales, lens.shift, strict=True)]
    if static_camera:
        still = tuple(np.tile(np.eye(4), (len(p.frames), 1, 1)) for p in passes[:chain])
        return Joined(scales[:chain], still, _depth_errors(passes, metric, edges[: chain - 1])[:chain])
    measured = [_join(passes, metric, edge) for edge in edges]
    typical = float(np.median([error for _, error in measured[: chain - 1]])) if chain > 1 else 0.0
    limit = max(MAX_BRIDGE_ERROR, 3 * typical)
    wrong = {edge.second for edge, (_, error) in zip(edges, measured, strict=True) if error > limit} - set(range(chain))
    if wrong:
        right = [k for k in range(len(passes)) if k not in wrong]
        shifts = tuple(lens.shift[k] for k in right)
        return join_passes([passes[k] for k in right], replace(lens, shift=shifts), uv, bridges - len(wrong))
    ends = [edge.first for edge in edges], [edge.second for edge in edges]
    places = adjust(*ends, [motion for motion, _ in measured], len(passes), _typical_depth(metric))
    cameras = tuple(place @ m.world_from_camera for place, m in zip(places, metric, strict=True))
    error = np.array([0.0, *(error for _, error in measured[: chain - 1])])
    return Joined(scales[:chain], cameras[:chain], error)


def _edges(passes: Sequence[WindowPrediction], bridges: int) -> list[_Edge]:
    chain = len(passes) - bridges
    pairs = [(k, k + 1) for k in range(chain - 1)]
    pairs += [(k, bridge) for bridge in range(chain, len(passes)) for k in _ends(passes, bridge, chain)]
    edges = []
    for first, second in pairs:
        _, a, b = np.intersect1d(passes[first].frames, passes[second].frames, return_indices=True)
        edges.append(_Edge(first, second, a, b))
    return edges


def _ends(passes: Sequence[WindowPrediction], bridge: int, chain: int) -> list[int]:
    """The two windows of the chain that share most frames with the first and with the second half of a bridge."""
    frames = passes[bridge].frames
    halves = np.split(frames, [int(np.diff(frames).argmax()) + 1])
    return [max(range(chain), key=lambda k: len(np.intersect1d(passes[k].frames, half))) for half in halves]


# --- scale ---------------------------------------------------------------------------------------------------------


def solve_scales(passes: Sequence[WindowPrediction], lens: Lens, edges: Sequence[_Edge]) -> Float[np.ndarray, "passes"]:
    """Logarithm of the metres per unit of every pass.

    Ratios between passes come from the depths of shared frames. What people say of the scale is shared by a weighted
    median over the clip; along a long chain, whose ratios drift, they also hold it (least squares on the ratios, least
    absolute deviations on the votes, by reweighting).
    """
    count = len(passes)
    ratios = [_log_ratio(passes, lens, edge) for edge in edges]
    relative = np.zeros(count)
    for edge, (ratio, _) in zip(edges, ratios, strict=True):
        if edge.second > 0 and relative[edge.second] == 0:
            relative[edge.second] = relative[edge.first] + ratio
    votes = [(k, np.log(scale), weight) for k, found in enumerate(passes) for _, scale, weight in found.votes]
    if not votes:
        return relative
    of, said, weight = (np.array(column) for column in zip(*votes, strict=True))
    of, weight = of.astype(int), weight / weight.mean()
    shared = float(weighted_median(torch.tensor(said - relative[of]), torch.tensor(weight)))
    scales = relative + shared
    spread = max(LEAST_VOTE_SPREAD, float(np.average(np.abs(said - scales[of]), weights=weight)))
    if count <= 2:
        return scales
    for _ in range(50):
        trust = weight / (spread * np.maximum(np.abs(said - scales[of]), 0.01 * spread))
        matrix, right = np.zeros((count, count)), np.zeros(count)
        np.add.at(matrix, (of, of), trust)
        np.add.at(right, of, trust * said)
        for edge, (ratio, sigma) in zip(edges, ratios, strict=True):
            a, b, w = edge.first, edge.second, 1 / sigma**2
            matrix[[a, b, a, b], [a, b, b, a]] += [w, w, -w, -w]
            right[[a, b]] += [-w * ratio, w * ratio]
        scales = np.linalg.solve(matrix, right)
    return scales


def _log_ratio(passes: Sequence[WindowPrediction], lens: Lens, edge: _Edge) -> tuple[float, float]:
    """Logarithm of the second pass's scale over the first's, and its standard error, from the depths both see."""
    depths = []
    for index, frames in ((edge.first, edge.frames_first), (edge.second, edge.frames_second)):
        depths.append(np.maximum(passes[index].points_camera[frames, :, 2] + lens.shift[index], 1e-6))
    ratio = np.log(depths[0] / depths[1])
    weight = _shared_weight(passes, edge)
    each = [
        float(weighted_median(torch.tensor(r), torch.tensor(w))) for r, w in zip(ratio, weight, strict=True) if w.any()
    ]
    if not each:
        return 0.0, 1.0
    whole = float(weighted_median(torch.tensor(ratio.ravel()), torch.tensor(weight.ravel())))
    sigma = 1.4826 * float(np.median(np.abs(np.array(each) - whole))) / np.sqrt(len(each))
    return whole, max(sigma, LEAST_RATIO_SIGMA)


def _shared_weight(passes: Sequence[WindowPrediction], edge: _Edge) -> np.ndarray:
    """How much each sample of the shared frames counts: its confidence where it is still; all where too few are."""
    a, b = passes[edge.first], passes[edge.second]
    confidence = np.minimum(a.confidence[edge.frames_first], b.confidence[edge.frames_second]).astype(np.float64)
    weight = np.where(confidence > VALID_CONFIDENCE, confidence, 0.0)
    still = weight * (a.still[edge.frames_first] & b.still[edge.frames_second])
    return still if np.count_nonzero(still) >= FEWEST_POINTS else weight


# --- motion --------------------------------------------------------------------------------------------------------


def _in_metres(found: WindowPrediction, scale: float, shift: float, lens: Lens, uv: np.ndarray) -> _Metric:
    """The pass with the clip's scale, lens and shift.

    The depth shift pushes points along the axis, so the camera steps back by as much: what stands still stays still.
    """
    points = metric_points(found, scale, shift, lens, uv)
    cameras = found.world_from_camera.copy()
    cameras[:, :3, 3] = scale * (cameras[:, :3, 3] - shift * cameras[:, :3, 2])
    cameras = np.linalg.inv(cameras[0]) @ cameras
    return _Metric(cameras, _to_world(cameras, points), points[..., 2])


def metric_points(
    found: WindowPrediction, scale: float, shift: float, lens: Lens, uv: Float[np.ndarray, "samples 2"]
) -> Float[np.ndarray, "frames samples 3"]:
    """A pass's samples as the result has them, in metres in their cameras: depth along the rays of the clip's lens."""
    depth_m = np.maximum((found.points_camera[..., 2].astype(np.float64) + shift) * scale, NEAREST_M)
    rays = np.concatenate([np.broadcast_to(uv, (*depth_m.shape, 2)), np.ones((*depth_m.shape, 1))], axis=-1)
    rays[..., :2] /= lens.focal[found.frames, None, None]
    return rays * depth_m[..., None]


def _to_world(world_from_camera: np.ndarray, points_camera: np.ndarray) -> np.ndarray:
    return np.einsum("fij,fsj->fsi", world_from_camera[:, :3, :3], points_camera) + world_from_camera[:, None, :3, 3]


def still_points(
    passes: Sequence[WindowPrediction], lens: Lens, joined: "Joined", uv: Float[np.ndarray, "samples 2"], most: int
) -> tuple[Float32[np.ndarray, "points 3"], Float32[np.ndarray, "points"]]:
    """Confident still points of a clip in its world, metres, evenly thinned to about `most`, and how confident."""
    points, confidence = [], []
    for k, found in enumerate(passes):
        local = metric_points(found, float(joined.metres_per_unit[k]), lens.shift[k], lens, uv)
        chosen = found.still & (found.confidence > VALID_CONFIDENCE) & (local[..., 2] > NEAREST_M)
        points.append(_to_world(joined.world_from_camera[k], local)[chosen].astype(np.float32))
        confidence.append(found.confidence[chosen])
    every = max(1, sum(len(part) for part in points) // most)
    return np.concatenate(points)[::every], np.concatenate(confidence)[::every]


def _join(passes: Sequence[WindowPrediction], metric: Sequence[_Metric], edge: _Edge) -> tuple[np.ndarray, float]:
    """first_from_second (4,4), and the median of distance over depth of the still points after it."""
    a, b = metric[edge.first], metric[edge.second]
    weight = _shared_weight(passes, edge)
    depth = a.depth_m[edge.frames_first]
    counts = weight > 0
    target, source = a.points_world[edge.frames_first][counts], b.points_world[edge.frames_second][counts]
    reach = np.full(len(edge.frames_first), np.median(depth[counts]) if counts.any() else 1.0)
    marks = [_marks(m.world_from_camera[f], reach) for m, f in ((a, edge.frames_first), (b, edge.frames_second))]
    # Every camera is four points: its centre, and as far from it as the scene along each axis.
    share = max(weight.sum() * CAMERA_SHARE, 1e-9) / len(marks[0])
    few = np.count_nonzero(counts) < FEWEST_POINTS
    points = np.concatenate([weight[counts] * (0.0 if few else 1.0), np.full(len(marks[0]), 1.0 if few else share)])
    tolerance = np.concatenate([depth[counts], np.repeat(reach, 4)])
    source_target = (np.concatenate([source, marks[1]]), np.concatenate([target, marks[0]]))
    from_points, to_points, weights, reaches = (torch.from_numpy(x) for x in (*source_target, points, tolerance))
    rotation, translation, _ = robust_rigid(from_points, to_points, weights, reaches)
    motion = np.eye(4)
    motion[:3, :3], motion[:3, 3] = rotation.numpy(), translation.numpy()
    if few:
        return motion, 0.0
    off = np.linalg.norm(source @ motion[:3, :3].T + motion[:3, 3] - target, axis=-1) / depth[counts]
    return motion, float(np.median(off))


def _marks(world_from_camera: np.ndarray, reach: np.ndarray) -> np.ndarray:
    centre = world_from_camera[:, None, :3, 3]
    axes = world_from_camera[:, :3, :3].transpose(0, 2, 1) * reach[:, None, None]
    return np.concatenate([centre, centre + axes], axis=1).reshape(-1, 3)


def _depth_errors(passes: Sequence[WindowPrediction], metric: Sequence[_Metric], edges: Sequence[_Edge]) -> np.ndarray:
    """The error of each pass's join where the cameras are known to agree: difference of depths over depth."""
    error = np.zeros(len(passes))
    for edge in edges:
        first, second = metric[edge.first].depth_m[edge.frames_first], metric[edge.second].depth_m[edge.frames_second]
        counts = _shared_weight(passes, edge) > 0
        if counts.any():
            error[edge.second] = float(np.median(np.abs(first - second)[counts] / first[counts]))
    return error


def _typical_depth(metric: Sequence[_Metric]) -> float:
    return float(np.median([np.median(m.depth_m) for m in metric]))


def adjust(
    first: Sequence[int], second: Sequence[int], motions: Sequence[np.ndarray], count: int, depth_m: float
) -> Float[np.ndarray, "count 4 4"]:
    """Place `count` passes in the world of pass 0 so that the measured motions first_from_second hold (pose graph).

    A chain is multiplied out. With more measurements than that, all places are adjusted together: rotations in
    radians and translations over the scene's depth count alike, under a robust (Cauchy) loss that lets go of wrong
    loops.
    """
    places = np.tile(np.eye(4), (count, 1, 1))
    known = {0}
    for a, b, motion in zip(first, second, motions, strict=True):
        if a in known and b not in known:
            places[b] = places[a] @ motion
            known.add(b)
    if len(motions) < count:
        return places
    inverses = [np.linalg.inv(motion) for motion in motions]

    def unpack(flat: np.ndarray) -> np.ndarray:
        moved = np.tile(np.eye(4), (count, 1, 1))
        six = flat.reshape(count - 1, 6)
        moved[1:, :3, :3] = places[1:, :3, :3] @ Rotation.from_rotvec(six[:, :3]).as_matrix()
        moved[1:, :3, 3] = places[1:, :3, 3] + six[:, 3:] * depth_m
        return moved

    def residuals(flat: np.ndarray) -> np.ndarray:
        moved = unpack(flat)
        off = np.stack(inverses) @ np.linalg.inv(moved[list(first)]) @ moved[list(second)]
        turn = Rotation.from_matrix(off[:, :3, :3]).as_rotvec()
        return np.concatenate([turn, off[:, :3, 3] / depth_m], axis=1).ravel()

    pattern = lil_matrix((6 * len(motions), 6 * (count - 1)), dtype=int)
    for row, pair in enumerate(zip(first, second, strict=True)):
        for node in pair:
            if node > 0:
                pattern[6 * row : 6 * row + 6, 6 * node - 6 : 6 * node] = 1
    start = np.zeros(6 * (count - 1))
    solved = least_squares(residuals, start, jac_sparsity=pattern, loss="cauchy", f_scale=0.02, method="trf")
    return unpack(solved.x)
