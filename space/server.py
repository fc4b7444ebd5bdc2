"""How the demo is started and served."""

import argparse
import html
import json
import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

import gradio as gr

from space.examples import Examples
from space.limits import MAX_UPLOAD_MB, TIME_LIMIT_S
from space.style import ARRIVAL, CSS, HEAD, THEME, WAITING
from unish.pipeline.options import SFM_MODES, Options
from unish.viewer.numbers import NUMBERS_CSS
from unish.viewer.page import plotly_js_path

OFFERED = ("auto", "mini", "release")
"""Weights that a visitor may ask for, beside those of --weights."""


def parse_options() -> argparse.Namespace:
    """The options of `python app.py`."""
    parser = argparse.ArgumentParser(description="The demo: a clip goes in, a 3-D scene with people comes out.")
    parser.add_argument("--host", help="address to listen on (default 127.0.0.1)")
    parser.add_argument("--port", type=int, help="port (default: the first free one from 7860)")
    parser.add_argument("--share", action="store_true", help="also open a public link through Gradio's servers")
    parser.add_argument("--weights", default="auto", help="release, mini, auto, a folder or a Hub repository id")
    parser.add_argument(
        "--sfm",
        choices=SFM_MODES,
        default=Options.sfm,
        help="measure cameras and lenses by structure from motion, seconds of CPU for each clip (default: %(default)s)",
    )
    parser.add_argument(
        "--time-limit", type=float, default=TIME_LIMIT_S, help="seconds that one request may take (default %(default)g)"
    )
    parser.add_argument(
        "--examples",
        type=Path,
        help="a folder of finished results that visitors may open, in place of the bundled ones",
    )
    return parser.parse_args()


def offered_weights(weights: str) -> dict[str, str]:
    """What a visitor may ask for → what is loaded; the server's own `weights` come first."""
    names = dict.fromkeys([weights if weights in OFFERED else "own", *OFFERED])
    return {name: weights if name == "own" else name for name in names}


def served_address(file: Path) -> str:
    """Where Gradio serves a file that `gr.set_static_paths` names."""
    return f"/gradio_api/file={quote(file.as_posix())}"


def card_image(poster: Path | None) -> str:
    """The image of the page's preview card, for those who are sent its link; only a Space knows its own address."""
    host = os.environ.get("SPACE_HOST")
    if poster is None or not host:
        return ""
    return f'<meta property="og:image" content="{html.escape(f"https://{host}{served_address(poster)}")}">'


def arrival_script(posters: Mapping[str, Path]) -> str:
    """Shows an example's poster in the viewer until its scene comes. `posters` in the examples' order."""
    addresses = json.dumps([(name, served_address(poster)) for name, poster in posters.items()])
    script = ARRIVAL.replace("new Map(POSTERS)", f"new Map({addresses})").replace("</", r"<\/")
    return f"<script>\n{script}</script>\n"


def serve(page: gr.Blocks, examples: Examples, options: argparse.Namespace) -> None:
    """Listens until the process is ended."""
    posters = {name: examples.poster(name) for name in examples.examples}
    first = next(iter(posters.values()), None)
    gr.set_static_paths([plotly_js_path(), *posters.values()])
    page.launch(
        server_name=options.host,
        server_port=options.port,
        share=options.share,
        theme=THEME,
        head=f"{HEAD}{card_image(first)}{arrival_script(posters)}<script>\n{WAITING}</script><style>{CSS}{NUMBERS_CSS}</style>",
        max_file_size=f"{MAX_UPLOAD_MB}mb",
        allowed_paths=[str(example.clip) for example in examples.examples.values()],
        footer_links=["api", "settings"],
        show_error=True,  # Gradio's own sentence for values of a wrong kind; ours are written in `space.boundary`
        run_history=False,  # results live for an hour, a history in the browser for good
        ssr_mode=False,
    )
