"""The scene's mesh, as three other libraries read it: on the true surface, without people, as small as asked for."""

import dataclasses
import sys

import numpy as np
import pygltflib
import pytest
import trimesh
from plyfile import PlyData

from tests.helpers.posed import WALL_M, make_posed
from unish.cli import main
from unish.errors import InputError, MissingDependencyError
from unish.export import export, installed_formats
from unish.export import scene_mesh as scene_mesh_module
from unish.export.glb import write_glb
from unish.export.mesh import write_mesh
from unish.export.scene_mesh import collision_mesh, scene_mesh, scene_pixels
from unish.export.scene_points import scene_points

pytest.importorskip("fast_simplification", reason="fast-simplification is not installed")
BUDGET = 1500


@pytest.fixture(scope="module")
def posed():
    return make_posed(3, 2)


@pytest.fixture(scope="module")
def folder(posed, tmp_path_factory):
    shares = []
    path = tmp_path_factory.mktemp("mesh") / "mesh"
    write_mesh(posed, path, BUDGET, collision=True, progress=shares.append)
    assert shares == sorted(shares) and shares[-1] == 1
    return path


def off_m(vertices_world: np.ndarray) -> np.ndarray:
    """From the floor or the wall, whichever is nearer."""
    return np.minimum(np.abs(vertices_world[:, 2]), np.abs(vertices_world[:, 1] - WALL_M))


def test_people_whom_a_mask_misses_are_left_out_where_their_bodies_stand(posed):
    """Detectors miss people in some frames, and feet in many."""
    blank = dataclasses.replace(posed, person_mask=np.zeros_like(posed.person_mask))
    for frame in range(len(posed)):
        people = posed.person_mask[frame] > 0
        assert people.sum() > 50 and not (people & scene_pixels(blank, frame)).any()
        assert scene_pixels(blank, frame).mean() > 0.3
    points = scene_points(blank, 5000)
    row, column = points.pixel.T
    assert len(points) > 1000 and not posed.person_mask[points.frame, row, column].any()


def test_three_files_hold_one_mesh(folder):
    assert sorted(path.name for path in folder.iterdir()) == ["collision.ply", "scene.glb", "scene.obj", "scene.ply"]
    ply = PlyData.read(folder / "scene.ply")
    world = np.stack([ply["vertex"][axis] for axis in "xyz"], axis=-1)
    colors = np.stack([ply["vertex"][name] for name in ("red", "green", "blue")], axis=-1)
    faces = np.stack(ply["face"]["vertex_indices"])
    assert 0.8 * BUDGET < len(faces) <= BUDGET
    y_up = np.stack([world[:, 0], world[:, 2], -world[:, 1]], axis=-1)
    obj = trimesh.load(folder / "scene.obj", process=False, maintain_order=True)
    assert np.array_equal(obj.faces, faces) and np.abs(obj.vertices - y_up).max() < 1e-4
    assert np.abs(obj.visual.vertex_colors[:, :3].astype(int) - colors).max() <= 1
    glb = trimesh.load(folder / "scene.glb", process=False, force="mesh")
    assert np.array_equal(glb.faces, faces) and np.abs(glb.vertices - y_up).max() < 1e-5


def test_no_triangle_is_collapsed_or_there_twice():
    faces = np.int64([[0, 1, 2], [2, 0, 1], [3, 3, 1], [1, 3, 2], [2, 1, 0]])
    assert scene_mesh_module._distinct(faces).tolist() == [[0, 1, 2], [1, 3, 2]]


def test_the_mesh_lies_on_the_scene_and_shows_it(folder, posed):
    mesh = trimesh.load(folder / "scene.ply", process=False)
    assert np.quantile(off_m(mesh.vertices), 0.95) < 0.02 and off_m(mesh.vertices).max() < 0.1
    middles, colors = mesh.triangles_center, mesh.visual.vertex_colors[:, :3].astype(float)
    floor = (np.abs(mesh.vertices[:, 2]) < 0.01) & (mesh.vertices[:, 1] < WALL_M - 1)
    # The floor is greener than red, the wall redder than green, whatever the square.
    assert (colors[floor, 1] > colors[floor, 0]).all() and floor.any()
    wall = (np.abs(mesh.vertices[:, 1] - WALL_M) < 0.01) & (mesh.vertices[:, 2] > 1)
    assert (colors[wall, 0] > colors[wall, 1]).all() and wall.any()
    assert (mesh.face_normals[middles[:, 2] < 0.02, 2] > 0.9).mean() > 0.95, "faces look at the camera"
    assert not mesh.is_watertight, "where people stand in every frame nothing is made up"


def test_the_collision_mesh_is_closed(folder):
    mesh = trimesh.load(folder / "collision.ply", process=False)
    assert mesh.is_watertight and mesh.is_winding_consistent and mesh.volume > 0
    fronts = mesh.face_normals[:, 2] > 0.9
    assert np.median(np.abs(mesh.triangles_center[fronts, 2])) < 0.01, "its front is the floor"


def test_budgets_are_kept(posed):
    assert 0 < len(collision_mesh(posed, 2000).faces) <= 2000
    assert len(scene_mesh(posed, 0).faces) == 0
    with pytest.raises(InputError, match="0 or more, got -1"):
        scene_mesh(posed, -1)


@pytest.mark.parametrize("scene", ["points", "mesh", "both"])
def test_glb_shows_points_or_mesh(posed, tmp_path, scene):
    path = write_glb(posed, tmp_path / "scene.glb", 50, scene=scene, max_triangles=200)
    gltf = pygltflib.GLTF2().load(str(path))
    names = {node.name for node in gltf.nodes} & {"scene", "scene_mesh"}
    assert names == {"points": {"scene"}, "mesh": {"scene_mesh"}, "both": {"scene", "scene_mesh"}}[scene]
    if scene == "points":
        assert path.read_bytes() == write_glb(posed, tmp_path / "default.glb", 50).read_bytes()
    else:
        (mesh,) = (one for one in gltf.meshes if one.name == "scene_mesh")
        assert gltf.accessors[mesh.primitives[0].indices].count <= 3 * 200


def test_usd_has_the_mesh(posed, tmp_path):
    usd = pytest.importorskip("pxr.Usd", reason="usd-core is not installed")
    from pxr import UsdGeom

    shares: list[float] = []
    told = {"progress": lambda share, message: shares.append(share)}
    export(posed, tmp_path, ["usda"], scene="both", max_points=50, max_triangles=200, **told)
    assert shares == sorted(shares) and sum(0 < share < 1 for share in shares) > 4, "fusion is told as it goes"
    stage = usd.Stage.Open(str(tmp_path / "scene.usda"))
    assert stage.GetPrimAtPath("/World/scene").IsA(UsdGeom.Points)
    mesh = UsdGeom.Mesh(stage.GetPrimAtPath("/World/scene_mesh"))
    assert 100 < len(mesh.GetFaceVertexCountsAttr().Get()) <= 200
    assert off_m(np.array(mesh.GetPointsAttr().Get())).max() < 0.3
    validation = pytest.importorskip("pxr.UsdValidation", reason="this usd-core has no validators")
    validators = validation.ValidationRegistry().GetOrLoadAllValidators()
    assert [one.GetErrorAsString() for one in validation.ValidationContext(validators).Validate(stage)] == []


def test_the_files_of_one_export_share_one_fusion(posed, tmp_path, monkeypatch):
    pytest.importorskip("pxr.Usd", reason="usd-core is not installed")
    fuse, voxels_m = scene_mesh_module.fuse_depth, []

    def counted(view, frames, voxel_m, progress):
        voxels_m.append(voxel_m)
        return fuse(view, frames, voxel_m, progress)

    monkeypatch.setattr(scene_mesh_module, "fuse_depth", counted)
    result = posed.save(tmp_path / "result")
    words = ["--scene", "mesh", "--max-triangles", "200", "--person", "1", "--out", str(tmp_path / "out")]
    assert main(["export", str(result), "--to", "glb,usd,mesh", *words]) == 0
    assert len(voxels_m) == 1
    alone = write_mesh(posed, tmp_path / "alone", 200)
    assert len(voxels_m) == 2, "another export makes its own"
    for name in ("scene.ply", "scene.obj"):
        assert (tmp_path / "out" / "mesh" / name).read_bytes() == (alone / name).read_bytes()


def test_without_the_package_it_is_not_offered(posed, tmp_path, monkeypatch, capsys):
    result = posed.save(tmp_path / "result")
    assert "mesh" in installed_formats()
    monkeypatch.setitem(sys.modules, "fast_simplification", None)
    assert "mesh" not in installed_formats()
    assert main(["export", str(result), "--to", "mesh"]) == 2
    assert "needs the package fast-simplification" in capsys.readouterr().err
    with pytest.raises(MissingDependencyError, match="pip install fast-simplification"):
        export(posed, tmp_path / "out", ["glb"], scene="mesh")
    assert not (tmp_path / "out").exists() and not (result / "exports").exists()


def test_a_result_without_a_scene(posed, tmp_path):
    blind = dataclasses.replace(posed, confidence=np.zeros_like(posed.confidence))
    with pytest.raises(InputError, match="no surface of the scene"):
        write_mesh(blind, tmp_path / "mesh")
    write_glb(blind, tmp_path / "scene.glb", scene="mesh")
    names = [node.name for node in pygltflib.GLTF2().load(str(tmp_path / "scene.glb")).nodes]
    assert not {"scene", "scene_mesh"} & set(names) and [path.name for path in tmp_path.iterdir()] == ["scene.glb"]
