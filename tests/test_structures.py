"""A result survives the way to disk and back, and a damaged one is refused in one sentence."""

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tests.helpers.reconstructions import make_reconstruction
from unish.errors import InputError, MissingAssetError
from unish.structures import Reconstruction, Window


def assert_equal(left, right):
    for field in dataclasses.fields(left):
        a, b = getattr(left, field.name), getattr(right, field.name)
        if isinstance(a, np.ndarray):
            assert a.dtype == b.dtype and np.array_equal(a, b), field.name
        elif dataclasses.is_dataclass(a):
            assert_equal(a, b)
        elif field.name != "people":
            assert a == b, field.name


@pytest.mark.parametrize("people", [0, 1, 3])
def test_save_and_load(tmp_path, people):
    made = make_reconstruction(people=people)
    read = Reconstruction.load(made.save(tmp_path / "out"))
    assert_equal(made, read)
    assert len(read.people) == people
    for a, b in zip(made.people, read.people, strict=True):
        assert_equal(a, b)


def test_keypoints_are_saved_where_there_are_some_and_older_results_load_without(tmp_path):
    made = make_reconstruction(people=2)
    keypoints = np.random.default_rng(0).random((len(made), 17, 3), np.float32)
    people = (made.people[0], dataclasses.replace(made.people[1], keypoints_px=keypoints))
    folder = dataclasses.replace(made, people=people).save(tmp_path / "out")
    first, second = Reconstruction.load(folder).people
    assert first.keypoints_px is None
    assert np.array_equal(second.keypoints_px, keypoints)
    keypoints[1, 2, 2] = 7  # a confidence
    made.save(folder)
    assert [person.keypoints_px for person in Reconstruction.load(folder).people] == [None, None]
    for wrong in (keypoints, keypoints[:, :16]):
        object.__setattr__(people[1], "keypoints_px", wrong)
        dataclasses.replace(made, people=people).save(folder)
        with pytest.raises(InputError, match=r"people\.1\.keypoints_px"):
            Reconstruction.load(folder)


def test_points_world_follow_the_camera():
    scene = make_reconstruction()
    first, third = scene.points_world(0), scene.points_world(2)
    assert np.allclose(third - first, [0.2, 0, 0], atol=1e-6)
    row, column = 5, 20
    depth = scene.depth_m[0, row, column]
    expected = [(column + 0.5 - 16) / 30 * depth, (row + 0.5 - 12) / 30 * depth, depth]
    assert np.allclose(first[row, column], expected, atol=1e-5)
    with pytest.raises(IndexError):
        scene.points_world(len(scene))


def test_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        make_reconstruction().fps = 3.0


def test_damaged_results_are_refused(tmp_path):
    with pytest.raises(MissingAssetError, match="not there"):
        Reconstruction.load(tmp_path)
    folder = make_reconstruction().save(tmp_path / "out")
    arrays = folder / "reconstruction.safetensors"
    whole = arrays.read_bytes()
    arrays.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="whole unish result"):
        Reconstruction.load(folder)
    arrays.write_bytes(whole)
    header = json.loads((folder / "reconstruction.json").read_text())
    header["format_version"] = 99
    (folder / "reconstruction.json").write_text(json.dumps(header))
    with pytest.raises(InputError, match="newer unish"):
        Reconstruction.load(folder)
    (folder / "reconstruction.json").write_text("{")
    with pytest.raises(InputError):
        Reconstruction.load(folder)


def rewritten(folder: Path, change) -> Path:
    """The saved result with its header changed."""
    header = json.loads((folder / "reconstruction.json").read_text())
    change(header)
    (folder / "reconstruction.json").write_text(json.dumps(header))
    return folder


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda h: h.update(format="colmap"), "format"),
        (lambda h: h.update(format_version="1"), "format"),
        (lambda h: h.pop("fps"), "lacks 'fps'"),
        (lambda h: h.update(fps="6"), "fps"),
        (lambda h: h.update(fps=0), "fps"),
        (lambda h: h.update(fps=1e308), "fps"),
        (lambda h: h.update(frames=6), "states"),
        (lambda h: h.update(width_px=24, height_px=32), "states"),
        (lambda h: h.update(people={}), "people"),
        (lambda h: h["people"].append({"id": 7, "name": "x"}), "no array people.2"),
        (lambda h: h["people"][0].update(id="1"), "id must be a whole number"),
        (lambda h: h["people"][0].update(id=2), "each its own"),
        (lambda h: h["people"][0].update(id=-1), "ids from 1"),
        (lambda h: h["people"][0].update(name=None), "name"),
        (lambda h: h["people"][0].update(name="caf\udce9"), "name"),
        (lambda h: h.update(windows=[{"start": 0}]), "windows"),
        (lambda h: h.update(windows=3), "windows"),
        (lambda h: h["windows"][0].update(stop=99), "within the 5 frames"),
        (lambda h: h["windows"][0].update(votes=[[1, 2, 3]]), "votes"),
        (lambda h: h["provenance"].update(warnings="none"), "warnings"),
        (lambda h: h["provenance"].update(metres_per_unit=-1), "metres_per_unit"),
        (lambda h: h["provenance"].update(seed=0.5), "seed"),
        (lambda h: h.pop("provenance"), "provenance"),
    ],
)
def test_every_entry_of_the_header_is_checked(tmp_path, change, words):
    windows = (Window(0, 5, 1.5, ((1, 1.5),), 0.0),)
    folder = dataclasses.replace(make_reconstruction(people=2), windows=windows).save(tmp_path / "out")
    assert Reconstruction.load(folder).windows == windows
    with pytest.raises(InputError, match=words):
        Reconstruction.load(rewritten(folder, change))


def with_array(name: str, change) -> Reconstruction:
    """A result one of whose arrays is another, as no code of ours would make it."""
    made = make_reconstruction(people=2)
    holder = {"cameras": made.cameras, "people": made.people[1]}.get(name.partition(".")[0], made)
    array = change(getattr(holder, name.rpartition(".")[2]).copy())
    object.__setattr__(holder, name.rpartition(".")[2], array)
    return made


def test_uncertain_pixels_are_saved_where_there_are_any(tmp_path):
    made = make_reconstruction(people=2)
    assert Reconstruction.load(made.save(tmp_path / "none")).uncertain_mask is None
    uncertain = np.array(made.person_mask == 0, np.uint8) * 2
    read = Reconstruction.load(dataclasses.replace(made, uncertain_mask=uncertain).save(tmp_path / "some"))
    np.testing.assert_array_equal(read.uncertain_mask, uncertain)
    with pytest.raises(InputError, match="uncertain_mask names more than the 2 people"):
        Reconstruction.load(dataclasses.replace(made, uncertain_mask=uncertain * 2).save(tmp_path / "others"))


def put(value, *place):
    def change(array):
        array[place] = value
        return array

    return change


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("images", lambda a: a[..., :2]),
        ("images", lambda a: a.astype(np.float32)),
        ("images", lambda a: a[:0]),
        ("depth_m", lambda a: a[:, 1:]),
        ("depth_m", put(np.nan, 2, 3, 4)),
        ("depth_m", put(1e30, 2, 3, 4)),
        ("confidence", put(7, 0, 0, 0)),
        ("person_mask", put(3, 1, 1, 1)),
        ("times_s", put(0, 3)),
        ("times_s", lambda a: a.astype(np.int64)),
        ("world_up", put(2, 0)),
        ("faces", put(4, 0, 0)),
        ("faces", put(-1, 0, 0)),
        ("faces", lambda a: a.astype(np.float32)),
        ("cameras.world_from_camera", put(0, 1)),
        ("cameras.world_from_camera", put(np.inf, 1, 0, 3)),
        ("cameras.world_from_camera", put(5, 1, 3, 3)),
        ("cameras.intrinsics", put(0, 1, 0, 0)),
        ("people.1.present", lambda a: a.astype(np.uint8)),
        ("people.1.betas", lambda a: a[:9]),
        ("people.1.body_rotations", put(0, 1, 5)),
        ("people.1.root_rotation_world", lambda a: -a),
        ("people.1.vertices_world", lambda a: a[:, :3]),
        ("people.1.vertices_world", put(np.nan, 0, 0, 0)),
        ("people.1.boxes_px", put(np.inf, 0, 0)),
    ],
)
def test_every_array_is_checked(tmp_path, name, change):
    with pytest.raises(InputError, match=re.escape(f"whole unish result ({name}")[:-1]):
        Reconstruction.load(with_array(name, change).save(tmp_path / "out"))


def test_large_arrays_stay_on_the_disk_and_are_checked_as_well(tmp_path, monkeypatch):
    monkeypatch.setattr("unish.utils.disk_arrays.IN_MEMORY_BYTES", 3000)
    monkeypatch.setattr("unish.saved_result.IN_MEMORY_BYTES", 3000)
    read = Reconstruction.load(make_reconstruction().save(tmp_path / "out"))
    assert isinstance(read.depth_m, np.memmap) and not isinstance(read.world_up, np.memmap)
    with pytest.raises(InputError, match="depth_m"):
        Reconstruction.load(with_array("depth_m", put(np.nan, 4, 23, 31)).save(tmp_path / "out"))


def test_arrays_of_other_types_and_missing_ones_are_named(tmp_path):
    folder = make_reconstruction().save(tmp_path / "out")
    arrays = load_file(folder / "reconstruction.safetensors")
    save_file({**arrays, "depth_m": arrays["depth_m"].astype(np.float16)}, folder / "reconstruction.safetensors")
    with pytest.raises(InputError, match="depth_m is stored as F16"):
        Reconstruction.load(folder)
    arrays.pop("people.0.betas")
    save_file(arrays, folder / "reconstruction.safetensors")
    with pytest.raises(InputError, match=r"no array people\.0\.betas"):
        Reconstruction.load(folder)


def test_saving_over_a_result_replaces_it_and_keeps_the_files_of_others(tmp_path):
    folder = make_reconstruction(5).save(tmp_path / "out")
    (folder / "viewer.html").write_text("of the first")
    (folder / "notes.md").write_text("mine")
    make_reconstruction(3).save(folder)
    assert sorted(path.name for path in folder.iterdir()) == [
        "notes.md",
        "reconstruction.json",
        "reconstruction.safetensors",
    ]
    assert len(Reconstruction.load(folder)) == 3


def test_a_failed_save_leaves_nothing(tmp_path, monkeypatch):
    def fail(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("unish.structures.result.write_arrays", fail)
    with pytest.raises(InputError, match="No space left"):
        make_reconstruction().save(tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
