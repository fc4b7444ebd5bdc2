"""Which files of the server a visitor may name: uploads, and nothing else."""

import re
from collections.abc import Mapping
from pathlib import Path

from unish.errors import InputError

_UPLOAD_FOLDER = re.compile(r"[0-9a-f]{64}")
"""Gradio keeps each upload in a folder named by the hash of its content."""


def uploaded_file(file: object, root: Path) -> Path:
    """The upload below Gradio's folder `root` that a request names: by path, or as a Gradio file with one.

    Links are followed first. Raises `InputError` for everything else, in the same words whether it exists or not, and
    for an upload that has been swept away.
    """
    if isinstance(file, Mapping):
        file = file.get("path")
    file = getattr(file, "path", file)
    if not file:
        raise InputError("Add a video first: drop one, record one, or run an example's clip.")
    if not isinstance(file, str):
        raise _not_an_upload()
    try:
        path, root = Path(file).resolve(), root.resolve()
    except (OSError, ValueError, RuntimeError):  # too long, with a null character, or a circle of links
        raise _not_an_upload() from None
    if path.parent.parent != root or not _UPLOAD_FOLDER.fullmatch(path.parent.name):
        raise _not_an_upload()
    if not path.is_file():
        raise InputError("Your upload has expired (we keep files for an hour). Please add it again.")
    return path


def _not_an_upload() -> InputError:
    return InputError("Expected an uploaded video; upload the clip first and send the file that comes back.")
