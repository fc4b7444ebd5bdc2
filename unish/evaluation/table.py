"""A benchmark's table: this method beside the published ones, for the terminal, Markdown, JSON and CSV.

JSON and CSV hold the numbers in the units of the metrics' names, with those of every sequence; text and Markdown print
them in the units of the headings.
"""

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unish.evaluation.benchmark import Benchmark, MethodRow
from unish.evaluation.metric_values import pooled
from unish.evaluation.runner import FITTED, SequenceResult
from unish.evaluation.scoring import METRICS
from unish.utils.atomic_write import atomic_path

ALL = "all"
"""In place of a sequence's name: the row of the whole benchmark."""


@dataclass(frozen=True)
class Table:
    """The numbers of a benchmark."""

    title: str
    benchmark: str
    metrics: tuple[str, ...]
    rows: tuple[MethodRow, ...]
    """This method first."""
    sequences: tuple[SequenceResult, ...]
    """What its row was pooled from."""
    notes: tuple[str, ...]

    def text(self) -> str:
        """For the terminal: aligned columns, then notes on the numbers, then every sequence."""
        parts = [self.title, _aligned(self._cells()), "\n".join(f"- {note}" for note in self.notes)]
        if len(self.sequences) > 1:
            parts.append(_aligned(self._sequence_cells()))
        return "\n\n".join(part for part in parts if part) + "\n"

    def markdown(self) -> str:
        """The table, and below it the notes on its numbers."""
        return _markdown(self._cells()) + "\n" + "\n".join(f"- {note}" for note in self.notes) + "\n"

    def sequences_markdown(self) -> str:
        """One line per sequence."""
        return _markdown(self._sequence_cells())

    def to_json(self) -> dict[str, Any]:
        """Plain values for `json.dumps`; unknown ones are left out."""
        return {
            "format": "unish benchmark table",
            "format_version": 1,
            "benchmark": self.benchmark,
            "title": self.title,
            "measures": {
                name: {"heading": METRICS[name].heading, "better": METRICS[name].better} for name in self.metrics
            },
            "rows": [{"method": r.method, "source": r.source, "numbers": dict(r.numbers)} for r in self.rows],
            "sequences": [
                {
                    "sequence": result.sequence,
                    "frames": result.frames,
                    "peak_memory_mb": result.peak_memory_mb,
                    "numbers": {name: mean.value for name, mean in result.means.items()},
                }
                for result in self.sequences
            ],
            "notes": list(self.notes),
        }

    def csv(self) -> str:
        """One line per method, then one line per sequence of this one."""
        file = io.StringIO()
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["method", "sequence", "source", "frames", "peak_memory_mb", *self.metrics])
        for row in self.rows:
            writer.writerow([row.method, ALL, row.source, "", "", *(row.numbers.get(m, "") for m in self.metrics)])
        for result in self.sequences:
            numbers = [result.means[m].value if m in result.means else "" for m in self.metrics]
            memory = "" if result.peak_memory_mb is None else result.peak_memory_mb
            writer.writerow([self.rows[0].method, result.sequence, "", result.frames, memory, *numbers])
        return file.getvalue()

    def save(self, folder: Path) -> None:
        """Write table.txt, table.md, table.json and table.csv. Raises InputError when the folder cannot be written."""
        contents = {
            "table.txt": self.text(),
            "table.md": self.markdown() + "\n" + self.sequences_markdown(),
            "table.json": json.dumps(self.to_json(), indent=2, ensure_ascii=False, allow_nan=False) + "\n",
            "table.csv": self.csv(),
        }
        for name, content in contents.items():
            with atomic_path(folder / name) as temporary:
                temporary.write_text(content, encoding="utf-8")

    def _cells(self) -> list[list[str]]:
        """One line per method; one line per metric where there are more metrics, so that the table stays narrow."""
        sourced = any(row.source for row in self.rows[1:])
        head = ["method", *map(heading, self.metrics), *(["source"] if sourced else [])]
        lines = [
            [row.method, *(METRICS[m].text(row.numbers.get(m)) for m in self.metrics), *([row.source] * sourced)]
            for row in self.rows
        ]
        cells = [head, *lines]
        return cells if len(self.metrics) <= len(self.rows) else [list(line) for line in zip(*cells, strict=True)]

    def _sequence_cells(self) -> list[list[str]]:
        cells = [["sequence", "frames", *map(heading, self.metrics), "peak MB"]]
        for result in self.sequences:
            means = {name: mean.value for name, mean in result.means.items()}
            memory = "–" if result.peak_memory_mb is None else f"{result.peak_memory_mb:.0f}"
            numbers = [METRICS[m].text(means.get(m)) for m in self.metrics]
            cells.append([result.sequence, str(result.frames), *numbers, memory])
        return cells


def make_table(
    benchmark: Benchmark,
    method: str,
    source: str,
    results: tuple[SequenceResult, ...],
    depth_alignment: str = "scale",
    of: int | None = None,
) -> Table:
    """The table of the scores, with the published rows and the notes that a reader of the numbers needs.

    `of`: how many sequences the benchmark has, if not as many as there are results.
    """
    every = pooled(result.means for result in results)
    numbers = {name: value for name, value in every.items() if not name.startswith(FITTED)}
    metrics = benchmark.metrics
    if "seconds_per_frame" in numbers and "seconds_per_frame" not in metrics:
        metrics = (*metrics, "seconds_per_frame")
    return Table(
        title=benchmark.title,
        benchmark=benchmark.name,
        metrics=metrics,
        rows=(MethodRow(method, source, numbers), *_fitted_rows(method, source, every), *benchmark.published),
        sequences=results,
        notes=_notes(benchmark, source, results, numbers, depth_alignment, of or len(results)),
    )


def _fitted_rows(method: str, source: str, numbers: dict[str, float]) -> tuple[MethodRow, ...]:
    """The row of the fitted bodies, if any."""
    fitted = {name.removeprefix(FITTED): value for name, value in numbers.items() if name.startswith(FITTED)}
    return (MethodRow(f"{method}, fitted", source, fitted),) if fitted else ()


ARROWS = {"lower": "↓", "higher": "↑", "zero": "→0", "one": "→1"}
ALIGNED = {
    "scale": "Depth after one scale per sequence",
    "scale&shift": "Depth after one scale and one shift per sequence",
    "metric": "Depth in metres as predicted",
}


def _notes(
    benchmark: Benchmark,
    source: str,
    results: tuple[SequenceResult, ...],
    numbers: Mapping[str, float],
    alignment: str,
    of: int,
) -> tuple[str, ...]:
    frames = sum(result.frames for result in results)
    sequences = "1 sequence" if len(results) == 1 else f"{len(results)} sequences"
    notes = [f"{source}: {sequences}, {frames} frames."]
    if len(results) < of:
        notes.append(f"Only {len(results)} of the {of} sequences: the other rows cover all, so do not compare them.")
    if {"abs_rel", "delta_125"} & set(benchmark.metrics):
        others = "; other rows after one scale" if alignment != "scale" and benchmark.published else ""
        notes.append(f"{ALIGNED[alignment]}{others}; pooled by valid pixels.")
    if "seconds_per_frame" in numbers:  # else the method did not run here
        notes.append(_how_it_ran(benchmark))
    for name in benchmark.metrics:
        if name not in numbers and results:
            notes.append(f"{METRICS[name].heading} was not measured: it takes {METRICS[name].needs}.")
    memory = [result.peak_memory_mb for result in results if result.peak_memory_mb is not None]
    if memory:
        notes.append(f"Peak memory: {max(memory):.0f} MB.")
    notes += dict.fromkeys(warning for result in results for warning in result.warnings)
    return tuple(notes)


def _how_it_ran(benchmark: Benchmark) -> str:
    frames = f"{benchmark.sampled_fps:g} frames per second" if benchmark.sampled_fps else "Every frame"
    windows = f"in windows of {benchmark.window} frames" if benchmark.window else "one pass per sequence"
    interpolated = "; people interpolated to every frame" if benchmark.sampled_fps else ""
    return f"{frames}, {windows}{interpolated}."


def heading(metric: str) -> str:
    """With an arrow that says which way is better."""
    return f"{METRICS[metric].heading} {ARROWS[METRICS[metric].better]}"


def _markdown(cells: list[list[str]]) -> str:
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in cells]
    return "\n".join([lines[0], "|---" * len(cells[0]) + "|", *lines[1:]]) + "\n"


def _aligned(cells: list[list[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = (
        "  ".join(
            cell.ljust(w) if k == 0 else cell.rjust(w) for k, (cell, w) in enumerate(zip(line, widths, strict=True))
        )
        for line in cells
    )
    return "\n".join(line.rstrip() for line in lines)
