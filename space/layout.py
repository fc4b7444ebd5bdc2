"""What is on the page and where: the form and the result's numbers on the left, the rest of the result on the right."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr

from space.components import example_gallery, people_picker, video_companion
from space.downloads import format_name
from space.request import DEFAULT_FPS
from unish.export import FORMATS, installed_formats
from unish.export.formats import TOOLS
from unish.viewer.page import css_template, head, js_on_load, template

LENS_HELP = "Distances depend on it. Choose one, or type it, e.g. 35mm or 1450 (pixels)."
LENSES = (
    ("As the phone recorded it, else estimated", ""),
    ("Phone, 1×", "27mm"),
    ("Phone, 0.5× (ultra-wide)", "14mm"),
    ("Phone, 2×", "54mm"),
    ("Phone, 3×", "80mm"),
)
"""Roughly those of recent phones; a little longer than stated for photographs, as stabilisation crops videos."""
HEIGHT_HELP = "Sets the true scale. 1.75 means person 1; 2=1.62 means person 2."
SHOT_HELP = "The video has cuts. One shot is reconstructed at a time."
MODELS = {
    "own": "This server's own",
    "auto": "Automatic",
    "mini": "Small, rough (bundled)",
    "release": "Full (needs a GPU, non-commercial)",
}
"""What a visitor reads for each of the weights on offer."""
SCENES = [("Points", "points"), ("Mesh", "mesh"), ("Both", "both")]
BONE_NAMES = [("Unreal", "ue5"), ("Mixamo, Unity", "mixamo"), ("SMPL", "smpl")]


@dataclasses.dataclass(frozen=True)
class Form:
    """What the visitor fills in."""

    video: Any
    note: Any
    people: Any
    shot: Any
    picker: Any
    fps: Any
    start: Any
    end: Any
    focal: Any
    height: Any
    static: Any
    fit: Any
    weights: Any
    run: Any
    cancel: Any

    @property
    def part(self) -> list:
        """Which part of which clip."""
        return [self.video, self.fps, self.start, self.end]


@dataclasses.dataclass(frozen=True)
class ExportForm:
    """Which files for other programs the visitor wants."""

    groups: list
    """Formats, by the tool that opens them."""
    scene: Any
    fbx_scene: Any
    names: Any

    @property
    def options(self) -> list:
        """In the order of `updates.export_updates`."""
        return [self.scene, self.fbx_scene, self.names]

    @property
    def parts(self) -> list:
        """In the order of `Demo.export`."""
        return [*self.options, *self.groups]


@dataclasses.dataclass(frozen=True)
class Shown:
    """What shows a result."""

    gallery: Any
    viewer: Any
    numbers: Any
    overlay: Any
    page: Any
    archive: Any
    exports: Any
    made: Any
    formats: ExportForm
    make: Any
    making: Any

    @property
    def parts(self) -> list:
        """In the order of `updates.result_updates`."""
        return [self.gallery, self.viewer, self.numbers, self.exports, self.made, *self.files]

    @property
    def files(self) -> list:
        """Those written behind the scene, in the order of `Demo.finish`."""
        return [self.page, self.overlay, self.archive]


def choice(choices: Sequence, **options: Any) -> gr.Dropdown:
    """A dropdown whose value we check ourselves: Gradio's answer to letters that are no text would break off."""
    return gr.Dropdown(choices, allow_custom_value=True, **options)


def form(weights: Sequence[str]) -> Form:
    """The column on the left."""
    video = gr.Video(label="Your video", sources=["upload", "webcam"], height=280, elem_id="clip")
    note = gr.HTML(visible=False, elem_id="note")
    with gr.Group(visible=False, elem_id="people") as people:
        shot = choice([], label="Shot", info=SHOT_HELP, visible=False, elem_id="shot")
        picker = people_picker(elem_id="picker")
    with gr.Row(elem_id="actions"):
        run = gr.Button("Reconstruct", variant="primary", size="lg", elem_id="run")
        cancel = gr.Button("Cancel", variant="stop", size="lg", visible=False, elem_id="cancel")
    with gr.Accordion("Options", open=False, elem_id="options"):
        fps = gr.Slider(1, 15, value=DEFAULT_FPS, step=0.5, label="Frames per second", elem_id="fps")
        with gr.Row():
            # Texts: Gradio's field for numbers turns an empty value into 0 as soon as it is shown.
            start = gr.Textbox(label="From (seconds)", placeholder="start", min_width=100, elem_id="from")
            end = gr.Textbox(label="To (seconds)", placeholder="end", min_width=100, elem_id="to")
        focal = choice(LENSES, value="", label="Lens", info=LENS_HELP, elem_id="focal")
        height = gr.Textbox(label="Known height", info=HEIGHT_HELP, placeholder="optional", elem_id="height")
        static = gr.Checkbox(label="Camera is on a tripod", elem_id="static")
        fit = gr.Checkbox(value=True, label="Fit bodies to the video", elem_id="fit")
        choices = [(MODELS.get(name, name), name) for name in weights]
        which = choice(choices, value=weights[0], label="Model", elem_id="weights")
    return Form(video, note, people, shot, picker, fps, start, end, focal, height, static, fit, which, run, cancel)


def result_numbers() -> gr.HTML:
    """Below the form: numbers, fit and warnings of the result that is shown."""
    return gr.HTML(visible=False, elem_id="numbers")


def export_choices() -> ExportForm:
    """The formats to choose from, a group for each tool that opens them, and below it what else concerns them."""
    groups, offered = [], installed_formats()
    meshed = "mesh" in offered
    scene = gr.Radio(SCENES, value="points", label="Scene in GLB and USD", visible=meshed, render=False)
    fbx_scene = gr.Checkbox(meshed, label="Scene as a mesh in FBX", visible=False, render=False, elem_id="fbx-scene")
    names = gr.Radio(BONE_NAMES, value="ue5", label="Bone names in FBX", visible=False, render=False)
    below = {FORMATS["glb"].tool: [scene], FORMATS["fbx"].tool: [names, fbx_scene]}
    with gr.Group(elem_id="formats"):
        for tool in TOOLS:
            choices = [
                (f"{format_name(name)}: {one.summary}", name) for name, one in offered.items() if one.tool == tool
            ]
            if choices:
                chosen = [name for _, name in choices if name == "glb"]
                groups.append(gr.CheckboxGroup(choices, value=chosen, label=tool))
            for option in below.get(tool, []):
                option.render()
    return ExportForm(groups, scene, fbx_scene, names)


def results(examples: Mapping[str, Any], numbers: gr.HTML) -> Shown:
    """The column on the right. `examples` as in `updates.gallery_value`; `numbers` stand on the left."""
    gallery = example_gallery(value=examples, elem_id="gallery")
    viewer = gr.HTML(
        elem_id="viewer",
        html_template=template(),
        css_template=css_template(),
        js_on_load=js_on_load(),
        head=head(),
        apply_default_css=False,
    )
    overlay = video_companion(elem_id="overlay")
    with gr.Row():
        page = gr.DownloadButton("Download 3D viewer (.html, works offline)", size="md", visible=False, elem_id="page")
        archive = gr.DownloadButton("Download all data (.zip)", size="md", visible=False, elem_id="archive")
    with gr.Accordion("Export (Blender, Unreal, COLMAP …)", open=False, visible=False, elem_id="exports") as exports:
        formats = export_choices()
        make = gr.Button("Create files", size="md", elem_id="make")
        making = gr.HTML(elem_id="making")  # shows progress, which Gradio's buttons do not
        made = gr.DownloadButton("Download exports (.zip)", size="md", visible=False, elem_id="made")
    return Shown(gallery, viewer, numbers, overlay, page, archive, exports, made, formats, make, making)
