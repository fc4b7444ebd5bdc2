"""Has this been done? What a result depends on, written beside it and compared when it is asked for again.

An identity is a JSON object. Clips, weights and bodies enter it by their content, so that one which was replaced under
its old name is another one; options, names and versions enter it as they are.
"""

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from unish import __version__
from unish.errors import InputError
from unish.utils.names import text_name
from unish.utils.result_files import ARRAYS_FILE, HEADER_FILE
from unish.video.suffixes import IMAGE_SUFFIXES, has_suffix

if TYPE_CHECKING:
    from unish.body import BodyModel
    from unish.models.unish import UniSH
    from unish.pipeline import Options

Identity: TypeAlias = dict[str, Any]

_CONTENT = "_sha256"
"""End of the entries that change when a file is replaced under its name."""
_BLOCK_BYTES = 16 * 2**20
_DIGITS = 32


def batch_identity(model: "UniSH", body: "BodyModel", options: "Options") -> Identity:
    """All that the results of these options depend on but the clip: networks, body, choices and unish's version."""
    by_content = {"weights", "body", "masks", "device"}  # the device changes rounding alone, and precision is an option
    chosen = {name: value for name, value in dataclasses.asdict(options).items() if name not in by_content}
    if options.masks is not None:
        chosen["masks_sha256"] = file_digest(options.masks)
    return as_identity(unish=__version__, **networks_identity(model, body), **chosen)


def networks_identity(model: "UniSH", body: "BodyModel") -> dict[str, str]:
    """The network's weights and the body by name and content."""
    return {
        "weights": model.weights_name,
        "weights_sha256": weights_digest(model),
        "body": body.name,
        "body_sha256": tensors_digest(dict(body.named_buffers())),
    }


def result_identity(folder: Path) -> dict[str, str]:
    """A saved result by the content of its two files; nothing where they are not there."""
    files = [folder / name for name in (HEADER_FILE, ARRAYS_FILE)]
    return {f"{file.suffix[1:]}_sha256": file_digest(file) for file in files if file.is_file()}


def clip_identity(clip: Path) -> Identity:
    """What a result depends on in a clip: the name of the file or folder of images, and its content."""
    return as_identity(clip=text_name(clip), clip_sha256=file_digest(clip))


def as_identity(**parts: Any) -> Identity:
    """The parts as they come back from a JSON file, so that a stored identity equals the one that was stored."""
    return json.loads(json.dumps(parts, sort_keys=True))


def difference(stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> str | None:
    """The first entry in which two identities differ, those that are no digest first; None when they are equal."""
    names = [name for name in dict.fromkeys([*wanted, *stored]) if stored.get(name) != wanted.get(name)]
    return min(names, key=lambda name: name.endswith(_CONTENT), default=None)


def is_replaced(stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether two identities differ, and in nothing but the content of files that have kept their names."""
    name = difference(stored, wanted)
    return name is not None and name.endswith(_CONTENT) and name in stored


# --- digests -------------------------------------------------------------------------------------------------------


def file_digest(path: str | Path) -> str:
    """Hexadecimal digits that stand for every byte of a file, or of the images of a folder and their names.

    SHA-256 over the SHA-256 of each 16 MiB block, so that several cores share a large file. Raises `InputError` when
    something cannot be read.
    """
    path = Path(path)
    try:
        if not path.is_dir():
            return _joined(_blocks(path))
        images = sorted(file for file in path.iterdir() if has_suffix(file, IMAGE_SUFFIXES))
        return _joined(part for image in images for part in (os.fsencode(image.name), *_blocks(image)))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}; check the file.") from error


def weights_digest(model: "UniSH") -> str:
    """Digits that stand for a network: its configuration and every number of its weights, as it holds them.

    The same weights in another precision are another network.
    """
    return _joined([model.config.to_json().encode(), bytes.fromhex(tensors_digest(model.state_dict()))])


def tensors_digest(tensors: Mapping[str, Tensor]) -> str:
    """Digits that stand for tensors: names, types, shapes and every number."""

    def one(name: str) -> bytes:
        tensor = tensors[name].detach().cpu().contiguous()
        digest = hashlib.sha256(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().data)
        return digest.digest()

    with ThreadPoolExecutor() as threads:
        return _joined(threads.map(one, sorted(tensors)))


def arrays_digest(arrays: Iterable[np.ndarray]) -> str:
    """Digits that stand for arrays in their order: types, shapes and every number."""
    return tensors_digest({f"{index:04d}": torch.from_numpy(np.array(array)) for index, array in enumerate(arrays)})


def _blocks(path: Path) -> Iterable[bytes]:
    def one(start: int) -> bytes:
        with path.open("rb") as file:
            file.seek(start)
            return hashlib.sha256(file.read(_BLOCK_BYTES)).digest()

    with ThreadPoolExecutor() as threads:
        return list(threads.map(one, range(0, path.stat().st_size, _BLOCK_BYTES)))


def _joined(parts: Iterable[bytes]) -> str:
    whole = hashlib.sha256()
    for part in parts:
        whole.update(len(part).to_bytes(8, "little") + part)
    return whole.hexdigest()[:_DIGITS]
