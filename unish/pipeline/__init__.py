"""A clip becomes a Reconstruction: find people, one forward pass a window, one world in metres, posed bodies in it."""

from unish.pipeline.options import Knowledge, Options, Progress
from unish.pipeline.run import load_chosen, reconstruct, reconstruct_clip, reconstruct_tracked, require_people

__all__ = [
    "Knowledge",
    "Options",
    "Progress",
    "load_chosen",
    "reconstruct",
    "reconstruct_clip",
    "reconstruct_tracked",
    "require_people",
]
