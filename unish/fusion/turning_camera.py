"""A camera that turns and zooms on the spot: its rotations, its zoom and, where they tell it, its lens.

Without travel nothing shows how deep the scene is, and structure from motion makes something up: a camera that follows
a skater from the stand then seems to skate along. But all that such a camera sees moves by its rotation and zoom alone,
however far it turns, and that can be tested.
"""

import dataclasses
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.linalg import null_space
from scipy.spatial.transform import Rotation

from unish.geometry.rotations import skew

FIRST_FOCALS = 1.2, 2.0, 4.0
"""Half diagonals; where the search for an unknown lens begins."""
FEATURE_ERROR = 0.0022
"""Of a feature's place, half diagonals (1 pixel of 800 × 450): beyond it errors count less than squared."""
ON_TRIPOD = 0.001
"""Half diagonals: the image of a camera that moves less is taken not to move."""
MOST_ERROR = 0.007
"""A camera that only turns and zooms explains where features go to so much, at the median ..."""
MOST_GROWTH = 1.5
"""... and between frames far apart not so many times worse than between neighbours, as one that travels does."""
LEAST_MATCHES = 12
"""Of a frame with those before it, to be tied to them."""
LEAST_TIED = 0.7
"""Share of the frames."""
MAX_FOCAL_LOG_ERROR = 0.2
"""A lens less certain than that is no measurement."""
SYSTEMATIC_LOG_ERROR = 0.02
"""Of a lens: what distortion and the rolling shutter leave. Beside it the adjustment's own error counts twice, since
features are not as independent as it takes them to be."""
ROUNDS = 25
LEAST_DAMPING = 1e-9
"""Holds what features say nothing about, such as how the world is turned."""


@dataclass(frozen=True)
class SharedFeatures:
    """The same still things seen in two frames each."""

    first: Int[np.ndarray, "matches"]
    """Number of the earlier frame."""
    second: Int[np.ndarray, "matches"]
    uv_first: Float[np.ndarray, "matches 2"]
    """Half diagonals from the middle of the frame."""
    uv_second: Float[np.ndarray, "matches 2"]


@dataclass(frozen=True)
class TurningCamera:
    """A camera that stays where it is, in some frames of a clip. Its rotations follow from its lens: `at` says them."""

    features: SharedFeatures
    """Of `frames`, numbered in their order."""
    frames: Int[np.ndarray, "some"]
    """Their numbers in the clip."""
    tied: Bool[np.ndarray, "some"]
    """Those that share enough with others."""
    zooms: bool = False
    focal: float | None = None
    """Half diagonals; None where the motion does not tell it."""
    focal_log_error: float = np.inf
    """Standard deviation of its logarithm."""

    def at(self, focal: float, count: int) -> "Turns":
        """What the camera does in a clip of so many frames, with this mean focal length (half diagonals)."""
        solution = _solved(self.features, self.tied, focal, self.zooms, False)
        known = self.frames[self.tied]
        cameras, registered = np.tile(np.eye(4), (count, 1, 1)), np.zeros(count, bool)
        cameras[known, :3, :3], registered[known] = solution.camera_from_world[self.tied].swapaxes(1, 2), True
        focals = np.exp(np.interp(np.arange(count), known, solution.log_focal[self.tied]))
        return Turns(cameras, registered, focals)


@dataclass(frozen=True)
class Turns:
    """A turning camera with a known lens."""

    world_from_camera: Float[np.ndarray, "frames 4 4"]
    """Of registered frames, about the origin; the identity for others."""
    registered: Bool[np.ndarray, "frames"]
    focal: Float[np.ndarray, "frames"]
    """Half diagonals."""


def standing_camera(features: SharedFeatures, frames: Int[np.ndarray, "some"]) -> TurningCamera | None:
    """A camera that is known to stay where it is, shaken at most; None where too little ties its frames together.

    `features` are those of the first frame in the others. On a tripod it does not move at all.
    """
    tied = _tied_together(features, len(frames))
    if tied.mean() < LEAST_TIED:
        return None
    moved = features.uv_second - features.uv_first
    steps = [np.linalg.norm(np.median(moved[features.second == frame], axis=0)) for frame in np.flatnonzero(tied)[1:]]
    if max(steps) < ON_TRIPOD:
        features = dataclasses.replace(features, uv_second=features.uv_first)
    return TurningCamera(features, frames, tied)


def turning_camera(
    features: SharedFeatures, frames: Int[np.ndarray, "some"], focal: float | None = None, focal_is_exact: bool = False
) -> TurningCamera | None:
    """The camera, if all that its frames share moves as by turning and zooming; None where it travels.

    `focal` (half diagonals) is where the search for the lens begins, and its end where it `is_exact`.
    """
    tied = _tied_together(features, len(frames))
    if tied.mean() < LEAST_TIED:
        return None
    starts = FIRST_FOCALS if focal is None else (focal,)
    for zooms in (False, True):
        solutions = (_solved(features, tied, start, zooms, not focal_is_exact) for start in starts)
        found = min(solutions, key=lambda one: one.cost)
        if not _explains(found, features):
            continue
        error = float(np.hypot(2 * found.focal_log_error, SYSTEMATIC_LOG_ERROR))
        if error > MAX_FOCAL_LOG_ERROR:
            return TurningCamera(features, frames, tied, zooms)
        mean = float(np.exp(found.log_focal[tied].mean()))
        return TurningCamera(features, frames, tied, zooms, mean, round(error, 4))
    return None


def _tied_together(features: SharedFeatures, frames: int) -> Bool[np.ndarray, "frames"]:
    """The first frame that others share features with, and those that are tied to it."""
    counts = np.zeros((frames, frames), int)
    np.add.at(counts, (features.first, features.second), 1)
    tied = np.zeros(frames, bool)
    tied[int(np.argmax(counts.sum(1) >= LEAST_MATCHES))] = True
    for frame in range(frames):
        tied[frame] |= counts[tied, frame].sum() >= LEAST_MATCHES
    return tied


def _explains(solution: "_Solution", features: SharedFeatures) -> bool:
    errors = np.linalg.norm(solution.residuals, axis=1)
    apart = features.second - features.first
    near, far = errors[apart <= np.quantile(apart, 1 / 3)], errors[apart >= np.quantile(apart, 2 / 3)]
    grows = np.median(far) > MOST_GROWTH * max(float(np.median(near)), FEATURE_ERROR / 2)
    return bool(np.median(errors) < MOST_ERROR and not grows)


# --- adjustment ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Solution:
    camera_from_world: Float[np.ndarray, "frames 3 3"]
    log_focal: Float[np.ndarray, "frames"]
    residuals: Float[np.ndarray, "matches 2"]
    """Half diagonals."""
    cost: float
    focal_log_error: float
    """Infinite where the focal length was not solved for."""


def _solved(
    features: SharedFeatures, tied: Bool[np.ndarray, "frames"], focal: float, zooms: bool, is_free: bool
) -> _Solution:
    """Rotations, and every frame's focal length where the camera `zooms`; their mean is `focal`, or begins there.

    Levenberg and Marquardt's method; errors beyond `FEATURE_ERROR` count as Huber says.
    """
    count = len(tied)
    basis = _focal_basis(tied, zooms, is_free)
    rotations, log_focal = _chained(features, tied, focal), np.full(count, np.log(focal))
    residuals, jacobian = _linearized(features, rotations, log_focal, basis)
    cost, damping = _cost(residuals), 1e-3
    for _ in range(ROUNDS):
        weights = np.repeat(1 / np.maximum(np.linalg.norm(residuals, axis=1) / FEATURE_ERROR, 1), 2)
        normal = jacobian.T @ (weights[:, None] * jacobian)
        slope = jacobian.T @ (weights * residuals.ravel())
        step = -np.linalg.solve(normal + damping * np.diag(normal.diagonal() + 1e-9), slope)
        turns = Rotation.from_rotvec(step[: 3 * count].reshape(count, 3)).as_matrix()
        moved = turns @ rotations, log_focal + basis @ step[3 * count :]
        after, jacobian_after = _linearized(features, *moved, basis)
        if _cost(after) >= cost:
            damping *= 10
            if damping > 1e6:
                break
            continue
        gain, cost = cost - _cost(after), _cost(after)
        (rotations, log_focal), residuals, jacobian = moved, after, jacobian_after
        damping = max(damping / 10, LEAST_DAMPING)
        if gain < 1e-6 * cost:
            break
    return _Solution(
        rotations, log_focal, residuals, cost, _mean_error(residuals, jacobian, count) if is_free else np.inf
    )


def _focal_basis(tied: Bool[np.ndarray, "frames"], zooms: bool, is_free: bool) -> Float[np.ndarray, "frames unknowns"]:
    """What may be added to the logarithms of the focal lengths: to all of them, first, and what keeps their mean."""
    basis = np.ones((len(tied), 1 if is_free else 0))
    if not zooms:
        return basis
    about_mean = np.zeros((len(tied), tied.sum() - 1))
    about_mean[tied] = null_space(np.ones((1, tied.sum())))
    return np.concatenate([basis, about_mean], axis=1)


def _chained(
    features: SharedFeatures, tied: Bool[np.ndarray, "frames"], focal: float
) -> Float[np.ndarray, "frames 3 3"]:
    """Rotations to begin with: of each frame from what it shares with the nearest one before it."""
    rotations = np.tile(np.eye(3), (len(tied), 1, 1))
    for frame in np.flatnonzero(tied)[1:]:
        shared = np.flatnonzero((features.second == frame) & tied[features.first])
        shared = shared[features.first[shared] == features.first[shared].max()]
        rays = [_rays(uv[shared], np.full(len(shared), focal)) for uv in (features.uv_first, features.uv_second)]
        weights = np.ones(len(shared))
        for _ in range(5):
            turn = Rotation.align_vectors(rays[1], rays[0], weights=weights)[0].as_matrix()
            off = np.linalg.norm(rays[1] - rays[0] @ turn.T, axis=1) / np.linalg.norm(rays[1], axis=1)
            weights = 1 / (1 + (off * focal / FEATURE_ERROR) ** 2)
        rotations[frame] = turn @ rotations[features.first[shared[0]]]
    return rotations


def _rays(uv: Float[np.ndarray, "matches 2"], focal: Float[np.ndarray, "matches"]) -> Float[np.ndarray, "matches 3"]:
    return np.concatenate([uv, focal[:, None]], axis=1)


def _linearized(
    features: SharedFeatures, camera_from_world: np.ndarray, log_focal: np.ndarray, basis: np.ndarray
) -> tuple[Float[np.ndarray, "matches 2"], Float[np.ndarray, "two_matches unknowns"]]:
    """How far features of first frames land from where second ones show them, and its derivative by small rotations of
    the cameras (three numbers each) and by what may be added to the focal lengths."""
    first, second, focal = features.first, features.second, np.exp(log_focal)
    second_from_first = camera_from_world[second] @ camera_from_world[first].swapaxes(1, 2)
    before = _rays(features.uv_first, focal[first])
    after = np.einsum("mij,mj->mi", second_from_first, before)
    depth = np.maximum(after[:, 2:], 1e-3 * focal[second][:, None])
    landed = focal[second][:, None] * after[:, :2] / depth
    scale = (focal[second][:, None] / depth)[..., None]
    by_ray = scale * np.concatenate(
        [np.tile(np.eye(2), (len(first), 1, 1)), -(after[:, :2] / depth)[..., None]], axis=2
    )
    jacobian = np.zeros((len(first), 2, len(focal), 3))
    rows = np.arange(len(first))
    jacobian[rows, :, first] += by_ray @ second_from_first @ _skew(before)
    jacobian[rows, :, second] -= by_ray @ _skew(after)
    by_focal = np.zeros((len(first), 2, len(focal)))
    by_focal[rows, :, first] += np.einsum("mij,mj->mi", by_ray, second_from_first[..., 2] * focal[first][:, None])
    by_focal[rows, :, second] += landed
    columns = np.concatenate([jacobian.reshape(len(first), 2, -1), by_focal @ basis], axis=2)
    return landed - features.uv_second, columns.reshape(2 * len(first), -1)


def _skew(vectors: Float[np.ndarray, "matches 3"]) -> Float[np.ndarray, "matches 3 3"]:
    return skew(torch.from_numpy(vectors)).numpy()


def _cost(residuals: Float[np.ndarray, "matches 2"]) -> float:
    errors = np.linalg.norm(residuals, axis=1) / FEATURE_ERROR
    return float(np.where(errors < 1, 0.5 * errors**2, errors - 0.5).sum())


def _mean_error(residuals: np.ndarray, jacobian: np.ndarray, count: int) -> float:
    """Standard deviation of the mean focal length's logarithm: from the curvature of the cost and what errors are
    left."""
    errors = np.linalg.norm(residuals, axis=1)
    weights = np.repeat(1 / np.maximum(errors / FEATURE_ERROR, 1), 2)
    variance = max(float(np.median(errors)) / 1.18, FEATURE_ERROR / 4) ** 2
    covariance = np.linalg.pinv(jacobian.T @ (weights[:, None] * jacobian), hermitian=True)
    return float(np.sqrt(variance * covariance[3 * count, 3 * count]))
