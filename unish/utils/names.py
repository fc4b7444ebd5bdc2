"""Names of files as text: a file system takes names that no text can hold."""

import os
from pathlib import PurePath


def text_name(path: str | os.PathLike[str]) -> str:
    """The last part of a path as text that can be stored and shown; bytes that are no UTF-8 appear as \\xe9."""
    return os.fsencode(PurePath(path).name).decode("utf-8", "backslashreplace")
