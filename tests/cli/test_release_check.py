"""What `unish doctor --release` measures and writes, with the mini in place of the release."""

import json

import pytest
import torch

from unish.cli import main, release_check
from unish.cli.release_check import StageMeter


def test_the_check_writes_stages_fit_moves_and_the_benchmark(tmp_path, monkeypatch, capsys):
    variants = {"as it is": {}, "wide boxes": {"box_scale": 1.3}}
    monkeypatch.setattr(release_check, "VARIANTS", variants)
    whole = release_check.release_check
    monkeypatch.setattr(release_check, "release_check", lambda *choices: whole(*choices, end_s=0.6, sequences=1))
    out = tmp_path / "check.json"
    words = ["doctor", "--release", "--weights", "mini", "--device", "cpu", "--out", str(out)]
    assert main(words) == 0
    printed, checked = capsys.readouterr().out, json.loads(out.read_text())
    assert {"Loading weights", "Reading video", "Detecting people", "Network"} <= set(checked["stages"])
    assert all(stage["seconds"] > 0 for stage in checked["stages"].values())
    plain, wide = (checked["clip"][name] for name in variants)
    assert set(plain["moves"].values()) == {0.0}
    assert wide["moves"]["joints_mm"] > 1 and wide["options"] == {"box_scale": 1.3}
    assert plain["fit"]["word"] in ("good", "fair", "poor") and plain["frames_per_second"] > 0
    assert len(checked["synthetic"]["table"]["sequences"]) == 1 and not checked["synthetic"]["failures"]
    assert checked["weights"]["name"] == "mini" and checked["machine"]["device"].startswith("cpu")
    assert str(tmp_path) not in out.read_text()
    for word in ("Network", "wide boxes", "Abs Rel", "release_check.md"):
        assert word in printed


def test_without_a_gpu_it_says_so_before_anything_is_loaded(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(release_check, "load", lambda *_, **__: pytest.fail("loaded"))
    assert main(["doctor", "--release", "--out", str(tmp_path / "check.json")]) == 2
    assert "--device cpu" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_stages_add_up_by_message_and_windows_are_one_stage(monkeypatch):
    clock = iter(range(100))
    monkeypatch.setattr(release_check.time, "perf_counter", lambda: float(next(clock)))
    told = []
    meter = StageMeter(torch.device("cpu"), lambda share, message: told.append(message))
    for message in ("Reading video", "Reconstructing window 1 of 2", "Reconstructing window 2 of 2", "Joining", "Done"):
        meter(0.0, message)
    meter(0.0, "Joining")
    meter.end()
    assert {name: stage["seconds"] for name, stage in meter.stages.items()} == {
        "Reading video": 1.0, "Network": 1.0, "Joining": 2.0,
    }  # fmt: skip
    assert told[1] == "Reconstructing window 1 of 2", "the bar shows the windows"
