"""The clip that goes in, and the people followed in it."""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, UInt8

KEYPOINT_NAMES = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle",
    "right_ankle",
)  # fmt: skip
"""COCO's 17 keypoints, in the order of `keypoints_px`; left and right are the person's own."""
TRUNK_KEYPOINTS = (5, 6, 11, 12)
"""Shoulders and hips among them."""


@dataclass(frozen=True)
class Clip:
    """Frames sampled from a video, upright, at their full resolution (or reduced once when very large)."""

    frames: UInt8[np.ndarray, "frames height width 3"]
    """RGB."""
    times_s: Float[np.ndarray, "frames"]
    """When each frame is shown in the source, in seconds from its start."""
    fps: float
    """Sampling rate really reached; the network's clock."""
    source_name: str
    source_size: tuple[int, int]
    """(width, height) of the source after its rotation, in pixels, before any reduction."""
    warnings: tuple[str, ...] = ()
    source_frames: tuple[int, ...] = ()
    """Number of each frame in the source, from 0; empty when it is not known."""
    content_box: tuple[float, float, float, float] | None = None
    """The part of the source's image that `frames` show, x0, y0, x1, y1 as shares of its width and height: black bars
    around it were left out. None: all of it."""
    recorded_focal_mm: float | None = None
    """Focal length that the camera wrote into the source, in millimetres of 35 mm film; None: it wrote none."""

    @property
    def content_size(self) -> tuple[int, int]:
        """(width, height) of what `frames` show, in pixels of the source."""
        if self.content_box is None:
            return self.source_size
        x0, y0, x1, y1 = self.content_box
        return round((x1 - x0) * self.source_size[0]), round((y1 - y0) * self.source_size[1])

    @property
    def content_px(self) -> tuple[float, float, float, float]:
        """What `frames` show, x0, y0, x1, y1 in pixels of the source."""
        width, height = self.source_size
        x0, y0, x1, y1 = self.content_box or (0, 0, 1, 1)
        return x0 * width, y0 * height, x1 * width, y1 * height

    def boxes_in_frames(self, boxes_source: Float[np.ndarray, "*batch 4"]) -> Float[np.ndarray, "*batch 4"]:
        """Boxes x0, y0, x1, y1 in pixels of the source, in pixels of `frames`."""
        corner, scale = self._frames_over_source()
        return (boxes_source - corner) * scale

    def boxes_in_source(self, boxes_frames: Float[np.ndarray, "*batch 4"]) -> Float[np.ndarray, "*batch 4"]:
        """Boxes x0, y0, x1, y1 in pixels of `frames`, in pixels of the source."""
        corner, scale = self._frames_over_source()
        return boxes_frames / scale + corner

    def _frames_over_source(self) -> tuple[np.ndarray, np.ndarray]:
        x0, y0, x1, y1 = self.content_px
        return np.array([x0, y0, x0, y0]), np.tile(np.array(self.frame_size) / [x1 - x0, y1 - y0], 2)

    @property
    def source_fps(self) -> float:
        """Frame rate of the source, from its frames' numbers and times; the sampling rate where those are unknown."""
        steps, seconds = np.diff(self.source_frames), np.diff(self.times_s)
        if len(steps) == 0 or (steps <= 0).any() or (seconds <= 0).any():
            return self.fps
        return float(np.median(steps / seconds))

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def frame_size(self) -> tuple[int, int]:
        """(width, height) of `frames`, in pixels."""
        return self.frames.shape[2], self.frames.shape[1]

    def read(self, indices: Sequence[int]) -> Iterator[UInt8[np.ndarray, "height width 3"]]:
        """RGB of the frames of these indices."""
        for index in indices:
            yield np.asarray(self.frames[index])

    def part(self, start: int, stop: int) -> "Clip":
        """The frames from `start` up to, not including, `stop`."""
        return dataclasses.replace(
            self,
            frames=self.frames[start:stop],
            times_s=self.times_s[start:stop],
            source_frames=self.source_frames[start:stop],
        )


@runtime_checkable
class FrameSequence(Protocol):
    """Frames with their times that are read one after the other: a `Clip`, or frames that stay in their file."""

    @property
    def times_s(self) -> Float[np.ndarray, "frames"]: ...

    @property
    def fps(self) -> float: ...

    @property
    def source_name(self) -> str: ...

    @property
    def frame_size(self) -> tuple[int, int]:
        """(width, height), in pixels."""
        ...

    def read(self, indices: Sequence[int]) -> Iterator[UInt8[np.ndarray, "height width 3"]]:
        """RGB of the frames of these rising indices."""
        ...


@dataclass(frozen=True)
class PersonTrack:
    """One person followed through a clip."""

    id: int
    boxes_px: Float[np.ndarray, "frames 4"]
    """x0, y0, x1, y1 in pixels of `Clip.frames`; filled in from neighbours where absent."""
    present: Bool[np.ndarray, "frames"]
    confidence: Float[np.ndarray, "frames"]
    masks: Bool[np.ndarray, "frames height width"] | None = None
    """Pixels of the person, at any one resolution with the frames' aspect ratio."""
    keypoints_px: Float[np.ndarray, "frames 17 3"] | None = None
    """x, y in pixels of `Clip.frames`, and confidence in 0..1, of each of `KEYPOINT_NAMES`; confidence 0 where the
    person was not detected. None: the detector has no keypoints."""
    uncertain_masks: Bool[np.ndarray, "frames height width"] | None = None
    """Pixels beyond `masks`, at their resolution, that may be the person's too. None: nothing is known of such."""
