"""`unish eval`: a benchmark's table, of these weights or of anybody's saved results."""

import argparse
import contextlib
import dataclasses
import logging
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from unish.errors import InputError

if TYPE_CHECKING:
    from unish.evaluation.benchmark import Benchmark, BenchmarkSequence
    from unish.evaluation.runner import Outcome, Predictor
    from unish.utils.distributed import Rank


def add(commands) -> None:
    """Describe `unish eval`."""
    command = commands.add_parser(
        "eval",
        help="score weights or saved results on a benchmark",
        description="Score weights, or saved results of any method, on a benchmark as downloaded. "
        "`accelerate launch -m unish eval …` shares the sequences among processes.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("benchmark", metavar="NAME", help="one of the benchmarks below")
    command.add_argument(
        "--root", type=Path, metavar="DIR", help="the data as downloaded (default: ./NAME; synthetic comes with unish)"
    )
    command.add_argument("--weights", default="auto", help="release, mini, auto, a folder or a Hub repository id")
    command.add_argument(
        "--predictions", type=Path, metavar="DIR", help="instead of weights: results saved as DIR/SEQUENCE"
    )
    command.add_argument(
        "--out", type=Path, metavar="DIR", help="where the numbers go; the same command again goes on from there"
    )
    command.add_argument("--sequences", nargs="+", default=[], metavar="NAME", help="only these sequences")
    command.add_argument(
        "--depth-alignment",
        default="scale",
        metavar="HOW",
        help="what depth may be off by in a sequence: scale (default), scale&shift, or metric for nothing",
    )
    command.add_argument("--fit", action="store_true", help="measure how people sit in the scene as well")
    command.add_argument("--body", help="open, or an SMPL-format file (default: an installed SMPL, else open)")
    command.add_argument("--device", help="cpu, cuda or cuda:N (default: the GPU where there is one)")
    command.add_argument("--overwrite", action="store_true", help="replace numbers of other weights or protocols")
    command.set_defaults(command=_evaluate)
    plain_help = command.format_help
    command.format_help = lambda: f"{plain_help()}\n{_benchmarks()}"  # read only when asked for: it takes a second


def _benchmarks() -> str:
    from unish.evaluation.datasets import NAMES, benchmark

    width = max(map(len, NAMES))
    return "benchmarks:\n" + "".join(f"  {name:{width}}  {benchmark(name).title}\n" for name in NAMES)


def _evaluate(options: argparse.Namespace) -> int:
    from unish.evaluation.runner import run
    from unish.evaluation.scoring import require_known
    from unish.evaluation.table import make_table
    from unish.utils.distributed import launched_rank

    share = launched_rank(options.device)
    benchmark, root = _benchmark(options)
    require_known(benchmark.measures, options.depth_alignment)
    everything = benchmark.sequences(root)
    sequences = _chosen(everything, options.sequences)
    predictor, source = _predictor(options, benchmark, root, share)
    with _place(options.out, share) as out, _quiet():
        try:
            outcome = run(benchmark, sequences, predictor, out, options.depth_alignment, share, options.overwrite)
        except KeyboardInterrupt:
            kept = f"; the finished sequences are kept in {out}" if options.out else ""
            print(f"unish: stopped{kept}.", file=sys.stderr)
            return 130
    if not share.main:
        return 0
    table = make_table(benchmark, predictor.name, source, outcome.results, options.depth_alignment, of=len(everything))
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
        print(f"unish: {len(outcome.failures)} of {total} sequences have no numbers.", file=sys.stderr)
    return 2 if outcome.failures else 0


def _benchmark(options: argparse.Namespace) -> tuple["Benchmark", Path]:
    from unish.evaluation.datasets import benchmark, synthetic
    from unish.evaluation.scoring import FIT

    chosen, root = benchmark(options.benchmark), options.root
    if chosen.name == "synthetic":
        root = root or synthetic.SYNTHETIC_BENCHMARK
        chosen = synthetic.at(root)
    root = root or Path(chosen.name)
    if options.fit:
        chosen = dataclasses.replace(chosen, measures=(*chosen.measures, *FIT))
    return chosen, root


def _chosen(sequences: tuple["BenchmarkSequence", ...], names: list[str]) -> tuple["BenchmarkSequence", ...]:
    there = [sequence.name for sequence in sequences]
    for name in names:
        if name not in there:
            raise InputError(f"There is no sequence {name!r} in this benchmark; it has {', '.join(there)}.")
    return tuple(sequence for sequence in sequences if not names or sequence.name in names)


def _predictor(
    options: argparse.Namespace, benchmark: "Benchmark", root: Path, share: "Rank"
) -> tuple["Predictor", str]:
    """What is scored, and its row's source."""
    import unish
    from unish.evaluation.runner import Predictor

    data = {"data": str(root.resolve())}
    if options.predictions is not None:
        return _saved(options.predictions, data), f"results in {options.predictions}"

    from unish.body import load_body
    from unish.evaluation.predict import reconstruct_sequence, weights_fingerprint
    from unish.models.hub import load

    device = options.device or share.device
    model, body = load(options.weights, device=device), load_body(options.body)
    place = str(next(model.parameters()).device)
    identity = {"weights": f"{model.weights_name} {weights_fingerprint(model)}", "body": body.name, **data}
    predictor = Predictor(
        name=f"unish {model.weights_name}",
        reconstruct=lambda sequence: reconstruct_sequence(sequence, benchmark, model, body, device=device),
        identity=lambda sequence: identity,
        body=body,
    )
    return predictor, f"unish {unish.__version__}, {model.weights_name} weights, {body.name} body, on {place}"


def _saved(folder: Path, data: dict[str, str]) -> "Predictor":
    """Results in folders named after the sequences."""
    from unish.errors import MissingAssetError
    from unish.evaluation.runner import Predictor
    from unish.structures import Reconstruction

    if not folder.is_dir():
        raise MissingAssetError(
            f"{folder} is not a folder; --predictions takes one with a result in DIR/SEQUENCE for every sequence, as "
            "Reconstruction.save and unish run --out write them."
        )

    def reconstruct(sequence: "BenchmarkSequence") -> Reconstruction:
        if not (folder / sequence.name).is_dir():
            raise MissingAssetError(
                f"{folder / sequence.name} is not there; save the result of this sequence as that folder, or name "
                "the others with --sequences."
            )
        return Reconstruction.load(folder / sequence.name)

    def identity(sequence: "BenchmarkSequence") -> dict[str, str]:
        path = folder / sequence.name / "reconstruction.safetensors"
        state = path.stat() if path.is_file() else None
        written = "nothing" if state is None else f"{state.st_size} bytes of {state.st_mtime_ns}"
        return {"predictions": f"{path.resolve()} {written}", **data}

    return Predictor(
        name=folder.resolve().name,
        reconstruct=reconstruct,
        identity=identity,
        timed=False,
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Doubts that every result carries are told once, below the table, not once a sequence."""
    log = logging.getLogger("unish")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)


@contextlib.contextmanager
def _place(out: Path | None, share: "Rank") -> Iterator[Path]:
    """Where sequences' numbers are kept: for this run alone when no place was named."""
    if out is not None:
        yield out
    elif share.count > 1:
        raise InputError("Several processes meet in a folder; name one with --out.")
    else:
        with tempfile.TemporaryDirectory(prefix="unish-") as folder:
            yield Path(folder)
