"""Tells a visitor how far the work is and what is left of it, and breaks it off for one who has cancelled."""

import time
from collections.abc import Callable
from typing import Any

from unish.errors import InputError

NETWORK_FROM, NETWORK_TO = 0.3, 0.9
"""The share of the work that windows are: they take equally long, so the time left can be told."""
_stopped: set[str] = set()


def break_off(visitor: str) -> None:
    """The visitor has cancelled."""
    _stopped.add(visitor)


def go_on(visitor: str) -> None:
    """The visitor begins anew."""
    _stopped.discard(visitor)


def report_to(visitor: str, bar: Any, clock: Callable[[], float] = time.monotonic) -> Callable[[float, str], None]:
    """What the pipeline reports to, once for each piece of work: (share done, what is happening).

    `bar` is a `gradio.Progress`. The report raises `InputError` for a visitor who has cancelled.
    """
    began: list[float] = []

    def report(share: float, message: str) -> None:
        if visitor in _stopped:
            raise InputError("Cancelled. Nothing was changed.")
        if NETWORK_FROM <= share < NETWORK_TO and not began:
            began.append(clock())
        left = time_left(share, clock() - began[0]) if began else None
        bar(share, desc=message if left is None else f"{message} · {left} left")

    return report


def time_left(share: float, elapsed_s: float) -> str | None:
    """In words how long windows will go on, from how long those before took; None where that cannot be said."""
    done = (share - NETWORK_FROM) / (NETWORK_TO - NETWORK_FROM)
    if not 0 < done < 1:
        return None
    seconds = elapsed_s * (1 - done) / done
    return f"about {max(1, round(seconds))} s" if seconds < 90 else f"about {round(seconds / 60)} min"
