"""The page's own component for choosing people: its elements, its look, its script."""

from pathlib import Path
from typing import Any

import gradio as gr

_STATIC = Path(__file__).parent / "static"


def people_picker(**options: Any) -> gr.HTML:
    """A component whose value is `person_selection.picker_value`, with the visitor's selection in it."""
    return gr.HTML(
        html_template=_read("picker.html"),
        css_template=_read("picker.css"),
        js_on_load=_read("picker.js"),
        apply_default_css=False,
        **options,
    )


def _read(name: str) -> str:
    return (_STATIC / name).read_text(encoding="utf-8")
