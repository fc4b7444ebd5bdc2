"""The bundled benchmark: held-out clips of procedural scenes with exact labels (scripts/build_synthetic_benchmark.py).

A folder holds `benchmark.json` (the sequences in order, their frame rate and body, published rows) and a zip archive
per sequence, NAME.zip: `image_FF.jpg`, `depth_FF.png` (16 bit, millimetres along the camera's axis, 0 unknown) and
`mask_FF.png` (0 nobody, k the k-th person) of every frame FF, and `labels.safetensors`: intrinsics (frames, 3, 3) in
pixels, world_from_camera (frames, 4, 4) in metres, body_rotations (people, frames, 24, 3, 3) with the root's in the
camera's frame, translation_camera (people, frames, 3), betas (people, 10), boxes_px (people, frames, 4), and visibility
(people, frames): the share of a body's silhouette that is visible.
"""

import io
import struct
import zipfile
import zlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Shaped
from PIL import Image
from safetensors import SafetensorError
from safetensors.numpy import load

from unish.body import BodyModel, load_body
from unish.body.data import PARENTS
from unish.body.lbs import joint_transforms
from unish.errors import InputError, MissingAssetError
from unish.evaluation.benchmark import Benchmark, BenchmarkSequence, MethodRow, TruePerson
from unish.utils.assets import SYNTHETIC_BENCHMARK
from unish.utils.json_data import read_json_object

FORMAT, FORMAT_VERSION = "unish synthetic benchmark", 1
HEADER, LABELS = "benchmark.json", "labels.safetensors"
MIN_VISIBILITY = 0.3
MIN_BOX_PX = 4
METRICS = (
    "abs_rel", "delta_125", "body_abs_rel", "body_delta_125", "surface_abs_rel", "scale_error", "camera_ate_cm",
    "rigid_ate_m", "pa_mpjpe_mm", "mpjpe_mm", "wa_mpjpe_mm", "world_size", "foot_floor_gap_cm", "foot_sliding_cm_s",
    "root_error_mm", "body_off_points_cm", "points_behind_cm",
)  # fmt: skip
_SHAPES = {
    "intrinsics": ("frames", 3, 3), "world_from_camera": ("frames", 4, 4), "betas": ("people", 10),
    "body_rotations": ("people", "frames", 24, 3, 3), "translation_camera": ("people", "frames", 3),
    "boxes_px": ("people", "frames", 4), "visibility": ("people", "frames"),
}  # fmt: skip
LABEL_NAMES = tuple(_SHAPES)
_MODES = {"image": ("RGB",), "depth": ("I",), "mask": ("L", "P")}
"""Kinds of Pillow's images."""
_MOST_BYTES, _MOST_PIXELS = 2**26, 2**26
"""Of a file in an archive, and of an image."""
_UNREADABLE = (OSError, SyntaxError, ValueError, TypeError, EOFError, struct.error, Image.DecompressionBombError)


def at(root: Path) -> Benchmark:
    """The benchmark of a folder in this format, with the rows that the folder holds.

    Raises MissingAssetError when there is none, InputError when it is damaged.
    """
    rows = _header(root).get("published", [])
    try:
        published = tuple(MethodRow(row["method"], row["source"], _numbers(row["numbers"])) for row in rows)
        if not all(isinstance(word, str) for row in published for word in (row.method, row.source)):
            raise TypeError("method and source of a row should be words")
    except (KeyError, TypeError) as error:
        raise _broken(root / HEADER, error) from error
    return Benchmark("synthetic", "Synthetic, held-out clips of procedural scenes", METRICS, read, published=published)


def read(root: Path = SYNTHETIC_BENCHMARK) -> tuple[BenchmarkSequence, ...]:
    """The sequences of a folder, in its order. Raises as `at`."""
    header = _header(root)
    try:
        names, fps, body = header["sequences"], float(header["fps"]), header["body"]
        if not isinstance(names, list) or not all(isinstance(name, str) and Path(name).name == name for name in names):
            raise TypeError("sequences should be a list of names")
        if not (isinstance(body, str) and 0 < fps < float("inf")):
            raise TypeError("fps should be a number above 0, and body a name")
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise _broken(root / HEADER, error) from error
    posed = load_body(body)
    return tuple(_sequence(_Archive(root / f"{name}.zip"), fps, posed) for name in names)


def scored_frames(
    visibility: Float[np.ndarray, "people frames"], boxes_px: Float[np.ndarray, "people frames 4"]
) -> Bool[np.ndarray, "people frames"]:
    """Where enough of a person is visible to be scored."""
    sides = np.minimum(boxes_px[..., 2] - boxes_px[..., 0], boxes_px[..., 3] - boxes_px[..., 1])
    return (visibility >= MIN_VISIBILITY) & (sides > MIN_BOX_PX)


def true_people(labels: dict[str, np.ndarray], body: BodyModel) -> tuple[TruePerson, ...]:
    """The people of labels in this format, in the labels' world."""
    present = scored_frames(labels["visibility"], labels["boxes_px"])
    cameras = torch.from_numpy(labels["world_from_camera"].astype(np.float64))
    return tuple(_person(labels, person, seen, cameras, body) for person, seen in enumerate(present))


def _person(
    labels: dict[str, np.ndarray], index: int, present: np.ndarray, world_from_camera: torch.Tensor, body: BodyModel
) -> TruePerson:
    betas, rotations, translation = (
        torch.from_numpy(labels[name][index]).float() for name in ("betas", "body_rotations", "translation_camera")
    )
    turn, centre = world_from_camera[:, :3, :3], world_from_camera[:, :3, 3]
    _, joints = joint_transforms(rotations, body.rest_joints(betas), PARENTS)
    joints_camera = (joints + translation[:, None]).double()

    def vertices_world(frame: int) -> Float[np.ndarray, "vertices 3"]:
        with torch.no_grad():
            vertices = body(betas, rotations[frame], translation[frame]).vertices.double()
        return (vertices @ turn[frame].mT + centre[frame]).numpy()

    return TruePerson(
        id=index + 1,
        boxes_px=labels["boxes_px"][index],
        present=present,
        joints_world=(joints_camera @ turn.mT + centre[:, None]).numpy(),
        vertices_world=vertices_world,
    )


def _sequence(archive: "_Archive", fps: float, body: BodyModel) -> BenchmarkSequence:
    labels = archive.labels
    first = archive.pixels("image", 0)
    return BenchmarkSequence(
        name=archive.path.stem,
        frames=len(labels["intrinsics"]),
        fps=fps,
        size_px=(first.shape[1], first.shape[0]),
        image=lambda frame: archive.pixels("image", frame),
        depth_m=lambda frame: archive.pixels("depth", frame).astype(np.float32) / 1000,
        world_from_camera=labels["world_from_camera"],
        intrinsics=labels["intrinsics"],
        people=true_people(labels, body),
        person_mask=lambda frame: archive.pixels("mask", frame),
    )


@dataclass(frozen=True)
class _Archive:
    """The zip archive of a sequence."""

    path: Path

    @cached_property
    def labels(self) -> dict[str, np.ndarray]:
        """Checked against each other: the same numbers of people and frames in all."""
        try:
            labels = load(self._member(LABELS))
            people, frames = labels["visibility"].shape
            sizes = {"people": people, "frames": frames}
            for name, axes in _SHAPES.items():
                shape = tuple(sizes.get(axis, axis) if isinstance(axis, str) else axis for axis in axes)
                if labels[name].shape != shape:
                    raise ValueError(f"{name} has shape {labels[name].shape}, not {shape}")
                if labels[name].dtype.kind != "f" or not np.isfinite(labels[name]).all():
                    raise ValueError(f"{name} holds other things than finite numbers")
        except (SafetensorError, KeyError, ValueError, TypeError, AttributeError) as error:
            raise _broken(self.path, error) from error
        return labels

    def pixels(self, kind: str, frame: int) -> Shaped[np.ndarray, "height width *channels"]:
        """Pixels of a frame's "image", "depth" (millimetres) or "mask"."""
        name = member(kind, frame)
        try:
            with Image.open(io.BytesIO(self._member(name))) as image:
                if image.width * image.height > _MOST_PIXELS:
                    raise ValueError(f"{name} has {image.width}×{image.height} pixels")
                if not image.mode.startswith(_MODES[kind]):
                    raise ValueError(f"{name} is an image of kind {image.mode}")
                return np.asarray(image)
        except _UNREADABLE as error:
            raise _broken(self.path, error) from error

    def _member(self, name: str) -> bytes:
        if not self.path.is_file():
            raise _missing(self.path)
        try:
            with zipfile.ZipFile(self.path) as archive:
                if archive.getinfo(name).file_size > _MOST_BYTES:
                    raise ValueError(f"{name} is larger than {_MOST_BYTES >> 20} MiB")
                return archive.read(name)
        except (zipfile.BadZipFile, zlib.error, KeyError, OSError, EOFError, ValueError, RuntimeError) as error:
            raise _broken(self.path, error) from error


def member(kind: str, frame: int) -> str:
    """Name of a frame's file inside a sequence's archive."""
    return f"{kind}_{frame:02d}.{'jpg' if kind == 'image' else 'png'}"


def _header(root: Path) -> dict[str, Any]:
    path = root / HEADER
    if not path.is_file():
        raise _missing(path)
    try:
        header = read_json_object(path)
        if header["format"] != FORMAT or header["format_version"] > FORMAT_VERSION:
            raise ValueError(f"its format is {header['format']!r} {header['format_version']}")
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise _broken(path, error) from error
    return header


def _numbers(row: Any) -> dict[str, float]:
    """A row's numbers by metric. Raises `TypeError` for anything else."""
    if not isinstance(row, dict) or not all(isinstance(value, int | float) for value in row.values()):
        raise TypeError("numbers of a row should be numbers by metric")
    return row


def _missing(path: Path) -> MissingAssetError:
    return MissingAssetError(
        f"{path} is missing; render the benchmark with `python scripts/build_synthetic_benchmark.py --out "
        f"{path.parent}`, or leave out --root for the bundled one."
    )


def _broken(path: Path, error: Exception) -> InputError:
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return InputError(
        f"{path} is damaged or not part of the synthetic benchmark ({reason}); render it again with "
        f"`python scripts/build_synthetic_benchmark.py --out {path.parent}`."
    )


def _bundled() -> Benchmark:
    try:
        return at(SYNTHETIC_BENCHMARK)
    except (MissingAssetError, InputError):  # `read` raises it when the data are needed
        return Benchmark("synthetic", "Synthetic, held-out clips of procedural scenes", METRICS, read)


SYNTHETIC = _bundled()
