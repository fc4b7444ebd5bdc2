"""The arrays that make a SMPL-format body, checked once when they come in."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8

from unish.errors import InputError
from unish.geometry import NUM_BETAS, NUM_JOINTS

NUM_POSE_FEATURES = 9 * (NUM_JOINTS - 1)
PARENTS = (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21)
ARRAY_NAMES = ("kintree_table", "J_regressor", "weights", "v_template", "shapedirs", "posedirs", "f")
"""The arrays of a body file, by SMPL's names."""
MOST_VERTICES = 50_000
_OTHER_BODIES = {5: "FLAME", 16: "MANO", 52: "SMPL-H", 55: "SMPL-X"}
"""Joints → who has so many."""
_LARGEST = 1e4
JOINT_NAMES = (
    "pelvis", "left_hip", "right_hip", "spine1", "left_knee", "right_knee", "spine2", "left_ankle",
    "right_ankle", "spine3", "left_foot", "right_foot", "neck", "left_collar", "right_collar", "head",
    "left_shoulder", "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist",
    "left_hand", "right_hand",
)  # fmt: skip
COCO_LIMBS = (5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16)
"""Shoulders, elbows, wrists, hips, knees and ankles among COCO's keypoints, left before right."""
SMPL_LIMBS = (16, 17, 18, 19, 20, 21, 1, 2, 4, 5, 7, 8)
"""The joints nearest to them."""
MIRRORED_JOINTS = (0, 2, 1, 3, 5, 4, 6, 8, 7, 9, 11, 10, 12, 14, 13, 15, 17, 16, 19, 18, 21, 20, 23, 22)
"""Which joint each one becomes in a mirror."""


@dataclass(frozen=True)
class BodyData:
    """A SMPL-format body as float32 arrays, T-pose, metres, y up, facing +z.

    `pose_directions` is None when the body has none (they would all be zero). `regions` and `uv` belong to
    the open body; `landmarks` names vertices (nose, left_heel, …) and `soles` are those that touch the floor.
    """

    name: str
    template: Float[np.ndarray, "vertices 3"]
    shape_directions: Float[np.ndarray, "vertices 3 10"]
    pose_directions: Float[np.ndarray, "vertices 3 207"] | None
    joint_regressor: Float[np.ndarray, "24 vertices"]
    weights: Float[np.ndarray, "vertices 24"]
    parents: Int[np.ndarray, "24"]
    faces: Int[np.ndarray, "faces 3"]
    regions: UInt8[np.ndarray, "vertices"] | None = None
    uv: Float[np.ndarray, "vertices 2"] | None = None
    landmarks: dict[str, int] = field(default_factory=dict)
    soles: tuple[int, ...] = ()


def check_arrays(
    name: str,
    arrays: dict[str, Any],
    source: str,
    landmarks: dict[str, int] | None = None,
    soles: tuple[int, ...] = (),
) -> BodyData:
    """Turn the arrays of a body file, under SMPL's own names, into checked `BodyData`.

    `source` names the file in messages. Raises InputError for a missing array, a wrong shape, a number that
    is not finite, or a joint tree that is not SMPL's.
    """

    def take(key: str) -> np.ndarray:
        if key not in arrays:
            raise InputError(
                f"{source} has no array {key!r}; an SMPL body file holds v_template, shapedirs, J_regressor, "
                "weights, kintree_table and f. Is it the right file?"
            )
        try:
            return np.asarray(arrays[key])
        except (ValueError, TypeError, OverflowError, MemoryError, RecursionError) as error:
            raise InputError(f"{source}: {key} is no array of numbers ({error}); the file is damaged.") from error

    def floats(key: str, *shape: int) -> np.ndarray:
        value = take(key)
        if value.dtype.kind not in "fiu" or value.shape != shape:
            raise InputError(f"{source}: {key} should be numbers of shape {shape}, got {value.dtype} {value.shape}.")
        if not ((value <= _LARGEST) & (value >= -_LARGEST)).all():  # NaN is neither
            raise InputError(f"{source}: {key} holds numbers that are not finite or huge; the file is damaged.")
        return value.astype(np.float32)

    _require_smpl(take("kintree_table"), take("J_regressor"), source)
    template = take("v_template")
    if template.ndim != 2 or template.shape[1] != 3 or not 3 <= len(template) <= MOST_VERTICES:
        raise InputError(
            f"{source}: v_template should have shape (vertices, 3), with 3 to {MOST_VERTICES} vertices, got "
            f"{template.shape}."
        )
    vertices = len(template)
    directions = take("shapedirs")
    if directions.ndim != 3 or directions.shape[-1] < NUM_BETAS:
        raise InputError(f"{source}: shapedirs should have shape ({vertices}, 3, 10 or more), got {directions.shape}.")
    arrays = {**arrays, "shapedirs": directions[..., :NUM_BETAS]}
    pose_directions = floats("posedirs", vertices, 3, NUM_POSE_FEATURES) if "posedirs" in arrays else None
    weights = floats("weights", vertices, NUM_JOINTS)
    if abs(weights.sum(axis=1) - 1).max() > 0.01:
        raise InputError(f"{source}: the skinning weights of a vertex should add up to 1; the file is damaged.")
    return BodyData(
        name=name,
        template=floats("v_template", vertices, 3),
        shape_directions=floats("shapedirs", vertices, 3, NUM_BETAS),
        pose_directions=pose_directions if pose_directions is not None and pose_directions.any() else None,
        joint_regressor=floats("J_regressor", NUM_JOINTS, vertices),
        weights=weights,
        parents=_parents(take("kintree_table"), source),
        faces=_faces(take("f"), vertices, source),
        regions=np.asarray(arrays["regions"], np.uint8) if "regions" in arrays else None,
        uv=floats("uv", vertices, 2) if "uv" in arrays else None,
        landmarks=landmarks or {},
        soles=soles,
    )


def _require_smpl(table: np.ndarray, regressor: np.ndarray, source: str) -> None:
    """Names the body that a file is of where it is another one of the family."""
    for joints in (table.shape[-1:], regressor.shape[:1]):
        other = _OTHER_BODIES.get(joints[0] if joints else 0)
        if other is not None:
            raise InputError(
                f"{source} is an {other} body, with {joints[0]} joints; unish works with SMPL, which has {NUM_JOINTS}. "
                "Give an SMPL file, or use the open body."
            )


def _parents(table: np.ndarray, source: str) -> np.ndarray:
    """The parent row of a kintree table; its root entry is stored as −1 or as 2³²−1."""
    is_table = table.shape == (2, NUM_JOINTS) and table.dtype.kind in "fiu"
    if not is_table or tuple(table[0, 1:].tolist()) != PARENTS[1:]:
        raise InputError(
            f"{source}: kintree_table should be SMPL's tree of {NUM_JOINTS} joints, got {table.dtype} {table.shape}. "
            "Only SMPL bodies fit."
        )
    return np.array(PARENTS, np.int64)


def _faces(faces: np.ndarray, vertices: int, source: str) -> np.ndarray:
    if faces.ndim != 2 or faces.shape[1] != 3 or faces.dtype.kind not in "iu":
        raise InputError(f"{source}: f should be whole numbers of shape (faces, 3), got {faces.dtype} {faces.shape}.")
    if not len(faces) or faces.min(initial=0) < 0 or faces.max(initial=0) >= vertices:
        raise InputError(f"{source}: f should name vertices within 0..{vertices - 1}; the file is damaged.")
    return faces.astype(np.int64)
