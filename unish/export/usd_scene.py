"""The scene in a USD file, as points and as a mesh. Imports usd-core."""

# The package fills its modules when it is loaded and has no stubs.
# pyright: reportAttributeAccessIssue=false

import numpy as np
from pxr import Gf, Sdf, Usd, UsdGeom, UsdShade, Vt

from unish.analysis.point_cloud import PointCloud
from unish.export.glb import linear
from unish.geometry.isosurface import TriangleMesh

_POINT_WIDTH_M = 0.01


def add_points(stage: Usd.Stage, path: Sdf.Path, cloud: PointCloud) -> None:
    """The scene as points; nothing when there are none."""
    if not len(cloud):
        return
    scene = UsdGeom.Points.Define(stage, path)
    points, widths = vectors(cloud.points_world), Vt.FloatArray([_POINT_WIDTH_M])
    scene.CreatePointsAttr(points)
    scene.CreateWidthsAttr(widths)
    scene.SetWidthsInterpolation(UsdGeom.Tokens.constant)
    half = Gf.Vec3f(_POINT_WIDTH_M / 2)
    low, high = UsdGeom.PointBased.ComputeExtent(points)
    scene.CreateExtentAttr([low - half, high + half])
    scene.CreateDisplayColorPrimvar(UsdGeom.Tokens.vertex).Set(vectors(linear(cloud.colors)))


def add_scene_mesh(stage: Usd.Stage, path: Sdf.Path, mesh: TriangleMesh) -> None:
    """The scene's mesh, both sides seen, its colours the light that it sends out; nothing when it has no triangles."""
    if not len(mesh.faces):
        return
    scene = UsdGeom.Mesh.Define(stage, path)
    points = vectors(mesh.vertices_world)
    scene.CreatePointsAttr(points)
    scene.CreateExtentAttr(UsdGeom.PointBased.ComputeExtent(points))
    scene.CreateFaceVertexCountsAttr(Vt.IntArray(len(mesh.faces), 3))
    scene.CreateFaceVertexIndicesAttr(Vt.IntArray.FromNumpy(mesh.faces.reshape(-1).astype(np.int32)))
    scene.CreateSubdivisionSchemeAttr(UsdGeom.Tokens.none)
    scene.CreateDoubleSidedAttr(True)
    scene.CreateDisplayColorPrimvar(UsdGeom.Tokens.vertex).Set(vectors(linear(mesh.colors)))
    UsdShade.MaterialBindingAPI.Apply(scene.GetPrim()).Bind(_vertex_colors(stage, path.AppendChild("material")))


def _vertex_colors(stage: Usd.Stage, path: Sdf.Path) -> UsdShade.Material:
    """A material that sends out the display colour."""
    material = UsdShade.Material.Define(stage, path)
    reader = UsdShade.Shader.Define(stage, path.AppendChild("colors"))
    reader.CreateIdAttr("UsdPrimvarReader_float3")
    reader.CreateInput("varname", Sdf.ValueTypeNames.String).Set("displayColor")
    color = reader.CreateOutput("result", Sdf.ValueTypeNames.Float3)
    surface = UsdShade.Shader.Define(stage, path.AppendChild("surface"))
    surface.CreateIdAttr("UsdPreviewSurface")
    surface.CreateInput("diffuseColor", Sdf.ValueTypeNames.Color3f).Set(Gf.Vec3f(0))
    surface.CreateInput("emissiveColor", Sdf.ValueTypeNames.Color3f).ConnectToSource(color)
    surface.CreateInput("roughness", Sdf.ValueTypeNames.Float).Set(1.0)
    output = surface.CreateOutput("surface", Sdf.ValueTypeNames.Token)
    material.CreateSurfaceOutput().ConnectToSource(output)
    return material


def vectors(values: np.ndarray) -> Vt.Vec3fArray:
    """An array of points or colours."""
    return Vt.Vec3fArray.FromNumpy(np.ascontiguousarray(values, np.float32))
