"""The sample that every training stage reads, and its Hugging Face Datasets shards.

A sample is one clip. The world of a sample is any metric frame (the synthetic one has z up and the floor at z = 0);
readers make it relative to the first camera. Images are stored as JPEG, depth as 16-bit PNG in millimetres, masks
as 8-bit PNG, so a shard opens in the Hub's viewer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import cv2
import datasets
import numpy as np
from datasets.exceptions import DatasetGenerationError
from datasets.table import CastError

from unish.errors import InputError
from unish.utils.atomic_write import atomic_path

JPEG_QUALITY = 92
MAX_DEPTH_M = 65.0
UNLABELLED = ("world_from_camera", "body_rotations", "translation_camera", "betas")
"""What a labeller cannot say of a video."""
_ENDINGS = {
    "images": ("frames", "height", "width", 3),
    "depth_m": ("frames", "height", "width"),
    "person_mask": ("frames", "height", "width"),
    "intrinsics": ("frames", 3, 3),
    "world_from_camera": ("frames", 4, 4),
    "body_rotations": ("people", "frames", 24, 3, 3),
    "translation_camera": ("people", "frames", 3),
    "betas": ("people", 10),
    "boxes_px": ("people", "frames", 4),
    "visibility": ("people", "frames"),
    "joints_px": ("people", "frames", 24, 2),
}


@dataclass(frozen=True)
class ClipSample:
    """One clip with its labels.

    images (frames, height, width, 3) uint8; depth_m (frames, height, width) float32, metres along the optical
    axis at pixel centres, 0 = unknown; person_mask (frames, height, width) uint8, 0 nobody, p + 1 person p;
    intrinsics (frames, 3, 3) pixels; world_from_camera (frames, 4, 4) OpenCV cameras, metres; body_rotations
    (people, frames, 24, 3, 3) SMPL joints, index 0 the root in the camera frame; translation_camera (people,
    frames, 3) SMPL's translation in the camera frame, metres; betas (people, 10); boxes_px (people, frames, 4)
    x0, y0, x1, y1 of the whole projected body, clipped to the frame, zeros when outside; visibility (people,
    frames) share of the body's silhouette that is seen, 0..1; joints_px (people, frames, 24, 2) where the SMPL joints
    are in the image, NaN where that is not known; body: whose shape space the betas are in; pseudo: names of the
    fields that a network guessed rather than anyone measured; unknown: names of the fields that nobody knows and
    that hold zeros or identities. A video without labels has `UNLABELLED` unknown.
    """

    clip_id: str
    fps: float
    images: np.ndarray
    depth_m: np.ndarray
    person_mask: np.ndarray
    intrinsics: np.ndarray
    world_from_camera: np.ndarray
    body_rotations: np.ndarray
    translation_camera: np.ndarray
    betas: np.ndarray
    boxes_px: np.ndarray
    visibility: np.ndarray
    joints_px: np.ndarray
    body: str = "open"
    pseudo: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        sizes = {"frames": self.images.shape[0], "height": self.images.shape[1], "width": self.images.shape[2]}
        sizes["people"] = len(self.betas)
        for name, axes in _ENDINGS.items():
            shape = tuple(sizes.get(axis, axis) if isinstance(axis, str) else axis for axis in axes)
            if getattr(self, name).shape != shape:
                raise InputError(
                    f"Clip {self.clip_id}: {name} should have shape {shape}, got {getattr(self, name).shape}; "
                    "write the sample again from its source."
                )

    @property
    def frames(self) -> int:
        """Number of frames."""
        return self.images.shape[0]

    @property
    def people(self) -> int:
        """Number of people."""
        return len(self.betas)


def features(decode: bool = True) -> datasets.Features:
    """The columns of a shard: images encoded, one per frame; everything else as nested lists.

    Without `decode`, images are left as their files' bytes when a row is read.
    """
    number, text = datasets.Value("float32"), datasets.Value("string")
    encoded = datasets.List(datasets.Image(decode=decode))

    def nested(depth: int) -> Any:
        return number if depth == 0 else datasets.List(nested(depth - 1))

    columns: dict[str, Any] = {"clip_id": text, "fps": number}
    columns |= {"images": encoded, "depth_m": encoded, "person_mask": encoded}
    columns |= {name: nested(len(axes)) for name, axes in _ENDINGS.items() if name not in columns}
    return datasets.Features(columns | {"body": text, "pseudo": datasets.List(text), "unknown": datasets.List(text)})


def encode_sample(sample: ClipSample) -> dict[str, Any]:
    """The row of a sample: images compressed, arrays as lists. Depth is rounded to a millimetre, 65 m at most."""
    millimetres = np.where(sample.depth_m < MAX_DEPTH_M, np.round(sample.depth_m * 1000), 0).astype(np.uint16)
    row: dict[str, Any] = {"clip_id": sample.clip_id, "fps": sample.fps}
    row["images"] = [
        _encoded(".jpg", image[..., ::-1], cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY) for image in sample.images
    ]
    row["depth_m"] = [_encoded(".png", depth, cv2.IMWRITE_PNG_COMPRESSION, 2) for depth in millimetres]
    row["person_mask"] = [_encoded(".png", mask, cv2.IMWRITE_PNG_COMPRESSION, 3) for mask in sample.person_mask]
    for name in _ENDINGS:
        if name not in row:
            row[name] = np.asarray(getattr(sample, name), np.float32).tolist()
    return row | {"body": sample.body, "pseudo": list(sample.pseudo), "unknown": list(sample.unknown)}


def decode_sample(row: dict[str, Any]) -> ClipSample:
    """The sample of a row, whether its images are still encoded or already decoded by Datasets.

    Raises:
        InputError: a column is missing, or an image does not decode.
    """
    missing = [field.name for field in fields(ClipSample) if field.name not in row]
    if missing:
        raise InputError(
            f"Clip {row.get('clip_id', '?')} lacks {', '.join(missing)}: every column of train.data.schema.features() "
            "is needed; prepare the data set again."
        )
    frames, people = len(row["images"]), len(row["betas"])
    sizes = {"frames": frames, "people": people}
    arrays: dict[str, np.ndarray] = {
        "images": np.stack([_pixels(item, cv2.IMREAD_COLOR)[..., ::-1] for item in row["images"]]),
        "depth_m": np.stack([_pixels(item, cv2.IMREAD_UNCHANGED) for item in row["depth_m"]]).astype(np.float32) / 1000,
        "person_mask": np.stack([_pixels(item, cv2.IMREAD_UNCHANGED) for item in row["person_mask"]]).astype(np.uint8),
    }
    for name, axes in _ENDINGS.items():
        if name not in arrays:
            shape = [sizes[axis] if isinstance(axis, str) else axis for axis in axes]
            arrays[name] = np.asarray(row[name], np.float32).reshape(shape)
    return ClipSample(
        clip_id=row["clip_id"],
        fps=float(row["fps"]),
        body=row["body"],
        pseudo=tuple(row["pseudo"]),
        unknown=tuple(row["unknown"]),
        **arrays,
    )


def write_shards(samples: Iterable[ClipSample], folder: str | Path, per_shard: int = 50, first: int = 0) -> list[Path]:
    """Writes parquet shards `00000.parquet`, … of `per_shard` samples each; a shard appears only when it is whole.

    A folder called `train` or `validation` inside a data set's folder is a split of it to `load_clips` and to
    `datasets.load_dataset`. `first` numbers the first shard. Returns the paths.
    """
    paths: list[Path] = []
    rows: list[dict[str, Any]] = []
    samples = iter(samples)
    while True:
        sample = next(samples, None)
        if sample is not None:
            rows.append(encode_sample(sample))
        if rows and (sample is None or len(rows) == per_shard):
            path = Path(folder) / f"{first + len(paths):05d}.parquet"
            with atomic_path(path) as temporary:
                datasets.Dataset.from_list(rows, features=features()).to_parquet(temporary, batch_size=16)
            paths.append(path)
            rows = []
        if sample is None:
            return paths


def load_clips(source: str | Path, split: str = "train", streaming: bool = True) -> Any:
    """The rows of a data set (a folder with `<split>/*.parquet`, or a Hub repository), images left encoded.

    Turn a row into arrays with `decode_sample`; `iterate_clips` does both. Streaming gives an IterableDataset.

    Raises:
        InputError: the folder holds no shard of that split, or the columns are not those of `features`.
    """
    folder, kind, files = Path(source), str(source), None
    if folder.is_dir():
        shards = sorted(str(path) for path in (folder / split).glob("*.parquet"))
        if not shards:
            raise InputError(
                f"{folder} should hold {split}/*.parquet; make it with `python -m train.synthetic --out {folder}`."
            )
        kind, files = "parquet", {split: shards}
    elif str(source).count("/") != 1 or str(source).startswith(("/", ".")):
        raise InputError(f"{source} is neither a folder of shards nor a Hub repository like owner/name.")
    try:
        return datasets.load_dataset(
            kind, data_files=files, split=split, streaming=streaming, features=features(decode=False)
        )
    except (DatasetGenerationError, CastError) as error:
        reason = str(error.__cause__ or error).strip().splitlines()[0]
        raise InputError(
            f"{source} should have the columns of train.data.schema.features(), but it does not: {reason}. "
            "Prepare the data set again."
        ) from error
    except OSError as error:
        raise InputError(
            f"Expected a data set at {source}, received {str(error).splitlines()[0]!r}. Check the name and the "
            "connection, or give a folder of shards."
        ) from error


def iterate_clips(source: str | Path, split: str = "train") -> Iterator[ClipSample]:
    """Samples of a split, one after the other."""
    for row in load_clips(source, split, streaming=True):
        yield decode_sample(row)


def _encoded(ending: str, pixels: np.ndarray, option: int, value: int) -> dict[str, Any]:
    done, data = cv2.imencode(ending, np.ascontiguousarray(pixels), [option, value])
    assert done
    return {"bytes": data.tobytes(), "path": None}


def _pixels(item: Any, mode: int) -> np.ndarray:
    """Pixels of an encoded image (BGR), or of one that Datasets has already decoded (turned to BGR)."""
    if not isinstance(item, dict):
        array = np.asarray(item)
        return array[..., ::-1] if array.ndim == 3 else array
    pixels = cv2.imdecode(np.frombuffer(item["bytes"] or b"", np.uint8), mode) if item["bytes"] else None
    if pixels is None:
        raise InputError("An image of the data set does not decode; download or render its shard again.")
    return pixels
