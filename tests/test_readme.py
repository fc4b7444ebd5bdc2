"""README's commands do what it says: run as written, in a fresh folder, on the bundled clip."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import tyro

from train.ablation import AblationConfig
from train.data.prepare.bedlam import BedlamConfig
from train.data.prepare.label_depth import LabelDepthConfig
from train.data.prepare.label_images import LabelImagesConfig
from train.data.prepare.label_masks import LabelMasksConfig
from train.data.prepare.label_videos import LabelConfig
from train.person_detector.detector_scores import EvaluateConfig
from train.person_detector.training import TrainConfig
from train.person_keypoints.keypoint_scores import EvaluateConfig as EvaluateKeypointsConfig
from train.person_keypoints.training import TrainConfig as TrainKeypointsConfig
from train.pose_lifter.lifter_scores import EvaluateConfig as EvaluateLifterConfig
from train.pose_lifter.training import TrainConfig as TrainLifterConfig
from train.pretrain import PretrainConfig
from train.real_ablation import RealAblationConfig
from train.score import ScoreConfig
from train.stage1 import Stage1Config
from train.stage2 import Stage2Config
from train.stage3 import Stage3Config
from train.synthetic.dataset import DatasetConfig
from unish.structures import Reconstruction

pytestmark = pytest.mark.slow

SETTINGS = {
    "train.ablation": AblationConfig,
    "train.real_ablation": RealAblationConfig,
    "train.data.prepare.bedlam": BedlamConfig,
    "train.data.prepare.label_depth": LabelDepthConfig,
    "train.data.prepare.label_images": LabelImagesConfig,
    "train.data.prepare.label_masks": LabelMasksConfig,
    "train.data.prepare.label_videos": LabelConfig,
    "train.person_detector evaluate": EvaluateConfig,
    "train.person_detector train": TrainConfig,
    "train.person_keypoints evaluate": EvaluateKeypointsConfig,
    "train.person_keypoints train": TrainKeypointsConfig,
    "train.pose_lifter evaluate": EvaluateLifterConfig,
    "train.pose_lifter train": TrainLifterConfig,
    "train.pretrain": PretrainConfig,
    "train.score": ScoreConfig,
    "train.stage1": Stage1Config,
    "train.stage2": Stage2Config,
    "train.stage3": Stage3Config,
    "train.synthetic": DatasetConfig,
}

BLOCKS = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(repository: Path, language: str) -> list[str]:
    return [text for kind, text in BLOCKS.findall((repository / "README.md").read_text()) if kind == language]


def commands(repository: Path, start: str) -> list[list[str]]:
    """The lines of README's shell blocks that start so, as words, for this interpreter."""
    lines = [line for block in blocks(repository, "") for line in block.splitlines() if line.startswith(start)]
    assert lines, f"README should have a line starting with {start!r}"
    words = [line.split() for line in lines]
    return [[sys.executable, "-m", *line] if line[0] == "unish" else [sys.executable, *line[1:]] for line in words]


def command(repository: Path, start: str) -> list[str]:
    """The first of them."""
    return commands(repository, start)[0]


def run(words: list[str], folder: Path, repository: Path) -> str:
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "BROWSER": "true", "PYTHONPATH": str(repository)}
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory, repository):
    place = tmp_path_factory.mktemp("readme")
    shutil.copy(repository / "unish" / "assets" / "sample_clip.mp4", place / "clip.mp4")
    return place


def test_terminal(folder, repository):
    said = run(command(repository, "unish run"), folder, repository)
    assert "frames over" in said and "Person 1" in said
    scene = Reconstruction.load(folder / "out")
    assert len(scene) > 20 and len(scene.people) >= 1
    page = Path(run(command(repository, "unish view"), folder, repository).strip())
    assert (folder / page).stat().st_size > 1_000_000


def test_python(folder, repository):
    (snippet,) = (block for block in blocks(repository, "python") if "reconstruct" in block)
    shown = "import numpy as np\nassert np.isfinite(scene.points_world(frame=3)).all()\nassert len(scene.people) >= 1\n"
    (folder / "snippet.py").write_text(snippet.replace('"out"', '"out_python"') + shown)
    run([sys.executable, "snippet.py"], folder, repository)
    assert (folder / "out_python" / "reconstruction.json").is_file()


def test_export_and_batch(folder, repository):
    """After `test_terminal`: on the result that it made."""
    run(command(repository, "unish export"), folder, repository)
    assert len(list((folder / "out" / "exports").iterdir())) == 8
    clips = folder / "clips"
    clips.mkdir()
    shutil.copy(folder / "clip.mp4", clips / "walk.mp4")
    said = run([*command(repository, "unish batch"), "--end", "1"], folder, repository)
    assert "walk.mp4" in said and (folder / "results" / "walk" / "exports" / "scene.glb").is_file()


def test_evaluation_prints_the_table_that_readme_quotes(repository, tmp_path):
    """Every number of README's table, to 3 % and the last digit: the rest depends on the processor."""
    said = run(command(repository, "unish eval synthetic"), tmp_path, repository)
    quoted = re.findall(
        r"^\| (.+? [↓↑→01]+) \| (-?[\d.]+) \| (-?[\d.]+|–) \|$", (repository / "README.md").read_text(), re.M
    )
    assert len(quoted) == 17
    for heading, *numbers in quoted:
        (line,) = (line for line in said.splitlines() if line.startswith(f"{heading} "))
        for number, printed in zip(numbers, line.split()[-2:], strict=True):
            last = 10.0 ** -len(number.partition(".")[2])
            close = number == printed or abs(float(number) - float(printed)) <= 0.03 * abs(float(number)) + 1.5 * last
            assert close, f"{heading}: README says {number}, the command {printed}"


def test_training_commands(tmp_path, repository):
    """The same commands with small numbers: two clips, two steps; the first one in its two processes."""
    for number, make in enumerate(commands(repository, "python -m train.synthetic")):
        make[make.index("--clips") + 1] = "2"
        run([*make, *(("--workers", "1") if number else ("--per-shard", "1"))], tmp_path, repository)
    train = command(repository, "accelerate launch train/pretrain.py")
    train = [word.replace("train/pretrain.py", str(repository / "train" / "pretrain.py")) for word in train]
    train[train.index("--minutes") : train.index("--minutes") + 2] = ["--steps", "2"]
    train += ["--validation-batches", "1"]
    pretrain = [sys.executable, "-m", "accelerate.commands.launch", *train[2:]]
    run(pretrain, tmp_path, repository)
    assert (tmp_path / "runs" / "mini" / "model.safetensors").is_file()


@pytest.mark.parametrize("page", ["README.md", "train/README.md"])
def test_every_training_command_is_one_that_its_script_takes(page, repository):
    """Parsed by the command's own settings, not run: some want data that is not here."""
    text = (repository / page).read_text()
    lines = [line for _, block in BLOCKS.findall(text) for line in block.splitlines()]
    found = [line for line in lines if line.startswith(("python -m train.", "accelerate launch"))]
    assert len(found) >= 4
    for line in found:
        words = line.split()
        at = next(k for k, word in enumerate(words) if word.startswith(("train.", "train/")) and "configs" not in word)
        command, arguments = words[at].removesuffix(".py").replace("/", "."), words[at + 1 :]
        if command in ("train.person_detector", "train.person_keypoints", "train.pose_lifter"):
            command, arguments = f"{command} {arguments[0]}", arguments[1:]
        tyro.cli(SETTINGS[command], args=arguments)
        if "--config_file" in words:
            assert (repository / words[words.index("--config_file") + 1]).is_file()
