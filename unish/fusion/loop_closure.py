"""Loop closure: pairs of moments at which a clip sees the same place again."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from unish.fusion.intrinsics import ClipIntrinsics
from unish.fusion.window_alignment import WindowAlignment
from unish.fusion.windows import GRID, WindowPrediction
from unish.geometry.metric import VALID_CONFIDENCE

MIN_OVERLAP = 0.5
"""Share of the one view's static points that the other must see, both ways."""
MAX_DEPTH_RATIO = 2.0
"""A point counts as seen where the other view's depth differs by less than this factor."""
MAX_VIEWS = 240
VIEW_SAMPLES = 96


class _Views(NamedTuple):
    """The frames that are compared, metres, in the clip's world."""

    frames: Int[np.ndarray, "views"]
    window: Int[np.ndarray, "views"]
    world_from_camera: Float[np.ndarray, "views 4 4"]
    depth_m: Float[np.ndarray, "views samples"]
    static: Bool[np.ndarray, "views samples"]


def find_revisits(
    predictions: Sequence[WindowPrediction],
    alignment: WindowAlignment,
    intrinsics: ClipIntrinsics,
    uv: Float[np.ndarray, "samples 2"],
    size: int,
) -> tuple[Int[np.ndarray, "_"], ...]:
    """Frames of loop-closure passes, at most `size` each: half about one visit, half about the other; best first.

    Only visits that share no window count; near one another they make one pass, and in all there is at most one pass
    for three windows.
    """
    views = _views(predictions, alignment, intrinsics)
    if len(predictions) < 3 or len(views.frames) < 2:
        return ()
    overlap = _overlaps(views, intrinsics.focal[views.frames], uv)
    mutual = np.minimum(overlap, overlap.T)
    # Windows k and k + 1 are aligned already, and what is two windows on has hardly drifted.
    mutual[views.window[None, :] - views.window[:, None] < 3] = 0
    half = size // 2
    passes: list[np.ndarray] = []
    pairs: list[tuple[int, int]] = []
    for flat in np.argsort(-mutual, axis=None):
        i, j = np.unravel_index(flat, mutual.shape)
        if mutual[i, j] < MIN_OVERLAP or len(passes) >= max(1, len(predictions) // 3):
            break
        pair = int(views.frames[i]), int(views.frames[j])
        if any(abs(pair[0] - a) < size and abs(pair[1] - b) < size for a, b in pairs):
            continue
        pairs.append(pair)
        halves = [_frames_around(predictions[int(views.window[k])], int(views.frames[k]), half) for k in (i, j)]
        passes.append(np.concatenate(halves))
    return tuple(passes)


def _frames_around(window: WindowPrediction, frame: int, count: int) -> np.ndarray:
    """`count` frames about a frame, all from one window."""
    first, last = int(window.frames[0]), int(window.frames[-1])
    count = min(count, last - first + 1)
    start = min(max(frame - count // 2, first), last - count + 1)
    return np.arange(start, start + count)


def _views(predictions: Sequence[WindowPrediction], alignment: WindowAlignment, intrinsics: ClipIntrinsics) -> _Views:
    total = sum(len(prediction.frames) for prediction in predictions)
    step = max(1, -(-total // MAX_VIEWS))
    rows = [(k, row) for k, p in enumerate(predictions) for row in range(step // 2, len(p.frames), step)]
    cameras, depths, static = [], [], []
    for k, row in rows:
        prediction = predictions[k]
        cameras.append(alignment.world_from_camera[k][row])
        depth = prediction.points_camera[row, :, 2] + intrinsics.depth_shift[k]
        depths.append(depth * alignment.metres_per_unit[k])
        static.append(prediction.static_mask[row] & (prediction.confidence[row] > VALID_CONFIDENCE))
    return _Views(
        np.array([predictions[k].frames[row] for k, row in rows], int),
        np.array([k for k, _ in rows], int),
        np.array(cameras),
        np.maximum(np.array(depths, float), 1e-3),
        np.array(static, bool),
    )


def _overlaps(views: _Views, focal: np.ndarray, uv: np.ndarray) -> Float[np.ndarray, "views views"]:
    """[i, j]: the share of the static points of view i that view j sees as well."""
    cameras = views.world_from_camera
    subset = np.linspace(0, len(uv) - 1, VIEW_SAMPLES).astype(int)
    half_size = uv.max(axis=0) * GRID / (GRID - 1)
    camera_from_world = np.linalg.inv(cameras)
    share = np.zeros((len(cameras), len(cameras)))
    for i in range(len(cameras)):
        samples = subset[views.static[i, subset]]
        if len(samples) < VIEW_SAMPLES // 8:
            continue
        rays = np.concatenate([uv[samples] / focal[i], np.ones((len(samples), 1))], axis=-1)
        world = (rays * views.depth_m[i, samples, None]) @ cameras[i, :3, :3].T + cameras[i, :3, 3]
        local = np.einsum("vab,pb->vpa", camera_from_world[:, :3, :3], world) + camera_from_world[:, None, :3, 3]
        in_front = local[..., 2] > 1e-3
        image = local[..., :2] / np.where(in_front, local[..., 2], 1.0)[..., None] * focal[:, None, None]
        inside = in_front & (np.abs(image) < half_size).all(-1)
        cell = ((image / half_size + 1) / 2 * GRID).clip(0, GRID - 1).astype(int)
        observed_m = np.take_along_axis(views.depth_m, cell[..., 1] * GRID + cell[..., 0], axis=1)
        ratio = local[..., 2] / observed_m
        facing = (cameras[:, :3, 2] @ cameras[i, :3, 2] > 0.5)[:, None]
        share[i] = (inside & facing & (ratio < MAX_DEPTH_RATIO) & (ratio > 1 / MAX_DEPTH_RATIO)).mean(axis=1)
    return share
