"""Every error that unish raises on purpose: one sentence saying what was expected, what came, what to do next."""

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


class Interrupted(KeyboardInterrupt):
    """Ctrl-C in the middle of a long clip. `partial` is the `Reconstruction` of the windows that were finished."""

    def __init__(self, partial: Any) -> None:
        super().__init__("stopped by Ctrl-C; the finished windows are in .partial")
        self.partial = partial
