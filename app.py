"""The demo: a clip goes in, a 3-D scene with people comes out in the browser. Options: `python app.py --help`."""

import os
import tempfile
from pathlib import Path

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
# A folder of its own: what is old in it is swept away, and Gradio's usual one is shared with other demos.
os.environ.setdefault("GRADIO_TEMP_DIR", str(Path(tempfile.gettempdir()) / "unish-demo"))

try:
    import spaces  # on ZeroGPU it has to come before anything that touches CUDA; elsewhere its decorator does nothing
except ImportError:
    spaces = None


import argparse
import contextlib
import dataclasses
import functools
import sys
from collections.abc import Iterator
from typing import Any

import gradio as gr
from gradio.events import api
from gradio.utils import get_upload_folder

import unish
from space.cleanup import KEEP_FILES_S, SWEEP_EVERY_S, start_sweeping
from space.example import SAMPLE_CLIP, Example
from space.layout import DRAW, form, results
from space.limits import MAX_FRAMES, MAX_UPLOAD_MB, MAX_WAITING, check_gpu_time, check_upload, gpu_seconds, look_seconds
from space.person_selection import Look, cornered, look_at, picture_of, toggled, wanted_people
from space.progress import break_off, go_on, report_to
from space.results import Result, find_result, write_exports, write_result
from space.style import CSS, INTRODUCTION, KEEP_LINK, SHOW_VIEWER, THEME
from unish.analysis.fit_report import fit_report
from unish.body import load_body
from unish.cli.parsing import parse_box, parse_heights
from unish.errors import InputError, UniSHError
from unish.export import check_formats
from unish.people.detection import DetectedPeople, detect_people
from unish.pipeline import ClipPriors, Options, reconstruct_tracked, require_people
from unish.structures import Clip
from unish.video.reader import read_clip
from unish.viewer.numbers import NUMBERS_CSS
from unish.viewer.page import plotly_js_path

EXAMPLE = Example()
OFFERED = ["auto", "mini", "release"]
"""Weights that a visitor may ask for; those of --weights come first."""
ON_ZEROGPU = os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true")


# ---------------------------------------------------------------- networks and the GPU


def check_weights(weights: str) -> None:
    """Raises `InputError` for weights that are not offered: a visitor names none of the server's files."""
    if weights not in OFFERED:
        raise InputError(f"Expected weights among {', '.join(OFFERED)}, got {weights!r}.")


@functools.lru_cache(maxsize=2)
def networks(weights: str):
    """The network and the body model, loaded once and kept. Raises `InputError` for weights that are not offered."""
    check_weights(weights)
    return unish.load(weights), load_body(None)


def seconds_needed(clip: Clip, tracks: tuple, *rest: object) -> int:
    """How long ZeroGPU is asked for."""
    return gpu_seconds(clip, len(tracks))


def stop(request: gr.Request):
    """The cancel button: the work ends with the window that it is at."""
    break_off(request.session_hash or "")
    return gr.Button(visible=False)


def on_gpu(duration: Any):
    """On ZeroGPU the function gets a GPU for `duration` of its arguments, in seconds; elsewhere nothing changes."""
    return (lambda function: function) if spaces is None else spaces.GPU(duration=duration)


@on_gpu(look_seconds)
def find_on_gpu(clip: Clip) -> DetectedPeople:
    """Who is in a clip."""
    return detect_people(clip)


@on_gpu(seconds_needed)
def reconstruct_on_gpu(
    clip: Clip, tracks: tuple, finder: str, weights: str, known: ClipPriors, visitor: str
) -> unish.Reconstruction:
    """All that needs a GPU. NumPy goes in and comes out: on ZeroGPU it runs in another process."""
    model, body = networks(weights)
    told_of = report_to(visitor, gr.Progress())
    return reconstruct_tracked(clip, tracks, model, body, finder=finder, priors=known, progress=told_of)


# ---------------------------------------------------------------- what the buttons do


@contextlib.contextmanager
def told(video: str | None) -> Iterator[None]:
    """What the visitor can mend is said in one sentence, without the server's paths."""
    try:
        yield
    except UniSHError as error:
        said = str(error).replace(str(video), "the clip") if video else str(error)
        raise gr.Error(said, duration=None, print_exception=False) from error


def read(video: str | None, fps: float, start_s: float | None, end_s: float | None) -> Clip:
    """The clip of the form, if it may be taken."""
    if not video:
        raise InputError("There is no clip yet. Drop a video, record one, or click the example.")
    check_upload(Path(video))
    return read_clip(video, fps=fps, start_s=start_s, end_s=end_s, max_frames=MAX_FRAMES, shot="longest")


def look(video, fps, start_s, end_s, progress=gr.Progress()):  # noqa: B008
    """A clip has come, or another part of it is wanted: show some of its frames and who is in them."""
    if not video:
        return None, gr.Group(visible=False), None, gr.Slider(), gr.CheckboxGroup()
    with told(video):
        progress(0.1, desc="Reading the clip")
        clip = read(video, fps, start_s, end_s)
        progress(0.5, desc="Finding people")
        seen = look_at(clip, (video, fps, start_s, end_s), find_on_gpu)
    busiest = max(range(len(seen.frames)), key=lambda k: sum(t.present[seen.frames[k]] for t in seen.tracks))
    slider = gr.Slider(maximum=max(1, len(seen.frames) - 1), value=busiest, interactive=len(seen.frames) > 1)
    return seen, gr.Group(visible=True), picture_of(seen, busiest), slider, people_of(seen)


def people_of(seen: Look):
    """The list beside the picture."""
    found = "Nobody was found: draw a box around a person." if not seen.choices() else None
    return gr.CheckboxGroup(choices=seen.choices(), value=list(seen.chosen), info=found)


def turn_to(seen: Look | None, preview: int):
    return None if seen is None else picture_of(seen, int(preview))


def click(seen: Look | None, preview: int, mode: str, event: gr.SelectData):
    """A click on the picture picks, removes or draws."""
    if seen is None:
        return seen, None, gr.CheckboxGroup()
    with told(None):
        x, y = (float(value) for value in event.index)
        seen = cornered(seen, int(preview), x, y) if mode == DRAW else toggled(seen, int(preview), x, y)
    return seen, picture_of(seen, int(preview)), people_of(seen)


def choose(seen: Look | None, preview: int, chosen: list[int]):
    """The list has changed."""
    if seen is None:
        return seen, None
    seen = dataclasses.replace(seen, chosen=tuple(sorted(int(person) for person in chosen)))
    return seen, picture_of(seen, int(preview))


def run(video, fps, start_s, end_s, weights, focal, static, height, seen, request: gr.Request, progress=gr.Progress()):  # noqa: B008
    """The button: from the form and the people picked to viewer, overlay, numbers and files."""
    visitor = request.session_hash or ""
    go_on(visitor)
    with told(video):
        check_weights(weights)
        progress(0.0, desc="Reading the clip")
        clip = read(video, fps, start_s, end_s)
        known = knowledge(clip, focal, static, height)
        progress(0.15, desc="Finding people")
        if seen is None or seen.source != (video, fps, start_s, end_s):
            seen = look_at(clip, (video, fps, start_s, end_s), find_on_gpu)
        tracks, finder, warnings = wanted_people(seen, clip)
        if ON_ZEROGPU:
            check_gpu_time(clip, len(tracks))
        clip = dataclasses.replace(clip, warnings=clip.warnings + warnings)
        scene = reconstruct_on_gpu(clip, tracks, finder, weights, known, visitor)
        progress(0.93, desc="Measuring and writing the files")
        return shown(write_result(files_folder(), scene, fit_report(scene), clip))


def knowledge(clip: Clip, focal: str | None, static: bool, height: str | None) -> ClipPriors:
    """What the visitor knows of the clip. Raises `InputError` for what cannot be."""
    words = (height or "").replace(",", " ").split()
    chosen = Options(focal=(focal or "").strip() or None, static_camera=bool(static), height=parse_heights(words))
    return chosen.priors(clip.source_size)


def shown(result: Result | None):
    """What the page shows of a result, in the order of `results`, then the result itself and the name for its link."""
    if result is None:
        return [gr.skip()] * 9
    return [
        gr.FileData(path=str(result.scene), orig_name=result.scene.name).model_dump(),
        gr.Video(value=str(result.overlay), visible=True),
        gr.HTML(result.numbers, visible=True),
        gr.DownloadButton(value=str(result.page), visible=True),
        gr.DownloadButton(value=str(result.archive), visible=True),
        gr.Accordion(visible=True),
        gr.DownloadButton(visible=False),
        result,
        result.name,
    ]


def reopen(request: gr.Request):
    """A reload, or somebody's link: the result is shown again while its files live."""
    name = request.query_params.get("result")
    result = find_result(files_folder(), name)
    if name and result is None:
        gr.Info("That result is not kept any longer. Make it again: it takes a moment.")
    return shown(result)


def make_exports(result: Result | None, formats: list[str], progress=gr.Progress()):  # noqa: B008
    """The button below the result: files for other programs."""
    with told(None):
        if result is None:
            raise InputError("There is no result yet.")
        path = write_exports(result, formats, report_to("", progress))
    return gr.DownloadButton(value=str(path), visible=True)


def files_folder() -> Path:
    """Where results live: Gradio's cache, which is emptied in time."""
    folder = Path(get_upload_folder())
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def reconstruct(
    clip: gr.FileData,
    fps: float = 6.0,
    start_s: float | None = None,
    end_s: float | None = None,
    weights: str = "auto",
    boxes: str = "",
    focal: str = "",
    static_camera: bool = False,
    height: str = "",
    formats: str = "",
) -> tuple[gr.FileData, gr.FileData, gr.FileData, str]:
    """For programs: a clip goes in; zipped data, the viewer's page, the overlay video and numbers (HTML) come out.

    boxes: one a line, x0,y0,x1,y1 in pixels of the first frame, @seconds for a later one; empty: people are found.
    formats: glb,bvh,npz,ply,obj,colmap,mp4,webm, those wanted: the zip then holds them as well.
    """
    path = clip["path"] if isinstance(clip, dict) else clip.path
    with told(path):
        check_weights(weights)
        footage = read(path, fps, start_s, end_s)
        wanted = [name.strip() for name in formats.split(",") if name.strip()]
        check_formats(wanted)
        drawn = [parse_box(line) for line in boxes.splitlines() if line.strip()]
        found = detect_people(footage, boxes=drawn) if drawn else find_on_gpu(footage)
        require_people(found.tracks)
        footage = dataclasses.replace(footage, warnings=footage.warnings + found.warnings)
        if ON_ZEROGPU:
            check_gpu_time(footage, len(found.tracks))
        known = knowledge(footage, focal, static_camera, height)
        scene = reconstruct_on_gpu(footage, found.tracks, found.finder, weights, known, "")
        result = write_result(files_folder(), scene, fit_report(scene), footage, wanted)
    files = (gr.FileData(path=str(file)) for file in (result.archive, result.page, result.overlay))
    return (*files, result.numbers)  # type: ignore[return-value]


# ---------------------------------------------------------------- the page


def build() -> gr.Blocks:
    """The page, and what calls what."""
    quiet: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    with gr.Blocks(title="UniSH", fill_width=True, delete_cache=(SWEEP_EVERY_S, KEEP_FILES_S)) as demo:
        gr.HTML(INTRODUCTION, elem_id="introduction")
        seen, result, name = gr.State(None), gr.State(None), gr.Textbox(visible=False)
        with gr.Row(equal_height=False):
            with gr.Column(scale=1, min_width=320):
                f = form(OFFERED)
            with gr.Column(scale=2, min_width=340):
                r = results()
        outputs = [*r.parts, result, name]
        gr.on(
            [f.video.change, f.fps.release, f.start.blur, f.end.blur],
            look,
            f.part,
            [seen, f.people, f.picture, f.preview, f.chosen],
            show_progress_on=f.picture,
            concurrency_limit=2,
            trigger_mode="always_last",
            api_visibility="private",
        )
        f.preview.input(turn_to, [seen, f.preview], f.picture, trigger_mode="always_last", **quiet)
        f.picture.select(click, [seen, f.preview, f.mode], [seen, f.picture, f.chosen], **quiet)
        f.chosen.input(choose, [seen, f.preview, f.chosen], [seen, f.picture], **quiet)
        f.button.click(None, js=SHOW_VIEWER)
        f.button.click(lambda: gr.Button(visible=True), None, f.cancel, queue=False, **quiet)
        running = f.button.click(
            run,
            [*f.part, f.weights, f.focal, f.static, f.height, seen],
            outputs,
            concurrency_limit=1,
            concurrency_id="gpu",
            show_progress_on=r.viewer,
            api_visibility="private",
        )
        running.then(lambda: gr.Button(visible=False), None, f.cancel, queue=False, **quiet)
        running.success(None, name, js=KEEP_LINK)
        f.cancel.click(stop, None, f.cancel, cancels=[running], queue=False, **quiet)
        f.finished.click(None, js=SHOW_VIEWER)
        f.finished.click(lambda: [*shown(EXAMPLE.result())[:-1], ""], None, outputs, **quiet)
        r.make.click(make_exports, [result, r.formats], r.made, concurrency_limit=2, api_visibility="private")
        demo.load(reopen, None, outputs, **quiet)
        api(reconstruct, api_name="reconstruct", concurrency_limit=1, concurrency_id="gpu")
    return demo.queue(max_size=MAX_WAITING)


def main() -> int:
    parser = argparse.ArgumentParser(description="The demo: a clip goes in, a 3-D scene with people comes out.")
    parser.add_argument("--host", help="address to listen on (default 127.0.0.1)")
    parser.add_argument("--port", type=int, help="port (default: the first free one from 7860)")
    parser.add_argument("--share", action="store_true", help="also open a public link through Gradio's servers")
    parser.add_argument("--weights", default="auto", help="release, mini, auto, a folder or a Hub repository id")
    options = parser.parse_args()
    OFFERED[:] = dict.fromkeys([options.weights, *OFFERED])
    try:
        networks(options.weights)
    except UniSHError as error:
        print(f"app.py: {error}", file=sys.stderr)
        return 2
    EXAMPLE.start()
    start_sweeping(files_folder())
    gr.set_static_paths([plotly_js_path()])
    build().launch(
        server_name=options.host,
        server_port=options.port,
        share=options.share,
        theme=THEME,
        head=f"<style>{CSS}{NUMBERS_CSS}</style>",
        max_file_size=f"{MAX_UPLOAD_MB}mb",
        allowed_paths=[str(SAMPLE_CLIP)],
        footer_links=["api", "settings"],
        ssr_mode=False,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
