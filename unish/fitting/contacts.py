"""When feet stand: found by speed and height with hysteresis, from joints in the world alone."""

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unish.fitting.problem import Contacts

WINDOW_S = 0.1
"""A foot's speed is taken over so long (or to the next frame), so that jitter is no speed."""
START_M_S, END_M_S = 0.35, 0.7
"""A contact starts below the one speed and lasts up to the other."""
OTHER_SHARE = 0.3
"""A foot that moves slower than this share of the other one's speed may stand, whatever its speed."""
START_M, END_M = 0.12, 0.16
"""The same for the height over the lowest sole of the time around: poses put the feet of somebody who sits or stands so
far apart."""
AROUND_S = 1.0
LOW_M = 0.03
"""Without motion, the foot that is lowest stands, and the other one if it is no higher."""
ON_FLOOR_M = 0.3
"""A foot that stands farther than this from any floor stands on something that is not known."""
LONGEST_STEP_S = 0.4
"""Frames farther apart than this tell nothing of a foot's speed."""


def find_contacts(
    ends_world: Float[np.ndarray, "frames 4 3"],
    soles_m: Float[np.ndarray, "frames 2"],
    floor_m: Float[np.ndarray, "frames 2"],
    times_s: Float[np.ndarray, "frames"],
) -> Contacts:
    """Contacts from the ends of the feet (left ankle, left ball, right ankle, right ball), the heights of the soles
    and those of the floor under them, metres, z up. Without motion (one frame, or frames far apart) the lower foot is
    on the floor and nothing is held."""
    standing, grounded = standing_feet(ends_world, soles_m, floor_m, times_s)
    return Contacts(
        standing=torch.from_numpy(standing),
        averages=torch.from_numpy(averages(standing)).float(),
        grounded=torch.from_numpy(grounded),
        floor_m=torch.from_numpy(floor_m).float(),
    )


def standing_feet(
    ends_world: Float[np.ndarray, "frames 4 3"],
    soles_m: Float[np.ndarray, "frames 2"],
    floor_m: Float[np.ndarray, "frames 2"],
    times_s: Float[np.ndarray, "frames"],
) -> tuple[Bool[np.ndarray, "frames 4"], Bool[np.ndarray, "frames 2"]]:
    """Which ends of the feet stand, and which soles lie on the floor, as `find_contacts` says."""
    above = soles_m - lowest_around(soles_m, times_s)
    speed = speeds(ends_world, times_s)
    known = np.asarray(np.isfinite(speed).all(1), bool)
    other = np.nan_to_num(speed)[:, [2, 3, 0, 1]]
    start = np.maximum(START_M_S, OTHER_SHARE * other)
    end = np.maximum(END_M_S, OTHER_SHARE * other)
    height = above.repeat(2, axis=1)
    standing = hysteresis((speed < start) & (height < START_M), (speed < end) & (height < END_M))
    standing &= known[:, None]
    low = np.where(known[:, None], standing.reshape(-1, 2, 2).any(2), above < LOW_M)
    return standing, low & (np.abs(soles_m - floor_m) < ON_FLOOR_M)


def speeds(ends_world: Float[np.ndarray, "frames 4 3"], times_s: Float[np.ndarray, "frames"]) -> np.ndarray:
    """(frames, 4) speed to the frame `WINDOW_S` before or after, whichever is less; NaN where both are too far off."""
    count = len(times_s)
    after = np.searchsorted(times_s, times_s + WINDOW_S - 1e-6).clip(max=count - 1)
    before = (np.searchsorted(times_s, times_s - WINDOW_S + 1e-6, side="right") - 1).clip(min=0)
    slowest = np.full(ends_world.shape[:2], np.inf)
    for beside in (after, before):
        apart = np.abs(times_s[beside] - times_s)
        usable = (apart > 0) & (apart <= LONGEST_STEP_S)
        distance = np.linalg.norm(ends_world[beside] - ends_world, axis=-1)
        speed = distance / np.where(usable, apart, 1)[:, None]
        slowest = np.minimum(slowest, np.where(usable[:, None], speed, np.inf))
    return np.where(np.isfinite(slowest), slowest, np.nan)


def lowest_around(heights_m: Float[np.ndarray, "frames 2"], times_s: Float[np.ndarray, "frames"]) -> np.ndarray:
    """(frames, 1) lowest of both feet within a second of each frame."""
    low = heights_m.min(1)
    first = np.searchsorted(times_s, times_s - AROUND_S)
    last = np.searchsorted(times_s, times_s + AROUND_S, side="right")
    return np.array([low[a:b].min() for a, b in zip(first, last, strict=True)])[:, None]


def hysteresis(
    starts: Bool[np.ndarray, "frames n"], lasts: Bool[np.ndarray, "frames n"]
) -> Bool[np.ndarray, "frames n"]:
    """Runs of `lasts` in which `starts` is true somewhere."""
    kept = np.zeros_like(lasts)
    for column in range(lasts.shape[1]):
        for run in _runs(lasts[:, column]):
            kept[run, column] = starts[run, column].any()
    return kept


def averages(standing: Bool[np.ndarray, "frames ends"]) -> Float[np.ndarray, "ends frames frames"]:
    """Matrices that take places to the means of their runs; zero where nothing stands."""
    frames, ends = standing.shape
    matrices = np.zeros((ends, frames, frames), np.float32)
    for end in range(ends):
        for run in _runs(standing[:, end]):
            matrices[end, run, run] = 1 / (run.stop - run.start)
    return matrices


def _runs(mask: np.ndarray) -> list[slice]:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    return [slice(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def feet_of(joints_world: Tensor) -> Float[np.ndarray, "frames 4 3"]:
    """The ends of the feet among SMPL's joints."""
    return joints_world[:, [7, 10, 8, 11]].detach().cpu().double().numpy()
