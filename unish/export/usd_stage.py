"""What a USD file holds (`unish.export.usd` says it in words), as a stage in memory. Imports usd-core."""

# The package fills its modules when it is loaded and has no stubs.
# pyright: reportAttributeAccessIssue=false

from pathlib import Path

import numpy as np
from jaxtyping import Float
from pxr import Gf, Sdf, Tf, Usd, UsdGeom, UsdShade, UsdSkel, UsdUtils, Vt

from unish.analysis.point_cloud import PointCloud
from unish.body import BodyModel
from unish.body.data import JOINT_NAMES, PARENTS
from unish.export.camera_motion import CAMERA_FROM_GL, FILM_WIDTH_MM, CameraMotion, even_camera
from unish.export.glb import influences, linear, vertex_normals
from unish.export.person_motion import (
    Y_UP_FROM_WORLD,
    EvenMotion,
    continuous_quaternions,
    even_motion,
    rest_joints_m,
    standing_t_pose,
)
from unish.export.usd_scene import add_points, add_scene_mesh, vectors
from unish.geometry.isosurface import TriangleMesh
from unish.structures import FrameSequence, Person, Reconstruction
from unish.utils.colors import person_color

_ROOT = Sdf.Path("/World")
_WORLD_FROM_Y_UP = Y_UP_FROM_WORLD.T
_LENS_UNITS_PER_MM = 0.01
"""USD measures focal lengths and apertures in tenths of the stage's unit, here the metre."""
_NEAR_M, _FAR_M = 0.05, 1000.0
_ROUGHNESS = 0.8


def make_stage(
    reconstruction: Reconstruction,
    clip: FrameSequence | None,
    points: PointCloud | None,
    mesh: TriangleMesh | None,
    body: BodyModel | None,
    fps: float | int | None,
) -> Usd.Stage:
    """The stage in memory, with the scene's points and mesh where they are given. `body`, the one that posed the
    people, may be None when there are none."""
    camera = even_camera(reconstruction, clip, fps)
    stage = Usd.Stage.CreateInMemory()
    UsdGeom.SetStageUpAxis(stage, UsdGeom.Tokens.z)
    UsdGeom.SetStageMetersPerUnit(stage, 1.0)
    stage.SetTimeCodesPerSecond(camera.fps)
    stage.SetFramesPerSecond(camera.fps)
    stage.SetStartTimeCode(0)
    stage.SetEndTimeCode(len(camera.times_s) - 1)
    stage.GetRootLayer().customLayerData = {
        "generator": f"unish {reconstruction.provenance.unish_version}",
        "source": reconstruction.provenance.source_name,
        "weights": reconstruction.provenance.weights,
        "body": reconstruction.provenance.body,
        "firstFrameSeconds": float(reconstruction.times_s[0]),
    }
    stage.SetDefaultPrim(UsdGeom.Xform.Define(stage, _ROOT).GetPrim())
    for person in reconstruction.people:
        assert body is not None
        _add_person(stage, person, body, even_motion(reconstruction, person, fps))
    if points is not None:
        add_points(stage, _ROOT.AppendChild("scene"), points)
    if mesh is not None:
        add_scene_mesh(stage, _ROOT.AppendChild("scene_mesh"), mesh)
    _add_camera(stage, camera)
    return stage


def write_usdz(stage: Usd.Stage, folder: Path) -> Path:
    """The stage as `scene.usdz` in an empty folder; its layer is binary, as Apple's viewers want it.

    Raises `OSError` when it cannot be written.
    """
    layer, package = folder / "scene.usdc", folder / "scene.usdz"
    try:
        written = stage.GetRootLayer().Export(str(layer))
        written = written and UsdUtils.CreateNewUsdzPackage(Sdf.AssetPath(str(layer)), str(package))
    except Tf.ErrorException as error:
        raise OSError(f"USD could not be written in {folder}") from error
    if not written:
        raise OSError(f"USD could not be written in {folder}")
    return package


# --- people --------------------------------------------------------------------------------------------------------


def _add_person(stage: Usd.Stage, person: Person, body: BodyModel, motion: EvenMotion) -> None:
    path = _ROOT.AppendChild(f"person_{person.id}")
    root = UsdSkel.Root.Define(stage, path)
    root.GetPrim().SetCustomData(
        {"id": person.id, "name": person.name, "body": body.name, "betas": Vt.DoubleArray(person.betas.tolist())}
    )
    rest = standing_t_pose(person, body)
    skeleton = _add_skeleton(stage, path, rest.joints_m)
    source = UsdSkel.BindingAPI.Apply(skeleton.GetPrim()).CreateAnimationSourceRel()
    source.SetTargets([_add_motion(stage, path, rest_joints_m(person, body), motion)])
    _add_body(stage, path, person, rest.vertices_m, body, skeleton)
    for frame in range(len(motion.times_s)):
        root.CreateExtentAttr().Set(UsdGeom.Boundable.ComputeExtentFromPlugins(root, frame), frame)
    if not motion.present.all():
        visibility = root.CreateVisibilityAttr()
        for frame, seen in enumerate(motion.present):
            visibility.Set(UsdGeom.Tokens.inherited if seen else UsdGeom.Tokens.invisible, frame)


def _add_skeleton(stage: Usd.Stage, root: Sdf.Path, rest_m: Float[np.ndarray, "24 3"]) -> UsdSkel.Skeleton:
    """The T-pose, standing in the z-up world; joints keep the axes that SMPL's rotations are about."""
    skeleton = UsdSkel.Skeleton.Define(stage, root.AppendChild("skeleton"))
    skeleton.CreateJointsAttr(_joint_paths())
    skeleton.CreateJointNamesAttr(list(JOINT_NAMES))
    bind, rest = np.tile(np.eye(4), (24, 1, 1)), np.tile(np.eye(4), (24, 1, 1))
    bind[:, :3, :3] = rest[0, :3, :3] = _WORLD_FROM_Y_UP
    bind[:, :3, 3] = rest_m @ _WORLD_FROM_Y_UP.T
    rest[0, :3, 3] = bind[0, :3, 3]
    rest[1:, :3, 3] = rest_m[1:] - rest_m[list(PARENTS[1:])]
    skeleton.CreateBindTransformsAttr(Vt.Matrix4dArray([_matrix(one) for one in bind]))
    skeleton.CreateRestTransformsAttr(Vt.Matrix4dArray([_matrix(one) for one in rest]))
    return skeleton


def _joint_paths() -> list[str]:
    paths: list[str] = []
    for name, parent in zip(JOINT_NAMES, PARENTS, strict=True):
        paths.append(f"{paths[parent]}/{name}" if paths else name)
    return paths


def _add_motion(stage: Usd.Stage, root: Sdf.Path, rest_m: Float[np.ndarray, "24 3"], motion: EvenMotion) -> Sdf.Path:
    animation = UsdSkel.Animation.Define(stage, root.AppendChild("motion"))
    animation.CreateJointsAttr(_joint_paths())
    animation.CreateScalesAttr(Vt.Vec3hArray(len(PARENTS), Gf.Vec3h(1, 1, 1)))
    places, turns = animation.CreateTranslationsAttr(), animation.CreateRotationsAttr()
    quaternions = continuous_quaternions(motion.rotations)
    from_parent = np.concatenate([np.zeros((1, 3)), rest_m[1:] - rest_m[list(PARENTS[1:])]])
    for frame, pelvis in enumerate(rest_m[0] + motion.translation):
        from_parent[0] = pelvis
        places.Set(vectors(from_parent), frame)
        turns.Set(Vt.QuatfArray([Gf.Quatf(w, x, y, z) for x, y, z, w in quaternions[frame].tolist()]), frame)
    return animation.GetPath()


def _add_body(
    stage: Usd.Stage,
    root: Sdf.Path,
    person: Person,
    t_pose_m: Float[np.ndarray, "vertices 3"],
    body: BodyModel,
    skeleton: UsdSkel.Skeleton,
) -> UsdGeom.Mesh:
    mesh = UsdGeom.Mesh.Define(stage, root.AppendChild("body"))
    vertices = t_pose_m @ _WORLD_FROM_Y_UP.T
    faces = body.faces.numpy()
    points = vectors(vertices)
    mesh.CreatePointsAttr(points)
    mesh.CreateExtentAttr(UsdGeom.PointBased.ComputeExtent(points))
    mesh.CreateFaceVertexCountsAttr(Vt.IntArray(len(faces), 3))
    mesh.CreateFaceVertexIndicesAttr(Vt.IntArray.FromNumpy(faces.reshape(-1).astype(np.int32)))
    mesh.CreateNormalsAttr(vectors(vertex_normals(vertices, faces)))
    mesh.SetNormalsInterpolation(UsdGeom.Tokens.vertex)
    mesh.CreateSubdivisionSchemeAttr(UsdGeom.Tokens.none)
    color = Gf.Vec3f(*linear(np.array(person_color(person.id), np.uint8)).tolist())
    mesh.CreateDisplayColorAttr([color])
    UsdShade.MaterialBindingAPI.Apply(mesh.GetPrim()).Bind(_add_material(stage, root, color))
    groups = influences(body.weights.numpy())
    binding = UsdSkel.BindingAPI.Apply(mesh.GetPrim())
    joints, weights = (np.concatenate([group[part] for group in groups], axis=1) for part in (0, 1))
    size = joints.shape[1]
    binding.CreateJointIndicesPrimvar(False, size).Set(Vt.IntArray.FromNumpy(joints.astype(np.int32).reshape(-1)))
    binding.CreateJointWeightsPrimvar(False, size).Set(Vt.FloatArray.FromNumpy(weights.reshape(-1)))
    binding.CreateGeomBindTransformAttr(Gf.Matrix4d(1.0))
    binding.CreateSkeletonRel().SetTargets([skeleton.GetPath()])
    return mesh


def _add_material(stage: Usd.Stage, root: Sdf.Path, color: Gf.Vec3f) -> UsdShade.Material:
    material = UsdShade.Material.Define(stage, root.AppendChild("material"))
    surface = UsdShade.Shader.Define(stage, material.GetPath().AppendChild("surface"))
    surface.CreateIdAttr("UsdPreviewSurface")
    surface.CreateInput("diffuseColor", Sdf.ValueTypeNames.Color3f).Set(color)
    surface.CreateInput("roughness", Sdf.ValueTypeNames.Float).Set(_ROUGHNESS)
    output = surface.CreateOutput("surface", Sdf.ValueTypeNames.Token)
    material.CreateSurfaceOutput().ConnectToSource(output)
    return material


# --- camera ----------------------------------------------------------------------------------------------


def _add_camera(stage: Usd.Stage, motion: CameraMotion) -> None:
    camera = UsdGeom.Camera.Define(stage, _ROOT.AppendChild("camera"))
    camera.CreateClippingRangeAttr(Gf.Vec2f(_NEAR_M, _FAR_M))
    poses = motion.world_from_camera.copy()
    poses[:, :3, :3] = poses[:, :3, :3] @ CAMERA_FROM_GL
    _set(camera.AddTransformOp(), poses, _matrix)
    focal_px = motion.intrinsics[:, [0, 1], [0, 1]]
    width_px, height_px = motion.width_px, motion.height_px
    across = FILM_WIDTH_MM * _LENS_UNITS_PER_MM / width_px
    down = across * focal_px[:, 0] / focal_px[:, 1]
    camera.CreateHorizontalApertureAttr(across * width_px)
    _set(camera.CreateVerticalApertureAttr(), down * height_px, float)
    _set(camera.CreateFocalLengthAttr(), across * focal_px[:, 0], float)
    # From the optical axis to the middle of the image, right and up.
    _set(camera.CreateHorizontalApertureOffsetAttr(), across * (width_px / 2 - motion.intrinsics[:, 0, 2]), float)
    _set(camera.CreateVerticalApertureOffsetAttr(), down * (motion.intrinsics[:, 1, 2] - height_px / 2), float)


def _set(attribute, values: np.ndarray, convert) -> None:
    """One value where nothing moves, else one at each time code."""
    if (values == values[:1]).all():
        attribute.Set(convert(values[0]))
        return
    for frame, value in enumerate(values):
        attribute.Set(convert(value), frame)


def _matrix(matrix: Float[np.ndarray, "4 4"]) -> Gf.Matrix4d:
    """USD multiplies row vectors from the left."""
    return Gf.Matrix4d(matrix.T.tolist())
