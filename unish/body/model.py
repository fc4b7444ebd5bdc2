"""One interface over every SMPL-format body: vertices and joints from shape, rotations and translation."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from unish.body.data import BodyData
from unish.body.lbs import joint_transforms, pose_features, skin


@dataclass(frozen=True)
class BodyOutput:
    """A posed body, metres, in the frame of its root orientation and translation."""

    vertices: Float[Tensor, "*batch vertices 3"]
    joints: Float[Tensor, "*batch 24 3"]


class BodyModel(nn.Module):
    """A body in SMPL's format, run by linear blend skinning (SMPL, Loper et al. 2015).

    Attributes: `name`; `faces` (F,3); `parents` (24,), -1 for the root; `num_vertices`; `weights` (V,24);
    `template` (V,3) metres, T-pose, y up, facing +z; `regions` (V,) or None: 0 skin, 1 shirt, 2 trousers,
    3 shoes, 4 hair (a face has the region of its first vertex, so that borders are clean); `uv` (V,2) or
    None; `landmarks`: name → vertex; `soles`: vertices that touch the floor.
    """

    template: Tensor
    faces: Tensor
    weights: Tensor
    parents: Tensor
    shape_directions: Tensor
    pose_directions: Tensor | None
    joint_template: Tensor
    joint_directions: Tensor
    regions: Tensor | None
    uv: Tensor | None

    def __init__(self, data: BodyData) -> None:
        super().__init__()
        self.name = data.name
        self.landmarks = dict(data.landmarks)
        self.soles = data.soles
        self._tree = tuple(int(parent) for parent in data.parents)

        def keep(name: str, array: np.ndarray | None) -> None:
            self.register_buffer(name, None if array is None else torch.from_numpy(array.copy()), persistent=False)

        keep("template", data.template)
        keep("faces", data.faces)
        keep("weights", data.weights)
        keep("parents", data.parents)
        keep("shape_directions", data.shape_directions)
        keep("pose_directions", data.pose_directions)
        regressor = data.joint_regressor.astype(np.float64)
        keep("joint_template", (regressor @ data.template).astype(np.float32))
        directions = np.einsum("jv,vcs->jcs", regressor, data.shape_directions)
        keep("joint_directions", directions.astype(np.float32))
        keep("regions", data.regions)
        keep("uv", data.uv)

    @property
    def num_vertices(self) -> int:
        return self.template.shape[0]

    def rest_joints(self, betas: Float[Tensor, "*batch 10"]) -> Float[Tensor, "*batch 24 3"]:
        """Joints of the shaped body in its T-pose, metres, before any rotation or translation."""
        return self.joint_template + torch.einsum("jcs,...s->...jc", self.joint_directions, betas)

    def pelvis_offset(self, betas: Float[Tensor, "*batch 10"]) -> Float[Tensor, "*batch 3"]:
        """J0(β): where the pelvis lies before the translation is added, metres (see `move_translation`)."""
        return self.rest_joints(betas)[..., 0, :]

    def shaped(self, betas: Float[Tensor, "*batch 10"]) -> Float[Tensor, "*batch vertices 3"]:
        """Vertices of the shaped body in its T-pose, metres."""
        return self.template + torch.einsum("vcs,...s->...vc", self.shape_directions, betas)

    def forward(
        self,
        betas: Float[Tensor, "*#batch 10"],
        rotations: Float[Tensor, "*#batch 24 3 3"],
        translation: Float[Tensor, "*#batch 3"],
    ) -> BodyOutput:
        """Pose the body: rotations are each joint's relative to its parent, the first one the root's.

        Leading axes broadcast: one shape (people, 1, 10) serves many frames (people, frames, 24, 3, 3).
        """
        return self._pose(betas, rotations, translation)

    def _pose(self, betas: Tensor, rotations: Tensor, translation: Tensor) -> BodyOutput:
        shaped, rest_joints = self.shaped(betas), self.rest_joints(betas)
        if self.pose_directions is not None:
            features = pose_features(rotations)
            shaped = shaped + torch.einsum("vcp,...p->...vc", self.pose_directions, features)
        orientations, positions = joint_transforms(rotations, rest_joints, self._tree)
        vertices = skin(shaped, rest_joints, orientations, positions, self.weights)
        move = translation[..., None, :]
        return BodyOutput(vertices=vertices + move, joints=positions + move)
