"""The demo: a clip goes in, a 3-D scene with people comes out in the browser. Options: `python app.py --help`."""

import os
import tempfile
from pathlib import Path

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
# A folder of its own: what is old in it is swept away, and Gradio's usual one is shared with other demos.
os.environ.setdefault("GRADIO_TEMP_DIR", str(Path(tempfile.gettempdir()) / "unish-demo"))

from space.gpu import networks  # isort: skip  (on ZeroGPU, `spaces` in it comes before whatever touches CUDA)

import sys
from typing import Any

import gradio as gr
from gradio.events import api
from gradio.utils import get_upload_folder

from space.callbacks import Demo
from space.cleanup import KEEP_FILES_S, SWEEP_EVERY_S, start_sweeping
from space.examples import BUNDLED, Example, Examples
from space.layout import form, result_numbers, results
from space.limits import MAX_WAITING
from space.results import ResultFolders
from space.server import offered_weights, parse_options, serve
from space.style import BEGIN_RUN, FOCUS_CANCEL, FOCUS_RUN, FOCUS_VIEWER, INTRODUCTION, KEEP_LINK, SETTLE_VIEWER
from space.updates import button_updates, export_updates, gallery_value
from unish.errors import UniSHError


def build(demo: Demo) -> gr.Blocks:
    """The page, and what calls what."""
    quiet: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    files: dict[str, Any] = {"concurrency_limit": 2, "concurrency_id": "files", "api_visibility": "private"}
    with gr.Blocks(title="UniSH", fill_width=True, delete_cache=(SWEEP_EVERY_S, KEEP_FILES_S)) as page:
        gr.HTML(INTRODUCTION, elem_id="introduction")
        seen, result, name = gr.State(None), gr.State(None), gr.Textbox(visible=False)
        with gr.Row(equal_height=False):
            with gr.Column(scale=1, min_width=320, elem_id="form"):
                f = form(list(demo.weights))
                numbers = result_numbers()
            with gr.Column(scale=2, min_width=340, elem_id="shown"):
                r = results(gallery_value(demo.examples), numbers)
        outputs = [*r.parts, result, name]
        shown = [seen, f.people, f.shot, f.picker, f.note]
        previewing: dict[str, Any] = {
            "show_progress_on": f.picker,
            "concurrency_limit": 2,
            "concurrency_id": "previews",
            "trigger_mode": "always_last",
            "api_visibility": "private",
        }
        gr.on(
            [f.video.change, f.fps.release, f.start.submit, f.start.blur, f.end.submit, f.end.blur],
            demo.preview,
            [*f.part, seen],
            shown,
            **previewing,
        )
        f.shot.input(demo.preview_shot, [f.shot, seen], shown, **previewing)
        # The buttons change places before the work begins: even an error that comes at once finds them so.
        f.run.click(None, js=BEGIN_RUN)
        swapped = f.run.click(lambda: button_updates(running=True), None, [f.run, f.cancel], queue=False, **quiet)
        running = swapped.then(
            demo.run,
            [*f.part, f.weights, f.focal, f.static, f.height, f.fit, seen, f.picker],
            outputs,
            concurrency_limit=1,
            concurrency_id="gpu",
            show_progress_on=r.viewer,
            api_visibility="private",
        )
        for ended in (running.success, running.failure):
            ended(lambda: button_updates(running=False), None, [f.run, f.cancel], queue=False, **quiet)
        swapped.then(None, js=FOCUS_CANCEL)
        running.failure(None, js=FOCUS_RUN)
        running.failure(None, js=SETTLE_VIEWER)
        running.success(None, js=FOCUS_VIEWER)
        running.success(None, name, js=KEEP_LINK)
        # In the queue, without a limit: outside it Gradio shows no message to the visitor.
        cancelled = f.cancel.click(
            demo.cancel, None, [f.run, f.cancel], cancels=[running], concurrency_limit=None, **quiet
        )
        cancelled.then(None, js=FOCUS_RUN)
        cancelled.then(None, js=SETTLE_VIEWER)
        example = r.gallery.select(demo.open_example, None, outputs, **quiet)
        r.gallery.input(demo.use_example, None, f.video, **quiet)
        example.success(None, name, js=KEEP_LINK)
        reopened = page.load(demo.reopen, None, outputs, **quiet)
        reopened.then(None, js=SETTLE_VIEWER)
        for ready in (running.success, example.success, reopened.success):
            ready(demo.finish, result, r.files, show_progress_on=r.overlay, **files)
        r.overlay.select(demo.original, result, r.overlay, show_progress_on=r.overlay, **files)
        r.make.click(demo.export, [result, *r.formats.parts], r.made, show_progress_on=r.making, **files)
        for group in r.formats.groups:
            group.change(export_updates, r.formats.groups, [r.made, *r.formats.options], queue=False, **quiet)
        for option in r.formats.options:
            option.input(lambda: gr.DownloadButton(visible=False), None, r.made, queue=False, **quiet)
        page.unload(demo.leave)
        api(demo.reconstruct, api_name="reconstruct", concurrency_limit=1, concurrency_id="gpu")
    return page.queue(max_size=MAX_WAITING)


def main() -> int:
    options = parse_options()
    try:
        examples = Example.found_in(options.examples or BUNDLED)
        networks(options.weights)
    except UniSHError as error:
        print(f"app.py: {error}", file=sys.stderr)
        return 2
    folders = ResultFolders.beside(Path(get_upload_folder()))
    demo = Demo(offered_weights(options.weights), folders, Examples(examples), options.time_limit, options.sfm)
    demo.examples.start()
    start_sweeping(folders.served, folders.private)
    serve(build(demo), demo.examples, options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
