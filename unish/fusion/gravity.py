"""The gravity direction and the height of the floor, estimated from the clip alone, without any sensor.

Every piece of evidence is a quadratic form: a symmetric 3×3 matrix H for which uᵀHu is the squared distance, in
standard deviations, of the direction u from the up direction of that evidence. Forms add up, the best direction is the
eigenvector of the smallest eigenvalue of their sum, and outliers are weighted down (Geman–McClure).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy.spatial import KDTree

from unish.errors import InputError
from unish.geometry.metric import VALID_CONFIDENCE
from unish.geometry.transforms import upright_rotation

# Standard deviation of each evidence, measured on synthetic clips with exact and with estimated geometry.
ROLL_DEG = 4.0
"""Roll of a phone that somebody holds level."""
PITCH_DEG = 20.0
"""How far up or down they point it."""
BODY_DEG = 8.0
"""Lean of a standing person's line from ankles to head."""
FEET_DEG, FOOTPRINT_M = 3.0, 0.06
"""Error of the footprints' plane, and height error of each."""
GROUND_DEG, GROUND_BEND = 1.0, 3.0
"""Error of a perfectly even floor, and how much more for each degree that its parts disagree by."""
OUTLIER_SIGMAS = 2.0
"""Residual, in standard deviations, from which evidence is weighted down."""

# What a floor is.
MIN_CAMERA_HEIGHT_M, MAX_CAMERA_HEIGHT_M = 0.3, 4.0
"""Of a camera above it."""
MAX_SLOPE_DEG = 50.0
"""Against the estimate so far, which may know little of the camera's pitch."""
NEAR_FEET_M = 0.35
"""Largest distance from the footprints, which rules out most tables."""
MAX_SHARE_BELOW = 0.08
"""Largest share of the surface below it, which rules out tables where nobody stands."""
MIN_SUPPORT = 50
MAX_FLOOR_SIGMA_DEG = 4.0
"""A floor with a larger error leaves its height to the feet, when there are any."""
CAMERA_HEIGHT_M = 1.6
"""The first camera's height above the floor when nothing shows the floor."""

MAX_POINTS, NEIGHBOURS, TRIALS, ROUNDS = 6000, 40, 400, 5
ANKLES, TOES = [7, 8], [10, 11]


@dataclass(frozen=True)
class BodyEvidence:
    """One posed body, as evidence of gravity and the floor: metres, in the cameras' world."""

    soles_world: Float[np.ndarray, "frames soles 3"]
    """Vertices that touch the floor when the person stands (`BodyModel.soles`). All vertices do as well; with none,
    the toes' joints stand in, a little above the floor."""
    joints_world: Float[np.ndarray, "frames 24 3"]
    """SMPL's joints."""
    present: Bool[np.ndarray, "frames"]
    """Where the person is seen; other frames do not count."""


@dataclass(frozen=True)
class Upright:
    """An upright world, and its uncertainty."""

    upright_from_world: Float[np.ndarray, "4 4"]
    """Rigid, metres: z up, the floor at z = 0, the first camera above the origin, looking along +y once made level."""
    up_world: Float[np.ndarray, "3"]
    """Unit vector away from the floor, in the given world."""
    tilt_sigma_deg: float
    """Standard deviation of the direction of `up_world`, by the evidence."""
    floor_from: str
    """What the floor's height was taken from: "ground points", "feet", or "camera" when nothing shows the floor and it
    is put 1.6 m below the first camera."""
    evidence: tuple[str, ...]
    """What the direction rests on: those of "horizon", "bodies", "feet" and "ground" that were available and agree."""


def find_upright(
    world_from_camera: Float[np.ndarray, "frames 4 4"],
    points_world: Float[np.ndarray, "points 3"],
    confidence: Float[np.ndarray, "points"],
    people: Sequence[BodyEvidence],
) -> Upright:
    """The upright world of a clip, from its OpenCV cameras, a sample of its static points (nobody's) and its people.

    Metres, in any one world. Points with a confidence of 0.1 or less, and what is not finite, do not count; without
    points and people it is the cameras' own up. Raises InputError when no camera is finite.
    """
    cameras = np.asarray(world_from_camera, np.float64)
    cameras = cameras[np.isfinite(cameras).all((1, 2))]
    if not len(cameras):
        raise InputError("Expected at least one camera of finite numbers, received none; reconstruct the clip again.")
    bodies = [_finite(person) for person in people]
    centers, sides, own_up = cameras[:, :3, 3], cameras[:, :3, 0], -cameras[:, :3, 1]
    surface = _surface(np.asarray(points_world, np.float64)[confidence > VALID_CONFIDENCE], centers)
    up = own_up.mean(0) if _length(own_up.mean(0)) > 1e-6 else own_up[0]
    up = up / _length(up)

    # One hand holds the phone in all frames: many frames are no surer than one, unless the camera turns.
    forms = {"pitch": [_towards(up, PITCH_DEG)], "horizon": [sides.T @ sides / len(sides) / np.radians(ROLL_DEG) ** 2]}
    axes = (_body_axis(body, up) for body in bodies)
    forms["bodies"] = [_towards(axis, BODY_DEG) for axis in axes if axis is not None]
    up, _ = _combine(forms, up)
    ground, footprints, trust = None, np.zeros((0, 3)), {}
    for _ in range(ROUNDS):
        before = up
        footprints = np.concatenate([np.zeros((0, 3)), *(_footprints(body, up) for body in bodies)])
        ground = _find_ground(surface, centers, up, footprints)
        forms["feet"] = [_level(footprints, up)] if len(footprints) > 2 else []
        forms["ground"] = [_towards(ground.normal, ground.sigma_deg)] if ground else []
        up, trust = _combine(forms, up)
        if _length(up - before) < 1e-6:
            break

    floor, floor_from = _floor_height(up, centers[0], ground, footprints)
    upright_from_world = np.eye(4)
    upright_from_world[:3, :3] = upright_rotation(up, cameras[0])
    upright_from_world[:3, 3] = -upright_from_world[:3, :3] @ centers[0]
    upright_from_world[2, 3] -= floor
    evidence = tuple(name for name, counted in trust.items() if name != "pitch" and max(counted, default=0) > 0.25)
    return Upright(upright_from_world, up, _sigma_deg(forms, trust), floor_from, evidence)


def _combine(forms: dict[str, list[np.ndarray]], up: np.ndarray) -> tuple[np.ndarray, dict[str, list[float]]]:
    """The direction (on the side of `up`) that the forms agree on, and the weight of each of them (0..1)."""
    matrices = np.stack([form for group in forms.values() for form in group])
    trust, direction = np.ones(len(matrices)), up
    for _ in range(30):
        direction = np.linalg.eigh(np.einsum("k,kij->ij", trust, matrices))[1][:, 0]
        trust = 1 / (1 + np.einsum("i,kij,j->k", direction, matrices, direction) / OUTLIER_SIGMAS**2) ** 2
    remaining = iter(trust.tolist())
    return direction if direction @ up > 0 else -direction, {
        name: [next(remaining) for _ in forms[name]] for name in forms
    }


def _sigma_deg(forms: dict[str, list[np.ndarray]], trust: dict[str, list[float]]) -> float:
    total = np.sum([w * form for name in forms for w, form in zip(trust[name], forms[name], strict=True)], axis=0)
    return float(min(np.degrees(np.sqrt((1 / np.linalg.eigvalsh(total)[1:]).sum())), 90.0))


def _towards(direction: np.ndarray, sigma_deg: float) -> np.ndarray:
    """Up is this unit vector."""
    return (np.eye(3) - np.outer(direction, direction)) / np.radians(sigma_deg) ** 2


def _level(footprints: np.ndarray, up: np.ndarray) -> np.ndarray:
    """Footprints lie at one height: the lines along which they spread are level; lines without spread give no
    evidence."""
    height = footprints @ up
    weights = 1 / (1 + ((height - np.median(height)) / NEAR_FEET_M) ** 2) ** 2
    _, variance, axes = _principal(footprints, weights)
    spread = np.maximum(variance - variance[0], 1e-12)
    return (axes / (np.radians(FEET_DEG) ** 2 + max(variance[0], FOOTPRINT_M**2) / spread)) @ axes.T


def _principal(points: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weighted mean, and variances along the principal axes (columns), the smallest first."""
    share = weights / weights.sum()
    center = share @ points
    variance, axes = np.linalg.eigh(((points - center) * share[:, None]).T @ (points - center))
    return center, np.maximum(variance, 0), axes


def _finite(person: BodyEvidence) -> BodyEvidence:
    joints = np.asarray(person.joints_world, np.float64)
    soles = np.asarray(person.soles_world, np.float64) if person.soles_world.shape[1] else joints[:, TOES]
    finite = np.isfinite(soles).all((1, 2)) & np.isfinite(joints).all((1, 2))
    return BodyEvidence(soles, joints, np.asarray(person.present, bool) & finite)


def _body_axis(person: BodyEvidence, up: np.ndarray) -> np.ndarray | None:
    """Unit vector from the ankles to the head: the geometric median of the frames in which the person stands.

    BodyEvidence: a leg is straight, the trunk goes on where the legs end, and the whole is far from lying.
    """
    joints = person.joints_world[person.present]
    hips, knees, ankles = joints[:, [1, 2]], joints[:, [4, 5]], joints[:, ANKLES]
    pelvis, neck, head, foot = joints[:, 0], joints[:, 12], joints[:, 15], ankles.mean(1)
    straight = _length(hips - ankles) > 0.95 * (_length(hips - knees) + _length(knees - ankles))
    axis, unbent = _unit(head - foot), (_unit(pelvis - foot) * _unit(neck - pelvis)).sum(-1) > np.cos(np.radians(40))
    axis = axis[straight.any(1) & unbent & (axis @ up > np.cos(np.radians(60)))]
    if not len(axis):
        return None
    median = axis.mean(0)
    for _ in range(20):
        share = 1 / np.maximum(_length(axis - median), 1e-3)
        median = share @ axis / share.sum()
    return _unit(median)


def _footprints(person: BodyEvidence, up: np.ndarray) -> np.ndarray:
    """(footprints, 3): where a foot rests, at most one point per foot and frame.

    A foot rests when its lowest part hardly moves to or from the frame beside, and it is not the raised one.
    """
    frames = np.flatnonzero(person.present)
    if not len(frames):
        return np.zeros((0, 3))
    soles, ankles = person.soles_world[frames], person.joints_world[frames][:, ANKLES]
    side = np.median(_length(soles[:, :, None] - ankles[:, None]), axis=0).argmin(-1)
    places, steps, heights = [], [], []
    for foot in (soles[:, side == k] for k in range(2) if (side == k).any()):
        height = foot @ up
        low = height < height.min(1, keepdims=True) + 0.015
        share = low / low.sum(1, keepdims=True)
        move = np.where(np.diff(frames)[:, None] == 1, _length(np.diff(foot, axis=0)), np.inf)
        move = np.pad(move, ((1, 1), (0, 0)), constant_values=np.inf)
        move = np.minimum(move[1:], move[:-1])
        steps.append((share * np.where(np.isfinite(move), move, 0.0)).sum(1))
        places.append(np.einsum("fv,fvc->fc", share, foot))
        heights.append(height.min(1))
    places, steps, heights = (np.stack(values, axis=1) for values in (places, steps, heights))
    rests = (steps < 0.03 + 0.5 * np.median(steps)) & (heights < heights.min(1, keepdims=True) + 0.12)
    return places[rests]


@dataclass(frozen=True)
class _Surface:
    points: np.ndarray
    normals: np.ndarray
    tolerance_m: np.ndarray
    """How far a point may be off: the error of depth grows with it."""


def _surface(points: np.ndarray, centers: np.ndarray) -> _Surface:
    """At most MAX_POINTS points that lie in a plane with their neighbours; outliers hardly ever do."""
    points = points[np.isfinite(points).all(-1)]
    points = points[np.random.default_rng(0).permutation(len(points))[:MAX_POINTS]]
    if len(points) < NEIGHBOURS:
        return _Surface(np.zeros((0, 3)), np.zeros((0, 3)), np.zeros(0))
    near = points[KDTree(points).query(points, NEIGHBOURS)[1]]
    near = near - near.mean(1, keepdims=True)
    variance, axes = np.linalg.eigh(near.transpose(0, 2, 1) @ near)
    flat = variance[:, 0] < 0.25 * variance[:, 1]
    tolerance_m = 0.02 + 0.015 * KDTree(centers).query(points)[0]
    return _Surface(points[flat], axes[flat, :, 0], tolerance_m[flat])


@dataclass(frozen=True)
class _Ground:
    center: np.ndarray
    normal: np.ndarray
    sigma_deg: float


def _find_ground(surface: _Surface, centers: np.ndarray, up: np.ndarray, footprints: np.ndarray) -> _Ground | None:
    """The plane that most level surface agrees with, and that has next to no surface below it (RANSAC, refined)."""
    level = np.abs(surface.normals @ up) > np.cos(np.radians(MAX_SLOPE_DEG))
    points, tolerance = surface.points[level], surface.tolerance_m[level]
    if len(points) < MIN_SUPPORT:
        return None
    corners = points[np.random.default_rng(0).integers(len(points), size=(TRIALS, 3))]
    normals = _unit(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]))
    normals = normals * np.sign(normals @ up)[:, None]
    offsets = (normals * corners[:, 0]).sum(-1)
    plausible = _plausible(normals, offsets, centers, up, footprints)
    normals, offsets = normals[plausible], offsets[plausible]
    off = (surface.points @ normals.T - offsets) / surface.tolerance_m[:, None]
    below = (off < -3).mean(0)
    score = (np.abs(off[level]) < 1).sum(0) / len(off) - 4 * below
    score = np.where(below < MAX_SHARE_BELOW, score, -np.inf)
    if not np.isfinite(score).any():
        return None
    best = score.argmax()
    center, axes, weights = _refined(points, tolerance, normals[best], offsets[best])
    normal = axes[:, 0] * np.sign(axes[:, 0] @ up)
    supported = np.count_nonzero(weights * tolerance**2 > 0.25) > max(MIN_SUPPORT, 0.02 * len(surface.points))
    if not supported or not _plausible(normal[None], np.array([normal @ center]), centers, up, footprints)[0]:
        return None
    # A floor whose quarters lean this way and that is bent as a whole, too.
    quarter = ((points - center) @ axes[:, 1:] > 0) @ [1, 2]
    lean = [_angle_deg(points[quarter == k], weights[quarter == k], normal) for k in range(4)]
    return _Ground(center, normal, float(np.hypot(GROUND_DEG, GROUND_BEND * np.sqrt(np.mean(np.square(lean))))))


def _refined(
    points: np.ndarray, tolerance: np.ndarray, normal: np.ndarray, offset: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Centre, principal axes (the normal first) and weights of the points of a plane n·x = offset, fitted robustly."""
    center, axes, weights = normal * offset, np.eye(3), np.zeros(len(points))
    for _ in range(10):
        off = ((points - center) @ normal) / tolerance
        weights = np.where(np.abs(off) < 3, 1 / (1 + off**2) ** 2, 0) / tolerance**2
        center, _, axes = _principal(points, weights)
        normal = axes[:, 0]
    return center, axes, weights


def _plausible(
    normals: np.ndarray, offsets: np.ndarray, centers: np.ndarray, up: np.ndarray, footprints: np.ndarray
) -> np.ndarray:
    """Which planes n·x = offset are about level, below the cameras, and where people stand."""
    height = np.median(centers @ normals.T - offsets, axis=0)
    plausible = (
        (normals @ up > np.cos(np.radians(MAX_SLOPE_DEG)))
        & (height > MIN_CAMERA_HEIGHT_M)
        & (height < MAX_CAMERA_HEIGHT_M)
    )
    if len(footprints):
        plausible &= np.abs(np.median(footprints @ normals.T - offsets, axis=0)) < NEAR_FEET_M
    return plausible


def _angle_deg(points: np.ndarray, weights: np.ndarray, normal: np.ndarray) -> float:
    """Between a normal and that of the points' plane; 90 where they make none."""
    if np.count_nonzero(weights) < 3:
        return 90.0
    return float(np.degrees(np.arccos(min(1.0, abs(_principal(points, weights)[2][:, 0] @ normal)))))


def _floor_height(
    up: np.ndarray, camera: np.ndarray, ground: _Ground | None, footprints: np.ndarray
) -> tuple[float, str]:
    """Height of the floor relative to the camera, where people stand if anywhere, and what says so."""
    if ground is not None and (ground.sigma_deg < MAX_FLOOR_SIGMA_DEG or not len(footprints)):
        place = np.median(footprints, axis=0) if len(footprints) else ground.center
        above = (place - ground.center) @ ground.normal / (up @ ground.normal)
        return float((place - camera) @ up - above), "ground points"
    if len(footprints):
        return float(np.quantile((footprints - camera) @ up, 0.3)), "feet"
    return -CAMERA_HEIGHT_M, "camera"


def _length(vectors: np.ndarray) -> np.ndarray:
    return np.asarray(np.linalg.norm(vectors, axis=-1))


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(_length(vectors), 1e-12)[..., None]
