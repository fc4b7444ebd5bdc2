"""What the user chooses and knows: the same names in Python, on the command line and in the app."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from unish.errors import InputError
from unish.geometry.metric import VALID_CONFIDENCE
from unish.people.detection import Box

FILM_DIAGONAL_MM = math.hypot(36, 24)
HEIGHTS_M = (0.4, 2.6)
CROP_SOURCES = ("original", "network")
PRECISIONS = ("float32", "bfloat16", "float16")


@dataclass(frozen=True)
class ClipPriors:
    """What the user knows of a clip and the network need not guess."""

    focal: float | None = None
    """Focal length over half the picture's diagonal."""
    static_camera: bool = False
    """The camera stands on a tripod."""
    heights_m: Mapping[int, float] = field(default_factory=dict)
    """Person id → how tall, upright, without shoes."""


@dataclass(frozen=True)
class NetworkChoices:
    """What the network is shown of people, and which of its points count; docs/fidelity.md has the authors' choices.

    Raises `InputError` for values out of range.
    """

    crop_source: str = "original"
    """Frames that people are cropped from: "original", or "network" for those at the network's size."""
    box_scale: float | int = 1.0
    """Side of a crop over the longer side of the person's box."""
    confidence: float | int = VALID_CONFIDENCE
    """Pixels above it count for the metric scale and the focal length, 0..1."""

    def __post_init__(self) -> None:
        if self.crop_source not in CROP_SOURCES:
            raise InputError(f"Expected {' or '.join(CROP_SOURCES)} as the crop source, got {self.crop_source!r}.")
        if not 0.5 <= self.box_scale <= 3:
            raise InputError(f"Expected a box scale from 0.5 to 3, got {self.box_scale:g}; 1 is what the network saw.")
        if not 0 <= self.confidence < 1:
            raise InputError(
                f"Expected a confidence from 0 to below 1, got {self.confidence:g}; {VALID_CONFIDENCE} is the default."
            )


@dataclass(frozen=True)
class Options:
    """What the user chose."""

    fps: float | int = 6.0
    """Frames sampled a second; the network was trained on 6."""
    weights: str = "auto"
    boxes: tuple[Box, ...] = ()
    """People drawn by the user; empty: people are found."""
    masks: str | None = None
    """Folder of person masks, one picture a sampled frame."""
    finder: str = "auto"
    """Who looks for people: "auto", "mini" or "sam2"."""
    people: int | None = None
    """How many people there are; None: not known."""
    person: tuple[int, ...] = ()
    """Ids of the people to keep; empty: all."""
    source_fps: float | int | None = None
    """Rate at which the frames of the source were taken; None: as the source says."""
    shot: int | str = "longest"
    """Which part without a cut is reconstructed: the longest, or one by its number from 1."""
    start_s: float | int | None = None
    end_s: float | int | None = None
    focal: float | int | str | None = None
    """The lens: pixels of the source, or "26mm" as phones state it (35 mm film); None: read from the clip."""
    static_camera: bool = False
    """The camera does not move."""
    height: float | int | Mapping[int, float | int] | None = None
    """How tall a person is, metres: of person 1, or by id. Fixes the scale."""
    window: int = 30
    """Frames of one forward pass; longer clips are cut into windows that overlap and are joined."""
    device: str | None = None
    """"cpu", "cuda", "mps", "xpu"; None: the GPU where there is one."""
    precision: str | None = None
    """Of the trunk and its weights, one of `PRECISIONS`; None: bfloat16 on a GPU that has it, float16 on other GPUs,
    float32 on a CPU."""
    body: str | None = None
    """"open", an installed or a given SMPL-format file; None: an installed SMPL, else the open body."""
    seed: int = 0
    crop_source: str = "original"
    box_scale: float | int = 1.0
    confidence: float | int = VALID_CONFIDENCE

    def __post_init__(self) -> None:
        _ = self.network_choices  # refuses what is out of range
        if self.precision not in (None, *PRECISIONS):
            raise InputError(f"Expected {' or '.join(PRECISIONS)} as the precision, got {self.precision!r}.")
        if self.window < 4:
            raise InputError(f"A window needs 4 frames or more, got {self.window}; 30 is what the network expects.")

    @property
    def network_choices(self) -> NetworkChoices:
        """Of these options, those that say what the network is shown and which of its points count."""
        return NetworkChoices(self.crop_source, self.box_scale, self.confidence)

    def priors(self, source_size: tuple[int, int]) -> ClipPriors:
        """What is known of a clip whose source has this (width, height) in pixels.

        Raises `InputError` for a focal length or height that cannot be.
        """
        heights = self.height if isinstance(self.height, Mapping) else {} if self.height is None else {1: self.height}
        for person, height_m in heights.items():
            if not HEIGHTS_M[0] <= height_m <= HEIGHTS_M[1]:
                raise InputError(
                    f"The height of person {person} must be in metres, from {HEIGHTS_M[0]} to {HEIGHTS_M[1]}, got "
                    f"{height_m:g}; 1.75 is somebody of 175 cm."
                )
        focal = None if self.focal is None else parse_focal(self.focal, source_size)
        return ClipPriors(focal, self.static_camera, {int(k): float(v) for k, v in heights.items()})


def parse_focal(focal: float | int | str, source_size: tuple[int, int]) -> float:
    """Focal length over half the diagonal, from pixels of the source or from "26mm", a 35 mm film equivalent.

    Raises `InputError` for anything else, and for lenses that no phone has (fields of view under 3° or over 170°).
    """
    found = re.fullmatch(r"\s*([0-9.]+)\s*(mm|px)?\s*", str(focal))
    try:
        value, unit = float(found[1]), found[2] if found else None  # type: ignore[index]
    except (TypeError, ValueError) as error:
        raise InputError(
            f"A focal length is a number of pixels of the clip, or of millimetres as phones state it, got {focal!r}. "
            "Examples: 1450, 26mm."
        ) from error
    half_diagonal = FILM_DIAGONAL_MM / 2 if unit == "mm" else math.hypot(*source_size) / 2
    relative = value / half_diagonal
    if not 1 / math.tan(math.radians(85)) < relative < 1 / math.tan(math.radians(1.5)):
        angle = f"{2 * math.degrees(math.atan(1 / relative)):.0f}°" if relative > 0 else "no field of view"
        raise InputError(
            f"A focal length of {focal} would mean {angle} across the {source_size[0]}×{source_size[1]} picture's "
            "diagonal; give pixels of the source, or millimetres as in 26mm."
        )
    return relative
