"""The people as a sequence of OBJ files, one a frame: metres, y up, as most programs take an OBJ to be."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int, Int32, UInt8

from unish.export.meshes import PersonMesh, colors_by_id, seen_meshes, split_into_files
from unish.export.person_files import chosen_people
from unish.export.person_motion import Y_UP_FROM_WORLD
from unish.structures import Reconstruction
from unish.utils.atomic_write import atomic_path
from unish.utils.disk_arrays import release_pages
from unish.utils.result_files import EXPORT_FILES

MATERIALS = "people.mtl"


def write_obj(
    reconstruction: Reconstruction,
    folder: str | Path,
    person: Sequence[int] = (),
    per_person: bool = False,
    progress: Callable[[float], None] | None = None,
) -> Path:
    """Write `frame_N.obj` for each frame in which somebody is seen, and `people.mtl`, into a new or replaced folder.

    Each person is an object `person_ID` with a material of that name, in their colour. `person` keeps only these ids;
    `per_person` gives each a file of their own, `person_ID_frame_N.obj`. Vertices are (x, z, −y) of the world, which
    turns it so that y is up, in metres, to a hundredth of a millimetre. Raises `InputError` for an unknown id, and
    when the folder cannot be written.
    """
    people = chosen_people(reconstruction, person)
    faces = np.asarray(reconstruction.faces, np.int32)
    with atomic_path(folder, EXPORT_FILES["obj"]) as temporary:
        temporary.mkdir(parents=True)
        colors = colors_by_id(reconstruction)
        (temporary / MATERIALS).write_text("\n".join(_material(one.id, colors[one.id]) for one in people))
        for frame in range(len(reconstruction)):
            meshes = seen_meshes(reconstruction, frame, people)
            for name, members in split_into_files(meshes, per_person).items():
                (temporary / f"{name}frame_{frame:05d}.obj").write_text(_text(members, faces))
            release_pages(*(one.vertices_world for one in people))
            if progress is not None:
                progress((frame + 1) / len(reconstruction))
    return Path(folder)


def mesh_text(
    vertices: Float[np.ndarray, "vertices 3"],
    faces: Int[np.ndarray, "faces 3"],
    axes: str,
    colors: UInt8[np.ndarray, "vertices 3"] | None = None,
) -> str:
    """One mesh as an OBJ file, metres to a tenth of a millimetre, for instance with `axes` "z up"; colours follow the
    places, in 0..1."""
    rows = vertices if colors is None else np.concatenate([vertices, colors / 255], axis=1)
    line = "v %.4f %.4f %.4f\n" if colors is None else "v %.4f %.4f %.4f %.3f %.3f %.3f\n"
    return (
        f"# unish: metres, {axes}\no scene\n"
        + (line * len(rows)) % tuple(rows.ravel().tolist())
        + ("f %d %d %d\n" * len(faces)) % tuple((faces + 1).ravel().tolist())
    )


def _text(meshes: Sequence[PersonMesh], faces: Int32[np.ndarray, "faces 3"]) -> str:
    parts = [f"# unish: metres, y up\nmtllib {MATERIALS}\n"]
    start = 1  # OBJ counts from 1, through all objects of the file
    for mesh in meshes:
        vertices = mesh.vertices_world @ Y_UP_FROM_WORLD.T
        parts += [
            f"o person_{mesh.person.id}\n",
            ("v %.5f %.5f %.5f\n" * len(vertices)) % tuple(vertices.ravel().tolist()),
            f"usemtl person_{mesh.person.id}\n",
            ("f %d %d %d\n" * len(faces)) % tuple((faces + start).ravel().tolist()),
        ]
        start += len(vertices)
    return "".join(parts)


def _material(person: int, color: tuple[int, int, int]) -> str:
    return f"newmtl person_{person}\nKd {' '.join(f'{channel / 255:.4f}' for channel in color)}\n"
