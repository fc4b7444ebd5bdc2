"""Ctrl-C and SIGTERM at every stage: finished windows are kept, and before the first nothing is written."""

import json
import subprocess
import sys

import pytest


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "stages"),
    [
        ("SIGINT", {"first window": None, "second window": 6, "fusing": 12}),
        ("SIGTERM", {"reading": None, "camera motion": None, "loop closure": 12, "saving": 12}),
    ],
)
def test_a_signal_at_any_stage_keeps_the_finished_windows(number, stages, tmp_path, repository):
    words = [sys.executable, "-m", "tests.helpers.stopped_runs", number, str(tmp_path), *stages]
    run = subprocess.run(words, cwd=repository, capture_output=True, text=True)
    assert run.returncode == 0 and "Traceback" not in run.stderr, run.stderr
    code = {"SIGINT": 130, "SIGTERM": 143}[number]
    assert json.loads(run.stdout.splitlines()[-1]) == {stage: [code, frames] for stage, frames in stages.items()}


def test_a_batch_that_is_stopped_keeps_the_windows_of_the_clip_at_hand(tmp_path, repository):
    words = [sys.executable, "-m", "tests.helpers.stopped_runs", "SIGTERM", str(tmp_path), "batch"]
    run = subprocess.run(words, cwd=repository, capture_output=True, text=True)
    assert run.returncode == 0 and "Traceback" not in run.stderr, run.stderr
    first, again = json.loads(run.stdout.splitlines()[-1])
    assert first == [143, 6] and again == [0, 12], "the finished window, then the whole clip; the other one once"
    assert "the next run makes it again" in run.stderr
