"""What exporters of people share: who is written, with which body, and motion in a world that is Y up."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from unish.body import BodyModel, load_body, move_translation
from unish.body.library import INSTALLED
from unish.errors import InputError, MissingAssetError
from unish.export.meshes import chosen_people
from unish.geometry.rotations import matrix_to_axis_angle, matrix_to_quaternion
from unish.structures import Person, Reconstruction
from unish.utils.atomic_write import atomic_path

Y_UP_FROM_WORLD = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])
"""Our world (z up, the first camera looking along +y) as most file formats want it: y up, looking along −z."""
SAME_BODY_M = 1e-3


def write_each(
    reconstruction: Reconstruction,
    path: str | Path,
    person: int | None,
    suffix: str,
    write: Callable[[Person, Path], None],
) -> tuple[Path, ...]:
    """Let `write` make the file of one person when `path` ends in `suffix`, else one of everybody (or of the person
    with that id) in the folder `path`, as `person_ID` with the suffix. Each appears under its name when it is whole.

    Returns the files. Raises `InputError` when nobody has that id, when one file is asked for and the result has not
    one person, or when a file cannot be written.
    """
    path = Path(path)
    people = chosen_people(reconstruction, () if person is None else (person,))
    single = path.name.endswith(suffix)
    if single and len(people) != 1:
        ids = ", ".join(str(one.id) for one in people) or "nobody"
        raise InputError(
            f"One file holds one person, and this result has {ids}. Say which (person=ID), or give a folder."
        )
    files = tuple(path if single else path / f"person_{one.id}{suffix}" for one in people)
    for one, file in zip(people, files, strict=True):
        with atomic_path(file) as temporary:
            write(one, temporary)
    return files


def body_of(reconstruction: Reconstruction, body: BodyModel | None = None) -> BodyModel:
    """The body that the people were posed with: `body` if given, else the one that the provenance names.

    Raises `MissingAssetError` when that one cannot be loaded, `InputError` when the body is another one: posed as the
    result says, it does not give the result's vertices.
    """
    name = reconstruction.provenance.body
    if body is None:
        if name not in ("open", *INSTALLED):
            raise MissingAssetError(
                f"The people were posed with the body file {name!r}, and a result keeps a body's name, not its place. "
                "Give the file (in Python: body=unish.body.load_body(PATH))."
            )
        body = load_body(name)
    for person in reconstruction.people[:1]:
        frame = int(np.argmax(person.present))
        found = _posed(person, body, frame)
        if found.shape != person.vertices_world[frame].shape or not (
            np.abs(found - person.vertices_world[frame]).max() < SAME_BODY_M
        ):
            raise InputError(
                f"The body {body.name!r} does not give the vertices of this result, which was made with {name!r}. "
                "Use that body, or run the clip again with this one."
            )
    return body


def _posed(person: Person, body: BodyModel, frame: int) -> Float[np.ndarray, "vertices 3"]:
    rotations = torch.from_numpy(rotations_from_world(person, np.eye(3))[frame]).float()
    with torch.no_grad():
        posed = body(torch.from_numpy(person.betas), rotations, torch.from_numpy(person.translation_world[frame]))
    return posed.vertices.numpy()


def rest_joints_m(person: Person, body: BodyModel) -> Float[np.ndarray, "24 3"]:
    """Joints of the person's own shape in its T-pose, SMPL's frame (y up, facing +z), metres."""
    return body.rest_joints(torch.from_numpy(person.betas)).double().numpy()


def rotations_from_world(
    person: Person, frame_from_world: Float[np.ndarray, "3 3"]
) -> Float[np.ndarray, "frames 24 3 3"]:
    """Rotations of the 24 joints, the root's in the frame that the world is turned into, the others' to the parent."""
    rotations = person.body_rotations.astype(np.float64)
    rotations[:, 0] = frame_from_world @ person.root_rotation_world.astype(np.float64)
    return rotations


def translation_from_world(
    person: Person, frame_from_world: Float[np.ndarray, "3 3"], body: BodyModel
) -> Float[np.ndarray, "frames 3"]:
    """SMPL's `transl` in the frame that the world is turned into, metres. It is not just turned: the body turns about
    its pelvis (see `move_translation`)."""
    turn = torch.from_numpy(frame_from_world).expand(len(person.present), 3, 3)
    pelvis = torch.from_numpy(rest_joints_m(person, body)[0])
    translation = torch.from_numpy(person.translation_world.astype(np.float64))
    return move_translation(turn, torch.zeros(3, dtype=torch.float64), translation, pelvis).numpy()


def axis_angles(rotations: Float[np.ndarray, "*batch 3 3"]) -> Float[np.ndarray, "*batch 3"]:
    """Rotation vectors in radians."""
    return matrix_to_axis_angle(torch.from_numpy(rotations)).numpy()


def continuous_quaternions(rotations: Float[np.ndarray, "frames *batch 3 3"]) -> Float[np.ndarray, "frames *batch 4"]:
    """Unit quaternions (x, y, z, w) whose sign does not jump between frames, so that they can be blended."""
    quaternions = matrix_to_quaternion(torch.from_numpy(rotations)).numpy()[..., [1, 2, 3, 0]]
    turns_back = (quaternions[1:] * quaternions[:-1]).sum(-1) < 0
    signs = np.concatenate([np.ones((1, *turns_back.shape[1:])), np.where(turns_back, -1.0, 1.0)])
    return quaternions * np.cumprod(signs, axis=0)[..., None]
