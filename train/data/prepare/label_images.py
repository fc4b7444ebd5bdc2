"""Labels the people in videos and images by what several teachers agree on.

    python -m train.data.prepare.label_images --sources sources.json --out DIR --teachers transformers
    python -m train.data.prepare.label_images --sources sources.json --out DIR \
        --teachers movenet=movenet-multipose.json nanodet=nanodet.json

`sources.json` lists collections:

    [{"name": "…", "license": "CC-BY-4.0", "split": "train", "every": 3, "files": ["walk.mp4", "images/"]}]

`files` are videos, images, or folders of them, and every `every`-th frame of each is labelled. Finished collections are
kept, so a stopped run goes on where it was. `DIR/sources.json` says what the data set is made of, for the model card.
"""

import json
import logging
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tyro
from jaxtyping import UInt8
from tqdm import tqdm

if not __package__:  # started as a script: the repository's root is not on the path yet
    sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from train.cli import command_line_errors
from train.data.labelled_images import LabelledImage, write_labelled_images
from train.data.prepare.mirrored_teacher import MirroredTeacher
from train.data.prepare.teachers import Teacher, consensus, open_teacher
from unish.errors import InputError
from unish.utils.atomic_write import atomic_path
from unish.video.images import read_image
from unish.video.source import open_source
from unish.video.suffixes import IMAGE_SUFFIXES, VIDEO_SUFFIXES, has_suffix

log = logging.getLogger("unish.train")

JPEG_QUALITY = 92


@dataclass(frozen=True)
class LabelImagesConfig:
    """Which collections are labelled, by whom."""

    sources: Path
    """JSON list of collections: name, license, split, every, files."""
    out: Path
    """Folder of the data set: SPLIT/00000.parquet, …"""
    teachers: tuple[str, ...] = ("transformers",)
    """transformers[=REPOSITORY], movenet=FILE.json, nanodet=FILE.json; what all of them see is a person."""
    mirrored: bool = False
    """Ask about mirror images too; keypoints on which a teacher's two answers are apart are not known."""
    long_side_px: int = 640
    """Images are stored no larger than this."""


@dataclass(frozen=True)
class ImageCollection:
    """A collection of one licence."""

    name: str
    license: str
    files: tuple[Path, ...]
    split: str = "train"
    every: int = 1
    """Of each video, and of each folder of images, every so many frames are taken."""


def read_collections(path: Path) -> list[ImageCollection]:
    """The collections of a JSON file, paths relative to it. Raises `InputError` when it is no such list."""
    try:
        rows: list[dict[str, Any]] = json.loads(path.read_text())
        for row in rows:
            row["files"] = tuple(path.parent / file for file in row["files"])
        collections = [ImageCollection(**row) for row in rows]
    except OSError as error:
        raise InputError(f"Expected a list of collections at {path}, found none ({error}).") from error
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(
            f"Expected a JSON list of collections with name, license and files in {path}, received something else "
            f"({error}); see python -m train.data.prepare.label_images --help."
        ) from error
    if not collections:
        raise InputError(f"Expected at least one collection in {path}, found none.")
    return collections


def frames_of_collection(
    collection: ImageCollection, long_side_px: int
) -> Iterator[tuple[str, UInt8[np.ndarray, "height width 3"]]]:
    """(clip, RGB) of every frame to be labelled, in order. A folder's images are single ones unless `every` > 1."""
    for path in collection.files:
        if not path.exists():
            raise InputError(
                f"Expected footage of {collection.name} at {path}, found nothing; check the list of collections."
            )
        files = sorted(path.iterdir()) if path.is_dir() else [path]
        videos = [file for file in files if has_suffix(file, VIDEO_SUFFIXES)]
        images = [file for file in files if has_suffix(file, IMAGE_SUFFIXES) and file not in videos]
        for image in images[:: collection.every]:
            try:
                rgb = read_image(image)
            except InputError as error:
                log.warning("%s It is left out.", error)
                continue
            yield (path.name if collection.every > 1 else image.name), _limited(rgb, long_side_px)
        for video in videos:
            yield from ((video.name, rgb) for rgb in _video_frames(video, collection.every, long_side_px))


def _video_frames(path: Path, every: int, long_side_px: int) -> Iterator[UInt8[np.ndarray, "height width 3"]]:
    source = open_source(path)
    for frame in source.frames(range(0, len(source.times_s), every), long_side_px, []):
        yield frame.rgb


def _limited(rgb: np.ndarray, long_side_px: int) -> UInt8[np.ndarray, "height width 3"]:
    scale = min(1.0, long_side_px / max(rgb.shape[:2]))
    size = (max(1, round(rgb.shape[1] * scale)), max(1, round(rgb.shape[0] * scale)))
    return cv2.resize(np.ascontiguousarray(rgb), size, interpolation=cv2.INTER_AREA)


def label_image(
    rgb: UInt8[np.ndarray, "height width 3"], teachers: list[Teacher], source: str, clip: str
) -> LabelledImage:
    """An image with the people that the teachers see in it."""
    people = consensus([teacher.look(rgb) for teacher in teachers], [teacher.sure_score for teacher in teachers])
    done, data = cv2.imencode(".jpg", np.ascontiguousarray(rgb[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    assert done
    return LabelledImage(
        data.tobytes(),
        people.boxes_px.astype(np.float32),
        people.scores.astype(np.float32),
        people.agreed,
        people.keypoints.astype(np.float32),
        source,
        clip,
    )


def label_images(config: LabelImagesConfig) -> list[dict[str, Any]]:
    """Label every collection; one line of the model card for each comes back, and lies in `DIR/sources.json`."""
    collections = read_collections(config.sources)
    teachers: list[Teacher] = [open_teacher(text) for text in config.teachers]
    if config.mirrored:
        teachers = [MirroredTeacher(teacher) for teacher in teachers]
    lines = []
    for index, collection in enumerate(collections):
        shard, line_file = (
            config.out / collection.split / f"{index:05d}.parquet",
            config.out / ".done" / f"{index:05d}.json",
        )
        if not (shard.is_file() and line_file.is_file()):
            name = f"{collection.name} ({collection.license})"
            images = [
                label_image(rgb, teachers, name, clip)
                for clip, rgb in tqdm(
                    frames_of_collection(collection, config.long_side_px), desc=collection.name, mininterval=5
                )
            ]
            if not images:
                raise InputError(f"Expected footage of {collection.name} at {collection.files[0]}, found none.")
            write_labelled_images(images, shard)
            _write_json(line_file, _line(collection, images))
        lines.append(json.loads(line_file.read_text()))
    _write_json(config.out / "sources.json", {"teachers": [t.name for t in teachers], "collections": lines})
    return lines


def _line(collection: ImageCollection, images: list[LabelledImage]) -> dict[str, Any]:
    facts = {key: value for key, value in asdict(collection).items() if key in ("name", "license", "split")}
    agreed = [image.agreed for image in images]
    return facts | {
        "clips": len({image.clip for image in images}),
        "images": len(images),
        "people": int(sum(a.sum() for a in agreed)),
        "uncertain": int(sum((~a).sum() for a in agreed)),
        "images_without_people": sum(not len(a) for a in agreed),
    }


def _write_json(path: Path, value: Any) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2) + "\n")


if __name__ == "__main__":
    with command_line_errors():
        for line in label_images(tyro.cli(LabelImagesConfig)):
            print(json.dumps(line))
