"""A clip becomes a Reconstruction: find people, one forward pass a window, one world in metres, posed bodies in it."""

from unish.pipeline.options import ClipPriors, Options
from unish.pipeline.reconstruct import load_chosen, reconstruct, reconstruct_clip, reconstruct_tracked, require_people
from unish.utils.progress import Progress

__all__ = [
    "ClipPriors",
    "Options",
    "Progress",
    "load_chosen",
    "reconstruct",
    "reconstruct_clip",
    "reconstruct_tracked",
    "require_people",
]
