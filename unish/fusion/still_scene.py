"""What stands still in a clip: its frames without the people, and features followed where the camera hardly moves."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float, Float32, UInt8

from unish.fusion.colmap_worker import image_name
from unish.fusion.turning_camera import SharedFeatures
from unish.structures import Clip, PersonTrack
from unish.structures.presence import is_missed

LONG_SIDE_PX = 800
"""Of the frames in which features are followed."""
PERSON_MARGIN = 0.015
"""Nearer to a person than this share of the long side nothing counts as still."""
STILL_SHARE = 0.01
"""A camera whose image moves less than this share of the long side all through the clip is taken to stand still."""
STILL_PAIRS = 6
MOST_CORNERS = 200
RETURN_PX = 0.7
"""A feature that is followed to another frame and back must return so near to where it was."""


def features_of_standing_camera(
    clip: Clip, tracks: Sequence[PersonTrack], frames: Sequence[int]
) -> SharedFeatures | None:
    """Where the other frames show the features of the first; None where the camera moves, or nothing can be followed.

    Frames are counted by their place in `frames`.
    """
    places = np.linspace(0, len(frames) - 1, min(len(frames), STILL_PAIRS + 1)).round().astype(int).tolist()
    pairs = itertools.pairwise(frames[place] for place in places)
    if any(_followed(_Corners.of(clip, tracks, before), _grey(clip, after)).moves for before, after in pairs):
        return None
    corners = _Corners.of(clip, tracks, frames[0])
    matches = [_followed(corners, _grey(clip, frame)) for frame in frames[1:]]
    counts = [len(match.start_px) for match in matches]
    if not sum(counts):
        return None
    size = np.array(corners.grey.shape[::-1])
    ends = (np.concatenate([getattr(match, end) for match in matches]) for end in ("start_px", "end_px"))
    uv = [(end + 0.5 - size / 2) / (np.hypot(*size) / 2) for end in ends]
    return SharedFeatures(np.zeros(sum(counts), int), np.repeat(np.arange(1, len(frames)), counts), *uv)


@dataclass(frozen=True)
class _Corners:
    """A frame and what can be followed from it, beside the people."""

    grey: UInt8[np.ndarray, "height width"]
    places_px: Float32[np.ndarray, "corners 1 2"]

    @staticmethod
    def of(clip: Clip, tracks: Sequence[PersonTrack], frame: int) -> "_Corners":
        grey = _grey(clip, frame)
        still = still_mask(clip, tracks, frame, (grey.shape[1], grey.shape[0]))
        found = cv2.goodFeaturesToTrack(grey, MOST_CORNERS, 0.01, 8, mask=still)
        return _Corners(grey, np.zeros((0, 1, 2), np.float32) if found is None else found)


@dataclass(frozen=True)
class _Followed:
    """Corners of one frame and where they are in another."""

    start_px: Float[np.ndarray, "corners 2"]
    end_px: Float[np.ndarray, "corners 2"]
    share: float
    """Of the corners that could be followed."""

    @property
    def moves(self) -> bool:
        """Whether the camera has moved, or looks elsewhere."""
        if self.share < 0.5:
            return True
        distances = np.linalg.norm(self.end_px - self.start_px, axis=1)
        return bool(len(distances) and np.median(distances) > STILL_SHARE * LONG_SIDE_PX)


def _followed(corners: _Corners, after: UInt8[np.ndarray, "height width"]) -> _Followed:
    before, places = corners.grey, corners.places_px
    if not len(places):
        return _Followed(np.zeros((0, 2)), np.zeros((0, 2)), 1.0)
    moved, found, _ = cv2.calcOpticalFlowPyrLK(before, after, places, np.zeros_like(places))
    back, returned, _ = cv2.calcOpticalFlowPyrLK(after, before, moved, np.zeros_like(places))
    kept = (found.ravel() > 0) & (returned.ravel() > 0)
    kept &= np.linalg.norm((back - places).reshape(-1, 2), axis=1) < RETURN_PX
    start, end = (points.reshape(-1, 2)[kept].astype(np.float64) for points in (places, moved))
    return _Followed(start, end, float(kept.mean()))


def _grey(clip: Clip, frame: int) -> UInt8[np.ndarray, "height width"]:
    return cv2.cvtColor(scaled(clip, frame, LONG_SIDE_PX), cv2.COLOR_RGB2GRAY)


# --- images ----------------------------------------------------------------------------------------------------------


def scaled(clip: Clip, frame: int, long_side_px: int) -> UInt8[np.ndarray, "height width 3"]:
    """A frame scaled, up or down, to this long side."""
    image = np.asarray(clip.frames[frame])
    factor = long_side_px / max(image.shape)
    size = round(image.shape[1] * factor), round(image.shape[0] * factor)
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC)


def still_mask(
    clip: Clip, tracks: Sequence[PersonTrack], frame: int, size: tuple[int, int]
) -> UInt8[np.ndarray, "height width"]:
    """255 clear of all people, else 0; `size` is (width, height) of the scaled frame."""
    width, height = clip.frame_size
    people = np.zeros((size[1], size[0]), np.uint8)
    for track in tracks:
        if not (track.present[frame] or is_missed(track, clip.times_s, frame)):
            continue
        if track.masks is not None and track.masks[frame].any():
            shown = np.asarray(track.masks[frame]).astype(np.uint8)
            people[cv2.resize(shown, size, interpolation=cv2.INTER_NEAREST) > 0] = 1
        else:
            ends = track.boxes_px[frame] * np.tile([size[0] / width, size[1] / height], 2)
            x0, y0, x1, y1 = np.clip(ends, 0, [*size, *size]).round().astype(int)
            people[y0:y1, x0:x1] = 1
    margin_px = round(PERSON_MARGIN * max(size))
    return 255 * (1 - cv2.dilate(people, np.ones((2 * margin_px + 1,) * 2, np.uint8)))


def write_images(
    clip: Clip, tracks: Sequence[PersonTrack], frames: Sequence[int], long_side_px: int, folder: Path
) -> tuple[int, int]:
    """Scaled frames and masks of what is still as files named by their place in `frames`; their (width, height)."""
    (folder / "images").mkdir()
    (folder / "masks").mkdir()
    size = 0, 0
    for place, frame in enumerate(frames):
        image = scaled(clip, frame, long_side_px)
        size = image.shape[1], image.shape[0]
        cv2.imwrite(str(folder / "images" / image_name(place)), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        cv2.imwrite(str(folder / "masks" / f"{image_name(place)}.png"), still_mask(clip, tracks, frame, size))
    return size
