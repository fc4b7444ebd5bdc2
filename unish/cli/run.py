"""`unish run`: a clip becomes a folder with the result, its report and its viewer."""

import argparse
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from unish.cli.common_options import ALL, add_common_options, common_options_of
from unish.cli.parsing import parse_box, parse_heights
from unish.cli.progress_bar import progress_bar
from unish.errors import InputError, Interrupted, UniSHError
from unish.runs.result_folder import RESULT_PAGE, reserve_result, write_result
from unish.utils.interrupts import Interrupts, deferred_interrupts
from unish.utils.names import text_name

if TYPE_CHECKING:
    from unish.analysis.fit_report import FitReport
    from unish.structures import Reconstruction


def add(commands) -> None:
    """Describe `unish run`."""
    run = commands.add_parser("run", help="reconstruct a clip", description="Reconstruct a clip in metres.")
    run.add_argument("clip", type=Path, help="a video, an image, or a folder of images")
    run.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where the result goes")
    run.add_argument("--overwrite", action="store_true", help="replace an existing result")
    run.add_argument(
        "--box",
        action="append",
        default=[],
        metavar="X0,Y0,X1,Y1[@S]",
        help="a person in pixels of the first frame, or of the frame at second S; may be given several times",
    )
    run.add_argument("--masks", type=Path, metavar="DIR", help="person masks: one image per frame, value = person")
    run.add_argument("--person", type=int, action="append", default=[], metavar="ID", help="keep only this person")
    run.add_argument(
        "--height",
        action="append",
        default=[],
        metavar="[ID=]M",
        help="how tall a person is, in metres (1.75, or 2=1.62 for person 2): fixes the scale",
    )
    add_common_options(run)
    run.set_defaults(command=_run)


def _run(options: argparse.Namespace) -> int:
    with deferred_interrupts(signal.SIGINT, signal.SIGTERM) as interrupts:
        if options.shot == ALL:
            return _run_every_shot(options, interrupts)
        with reserve_result(options.out, options.overwrite):
            return _run_into(options.out, options, interrupts)


def _run_every_shot(options: argparse.Namespace, interrupts: Interrupts) -> int:
    """A result for each part between cuts, in folders of --out. One that fails does not stop the others."""
    from unish.video.reader import read_clip
    from unish.video.shots import shots_of

    if options.box or options.masks or options.person or options.height:
        raise InputError("--shot all detects the people of each shot; boxes, masks, ids and heights go with --shot N.")
    chosen = common_options_of(options)
    reading = {name: chosen[name] for name in ("fps", "source_fps", "start_s", "end_s")}
    with interrupts.raising():
        shots = shots_of(read_clip(options.clip, **reading))
    code = 0
    for shot in shots:
        out, options.shot = options.out / f"shot_{shot.number}", shot.number
        print(f"Shot {shot.number} of {len(shots)}, from {shot.start_s:.1f} s to {shot.end_s:.1f} s")
        try:
            with reserve_result(out, options.overwrite):
                code = max(code, _run_into(out, options, interrupts))
        except UniSHError as error:
            print(f"unish: shot {shot.number}: {error}", file=sys.stderr)
            code = max(code, 2)
        if interrupts.signal_number:
            return interrupts.exit_code
    return code


def _run_into(out: Path, options: argparse.Namespace, interrupts: Interrupts) -> int:
    """Ctrl-C and SIGTERM keep the windows that are finished; before the first, nothing is written."""
    from unish.analysis.fit_report import fit_report
    from unish.pipeline import reconstruct

    stopped = False
    with progress_bar() as show:
        try:
            scene = reconstruct(
                options.clip,
                progress=show,
                boxes=[parse_box(text) for text in options.box],
                masks=str(options.masks) if options.masks else None,
                person=tuple(options.person),
                height=parse_heights(options.height),
                **common_options_of(options),
            )
        except Interrupted as stop:
            scene, stopped = stop.partial, True
        except KeyboardInterrupt:
            print("unish: stopped; nothing was written.", file=sys.stderr)
            return interrupts.exit_code
        show(1.0, "Saving files")
        report = fit_report(scene)
        out = write_result(
            scene, report, out, text_name(options.clip), overwrite=options.overwrite, source=options.clip
        )
        stopped = stopped or bool(interrupts.signal_number)
        show(1.0, "Stopped" if stopped else "Done")
    _print_summary(scene, report, out)
    if stopped:
        print(f"unish: stopped; {out} holds {len(scene)} frames.", file=sys.stderr)
        return interrupts.exit_code
    return 0


def _print_summary(scene: "Reconstruction", report: "FitReport", out: Path) -> None:
    from unish.analysis.summary import summarise

    summary = summarise(scene)
    print(
        f"{summary.frames} frames over {summary.seconds:.1f} s, camera path {summary.camera_path_m:.2f} m, "
        f"{summary.lens()}, weights {summary.weights} on {summary.device}"
    )
    for person in summary.people:
        print(
            f"{person.name}: visible in {person.frames_seen} frames, about {person.height_m:.2f} m tall in this pose, "
            f"moved {person.moved_m:.2f} m"
        )
    print(report.text())
    print(f"Result: {out}\nView:   {out / RESULT_PAGE}")
