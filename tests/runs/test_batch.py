"""A folder of clips: resumable, shared by processes, one clip's failure its own."""

import csv
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import unish.runs.batch
from unish.cli import main
from unish.errors import InputError
from unish.runs.batch import VIDEO_SUFFIXES, find_jobs
from unish.structures import Reconstruction

HOW = ["--weights", "mini", "--finder", "mini", "--fps", "3", "--end", "1", "--body", "open", "--device", "cpu"]


@pytest.fixture(scope="module")
def clips(repository, tmp_path_factory) -> Path:
    """Two good clips, one that is none, and what is not to be looked at."""
    folder = tmp_path_factory.mktemp("clips")
    for name in ("a.mp4", "b.MOV"):
        shutil.copy(repository / "unish" / "assets" / "sample_clip.mp4", folder / name)
    (folder / "broken.mp4").write_text("this is no video\n" * 50)
    (folder / "notes.txt").write_text("nothing to see")
    (folder / "empty").mkdir()
    return folder


def batch(source: Path, out: Path, *more: str) -> int:
    return main(["batch", str(source), "--out", str(out), *HOW, *more])


def rows(out: Path) -> dict[str, dict[str, str]]:
    with (out / "batch.csv").open() as table:
        return {row["clip"]: row for row in csv.DictReader(table)}


@pytest.fixture(scope="module")
def made(clips, tmp_path_factory):
    """What a first run left behind, and its exit code."""
    out = tmp_path_factory.mktemp("batch") / "out"
    return out, batch(clips, out, "--to", "bvh")


def test_every_clip_has_its_folder_and_its_row_and_the_broken_one_its_sentence(made):
    out, code = made
    assert code == 2, "one of the clips failed"
    found = rows(out)
    assert {name: row["status"] for name, row in found.items()} == {
        "a.mp4": "made",
        "b.MOV": "made",
        "broken.mp4": "failed",
    }
    assert "Expected a video" in found["broken.mp4"]["sentence"]
    assert int(found["a.mp4"]["frames"]) == len(Reconstruction.load(out / "a")) == 3
    assert found["a.mp4"]["fit"] in ("good", "fair", "poor") and float(found["a.mp4"]["seconds"]) > 0
    assert {path.name for path in (out / "b").iterdir()} >= {
        "reconstruction.json",
        "viewer.html",
        "report.json",
        "exports",
    }
    assert not (out / "broken").exists()


def test_reading_ahead_of_a_network_on_a_gpu_changes_nothing(made, clips, tmp_path, monkeypatch):
    monkeypatch.setattr("unish.runs.batch._device", lambda model: torch.device("cuda"))
    assert batch(clips, tmp_path / "out") == 2
    found, expected = rows(tmp_path / "out"), rows(made[0])
    assert {name: (row["status"], row["sentence"]) for name, row in found.items()} == {
        name: (row["status"], row["sentence"]) for name, row in expected.items()
    }
    depths = [Reconstruction.load(out / "b").depth_m for out in (tmp_path / "out", made[0])]
    np.testing.assert_array_equal(*depths)


def test_a_clip_that_found_no_room_ahead_is_read_again_at_its_turn(clips, tmp_path, monkeypatch):
    read, refused = unish.runs.batch.read_clip, []

    def without_room(path, **how):
        if path.name == "b.MOV" and not refused:
            refused.append(path)
            raise InputError("A clip this long needs more room.")
        return read(path, **how)

    monkeypatch.setattr("unish.runs.batch._device", lambda model: torch.device("cuda"))
    monkeypatch.setattr("unish.runs.batch.read_clip", without_room)
    batch(clips, tmp_path / "out")
    assert refused and rows(tmp_path / "out")["b.MOV"]["status"] == "made"


def test_a_second_run_keeps_what_is_there_and_adds_the_formats_that_lack(made, clips, capsys):
    out, _ = made
    before = (out / "a" / "reconstruction.safetensors").stat().st_mtime_ns
    shutil.rmtree(out / "b")
    assert batch(clips, out, "--to", "bvh,obj") == 2
    assert {name: row["status"] for name, row in rows(out).items()} == {
        "a.mp4": "kept",
        "b.MOV": "made",
        "broken.mp4": "failed",
    }
    assert (out / "a" / "reconstruction.safetensors").stat().st_mtime_ns == before
    assert (out / "a" / "exports" / "obj").is_dir() and (out / "b" / "exports" / "obj").is_dir()
    said = capsys.readouterr()
    assert "broken.mp4: " in said.err and "a.mp4" in said.out and "Traceback" not in said.err


def test_results_of_other_options_are_replaced_only_when_asked(made, clips, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(made[0] / "a", out / "a")
    only = tmp_path / "clips"
    only.mkdir()
    shutil.copy(clips / "a.mp4", only)
    assert batch(only, out, "--seed", "1") == 2
    assert "made with other weights or options" in rows(out)["a.mp4"]["sentence"]
    assert batch(only, out, "--seed", "1", "--overwrite") == 0
    assert rows(out)["a.mp4"]["status"] == "made"


def test_a_folder_of_somebody_else_is_never_replaced(clips, tmp_path):
    (tmp_path / "out" / "a").mkdir(parents=True)
    (tmp_path / "out" / "a" / "thesis.tex").write_text("mine")
    only = tmp_path / "clips"
    only.mkdir()
    shutil.copy(clips / "a.mp4", only)
    assert batch(only, tmp_path / "out", "--overwrite") == 2
    assert "not written by unish batch" in rows(tmp_path / "out")["a.mp4"]["sentence"]
    assert (tmp_path / "out" / "a" / "thesis.tex").read_text() == "mine"


def test_two_processes_share_the_clips(made, clips, repository, tmp_path):
    command = [
        sys.executable,
        "-m",
        "accelerate.commands.launch",
        "--multi_gpu",
        "--num_processes",
        "2",
        "--num_machines",
        "1",
    ]
    command += ["--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0", "-m", "unish", "batch"]
    command += [str(clips), "--out", str(tmp_path / "out"), *HOW]
    environment = os.environ | {"PYTHONPATH": str(repository), "HF_HUB_OFFLINE": "1", "ACCELERATE_USE_CPU": "true"}
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert "broken.mp4: Expected a video" in done.stderr.replace("unish: ", ""), done.stderr
    alone, shared = rows(made[0]), rows(tmp_path / "out")
    assert list(shared) == ["a.mp4", "b.MOV", "broken.mp4"]
    for name, row in shared.items():
        assert (row["frames"], row["people"], row["fit"]) == (
            alone[name]["frames"],
            alone[name]["people"],
            alone[name]["fit"],
        )


def test_clips_of_one_name_get_folders_of_their_own(tmp_path):
    for name in ("a.mp4", "a.mov", "b.avi"):
        (tmp_path / name).write_bytes(b"1")
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "1.jpg").write_bytes(b"1")
    names = {job.clip.name: job.folder.name for job in find_jobs(tmp_path, tmp_path / "out")}
    assert names == {"a.mp4": "a.mp4", "a.mov": "a.mov", "b.avi": "b", "pictures": "pictures"}


def test_what_cannot_be_is_one_sentence(tmp_path, capsys):
    assert batch(tmp_path / "nowhere", tmp_path / "out") == 2
    assert batch(tmp_path, tmp_path / "out") == 2
    (tmp_path / f"a{VIDEO_SUFFIXES[0]}").write_bytes(b"1")
    assert batch(tmp_path, tmp_path / "out", "--to", "fbx") == 2
    lines = capsys.readouterr().err.strip().splitlines()
    said = [line for line in lines if line.startswith("unish:")]
    assert "found nothing" in said[0] and "found none" in said[1] and "got 'fbx'" in said[2]
    with pytest.raises(InputError):
        find_jobs(tmp_path / "a.mp4", tmp_path / "out")
