"""Ctrl-C and SIGTERM at every stage: finished windows are kept, and before the first nothing is written."""

import json
import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("number", "stages"),
    [
        ("SIGINT", {"first window": None, "second window": 6, "fusing": 12}),
        ("SIGTERM", {"reading": None, "loop closure": 12, "saving": 12}),
    ],
)
def test_a_signal_at_any_stage_keeps_the_finished_windows(number, stages, tmp_path, repository):
    words = [sys.executable, "-m", "tests.helpers.stopped_runs", number, str(tmp_path), *stages]
    run = subprocess.run(words, cwd=repository, capture_output=True, text=True)
    assert run.returncode == 0 and "Traceback" not in run.stderr, run.stderr
    code = {"SIGINT": 130, "SIGTERM": 143}[number]
    assert json.loads(run.stdout.splitlines()[-1]) == {stage: [code, frames] for stage, frames in stages.items()}
