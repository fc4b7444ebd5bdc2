"""Whether USD can be written: its package is an extra."""

import importlib.util

from unish.errors import MissingDependencyError


def check_usd() -> None:
    """Raises `MissingDependencyError` without the package usd-core."""
    if importlib.util.find_spec("pxr") is None:
        raise MissingDependencyError(
            "Writing USD needs the package usd-core, which is not installed; install it with: pip install usd-core"
        )
