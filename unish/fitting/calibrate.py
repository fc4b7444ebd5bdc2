"""What a clip has one of: the scale on which statures, masks and points agree, and the height of the floor."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from unish.fitting.contacts import feet_of, find_contacts
from unish.fitting.floor import FloorMap, floor_under
from unish.fitting.person_fit import Subject, chunks, first_place
from unish.fitting.problem import posed

FEWEST_VERTICES = 8
"""That must lie on a person's points, for a frame to tell the scale."""
FLOOR_FRAMES = 48
"""First frames of a person that the floor's height is taken from."""
FRAMES_LIKE_ONE = 4
"""So many frames err together: as if there were a fourth of them."""
KNOWN_STATURE_LOG = 0.01
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
    """From the frames in which box or mask tell the distance; None where none does or the person has no points."""
    logs = []
    for part in np.array_split(frames, max(1, -(-len(frames) // subject.settings.chunk_frames))):
        problem = subject.problem(part, np.inf, is_sequence=False)
        tells = problem.evidence.edges_counted[:, [1, 3]].all(1) & (problem.evidence.depth_m > 0).any((1, 2))
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
    logs = np.array([value for value in logs if np.isfinite(value)])
    if not len(logs):
        return None
    middle = float(np.median(logs))
    spread = 1.4826 * float(np.median(np.abs(logs - middle))) if len(logs) > 2 else 0.1
    return PersonScale(middle, spread, len(logs))


def clip_scale(scales: Sequence[PersonScale], known: Sequence[bool], prior_log: float, stature_log: float) -> float:
    """The scale of the clip from what its people say: their mean by certainty, with the network's (1) for a prior.

    `known`: whose height the user gave. 1 where nobody says anything, or hardly anything else.
    """
    weight, total = 1 / prior_log**2, 0.0
    for scale, is_known in zip(scales, known, strict=True):
        sightings = max(1.0, scale.frames / FRAMES_LIKE_ONE)
        stature = KNOWN_STATURE_LOG if is_known else stature_log
        certainty = 1 / (stature**2 + max(scale.sigma, 0.02) ** 2 / sightings)
        weight, total = weight + certainty, total + certainty * scale.log_scale
    log_scale = float(np.clip(total / weight, -np.log(3), np.log(3)))
    return float(np.exp(log_scale)) if abs(log_scale) > HANDS_OFF_LOG else 1.0


def floor_rise_m(subjects: Sequence[Subject], sigmas: Mapping[int, float], floor: FloorMap, camera_m: float) -> float:
    """By how much the world has to rise so that the floor's plane lies under the feet.

    0 where the points show a floor under most standing feet: those are then brought onto it. `camera_m`: height of the
    cameras above the plane so far.
    """
    heights, shown = [], []
    for subject in subjects:
        present = np.flatnonzero(subject.person.present)
        for part in chunks(len(present), FLOOR_FRAMES, 0)[:1]:
            frames = present[part.start : part.stop]
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
            shown += np.isfinite(under[standing]).tolist()
    if not heights or np.mean(shown) > 0.5:
        return 0.0
    rise = -float(np.median(heights))
    return rise if CAMERA_HEIGHT_M[0] < camera_m + rise < CAMERA_HEIGHT_M[1] else 0.0
