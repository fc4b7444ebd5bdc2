"""The scene as a mesh with colours at its vertices: PLY, GLB and OBJ, and a closed mesh for collisions.

`scene.ply` and `collision.ply` are z up, our world as it is; `scene.glb` and `scene.obj` are y up (x, z, −y); metres.
OBJ has colours behind each vertex's place, in 0..1, as MeshLab and Blender read them.
"""

from collections.abc import Callable
from pathlib import Path

from unish.errors import InputError
from unish.export.glb import add_scene_mesh
from unish.export.gltf import GltfDocument
from unish.export.obj import mesh_text
from unish.export.person_motion import Y_UP_FROM_WORLD
from unish.export.ply import write_colored_mesh
from unish.export.scene_mesh import MAX_TRIANGLES, SharedSceneMesh, collision_mesh
from unish.structures import Reconstruction
from unish.utils.atomic_write import atomic_path
from unish.utils.result_files import EXPORT_FILES


def write_mesh(
    reconstruction: Reconstruction,
    folder: str | Path,
    max_triangles: int = MAX_TRIANGLES,
    collision: bool = False,
    progress: Callable[[float], None] | None = None,
    shared_mesh: SharedSceneMesh | None = None,
) -> Path:
    """Write `scene.ply`, `scene.glb` and `scene.obj` into a new or replaced folder, and with `collision` the closed
    mesh as `collision.ply`.

    `shared_mesh` is the mesh to write, in place of one of `max_triangles` that is made here. Raises as `scene_mesh`
    does, and `InputError` where the result shows no scene or the folder cannot be written.
    """
    report = progress or (lambda share: None)
    shared = shared_mesh or SharedSceneMesh(reconstruction, max_triangles)
    mesh = shared.mesh(lambda share: report(share * (0.6 if collision else 0.9)))
    if not len(mesh.faces):
        raise InputError("The result shows no surface of the scene to make a mesh of; leave the format mesh out.")
    with atomic_path(folder, EXPORT_FILES["mesh"]) as temporary:
        temporary.mkdir()
        write_colored_mesh(temporary / "scene.ply", mesh)
        document = GltfDocument(f"unish {reconstruction.provenance.unish_version}")
        document.write(temporary / "scene.glb", add_scene_mesh(document, mesh))
        (temporary / "scene.obj").write_text(
            mesh_text(mesh.vertices_world @ Y_UP_FROM_WORLD.T, mesh.faces, "y up", mesh.colors), encoding="ascii"
        )
        if collision:
            closed = collision_mesh(reconstruction, progress=lambda share: report(0.6 + 0.3 * share))
            write_colored_mesh(temporary / "collision.ply", closed)
    report(1.0)
    return Path(folder)
