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
from unish.errors import InputError, MissingAssetError
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
        source = INSTALLED[0] if _is_installed(INSTALLED[0]) else "open"
    if source == "open":
        return open_body()
    if source in INSTALLED:
        path = _installed_path(str(source))
        if not _is_installed(str(source)):
            raise MissingAssetError(
                f"{source} is not installed; expected {path}. Install one with `unish body install FILE`, "
                'or use the "open" body.'
            )
        return SmplxBody(read_body_file(path, name=str(source)))
    return SmplxBody(read_body_file(source))


def install(file: str | os.PathLike[str]) -> Path:
    """Check an SMPL file (.npz or the official .pkl), keep its arrays, and return where they are.

    The file's name tells its gender (`…female…`, `…male…`, `…_f_…`, `…_m_…`), or its folder's name does
    (`female/model.pkl`), else it is taken as neutral. What is kept is a plain .npz with nothing pickled in it. Raises
    as `read_body_file`, and `InputError` when it cannot be written.
    """
    data = read_body_file(file)
    path = _installed_path(_name_from(Path(file)))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{path.parent} cannot be created: {error.strerror}. Set UNISH_HOME to a folder that you may write to."
        ) from error
    with atomic_path(path) as temporary:
        np.savez(temporary, **_arrays(data))
    return path


def _is_installed(name: str) -> bool:
    try:
        return _installed_path(name).is_file()
    except OSError:  # a UNISH_HOME that cannot be
        return False


def _installed_path(name: str) -> Path:
    return bodies_folder() / f"{name}.npz"


def _name_from(file: Path) -> str:
    """Which body a file is, told by its name or else by its folder's, as in female/model.pkl."""
    name, folder = file.stem.lower(), file.absolute().parent.name.lower()
    letters, words = re.split(r"[^a-z]+", name), re.split(r"[^a-z]+", folder)
    for told in (lambda gender: gender in name or gender[0] in letters, lambda gender: gender in words):
        for gender in ("female", "male", "neutral"):
            if told(gender):
                return f"smpl_{gender}"
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
