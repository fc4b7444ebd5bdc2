"""The demo: a clip goes in, a 3-D scene with people comes out in the browser. Options: `python app.py --help`."""

import os

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

try:
    import spaces  # on ZeroGPU it has to come before anything that touches CUDA; elsewhere its decorator does nothing
except ImportError:
    spaces = None


import argparse
import dataclasses
import functools
import shutil
import sys
import tempfile
from pathlib import Path

import gradio as gr
from gradio.themes import Base
from gradio.utils import get_upload_folder

import unish
from unish.body import load_body
from unish.cli import parse_box
from unish.errors import InputError, UniSHError
from unish.pipeline import reconstruct_tracked, require_people
from unish.report import FitReport, fit_report
from unish.summary import summarise
from unish.video.people import find_people
from unish.video.reader import read_clip
from unish.viewer import encode_scene, scene_arrays
from unish.viewer.numbers import NUMBERS_CSS, numbers_html
from unish.viewer.page import css_template, head, js_on_load, offline_page, plotly_js_path, template

SAMPLE_CLIP = Path(unish.__file__).parent / "assets" / "sample_clip.mp4"
KEEP_FILES_S = 3600
MAX_UPLOAD = "200mb"
MAX_WAITING = 20
MAX_FRAMES = 300
"""A visitor's share of a GPU; the command line and Python take clips of any length."""
# The fonts are those of the visitor: none is fetched.
THEME = Base(
    primary_hue="blue",
    neutral_hue="slate",
    radius_size="lg",
    font=["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"],
    font_mono=["ui-monospace", "monospace"],
)
INTRODUCTION = """
<h1>UniSH</h1>
<p>A phone video goes in; the scene, the camera and the people in it come out, in metres.</p>
"""
BOX_HELP = "One a line: x0,y0,x1,y1 in pixels of the first frame, @seconds for a later one. Empty: they are found."
CSS = """
.gradio-container .fillable.app { max-width: 1560px; margin: 0 auto; padding: 16px clamp(14px, 2.5vw, 32px); }
:is(#introduction, #viewer, #numbers) .html-container { padding: 0; }
#introduction h1 { font-size: 26px; font-weight: 650; margin: 0; }
#introduction p { font-size: 16px; opacity: .75; margin: 2px 0 0; }
#clip video { max-height: 250px; }
#viewer .unish-viewer { height: clamp(480px, calc(100vh - 270px), 860px); }
#viewer .unish-viewer:has(.uv-plot:empty) :is(.uv-controls, .uv-hint), #viewer .pending .uv-message,
#viewer .uv-notes { display: none !important; }
#viewer > .wrap:has(.error) { display: none; }
#viewer > .wrap { inset: 0; height: 100%; justify-content: center; border-radius: 10px; }
#viewer .progress-level-inner { font: 15px/1.6 var(--font); text-align: center; padding: 0 12px; }
#viewer .progress-text { inset: auto 16px 12px auto; transform: none; font: 13px/1.6 var(--font); }
:is(#page, #archive) { font-weight: 500; }
@media (max-width: 640px) { #viewer .unish-viewer { height: max(560px, 86vh); } }
"""
SHOW_VIEWER = "() => document.getElementById('viewer').scrollIntoView({behavior: 'smooth', block: 'nearest'})"


@functools.lru_cache(maxsize=2)
def networks(weights: str):
    """The network and the body model, loaded once and kept."""
    return unish.load(weights), load_body(None)


def report(share: float, message: str) -> None:
    gr.Progress()(share, desc=message)


def on_gpu(function):
    """On ZeroGPU the function gets a GPU for up to a minute."""
    return function if spaces is None else spaces.GPU(duration=60)(function)


@on_gpu
def reconstruct_on_gpu(clip, tracks, finder: str, weights: str) -> unish.Reconstruction:
    """All that needs a GPU. NumPy goes in and comes out: on ZeroGPU it runs in another process."""
    model, body = networks(weights)
    return reconstruct_tracked(clip, tracks, model, body, finder=finder, progress=report)


def run(video, fps, start_s, end_s, weights, boxes, progress=gr.Progress()):  # noqa: B008
    """The button: from the form to viewer, numbers and files. What the user can mend is said in one sentence."""
    try:
        if not video:
            raise InputError("There is no clip yet. Drop a video, record one, or click the example.")
        people = [parse_box(line) for line in (boxes or "").splitlines() if line.strip()]
        progress(0.0, desc="Reading the clip")
        clip = read_clip(video, fps=fps, start_s=start_s, end_s=end_s, max_frames=MAX_FRAMES)
        progress(0.15, desc="Finding people")
        found = find_people(clip, boxes=people)
        require_people(found.tracks)  # before a GPU is asked for
        clip = dataclasses.replace(clip, warnings=clip.warnings + found.warnings)
        scene = reconstruct_on_gpu(clip, found.tracks, found.finder, weights)
        progress(0.95, desc="Writing the files")
        fit = fit_report(scene)
        shown, page, archive = write_files(scene, fit)
    except UniSHError as error:
        raise gr.Error(str(error).replace(str(video), "the clip"), duration=None, print_exception=False) from error
    return (
        gr.FileData(path=str(shown), orig_name=shown.name).model_dump(),
        gr.HTML(numbers_html(summarise(scene), fit), visible=True),
        gr.DownloadButton(value=str(page), visible=True),
        gr.DownloadButton(value=str(archive), visible=True),
    )


def write_files(scene: unish.Reconstruction, fit: FitReport) -> tuple[Path, Path, Path]:
    """The viewer's scene file, the offline page and the zipped result, in Gradio's cache: it removes them in time."""
    cache = Path(get_upload_folder())
    cache.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="unish-", dir=cache))
    drawn = encode_scene(scene_arrays(scene))
    shown, page = folder / "scene.bin", folder / "viewer.html"
    shown.write_bytes(drawn)
    page.write_text(offline_page(drawn, scene.provenance.source_name), encoding="utf-8")
    scene.save(folder / "reconstruction")
    fit.save(folder / "reconstruction" / "report.json")
    archive = shutil.make_archive(str(folder / "reconstruction"), "zip", folder, "reconstruction")
    shutil.rmtree(folder / "reconstruction")
    return shown, page, Path(archive)


def build(weights: str) -> gr.Blocks:
    """The page."""
    with gr.Blocks(title="UniSH", fill_width=True, delete_cache=(KEEP_FILES_S, KEEP_FILES_S)) as demo:
        gr.HTML(INTRODUCTION, elem_id="introduction")
        with gr.Row(equal_height=False):
            with gr.Column(scale=1, min_width=320):
                video = gr.Video(label="Clip", sources=["upload", "webcam"], height=300, elem_id="clip")
                gr.Examples([[str(SAMPLE_CLIP)]], video, label="Or take this one", elem_id="example")
                with gr.Accordion("Options", open=False, elem_id="options"):
                    fps = gr.Slider(1, 15, value=6, step=0.5, label="Frames a second")
                    with gr.Row():
                        start = gr.Number(None, label="Start (s)", minimum=0, min_width=100)
                        end = gr.Number(None, label="End (s)", minimum=0, min_width=100)
                    choices = list(dict.fromkeys([weights, "auto", "mini", "release"]))
                    which = gr.Dropdown(choices, value=weights, label="Weights")
                    boxes = gr.Textbox(label="People", info=BOX_HELP, placeholder="120,40,260,400", lines=2)
                button = gr.Button("Reconstruct", variant="primary", size="lg", elem_id="run")
            with gr.Column(scale=2, min_width=340):
                viewer = gr.HTML(
                    elem_id="viewer",
                    html_template=template(),
                    css_template=css_template(),
                    js_on_load=js_on_load(),
                    head=head(),
                    apply_default_css=False,
                )
                numbers = gr.HTML(visible=False, elem_id="numbers")
                with gr.Row():
                    page = gr.DownloadButton("Download the viewer (HTML)", size="md", visible=False, elem_id="page")
                    archive = gr.DownloadButton("Download the data (zip)", size="md", visible=False, elem_id="archive")
        button.click(None, js=SHOW_VIEWER)
        button.click(
            run,
            [video, fps, start, end, which, boxes],
            [viewer, numbers, page, archive],
            api_name="reconstruct",
            concurrency_limit=1,
            concurrency_id="gpu",
            show_progress_on=viewer,
        )
    return demo.queue(max_size=MAX_WAITING)


def main() -> int:
    parser = argparse.ArgumentParser(description="The demo: a clip goes in, a 3-D scene with people comes out.")
    parser.add_argument("--host", help="address to listen on (default 127.0.0.1)")
    parser.add_argument("--port", type=int, help="port (default: the first free one from 7860)")
    parser.add_argument("--share", action="store_true", help="also open a public link through Gradio's servers")
    parser.add_argument("--weights", default="auto", help="release, mini, auto, a folder or a Hub repository id")
    options = parser.parse_args()
    try:
        networks(options.weights)
    except UniSHError as error:
        print(f"app.py: {error}", file=sys.stderr)
        return 2
    gr.set_static_paths([plotly_js_path()])
    build(options.weights).launch(
        server_name=options.host,
        server_port=options.port,
        share=options.share,
        theme=THEME,
        head=f"<style>{CSS}{NUMBERS_CSS}</style>",
        max_file_size=MAX_UPLOAD,
        allowed_paths=[str(SAMPLE_CLIP)],
        footer_links=["api", "settings"],
        ssr_mode=False,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
