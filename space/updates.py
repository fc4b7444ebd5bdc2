"""What the callbacks of the page return: new values and properties of its components."""

import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import gradio as gr

from space.examples import Examples
from space.person_selection import ClipPreview, picker_value
from space.results import EarlyScene, Result
from unish.export import FORMATS, installed_formats
from unish.video import LONGEST_SHOT

FITTING, FITTED = "Fitting bodies to the video…", "Bodies fitted to the video."


def file_data(path: Path) -> dict[str, Any]:
    """A file as Gradio sends it."""
    return gr.FileData(path=str(path), orig_name=path.name).model_dump()


def preview_updates(preview: ClipPreview | None, visible: bool, message: str = "", kind: str = "warning") -> list:
    """The preview as the page keeps it, the picker's group, the choice of shots, the picker's value, the note."""
    return [
        preview,
        gr.Group(visible=visible),
        shot_update(preview),
        picker_value(preview, file_data) if preview else None,
        gr.HTML(f'<p class="{kind}">{html.escape(message)}</p>', visible=bool(message)),
    ]


def shot_update(preview: ClipPreview | None) -> gr.Dropdown:
    """The shots to choose from, where a video has cuts."""
    if preview is None or len(preview.shots) < 2:
        return gr.Dropdown(visible=False)
    longest = max(preview.shots, key=lambda shot: shot.stop - shot.start)
    names = {
        str(shot.number): f"Shot {shot.number}: {shot.start_s:.1f} to {shot.end_s:.1f} s" for shot in preview.shots
    }
    choices = [(f"Longest: shot {longest.number}", LONGEST_SHOT), *((name, number) for number, name in names.items())]
    return gr.Dropdown(choices, value=str(preview.request.shot), visible=True, allow_custom_value=True)


def gallery_value(examples: Examples, opened: str | None = None) -> dict[str, Any]:
    """The examples, and the name of the one that is shown."""
    shown = [
        {"name": name, "title": example.title, "poster": file_data(examples.poster(name))}
        for name, example in examples.examples.items()
    ]
    return {"examples": shown, "open": opened}


def video_value(overlay: Path | None = None, original: Path | None = None) -> dict[str, Any]:
    """The videos that keep time with the scene, as far as they are there."""
    return {name: file_data(file) if file else None for name, file in (("overlay", overlay), ("original", original))}


def viewer_value(shown: Result | EarlyScene, poster: Path | None = None) -> dict[str, Any]:
    """What the viewer shows (`unish.viewer.page.js_on_load`): a scene file under a name, with words for what is still
    being done to it; or after that the whole scene, and what has changed in the one of that name. The `poster`, a frame
    of the clip, is seen until the scene is."""
    if isinstance(shown, EarlyScene):
        return {"name": shown.name, "scene": file_data(shown.scene), "working": FITTING}
    change = file_data(shown.change) if shown.early_name else None
    first = file_data(poster) if poster else None
    # Keys in the order of the value before: Gradio sends what differs and then the whole, and compares them as texts.
    return {
        "name": shown.early_name,
        "scene": file_data(shown.scene),
        "change": change,
        "done": FITTED,
        "poster": first,
    }


def early_updates(early: EarlyScene, examples: Examples) -> list:
    """What the page shows before all is done, in the order of `result_updates`: the scene, and nothing else."""
    hidden = gr.DownloadButton(visible=False)
    numbers, exports = gr.HTML(visible=False), gr.Accordion(visible=False)
    return [
        gallery_value(examples), viewer_value(early), numbers, exports, hidden, hidden, None, hidden, None, gr.skip(),
    ]  # fmt: skip


def result_updates(result: Result | None, examples: Examples) -> list:
    """What the page shows of a result, in the order of `Shown.parts`, then the result and the query of its link."""
    if result is None:
        return [gallery_value(examples), *[gr.skip()] * 9]
    opened = examples.name_of(result)
    hidden = gr.DownloadButton(visible=False)
    return [
        gallery_value(examples, opened),
        viewer_value(result, examples.poster(opened) if opened else None),
        gr.HTML(result.numbers, visible=True),
        gr.Accordion(visible=True),
        hidden,
        hidden,
        None,
        hidden,
        result,
        f"example={quote(opened)}" if opened else f"result={result.name}",
    ]


def formats_in(groups: Sequence[object]) -> list[object]:
    """What is chosen in any of the groups of formats."""
    return [name for group in groups for name in (group if isinstance(group, list) else [group])]


def export_updates(*groups: object) -> list:
    """Other formats are chosen: those made before are no longer offered, and each choice that concerns one of these is
    shown, in the order of `ExportForm.options`."""
    formats = formats_in(groups)
    showing = [name for name, one in FORMATS.items() if one.shows_scene and name in formats]
    meshed, fbx = "mesh" in installed_formats(), "fbx" in showing
    return [
        gr.DownloadButton(visible=False),
        gr.Radio(visible=meshed and len(showing) > fbx),
        gr.Checkbox(visible=meshed and fbx),
        gr.Radio(visible=fbx),
    ]


def button_updates(running: bool) -> tuple[gr.Button, gr.Button]:
    """Reconstruct and Cancel, one of which is there at a time."""
    return gr.Button(visible=not running), gr.Button(visible=running)
