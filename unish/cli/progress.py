"""How far the work is, on stderr."""

import contextlib
import sys
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def progress_bar() -> Iterator[Callable[[float, str], None]]:
    """A bar for as long as the block runs; what it yields takes the share done (0 to 1) and what is being done."""
    from tqdm import tqdm

    with tqdm(total=100, bar_format="{desc:52} {percentage:3.0f}% |{bar}| {elapsed}", file=sys.stderr) as bar:

        def show(share: float, message: str) -> None:
            bar.set_description_str(message, refresh=False)
            bar.update(round(100 * share) - bar.n)

        yield show
