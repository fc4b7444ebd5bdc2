"""Results appear whole or not at all."""

import errno

import pytest

from unish.errors import InputError
from unish.utils.atomic_write import atomic_path


def test_a_file_appears_only_when_the_block_succeeds(tmp_path):
    target = tmp_path / "deep" / "result.txt"
    with atomic_path(target) as temporary:
        temporary.write_text("done")
        assert not target.exists()
    assert target.read_text() == "done"
    assert [entry.name for entry in target.parent.iterdir()] == ["result.txt"]


@pytest.mark.parametrize("failure", [RuntimeError("boom"), KeyboardInterrupt()])
def test_a_failed_block_leaves_the_old_result_and_nothing_else(tmp_path, failure):
    target = tmp_path / "result"
    target.mkdir()
    (target / "old.txt").write_text("old")
    with pytest.raises(type(failure)), atomic_path(target) as temporary:
        temporary.mkdir()
        (temporary / "half.txt").write_text("half")
        raise failure
    assert [entry.name for entry in tmp_path.iterdir()] == ["result"]
    assert (target / "old.txt").read_text() == "old"


def test_a_folder_is_replaced_whole(tmp_path):
    target = tmp_path / "result"
    target.mkdir()
    (target / "old.txt").write_text("old")
    with atomic_path(target) as temporary:
        temporary.mkdir()
        (temporary / "new.txt").write_text("new")
    assert [entry.name for entry in target.iterdir()] == ["new.txt"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["result"]


def test_a_full_disk_is_one_sentence(tmp_path):
    with pytest.raises(InputError, match="No space left"), atomic_path(tmp_path / "result.txt"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_way_of_a_folder_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="Could not write"), atomic_path(tmp_path / "file" / "result.txt"):
        pass
