"""What the user chooses and knows: the same names and defaults in Python, on the command line and in the app."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from unish.errors import InputError
from unish.fitting.settings import FIT_MODES
from unish.geometry import FILM_DIAGONAL_MM, VALID_CONFIDENCE
from unish.video import LONGEST_SHOT, TRAINED_FPS

if TYPE_CHECKING:
    from unish.people.prompts import Box

ESTIMATE = "estimate"
RECORDED_FOCAL_LOG_ERROR = 0.05
"""Of what phones record; a guess, since stabilisation crops videos by an amount that is not written down."""
SFM_MODES = ("auto", "off")
HEIGHT_RANGE_M = (0.4, 2.6)
CROP_SOURCES = ("original", "network")
PRECISIONS = ("float32", "bfloat16", "float16")
MIN_WINDOW_FRAMES = 4


@dataclass(frozen=True)
class ClipPriors:
    """What is known about a clip, so that it need not be estimated."""

    focal: float | None = None
    """Focal length over half the frame's diagonal."""
    focal_from: str = "given"
    """Where that is from: "given" by the user, "recorded" by the camera, or "measured" from its motion."""
    focal_log_error: float = 0.0
    """Standard deviation of its logarithm."""
    static_camera: bool = False
    """The camera stands on a tripod."""
    heights_m: Mapping[int, float] = field(default_factory=dict)
    """Person id → how tall, upright, without shoes."""


@dataclass(frozen=True)
class NetworkChoices:
    """What the network sees of people, and which of its points are valid; docs/fidelity.md has the authors' choices.

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

    fps: float | int = TRAINED_FPS
    """Frames sampled per second."""
    weights: str = "auto"
    boxes: "tuple[Box, ...]" = ()
    """People drawn by the user; empty: people are detected."""
    masks: str | None = None
    """Folder of person masks, one image per sampled frame."""
    finder: str = "auto"
    """Person detection: "auto", "mini" or "sam2"."""
    people: int | None = None
    """How many people there are; None: not known."""
    person: tuple[int, ...] = ()
    """Ids of the people to keep; empty: all."""
    source_fps: float | int | None = None
    """Rate at which the frames of the source were taken; None: as the source says."""
    shot: int | str = LONGEST_SHOT
    """Which part without a cut is reconstructed: the longest, or one by its number from 1."""
    start_s: float | int | None = None
    end_s: float | int | None = None
    focal: float | int | str | None = None
    """Focal length: pixels of the source, "26mm" as phones state it (35 mm film), or "estimate" for what its
    motion measures or the network says; None: what the camera wrote into the source, else the same."""
    static_camera: bool = False
    """The camera does not move."""
    sfm: str = "auto"
    """Camera, lens and depth measured by structure from motion: "auto", where the camera moves enough, or "off"."""
    height: float | int | Mapping[int, float | int] | None = None
    """How tall a person is, metres: of person 1, or by id. Fixes the scale."""
    window: int = 30
    """Frames per forward pass; longer clips are cut into overlapping windows that are aligned."""
    device: str | None = None
    """"cpu", "cuda", "mps", "xpu"; None: the GPU where there is one."""
    precision: str | None = None
    """Of the trunk and its weights, one of `PRECISIONS`; None: bfloat16 on a GPU that has it, float16 on other GPUs,
    float32 on a CPU."""
    body: str | None = None
    """"open", an installed or a given SMPL-format file; None: an installed SMPL, else the open body."""
    seed: int = 0
    fit: str = "auto"
    """Bodies fitted to the clip's boxes, masks, points and times: "auto", "full" (slower, more of the body), or "off",
    the network's motion (of the mini also lifted, and placed on keypoints in closed form)."""
    crop_source: str = NetworkChoices.crop_source
    box_scale: float | int = NetworkChoices.box_scale
    confidence: float | int = NetworkChoices.confidence

    def __post_init__(self) -> None:
        _ = self.network_choices  # refuses what is out of range
        if self.precision not in (None, *PRECISIONS):
            raise InputError(f"Expected {' or '.join(PRECISIONS)} as the precision, got {self.precision!r}.")
        if self.fit not in FIT_MODES:
            raise InputError(f"Expected {', '.join(FIT_MODES)} as the fit of bodies, got {self.fit!r}.")
        if self.sfm not in SFM_MODES:
            raise InputError(f"Expected {' or '.join(SFM_MODES)} for structure from motion, got {self.sfm!r}.")
        if not 0 <= self.seed < 2**63:
            raise InputError(f"Expected a seed from 0 to 2**63 - 1, got {str(self.seed)[:40]}; 0 is the default.")
        if self.window < MIN_WINDOW_FRAMES:
            raise InputError(
                f"Expected a window of {MIN_WINDOW_FRAMES} frames or more, got {self.window}; "
                f"{Options.window} is what the network was trained on."
            )

    @property
    def network_choices(self) -> NetworkChoices:
        """Of these options, those that say what the network is shown and which of its points are valid."""
        return NetworkChoices(self.crop_source, self.box_scale, self.confidence)

    def priors(self, source_size: tuple[int, int], recorded_focal_mm: float | None = None) -> ClipPriors:
        """What is known of a clip whose source has this (width, height) in pixels, and of its lens from the camera.

        Raises `InputError` for an impossible focal length or height.
        """
        heights = self.height if isinstance(self.height, Mapping) else {} if self.height is None else {1: self.height}
        for person, height_m in heights.items():
            if not HEIGHT_RANGE_M[0] <= height_m <= HEIGHT_RANGE_M[1]:
                raise InputError(
                    f"Expected the height of person {person} in metres, from {HEIGHT_RANGE_M[0]} to "
                    f"{HEIGHT_RANGE_M[1]}, got {height_m:g}; 1.75 is somebody of 175 cm."
                )
        is_recorded = self.focal is None and recorded_focal_mm is not None
        focal = f"{recorded_focal_mm}mm" if is_recorded else self.focal
        relative = None if focal in (None, ESTIMATE) else parse_focal(focal, source_size)
        source, error = ("recorded", RECORDED_FOCAL_LOG_ERROR) if is_recorded else ("given", 0.0)
        heights_m = {int(person): float(height_m) for person, height_m in heights.items()}
        return ClipPriors(relative, source, error, self.static_camera, heights_m)


def parse_focal(focal: float | int | str, source_size: tuple[int, int]) -> float:
    """Focal length over half the diagonal, from pixels of the source or from "26mm", a 35 mm film equivalent.

    Raises `InputError` for anything else, and for lenses that no phone has (fields of view under 3° or over 170°).
    """
    match = re.fullmatch(r"\s*([0-9.]+)\s*(mm|px)?\s*", str(focal))
    try:
        value, unit = float(match[1]), match[2] if match else None  # type: ignore[index]
    except (TypeError, ValueError) as error:
        raise InputError(
            f"Expected a focal length in pixels of the video, or in millimetres as phones state it, got {focal!r}. "
            f"Examples: 1450, 26mm, {ESTIMATE}."
        ) from error
    half_diagonal = FILM_DIAGONAL_MM / 2 if unit == "mm" else math.hypot(*source_size) / 2
    relative = value / half_diagonal
    if not 1 / math.tan(math.radians(85)) < relative < 1 / math.tan(math.radians(1.5)):
        too, angle = ("short" if relative < 1 else "long"), 2 * math.degrees(math.atan2(1, relative))
        advice = f"Did you mean {value:g}mm?" if unit is None and 8 <= value <= 300 else "Examples: 1450, 26mm."
        raise InputError(
            f"A focal length of {value:g} {'mm' if unit == 'mm' else 'pixels'} is too {too} for this "
            f"{source_size[0]}×{source_size[1]} video ({angle:.0f}° across its diagonal). {advice}"
        )
    return relative
