"""Where a clip comes back to a place that it has seen: pairs of moments whose views overlap."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from unish.fusion.intrinsics import Lens
from unish.fusion.window_alignment import Joined
from unish.fusion.windows import GRID, WindowPrediction
from unish.geometry.metric import VALID_CONFIDENCE

LEAST_OVERLAP = 0.5
"""Share of the one view's still points that the other must see, both ways."""
DEPTH_RATIO = 2.0
"""A point counts as seen where the other view's depth is not further off than this factor."""
MOST_VIEWS = 240
VIEW_SAMPLES = 96


def find_revisits(
    passes: Sequence[WindowPrediction], joined: Joined, lens: Lens, uv: Float[np.ndarray, "samples 2"], size: int
) -> tuple[Int[np.ndarray, "_"], ...]:
    """Frames of bridges, at most `size` each: half about one visit, half about the other, best overlap first.

    Only visits that share no window count; near one another they are bridged once, and in all there is at most one
    bridge for three windows.
    """
    frames, window, cameras, depth, still = _views(passes, joined, lens)
    if len(passes) < 3 or len(frames) < 2:
        return ()
    seen = _overlap(cameras, depth, still, lens.focal[frames], uv)
    mutual = np.minimum(seen, seen.T)
    # Windows k and k + 1 are joined already, and what is two windows on has hardly drifted.
    mutual[window[None, :] - window[:, None] < 3] = 0
    count, half = int(passes[-1].frames[-1]) + 1, size // 2
    bridges: list[np.ndarray] = []
    taken: list[tuple[int, int]] = []
    for flat in np.argsort(-mutual, axis=None):
        i, j = np.unravel_index(flat, mutual.shape)
        if mutual[i, j] < LEAST_OVERLAP or len(bridges) >= max(1, len(passes) // 3):
            break
        pair = int(frames[i]), int(frames[j])
        if any(abs(pair[0] - a) < size and abs(pair[1] - b) < size for a, b in taken):
            continue
        taken.append(pair)
        bridges.append(np.concatenate([_around(passes, int(window[k]), int(frames[k]), half, count) for k in (i, j)]))
    return tuple(bridges)


def _around(passes: Sequence[WindowPrediction], window: int, frame: int, half: int, count: int) -> np.ndarray:
    """`half` frames about a frame, all from one window."""
    first, last = int(passes[window].frames[0]), int(passes[window].frames[-1])
    half = min(half, last - first + 1)
    start = min(max(frame - half // 2, first), last - half + 1)
    return np.arange(start, start + half)


def _views(passes: Sequence[WindowPrediction], joined: Joined, lens: Lens) -> tuple[np.ndarray, ...]:
    """Frames to compare, the window of each, its camera, and depth and stillness of its samples."""
    total = sum(len(found.frames) for found in passes)
    every = max(1, -(-total // MOST_VIEWS))
    rows = [(k, row) for k, found in enumerate(passes) for row in range(every // 2, len(found.frames), every)]
    cameras, depths, still = [], [], []
    for k, row in rows:
        found = passes[k]
        cameras.append(joined.world_from_camera[k][row])
        depths.append((found.points_camera[row, :, 2] + lens.shift[k]) * joined.metres_per_unit[k])
        still.append(found.still[row] & (found.confidence[row] > VALID_CONFIDENCE))
    frames = np.array([passes[k].frames[row] for k, row in rows], int)
    window = np.array([k for k, _ in rows], int)
    return frames, window, np.array(cameras), np.maximum(np.array(depths, float), 1e-3), np.array(still, bool)


def _overlap(
    cameras: np.ndarray, depth: np.ndarray, still: np.ndarray, focal: np.ndarray, uv: np.ndarray
) -> Float[np.ndarray, "views views"]:
    """[i, j]: the share of the still points of view i that view j sees as well."""
    some = np.linspace(0, len(uv) - 1, VIEW_SAMPLES).astype(int)
    half_size = uv.max(axis=0) * GRID / (GRID - 1)
    camera_from_world = np.linalg.inv(cameras)
    share = np.zeros((len(cameras), len(cameras)))
    for i in range(len(cameras)):
        here = some[still[i, some]]
        if len(here) < VIEW_SAMPLES // 8:
            continue
        rays = np.concatenate([uv[here] / focal[i], np.ones((len(here), 1))], axis=-1)
        world = (rays * depth[i, here, None]) @ cameras[i, :3, :3].T + cameras[i, :3, 3]
        local = np.einsum("vab,pb->vpa", camera_from_world[:, :3, :3], world) + camera_from_world[:, None, :3, 3]
        ahead = local[..., 2] > 1e-3
        at = local[..., :2] / np.where(ahead, local[..., 2], 1.0)[..., None] * focal[:, None, None]
        inside = ahead & (np.abs(at) < half_size).all(-1)
        cell = ((at / half_size + 1) / 2 * GRID).clip(0, GRID - 1).astype(int)
        there = np.take_along_axis(depth, cell[..., 1] * GRID + cell[..., 0], axis=1)
        ratio = local[..., 2] / there
        facing = (cameras[:, :3, 2] @ cameras[i, :3, 2] > 0.5)[:, None]
        share[i] = (inside & facing & (ratio < DEPTH_RATIO) & (ratio > 1 / DEPTH_RATIO)).mean(axis=1)
    return share
