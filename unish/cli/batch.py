"""`unish batch`: every clip of a folder, on any number of processes."""

import argparse
import dataclasses
import signal
import sys
from pathlib import Path

from unish.cli.common_options import ALL, add_common_options, common_options_of
from unish.cli.export import FORMATS_HELP, tell_absent
from unish.cli.parsing import comma_separated
from unish.errors import InputError
from unish.export.formats import check_formats, expand_formats
from unish.utils.interrupts import Interrupts, deferred_interrupts


def add(commands) -> None:
    """Describe `unish batch`."""
    batch = commands.add_parser(
        "batch",
        help="reconstruct a folder of clips",
        description="Reconstruct every video, and every folder of images, in a folder. Run again, it continues where "
        "it stopped, and redoes clips whose file was replaced; accelerate launch -m unish batch … spreads the clips "
        "over processes and GPUs.",
    )
    batch.add_argument("source", type=Path, help="a folder of clips")
    batch.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where a folder for each clip goes")
    batch.add_argument("--to", default="", metavar="FORMATS", help=f"write these as well: {FORMATS_HELP}")
    batch.add_argument("--overwrite", action="store_true", help="replace results of other weights or options")
    add_common_options(batch)
    batch.set_defaults(command=_batch)


def _batch(options: argparse.Namespace) -> int:
    if options.shot == ALL:
        raise InputError("unish batch reconstructs one shot of each clip; unish run takes --shot all.")
    with deferred_interrupts(signal.SIGINT, signal.SIGTERM) as interrupts:
        try:
            return _run(options, interrupts)
        except KeyboardInterrupt:
            print("unish: stopped. Run the same command again to continue; finished clips are kept.", file=sys.stderr)
            return interrupts.exit_code


def _run(options: argparse.Namespace, interrupts: Interrupts) -> int:
    from unish.body import load_body
    from unish.cli.progress_bar import progress_bar
    from unish.pipeline import Options, load_chosen
    from unish.runs.batch import TABLE, find_jobs, run_batch, table, write_table
    from unish.utils.distributed import launched_rank

    rank = launched_rank(options.device)
    chosen = Options(**common_options_of(options))
    chosen = dataclasses.replace(chosen, device=rank.device or chosen.device)
    jobs = find_jobs(options.source, options.out)
    formats = comma_separated(options.to)
    check_formats(expand_formats(formats))
    with interrupts.raising():
        model, body = load_chosen(chosen), load_body(chosen.body)
    with progress_bar() as show:
        rows = run_batch(jobs, model, body, chosen, formats, options.overwrite, rank, show)
    if not rank.main:
        return 0
    write_table(rows, options.out / TABLE)
    print(table(rows))
    tell_absent(formats)
    failed = [row for row in rows if row.status == "failed"]
    for row in failed:
        print(f"unish: {row.clip}: {row.sentence}", file=sys.stderr)
    return 2 if failed else 0
