"""Builds notebooks/*.ipynb from notebooks/source/*.md: runs every cell and keeps what it shows.

python scripts/build_notebooks.py                # all of them
python scripts/build_notebooks.py 03             # those whose names begin with 03

A source is Markdown; its ```python blocks are the code cells. {{repository}} and {{badge}} stand for the public address
and for the button that opens the notebook in Colab. A figure keeps its Plotly form, for Jupyter, and an image of it,
for pages that run nothing, such as GitHub's. The viewer keeps its image alone: its page has 8 MB.
"""

import argparse
import base64
import contextlib
import io
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode
from PIL import Image
from playwright.sync_api import Page, ViewportSize, sync_playwright

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from benchmarks.chromium import CHROMIUM_FLAGS  # noqa: E402
from unish.utils.atomic_write import atomic_path  # noqa: E402
from unish.viewer.page import plotly_js_path  # noqa: E402

NOTEBOOKS = REPOSITORY / "notebooks"
PUBLIC = "unish-project/unish"
"""Owner and name of the public repository."""
CELL_TIMEOUT_S = 600
PLOTLY, HTML = "application/vnd.plotly.v1+json", "text/html"
FIGURE_PX = (860, 420)
"""Where a figure does not say how large it is."""
VIEWER_PX: ViewportSize = {"width": 1000, "height": 640}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=[""], help="beginnings of names (default: all)")
    names = parser.parse_args().names
    for source in sources():
        if source.name.startswith(tuple(names)):
            path = notebook_path(source)
            with tempfile.TemporaryDirectory() as folder:
                notebook = executed(unrun(source), Path(folder))
            with atomic_path(path) as temporary:
                nbformat.write(with_smaller_images(notebook), temporary)
            print(f"{path.relative_to(REPOSITORY)} {path.stat().st_size / 1024:.0f} KiB")


def sources() -> list[Path]:
    """The notebooks' texts, in order."""
    return sorted((NOTEBOOKS / "source").glob("*.md"))


def notebook_path(source: Path) -> Path:
    """Where the notebook of a source is."""
    return NOTEBOOKS / f"{source.stem}.ipynb"


def unrun(source: Path) -> NotebookNode:
    """The notebook of a source, without outputs."""
    colab = f"https://colab.research.google.com/github/{PUBLIC}/blob/main/notebooks/{source.stem}.ipynb"
    badge = f"[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]({colab})"
    text = source.read_text(encoding="utf-8")
    text = text.replace("{{repository}}", f"https://github.com/{PUBLIC}").replace("{{badge}}", badge)
    cells = []
    # With one group in the pattern, every second part is what it matched: code.
    for index, part in enumerate(re.split(r"^```python\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)):
        make = nbformat.v4.new_code_cell if index % 2 else nbformat.v4.new_markdown_cell
        if part.strip():
            cells.append(make(part.strip(), id=f"cell-{len(cells):02d}"))
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel, "language_info": {"name": "python"}})


def executed(notebook: NotebookNode, folder: Path) -> NotebookNode:
    """The notebook with its outputs, run in `folder`, offline. Raises nbclient's CellExecutionError where a cell does.

    Figures are kept in Plotly's form; what overwrites its own line, such as a progress bar, keeps its last state.
    """
    told = {
        "HF_HUB_OFFLINE": "1",
        "PLOTLY_RENDERER": "plotly_mimetype",
        "PYTHONPATH": str(REPOSITORY),
        "PYTHONWARNINGS": "ignore:IProgress not found",  # plain progress bars are what is wanted here
    }
    client = NotebookClient(
        notebook,
        timeout=CELL_TIMEOUT_S,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
        record_timing=False,
        coalesce_streams=True,
    )
    notebook = client.execute(env={**os.environ, **told})
    for output in outputs(notebook):
        if output.output_type == "stream":
            output.text = "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in output.text.split("\n"))
    notebook.metadata.language_info = {"name": "python"}  # not the version that happened to run it
    return notebook


def outputs(notebook: NotebookNode) -> list[NotebookNode]:
    """Everything that the cells show."""
    return [output for cell in notebook.cells for output in cell.get("outputs", ())]


# --- images ------------------------------------------------------------------------------------------------------


def with_smaller_images(notebook: NotebookNode) -> NotebookNode:
    """The notebook with an image of every figure, and of the viewer in place of its page."""
    with _browser() as tab:
        for output in outputs(notebook):
            data = output.get("data", {})
            if PLOTLY in data:
                data["image/png"] = _figure_png(tab, data[PLOTLY])
            elif 'title="unish viewer"' in data.get(HTML, ""):
                data["image/jpeg"] = _viewer_jpeg(tab, data.pop(HTML))
    return notebook


@contextlib.contextmanager
def _browser() -> Iterator[Page]:
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=CHROMIUM_FLAGS)
        yield browser.new_page(viewport=VIEWER_PX)
        browser.close()


def _figure_png(tab: Page, figure: dict[str, Any]) -> str:
    tab.goto("about:blank")
    tab.add_script_tag(path=plotly_js_path())
    layout = figure["layout"]
    size = {"width": layout.get("width", FIGURE_PX[0]), "height": layout.get("height", FIGURE_PX[1])}
    draw = "([figure, size]) => Plotly.toImage({...figure, config: {}}, {format: 'png', scale: 1.25, ...size})"
    return _smaller_png(tab.evaluate(draw, [figure, size]).partition(",")[2])


def _smaller_png(encoded: str) -> str:
    """A PNG in base64 with 256 colours: a third of the bytes for photos, no difference for lines."""
    small = io.BytesIO()
    with Image.open(io.BytesIO(base64.b64decode(encoded))) as whole:
        whole.convert("RGB").quantize(256).save(small, "png", optimize=True)
    return base64.b64encode(small.getvalue()).decode("ascii")


def _viewer_jpeg(tab: Page, page: str) -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "viewer.html"
        path.write_text(f"<!doctype html><style>body{{margin:0}}</style>{page}", encoding="utf-8")
        tab.goto(path.as_uri())
        viewer = tab.frame_locator("iframe")
        viewer.locator("[data-ready=true]").wait_for(timeout=120_000)
        slider = viewer.locator(".uv-frame")
        slider.fill(str(int(slider.get_attribute("max") or 0) // 3))
        slider.blur()
        tab.wait_for_timeout(1000)
        return base64.b64encode(tab.locator("iframe").screenshot(type="jpeg", quality=80)).decode("ascii")


if __name__ == "__main__":
    main()
