"""What an export can be told, and the values that it may take."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from unish.errors import InputError

if TYPE_CHECKING:
    from unish.body import BodyModel
    from unish.structures import Clip

Unit = Literal["m", "cm"]
UNITS: tuple[Unit, ...] = get_args(Unit)
Layout = Literal["overlay", "side-by-side"]
LAYOUTS: tuple[Layout, ...] = get_args(Layout)


@dataclass(frozen=True)
class ExportSettings:
    """What the formats may be told; each takes what it has a use for."""

    clip: "Clip | None" = None
    """The frames that the result was made from, for pictures at their resolution; None takes the network's."""
    max_points: int | None = None
    """Most points of the scene; None leaves it to the format."""
    unit: Unit = "m"
    """Of BVH files: m or cm."""
    person: tuple[int, ...] = ()
    """Ids of the people to write; () writes all of them."""
    per_person: bool = False
    """PLY and OBJ meshes: a file for each person instead of one for all."""
    layout: Layout = "overlay"
    """Of videos: the people over the clip, alone or beside a view of the world."""
    body: "BodyModel | None" = None
    """Of GLB, BVH, NPZ files and videos: what the people were posed with; None loads the one that the result names."""

    def __post_init__(self) -> None:
        if self.unit not in UNITS:
            raise InputError(f"Expected {' or '.join(UNITS)} as the unit, got {self.unit!r}.")
        if self.layout not in LAYOUTS:
            raise InputError(f"Expected {' or '.join(LAYOUTS)} as the layout of videos, got {self.layout!r}.")
        if self.max_points is not None and self.max_points < 0:
            raise InputError(f"Expected a number of points of 0 or more, got {self.max_points}.")
