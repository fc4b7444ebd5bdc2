"""Every error that unish raises on purpose: one sentence saying what was expected, what came, what to do next."""

import errno
import re
from typing import Any


class UniSHError(Exception):
    """Base of all errors raised on purpose; the command line prints it and exits with code 2."""


class InputError(UniSHError, ValueError):
    """What the user handed in cannot be used as it is (a clip, a box, a number, a file)."""


class MissingAssetError(UniSHError, FileNotFoundError):
    """A file that unish needs (weights, a body model, a benchmark folder) is not where it was looked for."""


class MissingDependencyError(UniSHError, ImportError):
    """An optional package is needed for what was asked, and is not installed."""


class CheckpointError(UniSHError):
    """A weights file is truncated, foreign or carries values that are not finite."""


OUT_OF_MEMORY = "out of memory. Take a shorter part of the clip (--start, --end) or fewer frames (--fps)."
_ALLOCATION_FAILED = re.compile(
    r"can'?t allocate memory|cannot allocate memory|out of memory|insufficient memory|failed to allocate|bad_alloc"
    r"|can't start new thread|failed to map segment",
    re.IGNORECASE,
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that there was no memory to be had: PyTorch, OpenCV and loaders of libraries raise their
    own kinds."""
    if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
        return True
    if not isinstance(error, RuntimeError | ImportError | OSError) and type(error).__module__ not in (
        "cv2",
        "av.error",
    ):
        return False
    return bool(_ALLOCATION_FAILED.search(str(error)))


class Interrupted(KeyboardInterrupt):
    """Ctrl-C in the middle of a long clip. `partial` is the `Reconstruction` of the windows that were finished."""

    def __init__(self, partial: Any) -> None:
        super().__init__("stopped by Ctrl-C; the finished windows are in .partial")
        self.partial = partial
