"""Feet that stand, as the fit report sees them: slow, and not raised over the floor under them."""

import numpy as np
from jaxtyping import Bool, Float

from unish.analysis.body_surface import FEET
from unish.analysis.floor_map import FloorMap
from unish.structures import Person

STEP_S = 0.2
"""A foot's speed is taken over this time (or one frame, if that is longer), so that jitter is not taken for sliding."""
SLOW_M_PER_S = 0.3
"""A foot slower than this stands: a swinging one makes 2 m/s or more."""
STANDING_SHARE = 0.1
"""The slowest tenth of a person's foot movements counts as standing however fast it is: else a body that glides
through the scene would have no foot to measure."""
RAISED_M = 0.1
"""A foot so much higher over its floor than the other one over its own is in the air, moving or not."""


def foot_contacts(
    person: Person, times_s: np.ndarray, fps: float, up: np.ndarray, floor: FloorMap
) -> tuple[Bool[np.ndarray, "frames 2"], Float[np.ndarray, "contacts"]]:
    """Which foot stands from a frame on (left, right), and how fast standing feet move over the floor, in cm/s.

    Without two sightings `STEP_S` apart (an image) there is no motion to tell from: then what is not raised stands.
    """
    ends = person.joints_world[:, FEET].astype(np.float64)
    height = _heights_m(ends, up, floor)
    low = (height <= height.min(axis=1, keepdims=True) + RAISED_M) & person.present[:, None]
    step = max(1, round(STEP_S * fps))
    usable = low[:-step] & low[step:]
    if not usable.any():
        return low, np.zeros(0)
    velocity = (ends[step:] - ends[:-step]) / (times_s[step:] - times_s[:-step])[:, None, None, None]
    # A foot that rolls over its toes, or down from its heel, stands on the end that moves less.
    speed = np.linalg.norm(velocity, axis=-1).min(axis=-1)
    over_floor = np.linalg.norm(velocity - (velocity @ up)[..., None] * up, axis=-1).min(axis=-1)
    standing = usable & (speed <= max(SLOW_M_PER_S, np.quantile(speed[usable], STANDING_SHARE)))
    return np.pad(standing, ((0, step), (0, 0))), 100 * over_floor[standing]


def _heights_m(
    ends_world: Float[np.ndarray, "frames 2 2 3"], up: np.ndarray, floor: FloorMap
) -> Float[np.ndarray, "frames 2"]:
    """Of the lower end of each foot: over the floors under both feet where the points show both, else over the
    plane, so that no foot is compared with another measure than the other one."""
    height = (ends_world @ up).min(axis=-1)
    feet = np.concatenate([ends_world[..., :2].mean(axis=2), height[..., None]], axis=-1)
    under = floor.heights_m(feet.reshape(-1, 3)).reshape(height.shape)
    return height - np.where(np.isfinite(under).all(axis=1, keepdims=True), under, 0.0)
