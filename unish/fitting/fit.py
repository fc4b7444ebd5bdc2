"""Bodies of a result fitted to the clip itself: to what its boxes, masks, points and times say of where people are."""

import dataclasses
import logging
from collections.abc import Callable, Collection

import numpy as np
import torch
from jaxtyping import Int

from unish.analysis.floor_map import FloorMap
from unish.body import BodyModel
from unish.errors import InputError
from unish.fitting.calibrate import PersonScale, clip_scale, find_floor, person_scale
from unish.fitting.lifting import lifted_scene
from unish.fitting.measures import measure, untrusted, worse
from unish.fitting.misleading_keypoints import CLEARLY, WELL_OUTLINED, agreement, may_mislead, with_person
from unish.fitting.person_fit import Subject, blended, chunks, fit_frames, seen_alike, with_course
from unish.fitting.person_points import points_on_bodies
from unish.fitting.problem import Course
from unish.fitting.scene import moved_person, moved_scene
from unish.fitting.settings import FIT_MODES, FitSettings, fit_settings
from unish.fitting.sparse_body import SparseBody
from unish.structures import Fitting, Person, PersonFitting, Reconstruction
from unish.utils.progress import Progress, no_progress

log = logging.getLogger("unish")

LEAST_BOX_PX = 12
"""Height of a box below which it says nothing."""


def fit_bodies(
    scene: Reconstruction,
    body: BodyModel,
    mode: str = "auto",
    *,
    known_heights: Collection[int] = (),
    device: str = "cpu",
    progress: Progress = no_progress,
) -> Reconstruction:
    """The result with its people where the clip shows them, in metres, upright; "off" gives `scene` itself.

    People keep the network's motion where the fit agrees less with the clip than it did, or where there is nothing to
    fit to; `Reconstruction.fitting` says so, and holds the measures of before and after. The network's motion stays in
    `Person.network_*`. `known_heights`: ids of the people whose heights are known. Deterministic on a CPU; an exception
    raised in `progress` cancels it. Raises `InputError` for an unknown mode.
    """
    if mode not in FIT_MODES:
        raise InputError(f"Expected {', '.join(FIT_MODES)} as the fit, got {mode!r}.")
    if mode == "off" or not scene.people:
        return scene
    with torch.inference_mode(False), torch.no_grad():
        return _fitted(scene, body, mode, known_heights, device, progress)


def _fitted(
    scene: Reconstruction, body: BodyModel, mode: str, known: Collection[int], device: str, progress: Progress
) -> Reconstruction:
    settings = fit_settings(mode, scene.provenance.weights)
    reasons = {index: unusable(scene, index) for index in range(len(scene.people))}
    usable = [index for index, reason in reasons.items() if not reason]
    if not usable:
        return dataclasses.replace(scene, fitting=_record(scene, mode, 1.0, 0.0, reasons, {}, {}, {}))
    bodies = {index: _sparse(scene.people[index], body, settings, device) for index in usable}
    progress(0.0, "Fitting bodies: scale and floor")
    lifted = lifted_scene(scene, body)
    subjects = [Subject(lifted, index, bodies[index], settings, device) for index in usable]
    network_floor = FloorMap.of(scene)
    told = {subject.index: person_scale(subject, _some_frames(subject), network_floor) for subject in subjects}
    says = [(index, scale) for index, scale in told.items() if scale is not None]
    ids_known = [scene.people[index].id in known for index, _ in says]
    lens_log = scene.provenance.focal_log_error
    errors = settings.scale_log, settings.stature_log, lens_log, settings.people_depth_log
    scale = clip_scale([scale for _, scale in says], ids_known, *errors)
    sigmas = {
        index: np.inf if own is None else float(np.hypot(own.sigma, settings.surface_share))
        for index, own in told.items()
    }
    floor = network_floor.moved(scale, 0.0)
    larger = moved_scene(lifted, scale, 0.0, body)
    subjects = [
        dataclasses.replace(
            subject, scene=larger, points_gain=_points_gain(told[subject.index], scale, settings, lens_log)
        )
        for subject in subjects
    ]
    camera_m = float(np.median(larger.cameras.centers_world[:, 2]))
    rise_m, floor = find_floor(subjects, sigmas, floor, camera_m)
    start = moved_scene(larger, 1.0, rise_m, body)
    cameras = torch.from_numpy(start.cameras.world_from_camera.astype(np.float64))
    network = scene.people if start is lifted else tuple(seen_alike(person, cameras, body) for person in scene.people)
    people, before, after = list(network), {}, {}
    for done, subject in enumerate(subjects):
        index = subject.index

        def report(share: float, done: int = done, name: str = subject.person.name) -> None:
            progress(0.1 + 0.9 * (done + share) / len(subjects), f"Fitting bodies: {name}")

        subject, untold = dataclasses.replace(subject, scene=start), None
        if may_mislead(subject.person):
            network_alone = dataclasses.replace(scene.people[index], keypoints_px=None)
            untold = with_person(start, index, moved_person(network_alone, scale, rise_m, cameras, body))
        fitted = _best_fitted(subject, untold, sigmas[index], floor, body, report)
        people[index] = _with_network(fitted, network[index])
        before[index] = measure(scene, index, network_floor)
        after[index] = measure(dataclasses.replace(start, people=tuple(people)), index, floor)
        points_sigma = float(np.hypot(sigmas[index], settings.people_depth_log))
        lost = worse(before[index], after[index], untrusted(start, points_sigma))
        if lost or not np.isfinite(fitted.vertices_world).all():
            reasons[index] = f"the fit made it worse ({', '.join(lost) or 'numbers that are not finite'})"
            people[index] = network[index]
    if all(reasons[index] for index in usable):
        return dataclasses.replace(scene, fitting=_record(scene, mode, 1.0, 0.0, reasons, before, after, {}))
    result = dataclasses.replace(start, people=tuple(people))
    off_cm = {index: after[index].get("body_to_points_median", 0.0) for index in usable if not reasons[index]}
    off_cm = {index: off for index, off in off_cm.items() if off > settings.points_off_cm}
    record = _record(scene, mode, scale, rise_m, reasons, before, after, off_cm)
    moved_m, person_mask = points_on_bodies(result, tuple(off_cm), settings.relief_log)
    return dataclasses.replace(result, depth_m=moved_m, person_mask=person_mask, uncertain_mask=None, fitting=record)


def _points_gain(told: PersonScale | None, scale: float, settings: FitSettings, lens_log: float) -> float:
    """What a person's points are multiplied by: of what the clip's scale leaves between body and points, as much as is
    an error of the points rather than of the lens, which the body's distance has."""
    points, lens = settings.people_depth_log**2, lens_log**2
    if told is None or not points:
        return 1.0
    return float(np.exp((told.log_scale - np.log(scale)) * points / (points + lens)))


def unusable(scene: Reconstruction, index: int) -> str:
    """Why nothing can be fitted to a person; empty where something can."""
    person = scene.people[index]
    if not person.present.any():
        return "never seen"
    frames = np.flatnonzero(person.present)
    arrays = (person.body_rotations, person.translation_camera, person.betas, scene.cameras.intrinsics)
    if not all(np.isfinite(array).all() for array in arrays):
        return "the network's motion holds numbers that are not finite"
    boxes = np.asarray(person.boxes_px[frames], np.float64)
    size = np.array([scene.cameras.width_px, scene.cameras.height_px] * 2)
    sound = np.isfinite(boxes).all(1)
    inside = np.clip(boxes, 0, size)
    tall = (inside[:, 3] - inside[:, 1] >= LEAST_BOX_PX) & (inside[:, 2] - inside[:, 0] >= LEAST_BOX_PX / 4)
    if not (sound & tall).any():
        return "no box that the body could be fitted to"
    return ""


def _best_fitted(
    subject: Subject,
    untold: Reconstruction | None,
    sigma: float,
    floor: FloorMap,
    body: BodyModel,
    report: Callable[[float], None],
) -> Person:
    """The person of the subject's scene, fitted there or, where that is clearly better, in the scene `untold`."""
    if untold is None:
        return _fitted_person(subject, sigma, floor, body, report)
    told = _fitted_person(subject, sigma, floor, body, lambda share: report(share / 2))
    agrees = agreement(subject.scene, subject.index, told)
    if agrees >= WELL_OUTLINED:
        return told
    subject_untold = dataclasses.replace(subject, scene=untold)
    without = _fitted_person(subject_untold, sigma, floor, body, lambda share: report((1 + share) / 2))
    if agreement(subject.scene, subject.index, without) <= agrees + CLEARLY:
        return told
    return dataclasses.replace(without, keypoints_px=told.keypoints_px)


def _fitted_person(
    subject: Subject, sigma: float, floor: FloorMap, body: BodyModel, report: Callable[[float], None]
) -> Person:
    """The person of the subject's scene, fitted where present."""
    frames = np.flatnonzero(subject.person.present)
    cameras = torch.from_numpy(subject.scene.cameras.world_from_camera.astype(np.float64))
    return with_course(subject.person, _course(subject, frames, sigma, floor, report), frames, cameras, body)


def _course(
    subject: Subject, frames: Int[np.ndarray, "frames"], sigma: float, floor: FloorMap, report: Callable[[float], None]
) -> Course:
    settings = subject.settings
    course: Course | None = None
    parts = chunks(len(frames), settings.chunk_frames, settings.overlap_frames)
    for number, part in enumerate(parts):
        report(number / len(parts))
        fitted = fit_frames(subject, frames[part.start : part.stop], sigma, floor)
        shared = 0 if course is None else len(course.pelvis) - part.start
        course = fitted if course is None else blended(course, fitted, shared)
    assert course is not None
    return course


def _sparse(person: Person, body: BodyModel, settings: FitSettings, device: str) -> SparseBody:
    return SparseBody.of(body, torch.from_numpy(np.array(person.betas)), settings.vertices, device)


def _some_frames(subject: Subject) -> Int[np.ndarray, "frames"]:
    seen = np.flatnonzero(subject.person.present)
    count = min(len(seen), subject.settings.calibration_frames)
    return seen[np.linspace(0, len(seen) - 1, count).round().astype(int)]


def _with_network(fitted: Person, network: Person) -> Person:
    rotations = np.array(network.body_rotations)
    rotations[:, 0] = network.root_rotation_world
    return dataclasses.replace(
        fitted,
        network_betas=np.array(network.betas),
        network_rotations_world=rotations,
        network_translation_world=np.array(network.translation_world),
    )


def _record(
    scene: Reconstruction,
    mode: str,
    scale: float,
    rise_m: float,
    reasons: dict[int, str],
    before: dict[int, dict[str, float]],
    after: dict[int, dict[str, float]],
    points_off_cm: dict[int, float],
) -> Fitting:
    people = []
    earlier = scene.fitting.points_moved_cm if scene.fitting else {}  # of a scene that is fitted once more
    for index, person in enumerate(scene.people):
        names = [name for name in before.get(index, {}) if name in after[index]]
        measures = tuple((name, before[index][name], after[index][name]) for name in names)
        moved_cm = max(points_off_cm.get(index, 0.0), earlier.get(person.id, 0.0))
        people.append(PersonFitting(person.id, not reasons[index], reasons[index], measures, moved_cm))
        if reasons[index]:
            log.warning(f"{person.name} keeps the network's motion: {reasons[index]}.")
    return Fitting(mode, scale, rise_m, tuple(people))
