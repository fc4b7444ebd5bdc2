"""Work made ready in a thread while the piece before it is used."""

from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Made = TypeVar("Made")


def prefetch(make: Callable[[Item], Made], items: Sequence[Item]) -> Generator[Made]:
    """`map`, whose next piece is being made while the last one is used. Closing waits for the piece under way."""
    with ThreadPoolExecutor(1) as thread:
        following = [thread.submit(make, item) for item in items[:1]]
        for item in items[1:]:
            ready, following[0] = following[0].result(), thread.submit(make, item)
            yield ready
        for last in following:
            yield last.result()
