"""`unish eval`: a benchmark's table, for these weights or for any method's saved results."""

import argparse
import contextlib
import dataclasses
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from unish.cli.progress_bar import without_warnings
from unish.errors import InputError
from unish.fitting.settings import FIT_MODES
from unish.pipeline.options import SFM_MODES

if TYPE_CHECKING:
    from unish.evaluation.benchmark import Benchmark, BenchmarkSequence
    from unish.evaluation.runner import Outcome, Predictor
    from unish.utils.distributed import Rank


def add(commands) -> None:
    """Describe `unish eval`."""
    command = commands.add_parser(
        "eval",
        help="score weights or saved results on a benchmark",
        description="Score weights, or any method's saved results, on a benchmark as downloaded. "
        "`accelerate launch -m unish eval …` distributes the sequences over processes.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("benchmark", metavar="NAME", help="one of the benchmarks below")
    command.add_argument(
        "--root", type=Path, metavar="DIR", help="the data as downloaded (default: ./NAME; synthetic is bundled)"
    )
    command.add_argument("--weights", default="auto", help="release, mini, auto, a folder or a Hub repository id")
    command.add_argument(
        "--predictions", type=Path, metavar="DIR", help="instead of weights: results saved as DIR/SEQUENCE"
    )
    command.add_argument(
        "--out", type=Path, metavar="DIR", help="folder for the scores; the same command resumes from there"
    )
    command.add_argument("--sequences", nargs="+", default=[], metavar="NAME", help="only these sequences")
    command.add_argument(
        "--depth-alignment",
        default="scale",
        metavar="NAME",
        help="what is fitted to depth per sequence: scale (default), scale&shift, or metric (nothing)",
    )
    command.add_argument(
        "--fit",
        choices=FIT_MODES,
        default="off",
        help="also score the bodies after they were fitted to the clip, in a row of their own (default: off)",
    )
    command.add_argument(
        "--sfm",
        choices=SFM_MODES,
        default="off",
        help="score with camera, lens and depth measured by structure from motion (default: off, the weights' own)",
    )
    command.add_argument(
        "--known-lens", action="store_true", help="tell the weights the true focal length (default: they estimate it)"
    )
    command.add_argument("--fit-report", action="store_true", help="also measure the body–scene fit")
    command.add_argument("--body", help="open, or an SMPL-format file (default: an installed SMPL, else open)")
    command.add_argument("--device", help="cpu, cuda, cuda:N, mps or xpu (default: the GPU where there is one)")
    command.add_argument("--overwrite", action="store_true", help="replace scores of other weights or protocols")
    command.set_defaults(command=_evaluate)
    plain_help = command.format_help
    command.format_help = lambda: (
        f"{plain_help()}\n{_benchmarks()}"
    )  # built on demand: importing all readers takes a second


def _benchmarks() -> str:
    from unish.evaluation.datasets import NAMES, benchmark

    width = max(map(len, NAMES))
    return "benchmarks:\n" + "".join(f"  {name:{width}}  {benchmark(name).title}\n" for name in NAMES)


def _evaluate(options: argparse.Namespace) -> int:
    from unish.evaluation.runner import run
    from unish.evaluation.scoring import require_known
    from unish.evaluation.table import make_table
    from unish.utils.distributed import launched_rank

    rank = launched_rank(options.device)
    benchmark, root = _benchmark(options)
    require_known(benchmark.metrics, options.depth_alignment)
    all_sequences = benchmark.sequences(root)
    sequences = _selected(all_sequences, options.sequences)
    predictor, source = _predictor(options, benchmark, root, rank)
    with _scores_folder(options.out, rank) as out, without_warnings():
        try:
            outcome = run(benchmark, sequences, predictor, out, options.depth_alignment, rank, options.overwrite)
        except KeyboardInterrupt:
            kept = f"; the scores of finished sequences are in {out}" if options.out else ""
            print(f"unish: stopped{kept}.", file=sys.stderr)
            return 130
    if not rank.main:
        return 0
    table = make_table(
        benchmark, predictor.name, source, outcome.results, options.depth_alignment, of=len(all_sequences)
    )
    if outcome.results:
        print(table.text(), end="")
    if options.out:
        table.save(options.out)
        print(f"\nTable: {options.out / 'table.md'} (and .txt, .json, .csv)")
    return _report_failures(outcome)


def _report_failures(outcome: "Outcome") -> int:
    for name, sentence in outcome.failures.items():
        print(f"unish: {name}: {sentence}", file=sys.stderr)
    if outcome.failures:
        total = len(outcome.failures) + len(outcome.results)
        print(f"unish: {len(outcome.failures)} of {total} sequences have no scores.", file=sys.stderr)
    return 2 if outcome.failures else 0


def _benchmark(options: argparse.Namespace) -> tuple["Benchmark", Path]:
    from unish.evaluation.datasets import benchmark, synthetic
    from unish.evaluation.scoring import FIT

    named, root = benchmark(options.benchmark), options.root
    if named.name == "synthetic":
        root = root or synthetic.SYNTHETIC_BENCHMARK
        named = synthetic.at(root)
    root = root or Path(named.name)
    if options.fit_report:
        named = dataclasses.replace(named, metrics=(*named.metrics, *FIT))
    return named, root


def _selected(sequences: tuple["BenchmarkSequence", ...], names: list[str]) -> tuple["BenchmarkSequence", ...]:
    known = [sequence.name for sequence in sequences]
    for name in names:
        if name not in known:
            raise InputError(f"Expected a sequence out of {', '.join(known)}, got {name!r}; choose one of those.")
    return tuple(sequence for sequence in sequences if not names or sequence.name in names)


def _predictor(
    options: argparse.Namespace, benchmark: "Benchmark", root: Path, rank: "Rank"
) -> tuple["Predictor", str]:
    """What is scored, and the source of its row."""
    import unish
    from unish.evaluation.predict import saved_predictor, weights_predictor

    data = str(root.resolve())
    if options.predictions is not None:
        if options.fit != "off":
            raise InputError("--fit fits what weights predict; results of --predictions are scored as they are.")
        if options.sfm != "off":
            raise InputError("--sfm measures cameras for weights; results of --predictions are scored as they are.")
        if options.known_lens:
            raise InputError("--known-lens is told to weights; results of --predictions are scored as they are.")
        return saved_predictor(options.predictions, data), f"results in {options.predictions}"

    from unish.body import load_body
    from unish.models.hub import load

    device = options.device or rank.device
    model, body = load(options.weights, device=device), load_body(options.body)
    place = next(model.parameters()).device
    source = f"unish {unish.__version__}, {model.weights_name} weights, {body.name} body, on {place}"
    return weights_predictor(model, body, benchmark, data, device, options.fit, options.known_lens, options.sfm), source


@contextlib.contextmanager
def _scores_folder(out: Path | None, rank: "Rank") -> Iterator[Path]:
    """The folder of the sequences' scores: a temporary one when --out was not given."""
    if out is not None:
        yield out
    elif rank.count > 1:
        raise InputError(
            "Expected --out with several processes, which share their scores through that folder; add --out DIR."
        )
    else:
        with tempfile.TemporaryDirectory(prefix="unish-") as folder:
            yield Path(folder)
