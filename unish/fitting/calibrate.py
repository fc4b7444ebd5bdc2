"""What a clip has one of: the scale on which statures, masks and points agree, and the height of the floor."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from unish.analysis.floor_map import NO_FLOOR, FloorMap
from unish.fitting.contacts import feet_of, find_contacts
from unish.fitting.floor import floor_under
from unish.fitting.person_fit import Subject, first_place
from unish.fitting.problem import posed

FEWEST_VERTICES = 8
"""That must lie on a person's points, for a frame to tell the scale."""
FLOOR_FRAMES = 48
"""First frames of a person that the floor's height is taken from."""
NEAR_FLOOR_M = 0.12
"""Median distance of standing soles from the points' floor up to which it is their floor."""
EVEN_FLOOR_M = 0.03
FEET_AGREE_M = 0.15
"""Median deviation of the heights of standing feet up to which they stand on one floor."""
FRAMES_LIKE_ONE = 4
"""So many frames err together: as if there were a fourth of them."""
KNOWN_STATURE_LOG = 0.01
LEAST_SPREAD_LOG = 0.02
"""Of what frames say about the scale, however well they agree."""
HANDS_OFF_LOG = 0.01
"""A scale this near to the network's is left as it is."""
CAMERA_HEIGHT_M = (0.2, 6.0)
"""Of a plausible camera above the floor."""


@dataclass(frozen=True)
class PersonScale:
    """What one person says about the scale of the points."""

    log_scale: float
    """Logarithm of what the points' depth is to be multiplied by, to lie on the body where its outline puts it."""
    sigma: float
    """Spread of the frames about it."""
    frames: int


def person_scale(subject: Subject, frames: np.ndarray) -> PersonScale | None:
    """From the frames in which box or mask tell the distance; None where none does or the person has no points.

    The cameras' height above the floor says nothing: where points show no even floor, the floor is where the network's
    feet are, and would hold its scale fast.
    """
    logs = []
    for part in np.array_split(frames, max(1, -(-len(frames) // subject.settings.chunk_frames))):
        problem = subject.problem(part, np.inf, is_sequence=False)
        tells = problem.evidence.edges_counted[:, [1, 3]].all(1)
        if not tells.any():
            continue
        course = problem.place(first_place(problem))
        with torch.no_grad():
            body = posed(subject.body, course, problem.view, subject.body.correctives(problem.start.rotations))
            depth, weights = problem.surface(body)
            ratio = (body.vertices_camera[..., 2] / torch.where(weights > 0, depth, 1.0)).log()
        for row in torch.nonzero(tells)[:, 0].tolist():
            seen = weights[row] > 0
            if seen.sum() >= FEWEST_VERTICES:
                logs.append(float(ratio[row][seen].median()))
    values = np.array([value for value in logs if np.isfinite(value)])
    if not len(values):
        return None
    middle = float(np.median(values))
    spread = 1.4826 * float(np.median(np.abs(values - middle))) if len(values) > 2 else 0.1
    return PersonScale(middle, spread, len(values))


def clip_scale(scales: Sequence[PersonScale], known: Sequence[bool], prior_log: float, stature_log: float) -> float:
    """The scale of the clip from what its people say: their mean by certainty, with the network's (1) for a prior.

    `known`: whose height the user gave. 1 where nobody says anything, or hardly anything else.
    """
    weight, total = 1 / prior_log**2, 0.0
    for scale, is_known in zip(scales, known, strict=True):
        stature = KNOWN_STATURE_LOG if is_known else stature_log
        sightings = max(1.0, scale.frames / FRAMES_LIKE_ONE)
        certainty = 1 / (stature**2 + max(scale.sigma, LEAST_SPREAD_LOG) ** 2 / sightings)
        weight, total = weight + certainty, total + certainty * scale.log_scale
    log_scale = float(np.clip(total / weight, -np.log(3), np.log(3)))
    return float(np.exp(log_scale)) if abs(log_scale) > HANDS_OFF_LOG else 1.0


def find_floor(
    subjects: Sequence[Subject], sigmas: Mapping[int, float], floor: FloorMap, camera_m: float
) -> tuple[float, FloorMap]:
    """By how much the world has to rise for the floor's plane to lie under the feet, and the floors that points show.

    Where the points show a floor under most standing feet, close to their soles, feet are brought onto that floor; it
    becomes the plane where it is even. Else the floor is where the feet are, and the points show none. `camera_m`:
    height of the cameras above the plane so far.
    """
    heights, gaps = [], []
    for subject in subjects:
        frames = np.flatnonzero(subject.person.present)[:FLOOR_FRAMES]
        problem = subject.problem(frames, sigmas[subject.index])
        course = problem.place(first_place(problem))
        with torch.no_grad():
            body = posed(subject.body, course, problem.view, subject.body.correctives(course.rotations))
        soles, _ = floor_under(floor, body.soles_world)
        places = body.soles_world.mean(2).cpu().double().numpy()
        under = floor.heights_m(places.reshape(-1, 3)).reshape(soles.shape)
        times = problem.view.times_s.cpu().double().numpy()
        standing = find_contacts(feet_of(body.joints_world), soles, soles, times).grounded.numpy()
        heights += soles[standing].tolist()
        gaps += (soles - under)[standing].tolist()
    if not heights:
        return 0.0, floor
    soles_m, gaps_m = np.array(heights), np.array(gaps)
    shown = np.isfinite(gaps_m)
    if shown.mean() > 0.5 and np.median(np.abs(gaps_m[shown])) < NEAR_FLOOR_M:
        floors_m = (soles_m - gaps_m)[shown]
        level = float(np.median(floors_m))
        even = np.median(np.abs(floors_m - level)) < EVEN_FLOOR_M < abs(level)
        return (-level, floor.moved(1.0, -level)) if even else (0.0, floor)
    rise = -float(np.median(heights))
    spread = float(np.median(np.abs(np.array(heights) + rise)))
    if spread > FEET_AGREE_M or not CAMERA_HEIGHT_M[0] < camera_m + rise < CAMERA_HEIGHT_M[1]:
        return 0.0, floor
    return rise, NO_FLOOR if shown.any() else floor.moved(1.0, rise)
