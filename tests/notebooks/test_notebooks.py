"""The notebooks run, say what their sources say, and are kept with outputs that are small and name nobody's folders."""

import base64
import io
import json
import re
from pathlib import Path

import nbformat
import pytest
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode
from PIL import Image

from scripts.build_notebooks import (
    HTML,
    PLOTLY,
    PUBLIC,
    executed,
    notebook_path,
    outputs,
    sources,
    unrun,
    with_smaller_images,
)
from tests.docs.pages import links

MOST_BYTES, MOST_BYTES_OF_ALL = 1_500_000, 5_000_000
NAMES = [source.stem for source in sources()]
of_every_notebook = pytest.mark.parametrize("name", NAMES)
# Chromium and the installed package have such paths; what a cell shows must not.
LOCAL = re.compile(r"(?<![\w.:/])/(?:home|root|tmp|usr|var|work|mnt|opt|Users|private)/\S+")


def source_of(name: str) -> Path:
    return next(source for source in sources() if source.stem == name)


def kept(name: str) -> NotebookNode:
    """A notebook as it is committed."""
    notebook = nbformat.read(notebook_path(source_of(name)), as_version=4)
    nbformat.validate(notebook)
    return notebook


def of_markdown(text: str, tmp_path: Path) -> NotebookNode:
    source = tmp_path / "one.md"
    source.write_text(text, encoding="utf-8")
    return unrun(source)


def shown_text(notebook: NotebookNode) -> str:
    """What a reader sees of the outputs: their text, and figures without their data."""
    parts = []
    for output in outputs(notebook):
        parts.append(output.get("text", ""))
        parts += [value for kind, value in output.get("data", {}).items() if kind.startswith("text/")]
        parts.append(json.dumps(output.get("data", {}).get(PLOTLY, {}).get("layout", {})))
    return "\n".join(parts)


# --- running -------------------------------------------------------------------------------------------------------


TRAINING = "04_train_the_stages"
SHORTER = {"CLIPS = 24": "CLIPS = 3", "STEPS = (40, 80, 60)": "STEPS = (3, 3, 3)", "HELD_OUT = 8": "HELD_OUT = 2"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.long] if name == TRAINING else []) for name in NAMES]
)
def test_every_cell_runs(name, tmp_path):
    """Offline, on the CPU, in an empty folder; what a cell asserts holds."""
    check_run(unrun(source_of(name)), tmp_path)


@pytest.mark.slow
def test_every_cell_of_the_training_runs_with_fewer_steps(tmp_path):
    """Every cell but the last assertions, which say what the full number of steps learns."""
    notebook = unrun(source_of(TRAINING))
    for cell in notebook.cells:
        if cell.cell_type == "code":
            for full, short in SHORTER.items():
                cell.source = cell.source.replace(full, short)
            cell.source = re.sub(r"^assert .*$", "", cell.source, flags=re.MULTILINE)
    assert all(any(short in cell.source for cell in notebook.cells) for short in SHORTER.values())
    check_run(notebook, tmp_path)


def check_run(notebook: NotebookNode, folder: Path) -> None:
    notebook = executed(notebook, folder)
    assert not [output for output in outputs(notebook) if output.output_type == "error"]
    assert [PLOTLY in output.get("data", {}) for output in outputs(notebook)].count(True) >= 2


def test_a_cell_that_fails_ends_the_run(tmp_path):
    notebook = of_markdown("# One\n\n```python\nassert 1 == 2\n```\n", tmp_path)
    with pytest.raises(CellExecutionError, match="AssertionError"):
        executed(notebook, tmp_path)


def test_a_progress_bar_keeps_its_last_state(tmp_path):
    code = "print('10 %\\r50 %\\r100 %\\ndone')"
    (output,) = outputs(executed(of_markdown(f"# One\n\n```python\n{code}\n```\n", tmp_path), tmp_path))
    assert output.text == "100 %\ndone\n"


@pytest.mark.slow
def test_a_figure_has_a_image_and_the_viewer_only_a_image(tmp_path):
    figure = "import plotly.graph_objects as go\ngo.Figure(go.Bar(y=[1, 3]), {'width': 400, 'height': 300})"
    viewer = (
        "from tests.helpers.posed import make_posed\nfrom unish.viewer import notebook_view\n"
        "notebook_view(make_posed(frames=3))"
    )
    text = f"# One\n\n```python\n{figure}\n```\n\nTwo\n\n```python\n{viewer}\n```\n"
    drawn, view = outputs(with_smaller_images(executed(of_markdown(text, tmp_path), tmp_path)))
    with Image.open(io.BytesIO(base64.b64decode(drawn.data["image/png"]))) as picture:
        assert picture.size == (500, 375) and len(picture.convert("RGB").getcolors(100_000)) > 3
    assert PLOTLY in drawn.data
    assert HTML not in view.data
    with Image.open(io.BytesIO(base64.b64decode(view.data["image/jpeg"]))) as picture:
        colors = picture.convert("RGB").resize((100, 68)).getcolors(10_000)
        assert picture.size[0] == 1000 and max(count for count, _ in colors) < 0.8 * 6800


# --- what is kept --------------------------------------------------------------------------------------------------


@of_every_notebook
def test_it_says_what_its_source_says(name):
    notebook, new = kept(name), unrun(source_of(name))
    told = f"run: python scripts/build_notebooks.py {name[:2]}"
    assert [cell.source for cell in notebook.cells] == [cell.source for cell in new.cells], told
    assert [cell.cell_type for cell in notebook.cells] == [cell.cell_type for cell in new.cells], told
    assert notebook.metadata == new.metadata and notebook.metadata.kernelspec.name == "python3", told


def test_every_notebook_has_a_source():
    assert {path.stem for path in sources()[0].parents[1].glob("*.ipynb")} == set(NAMES)
    assert len(NAMES) == 5


@of_every_notebook
def test_it_was_run_from_top_to_bottom_without_an_error(name):
    notebook = kept(name)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert len([cell for cell in code if cell.outputs]) >= 5
    assert not [output for output in outputs(notebook) if output.output_type == "error"]


@of_every_notebook
def test_every_figure_has_its_image(name):
    notebook = kept(name)
    rich = [output.data for output in outputs(notebook) if "data" in output]
    figures = [data for data in rich if PLOTLY in data]
    assert len(figures) >= 2
    assert all("image/png" in data for data in figures)
    # HTML would be shown instead of the picture where its scripts may not run.
    assert not [data for data in rich if HTML in data]


@of_every_notebook
def test_it_names_nobodys_folders(name):
    notebook = kept(name)
    found = [LOCAL.findall(text) for text in (shown_text(notebook), *(cell.source for cell in notebook.cells))]
    assert not [path for paths in found for path in paths]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("see /home/ada/unish/x.py:21: Warning", True),
        ("in '/tmp/x1/venv/lib'", True),
        ("exports/scene.glb and out/tmp/x", False),
        ("https://example.org/home/page", False),
    ],
)
def test_a_folder_is_recognised(text, found):
    assert bool(LOCAL.search(text)) == found


@of_every_notebook
def test_it_installs_in_colab_and_has_the_button(name):
    notebook = kept(name)
    title = notebook.cells[0].source
    assert title.startswith("# ")
    assert f"(https://colab.research.google.com/github/{PUBLIC}/blob/main/notebooks/{name}.ipynb)" in title
    first = next(cell.source for cell in notebook.cells if cell.cell_type == "code")
    assert first.startswith('import sys\n\nif "google.colab" in sys.modules:\n    ')
    assert "%pip install" in first and f"https://github.com/{PUBLIC}" in first
    assert not [cell for cell in notebook.cells if "{{" in cell.source]


@of_every_notebook
def test_words_stand_before_every_code_cell(name):
    cells = kept(name).cells
    before = [cells[k - 1] for k, cell in enumerate(cells) if cell.cell_type == "code"]
    assert not [cell.source for cell in before if cell.cell_type == "code"]
    assert not [cell.source for cell in before if cell.source.splitlines()[-1].startswith("#")]


@of_every_notebook
def test_its_links_lead_somewhere(name, repository):
    """Whole addresses, since Colab knows no files beside the notebook; those of this repository are of files in it."""
    start = "{{repository}}/blob/main/"
    found = links(source_of(name))
    assert not [target for target in found if not target.startswith((start, "https://"))]
    own = [target.removeprefix(start) for target in found if target.startswith(start)]
    assert own and not [path for path in own if not (repository / path).is_file()]


def test_they_are_small(repository):
    sizes = {path.name: path.stat().st_size for path in (repository / "notebooks").glob("*.ipynb")}
    assert max(sizes.values()) < MOST_BYTES, sizes
    assert sum(sizes.values()) < MOST_BYTES_OF_ALL, sizes
