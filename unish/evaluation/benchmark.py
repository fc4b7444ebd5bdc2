"""What a benchmark is: sequences of pictures with what is true of them, which measures it reports, who published what.

A reader gives its sequences lazily: a sequence knows its size and its labels, pictures and depth are read as they are
asked for.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, UInt8


@dataclass(frozen=True)
class TruePerson:
    """One labelled person of a sequence."""

    id: int
    boxes_px: Float[np.ndarray, "frames 4"]
    """x0, y0, x1, y1 in pixels of the sequence's pictures: given to the method, as the protocols do."""
    present: Bool[np.ndarray, "frames"]
    """Frames that are scored."""
    joints_world: Float[np.ndarray, "frames 24 3"]
    """SMPL's joints, metres, in the benchmark's own world; NaN where nobody knows them, which is not scored."""
    vertices_world: Callable[[int], Float[np.ndarray, "vertices 3"]] | None = None
    """The true surface at a frame, metres; None where the benchmark has none or its body file is not installed."""


@dataclass(frozen=True)
class BenchmarkSequence:
    """One sequence: pictures, and the truth as far as the benchmark knows it. Everything is in the order of frames."""

    name: str
    frames: int
    fps: float
    size_px: tuple[int, int]
    """(width, height) of the pictures."""
    image: Callable[[int], UInt8[np.ndarray, "height width 3"]]
    """The picture at a frame, RGB."""
    depth_m: Callable[[int], Float[np.ndarray, "height width"]] | None = None
    """True depth along the camera's axis at a frame, metres, 0 where it is unknown."""
    world_from_camera: Float[np.ndarray, "frames 4 4"] | None = None
    """True cameras, OpenCV axes, metres."""
    intrinsics: Float[np.ndarray, "frames 3 3"] | None = None
    """In pixels of the pictures."""
    people: tuple[TruePerson, ...] = ()
    person_mask: Callable[[int], UInt8[np.ndarray, "height width"]] | None = None
    """Whose each pixel of the picture at a frame is: 0 nobody's, k that of `people[k - 1]`."""


@dataclass(frozen=True)
class PublishedRow:
    """Numbers of a paper, for the table."""

    method: str
    source: str
    """Where they are printed."""
    numbers: dict[str, float]
    """By the names of the benchmark's measures."""


@dataclass(frozen=True)
class Benchmark:
    """A data set with its protocol."""

    name: str
    """As the command line calls it: "bonn", "emdb2"."""
    title: str
    measures: tuple[str, ...]
    """Columns of its table, in order; keys of `scoring.MEASURES`."""
    sequences: Callable[[Path], tuple[BenchmarkSequence, ...]]
    """Reads the data as downloaded. Raises MissingAssetError or InputError, saying what to download where, when the
    folder is wrong, a sequence is missing or a file is broken."""
    sampled_fps: float | None = None
    """Frames a second that the method sees; its answer is interpolated to every frame. None: every frame."""
    window: int | None = None
    """Frames of one forward pass; None: the whole sequence in one."""
    published: tuple[PublishedRow, ...] = ()
