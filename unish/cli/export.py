"""`unish export`: a result in other programs' formats."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from unish.cli.parsing import comma_separated
from unish.cli.progress_bar import progress_bar
from unish.errors import InputError
from unish.export.formats import ALL, FORMATS, check_places, expand_formats, installed_formats
from unish.export.settings import LAYOUTS, MAX_FPS, RIG_NAMES, SCENES, UNITS, check_fps
from unish.runs.result_folder import RESULT_EXPORTS

if TYPE_CHECKING:
    from unish.structures import FrameSequence, Reconstruction

FORMATS_HELP = f"one or more of {','.join(FORMATS)}, or {ALL}: those whose packages are installed"


def add(commands) -> None:
    """Describe `unish export`."""
    export = commands.add_parser(
        "export",
        help="write a result in other programs' formats",
        description="Write a result in other programs' formats: "
        + "; ".join(f"{name}: {one.summary}" for name, one in FORMATS.items())
        + ".",
    )
    export.add_argument("folder", type=Path, help="what was given to unish run --out")
    export.add_argument(
        "--to",
        required=True,
        metavar="FORMATS",
        help=FORMATS_HELP,
    )
    export.add_argument(
        "--out", type=Path, metavar="FOLDER", help=f"where the files go (default: {RESULT_EXPORTS} in the result)"
    )
    export.add_argument("--overwrite", action="store_true", help="replace what was exported before")
    export.add_argument(
        "--clip",
        type=Path,
        metavar="PATH",
        help="the clip of the result, for images, cameras and videos as large as it is",
    )
    export.add_argument(
        "--source-fps", type=float, metavar="RATE", help="rate of the clip's frames, where it was given to unish run"
    )
    export.add_argument("--max-points", type=int, metavar="N", help="maximum number of scene points")
    export.add_argument(
        "--scene",
        choices=SCENES,
        default="points",
        help="what GLB, USD and FBX show of the scene (default points; FBX has no points, so the scene is left out)",
    )
    export.add_argument(
        "--max-triangles", type=int, metavar="N", help="maximum number of triangles of the scene's mesh"
    )
    export.add_argument("--collision", action="store_true", help="format mesh: a closed mesh for collisions as well")
    export.add_argument("--unit", choices=UNITS, default="m", help="unit of BVH and .chan files (default m)")
    export.add_argument(
        "--fps",
        type=float,
        metavar="N",
        help="frame rate of USD, FBX, BVH, AMASS and .chan files (default: the source's, at most "
        f"{MAX_FPS:g}), and of the robot bundle (30 or 50, default 30)",
    )
    export.add_argument("--person", type=int, action="append", default=[], metavar="ID", help="only this person")
    export.add_argument("--per-person", action="store_true", help="PLY and OBJ meshes: one file per person")
    export.add_argument("--layout", choices=LAYOUTS, default="overlay", help="of videos (default overlay)")
    export.add_argument(
        "--names", choices=RIG_NAMES, default="smpl", help="of the joints in FBX files, and their axes (default smpl)"
    )
    export.add_argument("--body", help="the SMPL-format file that posed the people, if it is not installed")
    export.set_defaults(command=_export)


def _export(options: argparse.Namespace) -> int:
    names = comma_separated(options.to)
    if not names:
        raise InputError(f"Expected formats after --to, among {', '.join(FORMATS)}, got none.")
    out = options.out or options.folder / RESULT_EXPORTS
    check_places(out, expand_formats(names), options.overwrite)
    check_fps(options.fps)

    from unish.body import load_body
    from unish.export import export
    from unish.structures import Reconstruction

    scene = Reconstruction.load(options.folder)
    formats = expand_formats(names, has_people=bool(scene.people))
    body = None if options.body is None else load_body(options.body)
    try:
        with progress_bar() as show:
            clip = _frames(options, scene) if any(FORMATS[name].of_clip for name in formats) else None
            written = export(
                scene,
                out,
                formats,
                clip,
                show,
                overwrite=options.overwrite,
                max_points=options.max_points,
                unit=options.unit,
                fps=options.fps,
                person=options.person,
                per_person=options.per_person,
                layout=options.layout,
                names=options.names,
                scene=options.scene,
                max_triangles=options.max_triangles,
                collision=options.collision,
                body=body,
            )
    except KeyboardInterrupt:
        print(f"unish: stopped; {out} holds the formats that were finished.", file=sys.stderr)
        return 130
    for name, path in written.items():
        print(f"{name:7}{path}")
    tell_absent(names)
    if "colmap" in written and clip is None:
        print("COLMAP has the network's small images; --clip with the clip of the result gives it the full ones.")
    return 0


def tell_absent(names: Sequence[str]) -> None:
    """Says which of the formats that "all" stands for are left out."""
    if ALL in names and (absent := [name for name in FORMATS if name not in installed_formats()]):
        print(f"Not written, because their packages are not installed: {', '.join(absent)}.")


def _frames(options: argparse.Namespace, scene: "Reconstruction") -> "FrameSequence | None":
    """The clip's own frames, read one by one as they are written."""
    if options.clip is None:
        return None
    from unish.video.source_frames import SourceFrames

    return SourceFrames.open(options.clip, scene.times_s, scene.fps, options.source_fps)
