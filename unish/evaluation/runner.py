"""Runs a method on the sequences of a benchmark: resumable, on any number of processes, each failure contained.

Every sequence's scores are written to a file as soon as they are known; a later run with the same weights and the same
protocol reads them back. `accelerate launch` gives each process its share of the sequences.
"""

import dataclasses
import json
import logging
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from unish import __version__
from unish.body import BodyModel
from unish.errors import InputError, UniSHError
from unish.evaluation.benchmark import Benchmark, BenchmarkSequence
from unish.evaluation.metric_values import WeightedMean, means_of
from unish.evaluation.predictions import SequencePrediction
from unish.evaluation.scoring import require_known, score
from unish.runs.identity import Identity, arrays_digest, as_identity, difference, is_replaced
from unish.structures import Reconstruction
from unish.utils.atomic_write import atomic_path
from unish.utils.distributed import Rank, sentence_of

FITTED = "fitted:"
"""Before the name of a metric: of the result after its bodies were fitted to the clip."""
PROTOCOL_VERSION = 1
"""Raised when a metric's definition changes, so that older scores are not mixed with new ones."""

log = logging.getLogger("unish")


@dataclass(frozen=True)
class Predictor:
    """A method under test."""

    name: str
    """Its row in the table."""
    predict: Callable[[BenchmarkSequence], Reconstruction | SequencePrediction]
    identity: Callable[[BenchmarkSequence], Identity]
    """What its prediction for a sequence depends on: weights, body, data, files (see `unish.runs.identity`)."""
    timed: bool = True
    """Whether the time and memory that `predict` takes are the method's."""
    body: BodyModel | None = None
    """Poses people between the frames that the method saw; None: the body that its results name."""
    fit: Callable[[Reconstruction], Reconstruction] | None = None
    """Fits the bodies of a result to its clip: both results are then scored."""


@dataclass(frozen=True)
class SequenceResult:
    """The scores of one sequence."""

    sequence: str
    frames: int
    """That were scored."""
    means: dict[str, WeightedMean]
    """By metric; "seconds_per_frame" is weighted by the frames that the method saw. Those after `FITTED` are of the
    fitted bodies."""
    peak_memory_mb: float | None
    """Peak memory: of the CUDA device while this sequence ran, else of the process since it started; None where the
    method did not run here, or on Windows."""
    warnings: tuple[str, ...] = ()
    """The result's own warnings."""


@dataclass(frozen=True)
class Outcome:
    """The scores and failures of a run."""

    results: tuple[SequenceResult, ...]
    """In the order of the sequences."""
    failures: dict[str, str]
    """Sequence → its error message."""


def run(
    benchmark: Benchmark,
    sequences: Sequence[BenchmarkSequence],
    predictor: Predictor,
    out: Path,
    depth_alignment: str = "scale",
    rank: Rank = Rank(),  # noqa: B008 (frozen)
    overwrite: bool = False,
) -> Outcome:
    """Score the method on this process's share of the sequences, wait for the others, and gather all scores.

    Scores are written to `out`/sequences. Existing ones are reused when method and protocol are the same, and
    replaced when weights, labels or results were replaced under their names. Raises InputError when they differ in
    anything else and may not be overwritten.
    """
    require_known(benchmark.metrics, depth_alignment)
    keys = {sequence.name: _key(benchmark, sequence, predictor, depth_alignment) for sequence in sequences}
    paths = {sequence.name: out / "sequences" / f"{sequence.name}.json" for sequence in sequences}
    done = {name: path for name, path in paths.items() if _is_done(path, keys[name], overwrite)}
    failures: dict[str, str] = {}
    mine = [sequence for sequence in rank.of(list(sequences)) if sequence.name not in done]
    with tqdm(total=len(mine), unit="sequence", disable=not rank.main or not mine, file=sys.stderr) as bar:
        for sequence in mine:
            bar.set_description_str(sequence.name)
            try:
                result = score_sequence(benchmark, sequence, predictor, depth_alignment)
                _write(paths[sequence.name], keys[sequence.name], result)
            except Exception as error:  # one bad sequence must not end a run of hours
                failures[sequence.name] = sentence_of(error)
                if not isinstance(error, UniSHError):
                    log.error("%s failed", sequence.name, exc_info=error)
            bar.update()
    failures = dict(rank.gathered(list(failures.items())))
    kept = [_read(paths[sequence.name]) for sequence in sequences if sequence.name not in failures]
    results = tuple(result for _, result in filter(None, kept))
    return Outcome(results, {s.name: failures[s.name] for s in sequences if s.name in failures})


def score_sequence(
    benchmark: Benchmark, sequence: BenchmarkSequence, predictor: Predictor, depth_alignment: str = "scale"
) -> SequenceResult:
    """Run the method on one sequence and score it. Raises as the method and `score` do."""
    devices = range(torch.cuda.device_count() if torch.cuda.is_initialized() else 0)
    for device in devices:
        torch.cuda.reset_peak_memory_stats(device)
    start_s = time.perf_counter()
    result = predictor.predict(sequence)
    seconds = time.perf_counter() - start_s
    means = means_of(score(result, sequence, benchmark.metrics, depth_alignment, predictor.body))
    frames_seen = len(result.frames if isinstance(result, SequencePrediction) else result)
    if predictor.timed:
        means["seconds_per_frame"] = WeightedMean(seconds / frames_seen, float(frames_seen))
    if predictor.fit is not None and not isinstance(result, SequencePrediction):
        start_s = time.perf_counter()
        fitted = predictor.fit(result)
        seconds += time.perf_counter() - start_s
        again = means_of(score(fitted, sequence, benchmark.metrics, depth_alignment, predictor.body))
        again["seconds_per_frame"] = WeightedMean(seconds / frames_seen, float(frames_seen))
        means |= {FITTED + name: mean for name, mean in again.items()}
    return SequenceResult(
        sequence=sequence.name,
        frames=sequence.frames,
        means=means,
        peak_memory_mb=_peak_memory_mb(devices) if predictor.timed else None,
        warnings=() if isinstance(result, SequencePrediction) else tuple(result.provenance.warnings),
    )


def _peak_memory_mb(devices: Iterable[int]) -> float | None:
    used = max((torch.cuda.max_memory_allocated(device) for device in devices), default=0)
    if used:
        return used / 2**20
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, Linux KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


# --- files ---------------------------------------------------------------------------------------------------------


def _key(benchmark: Benchmark, sequence: BenchmarkSequence, predictor: Predictor, alignment: str) -> Identity:
    """Everything that the scores depend on; of the images it names the folder alone."""
    return as_identity(
        unish=__version__,
        protocol_version=PROTOCOL_VERSION,
        benchmark=benchmark.name,
        frames=sequence.frames,
        measures=list(benchmark.metrics),
        depth_alignment=alignment,
        sampled_fps=benchmark.sampled_fps,
        window=benchmark.window,
        labels_sha256=arrays_digest(_labels(sequence)),
        **predictor.identity(sequence),
    )


def _labels(sequence: BenchmarkSequence) -> list[np.ndarray]:
    """Everything true of a sequence that is in memory: cameras and people, not images, depth and surfaces."""
    people = [array for one in sequence.people for array in (one.boxes_px, one.present, one.joints_world)]
    return [array for array in (sequence.world_from_camera, sequence.intrinsics, *people) if array is not None]


def _is_done(path: Path, key: Identity, overwrite: bool) -> bool:
    saved = _read(path)
    if saved is None:
        return False
    other = difference(saved[0], key)
    if other is None:
        return True
    if overwrite or is_replaced(saved[0], key):
        return False
    raise InputError(
        f"{path} was made with {other} {saved[0].get(other)}, not {key.get(other)}; give another --out, or --overwrite "
        "to replace it."
    )


def _write(path: Path, key: Identity, result: SequenceResult) -> None:
    content = {"format": "unish sequence scores", "key": key, **dataclasses.asdict(result)}
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n")


def _read(path: Path) -> tuple[Identity, SequenceResult] | None:
    """Key and scores of a file; None when there is none, or it cannot be read."""
    try:
        content = json.loads(path.read_text())
        names = [field.name for field in dataclasses.fields(SequenceResult)]
        values = {name: content[name] for name in names}
        values["means"] = {name: WeightedMean(**mean) for name, mean in values["means"].items()}
        values["warnings"] = tuple(values["warnings"])
        return dict(content["key"]), SequenceResult(**values)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
