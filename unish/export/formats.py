"""The formats that a result can be written in: one list for the command, for Python and for the app.

What a format's writer imports is loaded when it is asked for.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, get_args

from unish.errors import InputError, MissingDependencyError
from unish.export import writers
from unish.export.optional_packages import check_fbx, check_mesh, check_usd
from unish.export.settings import ExportSettings, Layout, RigName, Scene, Unit
from unish.utils.progress import Progress

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


def expand_formats(names: Sequence[str], has_people: bool = True) -> list[str]:
    """The formats of these names, each once, where `ALL` stands for those that can be written here: their packages are
    installed and, without people, there is something to write. Names are checked by `check_formats`."""
    writable = [name for name, one in installed_formats().items() if has_people or not one.of_people]
    return list(dict.fromkeys(name for one in names for name in (writable if one == ALL else [one])))


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


FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        "glb": Format(
            "scene.glb",
            "people (skinned, animated), scene and camera in one file",
            writers.glb,
            of_clip=True,
            shows_scene=True,
        ),
        "usd": Format(
            "scene.usdz",
            "the same as GLB, with the lens of every frame",
            writers.usd,
            of_clip=True,
            shows_scene=True,
            check_packages=check_usd,
        ),
        "usda": Format(
            "scene.usda", "the same USD as text", writers.usd, of_clip=True, shows_scene=True, check_packages=check_usd
        ),
        "fbx": Format(
            "fbx",
            "each person skinned and animated, the moving camera, the scene's mesh",
            writers.fbx,
            "*.fbx",
            of_clip=True,
            shows_scene=True,
            check_packages=check_fbx,
            tool="Unreal, Unity, Maya",
        ),
        "bvh": Format("bvh", "each person's skeleton and motion", writers.bvh, "*.bvh", True),
        "npz": Format(
            "npz",
            "SMPL parameters per person, in AMASS / WHAM / GVHMR layout",
            writers.npz,
            "*.npz",
            True,
            of_clip=True,
            tool="Python",
        ),
        "robot": Format(
            "robot",
            "motion, contacts and floor for retargeting to robots",
            writers.robot,
            "README.md",
            True,
            tool="Robots",
            check_settings=writers.check_robot,
        ),
        "ply": Format("ply", "scene points, each frame's points, people's meshes", writers.ply, "scene.ply"),
        "obj": Format("obj", "people's meshes, one file per frame", writers.obj, "people.mtl", True),
        "mesh": Format(
            "mesh", "the scene as a coloured mesh: PLY, GLB, OBJ", writers.mesh, "scene.ply", check_packages=check_mesh
        ),
        "colmap": Format(
            "colmap",
            "cameras, images, points and person masks, for nerfstudio as well",
            writers.colmap,
            "sparse/0/cameras.bin",
            of_clip=True,
            tool="Gaussian splats",
        ),
        "chan": Format(
            "camera.chan",
            "the moving camera, for compositing",
            writers.chan,
            of_clip=True,
            tool="Nuke and other compositors",
        ),
        "mp4": Format(
            "overlay.mp4",
            "the clip with the people drawn over it (H.264)",
            writers.video,
            of_clip=True,
            tool="Video players",
        ),
        "webm": Format("overlay.webm", "the same video in VP9", writers.video, of_clip=True, tool="Video players"),
    }
)
"""Name on the command line → format."""
