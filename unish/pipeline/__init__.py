"""A clip becomes a Reconstruction: find people, one forward pass a window, one world in metres, posed bodies in it."""

from unish.pipeline.options import ClipPriors, Options, Progress
from unish.pipeline.reconstruct import load_chosen, reconstruct, reconstruct_clip, reconstruct_tracked, require_people

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
