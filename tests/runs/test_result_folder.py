"""A result's folder: free before work begins, whole at the end, and only unish's own files are ever replaced."""

import os
from pathlib import Path

import pytest

from tests.helpers.reconstructions import make_reconstruction
from unish.analysis.fit_report import fit_report
from unish.cli import main
from unish.errors import InputError
from unish.export import FORMATS, export
from unish.runs.result_folder import reserve_result, write_result
from unish.structures import Reconstruction
from unish.utils.result_files import EXPORT_FILES


def write(folder: Path, frames: int = 3, overwrite: bool = True) -> Path:
    scene = make_reconstruction(frames)
    return write_result(scene, fit_report(scene), folder, "clip", {"batch.json": "{}"}, overwrite)


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_unish_replaces_its_own_files_and_nothing_else(tmp_path):
    out = write(tmp_path / "out", 5)
    export(make_reconstruction(5), out / "exports", ["ply", "obj", "colmap", "mp4"])
    for name in ("bvh/person_1.bvh", "npz/person_1_amass.npz", "scene.glb"):  # their writers need a body
        (out / "exports" / name).parent.mkdir(exist_ok=True)
        (out / "exports" / name).write_text("made")
    mine = {"notes.md", "exports/scene.blend", "exports/ply/cleaned.obj", "a/b.png", "exports/colmap/dense/a.ply"}
    for name in mine:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text(name)
    write(out, 3)
    ours = {"reconstruction.json", "reconstruction.safetensors", "report.json", "viewer.html", "batch.json"}
    assert names(out) == ours | mine
    assert len(Reconstruction.load(out)) == 3 and [entry.name for entry in tmp_path.iterdir()] == ["out"]


def test_exporting_again_replaces_what_was_exported_and_nothing_else(tmp_path):
    export(make_reconstruction(5), tmp_path, ["ply", "obj"])
    (tmp_path / "ply" / "notes.md").write_text("mine")
    export(make_reconstruction(3), tmp_path, ["ply", "obj"], overwrite=True)
    assert "ply/notes.md" in names(tmp_path) and "ply/points/frame_00002.ply" in names(tmp_path)
    assert not {"ply/points/frame_00003.ply", "obj/frame_00003.obj"} & names(tmp_path)


def test_every_folder_of_an_export_says_which_files_are_its_own():
    assert {form.target for form in FORMATS.values() if form.mark} == set(EXPORT_FILES)


def test_a_place_must_be_free_before_work_begins(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("a file")
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.tex").write_text("years of work")
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    refused = {
        "precious": "already exists",
        "file": "already exists",
        "empty": "folder inside it",
        "/": "name one inside",
    }
    for name, words in {
        **refused,
        "file/out": "Could not write",
        "o" * 300: "Could not write",
        "/proc": "inside it",
    }.items():
        with pytest.raises(InputError, match=words), reserve_result(tmp_path / name):
            pass
    for name in ("file", "precious"):
        with pytest.raises(InputError, match="not a result of unish"), reserve_result(tmp_path / name, overwrite=True):
            pass
    monkeypatch.chdir(tmp_path)
    with reserve_result(tmp_path / "empty"):
        (tmp_path / "empty" / "notes.md").write_text("came in the meantime")
        assert write(tmp_path / "empty", overwrite=False) == tmp_path / "empty"
    assert names(tmp_path / "empty") >= {"notes.md", "viewer.html"}
    with reserve_result(tmp_path / "empty", overwrite=True):
        pass
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["empty", "file", "precious"]


@pytest.mark.skipif(os.getuid() == 0, reason="nothing is closed to root")
def test_a_closed_folder_is_said_before_work_begins(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="Permission denied"), reserve_result(tmp_path / "out"):
        pass


def test_what_fails_in_the_run_is_not_blamed_on_the_place(tmp_path):
    with pytest.raises(BlockingIOError), reserve_result(tmp_path / "out"):
        raise BlockingIOError(11, "Resource temporarily unavailable")
    assert not list(tmp_path.iterdir())


def test_two_runs_into_one_place_are_not_both_done(tmp_path, monkeypatch, capsys, repository):
    clip, out = str(repository / "unish" / "assets" / "sample_clip.mp4"), tmp_path / "out"
    codes = []

    def slow(source, **options):
        if not codes:
            codes.append(None)
            codes[0] = main(["run", clip, "--out", str(out)])  # begins while the first is at work
        return make_reconstruction(3)

    monkeypatch.setattr("unish.pipeline.reconstruct", slow)
    assert main(["run", clip, "--out", str(out)]) == 0 and codes == [2]
    assert "Another run is writing" in capsys.readouterr().err
    assert main(["run", clip, "--out", str(out)]) == 2
    assert len(Reconstruction.load(out)) == 3


def test_a_result_that_appeared_meanwhile_is_not_replaced_and_the_new_one_is_not_lost(tmp_path, monkeypatch, capsys):
    def slow(source, **options):
        make_reconstruction(5).save(tmp_path / "out")
        return make_reconstruction(3)

    monkeypatch.setattr("unish.pipeline.reconstruct", slow)
    assert main(["run", "clip.mp4", "--out", str(tmp_path / "out")]) == 0
    assert f"Result: {tmp_path / 'out.2'}" in capsys.readouterr().out
    assert [len(Reconstruction.load(tmp_path / name)) for name in ("out", "out.2")] == [5, 3]


@pytest.mark.parametrize("name", [os.fsdecode(b"caf\xe9"), "2024-11-14T22:57:44+02:00", "-- --"])
def test_odd_names_of_clips_and_results(tmp_path, monkeypatch, capsys, repository, name):
    clip = tmp_path / f"{name}.mp4"
    clip.write_bytes((repository / "unish" / "assets" / "sample_clip.mp4").read_bytes())
    given = []
    monkeypatch.setattr(
        "unish.pipeline.reconstruct", lambda source, **_: given.append(source) or make_reconstruction(3)
    )
    assert main(["run", str(clip), "--out", str(tmp_path / name)]) == 0
    assert main(["view", str(tmp_path / name), "--no-browser"]) == 0
    assert given == [clip] and len(Reconstruction.load(tmp_path / name)) == 3
