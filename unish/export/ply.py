"""Points and people as PLY files (binary, little endian): world frame, metres, z up.

Format: Greg Turk, "The PLY Polygon File Format", 1994.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int32, UInt8

from unish.export.meshes import PersonMesh, seen_meshes, split_into_files
from unish.export.person_files import chosen_people
from unish.export.scene_points import MAX_POINTS, MIN_CONFIDENCE, scene_points
from unish.geometry.isosurface import TriangleMesh
from unish.structures import Reconstruction
from unish.utils.atomic_write import atomic_path
from unish.utils.disk_arrays import release_pages
from unish.utils.result_files import EXPORT_FILES

_PLACE = [("x", "<f4"), ("y", "<f4"), ("z", "<f4")]
_COLOR = [("red", "u1"), ("green", "u1"), ("blue", "u1")]
_TRIANGLE = [("count", "u1"), ("vertex_indices", "<i4", (3,))]
_TYPES = {"<f4": "float", "<i4": "int", "|u1": "uchar"}


def write_ply(
    reconstruction: Reconstruction,
    folder: str | Path,
    max_points: int = MAX_POINTS,
    person: Sequence[int] = (),
    per_person: bool = False,
    progress: Callable[[float], None] | None = None,
) -> Path:
    """Write `scene.ply`, `points/frame_N.ply` and `people/frame_N.ply` into a new or replaced folder.

    `scene.ply` has at most `max_points` points of the scene without people. `points/` has every trusted pixel of a
    frame, people included. `people/` has the meshes of those who are seen in a frame, and no file where nobody is.
    `person` keeps only these ids there; `per_person` gives each a file of their own, `person_ID_frame_N.ply`.
    Raises `InputError` for an unknown id, and when the folder cannot be written.
    """
    people = chosen_people(reconstruction, person)
    with atomic_path(folder, EXPORT_FILES["ply"]) as temporary:
        (temporary / "points").mkdir(parents=True)
        (temporary / "people").mkdir()
        scene = scene_points(reconstruction, max_points)
        write_points(temporary / "scene.ply", scene.points_world, scene.colors)
        for frame in range(len(reconstruction)):
            _write_frame_points(reconstruction, frame, temporary / "points" / f"frame_{frame:05d}.ply")
            meshes = seen_meshes(reconstruction, frame, people)
            for name, members in split_into_files(meshes, per_person).items():
                path = temporary / "people" / f"{name}frame_{frame:05d}.ply"
                write_meshes(path, members, np.asarray(reconstruction.faces, np.int32))
            release_pages(reconstruction.images, reconstruction.depth_m, reconstruction.confidence)
            if progress is not None:
                progress((frame + 1) / len(reconstruction))
    return Path(folder)


def write_points(
    path: Path,
    points_world: Float32[np.ndarray, "points 3"],
    colors: UInt8[np.ndarray, "points 3"],
    confidence: Float32[np.ndarray, "points"] | None = None,
    person: Int32[np.ndarray, "points"] | None = None,
) -> None:
    """Coloured points; `confidence` is in 0..1 and `person` an id, 0 for the scene."""
    layout = _PLACE + _COLOR
    layout += [("confidence", "<f4")] if confidence is not None else []
    layout += [("person", "<i4")] if person is not None else []
    vertices = np.zeros(len(points_world), layout)
    _fill(vertices, points_world, colors)
    if confidence is not None:
        vertices["confidence"] = confidence
    if person is not None:
        vertices["person"] = person
    _write(path, vertices)


def write_meshes(path: Path, meshes: Sequence[PersonMesh], faces: Int32[np.ndarray, "faces 3"]) -> None:
    """The meshes of several people as one, each vertex with its person's colour and id."""
    counts = [len(mesh.vertices_world) for mesh in meshes]
    vertices = np.zeros(sum(counts), [*_PLACE, *_COLOR, ("person", "<i4")])
    triangles = np.zeros(len(faces) * len(meshes), _TRIANGLE)
    triangles["count"] = 3
    for index, mesh in enumerate(meshes):
        start = sum(counts[:index])
        own = vertices[start : start + counts[index]]
        _fill(own, mesh.vertices_world, np.array(mesh.color, np.uint8))
        own["person"] = mesh.person.id
        triangles["vertex_indices"][index * len(faces) : (index + 1) * len(faces)] = faces + start
    _write(path, vertices, triangles)


def write_colored_mesh(path: Path, mesh: TriangleMesh) -> None:
    """A mesh with a colour at each vertex."""
    vertices = np.zeros(len(mesh.vertices_world), [*_PLACE, *_COLOR])
    triangles = np.zeros(len(mesh.faces), _TRIANGLE)
    _fill(vertices, mesh.vertices_world, mesh.colors)
    triangles["count"], triangles["vertex_indices"] = 3, mesh.faces
    _write(path, vertices, triangles)


def _write_frame_points(reconstruction: Reconstruction, frame: int, path: Path) -> None:
    points = np.asarray(reconstruction.points_world(frame), np.float32).reshape(-1, 3)
    confidence = np.asarray(reconstruction.confidence[frame], np.float32).reshape(-1)
    trusted = (confidence >= MIN_CONFIDENCE) & np.isfinite(points).all(-1)
    ids = np.zeros(256, np.int32)
    ids[1 : len(reconstruction.people) + 1] = [person.id for person in reconstruction.people]
    write_points(
        path,
        points[trusted],
        reconstruction.images[frame].reshape(-1, 3)[trusted],
        confidence[trusted],
        ids[reconstruction.person_mask[frame].reshape(-1)[trusted]],
    )


def _fill(vertices: np.ndarray, points_world: np.ndarray, colors: np.ndarray) -> None:
    for axis, name in enumerate("xyz"):
        vertices[name] = points_world[:, axis]
    for channel, name in enumerate(("red", "green", "blue")):
        vertices[name] = colors[..., channel]


def _write(path: Path, vertices: np.ndarray, triangles: np.ndarray | None = None) -> None:
    layout = vertices.dtype
    lines = [
        "ply",
        "format binary_little_endian 1.0",
        "comment unish: world frame, metres, z up",
        f"element vertex {len(vertices)}",
        *(f"property {_TYPES[layout[name].str]} {name}" for name in layout.names or ()),
    ]
    if triangles is not None:
        lines += [f"element face {len(triangles)}", "property list uchar int vertex_indices"]
    with path.open("wb") as file:
        file.write("\n".join([*lines, "end_header\n"]).encode("ascii"))
        file.write(vertices.tobytes())
        if triangles is not None:
            file.write(triangles.tobytes())
