"""A reconstruction in other programs' formats, one exporter a file; `FORMATS` lists them all (docs/exports.md)."""

import importlib
from typing import TYPE_CHECKING, Any

from unish.export.formats import FORMATS, Format, check_formats, export, installed_formats
from unish.export.settings import ExportSettings

_NAMES = ("bvh", "chan", "colmap", "fbx", "glb", "mesh", "npz", "obj", "ply", "robot", "usd", "video")
_HOMES = {f"write_{name}": f"unish.export.{name}" for name in _NAMES}
__all__ = [
    "FORMATS",
    "ExportSettings",
    "Format",
    "check_formats",
    "export",
    "installed_formats",
    "write_bvh",
    "write_chan",
    "write_colmap",
    "write_fbx",
    "write_glb",
    "write_mesh",
    "write_npz",
    "write_obj",
    "write_ply",
    "write_robot",
    "write_usd",
    "write_video",
]

if TYPE_CHECKING:
    from unish.export.bvh import write_bvh
    from unish.export.chan import write_chan
    from unish.export.colmap import write_colmap
    from unish.export.fbx import write_fbx
    from unish.export.glb import write_glb
    from unish.export.mesh import write_mesh
    from unish.export.npz import write_npz
    from unish.export.obj import write_obj
    from unish.export.ply import write_ply
    from unish.export.robot import write_robot
    from unish.export.usd import write_usd
    from unish.export.video import write_video


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'unish.export' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
