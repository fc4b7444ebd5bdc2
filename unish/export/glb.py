"""The whole result as one animated GLB (binary glTF 2.0): skinned people, the scene's points, the moving camera.

glTF's axes: y up, metres, right-handed; a camera looks along its −z. Our (x, y, z) becomes (x, z, −y), so the first
camera stands above the origin and looks along −z. Nodes that stand in the world:

- `person_ID`: the skinned mesh in its T-pose on the floor, with the person's shape baked in, and
  `person_ID_skeleton`: 24 joints under SMPL's names. One animation turns every joint and moves the pelvis, a key a
  frame, from 0 s; `extras` hold the id and the shape numbers. Where a person is not seen the skeleton is scaled to zero
  (a step), which glTF means for hiding; the motion itself goes on, bridged, so taking that channel away shows it.
- `scene`: points with colours; `scene_mesh`: a mesh with colours. `camera`: the clip's camera, animated, with the
  aspect of the clip's images where they are given, else of the network's; its `extras` hold the lens in millimetres and
  pixels.

Left out: pose correctives of licensed SMPL bodies (a skin cannot hold them, so bent joints have a slightly other form;
the open body has none), a zooming lens (the median angle is written, each frame's is in the camera's `extras`), and
the points beyond the budget.
"""

import logging
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32, Integer, UInt8

from unish.body import BodyModel
from unish.body.data import JOINT_NAMES, PARENTS
from unish.export.camera_motion import CAMERA_FROM_GL, FILM_WIDTH_MM, focal_mm, lens_frame, with_steady_camera
from unish.export.gltf import INDICES, VERTICES, GltfDocument
from unish.export.person_motion import (
    Y_UP_FROM_WORLD,
    body_of,
    continuous_quaternions,
    rest_joints_m,
    rotations_from_world,
    standing_t_pose,
)
from unish.export.scene_mesh import MAX_TRIANGLES, SharedSceneMesh
from unish.export.scene_points import MAX_POINTS, scene_points
from unish.export.settings import Scene
from unish.geometry.isosurface import TriangleMesh
from unish.structures import FrameSequence, Person, Reconstruction
from unish.utils.atomic_write import atomic_path
from unish.utils.colors import person_color

log = logging.getLogger("unish")

_NEAR_M, _FAR_M = 0.05, 1000.0
_POINTS = 0
_UNLIT = "KHR_materials_unlit"


def write_glb(
    reconstruction: Reconstruction,
    path: str | Path,
    max_points: int = MAX_POINTS,
    body: BodyModel | None = None,
    scene: Scene = "points",
    max_triangles: int = MAX_TRIANGLES,
    shared_mesh: SharedSceneMesh | None = None,
    clip: FrameSequence | None = None,
) -> Path:
    """Write the result as the module says, with at most `max_points` points (0: none) or `max_triangles` triangles of
    the scene, or both.

    `body` is the one that the people were posed with; without it the one that the provenance names is loaded.
    `shared_mesh` is the mesh to write, in place of one of `max_triangles` that is made here. The camera's lens is that
    of the images of `clip`, else of the network's. Raises as `body_of`, `lens_frame` and, for a mesh, `scene_mesh` do,
    and `InputError` when the file cannot be written.
    """
    reconstruction = with_steady_camera(reconstruction)
    document = GltfDocument(
        f"unish {reconstruction.provenance.unish_version}",
        source=reconstruction.provenance.source_name,
        weights=reconstruction.provenance.weights,
        body=reconstruction.provenance.body,
        fps=float(reconstruction.fps),
        first_frame_s=float(reconstruction.times_s[0]),
    )
    animation = _Animation(document, reconstruction.times_s)
    standing = []
    if reconstruction.people:
        body = body_of(reconstruction, body)
        if body.pose_directions is not None:
            log.warning("A GLB skin holds no pose correctives: bodies differ from the result's at bent joints.")
        for person in reconstruction.people:
            standing += _add_person(document, animation, person, body)
    if scene != "mesh":
        standing += _add_points(document, reconstruction, max_points)
    if scene != "points":
        shared = shared_mesh or SharedSceneMesh(reconstruction, max_triangles)
        standing += add_scene_mesh(document, shared.mesh())
    standing.append(_add_camera(document, animation, reconstruction, clip))
    animation.add()
    with atomic_path(path) as temporary:
        document.write(temporary, standing)
    return Path(path)


class _Animation:
    """One animation for all nodes, with a key at every frame of the clip; its clock starts with the first frame."""

    def __init__(self, document: GltfDocument, times_s: np.ndarray) -> None:
        self._document = document
        self._times = document.accessor((times_s - times_s[0]).astype(np.float32), bounds=True)
        self._samplers: list[dict[str, object]] = []
        self._channels: list[dict[str, object]] = []

    def move(self, node: int, what: str, values: Float[np.ndarray, "frames size"], step: bool = False) -> None:
        output = self._document.accessor(values.astype(np.float32))
        way = "STEP" if step else "LINEAR"
        self._channels.append({"sampler": len(self._samplers), "target": {"node": node, "path": what}})
        self._samplers.append({"input": self._times, "output": output, "interpolation": way})

    def add(self) -> None:
        self._document.add("animations", name="clip", samplers=self._samplers, channels=self._channels)


def _add_person(document: GltfDocument, animation: _Animation, person: Person, body: BodyModel) -> list[int]:
    """The person's mesh and skeleton. A skin's mesh stands beside its skeleton, since only joints move it."""
    pose = standing_t_pose(person, body)
    joints = _add_joints(document, pose.joints_m)
    skeleton = document.add("nodes", name=f"person_{person.id}_skeleton", children=[joints[0]])
    inverse_binds = np.tile(np.eye(4, dtype=np.float32), (len(joints), 1, 1))
    inverse_binds[:, :3, 3] = -pose.joints_m
    skin = document.add("skins", joints=joints, skeleton=skeleton, inverseBindMatrices=document.accessor(inverse_binds))
    material = document.add(
        "materials",
        name=f"person_{person.id}",
        pbrMetallicRoughness={
            "baseColorFactor": [*linear(np.array(person_color(person.id), np.uint8)).tolist(), 1.0],
            "metallicFactor": 0.0,
            "roughnessFactor": 0.8,
        },
    )
    mesh = _add_mesh(document, person, pose.vertices_m, body, material)
    quaternions = continuous_quaternions(rotations_from_world(person, Y_UP_FROM_WORLD))
    for joint, node in enumerate(joints):
        animation.move(node, "rotation", quaternions[:, joint])
    pelvis = (rest_joints_m(person, body)[0] + person.translation_world) @ Y_UP_FROM_WORLD.T
    animation.move(joints[0], "translation", pelvis)
    if not person.present.all():
        animation.move(skeleton, "scale", np.repeat(person.present[:, None], 3, axis=1).astype(float), step=True)
    extras = {"id": person.id, "name": person.name, "betas": person.betas.tolist(), "body": body.name}
    return [document.add("nodes", name=f"person_{person.id}", mesh=mesh, skin=skin, extras=extras), skeleton]


def _add_joints(document: GltfDocument, rest_m: Float[np.ndarray, "24 3"]) -> list[int]:
    """Nodes of the joints in the T-pose; the first is the pelvis."""
    first = document.count("nodes")
    for joint, parent in enumerate(PARENTS):
        bone_m = rest_m[joint] - (rest_m[parent] if joint else 0)
        children = [first + child for child, above in enumerate(PARENTS) if above == joint]
        below = {"children": children} if children else {}
        document.add("nodes", name=JOINT_NAMES[joint], translation=bone_m.tolist(), **below)
    return list(range(first, first + len(PARENTS)))


def _add_mesh(
    document: GltfDocument, person: Person, t_pose_m: Float[np.ndarray, "vertices 3"], body: BodyModel, material: int
) -> int:
    """The T-pose mesh with the joints that move each vertex, four to an attribute, the strongest first."""
    vertices = t_pose_m.astype(np.float32)
    faces = body.faces.numpy()
    attributes = {
        "POSITION": document.accessor(vertices, VERTICES, bounds=True),
        "NORMAL": document.accessor(vertex_normals(vertices, faces), VERTICES),
    }
    for number, (joints, weights) in enumerate(influences(body.weights.numpy())):
        attributes[f"JOINTS_{number}"] = document.accessor(joints, VERTICES)
        attributes[f"WEIGHTS_{number}"] = document.accessor(weights, VERTICES)
    corners = document.accessor(faces.reshape(-1).astype(np.uint32), INDICES)
    primitive = {"attributes": attributes, "indices": corners, "material": material}
    return document.add("meshes", name=f"person_{person.id}", primitives=[primitive])


def influences(
    weights: Float[np.ndarray, "vertices joints"],
) -> list[tuple[UInt8[np.ndarray, "vertices 4"], Float32[np.ndarray, "vertices 4"]]]:
    """Joints and weights of every vertex in groups of four, the strongest first, adding up to 1 over all groups."""
    groups = max(1, -(-int(np.count_nonzero(weights, axis=1).max()) // 4))
    order = np.argsort(-weights, axis=1, kind="stable")[:, : 4 * groups]
    strongest = np.take_along_axis(weights, order, axis=1).astype(np.float64)
    strongest = (strongest / strongest.sum(axis=1, keepdims=True)).astype(np.float32)
    joints = np.where(strongest > 0, order, 0).astype(np.uint8)  # glTF wants joint 0 where there is no weight
    return [(joints[:, k : k + 4], strongest[:, k : k + 4]) for k in range(0, 4 * groups, 4)]


def vertex_normals(
    vertices: Float[np.ndarray, "vertices 3"], faces: Integer[np.ndarray, "faces 3"]
) -> Float32[np.ndarray, "vertices 3"]:
    """Unit normals, each face counted by its area; up where a vertex has no face."""
    corners = vertices[faces].astype(np.float64)
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    total = np.zeros((len(vertices), 3))
    for corner in range(3):
        np.add.at(total, faces[:, corner], across)
    length = np.linalg.norm(total, axis=1, keepdims=True)
    return np.where(length > 1e-12, total / np.maximum(length, 1e-12), [0, 1, 0]).astype(np.float32)


def linear(color: UInt8[np.ndarray, "*batch 3"]) -> Float[np.ndarray, "*batch 3"]:
    """Linear light in 0..1, as glTF wants colours, of sRGB bytes (IEC 61966-2-1)."""
    share = color / 255.0
    return np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)


def _add_points(document: GltfDocument, reconstruction: Reconstruction, max_points: int) -> list[int]:
    """The scene as points that no light changes; nothing when there are none."""
    points = scene_points(reconstruction, max_points)
    if not len(points):
        return []
    document.use(_UNLIT)
    material = document.add("materials", name="scene", extensions={_UNLIT: {}})
    attributes = _colored(document, points.points_world, points.colors)
    primitive = {"attributes": attributes, "mode": _POINTS, "material": material}
    return [document.add("nodes", name="scene", mesh=document.add("meshes", name="scene", primitives=[primitive]))]


def add_scene_mesh(document: GltfDocument, mesh: TriangleMesh) -> list[int]:
    """The scene's mesh, both sides seen and no light on it; nothing when it has no triangles."""
    if not len(mesh.faces):
        return []
    document.use(_UNLIT)
    material = document.add("materials", name="scene_mesh", doubleSided=True, extensions={_UNLIT: {}})
    attributes = _colored(document, mesh.vertices_world, mesh.colors)
    corners = document.accessor(mesh.faces.reshape(-1).astype(np.uint32), INDICES)
    primitive = {"attributes": attributes, "indices": corners, "material": material}
    made = document.add("meshes", name="scene_mesh", primitives=[primitive])
    return [document.add("nodes", name="scene_mesh", mesh=made)]


def _colored(document: GltfDocument, points_world: np.ndarray, colors: UInt8[np.ndarray, "points 3"]) -> dict[str, int]:
    """Places and colours (sRGB) as attributes."""
    # Sixteen bits, so that dark colours keep their steps in linear light.
    stored = np.full((len(points_world), 4), 65535, np.uint16)
    stored[:, :3] = np.round(65535 * linear(colors))
    place = (points_world.astype(np.float64) @ Y_UP_FROM_WORLD.T).astype(np.float32)
    return {
        "POSITION": document.accessor(place, VERTICES, bounds=True),
        "COLOR_0": document.accessor(stored, VERTICES, normalized=True),
    }


def _add_camera(
    document: GltfDocument, animation: _Animation, reconstruction: Reconstruction, clip: FrameSequence | None
) -> int:
    frame, cameras = lens_frame(reconstruction, clip), reconstruction.cameras
    intrinsics = frame.map_intrinsics(cameras.intrinsics)
    focal_px = intrinsics[:, [0, 1], [0, 1]]
    view_rad = 2 * np.arctan(frame.height_px / (2 * focal_px[:, 1]))
    across, down = np.median(focal_px, axis=0)
    lens = {
        "yfov": float(np.median(view_rad)),
        "aspectRatio": float(frame.width_px * down / (frame.height_px * across)),
        "znear": _NEAR_M,
        "zfar": _FAR_M,
    }
    length_mm = focal_mm(intrinsics, frame.width_px)
    extras = {
        "focal_mm": float(np.median(length_mm)),
        "sensor_width_mm": FILM_WIDTH_MM,
        "focal_px": [float(across), float(down)],
        "image_size": [frame.width_px, frame.height_px],
    }
    if np.ptp(view_rad) > 1e-6:
        extras |= {"yfov_of_frames": view_rad.tolist(), "focal_mm_of_frames": length_mm.tolist()}
    camera = document.add("cameras", type="perspective", perspective=lens, name="camera", extras=extras)
    pose = cameras.world_from_camera.astype(np.float64)
    turns = continuous_quaternions(Y_UP_FROM_WORLD @ pose[:, :3, :3] @ CAMERA_FROM_GL)
    places = pose[:, :3, 3] @ Y_UP_FROM_WORLD.T
    node = document.add(
        "nodes", name="camera", camera=camera, rotation=turns[0].tolist(), translation=places[0].tolist()
    )
    if np.any(pose != pose[0]):  # a camera that stands still has no keys
        animation.move(node, "rotation", turns)
        animation.move(node, "translation", places)
    return node
