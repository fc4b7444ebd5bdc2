"""What a clip has one of: the scale on which statures, masks and points agree, and the height of the floor."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unish.analysis.floor_map import NO_FLOOR, FloorMap
from unish.fitting.contacts import feet_of, find_contacts
from unish.fitting.floor import floor_under
from unish.fitting.person_fit import Subject, first_place
from unish.fitting.problem import posed
from unish.structures import TRUNK_KEYPOINTS

FEWEST_VERTICES = 8
"""That must lie on a person's points, for a frame to tell the scale."""
SURE_TRUNK = 0.625
"""Mean confidence of shoulders and hips from which keypoints tell a person's distance."""
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
FLOOR_LOG = 0.05
"""Least error of what a frame's feet tell of the scale: the floor's slope, a foot in the air."""
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
    floor_log: float = 0.0
    """The same from the feet, where points show the floor: what the cameras' height above it is to be multiplied by,
    for the floor to lie under them."""
    floor_sigma: float = np.inf
    floor_frames: int = 0


def person_scale(subject: Subject, frames: np.ndarray, floor: FloorMap) -> PersonScale | None:
    """From the frames in which box, mask or keypoints tell the distance; None where none does or the person has no
    points.

    Feet count where the points show `floor` at the plane: elsewhere the plane is where the network's feet are, and
    would hold the scale that it should tell.
    """
    points, floors = [], []
    for part in np.array_split(frames, max(1, -(-len(frames) // subject.settings.chunk_frames))):
        problem = subject.problem(part, np.inf, is_sequence=False)
        tells = problem.evidence.edges_counted[:, [1, 3]].all(1) | _sure_trunk(problem.evidence.keypoints_px)
        if not tells.any():
            continue
        course = problem.place(first_place(problem))
        with torch.no_grad():
            body = posed(subject.body, course, problem.view, subject.body.correctives(problem.start.rotations))
            depth, weights = problem.surface(body)
            ratio = (body.vertices_camera[..., 2] / torch.where(weights > 0, depth, 1.0)).log()
            camera_m = problem.view.world_from_camera[:, 2, 3]
            below = camera_m - body.soles_world[..., 2].amin((1, 2))
            feet = (below.clamp(min=0.05) / camera_m.clamp(min=0.2)).log()
            plane = body.soles_world.mean(dim=2).cpu().double().numpy() * [1.0, 1.0, 0.0]
        shown = np.abs(floor.heights_m(plane.reshape(-1, 3)).reshape(plane.shape[:2])) < NEAR_FLOOR_M
        for row in torch.nonzero(tells)[:, 0].tolist():
            seen = weights[row] > 0
            if seen.sum() >= FEWEST_VERTICES:
                points.append(float(ratio[row][seen].median()))
            if shown[row].any():
                floors.append(float(feet[row]))
    own, under = _estimate(points), _estimate(floors)
    return None if own is None else PersonScale(*own, *(under or (0.0, np.inf, 0)))


def _sure_trunk(keypoints_px: Float[Tensor, "frames 17 3"]) -> Bool[Tensor, "frames"]:
    """Frames whose keypoints tell the distance, as of somebody whose feet are out of the picture."""
    return keypoints_px[:, list(TRUNK_KEYPOINTS), 2].mean(-1) >= SURE_TRUNK


def _estimate(logs: list[float]) -> tuple[float, float, int] | None:
    """Median, spread and number of what is finite."""
    values = np.array([value for value in logs if np.isfinite(value)])
    if not len(values):
        return None
    middle = float(np.median(values))
    spread = 1.4826 * float(np.median(np.abs(values - middle))) if len(values) > 2 else 0.1
    return middle, spread, len(values)


def clip_scale(
    scales: Sequence[PersonScale],
    known: Sequence[bool],
    prior_log: float,
    stature_log: float,
    lens_log: float = 0.0,
    people_depth_log: float = 0.0,
) -> float:
    """The scale of the clip from what its people say: their mean by certainty, with the network's (1) for a prior.

    `known`: whose height the user gave. `lens_log`: error of the focal length's logarithm, which all people
    share, since a stature tells a distance by it; `people_depth_log`: that of a person's points over the scene's, the
    same in all frames. 1 where nobody says anything, or hardly anything else.
    """
    weight, total = 0.0, 0.0
    for scale, is_known in zip(scales, known, strict=True):
        stature = KNOWN_STATURE_LOG if is_known else stature_log
        for log_scale, sigma, frames, least, always in (
            (scale.log_scale, scale.sigma, scale.frames, 0.02, people_depth_log),
            (scale.floor_log, scale.floor_sigma, scale.floor_frames, FLOOR_LOG, 0.0),
        ):
            sightings = max(1.0, frames / FRAMES_LIKE_ONE)
            certainty = 1 / (stature**2 + always**2 + max(sigma, least) ** 2 / sightings)
            weight, total = weight + certainty, total + certainty * log_scale
    if not weight:
        return 1.0
    told = 1 / (1 / weight + lens_log**2)
    log_scale = float(np.clip(told * (total / weight) / (told + 1 / prior_log**2), -np.log(3), np.log(3)))
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
        if not standing.any():  # somebody who skates or rides: the lower foot is on the floor, or little above it
            standing = soles == soles.min(1, keepdims=True)
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
