"""SMPL-X bodies as RICH has them, and their conversion to SMPL: vertices by a sparse map, joints by a regressor.

The body is posed by linear blend skinning of the arrays of SMPLX_*.npz (SMPL-X, Pavlakos et al. 2019): 55 joints, ten
shape and ten expression directions, hands as 12 principal components about their mean. Pickled entries
of the file are never read.
"""

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from scipy.sparse import csr_array, issparse
from torch import Tensor

from unish.body.files import read_array
from unish.body.lbs import joint_transforms, pose_features, skin
from unish.evaluation.datasets.download import Download
from unish.geometry.rotations import axis_angle_to_matrix
from unish.utils.safe_pickle import read_pickle

JOINTS = 55
PARTS = (
    ("global_orient", 3), ("body_pose", 63), ("jaw_pose", 3), ("leye_pose", 3), ("reye_pose", 3),
    ("left_hand_pose", 45), ("right_hand_pose", 45),
)  # fmt: skip
"""Pose parameters in the order of the joints, with the number of values of each as axis angles."""
_SHAPES, _SHAPE_SPACE, _HAND_COMPONENTS = 10, 300, 12
FIT_SIZES = {
    **dict(PARTS), "left_hand_pose": _HAND_COMPONENTS, "right_hand_pose": _HAND_COMPONENTS,
    "betas": _SHAPES, "expression": _SHAPES, "transl": 3,
}  # fmt: skip
"""Parameters of a fit of RICH, with the number of values of each per frame."""


@dataclass(frozen=True)
class SmplxModel:
    """The arrays of a SMPL-X file, metres."""

    template: Float[Tensor, "vertices 3"]
    shape_directions: Float[Tensor, "vertices 3 20"]
    """Ten of shape, then ten of expression."""
    pose_directions: Float[Tensor, "vertices 3 486"]
    joint_regressor: Float[Tensor, "55 vertices"]
    weights: Float[Tensor, "vertices 55"]
    parents: tuple[int, ...]
    hands: dict[str, tuple[Float[Tensor, "12 45"], Float[Tensor, "45"]]]
    """Of left_hand_pose and right_hand_pose: components, and the mean that they are about."""

    def vertices(self, fit: dict[str, Float[np.ndarray, "frames numbers"]]) -> Float[np.ndarray, "frames vertices 3"]:
        """The posed surface, metres, in the frame of the fit's translation."""
        numbers = {name: torch.from_numpy(values).float() for name, values in fit.items()}
        rotations = axis_angle_to_matrix(self._pose(numbers).unflatten(-1, (JOINTS, 3)))
        coefficients = torch.cat([numbers["betas"], numbers["expression"]], dim=-1)
        shaped = self.template + torch.einsum("vcs,fs->fvc", self.shape_directions, coefficients)
        rest_joints = self.joint_regressor @ shaped
        posed = shaped + torch.einsum("vcp,fp->fvc", self.pose_directions, pose_features(rotations))
        moved = skin(posed, rest_joints, *joint_transforms(rotations, rest_joints, self.parents), self.weights)
        return moved.numpy() + fit["transl"][:, None]

    def _pose(self, numbers: dict[str, Tensor]) -> Tensor:
        parts = []
        for name, _ in PARTS:
            part = numbers[name]
            if name in self.hands:
                components, mean = self.hands[name]
                part = part @ components + mean
            parts.append(part)
        return torch.cat(parts, dim=-1)


def read_smplx(path: Path, download: Download) -> SmplxModel:
    """A SMPLX_*.npz. Raises MissingAssetError, or InputError when it is another file."""
    arrays = _Arrays(download.file(path), download)
    template = arrays.take("v_template", (None, 3))
    vertices = len(template)
    directions = arrays.take("shapedirs", (vertices, 3, None))
    # The first release has 10 + 10 directions, later ones 300 + 100.
    first = _SHAPE_SPACE if directions.shape[-1] > _SHAPE_SPACE else _SHAPES
    directions = torch.cat([directions[..., :_SHAPES], directions[..., first : first + _SHAPES]], dim=-1)
    if directions.shape[-1] != 2 * _SHAPES:
        raise download.broken(f"{path} has too few shape directions for a SMPL-X body")
    parents = arrays.take("kintree_table", (2, JOINTS))[0].long().tolist()
    if not all(0 <= parent < joint for joint, parent in enumerate(parents[1:], start=1)):
        raise download.broken(f"{path} has a kintree_table in which a joint comes before its parent")
    hands = {
        f"{side}_hand_pose": (
            arrays.take(f"hands_components{side[0]}", (45, 45))[:_HAND_COMPONENTS],
            arrays.take(f"hands_mean{side[0]}", (45,)),
        )
        for side in ("left", "right")
    }
    return SmplxModel(
        template=template,
        shape_directions=directions,
        pose_directions=arrays.take("posedirs", (vertices, 3, 9 * (JOINTS - 1))),
        joint_regressor=arrays.take("J_regressor", (JOINTS, vertices)),
        weights=arrays.take("weights", (vertices, JOINTS)),
        parents=(-1, *parents[1:]),
        hands=hands,
    )


def read_smpl_from_smplx(path: Path, download: Download, smplx_vertices: int, smpl_vertices: int) -> csr_array:
    """The sparse matrix from a body's SMPL-X vertices to its SMPL vertices, of a pickle that holds it as "mtx".

    The official file has as many columns again for normals, which are left out.
    """
    content = read_pickle(download.file(path), "the map from SMPL-X's vertices to SMPL's")
    matrix: Any = content.get("mtx")
    known = (issparse(matrix) or isinstance(matrix, np.ndarray)) and matrix.ndim == 2
    if not known or matrix.shape[0] != smpl_vertices or matrix.shape[1] < smplx_vertices:
        raise download.broken(f"{path} has no matrix mtx from {smplx_vertices} to {smpl_vertices} vertices")
    if matrix.dtype.kind not in "fiu" or not np.isfinite(matrix.data if issparse(matrix) else matrix).all():
        raise download.broken(f"{path} has a matrix mtx of other things than finite numbers")
    return csr_array(matrix)[:, :smplx_vertices]


class _Arrays:
    """Numbers of an .npz, without its pickled entries."""

    def __init__(self, path: Path, download: Download) -> None:
        self.path, self.download = path, download

    def take(self, key: str, shape: tuple[int | None, ...]) -> Tensor:
        try:
            with zipfile.ZipFile(self.path) as archive:
                value = np.asarray(read_array(archive, f"{key}.npy"), np.float32)
        except Exception as error:  # the readers of archives and headers pass on whatever damage makes of their parts
            raise self.download.broken(f"{self.path} is not a SMPL-X file with an array {key} ({error})") from error
        if value.ndim != len(shape) or any(b not in (None, a) for a, b in zip(value.shape, shape, strict=True)):
            raise self.download.broken(f"{self.path} has {key} of shape {value.shape}, which is not a SMPL-X body's")
        if not np.isfinite(value).all():
            raise self.download.broken(f"{self.path} has {key} with numbers that are not finite")
        return torch.from_numpy(value)
