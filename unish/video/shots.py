"""Where a film cuts from one shot to the next, on frames sampled a few times a second. Hard cuts only.

Two frames belong to one shot when their colours agree or when one is the other moved a little; a cut changes both. A
flash differs from its neighbours but leaves them alike, so a cut must part all frames on one side from all on the
other. What counts as much follows how restless the shot is anyway.
"""

import dataclasses
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from unish.errors import InputError
from unish.structures import Clip
from unish.video import LONGEST_SHOT

_THUMBNAIL_SIDE_PX = 64
_BINS = 8
_SHIFT_SHARE = 0.2
"""How far the image may move between two frames and still be recognised, as a share of its sides."""


@dataclass(frozen=True)
class ShotConfig:
    """When two frames are of different shots."""

    least_change: float = 0.2
    """A cut changes the image at least this much, 0..1 (see `image_change`)."""
    restlessness: float = 2.5
    """And this many times as much as the median of the frames around it."""
    around_frames: int = 6
    """Frames on either side that say how restless the shot is."""
    flash_frames: int = 1
    """Flashes of up to this many frames are no cut; neither is an insert as short."""


@dataclass(frozen=True)
class _Look:
    """A frame as it is compared: the details of a thumbnail, and the square root of its colour histogram."""

    thumbnail: np.ndarray
    colors: np.ndarray


@dataclass(frozen=True)
class Shot:
    """A part of a clip without a cut: a place of its own, and so a world of its own."""

    number: int
    """From 1, in order."""
    start: int
    stop: int
    """Its frames in the clip: from start up to, not including, stop."""
    start_s: float
    end_s: float
    """Times of its first and its last frame in the source."""


def shots_of(clip: Clip, config: ShotConfig = ShotConfig()) -> tuple[Shot, ...]:
    """The shots of a clip, in order; at least one."""
    ends = [*shot_starts(clip.frames, config), len(clip)]
    return tuple(
        Shot(number, start, stop, float(clip.times_s[start]), float(clip.times_s[stop - 1]))
        for number, (start, stop) in enumerate(pairwise(ends), start=1)
    )


def one_shot(
    clip: Clip, which: int | str, config: ShotConfig = ShotConfig(), shots: tuple[Shot, ...] | None = None
) -> Clip:
    """The clip cut to a single shot: one by its number from 1, or the "longest", which is then said in its warnings.

    `shots`: those of the clip, where they are known already. Raises `InputError` for a number that no shot has.
    """
    shots = shots_of(clip, config) if shots is None else shots
    if which == LONGEST_SHOT:
        shot = max(shots, key=lambda shot: shot.stop - shot.start)
        if len(shots) == 1:
            return clip
        warning = (
            f"The video has {len(shots)} shots: only the longest was used, shot {shot.number}, from "
            f"{shot.start_s:.1f} s to {shot.end_s:.1f} s."
        )
        return dataclasses.replace(clip.part(shot.start, shot.stop), warnings=(*clip.warnings, warning))
    if not isinstance(which, int) or not 1 <= which <= len(shots):
        raise InputError(f"Expected a shot from 1 to {len(shots)}, or {LONGEST_SHOT}, got {which}.")
    shot = shots[which - 1]
    return clip.part(shot.start, shot.stop)


def shot_starts(frames: UInt8[np.ndarray, "frames height width 3"], config: ShotConfig = ShotConfig()) -> list[int]:
    """Numbers of the frames that begin a shot; always holds 0."""
    looks = [_look_of(frame) for frame in frames]
    changes = np.array([image_change(a, b) for a, b in pairwise(looks)])
    starts, reach = [0], config.flash_frames
    for k in range(1, len(looks)):
        if changes[k - 1] < max(config.least_change, config.restlessness * _usual_change(changes, k - 1, config)):
            continue
        before, after = looks[max(starts[-1], k - 1 - reach) : k], looks[k : k + 1 + reach]
        if min(image_change(a, b) for a in before for b in after) >= config.least_change:
            starts.append(k)
    return starts


def _usual_change(changes: Float[np.ndarray, "steps"], index: int, config: ShotConfig) -> float:
    """The median of the changes around one, itself left out."""
    first = max(0, index - config.around_frames)
    around = np.delete(changes[first : index + config.around_frames + 1], index - first)
    return float(np.median(around)) if len(around) else 0.0


def image_change(a: _Look, b: _Look) -> float:
    """How much the image has changed: 0 the same, 1 other colours and other shapes."""
    colors = float(np.sqrt(max(0.0, 1.0 - float(a.colors @ b.colors))))
    likeness = max(_best_match(a.thumbnail, b.thumbnail), _best_match(b.thumbnail, a.thumbnail))
    return colors * (1.0 - max(0.0, likeness))


def _best_match(inner: np.ndarray, outer: np.ndarray) -> float:
    """Correlation of the middle of one thumbnail with the best place in the other, −1..1."""
    height, width = inner.shape[:2]
    dy, dx = round(_SHIFT_SHARE * height), round(_SHIFT_SHARE * width)
    middle = np.ascontiguousarray(inner[dy : height - dy, dx : width - dx])
    return float(np.nanmax(cv2.matchTemplate(outer, middle, cv2.TM_CCOEFF_NORMED)))


def _look_of(frame: UInt8[np.ndarray, "height width 3"]) -> _Look:
    height, width = frame.shape[:2]
    scale = _THUMBNAIL_SIDE_PX / max(height, width)
    size = (max(8, round(width * scale)), max(8, round(height * scale)))
    small = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
    smooth = cv2.GaussianBlur(small.astype(np.float32), (0, 0), 1.0)
    details = smooth - cv2.GaussianBlur(smooth, (0, 0), 8.0)  # floors below and skies above look alike everywhere
    codes = (small.reshape(-1, 3).astype(int) * _BINS // 256) @ np.array([_BINS * _BINS, _BINS, 1])
    counts = np.bincount(codes, minlength=_BINS**3).astype(float)
    return _Look(details, np.sqrt(counts / counts.sum()))
