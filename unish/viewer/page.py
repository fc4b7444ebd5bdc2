"""The viewer's page: the parts `gr.HTML` takes, and the same parts as one HTML file that opens offline.

`template`, `css_template` and `js_on_load` are static text: names and other text from outside travel in the scene
file and reach the page as text nodes only, never through a template.
"""

import base64
import gzip
import html
import importlib.util
import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from unish.errors import MissingDependencyError
from unish.structures import FrameSequence, Reconstruction
from unish.utils.atomic_write import atomic_path
from unish.viewer.scene import MAX_POINTS, scene_arrays
from unish.viewer.scene_file import encode_scene

_STATIC = Path(__file__).parent / "static"
_SCRIPTS = (
    "scene_file.js",
    "loading.js",
    "changing.js",
    "geometry.js",
    "traces.js",
    "colors.js",
    "pictures.js",
    "drawables.js",
    "surface_data.js",
    "surface_shaders.js",
    "surface.js",
    "surface_view.js",
    "body_data.js",
    "figure.js",
    "bodies.js",
    "layers.js",
    "camera.js",
    "navigation.js",
    "opening.js",
    "share.js",
    "turntable.js",
    "gestures.js",
    "measure.js",
    "hover.js",
    "screenshot.js",
    "controls.js",
    "playback.js",
    "viewer.js",
)


@cache
def _packed_plotly(path: Path) -> str:
    """plotly.js, compressed, as base64; the page unpacks it (`DecompressionStream`)."""
    return base64.b64encode(gzip.compress(path.read_bytes(), 9, mtime=0)).decode("ascii")


@cache
def _static(name: str) -> str:
    return (_STATIC / name).read_text(encoding="utf-8")


def template() -> str:
    """`gr.HTML(html_template=…)`: the viewer's elements, without any value in them."""
    return _static("viewer.html")


def css_template() -> str:
    """`gr.HTML(css_template=…)`."""
    return _static("viewer.css")


def script() -> str:
    """The page script; it defines `UnishViewer.mount(element, options)`."""
    return "\n".join(_static(name) for name in _SCRIPTS)


def js_on_load() -> str:
    """`gr.HTML(js_on_load=…)`: the script, mounted on the component, whose value is what `viewer.take` takes."""
    return script() + (
        "\nconst viewer = UnishViewer.mount(element.querySelector('.unish-viewer'), {opening: true});"
        "\nconst show = () => { if (props.value && props.value.scene) viewer.take(props.value); };"
        "\nwatch('value', show);\nshow();\n"
    )


def head() -> str:
    """`gr.HTML(head=…)`: loads plotly.js from the app itself, after `gr.set_static_paths([plotly_js_path()])`."""
    return f'<script src="/gradio_api/file={html.escape(plotly_js_path().as_posix())}"></script>'


def plotly_js_path() -> Path:
    """plotly.min.js of the installed plotly package. Raises MissingDependencyError without it."""
    spec = importlib.util.find_spec("plotly")
    places = (spec.submodule_search_locations if spec else None) or []
    for place in places:
        path = Path(place) / "package_data" / "plotly.min.js"
        if path.is_file():
            return path
    raise MissingDependencyError(
        "The viewer needs plotly.js from the plotly package, which is not installed. Install it: pip install plotly"
    )


def offline_page(scene: bytes, title: str) -> str:
    """One HTML document with the script, plotly.js and a scene file's bytes inside; it asks the network for nothing."""
    parts = {
        "TITLE": html.escape(title),
        "CSS": css_template(),
        "BODY": template(),
        "PLOTLY": _packed_plotly(plotly_js_path()),
        "SCRIPT": _inline(script()),
        "SCENE": base64.b64encode(scene).decode("ascii"),
    }
    # One pass, so that nothing inside a part is taken for a placeholder.
    return re.sub(r"\{\{([A-Z]+)\}\}", lambda found: parts[found.group(1)], _static("page.html"))


def write_html(
    reconstruction: Reconstruction,
    path: str | Path,
    title: str | None = None,
    max_points: int = MAX_POINTS,
    source: FrameSequence | Path | None = None,
) -> Path:
    """Write the viewer of a reconstruction as one HTML file that opens offline, without a server.

    The title is the clip's name where none is given. `source` is the clip that the result was made from: with it the
    surfaces bear its images rather than the smaller ones that the network saw. Raises InputError when the file cannot
    be written.
    """
    title = title or reconstruction.provenance.source_name or "unish"
    page = offline_page(encode_scene(scene_arrays(reconstruction, max_points, source)), title)
    with atomic_path(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return Path(path)


@dataclass(frozen=True)
class NotebookView:
    """A viewer that a notebook shows when it is the last value of a cell."""

    page: str = field(repr=False)
    height_px: int = 680

    def _repr_html_(self) -> str:
        return (
            f'<iframe srcdoc="{html.escape(self.page)}" title="unish viewer" allow="fullscreen" '
            f'style="width:100%;height:{self.height_px}px;border:0;border-radius:8px"></iframe>'
        )


def notebook_view(
    reconstruction: Reconstruction,
    title: str = "",
    height_px: int = 680,
    max_points: int = MAX_POINTS,
    source: FrameSequence | Path | None = None,
) -> NotebookView:
    """The viewer for a notebook cell; kept apart from the notebook's page, so that styles do not mix."""
    page = offline_page(encode_scene(scene_arrays(reconstruction, max_points, source)), title)
    return NotebookView(page, height_px)


def _inline(source: str) -> str:
    """JavaScript that can stand inside a script element."""
    return re.sub(r"</(?=script)", r"<\\/", source, flags=re.IGNORECASE).replace("<!--", r"<\!--")
