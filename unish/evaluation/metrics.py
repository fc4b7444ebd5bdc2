"""The metrics that the papers report, as pure functions of NumPy arrays.

Lengths go in as metres and come out in the unit that the name ends with. Most functions return one value per frame, so
that the frames of all sequences can be pooled before the mean is taken, which is how the tables are made.
"""

from dataclasses import dataclass, fields

import numpy as np
import torch
from jaxtyping import Bool, Float

from unish.errors import InputError
from unish.geometry.alignment import umeyama
from unish.geometry.rotations import rotation_angle

MM_PER_M = 1000.0
CM_PER_M = 100.0
CHUNK_FRAMES = 100
CONTACT_SPEED_M_PER_FRAME = 0.01
CONTACT_SPEED_M_PER_S = 0.3
"""The same at the 30 frames per second that WHAM's threshold is for."""
MIN_EXTENT_M = 0.25
"""People who move less have no trajectory whose size could be compared."""


@dataclass(frozen=True)
class WorldMotion:
    """Per-frame values of one sequence in the world frame; `means()` is the row of a table."""

    wa_mpjpe_mm: Float[np.ndarray, "frames"]
    w_mpjpe_mm: Float[np.ndarray, "frames"]
    rte_percent: Float[np.ndarray, "frames"]
    jitter: Float[np.ndarray, "frames_less_3"]
    accel: Float[np.ndarray, "frames_less_2"]

    def means(self) -> dict[str, float]:
        """Mean of each metric; NaN where the sequence is too short to have one."""
        return {f.name: _mean(getattr(self, f.name)) for f in fields(self)}


# --- depth ---------------------------------------------------------------------------------------------------------


def align_scale(
    predicted: Float[np.ndarray, "*shape"],
    true: Float[np.ndarray, "*shape"],
    valid: Bool[np.ndarray, "*shape"],
    steps: int = 10,
) -> float:
    """The scale s that makes |s · predicted − true| smallest over the valid values.

    Iteratively reweighted least squares (L1) from the ratio of means, as the video-depth benchmarks of MonST3R and
    CUT3R do it. Raises InputError where nothing is valid.
    """
    x, y = _valid(predicted, true, valid)
    scale = float(y.mean() / max(x.mean(), 1e-12))
    for _ in range(steps):
        weight = 1.0 / np.maximum(np.abs(scale * x - y), 1e-8)
        scale = float((weight * x * y).sum() / max((weight * x * x).sum(), 1e-12))
    return scale


def align_scale_shift(
    predicted: Float[np.ndarray, "*shape"],
    true: Float[np.ndarray, "*shape"],
    valid: Bool[np.ndarray, "*shape"],
    steps: int = 10,
) -> tuple[float, float]:
    """The scale s and shift t that make |s · predicted + t − true| smallest over the valid values.

    Iteratively reweighted least squares (L1) as `align_scale`, from the plain least-squares line; the shift is in the
    unit of `true`. The scale is 1 where all predicted values are equal. Raises InputError where nothing is valid.
    """
    x, y = _valid(predicted, true, valid)
    scale, shift = _line(x, y, np.ones_like(x))
    for _ in range(steps):
        scale, shift = _line(x, y, 1.0 / np.maximum(np.abs(scale * x + shift - y), 1e-8))
    return scale, shift


def abs_rel(
    predicted: Float[np.ndarray, "*shape"], true: Float[np.ndarray, "*shape"], valid: Bool[np.ndarray, "*shape"]
) -> float:
    """Mean of |predicted − true| / true over the valid pixels. Depth in one unit, already aligned."""
    x, y = _valid(predicted, true, valid)
    return float((np.abs(x - y) / y).mean())


def delta_125(
    predicted: Float[np.ndarray, "*shape"], true: Float[np.ndarray, "*shape"], valid: Bool[np.ndarray, "*shape"]
) -> float:
    """Share of valid pixels whose larger ratio max(p/t, t/p) is under 1.25."""
    x, y = _valid(predicted, true, valid)
    ratio = np.maximum(x, 1e-12) / y
    return float((np.maximum(ratio, 1.0 / ratio) < 1.25).mean())


# --- cameras -------------------------------------------------------------------------------------------------------


def camera_ate(
    predicted_world_from_camera: Float[np.ndarray, "frames 4 4"],
    true_world_from_camera: Float[np.ndarray, "frames 4 4"],
    with_scale: bool = True,
) -> Float[np.ndarray, "frames"]:
    """Distance of each camera centre from the true one, in centimetres, after a Sim(3) alignment (Umeyama).

    Without `with_scale` the alignment is rigid, so that an error of the world's size counts. The benchmarks' figure is
    the root mean square over the frames.
    """
    predicted, true = predicted_world_from_camera[:, :3, 3], true_world_from_camera[:, :3, 3]
    return np.linalg.norm(_aligned(predicted, true, with_scale) - true, axis=-1) * CM_PER_M


def camera_rpe(
    predicted_world_from_camera: Float[np.ndarray, "frames 4 4"],
    true_world_from_camera: Float[np.ndarray, "frames 4 4"],
    with_scale: bool = True,
) -> tuple[Float[np.ndarray, "frames_less_1"], Float[np.ndarray, "frames_less_1"]]:
    """Errors of the camera's motion from frame to frame: metres, and degrees, after the alignment of `camera_ate`.

    The benchmarks' figures are the root mean squares over the frames (relative pose error of TUM RGB-D, step 1).
    """
    predicted, true = (x.astype(np.float64) for x in (predicted_world_from_camera, true_world_from_camera))
    scale, _, _ = _similarity(predicted[:, :3, 3], true[:, :3, 3], with_scale)
    predicted[:, :3, 3] *= scale
    steps = [np.linalg.inv(cameras[:-1]) @ cameras[1:] for cameras in (true, predicted)]
    error = np.linalg.inv(steps[0]) @ steps[1]
    angle = rotation_angle(torch.from_numpy(error[:, :3, :3])).numpy()
    return np.linalg.norm(error[:, :3, 3], axis=-1), np.degrees(angle)


# --- bodies in the camera frame ------------------------------------------------------------------------------------


def pelvis(joints: Float[np.ndarray, "frames joints 3"]) -> Float[np.ndarray, "frames 1 3"]:
    """The root that camera-frame metrics subtract: the middle of the two hips (SMPL joints 1 and 2)."""
    return joints[:, 1:3].mean(axis=1, keepdims=True)


def mpjpe(
    predicted: Float[np.ndarray, "frames joints 3"], true: Float[np.ndarray, "frames joints 3"]
) -> Float[np.ndarray, "frames"]:
    """Mean per-joint position error after the pelvises are aligned, in millimetres."""
    return _mean_distance_mm(predicted - pelvis(predicted), true - pelvis(true))


def pa_mpjpe(
    predicted: Float[np.ndarray, "frames joints 3"], true: Float[np.ndarray, "frames joints 3"]
) -> Float[np.ndarray, "frames"]:
    """Mean per-joint position error after a Procrustes alignment with scale of each frame, in millimetres."""
    return _mean_distance_mm(_aligned(predicted, true, with_scale=True), true)


def pve(
    predicted_vertices: Float[np.ndarray, "frames vertices 3"],
    true_vertices: Float[np.ndarray, "frames vertices 3"],
    predicted_joints: Float[np.ndarray, "frames joints 3"],
    true_joints: Float[np.ndarray, "frames joints 3"],
) -> Float[np.ndarray, "frames"]:
    """Mean per-vertex error after the pelvises (from the joints) are aligned, in millimetres."""
    return _mean_distance_mm(predicted_vertices - pelvis(predicted_joints), true_vertices - pelvis(true_joints))


def accel(
    predicted: Float[np.ndarray, "frames joints 3"], true: Float[np.ndarray, "frames joints 3"], fps: float | int = 30
) -> Float[np.ndarray, "frames_less_2"]:
    """Difference of the joints' accelerations about the pelvis, in m/s², mean over joints (WHAM)."""
    second = [np.diff(joints - pelvis(joints), n=2, axis=0) for joints in (predicted, true)]
    return np.linalg.norm(second[0] - second[1], axis=-1).mean(axis=-1) * fps**2


# --- bodies in the world -------------------------------------------------------------------------------------------


def world_motion(
    pred_joints: Float[np.ndarray, "frames joints 3"],
    true_joints: Float[np.ndarray, "true_frames joints 3"],
    fps: float | int = 30,
) -> WorldMotion:
    """WA-MPJPE, W-MPJPE, RTE, jitter and acceleration error of one person in one sequence (WHAM's EMDB-2 protocol).

    Joints in metres, each in its own world frame. Sequences are cut in chunks of 100 frames, a shorter last one kept.
    Raises InputError where the shapes differ or there is no frame.
    """
    if pred_joints.shape != true_joints.shape or len(true_joints) == 0:
        raise InputError(
            f"Expected joints of equal shape with at least one frame, got {pred_joints.shape} and "
            f"{true_joints.shape}. Give one predicted frame for each true frame."
        )
    chunks = [slice(i, i + CHUNK_FRAMES) for i in range(0, len(true_joints), CHUNK_FRAMES)]
    pairs = [(pred_joints[chunk], true_joints[chunk]) for chunk in chunks]
    return WorldMotion(
        wa_mpjpe_mm=np.concatenate([wa_mpjpe(p, t) for p, t in pairs]),
        w_mpjpe_mm=np.concatenate([w_mpjpe(p, t) for p, t in pairs]),
        rte_percent=root_translation_error(pred_joints[:, 0], true_joints[:, 0]),
        jitter=jitter(pred_joints, fps),
        accel=accel(pred_joints, true_joints, fps),
    )


def wa_mpjpe(
    predicted: Float[np.ndarray, "frames joints 3"], true: Float[np.ndarray, "frames joints 3"]
) -> Float[np.ndarray, "frames"]:
    """World-aligned MPJPE of one chunk: one similarity for all of its joints, in millimetres."""
    return _mean_distance_mm(_aligned_by(predicted, true, slice(None)), true)


def w_mpjpe(
    predicted: Float[np.ndarray, "frames joints 3"], true: Float[np.ndarray, "frames joints 3"]
) -> Float[np.ndarray, "frames"]:
    """World MPJPE of one chunk: the similarity is fitted on its first two frames alone, in millimetres."""
    return _mean_distance_mm(_aligned_by(predicted, true, slice(0, 2)), true)


def root_translation_error(
    predicted: Float[np.ndarray, "frames 3"], true: Float[np.ndarray, "frames 3"]
) -> Float[np.ndarray, "frames"]:
    """RTE: distance of the roots after one rigid alignment, in percent of the length of the true path.

    NaN where the true root never moves: there is no path to compare with.
    """
    path_m = np.linalg.norm(np.diff(true, axis=0), axis=-1).sum()
    error_m = np.linalg.norm(_aligned(predicted, true, with_scale=False) - true, axis=-1)
    return error_m / path_m * 100.0 if path_m > 0 else np.full(len(true), np.nan)


def jitter(joints: Float[np.ndarray, "frames joints 3"], fps: float | int = 30) -> Float[np.ndarray, "frames_less_3"]:
    """Third derivative of the joints in 10 m/s³, mean over joints (WHAM)."""
    return np.linalg.norm(np.diff(joints, n=3, axis=0), axis=-1).mean(axis=-1) * fps**3 / 10.0


def foot_sliding(
    predicted_feet: Float[np.ndarray, "frames vertices 3"], true_feet: Float[np.ndarray, "frames vertices 3"]
) -> Float[np.ndarray, "contacts"]:
    """How far a predicted foot vertex moves per frame while the true one is in contact (under 1 cm per frame), in
    millimetres.

    One entry per contact, frame then vertex (WHAM). SMPL's vertices are 3216, 3387, 6617 and 6787.
    """
    step_pred = np.linalg.norm(np.diff(predicted_feet, axis=0), axis=-1)
    step_true = np.linalg.norm(np.diff(true_feet, axis=0), axis=-1)
    return step_pred[step_true < CONTACT_SPEED_M_PER_FRAME] * MM_PER_M


def in_contact(
    true_feet: Float[np.ndarray, "frames points 3"], fps: float | int
) -> Bool[np.ndarray, "frames_less_1 points"]:
    """Where a true point of a foot stands from a frame to the next: it moves slower than 0.3 m/s."""
    return np.linalg.norm(np.diff(true_feet, axis=0), axis=-1) * fps < CONTACT_SPEED_M_PER_S


def foot_sliding_speed(
    predicted_feet: Float[np.ndarray, "frames points 3"],
    true_feet: Float[np.ndarray, "frames points 3"],
    fps: float | int,
) -> Float[np.ndarray, "contacts"]:
    """Speed of a predicted point of a foot while the true one is in contact (`in_contact`), in centimetres per second.

    One entry per contact, frame then point. Points are the ankles and balls of the feet, which every SMPL-format body
    has, so that the figure does not depend on the mesh as `foot_sliding` does.
    """
    speed_m_per_s = np.linalg.norm(np.diff(predicted_feet, axis=0), axis=-1) * fps
    return speed_m_per_s[in_contact(true_feet, fps)] * CM_PER_M


def world_size(predicted: Float[np.ndarray, "frames 3"], true: Float[np.ndarray, "frames 3"]) -> float:
    """Extent of the predicted trajectory of the root over that of the true one: 1 for a world of the true size.

    The extent is the root mean square distance from the trajectory's mean, which no rigid motion changes. NaN where the
    true one is below 0.25 m.
    """
    extents_m = [np.sqrt(np.square(path - path.mean(axis=0)).sum(axis=-1).mean()) for path in (predicted, true)]
    return float(extents_m[0] / extents_m[1]) if extents_m[1] >= MIN_EXTENT_M else float("nan")


# --- helpers -------------------------------------------------------------------------------------------------------


def _valid(predicted: np.ndarray, true: np.ndarray, valid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if not valid.any():
        raise InputError("Expected at least one valid pixel, got none. Check the ground truth's depth range and mask.")
    return predicted[valid].astype(np.float64), true[valid].astype(np.float64)


def _line(x: np.ndarray, y: np.ndarray, weight: np.ndarray) -> tuple[float, float]:
    """Slope and intercept of the weighted least-squares line."""
    weight = weight / weight.sum()
    x_mean, y_mean = float(weight @ x), float(weight @ y)
    spread = float(weight @ (x - x_mean) ** 2)
    if spread <= 1e-18 * x_mean**2:
        return 1.0, y_mean - x_mean
    slope = float(weight @ ((x - x_mean) * (y - y_mean))) / spread
    return slope, y_mean - slope * x_mean


def _mean_distance_mm(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.linalg.norm(a - b, axis=-1).mean(axis=-1) * MM_PER_M


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else float("nan")


def _aligned(source: np.ndarray, target: np.ndarray, with_scale: bool) -> np.ndarray:
    """`source` (…, points, 3) after the similarity that takes it to `target`."""
    return _move(source, *_similarity(source, target, with_scale))


def _aligned_by(source: np.ndarray, target: np.ndarray, frames: slice) -> np.ndarray:
    """`source` (frames, joints, 3) after one similarity, fitted on the joints of the given frames."""
    return _move(source, *_similarity(source[frames].reshape(-1, 3), target[frames].reshape(-1, 3), True))


def _similarity(source: np.ndarray, target: np.ndarray, with_scale: bool) -> tuple[np.ndarray, ...]:
    tensors = [torch.as_tensor(np.ascontiguousarray(x), dtype=torch.float64) for x in (source, target)]
    return tuple(x.numpy() for x in umeyama(*tensors, with_scale=with_scale))


def _move(points: np.ndarray, scale: np.ndarray, rotation: np.ndarray, translation: np.ndarray) -> np.ndarray:
    turned = points @ np.swapaxes(rotation, -1, -2)
    return scale[..., None, None] * turned + translation[..., None, :]
