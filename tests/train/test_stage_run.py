"""Whole runs of the three stages on bundled shards: what they change and leave behind, stopped, split or misused."""

import dataclasses
import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from train import stage1, stage2, stage3
from train.data.clip_loader import ClipBatches
from train.data.schema import load_clips
from train.data.stage_batches import ViewConfig
from train.engine.schedule import LoopConfig
from train.engine.stage_run import main
from train.objectives.losses import PatchSettings
from train.objectives.stages import Stage1Weights
from unish.models.hub import load, save
from unish.models.unish import UniSH

STAGES = {
    "stage1": (stage1, stage1.Stage1Config),
    "stage2": (stage2, stage2.Stage2Config),
    "stage3": (stage3, stage3.Stage3Config),
}
TRAINED = {
    "stage1": ("scene_branch.point_head.",),
    "stage2": ("human_branch.", "align_net."),
    "stage3": ("align_net.",),
}
LOOP = LoopConfig(steps=6, learning_rate=1e-3, warmup_steps=2, log_every=1, save_every=3)
PATCHES = Stage1Weights(patch=PatchSettings(radius=0.3, min_points=8))


@pytest.fixture(scope="session")
def shards(repository):
    """Four clips to train on and four to validate with (see the README beside them)."""
    return str(repository / "tests" / "train" / "shards")


def new_model(config) -> UniSH:
    torch.manual_seed(0)
    return UniSH(config)


def train(name: str, config, shards: str, out, loop: LoopConfig = LOOP, **settings) -> dict[str, torch.Tensor]:
    """The weights after a run from a new network."""
    module, make = STAGES[name]
    settings |= {"weights": PATCHES} if name == "stage1" else {}
    view = ViewConfig(frames=2)
    run = make(data=(shards,), out=out, loop=loop, view=view, precision="fp32", **settings)
    return module.run(run, model=new_model(config)).state_dict()


def rows_of(folder) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_the_bundled_shards_are_small_and_open(shards, repository):
    files = list((repository / "tests" / "train" / "shards").glob("*/*.parquet"))
    assert len(files) == 2 and sum(path.stat().st_size for path in files) < 400_000
    assert all(len(load_clips(shards, split, streaming=False)) == 4 for split in ("train", "validation"))


@pytest.mark.parametrize("name", STAGES)
def test_ten_steps_change_what_the_stage_trains_and_not_a_bit_of_the_rest(name, tiny, shards, tmp_path):
    model = new_model(tiny)
    before, parameters = model.state_dict(), {key for key, _ in model.named_parameters()}
    after = train(name, tiny, shards, tmp_path, dataclasses.replace(LOOP, steps=10, save_every=None))
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    trained = {key for key in parameters if key.startswith(TRAINED[name])}
    assert before.keys() == after.keys() and changed <= trained
    assert len(changed) > 0.8 * len(trained)
    rows = rows_of(tmp_path)
    assert [row["step"] for row in rows] == list(range(1, 11))
    if name == "stage1":
        assert rows[0]["regularisation"] == 0.0 and rows[-1]["regularisation"] > 0


class Interrupted:
    """The data of a run that is stopped while it waits for a batch."""

    def __init__(self, after: int) -> None:
        self.left, self.next = after, ClipBatches.__next__

    def give(self, batches):
        self.left -= 1
        if self.left < 0:
            raise InterruptedError
        return self.next(batches)


@pytest.mark.parametrize("name", STAGES)
def test_a_resumed_run_ends_like_an_unbroken_one_bit_for_bit(name, tiny, shards, tmp_path, monkeypatch):
    loop = dataclasses.replace(LOOP, accumulate=2)
    config = dataclasses.replace(tiny, align=dataclasses.replace(tiny.align, dropout=0.2))
    unbroken = train(name, config, shards, tmp_path / "whole", loop)
    with monkeypatch.context() as patch:
        interrupted = Interrupted(after=9)  # in the middle of the fifth step
        patch.setattr(ClipBatches, "__next__", lambda batches: interrupted.give(batches))
        with pytest.raises(InterruptedError):
            train(name, config, shards, tmp_path / "broken", loop)
    assert [row["step"] for row in rows_of(tmp_path / "broken")] == [1, 2, 3, 4]
    resumed = train(name, config, shards, tmp_path / "broken", loop, resume=True)
    assert all(torch.equal(unbroken[key], resumed[key]) for key in unbroken)
    whole, broken = ([{**row, "seconds": 0} for row in rows_of(tmp_path / folder)] for folder in ("whole", "broken"))
    assert whole == broken and [row["step"] for row in whole] == [1, 2, 3, 4, 5, 6]


# --- from the command line -------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def start(tiny, tmp_path_factory) -> str:
    """A folder with a tiny network's weights."""
    folder = tmp_path_factory.mktemp("start")
    save(new_model(tiny), folder, torch.float32)
    return str(folder)


def command(repository, arguments: list[str]) -> subprocess.CompletedProcess:
    """Accelerate's launcher, on the CPU."""
    free = socket.socket()
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
    free.close()
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--num_machines", "1", "--mixed_precision", "no"]
    launch += ["--dynamo_backend", "no", "--main_process_port", str(port)]
    environment = os.environ | {"ACCELERATE_USE_CPU": "true", "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        launch + arguments, cwd=repository, env=environment, capture_output=True, text=True, timeout=300
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", STAGES)
def test_ten_steps_from_the_command_line(name, shards, start, repository, tmp_path):
    arguments = ["--cpu", "--num_processes", "1", f"train/{name}.py", "--data", shards, "--start", start]
    arguments += ["--out", str(tmp_path), "--held-out", shards, "--held-out-clips", "2", "--view.frames", "2"]
    arguments += ["--loop.steps", "10", "--loop.log-every", "5", "--loop.tracker", "tensorboard"]
    done = command(repository, arguments)
    assert done.returncode == 0, done.stderr
    about = json.loads((tmp_path / "run.json").read_text())
    assert re.fullmatch(r"[0-9a-f]{40}\+?|unknown", about["commit"]) and about["processes"] == 1
    assert about["settings"]["stage"] == name and about["settings"]["loop"]["steps"] == 10
    rows = rows_of(tmp_path)
    assert [row["step"] for row in rows] == [5, 10, 10]
    assert len([key for key in rows[-1] if key.startswith("held_out.")]) > 5
    assert len(list((tmp_path / "images").glob("*.png"))) == 2
    assert list(tmp_path.rglob("events.out.tfevents.*"))
    assert (tmp_path / "config.json").is_file()
    before, after = load(start, "cpu"), load(tmp_path, "cpu")
    assert before.config == after.config and not after.training


@pytest.mark.slow
@pytest.mark.long
def test_two_processes_learn_what_one_does_with_twice_the_batches_a_step(shards, start, repository, tmp_path):
    # Stage 2: the others draw pixels at random, each process from its own generator.
    def losses(processes: int, accumulate: int, launch: tuple[str, ...]) -> list[dict[str, float]]:
        out = tmp_path / f"{processes}{launch[0]}"
        arguments = ["--num_processes", str(processes), *launch, "train/stage2.py", "--data", shards, "--start", start]
        arguments += ["--out", str(out), "--view.frames", "2", "--precision", "fp32", "--loop.steps", "4"]
        arguments += ["--loop.log-every", "1", "--loop.learning-rate", "1e-3", "--loop.warmup-steps", "1"]
        arguments += ["--loop.accumulate", str(accumulate), "--loop.save-every", "2"]
        done = command(repository, arguments)
        assert done.returncode == 0, done.stderr
        assert json.loads((out / "run.json").read_text())["processes"] == processes
        return [{key: value for key, value in row.items() if key != "seconds"} for row in rows_of(out)]

    sharded = ("--config_file", "train/configs/fsdp.yaml", "tests/train/force_fsdp.py")
    one = losses(1, 2, ("--cpu",))
    two = losses(2, 1, ("--multi_gpu",))  # the launcher's name for several processes
    three = losses(2, 1, sharded)
    assert len(one) == 4
    for alone, shared, in_shards in zip(one, two, three, strict=True):
        assert shared == pytest.approx(alone, rel=1e-4, abs=1e-6)
        assert in_shards == pytest.approx(alone, rel=1e-4, abs=1e-6)
    about = json.loads((tmp_path / "2--config_file" / "run.json").read_text())
    assert about["distributed"] == "FSDP" and about["processes"] == 2
    whole, gathered = (load(tmp_path / name, "cpu").state_dict() for name in ("2--multi_gpu", "2--config_file"))
    # In the mean: Adam turns rounding into whole steps where a gradient is all but zero.
    assert all((whole[key] - gathered[key]).abs().mean() < 1e-4 for key in whole if whole[key].numel())


@pytest.mark.parametrize("name", STAGES)
@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"--data": "no/such/folder"}, "no/such/folder"),
        ({"--start": "no-such-weights"}, "no-such-weights"),
        ({"--pi3": "pi3.safetensors"}, "--camerahmr"),
        ({"--loop.steps": None}, "budget"),
        ({"--loop.minutes": "1"}, "budget"),
        ({"--mixture": "-1"}, "--mixture"),
        ({"--held-out": "no/such/folder"}, "no/such/folder"),
    ],
)
def test_bad_input_is_one_sentence(name, changed, says, shards, start, tmp_path, monkeypatch, capsys):
    options = {"--data": shards, "--start": start, "--out": str(tmp_path), "--loop.steps": "2"} | changed
    words = [word for option, value in options.items() if value is not None for word in (option, value)]
    module, config = STAGES[name]
    monkeypatch.setattr(sys, "argv", [f"{name}.py", *words])
    with pytest.raises(SystemExit) as end:
        main(config, module.run, module.__doc__)
    lines = capsys.readouterr().err.strip().splitlines()
    assert end.value.code == 2
    assert len(lines) == 1 and lines[0].startswith("error: ") and says in lines[0]


def test_bad_input_through_a_real_process(start, repository, tmp_path):
    script = [sys.executable, "train/stage3.py", "--data", "nowhere", "--start", start, "--out", str(tmp_path)]
    done = subprocess.run([*script, "--loop.steps", "1"], cwd=repository, capture_output=True, text=True, timeout=300)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("error: nowhere")


@pytest.mark.parametrize("name", STAGES)
def test_help_names_every_setting(name, monkeypatch, capsys):
    def options(value, prefix: str = "") -> list[str]:
        found = []
        for field in dataclasses.fields(value):
            inner, flag = getattr(value, field.name), f"{prefix}{field.name.replace('_', '-')}"
            found += options(inner, f"{flag}.") if dataclasses.is_dataclass(inner) else [flag]
        return found

    module, config = STAGES[name]
    monkeypatch.setattr(sys, "argv", [f"{name}.py", "--help"])
    with pytest.raises(SystemExit) as end:
        main(config, module.run, module.__doc__)
    text = capsys.readouterr().out
    expected = [
        option for option in options(config(data=(), out=Path("runs"))) if option != "loop.seed"
    ]  # it is --seed
    assert end.value.code in (0, None) and {"loop.steps", "view.frames"} <= set(expected)
    assert any(option.startswith("weights.") for option in expected)
    missing = [option for option in expected if not re.search(rf"--(\S*\.)?(no-)?{re.escape(option)}\b", text)]
    assert not missing, missing
