"""Commands of training stages on one thread of a CPU, as the ablations run them, and what their tables share."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from unish.errors import InputError

REPOSITORY = Path(__file__).resolve().parents[2]
ONE_PROCESS = (
    "--cpu", "--num_processes", "1", "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no",
    "--num_cpu_threads_per_process", "1",
)  # fmt: skip
FRAMES = 8
"""Of each clip that a stage sees."""


def stage_command(
    stage: int, data: Sequence[str], start: str, out: Path, seed: int, steps: int, rate: float, *changes: str
) -> list[str]:
    """The command of one stage, of so many `steps` with learning rate `rate`; `changes` are further options.

    A stopped run in `out` goes on where it was.
    """
    launch = [sys.executable, "-m", "accelerate.commands.launch", *ONE_PROCESS, f"train/stage{stage}.py"]
    options = ["--data", *data, "--start", start, "--out", str(out), "--seed", str(seed)]
    options += ["--view.frames", str(FRAMES), "--loop.steps", str(steps), "--resume"]
    options += ["--loop.learning-rate", str(rate), "--loop.warmup-steps", "30"]
    return [*launch, *options, "--loop.average", "0.98", "--save-precision", "fp32", *changes]


def run_command(command: Sequence[str], log: Path) -> None:
    """Run a command with one thread. Raises InputError with the last line that it printed when it fails."""
    log.parent.mkdir(parents=True, exist_ok=True)
    one_thread = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}
    with log.open("w") as file:
        done = subprocess.run(command, cwd=REPOSITORY, stdout=file, stderr=file, env={**os.environ, **one_thread})
    if done.returncode:
        last = (log.read_text().strip().splitlines() or ["nothing"])[-1]
        raise InputError(f"Expected `{' '.join(command[1:6])} …` to finish, but it said: {last}. See {log}.")


def mean_and_spread(values: np.ndarray, digits: int) -> str:
    """Mean of the values of several seeds, and where there are several the standard deviation."""
    spread = f" ± {values.std(ddof=1):.{digits}f}" if len(values) > 1 else ""
    return f"{values.mean():.{digits}f}{spread}"
