"""The result: scene, camera and people of a clip, and its saved form."""

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int, UInt8

from unish.geometry.camera import unproject_depth
from unish.geometry.transforms import transform_points
from unish.saved_result import FORMAT_NAME, FORMAT_VERSION, read_arrays, read_header
from unish.utils.atomic_write import atomic_path
from unish.utils.disk_arrays import write_arrays
from unish.utils.result_files import ARRAYS_FILE, HEADER_FILE, RESULT_FILES

MOST_PEOPLE = 255
"""As many as `Reconstruction.person_mask` can tell apart."""


@dataclass(frozen=True)
class Cameras:
    """The clip's camera at every frame."""

    world_from_camera: Float32[np.ndarray, "frames 4 4"]
    """Metres, OpenCV axes."""
    intrinsics: Float32[np.ndarray, "frames 3 3"]
    """Pixels of `Reconstruction.images`."""
    width_px: int
    height_px: int

    @property
    def centers_world(self) -> Float32[np.ndarray, "frames 3"]:
        """Where the camera stands, in metres."""
        return self.world_from_camera[:, :3, 3]

    def __len__(self) -> int:
        return len(self.world_from_camera)


@dataclass(frozen=True)
class Window:
    """One forward pass of a clip, and how it was joined to the others."""

    start: int
    stop: int
    """Its frames: from start up to, not including, stop."""
    metres_per_unit: float
    """What the network's units of this window were multiplied by, one scale for the clip."""
    votes: tuple[tuple[int, float], ...]
    """(person id, metres per unit) as each person of this window alone says it."""
    join_error: float
    """How far this window's still points lie from those of the one before, after the join: the median of distance
    over depth. 0 for the first."""


@dataclass(frozen=True)
class Person:
    """One person: SMPL-format parameters, and the posed body in the world, in metres."""

    id: int
    name: str
    present: Bool[np.ndarray, "frames"]
    """Where the person was seen; elsewhere the values are carried over from neighbouring frames."""
    confidence: Float32[np.ndarray, "frames"]
    boxes_px: Float32[np.ndarray, "frames 4"]
    """x0, y0, x1, y1 in pixels of `Reconstruction.images`."""
    betas: Float32[np.ndarray, "10"]
    body_rotations: Float32[np.ndarray, "frames 24 3 3"]
    """Index 0: root orientation in the camera's frame."""
    translation_camera: Float32[np.ndarray, "frames 3"]
    """SMPL's `transl` in the camera's frame."""
    root_rotation_world: Float32[np.ndarray, "frames 3 3"]
    translation_world: Float32[np.ndarray, "frames 3"]
    """SMPL's `transl` in the world."""
    joints_world: Float32[np.ndarray, "frames 24 3"]
    vertices_world: Float32[np.ndarray, "frames vertices 3"]
    keypoints_px: Float32[np.ndarray, "frames 17 3"] | None = None
    """The 2D detection, not the body's joints: x, y in pixels of `Reconstruction.images`, and confidence in 0..1, of
    each of `KEYPOINT_NAMES`, left and right as the fit has sorted them; confidence 0 where there is none. None: the
    detector has no keypoints."""
    network_betas: Float32[np.ndarray, "10"] | None = None
    """Shape as the network has it, where the motion above was fitted (see `Reconstruction.fitting`). None, as the
    two below, where the motion above is the network's, or was not fitted to more than keypoints."""
    network_rotations_world: Float32[np.ndarray, "frames 24 3 3"] | None = None
    """The network's rotations; index 0: root orientation in the world."""
    network_translation_world: Float32[np.ndarray, "frames 3"] | None = None
    """The network's `transl`, in the world of this result."""


@dataclass(frozen=True)
class PersonFitting:
    """What became of one person when the bodies were fitted to the clip."""

    id: int
    fitted: bool
    """Whether the result holds the fitted motion; else it is the network's."""
    reason: str
    """Why it is the network's; empty where it is fitted."""
    measures: tuple[tuple[str, float, float], ...]
    """Name, before and after: the measures of the fit report, "outline_iou" (share), "off_keypoints" (% of the box's
    height) and "jerk" (m/s³)."""
    points_moved_cm: float = 0.0
    """How far the person's points lay from the fitted body, at the median, where they were moved onto it; 0 where they
    are the network's."""


@dataclass(frozen=True)
class Fitting:
    """How the bodies were fitted to the clip (`unish.fitting`)."""

    mode: str
    """"auto" or "full"."""
    scale: float
    """What the scene was multiplied by, beyond the network's scale."""
    rise_m: float
    """By how much the world was then raised, for its floor to be at z = 0."""
    people: tuple[PersonFitting, ...]

    @property
    def points_moved_cm(self) -> dict[int, float]:
        """`PersonFitting.points_moved_cm` by person id, of those whose points were moved."""
        return {person.id: person.points_moved_cm for person in self.people if person.points_moved_cm > 0}


@dataclass(frozen=True)
class Provenance:
    """How a result was made; saved and shown with it."""

    source_name: str
    weights: str
    finder: str
    body: str
    device: str
    seed: int
    unish_version: str
    metres_per_unit: float
    """What the network's units were multiplied by."""
    warnings: tuple[str, ...] = ()
    """Weaker paths taken and warnings about the input, in words for the user."""
    source_fps: float | None = None
    """Frame rate of the source; None where it is unknown."""
    content_box: tuple[float, ...] = ()
    """As `Clip.content_box`; () where nothing was left out."""
    focal_from: str = ""
    """Where the focal length is from: "given" by the user, "recorded" by the camera, "measured" from its motion, or
    "estimated" from the images; "" in results that do not say."""
    focal_log_error: float = 0.0
    """Standard deviation of its logarithm about the true one, as far as it is known."""
    mapped_frames: int = 0
    """Frames whose cameras were measured from what they see move; those of the others are the network's."""


@dataclass(frozen=True)
class Reconstruction:
    """The result: scene, camera and people of one clip in one world, in metres.

    The world is upright: z up, the floor at z = 0, the first camera above the origin looking along +y. Arrays of a long
    clip are read from disk as they are looked at.
    """

    images: UInt8[np.ndarray, "frames height width 3"]
    """RGB, as the network saw them."""
    depth_m: Float32[np.ndarray, "frames height width"]
    """Distance along the camera's axis."""
    confidence: Float32[np.ndarray, "frames height width"]
    """In 0..1; below 0.1 a pixel is not to be trusted."""
    person_mask: UInt8[np.ndarray, "frames height width"]
    """0 for the scene, k for pixels of `people[k - 1]`."""
    cameras: Cameras
    people: tuple[Person, ...]
    faces: Int[np.ndarray, "faces 3"] = field(repr=False)
    """Triangles of every person's mesh."""
    times_s: Float[np.ndarray, "frames"]
    fps: float
    world_up: Float32[np.ndarray, "3"]
    """Unit vector away from the ground, as far as it is known."""
    provenance: Provenance
    windows: tuple[Window, ...] = ()
    """The forward passes that it was joined from, in order; each begins before the one before it ends."""
    fitting: Fitting | None = None
    """How the bodies were fitted to the clip; None: all motion is the network's."""
    uncertain_mask: UInt8[np.ndarray, "frames height width"] | None = None
    """k for pixels of nobody that may be of `people[k - 1]` too. None where nothing is uncertain, as after a fit: what
    the body covers is then the person's."""

    def __len__(self) -> int:
        return len(self.images)

    def points_world(self, frame: int) -> Float32[np.ndarray, "height width 3"]:
        """Scene points seen in a frame, one per pixel, in the world, metres. Raises IndexError past the last frame."""
        depth = torch.from_numpy(self.depth_m[frame])
        points_camera = unproject_depth(depth, torch.from_numpy(self.cameras.intrinsics[frame]))
        world_from_camera = torch.from_numpy(self.cameras.world_from_camera[frame])
        return transform_points(world_from_camera, points_camera.flatten(0, 1)).reshape(points_camera.shape).numpy()

    def save(self, folder: str | Path) -> Path:
        """Write `reconstruction.safetensors` and `reconstruction.json` into a folder.

        A result that is there is replaced with its exports, other files stay. Raises InputError when the folder cannot
        be written; a failed save leaves what was there before.
        """
        with atomic_path(folder, RESULT_FILES) as temporary:
            self.save_into(temporary)
        return Path(folder)

    def save_into(self, folder: Path) -> None:
        """Write the two files into `folder`, for callers that put more files beside them before renaming."""
        folder.mkdir(parents=True, exist_ok=True)
        write_arrays(folder / ARRAYS_FILE, self._arrays())
        (folder / HEADER_FILE).write_text(json.dumps(self._header(), indent=2) + "\n")

    @staticmethod
    def load(folder: str | Path) -> "Reconstruction":
        """Read what `save` wrote. Raises MissingAssetError or InputError when it is not there or not whole.

        Every type, shape and number is checked; see `unish.saved_result`.
        """
        return _load(Path(folder))

    def _arrays(self) -> dict[str, np.ndarray]:
        present = [name for name in (*_ARRAYS, *_OPTIONS) if getattr(self, name) is not None]
        arrays = {name: getattr(self, name) for name in present}
        arrays |= {f"cameras.{name}": getattr(self.cameras, name) for name in _CAMERA_ARRAYS}
        for index, person in enumerate(self.people):
            names = (*_PERSON_ARRAYS, *(name for name in _PERSON_OPTIONS if getattr(person, name) is not None))
            arrays |= {f"people.{index}.{name}": getattr(person, name) for name in names}
        return arrays

    def _header(self) -> dict[str, Any]:
        return {
            "format": FORMAT_NAME,
            "format_version": FORMAT_VERSION,
            "frames": len(self),
            "fps": self.fps,
            "width_px": self.cameras.width_px,
            "height_px": self.cameras.height_px,
            "people": [{"id": person.id, "name": person.name} for person in self.people],
            "windows": [dataclasses.asdict(window) for window in self.windows],
            "provenance": dataclasses.asdict(self.provenance),
            **({} if self.fitting is None else {"fitting": dataclasses.asdict(self.fitting)}),
        }


def _array_fields(cls: type, *, optional: bool = False) -> tuple[str, ...]:
    """Names of the fields that are arrays: those that every result has, or those that may be None."""
    plain = {"cameras", "people", "fps", "provenance", "windows", "fitting", "id", "name", "width_px", "height_px"}
    return tuple(f.name for f in dataclasses.fields(cls) if f.name not in plain and (f.default is None) == optional)


_ARRAYS, _OPTIONS = _array_fields(Reconstruction), _array_fields(Reconstruction, optional=True)
_CAMERA_ARRAYS = _array_fields(Cameras)
_PERSON_ARRAYS, _PERSON_OPTIONS = _array_fields(Person), _array_fields(Person, optional=True)


def _hints(cls: type, names: tuple[str, ...], prefix: str = "") -> dict[str, Any]:
    kinds = {f.name: (get_args(f.type) or (f.type,))[0] for f in dataclasses.fields(cls)}  # of `array | None`, array
    return {f"{prefix}{name}": kinds[name] for name in names}


@dataclass(frozen=True)
class _NamedPerson:
    id: int
    name: str


@dataclass(frozen=True)
class _Header:
    """`reconstruction.json`."""

    format: str
    format_version: int
    frames: int
    fps: float
    width_px: int
    height_px: int
    people: tuple[_NamedPerson, ...]
    provenance: Provenance
    windows: tuple[Window, ...] = ()
    fitting: Fitting | None = None

    def __post_init__(self) -> None:
        ids = [person.id for person in self.people]
        if not all(0 < person < 2**31 for person in ids) or len(set(ids)) < len(ids) or len(ids) > MOST_PEOPLE:
            raise ValueError(f"people must have ids from 1, each its own, and be at most {MOST_PEOPLE}")
        if not 0 < self.fps < 1e5 or self.provenance.metres_per_unit <= 0:
            raise ValueError("fps and metres_per_unit must be above 0")
        if not all(0 <= w.start < w.stop <= self.frames and w.metres_per_unit > 0 for w in self.windows):
            raise ValueError(f"windows must lie within the {self.frames} frames, with metres_per_unit above 0")


def _load(folder: Path) -> Reconstruction:
    header = read_header(folder, _Header)
    hints = _hints(Reconstruction, _ARRAYS) | _hints(Cameras, _CAMERA_ARRAYS, "cameras.")
    optional = _hints(Reconstruction, _OPTIONS)
    for index in range(len(header.people)):
        hints |= _hints(Person, _PERSON_ARRAYS, f"people.{index}.")
        optional |= _hints(Person, _PERSON_OPTIONS, f"people.{index}.")
    sizes = (header.frames, header.height_px, header.width_px)
    arrays = read_arrays(folder, hints, sizes, len(header.people), optional)

    def arrays_of(index: int) -> dict[str, np.ndarray]:
        places = {name: f"people.{index}.{name}" for name in (*_PERSON_ARRAYS, *_PERSON_OPTIONS)}
        return {name: arrays[place] for name, place in places.items() if place in arrays}

    people = tuple(Person(named.id, named.name, **arrays_of(index)) for index, named in enumerate(header.people))
    cameras = {name: arrays[f"cameras.{name}"] for name in _CAMERA_ARRAYS}
    return Reconstruction(
        cameras=Cameras(width_px=header.width_px, height_px=header.height_px, **cameras),
        people=people,
        fps=header.fps,
        provenance=header.provenance,
        windows=header.windows,
        fitting=header.fitting,
        **{name: arrays[name] for name in (*_ARRAYS, *_OPTIONS) if name in arrays},
    )
