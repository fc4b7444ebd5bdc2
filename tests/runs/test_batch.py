"""A folder of clips: resumable, shared by processes, one clip's failure its own."""

import csv
import dataclasses
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import unish.runs.batch
from tests.helpers.reconstructions import make_reconstruction
from unish.body import open_body
from unish.cli import main
from unish.errors import InputError
from unish.export import installed_formats
from unish.models.config import MINI
from unish.pipeline import Options
from unish.runs.batch import find_jobs, run_batch
from unish.structures import Clip, Reconstruction
from unish.video.suffixes import VIDEO_SUFFIXES

HOW = [
    "--weights",
    "mini",
    "--finder",
    "mini",
    "--fps",
    "3",
    "--end",
    "1",
    "--body",
    "open",
    "--device",
    "cpu",
    "--fit",
    "off",
]


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
    assert "made with seed 0, not 1" in rows(out)["a.mp4"]["sentence"]
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


@pytest.mark.slow
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


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())


def folders(source: Path) -> dict[str, str]:
    return {job.clip.name: job.folder.name for job in find_jobs(source, source / "out")}


def test_clips_of_one_name_get_folders_of_their_own(tmp_path):
    touch(tmp_path, "a.mp4", "a.mov", "b.avi", "images/1.jpg")
    assert folders(tmp_path) == {"a.mp4": "a.mp4", "a.mov": "a.mov", "b.avi": "b", "images": "images"}
    touch(tmp_path, "a.mp4.mkv", "B.webm", "batch.csv.mp4", "b/1.png")
    found = folders(tmp_path)
    assert len({name.casefold() for name in found.values()}) == len(found) == 8
    assert found["a.mp4.mkv"] == "a.mp4.mkv" and found["batch.csv.mp4"] == "batch.csv.mp4" and found["b"] == "b"


def test_everything_that_run_reads_is_a_clip_and_hidden_files_are_none(tmp_path, caplog):
    clips = [f"{suffix[1:]}{suffix.upper()}" for suffix in VIDEO_SUFFIXES]
    assert {".ts", ".m2ts", ".wmv", ".gif", ".heic", ".mp4"} <= set(VIDEO_SUFFIXES)
    touch(
        tmp_path, *clips, "._walk.mp4", ".thumbnails/1.jpg", "..mp4", "...mp4", "notes.txt", "notes/a.txt", "n/.1.jpg"
    )
    found = folders(tmp_path)
    assert sorted(found) == sorted(clips) and not caplog.records
    assert all(job.folder.parent == tmp_path / "out" for job in find_jobs(tmp_path, tmp_path / "out"))


def test_a_link_to_itself_and_a_closed_folder_do_not_stop_the_others(tmp_path, monkeypatch, caplog):
    touch(tmp_path, "a.mp4", "closed/1.jpg")
    (tmp_path / "loop.mp4").symlink_to(tmp_path / "loop.mp4")
    (tmp_path / "dangling.mp4").symlink_to(tmp_path / "nowhere.mp4")
    iterate = Path.iterdir

    def listed(folder):
        if folder.name == "closed":
            raise PermissionError(13, "Permission denied")
        return iterate(folder)

    monkeypatch.setattr(Path, "iterdir", listed)
    assert sorted(folders(tmp_path)) == ["a.mp4", "dangling.mp4", "loop.mp4"]
    assert "closed is left out" in caplog.text


class Network(torch.nn.Module):
    """Stands for the network: its weights are one number."""

    weights_name = "net"
    config = MINI

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = torch.nn.Parameter(torch.tensor([float(number)]))


def statuses(source: Path, out: Path, model: Network, **choices: object) -> dict[str, str]:
    overwrite = bool(choices.pop("overwrite", False))
    rows = run_batch(find_jobs(source, out), model, open_body(), Options(**choices), overwrite=overwrite)
    return {row.clip: row.status for row in rows}


def test_what_was_replaced_in_place_is_made_again(tmp_path, monkeypatch):
    source, out, ran = tmp_path / "clips", tmp_path / "out", []

    def read(path, **sampling):
        return Clip(np.zeros((3, 24, 32, 3), np.uint8), np.arange(3) / 6, 6.0, path.name, (32, 24))

    def reconstruct(clip, *rest, **more):
        ran.append(clip.source_name)
        return make_reconstruction(3)

    monkeypatch.setattr("unish.runs.batch.read_clip", read)
    monkeypatch.setattr("unish.runs.batch.reconstruct_clip", reconstruct)
    touch(source, "a.mp4", "b.mp4")
    assert statuses(source, out, Network(1)) == {"a.mp4": "made", "b.mp4": "made"}
    assert statuses(source, out, Network(1)) == {"a.mp4": "kept", "b.mp4": "kept"}
    old = (source / "a.mp4").stat()
    (source / "a.mp4").write_bytes(b"b.mp4")  # as long as before, and as old
    os.utime(source / "a.mp4", ns=(old.st_atime_ns, old.st_mtime_ns))
    assert statuses(source, out, Network(1)) == {"a.mp4": "made", "b.mp4": "kept"}
    assert statuses(source, out, Network(2)) == {"a.mp4": "made", "b.mp4": "made"}, "the weights were trained again"
    assert statuses(source, out, Network(2), fps=3.0) == {"a.mp4": "failed", "b.mp4": "failed"}
    (source / "a.mp4").rename(source / "a.mov")
    assert statuses(source, out, Network(2)) == {"a.mov": "failed", "b.mp4": "kept"}, "another clip, so it asks first"
    assert statuses(source, out, Network(2), overwrite=True) == {"a.mov": "made", "b.mp4": "kept"}
    assert ran == ["a.mp4", "b.mp4", "a.mp4", "a.mp4", "b.mp4", "a.mov"]


def test_exports_have_the_clips_own_frames_also_where_the_result_is_kept(tmp_path, monkeypatch):
    source, out = tmp_path / "clips", tmp_path / "out"
    (source / "walk").mkdir(parents=True)
    for number in range(5):
        Image.new("RGB", (320, 240), (40 * number, 0, 0)).save(source / "walk" / f"{number}.png")
    options = Options(fps=6.0, source_fps=12.0)
    monkeypatch.setattr("unish.runs.batch.reconstruct_clip", lambda clip, *rest, **more: make_reconstruction(3))
    for formats, status in ((["chan"], "made"), (["chan", "colmap"], "kept")):
        (row,) = run_batch(find_jobs(source, out), Network(1), open_body(), options, formats)
        assert row.status == status, row.sentence
    images = [Image.open(path) for path in sorted((out / "walk" / "exports" / "colmap" / "images").iterdir())]
    assert [image.size for image in images] == [(320, 240)] * 3
    red = [image.getpixel((160, 120))[0] for image in images]
    np.testing.assert_allclose(red, [0, 80, 160], atol=4)  # every second image, at the rate that was given


def test_all_formats_are_those_that_can_be_written_of_a_clip(tmp_path, monkeypatch):
    source, written = tmp_path / "clips", []
    for name in ("nobody", "two"):
        (source / name).mkdir(parents=True)
        Image.new("RGB", (64, 48)).save(source / name / "0.png")
    two = make_reconstruction(1)
    nobody = dataclasses.replace(two, people=(), person_mask=np.zeros_like(two.person_mask))
    found = {"nobody": nobody, "two": two}
    monkeypatch.setattr("unish.runs.batch.reconstruct_clip", lambda clip, *rest, **more: found[clip.source_name])
    monkeypatch.setattr(
        "unish.runs.batch.export", lambda scene, folder, formats, *rest, **more: written.append(formats)
    )
    made = run_batch(find_jobs(source, tmp_path / "out"), Network(1), open_body(), Options(fps=1.0), ["all"])
    assert [row.sentence for row in made] == ["", ""]
    installed = installed_formats()
    assert written == [[name for name, one in installed.items() if not one.of_people], list(installed)]


def test_what_cannot_be_is_one_sentence(tmp_path, capsys):
    assert batch(tmp_path / "nowhere", tmp_path / "out") == 2
    assert batch(tmp_path, tmp_path / "out") == 2
    (tmp_path / f"a{VIDEO_SUFFIXES[0]}").write_bytes(b"1")
    assert batch(tmp_path, tmp_path / "out", "--to", "dxf") == 2
    lines = capsys.readouterr().err.strip().splitlines()
    said = [line for line in lines if line.startswith("unish:")]
    assert "found nothing" in said[0] and "found none" in said[1] and "got 'dxf'" in said[2]
    with pytest.raises(InputError):
        find_jobs(tmp_path / "a.mp4", tmp_path / "out")
