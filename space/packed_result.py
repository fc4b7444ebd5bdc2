"""A saved result made small enough to ship with its clip: images and depth compressed, meshes left to the body model.

A tenth of the size, for looking at: images are JPEGs, depth keeps four digits, vertices are posed anew.
"""

import json
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8, UInt16
from safetensors.numpy import load_file, save_file

from unish.body import load_body
from unish.errors import InputError
from unish.structures import Reconstruction
from unish.utils.atomic_write import atomic_path
from unish.utils.result_files import ARRAYS_FILE, HEADER_FILE

PACKED_FILE = "result.npz"
LEVELS_AN_OCTAVE = 1024
"""Depth is kept as whole steps of its logarithm: 0.07 % each."""
CONFIDENCE_LEVELS = 40
NEAREST_M = 2.0**-10
_JPEG_QUALITY = 92


def pack_result(reconstruction: Reconstruction, folder: Path) -> Path:
    """Writes `result.npz` into a folder. Raises `InputError` for people of a body that is not the open body."""
    if reconstruction.provenance.body != "open":
        raise InputError(f"Expected people of the open body, got {reconstruction.provenance.body!r}.")
    with atomic_path(folder / PACKED_FILE) as temporary:
        saved = temporary.with_suffix(".saved")
        try:
            reconstruction.save_into(saved)
            arrays = load_file(saved / ARRAYS_FILE)
            header = (saved / HEADER_FILE).read_text(encoding="utf-8")
        finally:
            for file in saved.glob("*"):
                file.unlink()
            saved.rmdir()
        packed: dict[str, Any] = {name: array for name, array in arrays.items() if not name.endswith(".vertices_world")}
        packed["images"] = _encoded(arrays["images"][..., ::-1], ".jpg", [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
        packed["depth_m"] = _encoded(depth_steps(arrays["depth_m"]), ".png")
        packed["confidence"] = _encoded((CONFIDENCE_LEVELS * arrays["confidence"]).round().astype(np.uint8), ".png")
        packed["person_mask"] = _encoded(arrays["person_mask"], ".png")
        with temporary.open("wb") as file:
            np.savez_compressed(file, header=np.frombuffer(header.encode(), np.uint8), **packed)
    return folder / PACKED_FILE


def unpack_result(file: Path, folder: Path) -> Reconstruction:
    """Saves what `pack_result` packed into a folder, as `Reconstruction.save` does, and loads it from there.

    Raises `InputError` for a file that is none.
    """
    try:
        with np.load(file) as packed:
            arrays = {name: packed[name] for name in packed.files}
        header = json.loads(arrays.pop("header").tobytes())
        arrays["images"] = np.stack(list(_decoded(arrays["images"], cv2.IMREAD_COLOR)))[..., ::-1]
        arrays["depth_m"] = depth_of_steps(np.stack(list(_decoded(arrays["depth_m"]))))
        arrays["confidence"] = np.stack(list(_decoded(arrays["confidence"]))).astype(np.float32) / CONFIDENCE_LEVELS
        arrays["person_mask"] = np.stack(list(_decoded(arrays["person_mask"])))
        for index in range(len(header["people"])):
            arrays[f"people.{index}.vertices_world"] = _posed(arrays, index)
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile, zlib.error, cv2.error) as error:
        raise InputError(f"{file.name} is no packed result, or is damaged ({error}). Pack it anew.") from error
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, str(folder / ARRAYS_FILE))
    (folder / HEADER_FILE).write_text(json.dumps(header, indent=2) + "\n", encoding="utf-8")
    return Reconstruction.load(folder)


def depth_steps(depth_m: Float[np.ndarray, "frames height width"]) -> UInt16[np.ndarray, "frames height width"]:
    """Steps of the depth's logarithm; 0 where there is none."""
    known = np.isfinite(depth_m) & (depth_m > NEAREST_M)
    steps = np.log2(np.where(known, depth_m, 1.0) / NEAREST_M) * LEVELS_AN_OCTAVE
    return np.where(known, np.clip(steps.round(), 1, 65535), 0).astype(np.uint16)


def depth_of_steps(steps: UInt16[np.ndarray, "frames height width"]) -> Float[np.ndarray, "frames height width"]:
    """The metres of `depth_steps`; 0 where there is none."""
    return np.where(steps > 0, NEAREST_M * np.exp2(steps / LEVELS_AN_OCTAVE), 0).astype(np.float32)


def _posed(arrays: dict[str, np.ndarray], index: int) -> Float[np.ndarray, "frames vertices 3"]:
    person = {name: torch.from_numpy(arrays[f"people.{index}.{name}"]).float() for name in _POSE}
    rotations = person["body_rotations"].clone()
    rotations[:, 0] = person["root_rotation_world"]
    with torch.no_grad():
        return load_body("open")(person["betas"], rotations, person["translation_world"]).vertices.numpy()


_POSE = ("betas", "body_rotations", "root_rotation_world", "translation_world")


def _encoded(frames: np.ndarray, ending: str, options: Sequence[int] = ()) -> UInt8[np.ndarray, "bytes"]:
    """Images one after the other, each behind its length."""
    files = [cv2.imencode(ending, np.ascontiguousarray(frame), list(options))[1].tobytes() for frame in frames]
    return np.frombuffer(b"".join(len(file).to_bytes(4, "little") + file for file in files), np.uint8)


def _decoded(packed: UInt8[np.ndarray, "bytes"], kind: int = cv2.IMREAD_UNCHANGED) -> Iterator[np.ndarray]:
    at = 0
    while at < len(packed):
        length = int.from_bytes(packed[at : at + 4].tobytes(), "little")
        image = cv2.imdecode(packed[at + 4 : at + 4 + length], kind)
        if image is None:
            raise ValueError("an image in it cannot be read")
        yield image
        at += 4 + length
