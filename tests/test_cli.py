"""The command line on bad input: one sentence, exit code 2, nothing under the output's name."""

import pickle
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest

from tests.helpers.reconstructions import make_reconstruction
from unish.cli import main
from unish.errors import CheckpointError, Interrupted
from unish.structures import Reconstruction


def write_video(path: Path, frames: int = 8, size: tuple[int, int] = (96, 64)) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=8)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for index in range(frames):
            picture = np.full((size[1], size[0], 3), 20 * index, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


def cut_in_the_header(folder: Path) -> Path:
    path = write_video(folder / "cut.mp4")
    path.write_bytes(path.read_bytes()[:200])
    return path


def text_file(folder: Path) -> Path:
    path = folder / "text.mp4"
    path.write_text("this is no video\n" * 50)
    return path


def empty_file(folder: Path) -> Path:
    path = folder / "empty.mp4"
    path.touch()
    return path


def folder_without_pictures(folder: Path) -> Path:
    path = folder / "pictures"
    path.mkdir()
    (path / "notes.txt").write_text("nothing to see")
    return path


CLIPS = {
    "missing": lambda folder: folder / "nowhere.mp4",
    "empty": empty_file,
    "truncated": cut_in_the_header,
    "text": text_file,
    "folder": folder_without_pictures,
}


def assert_refused(arguments: list[str], capsys: pytest.CaptureFixture[str], out: Path) -> str:
    assert main(arguments) == 2
    stderr = capsys.readouterr().err
    message = [line for line in stderr.splitlines() if line.startswith("unish: ")]
    assert len(message) == 1 and "Traceback" not in stderr
    assert not out.exists() and not list(out.parent.glob(".unish-*"))
    return message[0]


@pytest.mark.parametrize("kind", CLIPS)
def test_clips_that_are_none(tmp_path, capsys, kind):
    clip = CLIPS[kind](tmp_path)
    message = assert_refused(["run", str(clip), "--out", str(tmp_path / "out")], capsys, tmp_path / "out")
    assert clip.name in message


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        (["--fps", "0"], "frame rate"),
        (["--fps", "nan"], "frame rate"),
        (["--start", "3", "--end", "1"], "3"),
        (["--start", "60"], "60"),
        (["--box", "500,500,600,600"], "box"),
        (["--box", "10,10,banana,50"], "banana"),
        (["--box", "50,10,10,50"], "box"),
        (["--weights", "no/such/folder"], "no/such/folder"),
        (["--masks", "no-such-folder"], "no-such-folder"),
        (["--body", "no-such-body.npz"], "no-such-body.npz"),
        (["--device", "quantum"], "quantum"),
        (["--box-scale", "0"], "box scale"),
        (["--confidence", "1"], "confidence"),
    ],
)
def test_choices_that_cannot_be(tmp_path, capsys, monkeypatch, extra, words):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    clip = write_video(tmp_path / "clip.mp4")
    arguments = ["run", str(clip), "--out", str(tmp_path / "out"), *extra]
    assert words in assert_refused(arguments, capsys, tmp_path / "out").lower()


def test_nobody_in_the_clip(tmp_path, capsys):
    clip = write_video(tmp_path / "grey.mp4")
    message = assert_refused(["run", str(clip), "--out", str(tmp_path / "out")], capsys, tmp_path / "out")
    assert "Draw a box around a person" in message


def test_an_existing_result_is_not_touched(tmp_path, capsys):
    out = make_reconstruction().save(tmp_path / "out")
    before = sorted(path.name for path in out.iterdir())
    assert main(["run", str(tmp_path / "clip.mp4"), "--out", str(out)]) == 2
    assert "already exists" in capsys.readouterr().err
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.tex").write_text("years of work")
    assert main(["run", "clip.mp4", "--out", str(tmp_path / "precious"), "--overwrite"]) == 2
    assert "not a result of unish" in capsys.readouterr().err
    assert sorted(path.name for path in out.iterdir()) == before
    assert (tmp_path / "precious" / "thesis.tex").exists()


class _Runs:
    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self):
        return (Path.touch, (self.marker,))


def test_a_malicious_body_file_never_runs(tmp_path, capsys):
    evil = tmp_path / "SMPL_NEUTRAL.pkl"
    evil.write_bytes(pickle.dumps({"v_template": _Runs(tmp_path / "owned")}))
    assert main(["body", "install", str(evil)]) == 2
    assert capsys.readouterr().err.startswith("unish: ")
    clip = write_video(tmp_path / "clip.mp4")
    assert main(["run", str(clip), "--out", str(tmp_path / "out"), "--body", str(evil)]) == 2
    assert not (tmp_path / "owned").exists() and not (tmp_path / "out").exists()


@pytest.mark.parametrize("arguments", [[], ["fly"], ["run"], ["run", "clip.mp4"], ["view", "nowhere"]])
def test_wrong_words(arguments, capsys):
    assert main(arguments) == 2
    assert capsys.readouterr().err.startswith("unish: ")


def test_module_and_help():
    for arguments in (["--help"], ["run", "--help"]):
        done = subprocess.run([sys.executable, "-m", "unish", *arguments], capture_output=True, text=True)
        assert done.returncode == 0 and "unish" in done.stdout


def test_view_writes_the_page_of_a_saved_result(tmp_path, capsys):
    out = make_reconstruction().save(tmp_path / "out")
    assert main(["view", str(out), "--no-browser"]) == 0
    page = Path(capsys.readouterr().out.strip())
    assert page.parent == out and page.stat().st_size > 1_000_000


def test_doctor(capsys):
    assert main(["doctor"]) == 0
    report = capsys.readouterr().out
    for word in ("torch", "device", "mini on cpu in ", "open body"):
        assert word in report


def test_doctor_loads_the_release_only_where_it_is_cached(tmp_path, monkeypatch, capsys):
    asked = []

    def refused(weights):
        asked.append(weights)
        raise CheckpointError("damaged.")

    monkeypatch.setattr("unish.models.hub.load", refused)
    for file in (None, tmp_path / "release.safetensors"):
        tmp_path.joinpath("release.safetensors").write_bytes(b"")
        monkeypatch.setattr("unish.models.hub.cached_release", lambda file=file: file)
        assert main(["doctor"]) == 0
        assert "failed: damaged." in capsys.readouterr().out
    assert asked == ["mini", "auto"]


def test_ctrl_c_writes_the_windows_that_are_done(tmp_path, monkeypatch, capsys):
    partial = make_reconstruction(3)

    def stopped(*arguments, **options):
        raise Interrupted(partial)

    monkeypatch.setattr("unish.pipeline.reconstruct", stopped)
    out = tmp_path / "out"
    assert main(["run", str(write_video(tmp_path / "clip.mp4")), "--out", str(out)]) == 130
    assert "stopped" in capsys.readouterr().err
    assert len(Reconstruction.load(out)) == 3 and (out / "viewer.html").is_file() and (out / "report.json").is_file()


def test_what_the_user_knows_reaches_the_pipeline(tmp_path, monkeypatch, capsys):
    given = {}

    def run(clip, **options):
        given.update(options)
        return make_reconstruction(3)

    monkeypatch.setattr("unish.pipeline.reconstruct", run)
    words = "--focal 26mm --static-camera --height 1.75 --height 2=1.62 --people 2 --person 2 --person 1 --window 20"
    clip = str(write_video(tmp_path / "clip.mp4"))
    assert main(["run", clip, "--out", str(tmp_path / "out"), "--finder", "mini", *words.split()]) == 0
    assert given["focal"] == "26mm" and given["static_camera"] and given["height"] == {1: 1.75, 2: 1.62}
    assert given["people"] == 2 and given["person"] == (2, 1) and given["window"] == 20 and given["finder"] == "mini"
    assert "Body–scene fit" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words, sentence",
    [
        ("--height tall", "A height is a number of metres"),
        ("--height 175", "in metres"),
        ("--focal 26cm", "focal length"),
        ("--people 0", "1 or more people"),
        ("--window 1", "4 frames or more"),
        ("--seed -1", "seed from 0"),
        (f"--seed {10**400}", "seed from 0"),
        ("--person 9", "ids among the people"),
    ],
)
def test_knowledge_that_cannot_be_is_one_sentence(words, sentence, tmp_path, capsys, repository):
    clip = str(repository / "unish" / "assets" / "sample_clip.mp4")
    options = ["--end", "0.5", "--weights", "mini", "--finder", "mini"]
    assert main(["run", clip, "--out", str(tmp_path / "out"), *options, *words.split()]) == 2
    error = capsys.readouterr().err
    assert sentence in error and "Traceback" not in error
    assert not (tmp_path / "out").exists()
