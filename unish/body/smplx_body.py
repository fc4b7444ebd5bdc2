"""Licensed SMPL files on the `smplx` package (non-commercial licence), behind the interface of `BodyModel`."""

import contextlib
import io

import numpy as np
from torch import Tensor

from unish.body.data import NUM_JOINTS, NUM_POSE_FEATURES, BodyData
from unish.body.model import BodyModel, BodyOutput
from unish.errors import MissingDependencyError

_EXTRA_JOINTS = (
    "nose", "reye", "leye", "rear", "lear",
    "LBigToe", "LSmallToe", "LHeel", "RBigToe", "RSmallToe", "RHeel",
    "lthumb", "lindex", "lmiddle", "lring", "lpinky", "rthumb", "rindex", "rmiddle", "rring", "rpinky",
)  # fmt: skip


class SmplxBody(BodyModel):
    """A body whose vertices come from `smplx.SMPL`."""

    def __init__(self, data: BodyData) -> None:
        try:
            import smplx
            from smplx.utils import Struct
        except ImportError as error:
            raise MissingDependencyError(
                "Licensed SMPL files need the package smplx; pip install smplx, or use the open body."
            ) from error
        super().__init__(data)
        pose_directions = data.pose_directions
        if pose_directions is None:
            pose_directions = np.zeros((*data.template.shape, NUM_POSE_FEATURES), np.float32)
        arrays = Struct(
            v_template=data.template,
            shapedirs=data.shape_directions,
            posedirs=pose_directions,
            J_regressor=data.joint_regressor,
            weights=data.weights,
            kintree_table=np.stack([data.parents, np.arange(NUM_JOINTS)]),
            f=data.faces,
        )
        # smplx picks its extra joints by SMPL's vertex numbers unless told otherwise; we read the 24 alone.
        vertex_ids = {name: data.landmarks.get(name, 0) for name in _EXTRA_JOINTS}
        with contextlib.redirect_stdout(io.StringIO()):  # it prints that there are only 10 shape directions
            self.smplx = smplx.SMPL(
                "", data_struct=arrays, vertex_ids=vertex_ids, create_betas=False, create_global_orient=False,
                create_body_pose=False, create_transl=False,
            )  # fmt: skip

    def _pose(self, betas: Tensor, rotations: Tensor, translation: Tensor) -> BodyOutput:
        batch = np.broadcast_shapes(betas.shape[:-1], rotations.shape[:-3], translation.shape[:-1])
        turns = rotations.expand(*batch, NUM_JOINTS, 3, 3).reshape(-1, NUM_JOINTS, 3, 3)
        posed = self.smplx(
            betas=betas.expand(*batch, -1).reshape(-1, betas.shape[-1]),
            global_orient=turns[:, :1],
            body_pose=turns[:, 1:],
            transl=translation.expand(*batch, 3).reshape(-1, 3),
            pose2rot=False,
        )
        return BodyOutput(
            vertices=posed.vertices.reshape(*batch, -1, 3),
            joints=posed.joints[:, :NUM_JOINTS].reshape(*batch, NUM_JOINTS, 3),
        )
