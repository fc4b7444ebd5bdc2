"""A result survives the way to disk and back, and a damaged one is refused in one sentence."""

import dataclasses
import json

import numpy as np
import pytest

from tests.helpers.reconstructions import make_reconstruction
from unish.errors import InputError, MissingAssetError
from unish.structures import Reconstruction


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


def test_a_failed_save_leaves_nothing(tmp_path, monkeypatch):
    def fail(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("unish.structures.write_arrays", fail)
    with pytest.raises(InputError, match="No space left"):
        make_reconstruction().save(tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
