"""What an export can be told, and the values that it may take."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from unish.errors import InputError

if TYPE_CHECKING:
    from unish.body import BodyModel
    from unish.export.scene_mesh import SharedSceneMesh
    from unish.structures import FrameSequence

Unit = Literal["m", "cm"]
UNITS: tuple[Unit, ...] = get_args(Unit)
Layout = Literal["overlay", "side-by-side"]
LAYOUTS: tuple[Layout, ...] = get_args(Layout)
RigName = Literal["smpl", "mixamo", "ue5"]
RIG_NAMES: tuple[RigName, ...] = get_args(RigName)
Scene = Literal["points", "mesh", "both"]
SCENES: tuple[Scene, ...] = get_args(Scene)
MAX_FPS, FALLBACK_FPS = 60.0, 30.0
"""Of motion at an even rate: the highest, and the one where the source's is unknown."""


def check_fps(fps: float | int | None) -> None:
    """Raises `InputError` for a frame rate that motion is not written at."""
    if fps is not None and not 0 < fps <= MAX_FPS:
        raise InputError(f"Expected a frame rate above 0 and up to {MAX_FPS:g} per second, got {fps:g}.")


@dataclass(frozen=True)
class ExportSettings:
    """Options of all formats; each uses those that concern it."""

    clip: "FrameSequence | None" = None
    """The frames that the result was made from, for images and lenses of their size; None uses the network's."""
    max_points: int | None = None
    """Maximum number of scene points; None: the format's default."""
    unit: Unit = "m"
    """Of BVH and .chan files: m or cm."""
    fps: float | int | None = None
    """Frame rate of USD, FBX, BVH, AMASS and .chan files; None: the source's, at most `MAX_FPS`."""
    person: tuple[int, ...] = ()
    """Ids of the people to write; () writes all of them."""
    per_person: bool = False
    """PLY and OBJ meshes: one file per person instead of one for all."""
    layout: Layout = "overlay"
    """Of videos: the people over the clip, alone or beside a view of the world."""
    names: RigName = "smpl"
    """Of the joints in FBX files, and their axes (`unish.export.rigs`)."""
    body: "BodyModel | None" = None
    """The body that posed the people, for GLB, USD, FBX, BVH, NPZ and videos; None: the one that the result names."""
    scene: Scene = "points"
    """What GLB, USD and FBX show of the scene; FBX has no points, so that with "points" it has no scene."""
    max_triangles: int | None = None
    """Maximum number of triangles of the scene's mesh; None: its default."""
    collision: bool = False
    """Whether the format mesh has a closed mesh for collisions as well."""
    shared_mesh: "SharedSceneMesh | None" = None
    """The scene's mesh for GLB, USD, FBX and mesh files of one export; None: each makes its own."""

    def __post_init__(self) -> None:
        check_fps(self.fps)
        if self.unit not in UNITS:
            raise InputError(f"Expected {' or '.join(UNITS)} as the unit, got {self.unit!r}.")
        if self.layout not in LAYOUTS:
            raise InputError(f"Expected {' or '.join(LAYOUTS)} as the layout of videos, got {self.layout!r}.")
        if self.names not in RIG_NAMES:
            raise InputError(f"Expected {', '.join(RIG_NAMES)} as the names of joints, got {self.names!r}.")
        if self.scene not in SCENES:
            raise InputError(f"Expected {', '.join(SCENES)} as what to show of the scene, got {self.scene!r}.")
        if self.max_triangles is not None and self.max_triangles < 1:
            raise InputError(f"Expected a number of triangles of 1 or more, got {self.max_triangles}.")
        if self.max_points is not None and self.max_points < 0:
            raise InputError(f"Expected a number of points of 0 or more, got {self.max_points}.")
