"""`python -P fbx_worker.py JOB FOLDER`: builds what `unish.export.fbx` describes in Blender, and saves FBX.

Runs in a process of its own and knows bpy, NumPy and the job's folder, nothing of unish. Scenes are in
centimetres (`scale_length`), and the objects that hold y-up data are turned upright, which is what Blender's exporter
undoes: the nodes of the file have neither scale nor rotation.
"""

# Blender's modules are there only where the extra is installed.
# pyright: reportMissingImports=false

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

SHARE = "unish share done: "
"""Begins the lines of the output that tell the share done."""
_NEAR_CM, _FAR_CM = 5.0, 1e5
_ROOT_AXES = np.array([[-1.0, 0, 0, 0], [0, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
"""Of the bone above the pelvis: z up, y to the front. Were y up, importers would take the pelvis, which stands above
it, for the bone's end, and not let it move."""
_REST_FRAME = -1
"""Before the first frame, and so not in the file: people are in their T-pose."""


def main(job: Path, folder: Path) -> None:
    """Write one FBX for each file of the job into `folder`."""
    import bpy

    plan = json.loads((job / "job.json").read_text())
    for number, file in enumerate(plan["files"]):
        bpy.ops.wm.read_factory_settings(use_empty=True)
        _set_up(bpy.context.scene, plan["fps"], plan["frames"])
        with np.load(job / f"{file['name']}.npz") as arrays:
            _BUILDERS[file["kind"]](file, dict(arrays))
        _report_frames(number / len(plan["files"]), 1 / len(plan["files"]), plan["frames"])
        part = folder / f"{file['name']}.part.fbx"
        bpy.ops.export_scene.fbx(
            filepath=str(part),
            object_types={"ARMATURE", "MESH", "CAMERA"},
            axis_forward="-Z",
            axis_up="Y",
            apply_unit_scale=True,
            apply_scale_options="FBX_SCALE_NONE",
            use_custom_props=True,
            add_leaf_bones=False,
            primary_bone_axis="Y",
            secondary_bone_axis="X",
            colors_type="SRGB",
            bake_anim=len(bpy.data.actions) > 0,
            bake_anim_use_all_actions=False,
            bake_anim_use_nla_strips=False,
            bake_anim_simplify_factor=0.0,
        )
        part.replace(folder / f"{file['name']}.fbx")
        print(f"{SHARE}{(number + 1) / len(plan['files']):.3f}", flush=True)


def _set_up(scene: Any, fps: float, frames: int) -> None:
    scene.unit_settings.system = "METRIC"
    scene.unit_settings.scale_length = 0.01
    scene.render.fps = max(1, round(fps))
    scene.render.fps_base = max(1, round(fps)) / fps
    scene.frame_start, scene.frame_end = 0, frames - 1


def _report_frames(start: float, size: float, frames: int) -> None:
    """The exporter sets every frame in turn, and some again: print how far it has come."""
    import bpy

    most = -1

    def report(scene: Any, *rest: Any) -> None:
        nonlocal most
        if scene.frame_current > most:
            most = scene.frame_current
            print(f"{SHARE}{start + size * min(1.0, (most + 1) / frames):.3f}", flush=True)

    bpy.app.handlers.frame_change_post.append(report)


# --- people --------------------------------------------------------------------------------------------------------


def _build_person(file: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    import bpy

    skeleton = _add_skeleton(file, arrays)
    for key, value in file["properties"].items():
        skeleton[key] = value
    _add_body(file, arrays, skeleton)
    bones = [skeleton.pose.bones[name] for name in file["joints"]]
    for bone in bones:
        bone.rotation_mode = "QUATERNION"
    curves = _Curves(skeleton)
    for joint, bone in enumerate(bones):
        curves.add(bone.path_from_id("rotation_quaternion"), arrays["rotations_wxyz"][:, joint], (1, 0, 0, 0))
    curves.add(bones[0].path_from_id("location"), arrays["root_cm"], (0, 0, 0))
    # The exporter takes the values of nodes, which hold where no take is played, from the current frame.
    bpy.context.scene.frame_set(_REST_FRAME)


def _add_skeleton(file: dict[str, Any], arrays: dict[str, np.ndarray]) -> Any:
    import bpy

    skeleton = bpy.data.objects.new(file["skeleton"], bpy.data.armatures.new(file["skeleton"]))
    bpy.context.scene.collection.objects.link(skeleton)
    skeleton.rotation_euler = (np.pi / 2, 0, 0)
    bpy.context.view_layer.objects.active = skeleton
    bpy.ops.object.mode_set(mode="EDIT")
    root = _add_bone(skeleton, file["root"], None, _ROOT_AXES, 10.0) if file["root"] else None
    bones: list[Any] = []
    for joint, parent in enumerate(file["parents"]):
        matrix = np.eye(4)
        matrix[:3, :3], matrix[:3, 3] = arrays["rest_axes"][joint], arrays["rest_cm"][joint]
        above = root if parent < 0 else bones[parent]
        bones.append(_add_bone(skeleton, file["joints"][joint], above, matrix, float(arrays["bone_cm"][joint])))
    bpy.ops.object.mode_set(mode="OBJECT")
    return skeleton


def _add_bone(skeleton: Any, name: str, parent: Any, matrix: np.ndarray, length_cm: float) -> Any:
    from mathutils import Matrix

    bone = skeleton.data.edit_bones.new(name)
    bone.head, bone.tail = (0, 0, 0), (0, length_cm, 0)
    bone.matrix = Matrix(matrix.tolist())
    bone.parent = parent
    return bone


def _add_body(file: dict[str, Any], arrays: dict[str, np.ndarray], skeleton: Any) -> None:
    import bpy

    mesh = bpy.data.meshes.new(file["name"])
    mesh.from_pydata(arrays["vertices_cm"].tolist(), [], arrays["faces"].tolist())
    mesh.shade_smooth()
    material = bpy.data.materials.new(file["name"])
    material.diffuse_color = file["color"]
    material.use_nodes = True
    material.node_tree.nodes["Principled BSDF"].inputs["Base Color"].default_value = file["color"]
    mesh.materials.append(material)
    body = bpy.data.objects.new(file["name"], mesh)
    bpy.context.scene.collection.objects.link(body)
    body.parent = skeleton
    for joint, name in enumerate(file["joints"]):
        group = body.vertex_groups.new(name=name)
        rows, columns = np.nonzero((arrays["joint_indices"] == joint) & (arrays["joint_weights"] > 0))
        for vertex, weight in zip(rows.tolist(), arrays["joint_weights"][rows, columns].tolist(), strict=True):
            group.add([vertex], weight, "REPLACE")
    body.modifiers.new("skeleton", "ARMATURE").object = skeleton


# --- camera --------------------------------------------------------------------------------------------------------


def _build_camera(file: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    import bpy
    from mathutils import Quaternion

    scene = bpy.context.scene
    scene.render.resolution_x, scene.render.resolution_y = file["width_px"], file["height_px"]
    lens = bpy.data.cameras.new(file["name"])
    lens.sensor_fit = "HORIZONTAL"
    lens.sensor_width, lens.sensor_height = arrays["film_mm"].tolist()
    lens.shift_x, lens.shift_y = arrays["shift"].tolist()
    lens.clip_start, lens.clip_end = _NEAR_CM, _FAR_CM
    lens.lens = float(arrays["focal_mm"][0])
    camera = bpy.data.objects.new(file["name"], lens)
    for key, value in file["properties"].items():
        camera[key] = value
    scene.collection.objects.link(camera)
    scene.camera = camera
    camera.rotation_mode = "QUATERNION"
    upright = Quaternion((1, 0, 0), np.pi / 2)
    turns = np.array([upright @ Quaternion(turn) for turn in arrays["rotations_wxyz"].tolist()])
    places = np.array([upright @ _vector(place) for place in arrays["places_cm"].tolist()])
    camera.rotation_quaternion, camera.location = turns[0], places[0]
    if _changes(turns) or _changes(places):
        curves = _Curves(camera)
        curves.add("rotation_quaternion", turns)
        curves.add("location", places)
    if _changes(arrays["focal_mm"]):
        _Curves(lens).add("lens", arrays["focal_mm"][:, None])


def _changes(values: np.ndarray) -> bool:
    return bool(np.any(values != values[0]))


def _vector(values: list[float]) -> Any:
    from mathutils import Vector

    return Vector(values)


# --- scene ---------------------------------------------------------------------------------------------------------


def _build_scene(file: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    import bpy

    mesh = bpy.data.meshes.new(file["name"])
    mesh.from_pydata(arrays["vertices_cm"].tolist(), [], arrays["faces"].tolist())
    colors = np.full((len(arrays["colors"]), 4), 255, np.uint8)
    colors[:, :3] = arrays["colors"]
    attribute = mesh.color_attributes.new("Color", "BYTE_COLOR", "POINT")
    attribute.data.foreach_set("color_srgb", colors.astype(np.float32).reshape(-1) / 255)
    mesh.color_attributes.render_color_index = mesh.color_attributes.active_color_index = 0
    material = bpy.data.materials.new(file["name"])
    material.use_nodes = True
    mesh.materials.append(material)
    scene = bpy.data.objects.new(file["name"], mesh)
    scene.rotation_euler = (np.pi / 2, 0, 0)
    bpy.context.scene.collection.objects.link(scene)


_BUILDERS = {"person": _build_person, "camera": _build_camera, "scene": _build_scene}


# --- keys ----------------------------------------------------------------------------------------------------------


class _Curves:
    """The animation of an object or of its data: a key at every frame from 0, and `before` them where it is given."""

    def __init__(self, owner: Any) -> None:
        import bpy

        self._owner = owner
        self._action = bpy.data.actions.new(owner.name)
        owner.animation_data_create().action = self._action

    def add(self, path: str, values: np.ndarray, before: tuple[float, ...] | None = None) -> None:
        first = 0 if before is None else _REST_FRAME
        rows = values if before is None else np.vstack([before, values])
        for index, column in enumerate(rows.T):
            curve = self._action.fcurve_ensure_for_datablock(self._owner, path, index=index)
            curve.keyframe_points.add(len(column))
            keys = np.stack([first + np.arange(len(column)), column], axis=1).astype(np.float32)
            curve.keyframe_points.foreach_set("co", keys.reshape(-1))
            curve.keyframe_points.foreach_set("interpolation", np.ones(len(column), np.int32))  # linear
            curve.update()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
