"""What the page draws of people besides their meshes: where they face, how far their points lie from them."""

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from scipy.ndimage import gaussian_filter1d
from scipy.spatial import KDTree

from unish.structures import Person, Reconstruction

DISTANCE_RANGE_M = 0.3
UNKNOWN_DISTANCE = 255
HEADING_SMOOTHING_S = 0.7


def heading(person: Person, display_from_world: np.ndarray, fps: float) -> Float[np.ndarray, "frames"]:
    """Where the person faces, as an angle in the floor plane of the display frame, radians from its x axis.

    Smooth in time, for a camera that stays behind; 0 where it is not known.
    """
    forward = np.nan_to_num(person.root_rotation_world[..., 2] @ display_from_world.T).astype(np.float64)
    smooth = gaussian_filter1d(forward[:, :2], max(1e-3, HEADING_SMOOTHING_S * fps), axis=0, mode="nearest")
    return np.arctan2(smooth[:, 1], smooth[:, 0])


def distance_bytes(
    points_world: Float[np.ndarray, "points 3"],
    frame: Int[np.ndarray, "points"],
    person_number: UInt8[np.ndarray, "points"],
    reconstruction: Reconstruction,
    present: Bool[np.ndarray, "people frames"],
) -> UInt8[np.ndarray, "points"]:
    """How far each person's point lies from the nearest vertex of that person's body in its frame.

    `person_number` k is `Reconstruction.people[k - 1]`. 0 to 254 stand for 0 to `DISTANCE_RANGE_M` metres and what is
    farther, `UNKNOWN_DISTANCE` where there is no body.
    """
    distance = np.full(len(points_world), UNKNOWN_DISTANCE, np.uint8)
    for index, person in enumerate(reconstruction.people):
        for number in np.flatnonzero(present[index]):
            here = np.flatnonzero((person_number == index + 1) & (frame == number))
            if len(here):
                # Each tree is asked little: one that is built fast is best.
                tree = KDTree(person.vertices_world[number], balanced_tree=False, compact_nodes=False)
                metres = tree.query(points_world[here])[0]
                distance[here] = np.round(np.minimum(metres / DISTANCE_RANGE_M, 1) * (UNKNOWN_DISTANCE - 1))
    return distance
