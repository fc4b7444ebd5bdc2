"""The page's own components: their elements, their look, their scripts."""

from pathlib import Path
from typing import Any

import gradio as gr

_STATIC = Path(__file__).parent / "static"


def people_picker(**options: Any) -> gr.HTML:
    """A component whose value is `person_selection.picker_value`, with the visitor's selection in it."""
    return _component("picker", **options)


def example_gallery(**options: Any) -> gr.HTML:
    """A component whose value is `updates.gallery_value`. Its events name an example: `select`, it is to be opened;
    `input`, its clip is to be run."""
    return _component("gallery", **options)


def video_companion(**options: Any) -> gr.HTML:
    """A component whose value is `updates.video_value`: the video on the scene's timeline. Its event `select` asks for
    the video of a `kind`."""
    return _component("companion", **options)


def _component(name: str, **options: Any) -> gr.HTML:
    html, css, script = ((_STATIC / f"{name}.{kind}").read_text(encoding="utf-8") for kind in ("html", "css", "js"))
    return gr.HTML(html_template=html, css_template=css, js_on_load=script, apply_default_css=False, **options)
