"""Each format's writer, called with the settings that concern it; what it imports is loaded when it is asked for."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from unish.export.settings import ExportSettings
from unish.utils.atomic_write import atomic_path
from unish.utils.result_files import EXPORT_FILES

_MESH_SHARE = 0.5
"""Of the work on a file with the scene's mesh, what making the mesh takes."""


def glb(reconstruction: Any, path: Path, settings: ExportSettings, report: Callable[[float], None]) -> None:
    from unish.export.glb import write_glb

    options = {**_budget(settings), **_scene(settings, report)}
    write_glb(_only(reconstruction, settings), path, **options, body=settings.body, clip=settings.clip)


def bvh(reconstruction: Any, path: Path, settings: ExportSettings, report: Callable[[float], None]) -> None:
    from unish.export.bvh import write_bvh

    with atomic_path(path, EXPORT_FILES["bvh"]) as folder:
        folder.mkdir()
        write_bvh(_only(reconstruction, settings), folder, unit=settings.unit, body=settings.body, fps=settings.fps)


def npz(reconstruction: Any, path: Path, settings: ExportSettings, report: Callable[[float], None]) -> None:
    from unish.export.npz import write_npz

    with atomic_path(path, EXPORT_FILES["npz"]) as folder:
        folder.mkdir()
        scene = _only(reconstruction, settings)
        write_npz(scene, folder, body=settings.body, fps=settings.fps, clip=settings.clip)


def robot(reconstruction: Any, path: Path, settings: ExportSettings, report: Callable[[float], None]) -> None:
    from unish.export.robot import write_robot

    write_robot(_only(reconstruction, settings), path, settings.body, settings.fps, progress=report)


def check_robot(settings: ExportSettings) -> None:
    from unish.export.robot import robot_fps

    robot_fps(settings.fps)


def chan(reconstruction: Any, path: Path, settings: ExportSettings, report: Callable[[float], None]) -> None:
    from unish.export.chan import write_chan

    write_chan(reconstruction, path, settings.clip, unit=settings.unit, fps=settings.fps)


def usd(reconstruction: Any, path: Path, settings: ExportSettings, report: Callable[[float], None]) -> None:
    from unish.export.usd import write_usd

    scene = _only(reconstruction, settings)
    options = {**_budget(settings), **_scene(settings, report)}
    write_usd(scene, path, settings.clip, **options, body=settings.body, fps=settings.fps)


def mesh(reconstruction: Any, path: Path, settings: ExportSettings, report: Callable[[float], None]) -> None:
    from unish.export.mesh import write_mesh

    write_mesh(reconstruction, path, **_triangles(settings), collision=settings.collision, progress=report)


def fbx(reconstruction: Any, path: Path, settings: ExportSettings, report: Callable[[float], None]) -> None:
    from unish.export.fbx import write_fbx

    scene, options = _only(reconstruction, settings), _scene(settings, report)
    start = 0.0 if settings.scene == "points" else _MESH_SHARE

    def rest(share: float) -> None:
        report(start + (1 - start) * share)

    write_fbx(
        scene, path, settings.clip, settings.names, body=settings.body, fps=settings.fps, progress=rest, **options
    )


def ply(reconstruction: Any, path: Path, settings: ExportSettings, report: Callable[[float], None]) -> None:
    from unish.export.ply import write_ply

    write_ply(reconstruction, path, **_budget(settings), **_people(settings), progress=report)


def obj(reconstruction: Any, path: Path, settings: ExportSettings, report: Callable[[float], None]) -> None:
    from unish.export.obj import write_obj

    write_obj(reconstruction, path, **_people(settings), progress=report)


def colmap(reconstruction: Any, path: Path, settings: ExportSettings, report: Callable[[float], None]) -> None:
    from unish.export.colmap import write_colmap

    write_colmap(reconstruction, path, settings.clip, **_budget(settings), progress=report)


def video(reconstruction: Any, path: Path, settings: ExportSettings, report: Callable[[float], None]) -> None:
    from unish.export.video import write_video

    scene = _only(reconstruction, settings)
    write_video(scene, path, settings.clip, settings.layout, body=settings.body, progress=report)


def _budget(settings: ExportSettings) -> dict[str, Any]:
    return {} if settings.max_points is None else {"max_points": settings.max_points}


def _scene(settings: ExportSettings, report: Callable[[float], None]) -> dict[str, Any]:
    """What shows the scene; its mesh, which takes long, is made here so that `report` tells how far it is."""
    if settings.scene != "points" and settings.shared_mesh:
        settings.shared_mesh.mesh(lambda share: report(_MESH_SHARE * share))
    return {"scene": settings.scene, **_triangles(settings)}


def _triangles(settings: ExportSettings) -> dict[str, Any]:
    budget = {} if settings.max_triangles is None else {"max_triangles": settings.max_triangles}
    return {**budget, "shared_mesh": settings.shared_mesh}


def _people(settings: ExportSettings) -> dict[str, Any]:
    return {"person": settings.person, "per_person": settings.per_person}


def _only(reconstruction: Any, settings: ExportSettings) -> Any:
    """The result with the people asked for. Its mask still names all of them: nobody becomes part of the scene."""
    from unish.export.person_files import chosen_people

    return dataclasses.replace(reconstruction, people=chosen_people(reconstruction, settings.person))
