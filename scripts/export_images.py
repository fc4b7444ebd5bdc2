"""docs/images/exports.jpg: a result's files, each opened in Blender and drawn as the clip's camera sees it.

    unish export out --to glb,usd,bvh,chan,ply,obj,mesh,robot,colmap,mp4 --clip walk.mp4
    unish export out --to fbx --scene mesh --clip walk.mp4
    python scripts/export_images.py out walk.mp4 docs/images/exports.jpg --frame 12

Needs Blender as the module bpy (Python 3.11), pycolmap, NumPy, safetensors and Pillow. Every image is made of its file
alone, with Blender's importers, NumPy or pycolmap; formats without a camera are seen by that of `camera.chan`.
"""

import argparse
import math
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bpy
import numpy as np
import pycolmap
from mathutils import Matrix, Quaternion, Vector
from PIL import Image, ImageDraw, ImageFont
from safetensors.numpy import load_file

sys.path.insert(0, str(Path(__file__).parent))
import blender_import

WIDTH_PX, SAMPLES, COLUMNS, CAPTION_PX = 400, 24, 4, 26
SKY, GROUND, INK = (0.62, 0.7, 0.8, 1.0), (24, 27, 34), (235, 238, 243)
BONE_M = 0.018
ROBOT_FPS = 30.0
PARENTS = (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21)
"""Of SMPL's joints, as in the robot bundle."""
FEET = (7, 10, 8, 11)
"""The joints whose contacts the robot bundle holds, in its order."""
STANDING, LOOSE = (0.9, 0.1, 0.05, 1), (0.95, 0.8, 0.3, 1)
FLOOR, OBSTACLE = (0.12, 0.16, 0.2, 1), (0.3, 0.33, 0.36, 1)
Z_UP = Matrix.Rotation(math.pi / 2, 4, "X")


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("result", type=Path)
    parser.add_argument("clip", type=Path)
    parser.add_argument("sheet", type=Path)
    parser.add_argument("--frame", type=int, default=0, help="of the result")
    options = parser.parse_args(arguments)
    times_s = load_file(options.result / "reconstruction.safetensors")["times_s"].tolist()
    shot = Shot(options.result.resolve() / "exports", options.clip.resolve(), options.frame, times_s)
    with tempfile.TemporaryDirectory() as folder:
        images = []
        for caption, build in (
            ("The clip", None),
            ("GLB", shot.glb),
            ("USD", shot.usd),
            ("FBX: people, camera, mesh", shot.fbx),
            ("BVH, camera from .chan", shot.bvh),
            ("PLY: points and people", shot.ply),
            ("OBJ: people", shot.obj),
            ("MESH: the scene", shot.mesh),
            ("ROBOT: joints, contacts (red), floor, collision mesh", shot.robot),
            ("COLMAP: points, by its camera", shot.colmap),
            ("COLMAP: points and cameras from above", shot.colmap_from_above),
            ("MP4: the overlay", shot.overlay),
        ):
            path = Path(folder) / f"{len(images)}.png"
            shot.draw(build, path)
            with Image.open(path) as image:
                images.append((caption, image.convert("RGB")))
    make_sheet(images).save(options.sheet, quality=82, optimize=True)


class Shot:
    """A moment of a result, and its files."""

    def __init__(self, exports: Path, clip: Path, frame: int, times_s: list[float]) -> None:
        self.exports, self.clip, self.frame = exports, clip, frame
        self.footage_size, self.fps = _footage(clip)
        self.first_s = times_s[0]
        self.scene_frame = round((times_s[frame] - times_s[0]) * self.fps)

    def draw(self, build: Callable[[], None] | None, path: Path) -> None:
        bpy.ops.wm.read_factory_settings(use_empty=True)
        scene = bpy.context.scene
        scene.render.fps = round(self.fps)
        _light(scene)
        if build:
            build()
        else:
            self._show_footage(self.clip, self.scene_frame + round(self.first_s * self.fps))
        width, height = self.footage_size
        scene.render.resolution_x, scene.render.resolution_y = WIDTH_PX, round(WIDTH_PX * height / width)
        scene.render.resolution_percentage = 100
        scene.render.filepath = str(path)
        scene.render.image_settings.file_format = "PNG"
        bpy.ops.render.render(write_still=True)

    def glb(self) -> None:
        self._import(self.exports / "scene.glb")

    def usd(self) -> None:
        self._import(self.exports / "scene.usdz")

    def fbx(self) -> None:
        self._import(self.exports / "fbx")

    def bvh(self) -> None:
        for file in sorted((self.exports / "bvh").glob("*.bvh")):
            bpy.ops.import_anim.bvh(filepath=str(file), axis_forward="-Z", axis_up="Y", frame_start=0)
        bpy.context.scene.frame_set(self.scene_frame)
        self._add_chan_camera()
        for skeleton in [thing for thing in bpy.data.objects if thing.type == "ARMATURE"]:
            for bone in skeleton.pose.bones:
                _add_stick(skeleton.matrix_world @ bone.head, skeleton.matrix_world @ bone.tail)

    def ply(self) -> None:
        self._add_chan_camera()
        for name in ("scene.ply", f"people/frame_{self.frame:05d}.ply"):
            bpy.ops.wm.ply_import(filepath=str(self.exports / "ply" / name))
            thing = bpy.context.object
            if len(thing.data.polygons) == 0:
                blender_import.show_points(thing, bpy.context.scene.camera.matrix_world.translation)
            else:
                thing.data.materials.append(_painted(thing.data.color_attributes[0].name))

    def obj(self) -> None:
        self._add_chan_camera()
        bpy.ops.wm.obj_import(filepath=str(self.exports / "obj" / f"frame_{self.frame:05d}.obj"))

    def mesh(self) -> None:
        self._add_chan_camera()
        bpy.ops.wm.ply_import(filepath=str(self.exports / "mesh" / "scene.ply"))
        surface = bpy.context.object.data
        surface.materials.append(_painted(surface.color_attributes[0].name))

    def robot(self) -> None:
        """Z up as Blender is: the joints in the world, those of the feet red where they stand."""
        self._add_chan_camera()
        folder = self.exports / "robot"
        bpy.ops.wm.obj_import(filepath=str(folder / "collision.obj"), forward_axis="Y", up_axis="Z")
        bpy.context.object.data.materials.clear()
        bpy.context.object.data.materials.append(_colored(OBSTACLE))
        bpy.ops.mesh.primitive_plane_add(size=60)
        bpy.context.object.data.materials.append(_colored(FLOOR))
        materials = {standing: _colored(STANDING if standing else LOOSE) for standing in (True, False)}
        for file in sorted(folder.glob("person_*.npz")):
            with np.load(file) as motion:
                at = min(round(self.scene_frame / self.fps * ROBOT_FPS), len(motion["joints_m"]) - 1)
                joints = [Vector(joint) for joint in motion["joints_m"][at].tolist()]
                standing = dict(zip(FEET, motion["foot_contacts"][at].tolist(), strict=True))
            for joint, parent in enumerate(PARENTS):
                if parent >= 0:
                    _add_stick(joints[parent], joints[joint], 2 * BONE_M, materials[False])
                radius = 3 * BONE_M if standing.get(joint) else 1.5 * BONE_M
                bpy.ops.mesh.primitive_uv_sphere_add(segments=16, ring_count=8, radius=radius, location=joints[joint])
                bpy.context.object.data.materials.append(materials[standing.get(joint, False)])

    def colmap(self) -> None:
        model = self._colmap_points()
        image = model.images[self.frame + 1]
        lens = model.cameras[image.camera_id]
        camera = bpy.data.objects.new("colmap", bpy.data.cameras.new("colmap"))
        camera.data.sensor_fit = "HORIZONTAL"
        camera.data.angle_x = 2 * math.atan(lens.width / 2 / lens.focal_length_x)
        camera.matrix_world = _colmap_pose(image) @ Matrix.Rotation(math.pi, 4, "X")
        self._show_points(camera)

    def colmap_from_above(self) -> None:
        model = self._colmap_points()
        poses = [_colmap_pose(model.images[number]) for number in sorted(model.images)]
        for pose in poses:
            corners = [pose @ Vector((x, y, 0.4)) for x in (-0.24, 0.24) for y in (-0.18, 0.18)]
            for corner in corners:
                _add_stick(pose.translation, corner, BONE_M / 2, _colored(STANDING))
        first = poses[0]
        ahead = (first @ Vector((0, 0, 1)) - first.translation) * Vector((1, 1, 0))
        camera = bpy.data.objects.new("above", bpy.data.cameras.new("above"))
        camera.location = first.translation - ahead.normalized() * 3.5 + Vector((0, 0, 4))
        target = first.translation + ahead.normalized() * 3
        camera.rotation_euler = (target - camera.location).to_track_quat("-Z", "Y").to_euler()
        camera.data.angle_x = math.radians(56)
        self._show_points(camera)

    def overlay(self) -> None:
        self._show_footage(self.exports / "overlay.mp4", self.scene_frame)

    def _colmap_points(self) -> Any:
        """COLMAP's points as bare vertices with colours; returns the model."""
        model = pycolmap.Reconstruction(self.exports / "colmap" / "sparse" / "0")
        points = list(model.points3D.values())
        mesh = bpy.data.meshes.new("points")
        mesh.from_pydata([point.xyz.tolist() for point in points], [], [])
        colors = np.ones((len(points), 4), np.float32)
        colors[:, :3] = np.array([point.color for point in points]) / 255
        mesh.color_attributes.new("Color", "BYTE_COLOR", "POINT").data.foreach_set("color_srgb", colors.reshape(-1))
        bpy.context.scene.collection.objects.link(bpy.data.objects.new("points", mesh))
        return model

    def _show_points(self, camera: Any) -> None:
        scene = bpy.context.scene
        scene.collection.objects.link(camera)
        scene.camera = camera
        bpy.context.view_layer.update()
        blender_import.show_points(bpy.data.objects["points"], camera.matrix_world.translation)

    def _import(self, path: Path) -> None:
        blender_import.set_up(blender_import.find_scene(path), self.clip)
        bpy.context.scene.frame_set(self.scene_frame)

    def _add_chan_camera(self) -> None:
        """Line by line as docs/exports.md says it: y up, rotation Ry · Rx · Rz, the vertical field of view."""
        rows = [list(map(float, line.split())) for line in (self.exports / "camera.chan").read_text().splitlines()]
        _, x, y, z, turn_x, turn_y, turn_z, view = rows[self.scene_frame]
        turns = ((turn_y, "Y"), (turn_x, "X"), (turn_z, "Z"))
        pose = Matrix.Translation((x, y, z))
        for angle, axis in turns:
            pose = pose @ Matrix.Rotation(math.radians(angle), 4, axis)
        lens = bpy.data.cameras.new("chan")
        lens.sensor_fit = "VERTICAL"
        lens.angle_y = math.radians(view)
        camera = bpy.data.objects.new("chan", lens)
        bpy.context.scene.collection.objects.link(camera)
        camera.matrix_world = Z_UP @ pose
        bpy.context.scene.camera = camera

    def _show_footage(self, video: Path, frame: int) -> None:
        """A pane before a camera, with a frame of a video on it."""
        scene = bpy.context.scene
        image = bpy.data.images.load(str(video))
        lens = bpy.data.cameras.new("pane")
        lens.type, lens.ortho_scale = "ORTHO", 1.0
        camera = bpy.data.objects.new("pane", lens)
        scene.collection.objects.link(camera)
        scene.camera = camera
        width, height = self.footage_size
        bpy.ops.mesh.primitive_plane_add(size=1, location=(0, 0, -1))
        pane = bpy.context.object
        pane.scale = (1, height / width, 1) if width >= height else (width / height, 1, 1)
        material = bpy.data.materials.new("footage")
        material.use_nodes = True
        nodes, links = material.node_tree.nodes, material.node_tree.links
        nodes.clear()
        texture, light, output = (nodes.new(f"ShaderNode{name}") for name in ("TexImage", "Emission", "OutputMaterial"))
        texture.image = image
        user = texture.image_user
        user.frame_duration, user.frame_start, user.use_auto_refresh = 10_000, 1, True
        scene.frame_set(1 + frame)
        links.new(texture.outputs["Color"], light.inputs["Color"])
        links.new(light.outputs[0], output.inputs["Surface"])
        pane.data.materials.append(material)


def _footage(clip: Path) -> tuple[tuple[int, int], float]:
    footage = bpy.data.movieclips.load(str(clip))
    return tuple(footage.size), footage.fps


def _light(scene: Any) -> None:
    scene.render.engine = "CYCLES"
    scene.cycles.device, scene.cycles.samples, scene.cycles.use_denoising = "CPU", SAMPLES, False
    scene.view_settings.view_transform = "Standard"
    world = bpy.data.worlds.new("sky")
    scene.world = world
    world.use_nodes = True
    world.node_tree.nodes["Background"].inputs[0].default_value = SKY
    sun = bpy.data.objects.new("sun", bpy.data.lights.new("sun", "SUN"))
    sun.data.energy, sun.data.angle = 2.5, 0.2
    sun.rotation_euler = (math.radians(40), math.radians(15), 0)
    scene.collection.objects.link(sun)


def _painted(attribute: str) -> Any:
    """A surface with the colours of its vertices."""
    material = bpy.data.materials.new("painted")
    material.use_nodes = True
    nodes = material.node_tree.nodes
    color = nodes.new("ShaderNodeAttribute")
    color.attribute_name = attribute
    material.node_tree.links.new(color.outputs["Color"], nodes["Principled BSDF"].inputs["Base Color"])
    return material


def _colored(color: tuple[float, float, float, float]) -> Any:
    """A surface of one colour."""
    material = bpy.data.materials.new("colored")
    material.use_nodes = True
    material.node_tree.nodes["Principled BSDF"].inputs["Base Color"].default_value = color
    return material


def _colmap_pose(image: Any) -> Matrix:
    """world_from_camera, x right, y down, z forward."""
    world_from_camera = image.cam_from_world().inverse()
    x, y, z, w = world_from_camera.rotation.quat.tolist()
    turn = Quaternion((w, x, y, z)).to_matrix().to_4x4()
    return Matrix.Translation(world_from_camera.translation.tolist()) @ turn


def _add_stick(start: Vector, end: Vector, radius: float = BONE_M, material: Any = None) -> None:
    along = end - start
    if along.length < 1e-4:
        return
    bpy.ops.mesh.primitive_cone_add(vertices=8, radius1=radius, radius2=radius / 3, depth=along.length)
    stick = bpy.context.object
    if material:
        stick.data.materials.append(material)
    turn = along.to_track_quat("Z", "Y").to_matrix().to_4x4()
    stick.matrix_world = Matrix.Translation((start + end) / 2) @ turn


def make_sheet(images: list[tuple[str, Image.Image]]) -> Image.Image:
    """All images with a caption each, in rows."""
    width, height = images[0][1].size
    rows = -(-len(images) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * width, rows * (height + CAPTION_PX)), GROUND)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(15)
    for index, (caption, image) in enumerate(images):
        x, y = index % COLUMNS * width, index // COLUMNS * (height + CAPTION_PX)
        sheet.paste(image, (x, y + CAPTION_PX))
        draw.text((x + 8, y + 4), caption, INK, font)
    return sheet


if __name__ == "__main__":
    main(sys.argv[1:])
