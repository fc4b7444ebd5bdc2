"""Examples: folders with a clip and its result, some of them packed small."""

import shutil

import numpy as np
import pytest

from space.examples import BUNDLED, TITLE_FILE, Example, Examples
from space.packed_result import PACKED_FILE, depth_of_steps, depth_steps, pack_result, unpack_result
from space.updates import gallery_value
from tests.helpers.posed import make_posed
from unish.analysis.fit_report import fit_report
from unish.errors import InputError
from unish.structures import Reconstruction
from unish.utils.assets import SAMPLE_CLIP


@pytest.fixture(scope="module")
def scene() -> Reconstruction:
    return make_posed(frames=3)


@pytest.fixture
def folder(tmp_path, scene):
    """A deployer's folder: one result as it was saved, and one that is packed."""
    for name in ("2_a_walk", "10_in the park"):
        (tmp_path / name).mkdir()
        shutil.copyfile(SAMPLE_CLIP, tmp_path / name / "clip.MP4")
    scene.save(tmp_path / "2_a_walk")
    pack_result(scene, tmp_path / "10_in the park")
    return tmp_path


def test_a_packed_result_is_the_same_to_the_eye_and_smaller(scene, tmp_path):
    packed = pack_result(scene, tmp_path)
    scene.save(tmp_path / "saved")
    assert packed.stat().st_size < 0.5 * sum(file.stat().st_size for file in (tmp_path / "saved").iterdir())
    again = unpack_result(packed, tmp_path / "unpacked")
    assert again.provenance == scene.provenance and again.cameras.width_px == scene.cameras.width_px
    for one, other in zip(again.people, scene.people, strict=True):
        np.testing.assert_allclose(one.vertices_world, other.vertices_world, atol=1e-4)
    np.testing.assert_allclose(again.depth_m, scene.depth_m, rtol=5e-4)
    np.testing.assert_allclose(again.confidence, scene.confidence, atol=0.013)
    np.testing.assert_array_equal(again.person_mask, scene.person_mask)
    assert np.abs(again.images.astype(int) - scene.images).mean() < 6


def test_depth_that_is_none_stays_none():
    depth_m = np.array([[[0.0, -1.0, np.nan, np.inf, 1e-4, 0.5, 3.0, 900.0]]], np.float32)
    again = depth_of_steps(depth_steps(depth_m))
    np.testing.assert_array_equal(again[0, 0, :5], 0)
    np.testing.assert_allclose(again[0, 0, 5:], depth_m[0, 0, 5:], rtol=4e-4)


@pytest.mark.parametrize("damage", [b"", b"no archive at all", None])
def test_a_damaged_file_is_said(scene, tmp_path, damage):
    packed = pack_result(scene, tmp_path)
    packed.write_bytes(packed.read_bytes()[:-400] if damage is None else damage)
    with pytest.raises(InputError, match="damaged"):
        unpack_result(packed, tmp_path / "unpacked")


def test_a_deployers_folder_is_read_in_its_order(folder):
    examples = Examples(Example.found_in(folder))
    assert [example.title for example in examples.examples.values()] == ["A walk", "In the park"]
    (folder / "2_a_walk" / TITLE_FILE).write_text("A walk, slowly\n")
    assert [example.title for example in Example.found_in(folder)] == ["A walk, slowly", "In the park"]
    first = examples.result()
    assert first is not None and first.scene.is_file() and "<dl" in first.numbers
    assert examples.name_of(first) == "a_walk"
    assert examples.result("in the park") is examples.result("in the park") is not first
    assert examples.result("nobody's") is None and examples.result(3) is None
    shown = gallery_value(examples, "in the park")
    assert shown["open"] == "in the park" and [each["name"] for each in shown["examples"]] == ["a_walk", "in the park"]


@pytest.mark.parametrize("gone", ["clip.MP4", PACKED_FILE, None])
def test_a_folder_that_is_not_whole_is_said(folder, gone):
    if gone is None:
        shutil.rmtree(folder)
    else:
        (folder / "10_in the park" / gone).unlink()
    with pytest.raises(InputError, match="no folder" if gone is None else "unish run VIDEO --out"):
        Example.found_in(folder)


def test_the_bundled_examples_open(tmp_path):
    examples = Example.found_in(BUNDLED)
    assert 2 <= len(examples) <= 4
    for example in examples:
        assert example.load(tmp_path / example.name).people
    size = sum(file.stat().st_size for file in BUNDLED.rglob("*"))
    assert size < 8e6, "they travel with the repository"


def test_what_the_page_opens_with_is_not_called_poor(tmp_path):
    """New weights or another measure may make it so: then another clip should open it (scripts/build_examples.py)."""
    opening = Example.found_in(BUNDLED)[0]
    result = opening.load(tmp_path)
    assert fit_report(result).word in ("good", "fair")
    assert result.provenance.focal_from == "measured", "as for a visitor who runs the clip"
