"""Single images with labelled people: the data set that real footage becomes for the person detector.

One row per image; people whom the teachers do not agree about are marked, so that training can leave them out.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import cv2
import datasets
import numpy as np
from jaxtyping import Bool, Float32

from unish.errors import InputError
from unish.utils.atomic_write import atomic_path

KEYPOINTS = 17
"""COCO's order: nose, eyes, ears, shoulders, elbows, wrists, hips, knees, ankles; left before right."""


@dataclass(frozen=True)
class LabelledImage:
    """An image as it lies in a shard, with the people in it."""

    jpeg: bytes
    boxes_px: Float32[np.ndarray, "people 4"]
    """x0, y0, x1, y1 of what is seen of each person."""
    scores: Float32[np.ndarray, "people"]
    """How sure the teachers are on average, 0..1."""
    agreed: Bool[np.ndarray, "people"]
    """False where uncertain: neither a person nor background."""
    keypoints: Float32[np.ndarray, "people 17 3"]
    """x, y in pixels and a score in 0..1; zeros where no teacher gave any."""
    source: str
    """Collection that the image is of, with its licence: a model card names it."""
    clip: str
    """File that the image is of; images of one clip stay in one split."""

    def rgb(self) -> np.ndarray:
        """The pixels. Raises `InputError` when they do not decode."""
        bgr = cv2.imdecode(np.frombuffer(self.jpeg, np.uint8), cv2.IMREAD_COLOR)
        if bgr is None:
            raise InputError(f"An image of {self.source} ({self.clip}) does not decode; label its source again.")
        return np.ascontiguousarray(bgr[..., ::-1])


def _features() -> datasets.Features:
    number, text = datasets.Value("float32"), datasets.Value("string")
    return datasets.Features(
        {
            "image": datasets.Image(decode=False),
            "boxes_px": datasets.List(datasets.List(number)),
            "scores": datasets.List(number),
            "agreed": datasets.List(datasets.Value("bool")),
            "keypoints": datasets.List(datasets.List(datasets.List(number))),
            "source": text,
            "clip": text,
        }
    )


def write_labelled_images(images: Iterable[LabelledImage], path: Path) -> int:
    """Write one shard, which appears only when it is whole; returns the number of images."""
    rows = [
        {
            "image": {"bytes": image.jpeg, "path": None},
            **{f.name: np.asarray(getattr(image, f.name)).tolist() for f in fields(image) if f.name != "jpeg"},
        }
        for image in images
    ]
    with atomic_path(path) as temporary:
        datasets.Dataset.from_list(rows, features=_features()).to_parquet(temporary, batch_size=64)
    return len(rows)


def labelled_images(folder: Path, split: str) -> Iterator[LabelledImage]:
    """The images of `folder/split/*.parquet`. Raises `InputError` when there are none."""
    shards = sorted((folder / split).glob("*.parquet"))
    if not shards:
        raise InputError(
            f"{folder} should hold {split}/*.parquet; make it with `python -m train.data.prepare.label_images`."
        )
    files: Any = {split: [str(path) for path in shards]}
    for row in datasets.load_dataset("parquet", data_files=files, split=split, streaming=True, features=_features()):
        yield LabelledImage(
            row["image"]["bytes"],
            np.asarray(row["boxes_px"], np.float32).reshape(-1, 4),
            np.asarray(row["scores"], np.float32),
            np.asarray(row["agreed"], bool),
            np.asarray(row["keypoints"], np.float32).reshape(-1, KEYPOINTS, 3),
            row["source"],
            row["clip"],
        )
