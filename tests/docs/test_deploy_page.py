"""docs/deploy.md: its numbers are those of the code, and the files that it names are enough to run the demo."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from huggingface_hub.utils import filter_repo_objects

from space import cleanup, limits
from tests.docs.pages import blocks, command_lines, table
from tests.space.test_limits import clip_of
from unish.errors import InputError
from unish.models.hub import RELEASE_FILE, RELEASE_MEMORY_GIB, RELEASE_REPO


@pytest.fixture(scope="module")
def page(repository) -> Path:
    return repository / "docs" / "deploy.md"


def test_seconds_of_gpu(page):
    rows = table(page, "clip, 16:9, at 6 frames per second")
    assert len(rows) == 4
    for length, one, three in rows:
        frames = 6 * int(length.split()[0])
        assert [one, three] == [f"{limits.gpu_seconds(clip_of(frames), people)} s" for people in (1, 3)], length
    assert frames == limits.MAX_FRAMES and f"{frames} frames, the most" in length
    assert f"{limits.GPU_SECONDS_AT_MOST} at most" in page.read_text()
    limits.check_gpu_time(clip_of(limits.MAX_FRAMES), people=4)
    with pytest.raises(InputError):
        limits.check_gpu_time(clip_of(limits.MAX_FRAMES), people=5)  # as the page says


def test_what_visitors_may_ask_for(page):
    said = dict(table(page, "limit"))
    assert said == {
        "size of an upload": f"{limits.MAX_UPLOAD_MB} MB",
        "length of a clip": f"{limits.MAX_SECONDS:.0f} s",
        "frame of a clip": f"{limits.MAX_FRAME_MEGAPIXELS:.0f} megapixels",
        "frames to decode, together": f"{limits.MAX_DECODED_MEGAPIXELS:.0f} megapixels",
        "frames per second": f"{limits.FPS_RANGE[1]:.0f}",
        "sampled frames": f"{limits.MAX_FRAMES}",
        "sampled frames on disk": f"{limits.MAX_KEPT_BYTES >> 30} GiB; larger ones are kept smaller",
        "people": f"{limits.MAX_PEOPLE}",
        "time for one request": f"{limits.TIME_LIMIT_S:.0f} s, or `--time-limit`",
        "visitors who wait": f"{limits.MAX_WAITING}",
        "life of uploads and results": "an hour after the last change, looked at every 5 minutes",
    }
    assert (cleanup.KEEP_FILES_S, cleanup.SWEEP_EVERY_S) == (3600, 300)


def test_the_first_lines_of_the_readme(page, repository):
    _, front, _ = (repository / "README.md").read_text().split("---\n", 2)
    for keys, value, _ in table(page, "key"):
        for key, expected in zip(keys.split(", "), value.split(", "), strict=True):
            key = key.strip("`")
            found = re.search(rf"^{key}:(?:\n *-)? *\"?([^\"\n]+)\"?$", front, re.MULTILINE)
            assert found and found[1] == expected, key


def test_the_release_weights(page):
    (preload,) = blocks(page, "yaml")
    assert preload.code.splitlines()[1].split() == ["-", RELEASE_REPO, RELEASE_FILE]
    assert f"{RELEASE_MEMORY_GIB[torch.bfloat16]} GiB" in page.read_text()


def files_of_the_container(page: Path, there: list[str]) -> set[str]:
    """What its COPY lines take."""
    (recipe,) = blocks(page, "Dockerfile")
    copied = [line.split()[1] for line in recipe.code.splitlines() if line.startswith("COPY")]
    assert {"app.py", "space", "unish", "requirements.txt"} == set(copied)
    return {path for path in there if path.split("/")[0] in copied}


def files_of_the_space(page: Path, there: list[str]) -> set[str]:
    """What its upload takes."""
    words = shlex.split(hub_lines(page)[-1])
    chosen = {
        flag: [words[k + 1] for k, word in enumerate(words) if word == flag] for flag in ("--include", "--exclude")
    }
    kept = filter_repo_objects(there, allow_patterns=chosen["--include"], ignore_patterns=chosen["--exclude"])
    return set(kept)


def hub_lines(page: Path) -> list[str]:
    return [line for block in blocks(page, "") for line in block.code.splitlines() if line.startswith("hf ")]


def test_the_files_that_are_copied_are_enough_and_the_options_those_of_the_app(page, repository, tmp_path):
    """The demo is built from them, all but listening, and says its options."""
    folders = [path for path in repository.iterdir() if not path.name.startswith(".")]
    there = [path for folder in folders for path in (folder.rglob("*") if folder.is_dir() else [folder])]
    names = [path.relative_to(repository).as_posix() for path in there if path.is_file()]
    files = {path for path in files_of_the_container(page, names) if "__pycache__" not in path}
    assert files | {"README.md"} == files_of_the_space(page, names)
    assert "unish/assets/mini/model.safetensors" in files and not any(path.startswith("tests") for path in files)
    for path in files:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(repository / path, tmp_path / path)
    code = """
import sys, unish, app
from pathlib import Path
from space.results import ResultFolders
app.networks('mini')
app.build(app.Demo({'mini': 'mini'}, ResultFolders.beside(Path('results')), app.Examples([])))
print(unish.__file__)
sys.argv = ['app.py', '--help']
app.main()
"""
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    home, helped = done.stdout.split("\n", 1)
    assert home == str(tmp_path / "unish" / "__init__.py")
    options = set(re.findall(r"--[a-z-]+", helped)) - {"--help"}
    assert {row[0].strip("`") for row in table(page, "option")} == options
    lines = command_lines(page, "python app.py")
    assert lines and all(set(re.findall(r"--[a-z-]+", line)) <= options for line in lines)


def test_the_hubs_commands_are_there(page):
    """Asked of the client that is installed, without a network."""
    assert len(hub_lines(page)) == 3
    for line in hub_lines(page):
        words = shlex.split(line)
        upto = next((k for k, word in enumerate(words) if "/" in word), len(words))
        client = str(Path(sys.executable).with_name("hf"))
        told = subprocess.run([client, *words[1:upto], "--help"], capture_output=True, text=True)
        assert told.returncode == 0, line
        missing = [word for word in words if word.startswith("--") and word not in told.stdout]
        assert not missing, line
