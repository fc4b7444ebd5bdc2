"""A short slice of benchmarks/hostile.py: nothing that is mutated gives a traceback, and no kill loses a result."""

import importlib.util
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.helpers.reconstructions import make_reconstruction
from unish.errors import InputError
from unish.video.reader import read_clip

CASES = {"clips": 20, "checkpoints": 6, "bodies": 20, "results": 4, "labels": 40, "kills": 2}


@pytest.fixture(scope="module")
def hostile(repository):
    spec = importlib.util.spec_from_file_location("hostile", repository / "benchmarks" / "hostile.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def bases(hostile, tmp_path_factory) -> Path:
    hostile.BASES["results"] = lambda folder: make_reconstruction(3, people=2).save(folder)
    return hostile.make_bases(tmp_path_factory.mktemp("bases"), list(CASES))


@pytest.mark.parametrize("kind", CASES)
def test_every_case_works_or_ends_with_a_sentence(hostile, bases, kind):
    outcomes = [hostile.run_case(kind, 0, index, bases) for index in range(CASES[kind])]
    assert not [said for outcome, said in outcomes if outcome == hostile.BAD]
    if kind != "kills":
        assert sum(outcome == hostile.SENTENCE for outcome, _ in outcomes) > CASES[kind] / 3, "damage is noticed"


def test_the_campaign_tells_what_is_bad(hostile, bases, monkeypatch):
    def broken(rng, folder, bases):
        raise KeyError("a bug")

    monkeypatch.setitem(hostile.CASES, "bodies", broken)
    assert hostile.run_case("bodies", 0, 0, bases)[0] == hostile.BAD


def test_an_animation_that_ends_inside_a_frames_head_is_one_sentence(tmp_path):
    path = tmp_path / "walk.gif"
    Image.new("L", (8, 8)).save(path)
    path.write_bytes(path.read_bytes()[:-1] + b"," + bytes(6))
    with pytest.raises(InputError, match=r"walk\.gif"):
        read_clip(path)
