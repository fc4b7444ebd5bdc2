"""People given by the user: boxes drawn around them, which are tracked, or a folder of masks."""

import dataclasses
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image, UnidentifiedImageError

from unish.errors import InputError
from unish.people.box_tracker import BoxTrackerConfig, track_box
from unish.people.tracking import FrameDetector, interpolated_boxes
from unish.structures import Clip, PersonTrack
from unish.utils.progress import Progress, no_progress
from unish.video.images import images_in_order

_SMALLEST_BOX_PX = 4.0
_FEWEST_MASK_PIXELS = 4


@dataclass(frozen=True)
class Box:
    """A person drawn by the user, in pixels of the source (upright, before any downscaling)."""

    x0: float | int
    y0: float | int
    x1: float | int
    y1: float | int
    time_s: float | int | None = None
    """Time in the source at which it was drawn; None: at the first sampled frame."""


@dataclass(frozen=True)
class BoxPrompts:
    """Boxes drawn by the user, tracked through the clip; people keep the order of the boxes, ids from 1."""

    boxes_px: tuple[tuple[float, float, float, float], ...]
    """In pixels of the frames."""
    frame_indices: tuple[int, ...]
    """The frame in which each was drawn."""
    detector: FrameDetector | None = None
    """Where it detects a person under the tracked box, its box is taken."""
    min_score: float = 0.5
    """Detections below this do not count."""
    config: BoxTrackerConfig = dataclasses.field(default_factory=BoxTrackerConfig)
    name: str = "box"

    @staticmethod
    def for_clip(clip: Clip, boxes: Sequence[Box], detector: FrameDetector | None = None) -> "BoxPrompts":
        """Boxes in pixels of the source, at seconds of the source → boxes in the clip's frames.

        Raises `InputError` for a box outside the image or the clip.
        """
        limits = np.tile(clip.frame_size, 2)
        placed = tuple(
            tuple(np.clip(clip.boxes_in_frames(_checked_box(box, clip.source_size)), 0, limits).tolist())
            for box in boxes
        )
        # Slowly sampled clips jump more from frame to frame.
        radius = BoxTrackerConfig().search_radius * min(max(1.0, 3.0 / clip.fps), 2.5)
        indices = tuple(_frame_at(clip, box.time_s) for box in boxes)
        return BoxPrompts(placed, indices, detector, config=BoxTrackerConfig(search_radius=radius))

    def track(
        self, frames: UInt8[np.ndarray, "frames height width 3"], progress: Progress = no_progress
    ) -> tuple[PersonTrack, ...]:
        """One person per box."""
        detections = None if self.detector is None else self.detector.detect(frames, progress)

        def detected_boxes(index: int) -> Float[np.ndarray, "people 4"]:
            if detections is None:
                return np.empty((0, 4))
            return detections[index].boxes_px[detections[index].scores >= self.min_score]

        tracks = []
        for number, (box, start) in enumerate(zip(self.boxes_px, self.frame_indices, strict=True), start=1):
            track = track_box(frames, np.array(box), start, detected_boxes, self.config)
            seen = np.flatnonzero(track.present)
            boxes = interpolated_boxes(track.boxes_px[seen], seen, len(frames))
            tracks.append(PersonTrack(number, boxes, track.present, track.confidence, track.masks))
        return tuple(tracks)


def _checked_box(box: Box, source_size: tuple[int, int]) -> Float[np.ndarray, "4"]:
    """The part of the box inside the image."""
    corners = np.array([box.x0, box.y0, box.x1, box.y1], float)
    text = ",".join(f"{value:g}" for value in corners)
    if not np.isfinite(corners).all() or box.x1 <= box.x0 or box.y1 <= box.y0:
        raise InputError(
            f"Expected a box x0,y0,x1,y1 with x0 < x1 and y0 < y1 in pixels, got {text}; give the left, top, right "
            "and bottom edges."
        )
    inside = np.clip(corners, 0, np.tile(source_size, 2))
    if np.any(inside[2:] - inside[:2] < _SMALLEST_BOX_PX):
        raise InputError(
            f"Expected a box around a person inside the {source_size[0]}×{source_size[1]} image, got {text}; "
            "coordinates are pixels from the top left corner."
        )
    return inside


def _frame_at(clip: Clip, time_s: float | int | None) -> int:
    if time_s is None:
        return 0
    index = int(np.abs(clip.times_s - time_s).argmin())
    if not abs(clip.times_s[index] - time_s) <= 1 / clip.fps:
        raise InputError(
            f"Expected the time of a box between {clip.times_s[0]:.2f} s and {clip.times_s[-1]:.2f} s, the part of the "
            f"clip that is used, got {time_s:g} s; choose a time in it."
        )
    return index


# ---------------------------------------------------------------- masks given by the user


@dataclass(frozen=True)
class MaskPrompts:
    """Reads people from a folder of PNG label images: 0 for nobody, any other value for the person of that id."""

    folder: Path
    source_frames: tuple[int, ...] = ()
    """Numbers of the frames in the source, to select from masks made for every source frame."""
    content_box: tuple[float, float, float, float] | None = None
    """The part of the masks that the frames show (see `Clip.content_box`)."""
    name: str = "masks"

    def track(
        self, frames: UInt8[np.ndarray, "frames height width 3"], progress: Progress = no_progress
    ) -> tuple[PersonTrack, ...]:
        """One person per label value, ordered by id. Raises `InputError` for masks that do not fit the frames."""
        labels = self._labels(len(frames), frames.shape[1:3])
        values = np.unique(labels)
        values = values[values > 0]
        if not len(values):
            raise InputError(f"Expected people in the masks in {self.folder}, but all are 0; mark a person with 1.")
        per_mask = np.array([frames.shape[2] / labels.shape[2], frames.shape[1] / labels.shape[1]])
        tracks = (track_of_masks(int(value), labels == value, per_mask) for value in values)
        return tuple(track for track in tracks if track is not None)

    def _labels(self, count: int, frame_shape: tuple[int, int]) -> np.ndarray:
        if not self.folder.is_dir():
            raise InputError(f"Expected a folder of PNG masks at {self.folder}, found none; check the path.")
        paths = images_in_order(self.folder, (".png",))
        if len(paths) != count:
            numbered = {int(digits[-1]): path for path in paths if (digits := re.findall(r"\d+", path.stem))}
            if not self.source_frames or not set(self.source_frames) <= numbered.keys():
                raise InputError(
                    f"Expected {count} masks in {self.folder}, one PNG per sampled frame, or one per source frame "
                    f"named by its number from 0, found {len(paths)}; check the frame rate, start and end."
                )
            paths = [numbered[number] for number in self.source_frames]
        labels = [self._content(_read_label_image(path)) for path in paths]
        shape = labels[0].shape
        aspect = math.log((shape[1] / shape[0]) / (frame_shape[1] / frame_shape[0]))
        mismatch = next((path for path, label in zip(paths, labels, strict=True) if label.shape != shape), None)
        if mismatch is not None or abs(aspect) > 0.02:
            other = f" and another size in {mismatch.name}" if mismatch else ""
            raise InputError(
                f"Expected masks of one size with the clip's shape ({frame_shape[1]}×{frame_shape[0]}), got "
                f"{shape[1]}×{shape[0]}{other}; export them again."
            )
        return np.stack(labels)

    def _content(self, labels: np.ndarray) -> np.ndarray:
        if self.content_box is None:
            return labels
        size = np.tile(labels.shape[::-1], 2)
        x0, y0, x1, y1 = (np.array(self.content_box) * size).round().astype(int)
        return labels[y0:y1, x0:x1]


def _read_label_image(path: Path) -> np.ndarray:
    try:
        with Image.open(path) as image:
            label = np.asarray(image)
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise InputError(f"Expected a PNG mask, but {path} cannot be read; export it again.") from error
    if label.ndim != 2:
        raise InputError(
            f"Expected one number per pixel (grey or palette PNG) in {path}, got {label.shape[-1]} channels; "
            "export the masks as label images."
        )
    return label.astype(np.int32)


def track_of_masks(
    number: int, masks: Bool[np.ndarray, "frames height width"], per_mask: Float[np.ndarray, "2"]
) -> PersonTrack | None:
    """A person whose boxes are the extents of the masks; `per_mask` is the frame's size over the masks'. None when
    the masks are empty."""
    present = masks.sum(axis=(1, 2)) >= _FEWEST_MASK_PIXELS
    if not present.any():
        return None
    seen = np.flatnonzero(present)
    boxes = np.array([mask_extent(masks[index]) for index in seen]) * np.tile(per_mask, 2)
    return PersonTrack(number, interpolated_boxes(boxes, seen, len(masks)), present, present.astype(float), masks)


def mask_extent(mask: Bool[np.ndarray, "height width"]) -> tuple[int, int, int, int]:
    """x0, y0, x1, y1 around the pixels that are set, in pixels of the mask; there must be one."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
