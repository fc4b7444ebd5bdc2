"""Labels videos with the relative depth of another network, for the scene branch of a small network to learn from.

    python -m train.data.prepare.label_depth --videos DIR --teacher depth-anything/Depth-Anything-V2-Small-hf --out OUT
    python -m train.data.prepare.label_depth --videos DIR --teacher teacher.onnx --out OUT --split validation

A monocular network knows inverse depth up to a scale and a shift per frame. That is what is stored: the reciprocal of
`depth_m` is the teacher's answer, scaled so that its median is that of a scene 4 m away; the losses that read it fit
scale and shift again. Everything else of a sample is unknown.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import cv2
import numpy as np
import tqdm
import tyro

from train.cli import command_line_errors
from train.data.prepare.footage import clips_of
from train.data.schema import UNLABELLED, ClipSample, write_shards
from unish.errors import InputError, MissingAssetError, MissingDependencyError
from unish.video.suffixes import VIDEO_SUFFIXES, has_suffix

MEDIAN_DEPTH_M, NEAREST_M, FARTHEST_M = 4.0, 0.3, 60.0


@dataclass(frozen=True)
class LabelDepthConfig:
    """Label videos with a teacher's relative depth."""

    videos: Path
    """Folder of videos."""
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


@runtime_checkable
class DepthTeacher(Protocol):
    """A network for relative inverse depth."""

    def inverse_depth(self, image: np.ndarray) -> np.ndarray:
        """(height, width) float32, up to a positive scale and a shift, of an RGB uint8 image; at any resolution."""
        ...


class OnnxDepthTeacher:
    """A network in an ONNX file: RGB in 0..255, (1, 3, height, width) at one fixed size; inverse depth out."""

    def __init__(self, path: Path) -> None:
        try:
            import onnxruntime  # type: ignore[import-not-found]
        except ImportError as error:
            raise MissingDependencyError("ONNX teachers need onnxruntime: pip install onnxruntime.") from error
        if not path.is_file():
            raise MissingAssetError(f"Expected a teacher at {path}, found nothing; check the path.")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(str(path), options)
        self._input = self._session.get_inputs()[0]
        self._size = (int(self._input.shape[3]), int(self._input.shape[2]))

    def inverse_depth(self, image: np.ndarray) -> np.ndarray:
        small = cv2.resize(image, self._size, interpolation=cv2.INTER_AREA).astype(np.float32)
        (answer,) = self._session.run(None, {self._input.name: small.transpose(2, 0, 1)[None]})
        return np.asarray(answer, np.float32).squeeze()


class TransformersDepthTeacher:
    """A depth model of transformers that answers with inverse depth, such as Depth Anything V2 Small (Apache-2.0)."""

    def __init__(self, name: str) -> None:
        try:
            from transformers import pipeline
        except ImportError as error:
            raise MissingDependencyError("This teacher needs transformers: pip install 'unish[label]'.") from error
        try:
            self._pipeline: Any = pipeline("depth-estimation", model=name)
        except (OSError, ValueError) as error:
            raise MissingAssetError(f"The depth model {name} cannot be loaded: {str(error).splitlines()[0]}") from error

    def inverse_depth(self, image: np.ndarray) -> np.ndarray:
        from PIL import Image

        return self._pipeline(Image.fromarray(image))["predicted_depth"].float().squeeze().numpy()


def stored_depth(inverse_depth: np.ndarray, width: int, height: int) -> np.ndarray:
    """(height, width) metres whose reciprocal is the teacher's answer times a factor; 0 where it is not positive."""
    inverse = cv2.resize(inverse_depth, (width, height), interpolation=cv2.INTER_LINEAR)
    scaled = inverse / (MEDIAN_DEPTH_M * max(float(np.median(inverse)), 1e-6))
    known = scaled > 1 / FARTHEST_M
    return np.where(known, 1 / np.clip(scaled, 1 / FARTHEST_M, 1 / NEAREST_M), 0).astype(np.float32)


def labelled_clips(path: Path, teacher: DepthTeacher, config: LabelDepthConfig) -> Iterator[ClipSample]:
    """The clips of a video with the teacher's depth. Raises as `clips_of`."""
    for number, clip in enumerate(clips_of(path, config.frames, config.fps, config.long_side_px)):
        count, height, width = clip.frames.shape[:3]
        depth_m = np.stack([stored_depth(teacher.inverse_depth(frame), width, height) for frame in clip.frames])
        yield ClipSample(
            clip_id=f"{path.name}-{number:05d}",
            fps=clip.fps,
            images=np.asarray(clip.frames),
            depth_m=depth_m,
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
    """Write the data set; returns its number of clips. Raises `InputError` where there is no video."""
    paths = sorted(path for path in config.videos.glob("*") if has_suffix(path, VIDEO_SUFFIXES))
    if config.names:
        paths = [path for path in paths if path.name in config.names]
    if not paths:
        raise InputError(f"Expected videos in {config.videos}, found none of those asked for; check the folder.")
    local = Path(config.teacher)
    teacher = OnnxDepthTeacher(local) if local.suffix == ".onnx" else TransformersDepthTeacher(config.teacher)
    bar = tqdm.tqdm(paths, unit="video")
    clips = [clip for path in bar for clip in labelled_clips(path, teacher, config)]
    order = np.random.default_rng(0).permutation(len(clips))
    write_shards((clips[index] for index in order), config.out / config.split)
    return len(clips)


if __name__ == "__main__":
    with command_line_errors():
        print(label_depth(tyro.cli(LabelDepthConfig, description=__doc__)), "clips", file=sys.stderr)
