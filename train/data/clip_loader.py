"""Endless streams of clips for the training stages: shuffled, sharded over processes, mixed, resumable anywhere.

A stream's state is a few numbers. What comes next depends on the data, the seed and that state alone, so a run that
was stopped in the middle of an epoch goes on with the very clip that it would have seen.
"""

import contextlib
import inspect
import itertools
import logging
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from datasets import Dataset, IterableDataset
from datasets import logging as datasets_logging
from datasets.distributed import split_dataset_by_node

from train.data.batches import Batch
from train.data.schema import ClipSample, decode_sample, load_clips
from unish.errors import InputError

log = logging.getLogger("unish.train")

EncodedClip = dict[str, Any]
State = dict[str, Any]


@dataclass(frozen=True)
class DataConfig:
    """Which clips are read, and in what order."""

    data: tuple[str, ...] = ()
    """Folders of shards, or Hub datasets (owner/name). Several are mixed."""
    mixture: tuple[float, ...] = ()
    """How often each of them is drawn, in their order; nothing: equally often."""
    split: str = "train"
    streaming: bool = False
    """Read shards one after the other instead of by index: for data sets larger than the disk."""
    block: int = 64
    """Streaming only: rows are shuffled inside blocks of so many, and whole shards among each other."""
    most_bad: float = 0.01
    """Stop when more than this share of the clips cannot be read."""
    seed: int = 0
    threads: int | None = None
    """Clips decoded at the same time; nothing: `default_threads`. Changes when batches are made, not which."""

    def __post_init__(self) -> None:
        if self.threads is not None and self.threads < 1:
            raise InputError(f"Expected 1 or more threads that make batches, received {self.threads}.")
        if self.mixture and (len(self.mixture) != len(self.data) or min(self.mixture) < 0 or sum(self.mixture) <= 0):
            raise InputError(
                f"Expected one share of 0 or more for each of {len(self.data)} data sets, received {self.mixture}. "
                "Give --mixture as many numbers as --data has names."
            )


@runtime_checkable
class RowStream(Protocol):
    """Rows without end, whose place can be saved and found again."""

    def __next__(self) -> EncodedClip: ...

    def state_dict(self) -> State: ...

    def load_state_dict(self, state: State) -> None: ...

    def close(self) -> None:
        """Let go of open files; `load_state_dict` opens them again."""


class IndexedRows:
    """Rows of a data set on disk: process r of n takes every n-th of an endless sequence of shuffled epochs.

    n processes that take k rows each see the same rows as one process that takes n·k.
    """

    def __init__(self, dataset: Dataset, seed: int, rank: int, world: int) -> None:
        self._dataset, self._seed, self._rank, self._world = dataset, seed, rank, world
        self._taken = 0
        self._order: tuple[int, np.ndarray] | None = None

    def __next__(self) -> EncodedClip:
        epoch, place = divmod(self._taken * self._world + self._rank, len(self._dataset))
        if self._order is None or self._order[0] != epoch:
            self._order = (epoch, np.random.default_rng((self._seed, epoch)).permutation(len(self._dataset)))
        self._taken += 1
        return self._dataset[int(self._order[1][place])]

    def state_dict(self) -> State:
        return {"taken": self._taken}

    def load_state_dict(self, state: State) -> None:
        self._taken = state["taken"]

    def close(self) -> None:
        pass


class StreamedRows:
    """Rows read shard by shard: shards are shuffled every epoch, rows inside blocks; each process has its own part.

    Where the shards do not divide among the processes, each takes every n-th row (`split_dataset_by_node`).
    """

    def __init__(self, dataset: IterableDataset, seed: int, rank: int, world: int, block: int) -> None:
        self._dataset = split_dataset_by_node(_shuffle_shards(dataset, seed), rank, world)
        self._seed, self._rank, self._block = seed, rank, block
        self._epoch, self._number, self._taken = 0, 0, 0
        self._source: Iterator[EncodedClip] | None = None
        self._before: State = self._dataset.state_dict()
        self._rows: list[EncodedClip] = []

    def __next__(self) -> EncodedClip:
        if self._taken == len(self._rows):
            self._read_block()
        self._taken += 1
        return self._rows[self._taken - 1]

    def state_dict(self) -> State:
        return {"epoch": self._epoch, "block": self._number, "taken": self._taken, "source": self._before}

    def load_state_dict(self, state: State) -> None:
        self._epoch, self._number = state["epoch"], state["block"] - 1
        self._dataset.set_epoch(self._epoch)
        self._dataset.load_state_dict(state["source"])
        self._source, self._rows, self._taken = iter(self._dataset), [], 0
        if state["taken"]:
            self._read_block()
        else:
            self._number = state["block"]
        self._taken = state["taken"]

    def close(self) -> None:
        self._source = None

    def _read_block(self) -> None:
        if self._source is None:
            self._dataset.set_epoch(self._epoch)
            self._source = iter(self._dataset)
        self._before = self._dataset.state_dict()
        try:
            with _quiet_datasets():  # it warns of rows lost from a buffer; ours is empty between two rows
                rows = list(itertools.islice(self._source, self._block))
        except (ValueError, OSError) as error:  # a foreign schema, a broken or unreachable shard
            raise InputError(
                f"Expected shards with the columns of train.data.schema.features(), got "
                f"{str(error).splitlines()[0]!r}. "
                "Prepare or download the data set again."
            ) from error
        if not rows:
            if self._number == 0:
                raise InputError(
                    "Expected clips for every process, received none for one of them. Use fewer processes."
                )
            self._epoch, self._number, self._source = self._epoch + 1, 0, None
            self._before = self._fresh_state()
            return self._read_block()
        self._number += 1
        order = np.random.default_rng((self._seed, self._epoch, self._number, self._rank)).permutation(len(rows))
        self._rows, self._taken = [rows[index] for index in order], 0

    def _fresh_state(self) -> State:
        self._dataset.set_epoch(self._epoch)
        self._source = iter(self._dataset)
        return self._dataset.state_dict()


class MixedRows:
    """Rows of several streams, drawn with given shares; at every draw all processes take from the same one."""

    def __init__(self, streams: list[RowStream], shares: tuple[float, ...], seed: int) -> None:
        self._streams, self._seed = streams, seed
        self._shares = np.array(shares or [1.0] * len(streams)) / (sum(shares) if shares else len(streams))
        self.drawn = 0

    def __next__(self) -> EncodedClip:
        chosen = np.random.default_rng((self._seed, self.drawn)).choice(len(self._streams), p=self._shares)
        self.drawn += 1
        return next(self._streams[chosen])

    def state_dict(self) -> State:
        return {"drawn": self.drawn, "streams": [stream.state_dict() for stream in self._streams]}

    def load_state_dict(self, state: State) -> None:
        self.drawn = state["drawn"]
        for stream, part in zip(self._streams, state["streams"], strict=True):
            stream.load_state_dict(part)

    def close(self) -> None:
        for stream in self._streams:
            stream.close()


class BadSamples:
    """Counts and names the clips that cannot be read; too many end the run."""

    FIRST = 100  # before so many were read, a share says little

    def __init__(self, most: float) -> None:
        self.most, self.read, self.names = most, 0, list[str]()

    def good(self) -> None:
        self.read += 1

    def bad(self, name: str, error: Exception) -> None:
        """Note one bad clip. Raises InputError when they have become too many."""
        self.read += 1
        self.names.append(name)
        log.warning("Clip %s is left out (%d of %d so far): %s", name, len(self.names), self.read, error)
        if len(self.names) > self.most * max(self.read, self.FIRST):
            raise InputError(
                f"Expected at most {self.most:.0%} of the clips to be unreadable, received {len(self.names)} of "
                f"{self.read}: {', '.join(self.names[:5])}. Prepare or download the data set again."
            ) from error

    def state_dict(self) -> State:
        return {"read": self.read, "names": list(self.names)}

    def load_state_dict(self, state: State) -> None:
        self.read, self.names = state["read"], list(state["names"])


MakeBatch = Callable[[ClipSample, np.random.Generator], Batch | None]
"""A clip to a training batch; None where it shows nothing to learn from. Runs in several threads at a time."""


@dataclass(frozen=True)
class _Made:
    """What became of a row."""

    clip_id: str
    batch: Batch | None = None
    fault: Exception | None = None
    """Why the clip could not be read."""


class ClipBatches:
    """Batches made of clips, a few of them ahead: one thread reads rows, `DataConfig.threads` make batches of them.

    Batches come in the order of the rows, and faults where their row's turn is, whatever the number of threads.
    """

    def __init__(self, config: DataConfig, make: MakeBatch, rank: int = 0, world: int = 1, ahead: int = 2) -> None:
        if not config.data:
            raise InputError("Expected a data set to train on, received none. Give a folder or Hub name with --data.")
        self._config, self._make, self._rank, self._world = config, make, rank, world
        self._threads = config.threads or default_threads()
        self._ahead = ahead
        self._rows = MixedRows(
            [_rows_of(name, config, rank, world) for name in config.data], config.mixture, config.seed
        )
        self._bad = BadSamples(config.most_bad)
        self._state: State = {"rows": self._rows.state_dict(), "bad": self._bad.state_dict()}
        self._reader: ThreadPoolExecutor | None = None
        self._makers: ThreadPoolExecutor | None = None
        self._coming: deque[Future[tuple[State, Future[_Made]]]] = deque()

    @property
    def bad(self) -> tuple[str, ...]:
        """Names of the clips that could not be read so far."""
        return tuple(self._state["bad"]["names"])

    def __iter__(self) -> "ClipBatches":
        return self

    def __next__(self) -> Batch:
        if self._reader is None:
            self._open()
        try:
            return self._next_batch()
        except BaseException:  # an interrupt as well: the next call starts from the saved place
            self.close()
            raise

    def state_dict(self) -> State:
        """The place after the last batch that was given out, whatever has been read ahead."""
        return self._state

    def load_state_dict(self, state: State) -> None:
        self.close()
        self._state = state

    def close(self) -> None:
        """End all threads; the next batch starts them again at the saved place."""
        for pool in (self._reader, self._makers):  # in this order: the reader hands rows to the makers
            if pool is not None:
                pool.shutdown(cancel_futures=True)
        if self._reader is not None:
            self._rows.close()
        self._reader = self._makers = None
        self._coming.clear()

    def _open(self) -> None:
        self._rows.load_state_dict(self._state["rows"])
        self._bad.load_state_dict(self._state["bad"])
        self._makers = ThreadPoolExecutor(self._threads, "make clips")
        self._reader = ThreadPoolExecutor(1, "read clips")
        for _ in range(self._threads + self._ahead):
            self._coming.append(self._reader.submit(self._read, self._makers))

    def _next_batch(self) -> Batch:
        assert self._reader is not None and self._makers is not None
        for _ in range(10_000):
            rows, making = self._coming.popleft().result()
            made = making.result()
            self._coming.append(self._reader.submit(self._read, self._makers))
            if made.fault is not None:
                self._bad.bad(made.clip_id, made.fault)
                continue
            self._bad.good()
            if made.batch is not None:
                self._state = {"rows": rows, "bad": self._bad.state_dict()}
                return made.batch
        raise InputError("Expected clips that show somebody, received 10,000 that do not. Check the data set.")

    def _read(self, makers: ThreadPoolExecutor) -> "tuple[State, Future[_Made]]":
        """Take one row and have a batch made of it; with the place after it. Runs in the reader alone."""
        number = self._rows.drawn * self._world + self._rank
        row = next(self._rows)
        return self._rows.state_dict(), makers.submit(self._made, row, number)

    def _made(self, row: EncodedClip, number: int) -> _Made:
        clip_id = str(row.get("clip_id", "without a name"))
        try:
            sample = decode_sample(row)
        except (InputError, LookupError, TypeError, ValueError) as error:
            return _Made(clip_id, fault=error)
        return _Made(clip_id, self._make(sample, np.random.default_rng((self._config.seed, number))))


def default_threads() -> int:
    """A thread for each core that this process may use but one, at most 8; processes of a machine share its cores."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))  # set by Accelerate's and torch's launchers
    return min(max(cores // here - 1, 1), 8)


def _shuffle_shards(dataset: IterableDataset, seed: int) -> IterableDataset:
    """Shards in an order of each epoch, their rows in their own: a buffer of one row, filled from one shard."""
    options: dict[str, Any] = {"buffer_size": 1, "max_buffer_input_shards": 1}
    known = inspect.signature(dataset.shuffle).parameters  # Datasets 4 always fills it from one shard
    return dataset.shuffle(seed=seed, **{name: value for name, value in options.items() if name in known})


@contextlib.contextmanager
def _quiet_datasets() -> Iterator[None]:
    before = datasets_logging.get_verbosity()
    datasets_logging.set_verbosity_error()
    try:
        yield
    finally:
        datasets_logging.set_verbosity(before)


def _rows_of(name: str, config: DataConfig, rank: int, world: int) -> RowStream:
    loaded = load_clips(name, config.split, streaming=config.streaming)
    if isinstance(loaded, IterableDataset):
        return StreamedRows(loaded, config.seed, rank, world, config.block)
    return IndexedRows(loaded, config.seed, rank, world)
