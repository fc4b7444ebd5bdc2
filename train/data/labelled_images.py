"""Single images with labelled people: the data set that real footage becomes for the person detector.

One row per image; people whom the teachers do not agree about are marked, so that training can leave them out.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import datasets
import numpy as np
import pyarrow.parquet as pq
from jaxtyping import Bool, Float32, UInt8

from unish.errors import InputError
from unish.utils.atomic_write import atomic_path

_ARRAYS = ("boxes_px", "scores", "agreed", "keypoints")
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
    masks: tuple[bytes, ...] = ()
    """Files of the people's pixels (`encoded_mask`), empty for those of whom no teacher gave any; () for nobody's."""

    def rgb(self) -> np.ndarray:
        """The pixels. Raises `InputError` when they do not decode."""
        bgr = cv2.imdecode(np.frombuffer(self.jpeg, np.uint8), cv2.IMREAD_COLOR)
        if bgr is None:
            raise InputError(f"An image of {self.source} ({self.clip}) does not decode; label its source again.")
        return np.ascontiguousarray(bgr[..., ::-1])

    def mask(self, person: int) -> UInt8[np.ndarray, "height width"] | None:
        """255 on the person's pixels, or None where they are not known."""
        if not self.masks or not self.masks[person]:
            return None
        return cv2.imdecode(np.frombuffer(self.masks[person], np.uint8), cv2.IMREAD_GRAYSCALE)


def encoded_mask(mask: Bool[np.ndarray, "height width"]) -> bytes:
    """A mask as `LabelledImage` stores it: a PNG file, white on the person."""
    done, data = cv2.imencode(".png", np.where(mask, 255, 0).astype(np.uint8))
    assert done
    return data.tobytes()


def _features(masks: bool) -> datasets.Features:
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
        | ({"masks": datasets.List(datasets.Value("binary"))} if masks else {})
    )


def write_labelled_images(images: Iterable[LabelledImage], path: Path) -> int:
    """Write one shard, which appears only when it is whole; returns the number of images."""
    rows = [
        {
            "image": {"bytes": image.jpeg, "path": None},
            **{name: np.asarray(getattr(image, name)).tolist() for name in _ARRAYS},
            "source": image.source,
            "clip": image.clip,
            "masks": list(image.masks),
        }
        for image in images
    ]
    with atomic_path(path) as temporary:
        datasets.Dataset.from_list(rows, features=_features(masks=True)).to_parquet(temporary, batch_size=64)
    return len(rows)


def labelled_images(folder: Path, split: str) -> Iterator[LabelledImage]:
    """The images of `folder/split/*.parquet`. Raises `InputError` when there are none."""
    for path in shards_of(folder, split):
        yield from images_of_shard(path)


def shards_of(folder: Path, split: str) -> list[Path]:
    """The files of a split. Raises `InputError` when there are none."""
    if shards := sorted((folder / split).glob("*.parquet")):
        return shards
    raise InputError(
        f"{folder} should hold {split}/*.parquet; make it with `python -m train.data.prepare.label_images`."
    )


def images_of_shard(path: Path) -> Iterator[LabelledImage]:
    """The images of one file, which may be older than masks are."""
    features = _features("masks" in pq.read_schema(path).names)
    rows = datasets.load_dataset("parquet", data_files=[str(path)], split="train", streaming=True, features=features)
    for row in rows:
        yield LabelledImage(
            row["image"]["bytes"],
            np.asarray(row["boxes_px"], np.float32).reshape(-1, 4),
            np.asarray(row["scores"], np.float32),
            np.asarray(row["agreed"], bool),
            np.asarray(row["keypoints"], np.float32).reshape(-1, KEYPOINTS, 3),
            row["source"],
            row["clip"],
            tuple(row.get("masks") or ()),
        )
