"""A result's numbers as a piece of HTML for a page that shows the viewer."""

import html

from unish.summary import PersonSummary, Summary

NUMBERS_CSS = """
.unish-numbers { font-size: 14px; line-height: 1.45; }
.unish-numbers dl {
  display: grid; grid-template-columns: repeat(auto-fit, minmax(118px, 1fr)); gap: 10px; margin: 0 0 12px;
}
.unish-numbers dl div {
  padding: 10px 14px; border-radius: 10px; border: 1px solid color-mix(in srgb, currentColor 16%, transparent);
}
.unish-numbers dt, .unish-numbers .quiet { opacity: .68; font-size: 13px; }
.unish-numbers dd {
  margin: 0; font-size: 21px; font-weight: 600; font-variant-numeric: tabular-nums; white-space: nowrap;
}
.unish-numbers p { margin: 0 0 4px; }
.unish-numbers .note { margin: 8px 0 0; padding-left: 12px; border-left: 3px solid #d8a20a; }
"""


def numbers_html(summary: Summary) -> str:
    """The numbers, the people and the warnings. Every text is escaped: a weights folder or a file name may be in it."""
    numbers = (
        ("Frames", f"{summary.frames}"),
        ("Seconds", f"{summary.seconds:.1f}"),
        ("People", f"{len(summary.people)}"),
        ("Camera path", f"{summary.camera_path_m:.2f} m"),
    )
    cards = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in numbers)
    people = "".join(f"<p>{_person(person, summary.frames)}</p>" for person in summary.people)
    made = f'<p class="quiet">Weights {html.escape(summary.weights)}, on {html.escape(summary.device)}</p>'
    notes = "".join(f'<p class="note">{html.escape(warning)}</p>' for warning in summary.warnings)
    return f'<div class="unish-numbers"><dl>{cards}</dl>{people}{made}{notes}</div>'


def _person(person: PersonSummary, frames: int) -> str:
    seen = "in every frame" if person.frames_seen == frames else f"in {person.frames_seen} of {frames} frames"
    return (
        f"<b>{html.escape(person.name)}</b>, seen {seen}, {person.height_m:.2f} m tall as posed, "
        f"moved {person.moved_m:.2f} m"
    )
