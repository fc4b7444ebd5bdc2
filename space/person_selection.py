"""Who is to be reconstructed: people detected in a clip, shown on frames of it, chosen or marked by the visitor."""

import dataclasses
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from space.limits import MAX_PEOPLE
from space.request import ClipRequest, text
from unish.errors import InputError
from unish.people.detection import Box, DetectedPeople, detect_people
from unish.structures import Clip, PersonTrack
from unish.utils.atomic_write import atomic_path
from unish.utils.colors import person_color
from unish.video.shots import Shot

PREVIEW_LONG_SIDE_PX = 640
PREVIEW_FRAMES = 24
SMALLEST_BOX_SHARE = 0.012
"""Of the longer side of the source: about 8 pixels of a preview."""
NOBODY_SELECTED = "No one is selected. Click a person in the preview, or drag a box around one."
NOBODY_DETECTED = "No people found. Drag a box around someone to add them."
_MAX_NAME_LETTERS = 40


@dataclass(frozen=True)
class ClipPreview:
    """A clip as the visitor sees it before the run: some frames in small, and the people detected in it."""

    request: ClipRequest
    """The preview is good for this alone."""
    size: tuple[int, int]
    """(width, height) of the small frames."""
    content_px: tuple[float, float, float, float]
    """What they show of the source, x0, y0, x1, y1 in its pixels: black bars are left out."""
    files: tuple[Path, ...]
    frames: tuple[int, ...]
    """Number of each small frame among the clip's."""
    times_s: tuple[float, ...]
    people: DetectedPeople
    """Boxes in pixels of the source."""
    warnings: tuple[str, ...] = ()
    """What reading the clip had to say."""
    shots: tuple[Shot, ...] = ()
    """Of the part that was asked for; the frames and people are those of one of them."""


def preview_clip(
    clip: Clip, request: ClipRequest, folder: Path, detect: Callable[[Clip], DetectedPeople] = detect_people
) -> ClipPreview:
    """Small frames of a clip, written into a new folder in `folder`, and the people whom `detect` detects in it."""
    frames = np.unique(np.linspace(0, len(clip.frames) - 1, PREVIEW_FRAMES).round().astype(int))
    scale = min(1.0, PREVIEW_LONG_SIDE_PX / max(clip.frames.shape[1:3]))
    width, height = (max(1, round(side * scale)) for side in clip.frames.shape[2:0:-1])
    people = detect(clip)
    made = folder / f"unish-preview-{secrets.token_urlsafe(16)}"
    with atomic_path(made) as new:
        new.mkdir()
        for frame in frames:
            small = cv2.resize(clip.frames[frame], (width, height), interpolation=cv2.INTER_AREA)
            Image.fromarray(small).save(new / f"{frame}.jpg", quality=85)
    tracks = tuple(_boxed(track, clip.boxes_in_source(track.boxes_px)) for track in people.tracks)
    return ClipPreview(
        request=request,
        size=(width, height),
        content_px=clip.content_px,
        files=tuple(made / f"{frame}.jpg" for frame in frames),
        frames=tuple(int(frame) for frame in frames),
        times_s=tuple(float(clip.times_s[frame]) for frame in frames),
        people=dataclasses.replace(people, tracks=tracks),
        warnings=clip.warnings,
    )


def picker_value(preview: ClipPreview, file_data: Callable[[Path], Any] = str) -> dict[str, Any]:
    """What the page's picker shows (space/static/picker.js), in pixels of the source; `file_data` serves a file."""
    tracks = preview.people.tracks
    first_added = 1 + max((track.id for track in tracks), default=0)

    def boxes(track: PersonTrack) -> list[list[float] | None]:
        return [
            [round(float(value), 1) for value in track.boxes_px[frame]] if track.present[frame] else None
            for frame in preview.frames
        ]

    return {
        "preview": {
            "content": list(preview.content_px),
            "frames": [file_data(file) for file in preview.files],
            "times_s": list(preview.times_s),
            "people": [{"id": track.id, "boxes": boxes(track)} for track in tracks],
            "colors": {
                str(person): "#{:02x}{:02x}{:02x}".format(*person_color(person))
                for person in (*(track.id for track in tracks), *range(first_added, first_added + MAX_PEOPLE))
            },
            "first_added": first_added,
            "max_people": MAX_PEOPLE,
            "smallest_share": SMALLEST_BOX_SHARE,
        },
        "selection": None,
    }


@dataclass(frozen=True)
class PeopleSelection:
    """What the visitor made of a preview."""

    chosen: tuple[int, ...]
    """Ids of detected people."""
    added: Mapping[int, Box] = field(default_factory=dict)
    """Id → box that the visitor dragged, in pixels of the source."""
    names: Mapping[int, str] = field(default_factory=dict)
    """Id → name, where the visitor gave one."""

    @staticmethod
    def of(value: object, preview: ClipPreview) -> "PeopleSelection":
        """From what the picker sends; everybody detected where it has sent nothing yet.

        Raises `InputError` when it is not a selection of this preview's people, or nobody is selected.
        """
        ids = tuple(track.id for track in preview.people.tracks)
        sent = value.get("selection") if isinstance(value, Mapping) else None
        if sent is None:
            selection = PeopleSelection(ids[:MAX_PEOPLE])  # the most prominent come first
        else:
            try:
                selection = PeopleSelection(
                    chosen=tuple(person for person in ids if person in [int(one) for one in sent["chosen"]]),
                    added={int(one["id"]): _box(one) for one in sent["added"]},
                    names={
                        int(person): text("A name", name)[:_MAX_NAME_LETTERS] for person, name in sent["names"].items()
                    },
                )
            except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
                raise InputError("Expected a selection of people as the page's preview sends it.") from error
        if set(selection.added) & set(ids):
            raise InputError("Expected new ids for people who were added.")
        check_people(len(selection.chosen) + len(selection.added), len(ids))
        return selection


def check_people(selected: int, detected: int) -> None:
    """Raises `InputError` where nobody is left to be reconstructed, or too many are."""
    if not selected:
        raise InputError(NOBODY_SELECTED if detected else NOBODY_DETECTED)
    if selected > MAX_PEOPLE:
        raise InputError(
            f"At most {MAX_PEOPLE} people can be reconstructed here at once, got {selected}. Leave some out."
        )


def selected_people(preview: ClipPreview, selection: PeopleSelection, clip: Clip) -> DetectedPeople:
    """The people to reconstruct, under the ids that the preview shows. Raises `InputError` for a box off the clip."""
    chosen = [track for track in preview.people.tracks if track.id in selection.chosen]
    tracks = [_boxed(track, clip.boxes_in_frames(track.boxes_px)) for track in chosen]
    marked = detect_people(clip, boxes=list(selection.added.values())).tracks if selection.added else ()
    added = [dataclasses.replace(track, id=person) for person, track in zip(selection.added, marked, strict=True)]
    finder = " and ".join([*([preview.people.finder] if tracks else []), *(["box"] if added else [])])
    return DetectedPeople((*tracks, *added), finder, preview.people.warnings if tracks else ())


def _box(sent: Mapping[str, Any]) -> Box:
    x0, y0, x1, y1 = (float(value) for value in sent["box"])
    return Box(x0, y0, x1, y1, time_s=float(sent["time_s"]))


def _boxed(track: PersonTrack, boxes_px: np.ndarray) -> PersonTrack:
    return dataclasses.replace(track, boxes_px=boxes_px)
