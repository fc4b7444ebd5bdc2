"""Which body to use: the open one, an installed SMPL file, or a file that the user names."""

import os
import re
from pathlib import Path
from typing import Any

import numpy as np

from unish.body.data import NUM_POSE_FEATURES, BodyData
from unish.body.files import read_body_file
from unish.body.model import BodyModel
from unish.body.open_body import read_open_body
from unish.body.smplx_body import SmplxBody
from unish.errors import MissingAssetError
from unish.utils.atomic_write import atomic_path

INSTALLED = ("smpl_neutral", "smpl_female", "smpl_male")


def bodies_folder() -> Path:
    """Where installed bodies live: `$UNISH_HOME/bodies`, or ~/.local/share/unish/bodies."""
    home = os.environ.get("UNISH_HOME")
    return (Path(home) if home else Path.home() / ".local" / "share" / "unish") / "bodies"


def open_body() -> BodyModel:
    """The bundled open body (CC0 data); it needs no file from anywhere."""
    return BodyModel(read_open_body())


def load_body(source: str | os.PathLike[str] | None = None) -> BodyModel:
    """The body to use; its `name` says which.

    None takes the installed neutral SMPL body if there is one, else the open body. "open", "smpl_neutral",
    "smpl_female" and "smpl_male" ask for one by name; anything else is the path of an SMPL file.
    Raises MissingAssetError for a body that is not there, InputError for a file that is no SMPL body, and
    MissingDependencyError for an SMPL body without the package smplx.
    """
    if source is None:
        source = INSTALLED[0] if _installed_path(INSTALLED[0]).is_file() else "open"
    if source == "open":
        return open_body()
    if source in INSTALLED:
        path = _installed_path(str(source))
        if not path.is_file():
            raise MissingAssetError(
                f"{source} is not installed; expected {path}. Install one with `unish body install FILE`, "
                'or use the "open" body.'
            )
        return SmplxBody(read_body_file(path, name=str(source)))
    return SmplxBody(read_body_file(source))


def install(file: str | os.PathLike[str]) -> Path:
    """Check an SMPL file (.npz or the official .pkl), keep its arrays, and return where they are.

    The file's name tells its gender (`…female…`, `…male…`, `…_f_…`, `…_m_…`), else it is taken as neutral. What is
    kept is a plain .npz with nothing pickled in it. Raises as `read_body_file`.
    """
    data = read_body_file(file)
    path = _installed_path(_name_from(Path(file).stem))
    with atomic_path(path) as temporary:
        np.savez(temporary, **_arrays(data))
    return path


def _installed_path(name: str) -> Path:
    return bodies_folder() / f"{name}.npz"


def _name_from(stem: str) -> str:
    words = re.split(r"[^a-z]+", stem.lower())
    if "f" in words or "female" in stem.lower():
        return "smpl_female"
    if "m" in words or "male" in stem.lower():
        return "smpl_male"
    return "smpl_neutral"


def _arrays(data: BodyData) -> dict[str, Any]:
    """SMPL's own names, as `check_arrays` reads them."""
    pose_directions = data.pose_directions
    if pose_directions is None:
        pose_directions = np.zeros((*data.template.shape, NUM_POSE_FEATURES), np.float32)
    return {
        "v_template": data.template,
        "shapedirs": data.shape_directions,
        "posedirs": pose_directions,
        "J_regressor": data.joint_regressor,
        "weights": data.weights,
        "kintree_table": np.stack([data.parents, np.arange(len(data.parents))]),
        "f": data.faces,
    }
