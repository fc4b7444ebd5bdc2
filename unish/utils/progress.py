"""How work in progress is reported."""

from collections.abc import Callable
from typing import TypeAlias

Progress: TypeAlias = Callable[[float, str], None]
"""Called with the share done, 0 to 1, and what is being done; an exception raised in it cancels the work."""


def no_progress(share: float, message: str) -> None:
    """Reports to nobody."""


def part_of(progress: Progress, start: float, stop: float, message: str | None = None) -> Progress:
    """Progress of a part of the work that goes from `start` to `stop` of the whole; `message` replaces the part's."""
    return lambda share, own: progress(start + (stop - start) * share, own if message is None else message)
