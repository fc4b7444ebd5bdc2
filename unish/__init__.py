"""unish: a phone video goes in; the scene, the camera and the people in it come out, in metres."""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "load": "unish.models.hub",
    "reconstruct": "unish.pipeline",
    "UniSH": "unish.models.unish",
    "UniSHConfig": "unish.models.config",
    "Reconstruction": "unish.structures",
    "BodyModel": "unish.body",
}
__all__ = ["BodyModel", "Reconstruction", "UniSH", "UniSHConfig", "__version__", "load", "reconstruct"]

if TYPE_CHECKING:
    from unish.body import BodyModel
    from unish.models.config import UniSHConfig
    from unish.models.hub import load
    from unish.models.unish import UniSH
    from unish.pipeline import reconstruct
    from unish.structures import Reconstruction


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'unish' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
