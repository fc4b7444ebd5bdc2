"""Small made-up bodies in SMPL's format, and the fake chumpy that writes them as the official files do."""

import pickle
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch

from unish.body.data import PARENTS


def made_up_arrays(vertices: int = 40, seed: int = 0) -> dict[str, Any]:
    """Random arrays under SMPL's names, with pose directions that are not zero."""
    rng = np.random.default_rng(seed)
    weights = rng.random((vertices, 24))
    regressor = rng.random((24, vertices)) * (rng.random((24, vertices)) < 0.3)
    regressor[:, 0] += 0.1
    return {
        "v_template": rng.normal(size=(vertices, 3)),
        "shapedirs": rng.normal(size=(vertices, 3, 10)) * 0.1,
        "posedirs": rng.normal(size=(vertices, 3, 207)) * 0.01,
        "J_regressor": regressor / regressor.sum(1, keepdims=True),
        "weights": weights / weights.sum(1, keepdims=True),
        "kintree_table": np.array([[2**32 - 1, *PARENTS[1:]], list(range(24))], np.uint32),
        "f": rng.integers(0, vertices, (70, 3)).astype(np.uint32),
    }


def random_pose(*batch: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Betas, rotations and translation in float64."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*batch, *shape, dtype=torch.float64, generator=generator)

    rotations = torch.linalg.qr(normal(24, 3, 3))[0]
    rotations = rotations * torch.linalg.det(rotations)[..., None, None]
    return normal(10), rotations, normal(3)


def write_official_pickle(path: Path, arrays: dict[str, Any], protocol: int = 2) -> None:
    """As the SMPL website's files: chumpy arrays, a sparse regressor, and things that nobody needs."""
    chumpy, ch, reordering = (types.ModuleType(name) for name in ("chumpy", "chumpy.ch", "chumpy.reordering"))

    class Ch:
        def __init__(self, **state: Any) -> None:
            self.__dict__.update(state)

    class Select(Ch):
        pass

    for kind, module in ((Ch, ch), (Select, reordering)):
        kind.__module__, kind.__qualname__ = module.__name__, kind.__name__
        setattr(module, kind.__name__, kind)
    wide = np.concatenate([arrays["shapedirs"], np.full((*arrays["shapedirs"].shape[:2], 3), 9.0)], axis=-1)
    picked = np.arange(wide.size).reshape(wide.shape)[..., :10]
    content = {
        **arrays,
        "v_template": Ch(x=arrays["v_template"], _dirty_vars=set(), _itr=None),
        "shapedirs": Select(a=Ch(x=wide), idxs=picked.ravel(), preferred_shape=picked.shape),
        "J_regressor": sp.csc_matrix(arrays["J_regressor"]),
        "bs_style": "lbs",
        "J": Ch(x=np.zeros((24, 3))),
        "J_regressor_prior": sp.csr_matrix(arrays["J_regressor"]),
        "vert_sym_idxs": np.arange(3),
        "scale": np.float64(1.0),
    }
    modules = {module.__name__: module for module in (chumpy, ch, reordering)}
    sys.modules.update(modules)
    try:
        path.write_bytes(pickle.dumps(content, protocol=protocol))
    finally:
        for name in modules:
            del sys.modules[name]
