"""What is on the page and where: the form on the left, the result on the right."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import gradio as gr

from space.example import SAMPLE_CLIP
from unish.export import FORMATS
from unish.viewer.page import css_template, head, js_on_load, template

PICK, DRAW = "Pick or remove", "Draw a box"
FOCAL_HELP = "26mm as phones state it, or pixels of the clip."
HEIGHT_HELP = "Metres: 1.75 for person 1, 2=1.62 for person 2. Fixes the scale."


@dataclasses.dataclass(frozen=True)
class Form:
    """What the visitor fills in."""

    video: Any
    finished: Any
    people: Any
    picture: Any
    preview: Any
    mode: Any
    chosen: Any
    fps: Any
    start: Any
    end: Any
    focal: Any
    height: Any
    static: Any
    weights: Any
    button: Any
    cancel: Any

    @property
    def part(self) -> list:
        """Which part of which clip."""
        return [self.video, self.fps, self.start, self.end]


@dataclasses.dataclass(frozen=True)
class Shown:
    """What shows a result."""

    viewer: Any
    overlay: Any
    numbers: Any
    page: Any
    archive: Any
    exports: Any
    made: Any
    formats: Any
    make: Any

    @property
    def parts(self) -> list:
        """In the order of `shown`."""
        return [self.viewer, self.overlay, self.numbers, self.page, self.archive, self.exports, self.made]


def form(weights: Sequence[str]) -> Form:
    """The column on the left."""
    video = gr.Video(label="Clip", sources=["upload", "webcam"], height=300, elem_id="clip")
    gr.Examples([[str(SAMPLE_CLIP)]], video, label="Or take this one", elem_id="example")
    finished = gr.Button("Open its finished result", size="sm", elem_id="finished")
    with gr.Group(visible=False, elem_id="people") as people:
        picture = gr.Image(label="People", interactive=False, buttons=[], elem_id="picture", height=260)
        preview = gr.Slider(0, 1, 0, step=1, label="Picture", elem_id="preview")
        mode = gr.Radio([PICK, DRAW], value=PICK, show_label=False, container=False, elem_id="mode")
        chosen = gr.CheckboxGroup(label="Reconstruct", elem_id="chosen")
    button = gr.Button("Reconstruct", variant="primary", size="lg", elem_id="run")
    cancel = gr.Button("Cancel", size="sm", visible=False, elem_id="cancel")
    with gr.Accordion("Options", open=False, elem_id="options"):
        fps = gr.Slider(1, 15, value=6, step=0.5, label="Frames a second")
        with gr.Row():
            start = gr.Number(None, label="Start (s)", minimum=0, min_width=100)
            end = gr.Number(None, label="End (s)", minimum=0, min_width=100)
        focal = gr.Textbox(label="Focal length", info=FOCAL_HELP, placeholder="not known", elem_id="focal")
        height = gr.Textbox(label="Height of a person", info=HEIGHT_HELP, placeholder="not known", elem_id="height")
        static = gr.Checkbox(label="The camera does not move", elem_id="static")
        which = gr.Dropdown(list(weights), value=weights[0], label="Weights")
    return Form(
        video, finished, people, picture, preview, mode, chosen, fps, start, end, focal, height, static, which, button,
        cancel,
    )  # fmt: skip


def results() -> Shown:
    """The column on the right."""
    viewer = gr.HTML(
        elem_id="viewer",
        html_template=template(),
        css_template=css_template(),
        js_on_load=js_on_load(),
        head=head(),
        apply_default_css=False,
    )
    numbers = gr.HTML(visible=False, elem_id="numbers")
    overlay = gr.Video(label="Bodies over the clip", visible=False, interactive=False, elem_id="overlay")
    with gr.Row():
        page = gr.DownloadButton("Download the viewer (HTML)", size="md", visible=False, elem_id="page")
        archive = gr.DownloadButton("Download the data (zip)", size="md", visible=False, elem_id="archive")
    with gr.Accordion("Files for other programs", open=False, visible=False, elem_id="exports") as exports:
        choices = [(f"{name.upper()}: {one.summary}", name) for name, one in FORMATS.items()]
        formats = gr.CheckboxGroup(choices, value=["glb"], show_label=False, elem_id="formats")
        make = gr.Button("Make them", size="md", elem_id="make")
        made = gr.DownloadButton("Download them (zip)", size="md", visible=False, elem_id="made")
    return Shown(viewer, overlay, numbers, page, archive, exports, made, formats, make)
