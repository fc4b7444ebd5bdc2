"""The paper's ablation at the size of the mini: each row is a chain of stage commands, scored on held-out `wild` clips.

    python -m train.ablation --work runs/ablation

`studio` plays the part of BEDLAM: rendered, exactly labelled, unlike phone videos. `wild` plays the real videos:
training sees what a labeller says of them (train/synthetic/labeller.py), the truth is kept for scoring. Runs that are
finished are kept, so a stopped table goes on where it was; `--print-commands` shows the commands without running them.
"""

import json
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro

from train.cli import command_line_errors
from train.engine.stage_commands import mean_and_spread, run_command, stage_command
from unish.evaluation.scoring import METRICS
from unish.utils.atomic_write import atomic_path

DATA = {"studio": ("{work}/studio",), "wild": ("{work}/wild",), "both": ("{work}/studio", "{work}/wild")}

STAGE_OPTIONS = {
    1: ("--weights.patch.radius", "0.3", "--weights.regularisation", "0.02"),
    2: (),
    3: (),
}
"""What all runs of a stage have at this size: with images of 168 pixels a patch must be large to hold some shape."""


@dataclass(frozen=True)
class AblationRow:
    """One line of the table: a stage, what it starts from and what it changes."""

    name: str
    title: str
    stage: int = 0
    data: str = "wild"
    start: str = "mini"
    changes: tuple[str, ...] = ()


ROWS = (
    AblationRow("start", "start model (the bundled mini)"),
    AblationRow("s1-studio", "stage 1 on studio (synthetic)", 1, "studio"),
    AblationRow("s1-both", "stage 1 on both", 1, "both"),
    AblationRow("s1-wild", "stage 1 on wild (“real”)", 1, "wild"),
    AblationRow("s2", "stage 1 wild, then stage 2 alone", 2, "studio", "s1-wild"),
    AblationRow("s2-scene", "… with the scene branch unfrozen", 2, "studio", "s1-wild", ("--weights.train-scene",)),
    AblationRow("s3", "stage 1 wild, then stages 2 + 3", 3, "wild", "s2"),
    AblationRow("s3-no-align", "… without L_align", 3, "wild", "s2", ("--weights.align", "0")),
    AblationRow("s3-no-dreg", "… without L_dreg", 3, "wild", "s2", ("--weights.depth-order", "0")),
    AblationRow("s3-light-dreg", "… with L_dreg at a fifth", 3, "wild", "s2", ("--weights.depth-order", "0.2")),
    AblationRow("s3-no-s2", "… without stage 2", 3, "wild", "s1-wild"),
)  # fmt: skip

COLUMNS = (
    "abs_rel", "delta_125", "body_abs_rel", "surface_abs_rel", "scale_error", "pa_mpjpe_mm", "wa_mpjpe_mm",
    "root_error_mm", "body_off_points_cm", "points_behind_cm",
)  # fmt: skip
"""The metrics of `train.score` that are columns of the table."""


@dataclass(frozen=True)
class AblationConfig:
    """Which runs, how long."""

    work: Path
    """Folder for the data (rendered if it is not there) and the runs."""
    start: str = "mini"
    """Weights of the start model."""
    seeds: tuple[int, ...] = (0, 1, 2)
    clips: int = 240
    """Training clips of each world."""
    held_out_clips: int = 40
    steps: tuple[int, int, int] = (300, 250, 250)
    """Steps of stages 1, 2 and 3."""
    rates: tuple[float, float, float] = (7e-4, 2e-5, 5e-5)
    """Learning rates of the stages."""
    workers: int = 2
    """Runs at a time, one thread each."""
    print_commands: bool = False
    """Show what would be run."""


def data_commands(config: AblationConfig) -> list[list[str]]:
    """Commands that render the data."""
    base = [sys.executable, "-m", "train.synthetic", "--long-side-px", "252", "--workers", str(config.workers), "--out"]
    wild, studio, count = str(config.work / "wild"), str(config.work / "studio"), str(config.clips)
    return [
        [*base, studio, "--world", "studio", "--clips", count],
        [*base, wild, "--world", "wild", "--clips", count, "--labels", "pseudo", "--joints-from", config.start],
        [*base, wild, "--world", "wild", "--clips", str(config.held_out_clips), "--split", "validation"],
    ]


def run_folder(config: AblationConfig, row: AblationRow, seed: int) -> Path:
    """Where a row's run is."""
    return config.work / f"seed{seed}" / row.name


def command(config: AblationConfig, row: AblationRow, seed: int) -> list[str]:
    """The command of a row: one stage from the weights that its chain has so far."""
    parent = next((str(run_folder(config, other, seed)) for other in ROWS if other.name == row.start), config.start)
    data = [name.format(work=config.work) for name in DATA[row.data]]
    steps, rate = config.steps[row.stage - 1], config.rates[row.stage - 1]
    changes = (*STAGE_OPTIONS[row.stage], *row.changes)
    return stage_command(row.stage, data, parent, run_folder(config, row, seed), seed, steps, rate, *changes)


def score_command(config: AblationConfig, row: AblationRow, seed: int) -> list[str]:
    """The command that scores a row's weights."""
    folder = run_folder(config, row, seed)
    weights = config.start if row.stage == 0 else str(folder)
    scorer = [sys.executable, "-m", "train.score", "--weights", weights, "--data", str(config.work / "wild")]
    return [*scorer, "--no-trivial", "--clips", str(config.held_out_clips), "--out", str(folder)]


def run_row(config: AblationConfig, row: AblationRow, seed: int, parent: "Future | None") -> dict[str, float]:
    """Train and score one row, after its parent; returns its numbers."""
    if parent is not None:
        parent.result()
    folder = run_folder(config, row, seed)
    if not (folder / "score.json").is_file():
        if row.stage:
            run_command(command(config, row, seed), folder / "log.txt")
        run_command(score_command(config, row, seed), folder / "score.txt")
    (numbers,) = json.loads((folder / "score.json").read_text())["rows"].values()
    print(f"seed {seed} {row.title}: " + ", ".join(f"{k} {numbers.get(k, np.nan):.3g}" for k in COLUMNS), flush=True)
    return numbers


def run_ablation(config: AblationConfig) -> str:
    """Run what is missing; returns the table and writes it to `work/table.md`."""
    for index, line in enumerate(data_commands(config)):
        run_command(line, config.work / f"data{index}.txt")
    with ThreadPoolExecutor(config.workers) as pool:
        futures: dict[tuple[str, int], Future] = {}
        for seed in config.seeds:  # parents stand before their children, so nobody waits for what has no thread yet
            for row in ROWS:
                parent = futures.get((row.start, seed)) if row.stage else None
                futures[row.name, seed] = pool.submit(run_row, config, row, seed, parent)
        numbers = {key: future.result() for key, future in futures.items()}
    text = table(config, numbers)
    with atomic_path(config.work / "table.md") as temporary:
        temporary.write_text(text)
    return text


def table(config: AblationConfig, numbers: dict[tuple[str, int], dict[str, float]]) -> str:
    """Mean over seeds, and where there are several the standard deviation."""
    lines = [
        "| | " + " | ".join(METRICS[name].heading for name in COLUMNS) + " |",
        "|---" * (len(COLUMNS) + 1) + "|",
    ]
    for row in ROWS:
        cells = []
        for name in COLUMNS:
            factor, digits = METRICS[name].factor, METRICS[name].digits
            values = factor * np.array([numbers[row.name, seed].get(name, np.nan) for seed in config.seeds])
            cells.append(mean_and_spread(values if row.stage else values[:1], digits))
        lines.append(f"| {row.title} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, ""])


def main(config: AblationConfig) -> None:
    """Print the commands, or run them and print the table."""
    if config.print_commands:
        lines = data_commands(config)
        for row in ROWS:
            lines += [command(config, row, config.seeds[0])] if row.stage else []
            lines += [score_command(config, row, config.seeds[0])]
        print("\n".join(" ".join(line) for line in lines))
        return
    print(run_ablation(config))


if __name__ == "__main__":
    with command_line_errors():
        main(tyro.cli(AblationConfig, description=__doc__))
