"""The people's meshes of one frame, for the exporters that write one file per frame."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from unish.structures import Person, Reconstruction
from unish.utils.colors import person_color


@dataclass(frozen=True)
class PersonMesh:
    """One person in one frame; the triangles are `Reconstruction.faces`."""

    person: Person
    color: tuple[int, int, int]
    """RGB, the same as in the viewer."""
    vertices_world: Float32[np.ndarray, "vertices 3"]
    """Metres."""


def colors_by_id(reconstruction: Reconstruction) -> dict[int, tuple[int, int, int]]:
    """RGB of every person."""
    return {person.id: person_color(person.id) for person in reconstruction.people}


def seen_meshes(reconstruction: Reconstruction, frame: int, people: Sequence[Person]) -> list[PersonMesh]:
    """Those of `people` who are seen in a frame."""
    colors = colors_by_id(reconstruction)
    return [
        PersonMesh(person, colors[person.id], np.asarray(person.vertices_world[frame]))
        for person in people
        if person.present[frame]
    ]


def split_into_files(meshes: list[PersonMesh], per_person: bool) -> dict[str, list[PersonMesh]]:
    """Beginnings of file names, and who is in each file; no file for nobody."""
    if per_person:
        return {f"person_{mesh.person.id}_": [mesh] for mesh in meshes}
    return {"": meshes} if meshes else {}
