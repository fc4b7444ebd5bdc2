"""Labels videos and images with the relative depth of another network, for a small scene branch to learn from.

    python -m train.data.prepare.label_depth --videos DIR --teacher depth-anything/Depth-Anything-V2-Small-hf --out OUT
    python -m train.data.prepare.label_depth --videos DIR --teacher teacher.onnx --out OUT --split validation

What is stored is in `train.data.prepare.relative_depth`; the losses that read it fit scale and shift again. Everything
else of a sample is unknown.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import tqdm
import tyro
from jaxtyping import UInt8

from train.cli import command_line_errors
from train.data.prepare.footage import clips_of
from train.data.prepare.relative_depth import DepthTeacher, open_depth_teacher, stored_depth
from train.data.schema import UNLABELLED, ClipSample, write_shards
from unish.errors import InputError
from unish.video.suffixes import IMAGE_SUFFIXES, VIDEO_SUFFIXES, has_suffix

log = logging.getLogger("unish.train")


@dataclass(frozen=True)
class LabelDepthConfig:
    """Label videos and images with a teacher's relative depth."""

    videos: Path
    """Folder of videos and images; the folders in it are searched as well."""
    teacher: str
    """An ONNX file, or the id or folder of a depth model of transformers that answers with inverse depth."""
    out: Path
    """Data set: OUT/SPLIT/*.parquet."""
    split: str = "train"
    names: tuple[str, ...] = ()
    """Only these files of the folder; all of them if empty."""
    frames: int = 8
    """Frames per clip."""
    fps: float = 4.0
    """Frames per second of the clips."""
    long_side_px: int = 336


def labelled_clips(path: Path, teacher: DepthTeacher, config: LabelDepthConfig) -> Iterator[ClipSample]:
    """The clips of a video with the teacher's depth. Raises as `clips_of`."""
    for number, clip in enumerate(clips_of(path, config.frames, config.fps, config.long_side_px)):
        yield _sample(f"{_name_in(config, path)}-{number:05d}", clip.fps, np.asarray(clip.frames), teacher)


def labelled_image(path: Path, teacher: DepthTeacher, config: LabelDepthConfig) -> Iterator[ClipSample]:
    """An image as a clip of one frame; nothing, and a warning, where it cannot be decoded."""
    pixels = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if pixels is None:
        log.warning(f"Expected an image in {path}, but it cannot be decoded; it is left out.")
        return
    factor = config.long_side_px / max(pixels.shape[:2])
    if factor < 1:
        pixels = cv2.resize(pixels, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    yield _sample(_name_in(config, path), config.fps, cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)[None], teacher)


def _name_in(config: LabelDepthConfig, path: Path) -> str:
    """Files in two folders may have one name; their clips do not."""
    return path.relative_to(config.videos).as_posix()


def _sample(
    clip_id: str, fps: float, images: UInt8[np.ndarray, "frames height width 3"], teacher: DepthTeacher
) -> ClipSample:
    count, height, width = images.shape[:3]
    return ClipSample(
        clip_id=clip_id,
        fps=fps,
        images=images,
        depth_m=np.stack([stored_depth(teacher.inverse_depth(image), width, height) for image in images]),
        person_mask=np.zeros((count, height, width), np.uint8),
        intrinsics=np.tile(np.eye(3, dtype=np.float32), (count, 1, 1)),
        world_from_camera=np.tile(np.eye(4, dtype=np.float32), (count, 1, 1)),
        body_rotations=np.zeros((0, count, 24, 3, 3), np.float32),
        translation_camera=np.zeros((0, count, 3), np.float32),
        betas=np.zeros((0, 10), np.float32),
        boxes_px=np.zeros((0, count, 4), np.float32),
        visibility=np.zeros((0, count), np.float32),
        joints_px=np.zeros((0, count, 24, 2), np.float32),
        pseudo=("depth_m",),
        unknown=("intrinsics", "person_mask", *UNLABELLED),
    )


def label_depth(config: LabelDepthConfig) -> int:
    """Write the data set; returns its number of clips. Raises `InputError` where there is neither video nor image."""
    paths = sorted(path for path in config.videos.rglob("*") if has_suffix(path, (*VIDEO_SUFFIXES, *IMAGE_SUFFIXES)))
    if config.names:
        paths = [path for path in paths if path.name in config.names]
    if not paths:
        raise InputError(
            f"Expected videos or images in {config.videos}, found none of those asked for; check the folder."
        )
    teacher = open_depth_teacher(config.teacher)

    def clips_from(path: Path) -> Iterator[ClipSample]:
        labelled = labelled_clips if has_suffix(path, VIDEO_SUFFIXES) else labelled_image
        return labelled(path, teacher, config)

    clips = [clip for path in tqdm.tqdm(paths, unit="file") for clip in clips_from(path)]
    order = np.random.default_rng(0).permutation(len(clips))
    write_shards((clips[index] for index in order), config.out / config.split)
    return len(clips)


if __name__ == "__main__":
    with command_line_errors():
        print(label_depth(tyro.cli(LabelDepthConfig, description=__doc__)), "clips", file=sys.stderr)
