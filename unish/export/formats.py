"""The formats that a result can be written in: one list for the command, for Python and for the app.

A format's writer, and what it imports, is loaded when it is asked for.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, get_args

from unish.errors import InputError, MissingDependencyError
from unish.export.optional_packages import check_fbx, check_mesh, check_usd
from unish.export.settings import ExportSettings, Layout, RigName, Scene, Unit
from unish.utils.atomic_write import atomic_path
from unish.utils.progress import Progress
from unish.utils.result_files import EXPORT_FILES

if TYPE_CHECKING:
    from unish.body import BodyModel
    from unish.structures import FrameSequence, Reconstruction

Tool = Literal[
    "Blender and other 3-D editors",
    "Unreal, Unity, Maya",
    "Nuke and other compositors",
    "Gaussian splats",
    "Robots",
    "Python",
    "Video players",
]
TOOLS: tuple[Tool, ...] = get_args(Tool)
ALL = "all"
"""In place of the names of formats."""
_MESH_SHARE = 0.5
"""Of the work on a file with the scene's mesh, what making the mesh takes."""
Writer = Callable[[Any, Path, ExportSettings, Callable[[float], None]], object]


@dataclass(frozen=True)
class Format:
    """One way to write a result."""

    target: str
    """Name of the file or folder that is written."""
    summary: str
    """What it holds, in a few words."""
    write: Writer
    """Writes a Reconstruction under a path, whole or not at all, and says how far it is (0 to 1)."""
    mark: str = ""
    """A folder in which this pattern finds something was written by the format; none for a format of one file."""
    of_people: bool = False
    """Without people there is nothing to write."""
    of_clip: bool = False
    """Frames of the clip, or their lens, are in it."""
    shows_scene: bool = False
    """The scene is in it, as `ExportSettings.scene` says."""
    tool: Tool = "Blender and other 3-D editors"
    """Who opens it: the group in which the app offers it."""
    check_settings: Callable[[ExportSettings], object] | None = None
    """Raises `InputError` for settings that this format refuses, before any format is written."""
    check_packages: Callable[[], None] | None = None
    """Raises `MissingDependencyError` where an optional package that the format needs is not installed."""


def export(
    reconstruction: "Reconstruction",
    folder: str | Path,
    formats: Sequence[str],
    clip: "FrameSequence | None" = None,
    progress: Progress | None = None,
    *,
    overwrite: bool = False,
    max_points: int | None = None,
    unit: Unit = "m",
    fps: float | int | None = None,
    person: Sequence[int] = (),
    per_person: bool = False,
    layout: Layout = "overlay",
    names: RigName = "smpl",
    scene: Scene = "points",
    max_triangles: int | None = None,
    collision: bool = False,
    body: "BodyModel | None" = None,
) -> dict[str, Path]:
    """Write a result into `folder` in each of the `formats`; returns where each was written.

    `clip`, the frames that the result was made from, gives COLMAP and MP4 images of its size. `ExportSettings` has the
    rest. `progress` is called with the share done and what is being written. What exists is replaced only with
    `overwrite`, and only where unish wrote it. Raises `InputError` for a format or a person that does not exist, for
    a place that is taken, and as the formats' writers do; what was written before that stays.
    """
    from unish.export.person_files import chosen_people
    from unish.export.scene_mesh import SharedSceneMesh

    settings = ExportSettings(
        clip, max_points, unit, fps, tuple(person), per_person, layout, names, body, scene, max_triangles, collision
    )
    people = chosen_people(reconstruction, settings.person)
    targets = check_places(Path(folder), formats, overwrite)
    if scene != "points" and any(FORMATS[name].shows_scene for name in targets):
        check_mesh()
    for name in targets:
        if FORMATS[name].of_people and not people:
            raise InputError(f"The result has no people, so there is nothing to write as {name}; leave it out.")
        if check := FORMATS[name].check_settings:
            check(settings)
    settings = dataclasses.replace(settings, shared_mesh=SharedSceneMesh(reconstruction, max_triangles))
    report = progress or (lambda share, message: None)
    for index, (name, path) in enumerate(targets.items()):

        def show(share: float, start: int = index, message: str = f"Writing {path.name}") -> None:
            report((start + share) / len(targets), message)

        show(0.0)
        FORMATS[name].write(reconstruction, path, settings, show)
    report(1.0, "Written")
    return targets


def check_formats(formats: Sequence[str]) -> None:
    """Raises `InputError` for the name of a format that does not exist, `MissingDependencyError` for one whose package
    is not installed."""
    for name in formats:
        if name not in FORMATS:
            raise InputError(f"Expected formats among {', '.join(FORMATS)}, got {name!r}.")
        if check := FORMATS[name].check_packages:
            check()


def named_formats(names: str) -> list[str]:
    """The formats that `--to` lists, separated by commas; `ALL` stands for those that can be written here, whose
    packages are installed. Names are checked by `check_formats`."""
    listed = [name.strip() for name in names.split(",") if name.strip()]
    return list(dict.fromkeys(name for one in listed for name in (installed_formats() if one == ALL else [one])))


def installed_formats() -> dict[str, Format]:
    """The formats whose packages are installed, by their name on the command line."""
    return {name: chosen for name, chosen in FORMATS.items() if _is_installed(chosen)}


def _is_installed(chosen: Format) -> bool:
    try:
        if chosen.check_packages:
            chosen.check_packages()
    except MissingDependencyError:
        return False
    return True


def check_places(folder: Path, formats: Sequence[str], overwrite: bool) -> dict[str, Path]:
    """Where each format will be written, before any work. Raises `InputError` as `export` does."""
    check_formats(formats)
    targets = {name: folder / FORMATS[name].target for name in formats}
    for name, path in targets.items():
        if not path.exists() or (path.is_dir() and not any(path.iterdir())):
            continue
        if not overwrite:
            raise InputError(f"{path} already exists. Give --overwrite to replace it, or another --out.")
        mark = FORMATS[name].mark
        if path.is_dir() != bool(mark) or (mark and not any(path.glob(mark))):
            raise InputError(f"{path} exists and was not written by unish, so it is not replaced. Give another --out.")
    return targets


# --- one function a format -----------------------------------------------------------------------------------------


def _glb(reconstruction: Any, path: Path, settings: ExportSettings, report: Callable[[float], None]) -> None:
    from unish.export.glb import write_glb

    options = {**_budget(settings), **_scene(settings, report)}
    write_glb(_only(reconstruction, settings), path, **options, body=settings.body, clip=settings.clip)


def _bvh(reconstruction: Any, path: Path, settings: ExportSettings, report: Callable[[float], None]) -> None:
    from unish.export.bvh import write_bvh

    with atomic_path(path, EXPORT_FILES["bvh"]) as folder:
        folder.mkdir()
        write_bvh(_only(reconstruction, settings), folder, unit=settings.unit, body=settings.body, fps=settings.fps)


def _npz(reconstruction: Any, path: Path, settings: ExportSettings, report: Callable[[float], None]) -> None:
    from unish.export.npz import write_npz

    with atomic_path(path, EXPORT_FILES["npz"]) as folder:
        folder.mkdir()
        scene = _only(reconstruction, settings)
        write_npz(scene, folder, body=settings.body, fps=settings.fps, clip=settings.clip)


def _robot(reconstruction: Any, path: Path, settings: ExportSettings, report: Callable[[float], None]) -> None:
    from unish.export.robot import write_robot

    write_robot(_only(reconstruction, settings), path, settings.body, settings.fps, progress=report)


def _check_robot(settings: ExportSettings) -> None:
    from unish.export.robot import robot_fps

    robot_fps(settings.fps)


def _chan(reconstruction: Any, path: Path, settings: ExportSettings, report: Callable[[float], None]) -> None:
    from unish.export.chan import write_chan

    write_chan(reconstruction, path, settings.clip, unit=settings.unit, fps=settings.fps)


def _usd(reconstruction: Any, path: Path, settings: ExportSettings, report: Callable[[float], None]) -> None:
    from unish.export.usd import write_usd

    scene = _only(reconstruction, settings)
    options = {**_budget(settings), **_scene(settings, report)}
    write_usd(scene, path, settings.clip, **options, body=settings.body, fps=settings.fps)


def _mesh(reconstruction: Any, path: Path, settings: ExportSettings, report: Callable[[float], None]) -> None:
    from unish.export.mesh import write_mesh

    write_mesh(reconstruction, path, **_triangles(settings), collision=settings.collision, progress=report)


def _fbx(reconstruction: Any, path: Path, settings: ExportSettings, report: Callable[[float], None]) -> None:
    from unish.export.fbx import write_fbx

    scene, options = _only(reconstruction, settings), _scene(settings, report)
    start = 0.0 if settings.scene == "points" else _MESH_SHARE

    def rest(share: float) -> None:
        report(start + (1 - start) * share)

    write_fbx(
        scene, path, settings.clip, settings.names, body=settings.body, fps=settings.fps, progress=rest, **options
    )


def _ply(reconstruction: Any, path: Path, settings: ExportSettings, report: Callable[[float], None]) -> None:
    from unish.export.ply import write_ply

    write_ply(reconstruction, path, **_budget(settings), **_people(settings), progress=report)


def _obj(reconstruction: Any, path: Path, settings: ExportSettings, report: Callable[[float], None]) -> None:
    from unish.export.obj import write_obj

    write_obj(reconstruction, path, **_people(settings), progress=report)


def _colmap(reconstruction: Any, path: Path, settings: ExportSettings, report: Callable[[float], None]) -> None:
    from unish.export.colmap import write_colmap

    write_colmap(reconstruction, path, settings.clip, **_budget(settings), progress=report)


def _video(reconstruction: Any, path: Path, settings: ExportSettings, report: Callable[[float], None]) -> None:
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


FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        "glb": Format(
            "scene.glb",
            "people (skinned, animated), scene and camera in one file",
            _glb,
            of_clip=True,
            shows_scene=True,
        ),
        "usd": Format(
            "scene.usdz",
            "the same as GLB, with the lens of every frame",
            _usd,
            of_clip=True,
            shows_scene=True,
            check_packages=check_usd,
        ),
        "usda": Format(
            "scene.usda", "the same USD as text", _usd, of_clip=True, shows_scene=True, check_packages=check_usd
        ),
        "fbx": Format(
            "fbx",
            "each person skinned and animated, the moving camera, the scene's mesh",
            _fbx,
            "*.fbx",
            of_clip=True,
            shows_scene=True,
            check_packages=check_fbx,
            tool="Unreal, Unity, Maya",
        ),
        "bvh": Format("bvh", "each person's skeleton and motion", _bvh, "*.bvh", True),
        "npz": Format(
            "npz",
            "SMPL parameters per person, in AMASS / WHAM / GVHMR layout",
            _npz,
            "*.npz",
            True,
            of_clip=True,
            tool="Python",
        ),
        "robot": Format(
            "robot",
            "motion, contacts and floor for retargeting to robots",
            _robot,
            "README.md",
            True,
            tool="Robots",
            check_settings=_check_robot,
        ),
        "ply": Format("ply", "scene points, each frame's points, people's meshes", _ply, "scene.ply"),
        "obj": Format("obj", "people's meshes, one file per frame", _obj, "people.mtl", True),
        "mesh": Format(
            "mesh", "the scene as a coloured mesh: PLY, GLB, OBJ", _mesh, "scene.ply", check_packages=check_mesh
        ),
        "colmap": Format(
            "colmap",
            "cameras, images, points and person masks, for nerfstudio as well",
            _colmap,
            "sparse/0/cameras.bin",
            of_clip=True,
            tool="Gaussian splats",
        ),
        "chan": Format(
            "camera.chan", "the moving camera, for compositing", _chan, of_clip=True, tool="Nuke and other compositors"
        ),
        "mp4": Format(
            "overlay.mp4", "the clip with the people drawn over it (H.264)", _video, of_clip=True, tool="Video players"
        ),
        "webm": Format("overlay.webm", "the same video in VP9", _video, of_clip=True, tool="Video players"),
    }
)
"""Name on the command line → format."""
