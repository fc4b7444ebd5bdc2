"""What a benchmark is: sequences of images with their ground truth, the metrics it reports, and the published rows.

A dataset reader is lazy: a sequence knows its size and its labels, while images and depth are read as they are asked
for.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, UInt8


@dataclass(frozen=True)
class TruePerson:
    """One labelled person of a sequence."""

    id: int
    boxes_px: Float[np.ndarray, "frames 4"]
    """x0, y0, x1, y1 in pixels of the sequence's images: given to the method, as the protocols do."""
    present: Bool[np.ndarray, "frames"]
    """Frames that are scored."""
    joints_world: Float[np.ndarray, "frames 24 3"]
    """SMPL's joints, metres, in the benchmark's own world; NaN where there is no label, which is not scored."""
    vertices_world: Callable[[int], Float[np.ndarray, "vertices 3"]] | None = None
    """The true surface at a frame, metres; None where the benchmark has none or its body file is not installed."""


@dataclass(frozen=True)
class BenchmarkSequence:
    """One sequence: its images, and the ground truth as far as the benchmark has it, in the order of frames."""

    name: str
    frames: int
    fps: float
    size_px: tuple[int, int]
    """(width, height) of the images."""
    image: Callable[[int], UInt8[np.ndarray, "height width 3"]]
    """The image at a frame, RGB."""
    depth_m: Callable[[int], Float[np.ndarray, "height width"]] | None = None
    """True depth along the camera's axis at a frame, metres, 0 where it is unknown."""
    world_from_camera: Float[np.ndarray, "frames 4 4"] | None = None
    """True cameras, OpenCV axes, metres."""
    intrinsics: Float[np.ndarray, "frames 3 3"] | None = None
    """In pixels of the images."""
    people: tuple[TruePerson, ...] = ()
    person_mask: Callable[[int], UInt8[np.ndarray, "height width"]] | None = None
    """Who covers each pixel of the image at a frame: 0 nobody, k for `people[k - 1]`."""


@dataclass(frozen=True)
class MethodRow:
    """One method's row of a table."""

    method: str
    source: str
    """Who measured the numbers, or where they are published."""
    numbers: Mapping[str, float]
    """By the names of `scoring.METRICS`."""


@dataclass(frozen=True)
class Benchmark:
    """A dataset with its protocol."""

    name: str
    """As the command line calls it: "bonn", "emdb2"."""
    title: str
    metrics: tuple[str, ...]
    """Columns of its table, in order; keys of `scoring.METRICS`."""
    sequences: Callable[[Path], tuple[BenchmarkSequence, ...]]
    """Reads the data as downloaded. Raises MissingAssetError or InputError, saying what to download and where to put
    it, when the folder is wrong, a sequence is missing or a file is damaged."""
    sampled_fps: float | None = None
    """Frames per second that the method sees; its people are interpolated to every frame. None: every frame."""
    window: int | None = None
    """Frames per forward pass; None: the whole sequence in one."""
    published: tuple[MethodRow, ...] = ()
