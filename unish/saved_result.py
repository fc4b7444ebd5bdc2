"""What the files of a saved result must hold, checked as they are read.

The schema is that of the structures themselves: the annotations of their dataclasses give the kinds, types and shapes
of the JSON header and of the arrays. Here are the rules that an annotation cannot say.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from jaxtyping import jaxtyped
from safetensors import SafetensorError

from unish.errors import InputError, MissingAssetError
from unish.utils.disk_arrays import IN_MEMORY_BYTES, map_arrays, release_pages
from unish.utils.json_data import from_json, read_json_object
from unish.utils.result_files import ARRAYS_FILE, HEADER_FILE

Header = TypeVar("Header")

FORMAT_NAME, FORMAT_VERSION = "unish reconstruction", 1
_FARTHEST = 1e6
_TOLERANCE = 1e-2


def read_header(folder: Path, kind: type[Header]) -> Header:
    """The JSON header of a saved result as the dataclass `kind`.

    Raises MissingAssetError when there is no result, InputError when it is damaged or of another program or version.
    """
    _require_files(folder)
    try:
        data = read_json_object(folder / HEADER_FILE)
        version = data.get("format_version")
        if data.get("format") != FORMAT_NAME or not isinstance(version, int):
            raise ValueError(f"{HEADER_FILE} is not of the format {FORMAT_NAME!r}")
        if version > FORMAT_VERSION:
            raise InputError(
                f"{folder} was written by a newer unish (format {version}, this one reads {FORMAT_VERSION}). "
                "Update unish: pip install -U unish."
            )
        return from_json(kind, data, HEADER_FILE)
    except InputError:
        raise
    except (ValueError, OSError) as error:
        raise not_whole(folder, error) from error


def read_arrays(
    folder: Path,
    hints: Mapping[str, Any],
    sizes: tuple[int, int, int],
    people: int,
    optional: Mapping[str, Any],
) -> dict[str, np.ndarray]:
    """The arrays of a saved result; large ones are read from the disk as they are looked at.

    `hints` gives the jaxtyping annotation of each array by its name; those of people are "people.0.betas" and so on.
    `optional` gives those of arrays that need not be there: older results lack them. `sizes` are (frames, height,
    width) as the header states them. Raises InputError for an array that lacks, of another type or shape, or with
    numbers that cannot be.
    """
    try:
        arrays = map_arrays(folder / ARRAYS_FILE)
        hints = {**hints, **{name: hint for name, hint in optional.items() if name in arrays}}
        _check_shapes(arrays, hints)
        if arrays["depth_m"].shape != sizes:
            raise ValueError(f"{HEADER_FILE} states {sizes} frames, rows and columns, not {arrays['depth_m'].shape}")
        _check_numbers(arrays, hints, people)
    except (SafetensorError, ValueError, OSError) as error:
        raise not_whole(folder, error) from error
    return {name: arrays[name] for name in hints}


def not_whole(folder: Path, reason: object) -> InputError:
    """The error for a folder that holds something else."""
    return InputError(f"{folder} does not hold a whole unish result ({reason}). Run unish run again.")


def _require_files(folder: Path) -> None:
    for path in (folder / HEADER_FILE, folder / ARRAYS_FILE):
        try:
            present = path.is_file()
        except OSError:  # a name that is too long
            present = False
        if not present:
            raise MissingAssetError(
                f"Expected a folder written by unish run, but {path} is not there. "
                "Pass the folder that was given to --out."
            )


def _check_shapes(arrays: Mapping[str, np.ndarray], hints: Mapping[str, Any]) -> None:
    with jaxtyped("context"):  # a name in the annotations means the same size in all of them
        for name, hint in hints.items():
            if name not in arrays:
                raise ValueError(f"it has no array {name}")
            array = arrays[name]
            if not isinstance(array, hint):
                wanted = f"{hint.__name__.partition('[')[0].lower()} of shape ({', '.join(hint.dim_str.split())})"
                raise ValueError(f"{name} should be {wanted}, received {array.dtype} {array.shape}")
            if 0 in array.shape and name != "faces":
                raise ValueError(f"{name} is empty")


def _check_numbers(arrays: Mapping[str, np.ndarray], hints: Mapping[str, Any], people: int) -> None:
    for name in hints:
        rule, words = _RULES.get(
            re.sub(r"^people\.\d+\.", "person.", name), (_is_near, "numbers of less than a million")
        )
        for part in _parts(arrays[name]):
            if part.dtype.kind == "f" and not (np.isfinite(part).all() and rule(part)):
                raise ValueError(f"{name} should hold {words}")
            release_pages(part)
    for name in ("person_mask", "uncertain_mask"):
        if name in hints and max((int(part.max()) for part in _parts(arrays[name])), default=0) > people:
            raise ValueError(f"{name} names more than the {people} people of the result")
    faces, vertices = arrays["faces"], arrays["people.0.vertices_world"].shape[1] if people else np.inf
    if faces.min(initial=0) < 0 or faces.max(initial=0) >= vertices:
        raise ValueError("faces name vertices that no person has")


def _parts(array: np.ndarray) -> list[np.ndarray]:
    """The array in pieces, along its first axis, that fit into memory."""
    return np.array_split(array, min(len(array), 1 + array.nbytes // IN_MEMORY_BYTES)) if len(array) else [array]


# --- rules ---------------------------------------------------------------------------------------------------------


def _is_near(numbers: np.ndarray) -> bool:
    return bool((np.abs(numbers) <= _FARTHEST).all())


def _is_share(numbers: np.ndarray) -> bool:
    return bool(((numbers >= -_TOLERANCE) & (numbers <= 1 + _TOLERANCE)).all())


def _are_keypoints(keypoints: np.ndarray) -> bool:
    return _is_near(keypoints) and _is_share(keypoints[..., 2])


def _is_rising(times_s: np.ndarray) -> bool:
    return bool((np.diff(times_s) > 0).all()) and _is_near(times_s)


def _are_rotations(matrices: np.ndarray) -> bool:
    if not _is_near(matrices):
        return False
    products = matrices @ np.swapaxes(matrices, -1, -2)
    return bool((np.abs(products - np.eye(3)) < _TOLERANCE).all() and (np.linalg.det(matrices) > 0).all())


def _are_rigid(matrices: np.ndarray) -> bool:
    last_row = (np.abs(matrices[:, 3] - np.array([0, 0, 0, 1], np.float32)) < 1e-5).all()
    return bool(last_row) and _is_near(matrices) and _are_rotations(matrices[:, :3, :3])


def _are_pinholes(matrices: np.ndarray) -> bool:
    focal = matrices[:, [0, 1], [0, 1]]
    rest = (np.abs(matrices[:, [1, 2, 2, 2], [0, 0, 1, 2]] - np.array([0, 0, 0, 1], np.float32)) < 1e-5).all()
    return bool(rest and (focal > 1e-3).all()) and _is_near(matrices)


def _is_unit(vector: np.ndarray) -> bool:
    return _is_near(vector) and bool(abs(np.linalg.norm(vector) - 1) < _TOLERANCE)


_RULES: Mapping[str, tuple[Callable[[np.ndarray], bool], str]] = {
    "times_s": (_is_rising, "times that rise from frame to frame"),
    "confidence": (_is_share, "numbers in 0..1"),
    "world_up": (_is_unit, "a unit vector"),
    "cameras.world_from_camera": (_are_rigid, "rigid motions"),
    "cameras.intrinsics": (_are_pinholes, "the matrices of pinhole cameras"),
    "person.keypoints_px": (_are_keypoints, "positions in pixels with a confidence in 0..1"),
    "person.body_rotations": (_are_rotations, "rotations"),
    "person.network_rotations_world": (_are_rotations, "rotations"),
    "person.root_rotation_world": (_are_rotations, "rotations"),
}
"""What numbers of an array must be, beside finite."""
_OTHERWISE = (_is_near, "numbers of less than a million")
