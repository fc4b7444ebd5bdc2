"""Who is to be reconstructed: people found in a clip, numbered on its pictures, picked, removed or drawn by clicks."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import UInt8

from unish.errors import InputError
from unish.people.detection import Box, DetectedPeople, detect_people
from unish.structures import Clip, PersonTrack
from unish.utils.colors import person_color

PREVIEW_LONG_SIDE_PX = 640
PREVIEWS = 24
SMALLEST_BOX_PX = 8
DRAWN_FROM = 101
"""Ids of drawn people begin here while they are picked, so that they never meet those of found ones."""


@dataclass(frozen=True)
class Look:
    """A clip as it was looked at: small pictures of some frames, the people found, and who is wanted."""

    source: tuple[str, float, float | None, float | None]
    """Path, frames a second, start and end: a look is good for these alone."""
    source_size: tuple[int, int]
    pictures: UInt8[np.ndarray, "previews height width 3"]
    frames: tuple[int, ...]
    """Number of each picture among the clip's frames."""
    times_s: tuple[float, ...]
    tracks: tuple[PersonTrack, ...]
    finder: str
    warnings: tuple[str, ...]
    chosen: tuple[int, ...]
    """Ids of the people who are wanted."""
    drawn: tuple[Box, ...] = ()
    """People drawn by the visitor, in pixels of the source."""
    corner: tuple[float, float] | None = None
    """The first corner of a box that is being drawn, in pixels of the pictures."""

    @property
    def scale(self) -> np.ndarray:
        """(x, y) source pixels a picture pixel."""
        height, width = self.pictures.shape[1:3]
        return np.array(self.source_size) / [width, height]

    def choices(self) -> list[tuple[str, int]]:
        """(name, id) of everybody who can be picked."""
        drawn = [(f"Drawn {k + 1}", DRAWN_FROM + k) for k in range(len(self.drawn))]
        return [(f"Person {track.id}", track.id) for track in self.tracks] + drawn


def look_at(
    clip: Clip,
    source: tuple[str, float, float | None, float | None],
    find: Callable[[Clip], DetectedPeople] = detect_people,
) -> Look:
    """Small pictures of a clip and the people in it, whom `find` finds; everybody is wanted at first."""
    frames = np.unique(np.linspace(0, len(clip.frames) - 1, PREVIEWS).round().astype(int))
    scale = min(1.0, PREVIEW_LONG_SIDE_PX / max(clip.frames.shape[1:3]))
    size = tuple(max(1, round(side * scale)) for side in clip.frames.shape[2:0:-1])
    pictures = np.stack([cv2.resize(clip.frames[frame], size, interpolation=cv2.INTER_AREA) for frame in frames])
    found = find(clip)
    return Look(
        source=source,
        source_size=clip.source_size,
        pictures=pictures,
        frames=tuple(int(frame) for frame in frames),
        times_s=tuple(float(clip.times_s[frame]) for frame in frames),
        tracks=tuple(_in_source_pixels(track, clip) for track in found.tracks),
        finder=found.finder,
        warnings=found.warnings,
        chosen=tuple(track.id for track in found.tracks),
    )


def picture_of(look: Look, preview: int) -> UInt8[np.ndarray, "height width 3"]:
    """A picture with a numbered box around everybody; who is not wanted is grey."""
    picture = look.pictures[preview].copy()
    for person, box in _boxes(look, preview):
        wanted = person in look.chosen
        color = person_color(_place(look, person) + 1) if wanted else (128, 128, 128)
        (x0, y0), (x1, y1) = box.reshape(2, 2).round().astype(int)
        cv2.rectangle(picture, (x0, y0), (x1, y1), color, 3 if wanted else 1, cv2.LINE_AA)
        name = str(person) if person < DRAWN_FROM else f"+{person - DRAWN_FROM + 1}"
        width = 16 + 11 * len(name)
        cv2.rectangle(picture, (x0, max(0, y0 - 26)), (x0 + width, max(26, y0)), color, cv2.FILLED)
        where = (x0 + 7, max(0, y0 - 26) + 19)
        cv2.putText(picture, name, where, cv2.FONT_HERSHEY_SIMPLEX, 0.6, (255, 255, 255), 2, cv2.LINE_AA)
    if look.corner is not None:
        at = tuple(round(value) for value in look.corner)
        cv2.drawMarker(picture, at, (255, 255, 255), cv2.MARKER_CROSS, 24, 5, cv2.LINE_AA)
        cv2.drawMarker(picture, at, (30, 30, 30), cv2.MARKER_CROSS, 24, 2, cv2.LINE_AA)
    return picture


def toggled(look: Look, preview: int, x: float, y: float) -> Look:
    """After a click on a picture: the smallest box under it is wanted if it was not, and the other way round."""
    under = [(np.prod(box[2:] - box[:2]), person) for person, box in _boxes(look, preview) if _inside(box, x, y)]
    if not under:
        return look
    person = min(under)[1]
    chosen = set(look.chosen) ^ {person}
    return dataclasses.replace(look, chosen=tuple(sorted(chosen)))


def cornered(look: Look, preview: int, x: float, y: float) -> Look:
    """After a click while a box is drawn: its first corner, or with the second one somebody new.

    Raises `InputError` for a box too small to hold anybody.
    """
    if look.corner is None:
        return dataclasses.replace(look, corner=(x, y))
    low, high = np.minimum(look.corner, (x, y)), np.maximum(look.corner, (x, y))
    if (high - low).min() < SMALLEST_BOX_PX:
        raise InputError("That box is too small to hold a person. Click two opposite corners around somebody.")
    corners = np.concatenate([low * look.scale, high * look.scale])
    box = Box(*(float(value) for value in corners), time_s=look.times_s[preview])
    drawn = (*look.drawn, box)
    chosen = (*look.chosen, DRAWN_FROM + len(look.drawn))
    return dataclasses.replace(look, drawn=drawn, chosen=chosen, corner=None)


def wanted_people(look: Look, clip: Clip) -> tuple[tuple[PersonTrack, ...], str, tuple[str, ...]]:
    """The people to reconstruct, with ids from 1, how they were found, and what there is to say about it.

    Raises `InputError` when nobody is picked.
    """
    found = [_in_frame_pixels(track, clip) for track in look.tracks if track.id in look.chosen]
    boxes = [box for k, box in enumerate(look.drawn) if DRAWN_FROM + k in look.chosen]
    if not found and not boxes:
        trouble = (
            "Nobody is picked. Click a person on the picture, or"
            if look.choices()
            else "Nobody was found: on the picture,"
        )
        raise InputError(f"{trouble} draw a box around one (two opposite corners).")
    drawn = detect_people(clip, boxes=boxes).tracks if boxes else ()
    people = [dataclasses.replace(track, id=number) for number, track in enumerate((*found, *drawn), start=1)]
    finder = " and ".join([*([look.finder] if found else []), *(["box"] if boxes else [])])
    return tuple(people), finder, look.warnings if found else ()


def _boxes(look: Look, preview: int) -> list[tuple[int, np.ndarray]]:
    """(id, box in pixels of the picture) of everybody to be seen in it."""
    frame, per_picture = look.frames[preview], np.tile(1 / look.scale, 2)
    seen = [(track.id, track.boxes_px[frame] * per_picture) for track in look.tracks if track.present[frame]]
    for k, box in enumerate(look.drawn):
        if box.time_s == look.times_s[preview]:
            seen.append((DRAWN_FROM + k, np.array([box.x0, box.y0, box.x1, box.y1]) * per_picture))
    return seen


def _place(look: Look, person: int) -> int:
    return next(place for place, (_, other) in enumerate(look.choices()) if other == person)


def _inside(box: np.ndarray, x: float, y: float) -> bool:
    return bool(box[0] <= x <= box[2] and box[1] <= y <= box[3])


def _in_source_pixels(track: PersonTrack, clip: Clip) -> PersonTrack:
    return dataclasses.replace(track, boxes_px=track.boxes_px / _frame_over_source(clip))


def _in_frame_pixels(track: PersonTrack, clip: Clip) -> PersonTrack:
    return dataclasses.replace(track, boxes_px=track.boxes_px * _frame_over_source(clip))


def _frame_over_source(clip: Clip) -> np.ndarray:
    return np.tile(np.array(clip.frames.shape[2:0:-1]) / np.array(clip.source_size), 2)
