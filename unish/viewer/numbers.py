"""A result's numbers as a piece of HTML for a page that shows the viewer."""

import html
from collections.abc import Sequence

from unish.analysis.fit_report import FitReport, Measure
from unish.analysis.summary import PersonSummary, Summary

NUMBERS_CSS = """
.unish-numbers { font-size: 14px; line-height: 1.45; }
.unish-numbers dl {
  display: grid; grid-template-columns: repeat(4, auto); gap: 8px; margin: 0 0 12px;
}
.unish-numbers dl div {
  display: flex; flex-direction: column; justify-content: space-between; min-width: 0; padding: 8px 11px;
  border-radius: 10px; border: 1px solid color-mix(in srgb, currentColor 16%, transparent);
}
.unish-numbers dt, .unish-numbers .quiet { opacity: .68; font-size: 13px; }
.unish-numbers dd {
  margin: 0; font-size: 18px; font-weight: 600; font-variant-numeric: tabular-nums; white-space: nowrap;
}
.unish-numbers p { margin: 0 0 4px; }
.unish-numbers .note { margin: 8px 0 0; padding-left: 12px; border-left: 3px solid #d8a20a; }
.unish-numbers .fit {
  margin: 12px 0 0; padding: 9px 14px; border-radius: 10px;
  border: 1px solid color-mix(in srgb, currentColor 16%, transparent);
}
.unish-numbers .fit summary { cursor: pointer; }
.unish-numbers .fit .table { overflow-x: auto; margin: 8px 0; }
.unish-numbers .fit table { width: auto; margin: 0; border-collapse: collapse; font-variant-numeric: tabular-nums; }
.unish-numbers .fit :is(table, thead, tbody, tr, th, td) { border: 0 !important; }
.unish-numbers .fit :is(th, td) { padding: 2px 12px 2px 0; text-align: left; white-space: nowrap; }
.unish-numbers .fit tbody th { font-weight: 400; white-space: normal; min-width: 7.5em; }
.unish-numbers .mark::before {
  content: ""; display: inline-block; width: 9px; height: 9px; margin-right: 7px; border-radius: 50%;
  border: 2px solid currentColor; box-sizing: border-box;
}
.unish-numbers .mark.good::before { background: #2f9e5b; border-color: #2f9e5b; }
.unish-numbers .mark.fair::before { background: #d8a20a; border-color: #d8a20a; }
.unish-numbers .mark.poor::before { background: #d64545; border-color: #d64545; }
"""


def numbers_html(summary: Summary, report: FitReport | None = None) -> str:
    """The numbers, the people, the body–scene fit where there is a report, and the warnings.

    Every text is escaped: a weights folder or a file name may be in it.
    """
    numbers = (
        ("Frames", f"{summary.frames}"),
        ("Seconds", f"{summary.seconds:.1f}"),
        ("People", f"{len(summary.people)}"),
        ("Camera travelled", f"{summary.camera_path_m:.2f} m"),
    )
    cards = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in numbers)
    people = "".join(f"<p>{_person(person, summary.frames)}</p>" for person in summary.people)
    made = f'<p class="quiet">{_model(summary.weights)}, {html.escape(summary.device.upper())}, {summary.lens()}</p>'
    notes = "".join(f'<p class="note">{html.escape(warning)}</p>' for warning in summary.warnings)
    fit = "" if report is None else _fit(report)
    return f'<div class="unish-numbers"><dl>{cards}</dl>{people}{made}{fit}{notes}</div>'


_MODELS = {"mini": "Small model (mini)", "release": "Full model (release)"}


def _model(weights: str) -> str:
    return _MODELS.get(weights, f"Weights {html.escape(weights)}")


def _person(person: PersonSummary, frames: int) -> str:
    seen = "in every frame" if person.frames_seen == frames else f"in {person.frames_seen} of {frames} frames"
    return (
        f"<b>{html.escape(person.name)}</b>, visible {seen}, about {person.height_m:.2f} m tall in this pose, "
        f"walked {person.moved_m:.2f} m"
    )


def _fit(report: FitReport) -> str:
    """A collapsible section; collapsed, it shows the rating of the whole report."""
    people = [(person.name, person.measures) for person in report.people]
    whole = [("Whole clip", report.clip)]
    unknown = (
        f'<p class="quiet">{html.escape(name)}: {html.escape("; ".join(dict.fromkeys(reasons)))}</p>'
        for name, measures in people + whole
        if (reasons := [measure.why for measure in measures if measure.why])
    )
    return (
        f'<details class="fit"><summary>Body–scene fit: {_mark(report.word)}</summary>'
        f"{_table(people, 'Each person')}{_table(whole, 'The whole clip')}{''.join(unknown)}</details>"
    )


def _table(columns: Sequence[tuple[str, tuple[Measure, ...]]], name: str) -> str:
    """One row per measure, one column per person; scrolls by itself where there are many. Empty without any value."""
    rows = zip(*(measures for _, measures in columns), strict=True)
    rows = [row for row in rows if any(measure.value is not None for measure in row)]
    if not rows:
        return ""
    head = "".join(f'<th scope="col">{html.escape(column)}</th>' for column, _ in columns)
    body = "".join(
        f'<tr><th scope="row">{html.escape(row[0].label)}</th>{"".join(f"<td>{_value(m)}</td>" for m in row)}</tr>'
        for row in rows
    )
    return (
        f'<div class="table" role="region" tabindex="0" aria-label="{html.escape(name)}">'
        f"<table><thead><tr><td></td>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _value(measure: Measure) -> str:
    if measure.value is None:
        return _mark("unknown")
    return _mark(measure.word, f"{measure.value:.1f} {html.escape(measure.unit)} ")


def _mark(word: str, before: str = "") -> str:
    """A coloured dot and the rating that it stands for, so that colour is not needed."""
    return f'<span class="mark {html.escape(word)}">{before}<b>{html.escape(word)}</b></span>'
