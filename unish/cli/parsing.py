"""Words of a command line or a form, as what they mean."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from unish.errors import InputError

if TYPE_CHECKING:
    from unish.people.detection import Box


def parse_box(text: str) -> "Box":
    """A `Box` from "x0,y0,x1,y1" in pixels of the first frame, with "@seconds" for a later one.

    Raises `InputError` for anything else.
    """
    from unish.people.detection import Box

    corners, _, moment = text.partition("@")
    try:
        x0, y0, x1, y1 = (float(part) for part in corners.split(","))
        time_s = float(moment.strip().removesuffix("s")) if moment else None
    except ValueError as error:
        raise InputError(
            f"A box is x0,y0,x1,y1 in pixels, with @seconds for a later frame; got {text!r}. "
            "Example: 120,40,260,400@1.5"
        ) from error
    return Box(x0, y0, x1, y1, time_s=time_s)


def parse_heights(texts: Sequence[str]) -> dict[int, float] | None:
    """Person id → metres from "1.75" (person 1) or "2=1.62". Raises `InputError` for anything else."""
    heights = {}
    for text in texts:
        person, _, height = text.rpartition("=")
        try:
            heights[int(person) if person else 1] = float(height.strip().removesuffix("m"))
        except ValueError as error:
            raise InputError(
                f"A height is a number of metres, or person=metres, got {text!r}. Examples: 1.75, 2=1.62."
            ) from error
    return heights or None


def comma_separated(text: str) -> list[str]:
    """What a text lists, separated by commas."""
    return [part.strip() for part in text.split(",") if part.strip()]
