"""`unish run`: a clip becomes a folder with the result, its report and its viewer."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from unish.cli.parsing import parse_box, parse_heights
from unish.cli.places import RESULT_PAGE, RESULT_REPORT
from unish.errors import InputError, Interrupted

if TYPE_CHECKING:
    from unish.report import FitReport
    from unish.structures import Reconstruction


def add(commands) -> None:
    """Describe `unish run`."""
    run = commands.add_parser("run", help="reconstruct a clip", description="Reconstruct a clip in metres.")
    run.add_argument("clip", type=Path, help="a video, a picture, or a folder of pictures")
    run.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where the result goes")
    run.add_argument("--overwrite", action="store_true", help="replace an existing result")
    run.add_argument("--fps", type=float, default=6.0, help="frames sampled a second (default 6)")
    run.add_argument("--start", type=float, metavar="S", help="start at this second of the clip")
    run.add_argument("--end", type=float, metavar="S", help="end at this second of the clip")
    run.add_argument("--weights", default="auto", help="release, mini, auto, a folder or a Hub repository id")
    run.add_argument(
        "--box",
        action="append",
        default=[],
        metavar="X0,Y0,X1,Y1[@S]",
        help="a person in pixels of the first frame, or of the frame at second S; may be given several times",
    )
    run.add_argument("--masks", type=Path, metavar="DIR", help="person masks: one picture a frame, value = person")
    run.add_argument("--finder", choices=("auto", "mini", "sam2"), default="auto", help="who looks for people")
    run.add_argument("--people", type=int, metavar="N", help="how many people there are")
    run.add_argument("--person", type=int, action="append", default=[], metavar="ID", help="keep only this person")
    run.add_argument("--focal", metavar="F", help="focal length: pixels of the clip, or 26mm as phones state it")
    run.add_argument("--static-camera", action="store_true", help="the camera does not move")
    run.add_argument(
        "--height",
        action="append",
        default=[],
        metavar="[ID=]M",
        help="how tall a person is, in metres (1.75, or 2=1.62 for person 2): fixes the scale",
    )
    run.add_argument(
        "--window", type=int, default=30, metavar="N", help="frames of one pass; longer clips are joined (default 30)"
    )
    run.add_argument("--body", help="open, or an SMPL-format file (default: an installed SMPL, else open)")
    run.add_argument("--device", help="cpu, cuda or cuda:N (default: the GPU where there is one)")
    run.add_argument("--seed", type=int, default=0)
    run.set_defaults(command=_run)


def _run(options: argparse.Namespace) -> int:
    _check_place(options.out, options.overwrite)

    from tqdm import tqdm

    from unish.pipeline import reconstruct

    stopped = False
    with tqdm(total=100, bar_format="{desc:52} {percentage:3.0f}% |{bar}| {elapsed}", file=sys.stderr) as bar:
        try:
            scene = reconstruct(
                options.clip,
                progress=_show(bar),
                fps=options.fps,
                start_s=options.start,
                end_s=options.end,
                weights=options.weights,
                boxes=[parse_box(text) for text in options.box],
                masks=str(options.masks) if options.masks else None,
                finder=options.finder,
                people=options.people,
                person=tuple(options.person),
                focal=options.focal,
                static_camera=options.static_camera,
                height=parse_heights(options.height),
                window=options.window,
                body=options.body,
                device=options.device,
                seed=options.seed,
            )
        except Interrupted as stop:
            scene, stopped = stop.partial, True
        bar.set_description_str("Writing the result")
        report = _write(scene, options.out, options.clip.name)
        bar.set_description_str("Stopped" if stopped else "Done")
    _print_summary(scene, report, options.out)
    if stopped:
        print(f"unish: stopped; {options.out} holds the first {len(scene)} frames.", file=sys.stderr)
    return 130 if stopped else 0


def _write(scene: "Reconstruction", out: Path, title: str) -> "FitReport":
    """The whole result under its final name, or nothing."""
    from unish.files import atomic_path
    from unish.report import fit_report
    from unish.viewer import write_html

    report = fit_report(scene)
    with atomic_path(out) as folder:
        scene.save_into(folder)
        report.save(folder / RESULT_REPORT)
        write_html(scene, folder / RESULT_PAGE, title=title)
    return report


def _check_place(out: Path, overwrite: bool) -> None:
    """Before any work: the place must be free, or a result (or an empty folder) that may be replaced."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not overwrite:
        raise InputError(f"{out} already exists. Give another --out, or --overwrite to replace it.")
    if not (out / "reconstruction.json").is_file():
        raise InputError(f"{out} exists and is not a result of unish, so it is not replaced. Give another --out.")


def _show(bar) -> Callable[[float, str], None]:
    def report(share: float, message: str) -> None:
        bar.set_description_str(message, refresh=False)
        bar.update(round(100 * share) - bar.n)

    return report


def _print_summary(scene: "Reconstruction", report: "FitReport", out: Path) -> None:
    from unish.summary import summarise

    summary = summarise(scene)
    print(
        f"{summary.frames} frames over {summary.seconds:.1f} s, camera path {summary.camera_path_m:.2f} m, "
        f"weights {summary.weights} on {summary.device}"
    )
    for person in summary.people:
        print(
            f"{person.name}: seen in {person.frames_seen} frames, {person.height_m:.2f} m tall as posed, "
            f"moved {person.moved_m:.2f} m"
        )
    print(report.text())
    print(f"Result: {out}\nView:   {out / RESULT_PAGE}")
