"""The ablation: every row's command is one that its script takes, chains start where they should, the table adds up."""

import dataclasses
import subprocess
import sys

import pytest
import tyro

from train import ablation, score
from train.ablation import ROWS, AblationConfig
from train.engine.stage_commands import run_command
from train.stage1 import Stage1Config
from train.stage2 import Stage2Config
from train.stage3 import Stage3Config
from train.synthetic.dataset import DatasetConfig
from unish.errors import InputError

STAGES = {1: Stage1Config, 2: Stage2Config, 3: Stage3Config}


@pytest.fixture
def config(tmp_path) -> AblationConfig:
    return AblationConfig(tmp_path, seeds=(0, 1))


@pytest.mark.parametrize("row", [row for row in ROWS if row.stage], ids=lambda row: row.name)
def test_a_row_is_a_command_that_its_script_takes(row, config):
    words = ablation.command(config, row, seed=1)
    at = words.index(f"train/stage{row.stage}.py")
    parsed = tyro.cli(STAGES[row.stage], args=words[at + 1 :])
    assert parsed.seed == 1 and parsed.loop.steps == config.steps[row.stage - 1]
    assert parsed.out == config.work / "seed1" / row.name
    parents = {other.name: str(ablation.run_folder(config, other, 1)) for other in ROWS}
    assert parsed.start == parents.get(row.start, "mini")


def test_the_rows_differ_in_what_their_names_say(config):
    rows = {row.name: row for row in ROWS}

    def parsed(name: str):
        words = ablation.command(config, rows[name], 0)
        stage = rows[name].stage
        return tyro.cli(STAGES[stage], args=words[words.index(f"train/stage{stage}.py") + 1 :])

    assert parsed("s3-no-align").weights.align == 0 and parsed("s3-no-dreg").weights.depth_order == 0
    assert parsed("s3").weights.align > 0 and parsed("s3").weights.depth_order > 0
    assert parsed("s2-scene").weights.train_scene and not parsed("s2").weights.train_scene
    assert len(parsed("s1-both").data) == 2


def test_data_and_scores_are_commands_too(config):
    for words in ablation.data_commands(config):
        tyro.cli(DatasetConfig, args=words[3:])
    made = tyro.cli(DatasetConfig, args=ablation.data_commands(config)[1][3:])
    assert made.labels == "pseudo" and made.joints_from == "mini"
    words = ablation.score_command(config, ROWS[-1], 0)
    assert not tyro.cli(score.ScoreConfig, args=words[3:]).trivial


def test_the_table_has_means_and_spreads(config):
    numbers = {(row.name, seed): dict.fromkeys(ablation.COLUMNS, 0.1 + 0.02 * seed) for row in ROWS for seed in (0, 1)}
    lines = ablation.table(config, numbers).splitlines()
    assert len(lines) == 2 + len(ROWS)
    assert "0.110 ± 0.014" in lines[3] and "±" not in lines[2]
    alone = ablation.table(dataclasses.replace(config, seeds=(0,)), numbers)
    assert "±" not in alone


def test_a_command_that_fails_is_named_with_what_it_said(tmp_path):
    with pytest.raises(InputError, match="no such thing"):
        run_command([sys.executable, "-c", "raise SystemExit('no such thing')"], tmp_path / "log.txt")


@pytest.mark.long
def test_the_step_benchmark_runs(repository):
    words = [
        sys.executable,
        "benchmarks/stage_step.py",
        "--size",
        "mini",
        "--steps",
        "1",
        "--device",
        "cpu",
        "--stages",
        "3",
    ]
    done = subprocess.run(words, cwd=repository, capture_output=True, text=True)
    assert done.returncode == 0 and "| s a step | peak GB |" in done.stdout, done.stderr[-1000:]
