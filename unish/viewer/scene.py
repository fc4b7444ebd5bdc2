"""A reconstruction as the arrays the page draws: quantised, upright, small enough to send."""

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from unish.analysis.point_cloud import PointCloud
from unish.body import BodyModel
from unish.body.data import PARENTS
from unish.errors import InputError
from unish.geometry.clouds import surface_spacing
from unish.geometry.transforms import upright_rotation
from unish.structures import FrameSequence, Person, Reconstruction
from unish.utils.atomic_write import atomic_path
from unish.utils.colors import person_color
from unish.viewer.background import background_layers
from unish.viewer.bodies import body_arrays, bounds, skinned_body
from unish.viewer.body_layers import DISTANCE_RANGE_M, distance_bytes, heading
from unish.viewer.cloud import choose_points, point_spans
from unish.viewer.filling import background_filling
from unish.viewer.frame_images import image_arrays
from unish.viewer.scene_file import SceneArrays, dequantise, encode_scene, quantise
from unish.viewer.surfaces import Surfaces, pack_cells, surface_arrays

MAX_POINTS = 50_000
MAX_FRAMES_BYTES = 36 * 2**20
"""Of long clips every second, third… frame is shown, so that a page stays small enough to open."""
DEFAULT_CONFIDENCE = 0.1
FARTHER_BACK = (1.0, 1.15, 1.3, 1.5, 1.75, 2.0)
VIEW_TANGENT = 0.85 * math.tan(math.pi / 8)
"""Of the angle from the middle of the view to its nearer edges, less a margin; the page draws with 45° from top to
bottom."""
MOST_IN_VIEW = 0.97


def scene_arrays(
    reconstruction: Reconstruction, max_points: int = MAX_POINTS, source: FrameSequence | Path | None = None
) -> SceneArrays:
    """Everything the viewer draws of a reconstruction; `source` is the clip that it was made from, for sharper images.

    Coordinates are in the display frame: metres, the world turned so that z points up and the first camera looks
    along +y (`meta["display_from_world"]`, the identity for a world that is upright itself), which is what lets the
    page orbit without rolling. Points and vertices are uint16 between `meta[...]["low"]` and `meta[...]["high"]`;
    colours are r, g, b, confidence in bytes.
    Raises InputError for an empty clip or a `max_points` below one.
    """
    if len(reconstruction.images) == 0:
        raise InputError("Expected a reconstruction with at least one frame, got none; reconstruct a longer clip.")
    if max_points < 1:
        raise InputError(f"Expected max_points of at least 1, got {max_points}; the default is {MAX_POINTS}.")
    body = skinned_body(reconstruction)
    reconstruction, step = thinned(reconstruction, body)
    display_from_world = upright_rotation(reconstruction.world_up, reconstruction.cameras.world_from_camera[0])
    arrays: dict[str, np.ndarray] = {}
    meta: dict[str, Any] = {
        "size_px": [reconstruction.cameras.width_px, reconstruction.cameras.height_px],
        "name": Path(reconstruction.provenance.source_name).stem,
        "frames": len(reconstruction.images),
        "times_s": (reconstruction.times_s - reconstruction.times_s[0]).tolist(),
        "fps": float(reconstruction.fps),
        "people": [
            {"id": person.id, "name": person.name, "color": "#{:02x}{:02x}{:02x}".format(*person_color(person.id))}
            for person in reconstruction.people
        ],
        "bones": [[parent, joint] for joint, parent in enumerate(PARENTS) if parent >= 0],
        "distance_range_m": DISTANCE_RANGE_M,
        "display_from_world": display_from_world.tolist(),
        "notes": [
            *reconstruction.provenance.warnings,
            *([f"This viewer shows one frame in {step} of a long clip; the result itself has them all."] * (step > 1)),
        ],
    }
    clouds = choose_points(reconstruction, max_points)
    spacing = surface_spacing((clouds.still if len(clouds.still) else clouds.moving).points_world)
    for name, points in (("still", clouds.still), ("moving", clouds.moving)):
        points_display = points.points_world @ display_from_world.T
        low, high = bounds([points_display])
        meta[name] = {"low": low.tolist(), "high": high.tolist(), "spacing_m": spacing}
        arrays[f"{name}_xyz"] = quantise(points_display, low, high)
        arrays[f"{name}_color"] = _color_bytes(points)
        if name == "still":
            arrays["still_span"] = point_spans(points_display, spacing)
    arrays["moving_start"] = np.searchsorted(clouds.moving.frame, np.arange(meta["frames"] + 1)).astype(np.uint32)
    arrays["moving_person"] = clouds.moving.person
    confidence = clouds.still.confidence
    confident = np.mean(confidence >= DEFAULT_CONFIDENCE) if len(confidence) else 0.0
    meta["default_confidence"] = DEFAULT_CONFIDENCE if confident >= 0.5 else 0.0

    images, notes = image_arrays(reconstruction, source)
    arrays |= images
    meta["notes"] += notes
    surfaces = Surfaces.of(reconstruction)
    meta["surface"], drawn = surface_arrays(surfaces)
    background = background_layers(reconstruction, surfaces)
    arrays |= drawn
    arrays["background_frames"] = background.frames.astype(np.uint32)
    arrays["background_cells"] = pack_cells(background.cells)
    filling = background_filling(reconstruction, surfaces, background)
    if filling is not None:
        arrays |= filling.arrays(meta["surface"]["near_m"])
    placed = people_and_cameras(reconstruction, body, meta, arrays)
    return SceneArrays(meta | placed.meta, arrays | placed.arrays)


def people_and_cameras(
    reconstruction: Reconstruction, body: BodyModel | None, meta: dict[str, Any], arrays: dict[str, np.ndarray]
) -> SceneArrays:
    """What depends on where people and cameras are, for a scene whose points are in `meta` and `arrays`."""
    display_from_world = np.array(meta["display_from_world"])
    points = {
        name: dequantise(arrays[f"{name}_xyz"], np.array(meta[name]["low"]), np.array(meta[name]["high"]))
        for name in ("still", "moving")
    }
    vertices = [_body_display(person, display_from_world) for person in reconstruction.people]
    present = np.array([_present(person) for person in reconstruction.people], bool)
    present = present.reshape(len(vertices), meta["frames"])
    seen_bodies = [each[here] for each, here in zip(vertices, present, strict=True)]
    centers = reconstruction.cameras.world_from_camera[:, :3, 3] @ display_from_world.T
    joints = _seen_joints(reconstruction, present, display_from_world)
    target = _target(joints, points["still"])
    corners = camera_corners(reconstruction, 0.09 * float(np.linalg.norm(target - np.nan_to_num(centers[0]))))
    corners = corners @ display_from_world.T
    ground_z = _ground_height(seen_bodies, points["still"])
    bodies, placed = body_arrays(reconstruction, body, present, display_from_world, ground_z)
    for index, person in enumerate(reconstruction.people):
        placed[f"heading_{index}"] = heading(person, display_from_world, meta["fps"]).astype(np.float32)
    placed["present"] = present.astype(np.uint8)
    frames = np.repeat(np.arange(meta["frames"]), np.diff(arrays["moving_start"].astype(np.int64)))
    placed["moving_distance"] = distance_bytes(
        points["moving"] @ display_from_world, frames, arrays["moving_person"], reconstruction, present
    )
    placed["camera_corners"] = corners.astype(np.float32)
    placed |= _cameras_display(reconstruction, display_from_world)
    low, high = bounds([*points.values(), corners, *seen_bodies])
    return SceneArrays(
        {
            "ground_z": ground_z,
            "bodies": bodies,
            "low": (low - 0.05).tolist(),
            "high": (high + 0.05).tolist(),
            "view": {"target": target.tolist(), "eye": _first_eye(np.nan_to_num(centers[0]), target, joints).tolist()},
        },
        placed,
    )


def thinned(reconstruction: Reconstruction, body: BodyModel | None) -> tuple[Reconstruction, int]:
    """The reconstruction with one frame kept out of every `step`, so that the page stays small enough to open, and
    `step`. `body` is what skins the bodies in the page; None where their vertices are sent."""
    step = max(1, math.ceil(len(reconstruction) * _frame_bytes(reconstruction, body) / MAX_FRAMES_BYTES))
    return _every(reconstruction, step), step


def _frame_bytes(reconstruction: Reconstruction, body: BodyModel | None) -> int:
    """About what one frame's depth takes, and its bodies where they are sent as vertices."""
    vertices = [] if body is not None else [person.vertices_world.shape[1] for person in reconstruction.people]
    return 6 * sum(vertices) + math.prod(reconstruction.depth_m.shape[1:])


def _every(reconstruction: Reconstruction, step: int) -> Reconstruction:
    """One frame of the reconstruction out of every `step`."""
    if step == 1:
        return reconstruction
    count = len(reconstruction)

    def thin(holder: Any) -> Any:
        arrays = {f.name: getattr(holder, f.name) for f in dataclasses.fields(holder)}
        once = {"betas", "network_betas", "faces", "world_up"}
        thinned = {
            name: array[::step]
            for name, array in arrays.items()
            if isinstance(array, np.ndarray) and name not in once and len(array) == count
        }
        return dataclasses.replace(holder, **thinned)

    return dataclasses.replace(
        thin(reconstruction),
        cameras=thin(reconstruction.cameras),
        people=tuple(thin(person) for person in reconstruction.people),
        fps=reconstruction.fps / step,
        windows=(),
    )


def write_scene(
    reconstruction: Reconstruction,
    path: str | Path,
    max_points: int = MAX_POINTS,
    source: FrameSequence | Path | None = None,
) -> Path:
    """Write the page's binary scene file (see `unish.viewer.scene_file`). Raises InputError when it cannot be."""
    data = encode_scene(scene_arrays(reconstruction, max_points, source))
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)
    return Path(path)


def _cameras_display(reconstruction: Reconstruction, display_from_world: np.ndarray) -> dict[str, np.ndarray]:
    """`camera_pose`, display frame from camera (frames, 3, 4), and `camera_lens`, focal lengths and principal point in
    shares of the image's width and height (frames, 4: fx, fy, cx, cy)."""
    cameras = reconstruction.cameras
    pose = np.einsum(
        "ij,fjk->fik", display_from_world, np.nan_to_num(cameras.world_from_camera[:, :3].astype(np.float64))
    )
    matrix = cameras.intrinsics / np.array([cameras.width_px, cameras.height_px, 1], np.float32)[:, None]
    lens = np.stack([matrix[:, 0, 0], matrix[:, 1, 1], matrix[:, 0, 2], matrix[:, 1, 2]], axis=-1)
    return {"camera_pose": pose.astype(np.float32), "camera_lens": lens.astype(np.float32)}


def camera_corners(reconstruction: Reconstruction, depth_m: float) -> Float[np.ndarray, "frames 5 3"]:
    """Centre of each camera and its image's four corners (clockwise from top left) `depth_m` ahead, world, metres."""
    cameras = reconstruction.cameras
    height, width = reconstruction.images.shape[1:3]
    depth_m = float(np.clip(depth_m, 0.1, 1.0))
    pixels = np.array([[0, 0, 1], [width, 0, 1], [width, height, 1], [0, height, 1]], np.float64)
    rays = np.einsum("fij,cj->fci", np.linalg.inv(cameras.intrinsics.astype(np.float64)), pixels) * depth_m
    points_camera = np.concatenate([np.zeros((len(rays), 1, 3)), rays], axis=1)
    rotation, center = cameras.world_from_camera[:, :3, :3], cameras.world_from_camera[:, None, :3, 3]
    return np.einsum("fij,fcj->fci", rotation, points_camera) + center


def _body_display(person: Person, display_from_world: np.ndarray) -> np.ndarray:
    return person.vertices_world @ display_from_world.T


def _present(person: Person) -> np.ndarray:
    return np.asarray(person.present, bool) & np.isfinite(person.vertices_world).all((1, 2))


def _color_bytes(points: PointCloud) -> np.ndarray:
    confidence = np.round(points.confidence * 255).astype(np.uint8)
    return np.concatenate([points.colors, confidence[:, None]], axis=1)


def _seen_joints(
    reconstruction: Reconstruction, present: np.ndarray, display_from_world: np.ndarray
) -> Float[np.ndarray, "joints 3"]:
    """Everybody's joints while they are seen, display frame."""
    joints = [p.joints_world[here].reshape(-1, 3) for p, here in zip(reconstruction.people, present, strict=True)]
    joints = np.concatenate([np.zeros((0, 3)), *joints])
    return joints[np.isfinite(joints).all(-1)] @ display_from_world.T


def _target(joints: np.ndarray, still_display: np.ndarray) -> np.ndarray:
    """What the first view looks at: the middle of where people are, where there are any, else that of the cloud."""
    if len(joints):
        return np.percentile(joints, [2, 98], axis=0).mean(0)
    if len(still_display):
        return np.median(still_display, axis=0).astype(np.float64)
    return np.array([0.0, 3.0, 0.0])


def _first_eye(camera: np.ndarray, target: np.ndarray, joints: np.ndarray) -> np.ndarray:
    """A little behind, above and beside the first camera: nearly its view, and yet one sees that it is a scene. So far
    back that people stay in view wherever they go, or nearly always."""
    away = camera - target
    distance = max(float(np.linalg.norm(away)), 0.5)
    aside = np.array([-away[1], away[0], 0.0])
    from_target = 1.2 * away + 0.22 * aside + np.array([0.0, 0.0, 0.16 * distance])
    if not len(joints):
        return target + from_target
    ahead = -from_target / max(float(np.linalg.norm(from_target)), 1e-6)
    right = np.cross(ahead, [0, 0, 1])
    right /= max(float(np.linalg.norm(right)), 1e-6)
    axes = np.stack([right, np.cross(right, ahead), ahead])
    shares = []
    for farther in FARTHER_BACK:
        across, up, depth = ((joints - target - farther * from_target) @ axes.T).T
        shares.append(np.mean(np.maximum(np.abs(across), np.abs(up)) < VIEW_TANGENT * depth))
        if shares[-1] >= MOST_IN_VIEW:
            break
    return target + FARTHER_BACK[int(np.argmax(shares))] * from_target


def _ground_height(seen_bodies: list[np.ndarray], still_display: np.ndarray) -> float:
    """Where the grid lies: under the feet, else at the bottom of the cloud."""
    lowest = [body[..., 2].min(1) for body in seen_bodies if body.size]
    if lowest:
        return float(np.median(np.concatenate(lowest)))
    height = float(np.percentile(still_display[:, 2], 2)) if len(still_display) else -1.0
    return height if math.isfinite(height) else -1.0
