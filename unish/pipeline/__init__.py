"""A clip becomes a Reconstruction: detect people, one forward pass per window, one world in metres, posed bodies in it.

Names are imported when they are asked for: `Options` alone needs no torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

_HOMES = {
    "ClipPriors": "unish.pipeline.options",
    "Options": "unish.pipeline.options",
    "Progress": "unish.utils.progress",
    "load_chosen": "unish.pipeline.reconstruction",
    "map_scene": "unish.pipeline.mapping",
    "reconstruct": "unish.pipeline.reconstruction",
    "reconstruct_clip": "unish.pipeline.reconstruction",
    "reconstruct_tracked": "unish.pipeline.reconstruction",
    "require_people": "unish.pipeline.reconstruction",
    "require_plausible": "unish.pipeline.reconstruction",
}
__all__ = [
    "ClipPriors",
    "Options",
    "Progress",
    "load_chosen",
    "map_scene",
    "reconstruct",
    "reconstruct_clip",
    "reconstruct_tracked",
    "require_people",
    "require_plausible",
]

if TYPE_CHECKING:
    from unish.pipeline.mapping import map_scene
    from unish.pipeline.options import ClipPriors, Options
    from unish.pipeline.reconstruction import (
        load_chosen,
        reconstruct,
        reconstruct_clip,
        reconstruct_tracked,
        require_people,
        require_plausible,
    )
    from unish.utils.progress import Progress


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'unish.pipeline' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
