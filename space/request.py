"""What a visitor asks for, checked: which part of which upload, and with what settings.

Values come from anybody who can send a request, so each is taken for what it claims to be only after a look at it.
"""

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from space.limits import FPS_RANGE, MAX_FRAMES, MAX_PEOPLE, MAX_TEXT_LETTERS
from unish.cli.parsing import parse_box, parse_heights
from unish.errors import InputError
from unish.export import FORMATS, ExportSettings, check_formats
from unish.export.settings import RIG_NAMES, SCENES, RigName, Scene
from unish.people.detection import Box
from unish.pipeline import ClipPriors, Options
from unish.video import LONGEST_SHOT

DEFAULT_FPS = Options().fps
_Choice = TypeVar("_Choice", bound=str)


@dataclass(frozen=True)
class ClipRequest:
    """Which part of an upload is wanted, and how densely sampled."""

    path: Path
    fps: float
    start_s: float = 0.0
    end_s: float | None = None
    """None: the end of the video."""
    max_frames: int = MAX_FRAMES
    shot: int | str = LONGEST_SHOT
    """Which part between cuts: the longest, or one by its number from 1."""

    def with_shot(self, shot: object) -> "ClipRequest":
        """The same part, of another shot. Raises `InputError` for anything but a number or "longest"."""
        name = text("Shot", shot) or LONGEST_SHOT
        if name != LONGEST_SHOT and not re.fullmatch(r"[0-9]{1,4}", name):
            raise InputError(f"Shot must be a number or {LONGEST_SHOT}, got {name[:40]!r}.")
        return dataclasses.replace(self, shot=name if name == LONGEST_SHOT else int(name))

    @staticmethod
    def of(path: Path, fps: object = DEFAULT_FPS, start_s: object = None, end_s: object = None) -> "ClipRequest":
        """From the values of a form or a program. Raises `InputError` for what cannot be."""
        lowest, highest = FPS_RANGE
        rate = _number("Frames per second", fps)
        if not lowest <= rate <= highest:
            raise InputError(f"Frames per second must be from {lowest:g} to {highest:g}, got {rate:g}.")
        start = _seconds("From", start_s) or 0.0
        end = _seconds("To", end_s)
        if start < 0:
            raise InputError(f"From must be 0 seconds or later, got {start:g}.")
        if end is not None and end <= start:
            raise InputError(f"To must be later than From, got {start:g} s to {end:g} s.")
        return ClipRequest(path, rate, start, end)


@dataclass(frozen=True)
class Settings:
    """How a clip is reconstructed."""

    weights: str
    focal: str | None = None
    """As in `Options`."""
    static_camera: bool = False
    height: str = ""
    """"1.75" for person 1, "2=1.62" for person 2."""
    fit: str = Options.fit
    """As in `Options`."""
    sfm: str = Options.sfm
    """As in `Options`; the server's choice."""

    @staticmethod
    def of(
        offered: Mapping[str, str],
        weights: object,
        focal: object = "",
        static_camera: object = False,
        height: object = "",
        fit: object = True,
        sfm: str = Options.sfm,
    ) -> "Settings":
        """From the values of a form or a program; `offered`: what may be asked for → what is loaded.

        Raises `InputError` for weights that are not offered, and for values of a wrong kind.
        """
        if not isinstance(weights, str) or weights not in offered:  # a visitor names none of the server's files
            raise InputError(f"Expected weights among {', '.join(offered)}, got {str(weights)[:40]!r}.")
        if not isinstance(static_camera, bool | None):
            raise InputError(f"Expected yes or no for a camera on a tripod, got {str(static_camera)[:40]!r}.")
        if not isinstance(fit, bool | None):
            raise InputError(f"Expected yes or no for fitting bodies, got {str(fit)[:40]!r}.")
        known = text("Focal length", focal) or None, bool(static_camera), text("Height", height)
        return Settings(offered[weights], *known, Options.fit if fit in (True, None) else "off", sfm)

    def priors(self, source_size: tuple[int, int], recorded_focal_mm: float | None = None) -> ClipPriors:
        """As `Options.priors`. Raises `InputError` for what cannot be."""
        heights = parse_heights(self.height.replace(",", " ").split())
        options = Options(focal=self.focal, static_camera=self.static_camera, height=heights)
        return options.priors(source_size, recorded_focal_mm)


@dataclass(frozen=True)
class ExportChoices:
    """Which files for other programs are wanted. Raises `InputError` for what cannot be."""

    formats: tuple[str, ...] = ()
    """Each once, in any order."""
    scene: Scene = ExportSettings.scene
    """What GLB and USD show of the scene."""
    fbx_scene: bool = False
    """Whether FBX has the scene, as a mesh."""
    names: RigName = ExportSettings.names
    """Of the bones in FBX."""

    def __post_init__(self) -> None:
        check_formats(self.formats)

    @staticmethod
    def of(formats: object, scene: object, fbx_scene: object, names: object) -> "ExportChoices":
        """From the values of a form. Raises `InputError` for values of a wrong kind."""
        if not isinstance(fbx_scene, bool | None):
            raise InputError(f"Expected yes or no for the scene in FBX, got {str(fbx_scene)[:40]!r}.")
        return ExportChoices(
            parse_formats(formats),
            _one_of("Scene", scene, SCENES, ExportChoices.scene),
            bool(fbx_scene),
            _one_of("Bone names", names, RIG_NAMES, ExportChoices.names),
        )

    @property
    def slug(self) -> str:
        """For the name of a file: the formats, and how they differ from their usual selves."""
        return "-".join(name + self._variant(name) for name in FORMATS if name in self.formats)

    def by_scene(self) -> dict[Scene, list[str]]:
        """The formats by what they show of the scene; at most one of the groups needs its mesh."""
        shown: dict[str, Scene] = {name: self._scene_of(name) for name in self.formats if FORMATS[name].shows_scene}
        meshed = set(shown.values()) - {"points"}
        with_mesh: Scene = meshed.pop() if meshed else "points"
        groups: dict[Scene, list[str]] = {}
        for name in self.formats:
            groups.setdefault(shown.get(name, with_mesh), []).append(name)
        return groups

    def _scene_of(self, name: str) -> Scene:
        if name != "fbx":
            return self.scene
        if not self.fbx_scene:
            return "points"  # which FBX does not have
        return "mesh" if self.scene == "points" else self.scene  # FBX takes "both" as "mesh"

    def _variant(self, name: str) -> str:
        if name == "fbx":
            return f"_{self.names}" + "_scene" * self.fbx_scene
        return f"_{self.scene}" if FORMATS[name].shows_scene and self.scene != "points" else ""


def parse_boxes(boxes: object) -> tuple[Box, ...]:
    """People marked by a program, one box a line: x0,y0,x1,y1 in pixels of the first frame, @seconds for a later one.

    Raises `InputError` for anything else, and for too many.
    """
    lines = [line for line in text("Boxes", boxes).splitlines() if line.strip()]
    if len(lines) > MAX_PEOPLE:
        raise InputError(f"At most {MAX_PEOPLE} people can be reconstructed here at once, got {len(lines)} boxes.")
    return tuple(parse_box(line) for line in lines)


def parse_formats(formats: object) -> tuple[str, ...]:
    """Names of export formats, as a list or separated by commas. Raises `InputError` for one that does not exist."""
    if isinstance(formats, list | tuple):
        names = tuple(text("A format", name) for name in formats[: len(FORMATS)])
    else:
        names = tuple(name.strip() for name in text("Formats", formats).split(",") if name.strip())
    check_formats(names)
    return tuple(dict.fromkeys(names))


def text(name: str, value: object) -> str:
    """A text that may be left out. Raises `InputError` for anything else, and for one that is too long."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise InputError(f"{name} must be a text, got {type(value).__name__}.")
    if len(value) > MAX_TEXT_LETTERS:
        raise InputError(f"{name} must have at most {MAX_TEXT_LETTERS} letters, got {len(value)}.")
    return value.strip()


def _one_of(name: str, value: object, choices: Sequence[_Choice], default: _Choice) -> _Choice:
    wanted = text(name, value) or default
    for choice in choices:
        if choice == wanted:
            return choice
    raise InputError(f"{name} must be one of {', '.join(choices)}, got {wanted[:40]!r}.")


def _seconds(name: str, value: object) -> float | None:
    """A moment as a number, or in a form as text: 83, 83.5 or 1:23. None where it is left out."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    if not isinstance(value, str):
        return _number(name, value)
    match = re.fullmatch(r"(?:(\d{1,6}):)?(\d{1,9}(?:\.\d*)?)\s*s?", text(name, value))
    if not match:
        raise InputError(f"{name} must be a time in seconds, as 83 or 1:23, got {value[:40]!r}.")
    return _number(name, 60.0 * int(match[1] or 0) + float(match[2]))


def _number(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not _finite(value):
        raise InputError(f"{name} must be a number, got {str(value)[:40]!r}.")
    return float(value)


def _finite(value: float | int) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond any float
        return False
