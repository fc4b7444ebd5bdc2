"""Who is there in a frame, detected or not."""

import numpy as np
from jaxtyping import Float

from unish.structures.inputs import PersonTrack
from unish.structures.result import Person

MISSED_S = 2.0
"""Who is not detected for less than that between two sightings, is there all the same."""


def is_missed(person: Person | PersonTrack, times_s: Float[np.ndarray, "frames"], frame: int) -> bool:
    """Whether somebody is not detected in a frame between two sightings; their box there is between those of both."""
    before, after = np.flatnonzero(person.present[:frame]), np.flatnonzero(person.present[frame:])
    if person.present[frame] or not len(before) or not len(after):
        return False
    gap_s = times_s[frame + after[0]] - times_s[before[-1]]
    return bool(gap_s < MISSED_S and np.isfinite(person.boxes_px[frame]).all())
