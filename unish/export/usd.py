"""The whole result as USD: people skinned by UsdSkel, the scene's points, the moving camera with its lens.

Z up, metres, our world as it is; a camera looks along its −z. Time codes count frames of an even rate from 0, the first
at the result's first frame; people and camera are resampled to them (`even_motion`, `even_camera`). Under `/World`:

- `person_ID`, a SkelRoot: `body`, the mesh in its T-pose with the person's shape baked in, on the floor, facing −y;
  `skeleton`, 24 joints under SMPL's names; `motion`, whose rotations are SMPL's own. `visibility` is off where the
  person is not seen; the motion itself goes on, bridged. The prim's custom data hold the id and the shape numbers.
- `scene`: points with colours, in linear light; `scene_mesh`: a mesh with such colours. `camera`: pose, focal length
  and apertures of each frame. The film is taken to be 36 mm wide, as the source's is not known: fields of view are
  exact, millimetres are 35 mm equivalents.

Left out: pose correctives of licensed SMPL bodies, as in GLB, and the points beyond the budget.
"""

import logging
import shutil
import tempfile
from pathlib import Path

from unish.body import BodyModel
from unish.errors import InputError
from unish.export.optional_packages import check_usd
from unish.export.person_motion import body_of
from unish.export.scene_mesh import MAX_TRIANGLES, SharedSceneMesh
from unish.export.scene_points import MAX_POINTS, scene_points
from unish.export.settings import Scene
from unish.structures import FrameSequence, Reconstruction
from unish.utils.atomic_write import atomic_path

log = logging.getLogger("unish")


def write_usd(
    reconstruction: Reconstruction,
    path: str | Path,
    clip: FrameSequence | None = None,
    max_points: int = MAX_POINTS,
    body: BodyModel | None = None,
    fps: float | int | None = None,
    scene: Scene = "points",
    max_triangles: int = MAX_TRIANGLES,
    shared_mesh: SharedSceneMesh | None = None,
) -> Path:
    """Write the result as the module says: text where the name ends in .usda, a package of binary USD for .usdz.

    `max_points`, `body`, `scene`, `max_triangles` and `shared_mesh` as in `write_glb`, `clip` and `fps` as in
    `even_camera`. Raises as these do, `InputError` for another ending or a file that cannot be written, and
    `MissingDependencyError` without the package usd-core.
    """
    path = Path(path)
    if path.suffix not in (".usda", ".usdz"):
        raise InputError(f"Expected a file that ends in .usda or .usdz, got {path.name}.")
    check_usd()
    from unish.export.usd_stage import make_stage, write_usdz

    if reconstruction.people:
        body = body_of(reconstruction, body)
        if body.pose_directions is not None:
            log.warning("A USD skin holds no pose correctives: bodies differ from the result's at bent joints.")
    points = None if scene == "mesh" else scene_points(reconstruction, max_points)
    shared = shared_mesh or SharedSceneMesh(reconstruction, max_triangles)
    mesh = None if scene == "points" else shared.mesh()
    stage = make_stage(reconstruction, clip, points, mesh, body, fps)
    with atomic_path(path) as temporary, tempfile.TemporaryDirectory() as folder:
        if path.suffix == ".usda":
            temporary.write_text(stage.GetRootLayer().ExportToString(), encoding="utf-8")
        else:
            shutil.copyfile(write_usdz(stage, Path(folder)), temporary)
    return path
