"""Sets a unish result up in Blender (5.0): people, camera, footage behind the camera, points of the scene.

    unish export out --to glb --clip walk.mp4
    blender --python scripts/blender_import.py -- out --clip walk.mp4

The first argument is a result's folder, its `exports`, a `scene.glb`, `scene.usdz` or `scene.usda`, or the folder `fbx`
(its mesh in place of points). Without a window:
`blender --background --python … -- out --clip walk.mp4 --save walk.blend`, or `python scripts/blender_import.py out …`
where Blender is installed as the module bpy. Needs nothing of unish.

Frame 0 is the result's first frame. The scene's rate is the footage's, for USD and FBX the file's own. People are
hidden where they were not seen. Footage with black bars fits the camera only of a file that was exported with `--clip`.
"""

import argparse
import json
import math
import struct
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bpy

RATE = 30.0
"""Frames a second where neither footage nor file says it."""
FILES = ("scene.glb", "scene.usdz", "scene.usda")
FBX_FOLDER, FBX_CAMERA = "fbx", "camera.fbx"
POINT_RADIUS_PER_M = 0.004
"""Of its distance from the first camera."""
FOOTAGE_ALPHA = 0.6
FILM_MM, LONG_SIDE_PX = 36.0, 1920


@dataclass(frozen=True)
class Source:
    """A scene's file, and what it says about time."""

    path: Path
    """A folder for FBX."""
    first_frame_s: float
    """Of the clip."""
    fps: float | None
    """None: the file has times, not frames, or Blender takes the rate from it."""
    camera: dict[str, Any]
    """A GLB's camera, of which Blender reads only one angle."""
    seen: dict[str, list[bool]]
    """Of a USD file's people: whether each is seen in each frame, by their names."""


# --- what there is -------------------------------------------------------------------------------------------------


def find_scene(path: Path) -> Source:
    """The file of a result's folder, of its exports, or the one given. Exits with a sentence where there is none."""
    folders = (path, path / "exports")
    places = [path] if path.is_file() else [place / name for place in folders for name in FILES]
    for place in places:
        if place.is_file() and place.suffix == ".glb":
            return _glb_source(place)
        if place.is_file() and place.suffix in (".usdz", ".usda"):
            return _usd_source(place)
    for folder in (path, *(place / FBX_FOLDER for place in folders)):
        if (folder / FBX_CAMERA).is_file():
            return Source(folder, 0.0, None, {}, {})
    sys.exit(f"Expected {', '.join(FILES)} in {path}; write one with: unish export {path} --to glb")


def _glb_source(path: Path) -> Source:
    with path.open("rb") as file:
        magic, _, _, length, _ = struct.unpack("<4s4I", file.read(20))
        if magic != b"glTF":
            sys.exit(f"Expected a binary glTF file, got {path}")
        content = json.loads(file.read(length))
    notes, cameras = content["asset"].get("extras", {}), content.get("cameras", [{}])
    return Source(path, float(notes.get("first_frame_s", 0.0)), None, cameras[0], {})


def _usd_source(path: Path) -> Source:
    from pxr import Usd, UsdGeom, UsdSkel  # Blender's own

    stage = Usd.Stage.Open(str(path))
    notes = stage.GetRootLayer().customLayerData
    frames = range(int(stage.GetEndTimeCode()) + 1)
    seen = {
        prim.GetName(): [UsdGeom.Imageable(prim).ComputeVisibility(frame) != "invisible" for frame in frames]
        for prim in stage.Traverse()
        if prim.IsA(UsdSkel.Root)
    }
    return Source(path, float(notes.get("firstFrameSeconds", 0.0)), float(stage.GetTimeCodesPerSecond()), {}, seen)


# --- the scene -----------------------------------------------------------------------------------------------------


def set_up(source: Source, clip: Path | None) -> None:
    """Fill the current scene."""
    scene = bpy.context.scene
    footage = bpy.data.movieclips.load(str(clip.resolve())) if clip else None
    _set_rate(source.fps or (footage.fps if footage and footage.fps else RATE))
    before = set(bpy.data.objects)
    _import(source.path)
    new = [thing for thing in bpy.data.objects if thing not in before]
    cameras = [thing for thing in new if thing.type == "CAMERA"]
    if not cameras:
        sys.exit(f"{source.path} has no camera; was it written by unish?")
    scene.camera = cameras[0]
    _set_range(new)
    first_frame_s = source.first_frame_s
    if source.camera:
        _set_lens(cameras[0], source.camera)
    elif source.fps:
        lens = cameras[0].data
        _set_size(lens.sensor_width / lens.sensor_height)
    if source.path.is_dir():
        first_frame_s = _set_film(cameras[0])
        for thing in new:
            if thing.type == "MESH" and not thing.parent:
                _paint(thing.data)
    _hide_unseen(new, source)
    for thing in new:
        if thing.type == "POINTCLOUD" or (thing.type == "MESH" and len(thing.data.polygons) == 0):
            show_points(thing, cameras[0].matrix_world.translation)
    if footage:
        _check_rate(footage, source.path)
        _put_behind(cameras[0], footage, first_frame_s)
    _look_through_camera()


def _set_rate(fps: float) -> None:
    render = bpy.context.scene.render
    render.fps = max(1, round(fps))
    render.fps_base = render.fps / fps


def _import(path: Path) -> None:
    if path.is_dir():
        read = bpy.ops.wm.fbx_import if "fbx_import" in dir(bpy.ops.wm) else bpy.ops.import_scene.fbx
        for file in sorted(path.glob("*.fbx")):
            read(filepath=str(file), anim_offset=0.0)
    elif path.suffix == ".glb":
        known = bpy.ops.import_scene.gltf.get_rna_type().properties
        options = {"disable_bone_shape": True} if "disable_bone_shape" in known else {}
        bpy.ops.import_scene.gltf(filepath=str(path), **options)
    else:
        bpy.ops.wm.usd_import(filepath=str(path))


def _set_range(things: list[Any]) -> None:
    """From frame 0 to the last key."""
    data = [one.animation_data for thing in things for one in (thing, thing.data) if one and one.animation_data]
    ends = [part.action.frame_range[1] for part in data if part.action]
    scene = bpy.context.scene
    scene.frame_start, scene.frame_end = 0, max(0, math.ceil(max(ends, default=0.0) - 1e-3))
    scene.frame_set(0)


def _set_lens(camera: Any, noted: dict[str, Any]) -> None:
    """Film whose long side is that of the image, so that the lens fits the footage whatever was cut off its sides, and
    the zoom of every frame, which unish notes beside glTF's own fields."""
    lens = camera.data
    aspect = float(noted["perspective"].get("aspectRatio", 1.0))
    angles = noted.get("extras", {}).get("yfov_of_frames", [])
    lens.sensor_fit, lens.sensor_width = "AUTO", FILM_MM
    _set_size(aspect)
    half_film = FILM_MM / 2 / max(1.0, aspect)
    lens.lens = half_film / math.tan(noted["perspective"]["yfov"] / 2)
    for frame, angle in zip(_key_frames(camera), angles, strict=False):
        lens.lens = half_film / math.tan(angle / 2)
        lens.keyframe_insert("lens", frame=frame)


def _set_size(aspect: float) -> None:
    render = bpy.context.scene.render
    render.resolution_x = LONG_SIDE_PX if aspect >= 1 else round(LONG_SIDE_PX * aspect)
    render.resolution_y = LONG_SIDE_PX if aspect < 1 else round(LONG_SIDE_PX / aspect)


def _set_film(camera: Any) -> float:
    """An FBX camera's film is as wide as the image; Blender takes it for the height where that is longer. Returns the
    second of the clip at which the first frame was filmed."""
    camera.data.sensor_fit = "HORIZONTAL"
    if size := camera.get("unish_image_size", ""):
        render = bpy.context.scene.render
        render.resolution_x, render.resolution_y = map(int, size.split())
    return float(camera.get("unish_first_frame_s", 0.0))


def _hide_unseen(things: list[Any], source: Source) -> None:
    """Keys that hide a body where its person was not seen. Blender's importers leave that out of USD and FBX."""
    frames = range(bpy.context.scene.frame_end + 1)
    for thing in things:
        seen = source.seen.get(thing.name, [])
        if stretches := thing.get("unish_seen_frames", ""):
            ends = [tuple(map(int, stretch.split("-"))) for stretch in stretches.split()]
            seen = [any(first <= frame <= last for first, last in ends) for frame in frames]
        bodies = [below for below in thing.children_recursive if below.type == "MESH"] if not all(seen) else []
        for body in bodies:
            for frame, visible in enumerate(seen):
                if frame == 0 or visible != seen[frame - 1]:
                    body.hide_render = body.hide_viewport = not visible
                    body.keyframe_insert("hide_render", frame=frame)
                    body.keyframe_insert("hide_viewport", frame=frame)


def _key_frames(thing: Any) -> list[float]:
    from bpy_extras import anim_utils

    data = thing.animation_data
    if not data or not data.action:
        return []
    if hasattr(data.action, "fcurves"):
        curves = data.action.fcurves
    else:  # Blender 5
        curves = anim_utils.action_get_channelbag_for_slot(data.action, data.action_slot).fcurves
    return [key.co[0] for key in curves[0].keyframe_points] if len(curves) else []


def _check_rate(footage: Any, path: Path) -> None:
    """Exits with a sentence where the footage would run away from the motion: Blender shows one frame of it in each of
    the scene's, and files of another rate than its own (`--fps`, or footage of uneven frames) have other frames."""
    scene = bpy.context.scene
    rate = scene.render.fps / scene.render.fps_base
    if footage.fps and abs(footage.fps / rate - 1) * scene.frame_end > 1:
        sys.exit(
            f"{path.name} has {rate:g} frames per second, the footage in Blender {footage.fps:g}, so they would not "
            f"stay together. Export it again with --fps {footage.fps:g}, or take scene.glb, which has times."
        )


def _put_behind(camera: Any, footage: Any, first_frame_s: float) -> None:
    """The footage behind the camera, shown at the moment that it was filmed."""
    render = bpy.context.scene.render
    render.resolution_x, render.resolution_y = footage.size
    footage.frame_start = -round(first_frame_s * render.fps / render.fps_base)
    camera.data.show_background_images = True
    behind = camera.data.background_images.new()
    behind.source = "MOVIE_CLIP"
    behind.clip = footage
    behind.alpha = FOOTAGE_ALPHA
    behind.display_depth = "BACK"
    behind.frame_method = "FIT"


def _look_through_camera() -> None:
    for screen in bpy.data.screens:
        for area in screen.areas:
            if area.type == "VIEW_3D":
                area.spaces[0].region_3d.view_perspective = "CAMERA"
                area.spaces[0].shading.type = "MATERIAL"


# --- points --------------------------------------------------------------------------------------------------------


def show_points(thing: Any, eye: Any) -> None:
    """Give points a size and their colours: Blender imports them as bare vertices, or without a material."""
    is_cloud = thing.type == "POINTCLOUD"
    material = _point_material("displayColor" if is_cloud else _color_name(thing.data))
    group = bpy.data.node_groups.new("unish points", "GeometryNodeTree")
    group.interface.new_socket("Geometry", in_out="INPUT", socket_type="NodeSocketGeometry")
    group.interface.new_socket("Geometry", in_out="OUTPUT", socket_type="NodeSocketGeometry")
    start, end = group.nodes.new("NodeGroupInput"), group.nodes.new("NodeGroupOutput")
    points = group.nodes.new("GeometryNodeSetPointRadius" if is_cloud else "GeometryNodeMeshToPoints")
    paint = group.nodes.new("GeometryNodeSetMaterial")
    paint.inputs["Material"].default_value = material
    # Points came from pixels: those far away stand for more.
    place, away = group.nodes.new("GeometryNodeInputPosition"), group.nodes.new("ShaderNodeVectorMath")
    size = group.nodes.new("ShaderNodeMath")
    away.operation, size.operation = "DISTANCE", "MULTIPLY"
    away.inputs[1].default_value = eye
    size.inputs[1].default_value = POINT_RADIUS_PER_M
    group.links.new(place.outputs[0], away.inputs[0])
    group.links.new(away.outputs["Value"], size.inputs[0])
    group.links.new(size.outputs[0], points.inputs["Radius"])
    group.links.new(start.outputs[0], points.inputs[0])
    group.links.new(points.outputs[0], paint.inputs[0])
    group.links.new(paint.outputs[0], end.inputs[0])
    thing.modifiers.new("points", "NODES").node_group = group


def _color_name(mesh: Any) -> str:
    return mesh.color_attributes[0].name if len(mesh.color_attributes) else "Color"


def _paint(mesh: Any) -> None:
    """Light of the mesh's own colours, which FBX's materials cannot refer to."""
    if len(mesh.color_attributes):
        mesh.materials.clear()
        mesh.materials.append(_point_material(mesh.color_attributes[0].name))


def _point_material(attribute: str) -> Any:
    """Light of the points' own colour."""
    material = bpy.data.materials.new("unish points")
    material.use_nodes = True
    nodes, links = material.node_tree.nodes, material.node_tree.links
    nodes.clear()
    color, light = nodes.new("ShaderNodeAttribute"), nodes.new("ShaderNodeEmission")
    output = nodes.new("ShaderNodeOutputMaterial")
    color.attribute_name = attribute
    links.new(color.outputs["Color"], light.inputs["Color"])
    links.new(light.outputs[0], output.inputs["Surface"])
    return material


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="blender_import.py", description=__doc__.splitlines()[0])
    parser.add_argument("result", type=Path, help="folder of a result, or scene.glb, scene.usdz, scene.usda, fbx")
    parser.add_argument("--clip", type=Path, help="the footage, to stand behind the camera")
    parser.add_argument("--save", type=Path, metavar="FILE.blend", help="save what was set up")
    parser.add_argument("--keep", action="store_true", help="keep what is in the scene already")
    options = parser.parse_args(arguments)
    if options.clip and not options.clip.is_file():
        sys.exit(f"There is no file {options.clip}")
    source = find_scene(options.result.resolve())
    if not options.keep:
        for thing in list(bpy.data.objects):
            bpy.data.objects.remove(thing)
    set_up(source, options.clip)
    if options.save:
        bpy.ops.wm.save_as_mainfile(filepath=str(options.save.resolve()))


if __name__ == "__main__":
    main(sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else sys.argv[1:])
