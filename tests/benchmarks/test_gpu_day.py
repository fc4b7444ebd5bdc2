"""`benchmarks/gpu_day.sh`: its commands are ones that exist, a stage is run once, and failures are kept."""

import shlex
import subprocess
from pathlib import Path

import pytest


def gpu_day(repository: Path, *words: str, **options):
    command = ["bash", "benchmarks/gpu_day.sh", *words]
    return subprocess.run(command, cwd=repository, capture_output=True, text=True, **options)


@pytest.mark.parametrize("tiny", [(), ("--tiny",)])
def test_a_dry_run_prints_commands_of_files_that_are_there(repository, tmp_path, tiny):
    out = tmp_path / "out"
    done = gpu_day(repository, "--dry-run", *tiny, str(out))
    assert done.returncode == 0 and not out.exists()
    commands = dict(line.split(": ", 1) for line in done.stdout.splitlines())
    assert list(commands)[:6] == ["forward", "compiled", "clip", "profile", "capacity", "loading"]
    assert list(commands)[-3:] == ["stage1", "stage2", "stage3"]
    for command in commands.values():
        words = shlex.split(command.partition("&&")[0])
        if words[:2] == ["accelerate", "launch"]:
            script = words[2]
        else:
            script = words[2].replace(".", "/") if words[1] == "-m" else words[1]
        assert any((repository / f"{script}{suffix}").exists() for suffix in ("", ".py")), script
    assert ("8 16 30 60 120" in commands["forward"]) == (not tiny)


@pytest.mark.parametrize("words", [(), ("--fast", "out"), ("out", "holiday")])
def test_what_it_does_not_know_is_refused(repository, words):
    done = gpu_day(repository, *words)
    assert done.returncode == 2 and done.stderr.startswith("gpu_day: expected")


def test_a_stage_runs_once_and_a_failure_is_kept(repository, tmp_path):
    """With a `python` that only says how it was called, and fails for the viewer."""
    fake = tmp_path / "bin" / "python"
    fake.parent.mkdir()
    fake.write_text('#!/bin/sh\necho "$@" >> "$CALLS"\necho "| a table |"\ncase "$*" in *viewer*) exit 3;; esac\n')
    fake.chmod(0o755)
    calls, out = tmp_path / "calls", tmp_path / "out"
    environment = {"PATH": f"{fake.parent}:/usr/bin:/bin", "CALLS": str(calls)}
    for _ in range(2):
        done = gpu_day(repository, "--tiny", str(out), "capacity", "viewer", env=environment)
        assert done.returncode == 1 and "viewer: failed with exit code 3" in done.stderr
    assert [line.split()[0] for line in calls.read_text().splitlines()] == [
        "benchmarks/capacity.py", "benchmarks/viewer.py", "benchmarks/viewer.py",
    ]  # fmt: skip
    assert (out / "capacity.md").read_text() == "| a table |\n"
    assert (out / "capacity.status").read_text().startswith("exit 0 after ")
    assert (out / "viewer.status").read_text().startswith("exit 3 after ")
    assert (out / "machine.txt").is_file()
