"""`unish eval`: the bundled benchmark from the command line to a table, saved results of others, and bad input."""

import dataclasses
import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.true_sequences import make_world
from train.data.sequences import seen_people
from train.score import HELD_OUT_SEED
from train.synthetic.clips import generate_clip
from unish.body import open_body
from unish.cli import main
from unish.evaluation.datasets import NAMES, benchmark, synthetic
from unish.evaluation.metric_values import means_of
from unish.evaluation.scoring import METRICS, score
from unish.structures import Cameras, Reconstruction
from unish.utils.distributed import Rank

FIRST = f"synthetic-{HELD_OUT_SEED}"


@pytest.fixture(scope="module")
def build():
    """The script that renders the bundled benchmark."""
    path = Path(__file__).parents[2] / "scripts" / "build_synthetic_benchmark.py"
    specification = importlib.util.spec_from_file_location("build_synthetic_benchmark", path)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def small(build, tmp_path_factory) -> Path:
    """Two clips of two small frames, in the format of the bundled ones."""
    folder = tmp_path_factory.mktemp("small")
    build.write([generate_clip(HELD_OUT_SEED + k, frames=2, long_side_px=112) for k in range(2)], folder)
    return folder


@pytest.fixture(scope="module")
def truths(tmp_path_factory, small) -> Path:
    """The truth of the small clips as results of some method: people in each camera as labelled."""
    folder = tmp_path_factory.mktemp("truths")
    for sequence in synthetic.read(small):
        true_result(sequence).save(folder / sequence.name)
    return folder


def true_result(sequence) -> Reconstruction:
    """A sequence of two frames as somebody says it who knows it."""
    width, height = sequence.size_px
    like = make_world(open_body(), frames=sequence.frames, people=len(sequence.people)).result()
    people = tuple(
        replace(
            person,
            boxes_px=true.boxes_px,
            joints_world=true.joints_world.astype(np.float32),
            vertices_world=np.stack([true.vertices_world(k) for k in range(sequence.frames)]).astype(np.float32),
        )
        for person, true in zip(like.people, sequence.people, strict=True)
    )
    return replace(
        like,
        images=np.stack([sequence.image(k) for k in range(sequence.frames)]),
        depth_m=np.stack([sequence.depth_m(k) for k in range(sequence.frames)]),
        confidence=np.ones((sequence.frames, height, width), np.float32),
        person_mask=np.stack([sequence.person_mask(k) for k in range(sequence.frames)]),
        cameras=Cameras(sequence.world_from_camera, sequence.intrinsics, width, height),
        people=people,
    )


# --- the bundled benchmark -----------------------------------------------------------------------------------------


def test_the_bundled_benchmark_is_small_and_whole():
    assert sum(path.stat().st_size for path in synthetic.SYNTHETIC_BENCHMARK.iterdir()) < 7e6
    sequences = benchmark("synthetic").sequences(synthetic.SYNTHETIC_BENCHMARK)
    assert len(sequences) == 24 == len({sequence.name for sequence in sequences})
    for sequence in sequences:
        assert sequence.frames == 8 and sequence.fps == 6 and any(p.present.any() for p in sequence.people)
    (row,) = benchmark("synthetic").published
    assert row.source == "python scripts/build_synthetic_benchmark.py --wardrobe MAKEHUMAN"
    assert set(row.numbers) == set(synthetic.METRICS) - {"body_off_points_cm", "points_behind_cm", "foot_floor_gap_cm"}


def test_the_bundled_clips_are_those_of_the_held_out_seeds():
    """Rendered without garments, which are not ours to ship: everything but people's looks and the height of soles."""
    clip, sequence = generate_clip(HELD_OUT_SEED, frames=8), synthetic.read()[0]
    assert sequence.name == FIRST and sequence.size_px == clip.images.shape[2:0:-1]
    for frame in (0, 7):
        nobody = (sequence.person_mask(frame) == 0) & (clip.person_mask[frame] == 0)
        np.testing.assert_allclose(sequence.depth_m(frame)[nobody], clip.depth_m[frame][nobody], atol=1e-3)
        assert (sequence.person_mask(frame) == clip.person_mask[frame]).mean() > 0.97
        assert np.abs(sequence.image(frame).astype(int) - clip.images[frame])[nobody].mean() < 4
    for name in ("world_from_camera", "intrinsics"):
        np.testing.assert_allclose(getattr(sequence, name), getattr(clip, name), atol=1e-5)
    for person, seen in zip(sequence.people, seen_people(clip), strict=True):
        np.testing.assert_array_equal(person.present, seen)
        assert person.vertices_world(3).shape == (open_body().num_vertices, 3)
        camera_from_world = np.linalg.inv(clip.world_from_camera.astype(np.float64))
        joints = person.joints_world @ camera_from_world[:, :3, :3].swapaxes(1, 2) + camera_from_world[:, None, :3, 3]
        pixels = joints @ clip.intrinsics.swapaxes(1, 2)
        projected = pixels[..., :2] / pixels[..., 2:]
        np.testing.assert_allclose(projected, clip.joints_px[person.id - 1], atol=4)  # soles


def test_the_same_clips_make_the_same_files(build, small, tmp_path):
    build.write([generate_clip(HELD_OUT_SEED + k, frames=2, long_side_px=112) for k in range(2)], tmp_path)
    for path in small.iterdir():
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()


def test_the_mean_baseline_is_scored_on_the_files(build, small, tmp_path):
    clips = [generate_clip(HELD_OUT_SEED + k, frames=2, long_side_px=112) for k in range(2)]
    row = build.baseline_row(clips, small)
    assert 0 < row["numbers"]["abs_rel"] < 1 and row["numbers"]["root_error_mm"] > 100
    copy = tmp_path / "copy"
    shutil.copytree(small, copy)
    build.rewrite_baseline(copy, clips)
    before, after = (json.loads((folder / synthetic.HEADER).read_text()) for folder in (small, copy))
    assert after == before | {"published": [row]}


def test_from_the_weights_to_the_table_and_again_without_them(tmp_path, capsys, monkeypatch):
    command = ["eval", "synthetic", "--weights", "mini", "--device", "cpu", "--body", "open", "--sequences", FIRST]
    command += ["--out", str(tmp_path)]
    assert main(command) == 0
    first = capsys.readouterr().out
    assert "unish mini" in first and "mean baseline" in first and "Only 1 of the 24 sequences" in first
    assert json.loads((tmp_path / "table.json").read_text())["rows"][0]["numbers"]["abs_rel"] > 0

    def never(*arguments, **options):
        raise AssertionError("made again")

    monkeypatch.setattr("unish.evaluation.predict.reconstruct_tracked", never)
    assert main(command) == 0
    assert capsys.readouterr().out == first
    assert main([*command, "--depth-alignment", "metric"]) == 2
    assert "--overwrite" in capsys.readouterr().err


def test_fitted_bodies_get_a_row_of_their_own(small, tmp_path, capsys):
    command = ["eval", "synthetic", "--root", str(small), "--weights", "mini", "--device", "cpu", "--body", "open"]
    assert main([*command, "--sequences", FIRST, "--fit", "auto", "--out", str(tmp_path)]) == 0
    assert "unish mini, fitted" in capsys.readouterr().out
    network, fitted = json.loads((tmp_path / "table.json").read_text())["rows"][:2]
    assert (network["method"], fitted["method"]) == ("unish mini", "unish mini, fitted")
    assert set(network["numbers"]) == set(fitted["numbers"]) and not any(":" in name for name in network["numbers"])
    assert fitted["numbers"]["seconds_per_frame"] > network["numbers"]["seconds_per_frame"]
    assert main(["eval", "synthetic", "--root", str(small), "--predictions", str(small), "--fit", "auto"]) == 2
    assert "--predictions" in capsys.readouterr().err


# --- saved results -------------------------------------------------------------------------------------------------


def test_the_truth_saved_as_results_is_perfect(small, truths, tmp_path, capsys):
    command = ["eval", "synthetic", "--root", str(small), "--predictions", str(truths), "--out", str(tmp_path)]
    assert main([*command, "--depth-alignment", "metric", "--fit-report"]) == 0
    assert "results in" in capsys.readouterr().out
    numbers = json.loads((tmp_path / "table.json").read_text())["rows"][0]["numbers"]
    for name in ("abs_rel", "body_abs_rel", "scale_error", "camera_ate_cm", "mpjpe_mm", "pa_mpjpe_mm", "wa_mpjpe_mm"):
        assert numbers[name] == pytest.approx(0, abs=0.02), name
    assert numbers["delta_125"] == 1 and numbers["body_off_points_cm"] < 5 and "seconds_per_frame" not in numbers
    assert numbers["fit_body_to_points_cm"] < 5


def test_results_that_are_written_anew_are_scored_anew(small, truths, tmp_path, capsys):
    theirs = tmp_path / "theirs"
    shutil.copytree(truths, theirs)
    command = ["eval", "synthetic", "--root", str(small), "--predictions", str(theirs), "--out", str(tmp_path / "out")]
    assert main(command) == 0
    scores, same = tmp_path / "out" / "sequences" / f"{FIRST}.json", Reconstruction.load(truths / FIRST)
    before = scores.stat().st_mtime_ns
    same.save(theirs / FIRST)
    assert main(command) == 0 and scores.stat().st_mtime_ns == before, "the same result"
    dataclasses.replace(same, depth_m=2 * same.depth_m).save(theirs / FIRST)
    assert main(command) == 0 and scores.stat().st_mtime_ns > before


def test_a_result_that_is_not_there_fails_alone(small, truths, tmp_path, capsys):
    shutil.copytree(truths / FIRST, tmp_path / "theirs" / FIRST)
    command = ["eval", "synthetic", "--root", str(small), "--predictions", str(tmp_path / "theirs")]
    assert main([*command, "--out", str(tmp_path / "out")]) == 2
    captured = capsys.readouterr()
    missing = f"synthetic-{HELD_OUT_SEED + 1}"
    assert f"unish: {missing}: " in captured.err and "1 of 2 sequences have no scores" in captured.err
    assert "Traceback" not in captured.err and "Only 1 of the 2 sequences" in captured.out
    assert json.loads((tmp_path / "out" / "table.json").read_text())["sequences"][0]["sequence"] == FIRST
    assert main([*command, "--sequences", FIRST]) == 0


@pytest.mark.slow
def test_two_processes_make_the_table_of_one(small, truths, tmp_path, repository, capsys):
    command = ["eval", "synthetic", "--root", str(small), "--predictions", str(truths), "--out"]
    assert main([*command, str(tmp_path / "one")]) == 0
    free = socket.socket()
    free.bind(("127.0.0.1", 0))
    port = str(free.getsockname()[1])
    free.close()
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    launch += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
    launch += ["--main_process_port", port, "-m", "unish", *command, str(tmp_path / "two")]
    environment = os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(repository)}
    done = subprocess.run(launch, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Table: ") == 1
    for name in ("table.md", "table.json", "table.csv"):
        assert (tmp_path / "two" / name).read_text() == (tmp_path / "one" / name).read_text()


# --- bad input -----------------------------------------------------------------------------------------------------


def refused(arguments: list[str], capsys) -> str:
    """The one sentence of a command that ends with exit code 2."""
    assert main(["eval", *arguments]) == 2
    error = capsys.readouterr().err
    sentences = [line for line in error.splitlines() if line.startswith("unish: ")]
    assert len(sentences) == 1 and "Traceback" not in error
    return sentences[0]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["bon"], "bonn, tum"),
        ([], "NAME"),
        (["bonn"], "download the Bonn RGB-D"),
        (["bonn", "--root", "no/such/folder"], "no/such/folder"),
        (["synthetic", "--root", "no/such/folder"], "no/such/folder"),
        (["synthetic", "--sequences", "first"], FIRST),
        (["synthetic", "--predictions", "no/such/results"], "no/such/results"),
        (["synthetic", "--weights", "no/such/weights"], "no/such/weights"),
        (["synthetic", "--depth-alignment", "affine"], "scale&shift"),
        (["synthetic", "--weights", "mini", "--body", "no_body.npz", "--sequences", FIRST], "no_body.npz"),
    ],
)
def test_wrong_names_and_folders_are_one_sentence(arguments, words, capsys):
    assert words in refused(arguments, capsys)


def test_several_processes_need_a_place(monkeypatch, capsys, small, truths):
    monkeypatch.setattr("unish.utils.distributed.launched_rank", lambda device: Rank(0, 2))
    assert "--out" in refused(["synthetic", "--root", str(small), "--predictions", str(truths)], capsys)


def without_a_file(folder: Path) -> None:
    (folder / f"{FIRST}.zip").unlink()


def half_a_zip(folder: Path) -> None:
    path = folder / f"{FIRST}.zip"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def no_labels(folder: Path) -> None:
    with zipfile.ZipFile(folder / f"{FIRST}.zip", "w") as archive:
        archive.writestr("readme.txt", "nothing")


def other_header(folder: Path) -> None:
    (folder / "benchmark.json").write_text('{"format": "something else", "format_version": 1}')


def half_a_header(folder: Path) -> None:
    (folder / "benchmark.json").write_text('{"format": ')


@pytest.mark.parametrize("damage", [without_a_file, half_a_zip, no_labels, other_header, half_a_header])
def test_damaged_folders_are_one_sentence(damage, small, truths, tmp_path, capsys):
    root = tmp_path / "root"
    shutil.copytree(small, root)
    damage(root)
    sentence = refused(["synthetic", "--root", str(root), "--predictions", str(truths)], capsys)
    assert str(root) in sentence and "build_synthetic_benchmark.py" in sentence


def test_a_image_that_is_damaged_is_its_sequence_s_own_failure(small, tmp_path, capsys):
    root = tmp_path / "root"
    shutil.copytree(small, root)
    path = root / f"{FIRST}.zip"
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members["image_01.jpg"] = members["image_01.jpg"][:200]
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    command = ["eval", "synthetic", "--root", str(root), "--weights", "mini", "--device", "cpu", "--body", "open"]
    assert main(command) == 2
    captured = capsys.readouterr()
    assert f"unish: {FIRST}: " in captured.err and str(path) in captured.err and "Traceback" not in captured.err
    assert "1 sequence, 2 frames" in captured.out


@pytest.mark.parametrize("name", NAMES)
def test_every_benchmark_asks_for_measures_that_there_are(name):
    chosen = benchmark(name)
    assert set(chosen.metrics) <= set(METRICS) and chosen.name == name
    assert all(set(row.numbers) <= set(chosen.metrics) for row in chosen.published)


def test_the_help_names_the_benchmarks(capsys):
    with pytest.raises(SystemExit):
        main(["eval", "--help"])
    shown = capsys.readouterr().out
    assert all(f"  {name} " in shown for name in NAMES)


def test_the_command_scores_as_python_does(small, truths, tmp_path):
    sequence = synthetic.read(small)[0]
    means = means_of(score(Reconstruction.load(truths / FIRST), sequence, synthetic.METRICS))
    command = ["eval", "synthetic", "--root", str(small), "--predictions", str(truths), "--sequences", FIRST]
    assert main([*command, "--out", str(tmp_path)]) == 0
    numbers = json.loads((tmp_path / "table.json").read_text())["rows"][0]["numbers"]
    assert numbers == {name: pytest.approx(mean.value) for name, mean in means.items()}
