"""The table: the same numbers in every format, and the notes that they need."""

import csv
import dataclasses
import io
import json

import pytest

from unish.evaluation.benchmark import Benchmark, MethodRow
from unish.evaluation.metric_values import WeightedMean
from unish.evaluation.runner import SequenceResult
from unish.evaluation.scoring import METRICS
from unish.evaluation.table import heading, make_table

BENCHMARK = Benchmark(
    name="walks",
    title="Walks",
    metrics=("surface_abs_rel", "delta_125", "pve_mm"),
    sequences=lambda root: (),
    sampled_fps=6.0,
    window=30,
    published=(
        MethodRow("π³|a", "a paper, table 2", {"surface_abs_rel": 0.05, "delta_125": 0.9, "pve_mm": 80.0}),
        MethodRow("other", "another paper", {"delta_125": 0.8}),
        MethodRow("third", "a third paper", {}),
    ),
)
RESULTS = (
    SequenceResult(
        sequence="one",
        frames=10,
        means={
            "surface_abs_rel": WeightedMean(0.0123456, 1.0),
            "delta_125": WeightedMean(0.75, 300.0),
            "seconds_per_frame": WeightedMean(0.5, 2.0),
        },
        peak_memory_mb=812.4,
        warnings=("a doubt",),
    ),
    SequenceResult(
        sequence="two",
        frames=20,
        means={
            "surface_abs_rel": WeightedMean(0.03, 3.0),
            "delta_125": WeightedMean(0.95, 100.0),
            "seconds_per_frame": WeightedMean(0.1, 6.0),
        },
        peak_memory_mb=700.0,
        warnings=("a doubt", "another doubt"),
    ),
)


@pytest.fixture
def table():
    return make_table(BENCHMARK, "ours", "unish 1, some weights", RESULTS)


def cells(markdown: str) -> list[list[str]]:
    lines = [line for line in markdown.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.replace("\\|", "¦").strip("|").split("|")] for line in lines]


def test_sequences_are_pooled_by_their_weights(table):
    ours = table.rows[0].numbers
    assert ours["surface_abs_rel"] == pytest.approx((0.0123456 + 3 * 0.03) / 4)
    assert ours["delta_125"] == pytest.approx(0.8) and ours["seconds_per_frame"] == pytest.approx(0.2)
    assert "pve_mm" not in ours


def test_all_formats_say_the_same(table, tmp_path):
    table.save(tmp_path)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["table.csv", "table.json", "table.md", "table.txt"]
    as_json = json.loads((tmp_path / "table.json").read_text())
    as_csv = list(csv.DictReader(io.StringIO((tmp_path / "table.csv").read_text())))
    head, *lines = cells(table.markdown())
    text = (tmp_path / "table.txt").read_text()
    assert head == ["method", *map(heading, table.metrics), "source"]
    assert len(as_json["rows"]) == len(lines) == 4
    for row, line, written in zip(as_json["rows"], lines, as_csv, strict=False):
        assert row["method"] == line[0].replace("¦", "|") == written["method"] and written["sequence"] == "all"
        assert row["source"] == line[-1] == written["source"]
        for name, cell in zip(table.metrics, line[1:-1], strict=True):
            assert METRICS[name].text(row["numbers"].get(name)) == cell
            assert (float(written[name]) if written[name] else None) == row["numbers"].get(name)
            assert cell in text
    for sequence, line, written in zip(
        as_json["sequences"], cells(table.sequences_markdown())[1:], as_csv[4:], strict=True
    ):
        assert sequence["sequence"] == line[0] == written["sequence"] and line[1] == written["frames"]
        for name, cell in zip(table.metrics, line[2:-1], strict=True):
            assert METRICS[name].text(sequence["numbers"].get(name)) == cell
            assert (float(written[name]) if written[name] else None) == sequence["numbers"].get(name)
    assert cells((tmp_path / "table.md").read_text()) == cells(table.markdown()) + cells(table.sequences_markdown())


def test_numbers_are_printed_in_the_units_of_their_headings(table):
    line = cells(table.markdown())[1]
    assert line[1:4] == ["2.56", "0.800", "–"] and line[4] == "0.200"
    assert cells(table.markdown())[2][:4] == ["π³¦a", "5.00", "0.900", "80.0"]
    assert heading("delta_125") == "δ<1.25 ↑" and heading("pve_mm") == "PVE mm ↓"
    assert heading("points_behind_cm").endswith("→0")


def test_a_line_a_measure_where_there_are_more_measures_than_methods():
    few = dataclasses.replace(BENCHMARK, published=BENCHMARK.published[:1])
    head, *lines = cells(make_table(few, "ours", "here", RESULTS).markdown())
    assert head == ["method", "ours", "π³¦a"]
    assert [line[0] for line in lines] == [heading(m) for m in (*few.metrics, "seconds_per_frame")] + ["source"]
    assert lines[0][1:] == ["2.56", "5.00"]


def test_notes_say_what_the_numbers_do_not(table):
    notes = " ".join(table.notes)
    assert "2 sequences, 30 frames" in notes and "6 frames per second" in notes and "windows of 30 frames" in notes
    assert "PVE mm was not measured: it takes true bodies" in notes and "812 MB" in notes
    assert table.notes.count("a doubt") == 1 and "another doubt" in table.notes
    assert "one scale per sequence; pooled by valid pixels" in notes and "Only" not in notes


def test_notes_warn_of_rows_that_cannot_be_compared():
    notes = " ".join(make_table(BENCHMARK, "ours", "here", RESULTS, "metric", of=5).notes)
    assert "Only 2 of the 5 sequences" in notes and "in metres as predicted; other rows after one scale" in notes


def test_results_of_others_are_not_said_to_have_run_here():
    read = tuple(
        dataclasses.replace(
            result,
            means={name: mean for name, mean in result.means.items() if name != "seconds_per_frame"},
            peak_memory_mb=None,
        )
        for result in RESULTS
    )
    table = make_table(BENCHMARK, "theirs", "results in theirs", read)
    assert table.metrics == BENCHMARK.metrics
    assert not any("frames per second" in note or "memory" in note for note in table.notes)
    assert cells(table.sequences_markdown())[1][-1] == "–"


def test_every_measure_has_a_heading_of_its_own():
    headings = [measure.heading for measure in METRICS.values()]
    assert len(set(headings)) == len(headings)
    assert {measure.better for measure in METRICS.values()} == {"lower", "higher", "zero", "one"}
    assert METRICS["abs_rel"].text(None) == METRICS["abs_rel"].text(float("nan")) == "–"
