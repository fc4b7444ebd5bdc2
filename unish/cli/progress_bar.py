"""How far the work is, on stderr."""

import contextlib
import logging
import sys
from collections.abc import Iterator

from unish.utils.progress import Progress


@contextlib.contextmanager
def progress_bar() -> Iterator[Progress]:
    """A bar for as long as the block runs; what it yields takes the share done (0 to 1) and what is being done."""
    from tqdm import tqdm

    with tqdm(total=100, bar_format="{desc:52} {percentage:3.0f}% |{bar}| {elapsed}", file=sys.stderr) as bar:

        def show(share: float, message: str) -> None:
            bar.set_description_str(message, refresh=False)
            bar.update(round(100 * share) - bar.n)

        yield show


@contextlib.contextmanager
def without_warnings() -> Iterator[None]:
    """For many results: the warnings that every one of them has are not logged each time."""
    log = logging.getLogger("unish")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)
