"""Decoded clips kept in memory, for networks so small that decoding would take longer than learning."""

import dataclasses
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from train.data.augment import shrink
from train.data.schema import ClipSample, decode_sample, load_clips
from unish.errors import InputError


class ClipCache(Sequence[ClipSample]):
    """The clips of one split of a folder of shards (or a Hub repository), as many as fit in `max_gib`.

    `refresh` reads on, in shards that were there before and in new ones, so training can start while clips are still
    being made. Images are shrunk to `long_side_px`; depth is kept in half precision, and neither it nor the masks
    without `keep_depth`.
    """

    def __init__(
        self,
        source: str | Path,
        split: str = "train",
        max_gib: float = 4.0,
        keep_depth: bool = True,
        long_side_px: int = 1024,
    ) -> None:
        self._folder = Path(source) / split
        self._keep_depth, self._long_side_px, self._room = keep_depth, long_side_px, max_gib * 2**30
        self._clips: list[ClipSample] = []
        self._known: set[Path] = set()
        hub = str(source).count("/") == 1 and not Path(source).exists() and not str(source).startswith((".", "~"))
        self._rows: Iterator[dict] = iter(load_clips(source, split)) if hub else iter(())

    def __getitem__(self, index):  # type: ignore[override]
        return self._clips[index]

    def __len__(self) -> int:
        return len(self._clips)

    def refresh(self, seconds: float = float("inf"), at_least: int = 1) -> int:
        """Read clips for so many seconds (and until there are `at_least`); returns how many there are now.

        Raises InputError where there is no clip at all.
        """
        deadline = time.monotonic() + seconds
        while self._room > 0 and (time.monotonic() < deadline or len(self) < at_least):
            row = next(self._rows, None)
            if row is None and not self._open_next_shard():
                break
            if row is not None:
                self._keep(decode_sample(row))
        if not self._clips:
            raise InputError(
                f"{self._folder} should hold parquet shards of clips, found none; "
                f"make them with `python -m train.synthetic --out {self._folder.parent}`."
            )
        return len(self)

    def _open_next_shard(self) -> bool:
        new = sorted(set(self._folder.glob("*.parquet")) - self._known) if self._folder.is_dir() else []
        if new:
            self._known.add(new[0])
            self._rows = _shard_rows(new[0])
        return bool(new)

    def _keep(self, clip: ClipSample) -> None:
        clip = shrink(clip, self._long_side_px)
        if self._keep_depth:
            depth, mask = clip.depth_m.astype(np.float16), clip.person_mask
        else:
            depth = np.broadcast_to(np.float16(0), clip.depth_m.shape)
            mask = np.broadcast_to(np.uint8(0), clip.person_mask.shape)
        kept = dataclasses.replace(clip, images=np.ascontiguousarray(clip.images), depth_m=depth, person_mask=mask)
        self._room -= kept.images.nbytes + (depth.nbytes + mask.nbytes if self._keep_depth else 0)
        self._clips.append(kept)


def _shard_rows(path: Path) -> Iterator[dict]:
    """Rows of one shard, images left encoded, a few in memory at a time."""
    for batch in pq.ParquetFile(path).iter_batches(batch_size=4):
        yield from batch.to_pylist()
