"""The commands and snippets of docs/training.md: the small round is run as written, the others are held against
their settings."""

import importlib
import shlex
from dataclasses import fields
from pathlib import Path

import pytest
import torch
import tyro
from safetensors.torch import load_file

from tests.docs.pages import blocks, command_lines, table
from tests.test_readme import SETTINGS
from train.data.prepare.label_videos import ASSUMED_FOV_DEG
from train.data.schema import ClipSample, iterate_clips
from train.synthetic import __main__ as synthetic
from unish.cli import main as unish
from unish.structures import Reconstruction
from unish.utils.assets import MINI_WEIGHTS


@pytest.fixture(scope="module")
def page(repository) -> Path:
    return repository / "docs" / "training.md"


def command(line: str) -> tuple[str, list[str]]:
    """The module that a line starts, and its arguments."""
    words = shlex.split(line)
    at = next(k for k, word in enumerate(words) if word.startswith(("train.", "train/")))
    return words[at].removesuffix(".py").replace("/", "."), words[at + 1 :]


def run(line: str) -> None:
    """A line of the page, in this process."""
    if line.startswith("unish "):
        assert unish(shlex.split(line)[1:]) == 0
        return
    name, arguments = command(line)
    if name == "train.synthetic":
        assert synthetic.main(arguments) == 0
        return
    module = importlib.import_module(name)
    start = module.main if name == "train.score" else module.run
    start(tyro.cli(SETTINGS[name], args=arguments))


@pytest.mark.slow
def test_the_small_round(page, repository, tmp_path, monkeypatch, capsys):
    """As written, but with fewer clips, steps and frames."""
    (round_,) = (block.code for block in blocks(page, "") if "small/stage1" in block.code)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "unish").symlink_to(repository / "unish")
    lines = round_.replace("--clips 4", "--clips 2").replace("--loop.steps 10", "--loop.steps 2").splitlines()
    assert len(lines) == 8 and lines[-1].startswith("unish run")
    lines[-1] += " --end 1.5"
    for line in lines:
        run(line)
    before = load_file(MINI_WEIGHTS / "model.safetensors")
    for stage in ("stage1", "stage2", "stage3"):
        after = load_file(f"small/{stage}/model.safetensors")
        assert any(not torch.equal(after[name], value.to(after[name].dtype)) for name, value in before.items()), stage
        before = after
    scene = Reconstruction.load("small/result")
    assert scene.provenance.weights == "stage3" and scene.people
    assert "| method | unish stage3 |" in capsys.readouterr().out
    look_at_labels(page, monkeypatch)


def look_at_labels(page: Path, monkeypatch) -> None:
    """The snippet of the page that draws what was labelled, on the clips of the small round."""
    (snippet,) = (block.code for block in blocks(page, "python") if "imwrite" in block.code)
    exec(compile(snippet.replace("data/videos", "small/videos"), str(page), "exec"), {})
    clips = [clip.clip_id for clip in iterate_clips("small/videos")]
    assert sorted(path.stem for path in Path("look").iterdir()) == sorted(clips)


def test_a_clip_of_ones_own(page, tmp_path, monkeypatch, capsys):
    (snippet,) = (block.code for block in blocks(page, "python") if "write_shards" in block.code)
    monkeypatch.chdir(tmp_path)
    exec(compile(snippet, str(page), "exec"), {})
    assert capsys.readouterr().out.strip() == "['yard-0001']" and "`['yard-0001']`" in page.read_text()


def test_every_other_command_is_one_that_its_script_takes(page):
    lines = [line for line in command_lines(page) if line.startswith(("python -m train.", "accelerate launch"))]
    assert len(lines) > 12
    for line in lines:
        name, arguments = command(line)
        tyro.cli(SETTINGS[name], args=arguments)
    with pytest.raises(SystemExit):
        tyro.cli(SETTINGS["train.stage1"], args=["--data", "x", "--out", "y", "--no-such-setting"])


@pytest.mark.parametrize(
    ("script", "options"),
    [
        (
            "train.data.prepare.label_videos",
            ["--people-max", "3", "--fov-deg", "60", "--share", "0/4", "--finder", "mini"],
        ),
        ("train.stage1", ["--mixture", "3", "1", "--view.frames", "8", "--checkpoint-activations", "--resume"]),
        (
            "train.stage2",
            ["--held-out", "data/bedlam", "--loop.learning-rate", "1e-6", "--pi3", "a", "--camerahmr", "b"],
        ),
    ],
)
def test_options_that_the_text_names_are_there(page, script, options):
    needed = ["--videos", "v"] if script.endswith("videos") else ["--data", "a", "b"]
    tyro.cli(SETTINGS[script], args=["--out", "out", *needed, *options])
    for option in options:
        assert not option.startswith("--") or option in page.read_text(), option


def test_the_table_of_fields_is_that_of_a_sample(page):
    named = [name.strip(" `") for row in table(page, "field") for name in row[0].split(",")]
    assert named == [field.name for field in fields(ClipSample)]
    assert f"{ASSUMED_FOV_DEG:.0f}° are assumed" in page.read_text().replace("\n", " ")
