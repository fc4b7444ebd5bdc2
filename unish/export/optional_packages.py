"""Whether formats whose packages are extras can be written."""

import importlib.util

from unish.errors import MissingDependencyError


def check_usd() -> None:
    """Raises `MissingDependencyError` without the package usd-core."""
    if importlib.util.find_spec("pxr") is None:
        raise MissingDependencyError(
            "Writing USD needs the package usd-core, which is not installed; install it with: pip install usd-core"
        )


def check_fbx() -> None:
    """Raises `MissingDependencyError` without bpy, Blender as a Python module."""
    if importlib.util.find_spec("bpy") is None:
        raise MissingDependencyError(
            "Writing FBX needs Blender's Python module bpy, which is not installed; with Python 3.11 install it with: "
            "pip install 'bpy==5.0.*'"
        )


def check_mesh() -> None:
    """Raises `MissingDependencyError` without the package fast-simplification."""
    if importlib.util.find_spec("fast_simplification") is None:
        raise MissingDependencyError(
            "A mesh of the scene needs the package fast-simplification, which is not installed; install it with: "
            "pip install fast-simplification"
        )
