"""The runner: every sequence once, what is done stays done, what fails fails alone."""

import dataclasses
import json
import os
import sys

import numpy as np
import pytest
import torch

from tests.helpers.true_sequences import make_world
from unish.body import open_body
from unish.errors import InputError, MissingAssetError, MissingDependencyError
from unish.evaluation.benchmark import Benchmark
from unish.evaluation.metric_values import pooled
from unish.evaluation.runner import Predictor, run
from unish.utils.distributed import Rank, launched_rank

NAMES = ("one", "two", "three")


@pytest.fixture(scope="module")
def worlds():
    body = open_body()
    return {name: make_world(body, frames=3 + k, people=1, name=name) for k, name in enumerate(NAMES)}


@pytest.fixture
def benchmark(worlds):
    return Benchmark("walks", "Walks", ("abs_rel", "mpjpe_mm"), lambda root: ())


class Method:
    """The truth with depth in other units, and a list of what it was asked for."""

    def __init__(self, worlds, weights: str = "a", wrong: dict[str, Exception] | None = None) -> None:
        self.worlds, self.weights, self.wrong, self.asked = worlds, weights, wrong or {}, []

    def predictor(self, timed: bool = True) -> Predictor:
        return Predictor("method", self.reconstruct, lambda sequence: {"weights": self.weights}, timed)

    def reconstruct(self, sequence):
        self.asked.append(sequence.name)
        if sequence.name in self.wrong:
            raise self.wrong[sequence.name]
        return self.worlds[sequence.name].result()


def sequences(worlds):
    return tuple(world.sequence() for world in worlds.values())


def test_numbers_are_kept_and_not_made_again(worlds, benchmark, tmp_path):
    first, second = Method(worlds), Method(worlds)
    outcome = run(benchmark, sequences(worlds), first.predictor(), tmp_path)
    assert first.asked == list(NAMES) == [result.sequence for result in outcome.results]
    assert [result.frames for result in outcome.results] == [3, 4, 5] and not outcome.failures
    assert sorted(path.name for path in (tmp_path / "sequences").iterdir()) == ["one.json", "three.json", "two.json"]
    assert run(benchmark, sequences(worlds), second.predictor(), tmp_path) == outcome
    assert second.asked == []
    (tmp_path / "sequences" / "two.json").unlink()
    (tmp_path / "sequences" / "three.json").write_text('{"half a')
    run(benchmark, sequences(worlds), second.predictor(), tmp_path)
    assert second.asked == ["two", "three"]


def test_numbers_of_other_weights_or_protocols_are_not_mixed_in(worlds, benchmark, tmp_path):
    run(benchmark, sequences(worlds), Method(worlds).predictor(), tmp_path)
    other = Method(worlds, weights="b")
    with pytest.raises(InputError, match=r"weights a, not b.*--overwrite"):
        run(benchmark, sequences(worlds), other.predictor(), tmp_path)
    with pytest.raises(InputError, match="depth_alignment scale, not metric"):
        run(benchmark, sequences(worlds), Method(worlds).predictor(), tmp_path, "metric")
    slower = dataclasses.replace(benchmark, sampled_fps=6.0)
    with pytest.raises(InputError, match=r"sampled_fps None, not 6\.0"):
        run(slower, sequences(worlds), Method(worlds).predictor(), tmp_path)
    assert other.asked == []
    run(benchmark, sequences(worlds), other.predictor(), tmp_path, overwrite=True)
    assert other.asked == list(NAMES)
    run(benchmark, sequences(worlds), Method(worlds, weights="b").predictor(), tmp_path)


def test_weights_and_labels_that_were_replaced_are_scored_again(worlds, benchmark, tmp_path):
    def method(digest: str) -> tuple[Method, Predictor]:
        made = Method(worlds)
        return made, dataclasses.replace(
            made.predictor(), identity=lambda sequence: {"weights": "a", "weights_sha256": digest}
        )

    scored = []
    for digest in ("1", "1", "2"):
        made, predictor = method(digest)
        run(benchmark, sequences(worlds), predictor, tmp_path)
        scored.append(made.asked)
    assert scored == [list(NAMES), [], list(NAMES)]
    made, predictor = method("2")
    one, *others = sequences(worlds)
    person = dataclasses.replace(one.people[0], joints_world=one.people[0].joints_world + 0.01)
    run(benchmark, [dataclasses.replace(one, people=(person,)), *others], predictor, tmp_path)
    assert made.asked == ["one"]


def test_a_sequence_that_fails_takes_no_other_with_it(worlds, benchmark, tmp_path):
    wrong = {"one": MissingAssetError("one.png is missing; download it."), "three": ZeroDivisionError("by nothing\nat")}
    outcome = run(benchmark, sequences(worlds), Method(worlds, wrong=wrong).predictor(), tmp_path)
    assert outcome.failures == {"one": "one.png is missing; download it.", "three": "ZeroDivisionError: by nothing"}
    assert [result.sequence for result in outcome.results] == ["two"]
    again = Method(worlds)
    assert not run(benchmark, sequences(worlds), again.predictor(), tmp_path).failures
    assert again.asked == ["one", "three"]


def test_a_stop_keeps_what_is_finished(worlds, benchmark, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(benchmark, sequences(worlds), Method(worlds, wrong={"two": KeyboardInterrupt()}).predictor(), tmp_path)
    assert [path.name for path in (tmp_path / "sequences").iterdir()] == ["one.json"]


def test_shares_together_are_the_whole(worlds, benchmark, tmp_path, monkeypatch):
    monkeypatch.setattr(Rank, "gathered", lambda self, failures: failures)
    whole, method = Method(worlds), Method(worlds)
    alone = run(benchmark, sequences(worlds), whole.predictor(timed=False), tmp_path / "alone")
    for index in (1, 0):
        shared = run(
            benchmark, sequences(worlds), method.predictor(timed=False), tmp_path / "shared", rank=Rank(index, 2)
        )
    assert method.asked == ["two", "one", "three"]
    assert shared == alone


def test_time_and_memory_are_those_of_the_method(worlds, benchmark, tmp_path):
    timed = run(benchmark, sequences(worlds), Method(worlds).predictor(), tmp_path / "timed").results[0]
    assert timed.means["seconds_per_frame"].weight == 3 and timed.means["seconds_per_frame"].value > 0
    assert timed.peak_memory_mb > 50  # a Python with torch in it
    read = run(benchmark, sequences(worlds), Method(worlds).predictor(timed=False), tmp_path / "read").results[0]
    assert "seconds_per_frame" not in read.means and read.peak_memory_mb is None
    assert read.warnings == ("made of the truth",)


def test_frames_are_pooled_over_sequences(worlds, benchmark, tmp_path):
    class Off(Method):
        def reconstruct(self, sequence):
            result = super().reconstruct(sequence)
            shift = {"one": 0.01, "two": 0.02, "three": 0.06}[sequence.name]
            joints = result.people[0].joints_world.copy()
            joints[:, 3:] += np.float32([0, shift, 0])  # all but the pelvis, which is between joints 1 and 2
            return dataclasses.replace(result, people=(dataclasses.replace(result.people[0], joints_world=joints),))

    outcome = run(benchmark, sequences(worlds), Off(worlds).predictor(), tmp_path)
    expected = (3 * 10 + 4 * 20 + 5 * 60) / 12 * 21 / 24
    assert pooled(result.means for result in outcome.results)["mpjpe_mm"] == pytest.approx(expected, rel=1e-3)


def test_files_hold_plain_numbers(worlds, benchmark, tmp_path):
    run(benchmark, sequences(worlds), Method(worlds).predictor(), tmp_path)
    content = json.loads((tmp_path / "sequences" / "one.json").read_text())
    assert content["key"]["weights"] == "a" and content["key"]["benchmark"] == "walks"
    assert content["means"]["abs_rel"]["weight"] == (worlds["one"].depth_m > 0).sum()


def test_several_processes_need_accelerate(monkeypatch):
    assert launched_rank() == Rank()
    monkeypatch.setitem(os.environ, "WORLD_SIZE", "2")
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(MissingDependencyError, match="pip install accelerate"):
        launched_rank()


@pytest.mark.gpu
def test_memory_on_the_gpu_is_that_of_the_sequence(worlds, benchmark, tmp_path):
    class OnGpu(Method):
        def reconstruct(self, sequence):
            torch.zeros(2**28, dtype=torch.uint8, device="cuda").sum().item()
            return super().reconstruct(sequence)

    torch.cuda.init()
    (result, *_) = run(benchmark, sequences(worlds), OnGpu(worlds).predictor(), tmp_path).results
    assert 256 <= result.peak_memory_mb < 1024
