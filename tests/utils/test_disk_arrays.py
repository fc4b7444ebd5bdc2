"""Arrays that may be too large for memory."""

import os

import numpy as np
import pytest
from safetensors import SafetensorError
from safetensors.numpy import load_file

from unish.errors import InputError
from unish.utils import disk_arrays as storage


@pytest.fixture
def small_memory(monkeypatch):
    monkeypatch.setattr(storage, "IN_MEMORY_BYTES", 1000)


def test_large_arrays_go_to_disk_and_small_ones_do_not(small_memory):
    small, large = storage.new_array((10, 10), np.uint8), storage.new_array((10, 200), np.float32)
    assert not isinstance(small, np.memmap) and isinstance(large, np.memmap)
    large[3] = 7
    storage.release_pages(small, large, large[2:5])
    assert (large[3] == 7).all() and not large[4].any()


def test_a_full_disk_is_said_before_anything_is_written(small_memory, monkeypatch):
    def full(descriptor, size):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(storage, "_reserve", full)
    with pytest.raises(InputError, match=r"No space left.*TMPDIR"):
        storage.new_array((100, 100), np.float32)


@pytest.mark.parametrize("count", [1, 4, 40])
def test_a_stack_is_the_same_in_memory_and_on_disk(small_memory, count):
    parts = [np.full((5, 7), k, np.uint8) for k in range(count)]
    stack = storage.Stack()
    for part in parts:
        stack.append(part)
    assert len(stack) == count and stack.shape == (5, 7)
    whole = stack.finish()
    assert isinstance(whole, np.memmap) == (count > 28)
    np.testing.assert_array_equal(whole, np.stack(parts))
    assert len(stack) == 0


def test_a_stack_says_that_the_disk_is_full(small_memory, monkeypatch):
    stack = storage.Stack()
    stack.append(np.zeros(900, np.uint8))

    class FullFile:
        def write(self, data):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(storage.tempfile, "TemporaryFile", lambda **_: FullFile())
    with pytest.raises(InputError, match="No space left"):
        stack.append(np.zeros(900, np.uint8))


def test_files_are_safetensors_and_large_arrays_are_mapped(small_memory, tmp_path):
    path = tmp_path / "arrays.safetensors"
    arrays = {
        "mask": np.array([True, False, True]),
        "empty": np.zeros((0, 3), np.float32),
        "large": np.arange(3000, dtype=np.float32).reshape(30, 100),
        "turned": np.arange(12.0).reshape(3, 4).T,
        "number": np.array(3, np.int64),
    }
    storage.write_arrays(path, arrays)
    for found in (load_file(path), storage.map_arrays(path)):
        assert found.keys() == arrays.keys()
        for name, array in arrays.items():
            np.testing.assert_array_equal(found[name], array)
            assert found[name].dtype == array.dtype
    mapped = storage.map_arrays(path)
    assert isinstance(mapped["large"], np.memmap) and not mapped["large"].flags.writeable
    assert mapped["turned"].flags.writeable


def test_a_cut_file_is_noticed(tmp_path):
    path = tmp_path / "arrays.safetensors"
    storage.write_arrays(path, {"x": np.arange(1000.0)})
    os.truncate(path, path.stat().st_size - 8)
    with pytest.raises(SafetensorError):
        storage.map_arrays(path)
