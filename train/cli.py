"""How every training command ends on bad input: one sentence on stderr and exit code 2."""

import contextlib
import sys
from collections.abc import Iterator

from unish.errors import UniSHError


@contextlib.contextmanager
def command_line_errors() -> Iterator[None]:
    """Turn our own errors into their sentence and exit code 2; a Ctrl-C into exit code 130."""
    try:
        yield
    except UniSHError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        sys.exit(130)
