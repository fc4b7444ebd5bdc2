"""Streams of clips: order, resuming, processes, threads, mixtures, and data that cannot be read."""

import itertools
import logging
import os
import threading
import time
from collections import Counter
from dataclasses import dataclass

import datasets
import numpy as np
import pytest
from conftest import fake_clip

from train.data.batches import Batch
from train.data.clip_loader import ClipBatches, DataConfig, default_threads
from train.data.schema import encode_sample, features, write_shards
from unish.errors import InputError

CLIPS = 11


def small_clip(seed):
    return fake_clip(seed, frames=1, width=16, height=12)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("clips")
    write_shards([small_clip(seed) for seed in range(CLIPS)], path / "train", per_shard=4)
    return str(path)


@dataclass(frozen=True)
class NamedBatch(Batch):
    """Which clip a batch was made of, and a random number drawn for it."""

    clip_id: str
    draw: float


def named(clip, rng):
    return NamedBatch(clip.clip_id, rng.random())


@pytest.fixture
def open_batches():
    opened = []

    def start(*folders, rank=0, world=1, make=named, **settings):
        config = DataConfig(folders, block=4, **settings)
        batches = ClipBatches(config, make, rank, world)
        opened.append(batches)
        return batches

    yield start
    for batches in opened:
        batches.close()


def take(batches, count):
    return [batch.clip_id for batch in itertools.islice(batches, count)]


def write_rows(path, rows):
    (path / "train").mkdir(parents=True)
    datasets.Dataset.from_list(rows, features=features()).to_parquet(path / "train/00000.parquet")
    return str(path)


both = pytest.mark.parametrize("streaming", [False, True])


@both
def test_every_epoch_shows_every_clip_once_in_another_order(folder, open_batches, streaming):
    seen = take(open_batches(folder, streaming=streaming), 3 * CLIPS)
    epochs = [tuple(seen[k * CLIPS : (k + 1) * CLIPS]) for k in range(3)]
    assert all(len(set(epoch)) == CLIPS for epoch in epochs)
    assert len(set(epochs)) == 3


@both
def test_the_seed_gives_the_order(folder, open_batches, streaming):
    one, same, other = (take(open_batches(folder, streaming=streaming, seed=seed), CLIPS) for seed in (1, 1, 2))
    assert one == same != other


@both
def test_the_state_goes_on_with_the_rest(folder, open_batches, streaming):
    whole = take(open_batches(folder, streaming=streaming), 3 * CLIPS)
    first = open_batches(folder, streaming=streaming)
    for count in range(2 * CLIPS + 2):
        second = open_batches(folder, streaming=streaming)
        second.load_state_dict(first.state_dict())
        assert take(second, 9) == whole[count : count + 9], count
        second.close()
        assert next(first).clip_id == whole[count]


@both
@pytest.mark.parametrize("threads", [1, 3])
def test_closing_ends_all_threads_and_loses_nothing(folder, open_batches, streaming, threads):
    whole = take(open_batches(folder, streaming=streaming), 12)
    before = set(threading.enumerate())
    batches = open_batches(folder, streaming=streaming, threads=threads)
    seen = take(batches, 5)
    assert 2 <= len(set(threading.enumerate()) - before) <= 1 + threads  # the reader, and makers as they are needed
    batches.close()
    assert set(threading.enumerate()) <= before
    assert seen + take(batches, 7) == whole


# --- several threads -------------------------------------------------------------------------------------------------


def uneven(clip, rng):
    """A batch that takes longer for some clips than for the next ones; nobody is seen in every fourth."""
    batch = named(clip, rng)
    time.sleep(0.02 * rng.random())
    return None if int(clip.clip_id.split("-")[1]) % 4 == 3 else batch


def some_bad(path):
    rows = [encode_sample(small_clip(k)) for k in range(9)]
    for row in (rows[2], rows[5], rows[6]):
        row["images"][0]["bytes"] = b"no picture"
    return write_rows(path, rows)


@both
def test_threads_change_neither_batches_nor_states_nor_what_is_bad(tmp_path, open_batches, streaming):
    data, seen = some_bad(tmp_path), {}
    for threads in (1, 3):
        batches = open_batches(data, streaming=streaming, threads=threads, most_bad=0.9, make=uneven)
        seen[threads] = [(next(batches), batches.state_dict(), batches.bad) for _ in range(15)]
    assert seen[1] == seen[3]
    assert len(seen[1][-1][2]) > 3


@both
def test_a_state_goes_on_with_another_number_of_threads(tmp_path, open_batches, streaming):
    data, settings = some_bad(tmp_path), {"streaming": streaming, "most_bad": 0.9, "make": uneven}
    one = open_batches(data, threads=1, **settings)
    three = open_batches(data, threads=3, **settings)
    take(one, 7)
    three.load_state_dict(one.state_dict())
    assert list(itertools.islice(three, 8)) == list(itertools.islice(one, 8))
    assert three.state_dict() == one.state_dict()


def until_it_stops(batches):
    seen = []
    with pytest.raises(InputError) as error:
        for batch in itertools.islice(batches, 99):
            seen.append(batch.clip_id)
    assert seen
    with pytest.raises(InputError):  # asked again, it says so again
        next(batches)
    return seen, str(error.value), batches.state_dict()


@both
def test_a_fault_comes_where_its_clip_is_whatever_the_threads(tmp_path, open_batches, streaming):
    def refuse(clip, rng):
        if clip.clip_id == "fake-8":
            raise InputError("Expected another body.")
        return uneven(clip, rng)

    data = some_bad(tmp_path)
    for settings in ({"most_bad": 0.05}, {"most_bad": 0.9, "make": refuse}):
        settings = {"make": uneven, "streaming": streaming, **settings}
        one, three = (until_it_stops(open_batches(data, threads=threads, **settings)) for threads in (1, 3))
        assert one == three


def test_threads_work_at_the_same_time(folder, open_batches):
    together = threading.Barrier(3, timeout=60)

    def wait_for_the_others(clip, rng):
        together.wait()
        return named(clip, rng)

    assert len(set(take(open_batches(folder, threads=3, make=wait_for_the_others), 6))) == 6
    together.abort()  # lets those go that were made ahead


def test_processes_of_a_machine_share_its_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(12)), raising=False)
    counts = []
    for processes in ("1", "2", "4", "99"):
        monkeypatch.setenv("LOCAL_WORLD_SIZE", processes)
        counts.append(default_threads())
    assert counts == [8, 5, 2, 1]


@both
def test_two_processes_share_an_epoch(folder, open_batches, streaming):
    parts = [open_batches(folder, streaming=streaming, rank=rank, world=2) for rank in range(2)]
    if streaming:  # three shards for two processes: every second row
        assert sorted(take(parts[0], 6) + take(parts[1], 5)) == sorted(f"fake-{k}" for k in range(CLIPS))
        return
    alone = list(itertools.islice(open_batches(folder), 2 * CLIPS))
    together = [next(parts[k % 2]) for k in range(2 * CLIPS)]
    assert together == alone  # the random numbers of each batch as well


@both
def test_a_mixture_keeps_its_shares_on_all_processes(folder, tmp_path, open_batches, streaming):
    other = write_rows(tmp_path, [encode_sample(small_clip(100 + k)) for k in range(4)])
    settings = {"streaming": streaming, "mixture": (3.0, 1.0)}
    sources = []
    for rank in range(2):
        seen = take(open_batches(folder, other, rank=rank, world=2, **settings), 200)
        sources.append([int(name.split("-")[1]) >= 100 for name in seen])
    assert sources[0] == sources[1]
    count = Counter(sources[0])
    assert sum((count[k] - n) ** 2 / n for k, n in ((False, 150), (True, 50))) < 10.8  # p = 0.001


@both
def test_bad_clips_are_left_out_and_named(tmp_path, open_batches, streaming, caplog):
    rows = [encode_sample(small_clip(k)) for k in range(6)]
    rows[1]["images"][0]["bytes"] = b"no picture"
    rows[2]["betas"] = None
    rows[3]["boxes_px"] = [[[0.0, 1.0]]]
    rows[4]["images"] = [None]
    batches = open_batches(write_rows(tmp_path, rows), streaming=streaming, most_bad=0.9)
    with caplog.at_level(logging.WARNING, "unish.train"):
        assert set(take(batches, 2)) == {"fake-0", "fake-5"}
        next(batches)
    assert set(batches.bad) == {"fake-1", "fake-2", "fake-3", "fake-4"}
    assert "Clip fake-1 is left out" in caplog.text


@both
def test_too_many_bad_clips_stop(tmp_path, open_batches, streaming):
    rows = [encode_sample(small_clip(k)) for k in range(4)]
    for row in rows[1:]:
        row["images"][0]["bytes"] = b"no picture"
    batches = open_batches(write_rows(tmp_path, rows), streaming=streaming)
    for _ in range(2):  # asked again, it says so again
        with pytest.raises(InputError, match="at most 1% of the clips"):
            take(batches, 10)


@both
def test_another_schema_is_one_sentence(tmp_path, open_batches, streaming):
    (tmp_path / "train").mkdir()
    datasets.Dataset.from_list([{"a": 1}]).to_parquet(tmp_path / "train/0.parquet")
    with pytest.raises(InputError, match=r"columns of train\.data\.schema\.features\(\)"):
        next(open_batches(str(tmp_path), streaming=streaming))


@both
def test_an_unreachable_hub_data_set_is_one_sentence(open_batches, streaming, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match="Expected a data set at nobody/nothing"):
        open_batches("nobody/nothing", streaming=streaming)


def test_settings_that_do_not_fit_are_named(folder, tmp_path, open_batches):
    with pytest.raises(InputError, match="one share of 0 or more for each of 1"):
        DataConfig((folder,), mixture=(1.0, 2.0))
    with pytest.raises(InputError, match="1 or more threads"):
        DataConfig((folder,), threads=0)
    with pytest.raises(InputError, match="Expected a data set to train on"):
        open_batches()
    alone = write_rows(tmp_path, [encode_sample(small_clip(0))])
    with pytest.raises(InputError, match="Use fewer processes"):
        next(open_batches(alone, rank=1, world=2, streaming=True))


def test_the_numbers_of_a_batch_do_not_depend_on_where_it_was_resumed(folder, open_batches):
    first = open_batches(folder)
    take(first, 3)
    second = open_batches(folder)
    second.load_state_dict(first.state_dict())
    assert np.isclose(next(first).draw, next(second).draw, rtol=0)
