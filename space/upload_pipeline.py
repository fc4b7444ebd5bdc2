"""The way from an upload to a result, for the page and for programs alike."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field

from space.gpu import ON_ZEROGPU, detect_on_gpu, reconstruct_on_gpu
from space.limits import MAX_PEOPLE, check_gpu_time
from space.person_selection import ClipPreview, PeopleSelection, check_people, preview_clip, selected_people
from space.request import ClipRequest, Settings
from space.results import EarlyScene, Result, ResultFolders, write_early_scene, write_scene
from space.tasks import Task
from space.upload_reader import open_upload, read_shots, read_upload
from unish.analysis.fit_report import fit_report
from unish.body import load_body
from unish.errors import InputError
from unish.fitting.fit import fit_bodies
from unish.fitting.lifting import lifted_scene
from unish.people.detection import Box, DetectedPeople, detect_people
from unish.pipeline import map_scene, require_plausible
from unish.structures import Clip, Reconstruction
from unish.utils.progress import Progress, part_of
from unish.viewer import scene_arrays
from unish.viewer.fitted import fitted_change

FindPeople = Callable[[Clip, Task], DetectedPeople]


@dataclass(frozen=True)
class RequestedPeople:
    """Who is to be reconstructed, found once the clip is read."""

    find: FindPeople
    names: dict[int, str] = field(default_factory=dict)


def everybody() -> RequestedPeople:
    """Whoever is detected; the most prominent where those are too many."""

    def find(clip: Clip, task: Task) -> DetectedPeople:
        people = detect_on_gpu(clip, task.id)
        left_out = len(people.tracks) - MAX_PEOPLE
        if left_out <= 0:
            return people
        warning = f"Only the {MAX_PEOPLE} most prominent people were reconstructed; {left_out} were left out."
        return dataclasses.replace(people, tracks=people.tracks[:MAX_PEOPLE], warnings=(*people.warnings, warning))

    return RequestedPeople(find)


def marked(boxes: tuple[Box, ...]) -> RequestedPeople:
    """Those in boxes that a program sends."""
    return RequestedPeople(lambda clip, task: detect_people(clip, boxes=boxes))


def selected(preview: ClipPreview, selection: PeopleSelection) -> RequestedPeople:
    """Those whom a visitor selected in a preview of the clip."""
    return RequestedPeople(lambda clip, task: selected_people(preview, selection, clip), dict(selection.names))


def reconstruct_upload(
    request: ClipRequest,
    people: RequestedPeople,
    settings: Settings,
    folders: ResultFolders,
    task: Task,
    progress: Progress,
    show: Callable[[EarlyScene], None] | None = None,
) -> Result:
    """Reads the part of the upload, reconstructs it, and writes what the viewer shows; `progress` is that of the task.

    Where bodies are to be fitted, `show` is given the scene with the network's bodies meanwhile. Raises `InputError`
    for what the visitor can mend.
    """
    progress(0.0, "Reading video")
    source = open_upload(request)
    settings.priors(source.size)  # what cannot be is said before anything is decoded
    clip = read_upload(request, part_of(progress, 0.0, 0.15), source)
    progress(0.15, "Finding people")
    detected = people.find(clip, task)
    check_people(len(detected.tracks), len(detected.tracks))
    priors = settings.priors(clip.content_size, clip.recorded_focal_mm)
    ids = [track.id for track in detected.tracks]
    for person in priors.heights_m:
        if person not in ids:
            raise InputError(
                f"Known height names person {person}, but the people are {', '.join(map(str, ids))}. Name one of them, "
                f"as in {ids[0]}=1.75."
            )
    if ON_ZEROGPU:
        check_gpu_time(clip, len(ids))
    clip = dataclasses.replace(clip, warnings=clip.warnings + detected.warnings)
    sparse_map = None
    if settings.sfm != "off":
        sparse_map = map_scene(clip, detected.tracks, priors, progress=part_of(progress, 0.3, 0.4))
    scene = reconstruct_on_gpu(clip, detected.tracks, detected.finder, settings.weights, priors, sparse_map, task.id)
    require_plausible(scene)
    scene = _named(scene, people.names)
    progress(0.9, "Preparing the scene")
    body = load_body(None)
    if settings.fit == "off":
        scene = lifted_scene(scene, body, on_keypoints=True)
    drawn = scene_arrays(scene, source=clip)
    if settings.fit == "off":
        return write_scene(folders, scene, fit_report(scene), request.path, drawn)
    early = write_early_scene(folders, drawn) if show else None
    if early and show:
        show(early)
    progress(0.92, "Fitting bodies")
    known, part = tuple(priors.heights_m), part_of(progress, 0.92, 0.98)
    scene = fit_bodies(scene, body, settings.fit, known_heights=known, progress=part)
    change = fitted_change(drawn, scene) if scene.fitting else None
    return write_scene(folders, scene, fit_report(scene), request.path, drawn, change, early)


def preview_upload(request: ClipRequest, folders: ResultFolders, task: Task, progress: Progress) -> ClipPreview:
    """A look at the part of the upload: its shots, small frames of one and who is in them.

    Raises as `reconstruct_upload` does.
    """
    clip, shots = read_shots(request, part_of(progress, 0.0, 0.5))
    progress(0.5, "Finding people")
    preview = preview_clip(clip, request, folders.served, lambda clip: detect_on_gpu(clip, task.id))
    return dataclasses.replace(preview, shots=shots)


def _named(scene: Reconstruction, names: dict[int, str]) -> Reconstruction:
    people = tuple(dataclasses.replace(person, name=names.get(person.id) or person.name) for person in scene.people)
    return dataclasses.replace(scene, people=people)
