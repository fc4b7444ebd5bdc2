"""From a scene with the network's bodies to the same scene with fitted ones, while the viewer shows it."""

from typing import Any

import numpy as np
from jaxtyping import Float

from unish.errors import InputError
from unish.structures import Reconstruction
from unish.viewer.bodies import bounds, skinned_body
from unish.viewer.scene import people_and_cameras, thinned
from unish.viewer.scene_file import SceneArrays, dequantise, quantise
from unish.viewer.surfaces import Surfaces, surface_arrays


def fitted_change(scene: SceneArrays, fitted: Reconstruction) -> SceneArrays:
    """What `fit_bodies` changes of a `scene` that was made before: bodies, cameras, and how large everything is.

    A fit scales the world and raises it: images, points and surfaces stay as they are, between other ends.
    `meta["moved"]` says how: what was at p in the display frame is at scale * p + shift_m. Where it moved people's
    points onto their bodies, the surfaces and points of people come anew. `with_change` puts the two together. Raises
    `InputError` for a result whose bodies were not fitted.
    """
    if fitted.fitting is None:
        raise InputError("Expected a result with fitted bodies; fit them with unish.fitting.fit.fit_bodies.")
    scale, rise_m = fitted.fitting.scale, fitted.fitting.rise_m
    shift_m = np.array(scene.meta["display_from_world"]) @ [0, 0, rise_m]
    meta = dict(scene.meta, moved={"scale": scale, "shift_m": shift_m.tolist()})
    for name in ("still", "moving"):
        place = scene.meta[name]
        ends = {end: (scale * np.array(place[end]) + shift_m).tolist() for end in ("low", "high")}
        meta[name] = {**place, **ends, "spacing_m": scale * place["spacing_m"]}
    meta["surface"] = {**scene.meta["surface"], "near_m": scale * scene.meta["surface"]["near_m"]}
    body = skinned_body(fitted)
    shown = thinned(fitted, body)[0]
    arrays = _people_points(scene, shown, meta) if fitted.fitting.points_moved_cm else {}
    placed = people_and_cameras(shown, body, meta, scene.arrays | arrays)
    changed = {
        name: array
        for name, array in (arrays | placed.arrays).items()
        if name not in scene.arrays or not np.array_equal(array, scene.arrays[name])
    }
    return SceneArrays(meta | placed.meta, changed)


def _people_points(scene: SceneArrays, fitted: Reconstruction, meta: dict[str, Any]) -> dict[str, np.ndarray]:
    """Surfaces and points of people where the fit moved them; `meta` is told between which ends the points lie."""
    _, arrays = surface_arrays(Surfaces.of(fitted), meta["surface"]["near_m"])
    display_from_world, place = np.array(meta["display_from_world"]), meta["moving"]
    points = (
        dequantise(scene.arrays["moving_xyz"], np.array(place["low"]), np.array(place["high"])) @ display_from_world
    )
    starts = scene.arrays["moving_start"]
    for frame, part in enumerate(map(slice, starts[:-1], starts[1:])):
        points[part] = _on_depth(points[part], fitted, frame)
    points_display = points @ display_from_world.T
    low, high = bounds([points_display])
    meta["moving"] = {**place, "low": low.tolist(), "high": high.tolist()}
    return arrays | {"moving_xyz": quantise(points_display, low, high)}


def _on_depth(
    points_world: Float[np.ndarray, "points 3"], reconstruction: Reconstruction, frame: int
) -> Float[np.ndarray, "points 3"]:
    """Points of a frame's pixels, moved along their rays to where its depth map has them."""
    world_from_camera = reconstruction.cameras.world_from_camera[frame].astype(np.float64)
    rotation, center = world_from_camera[:3, :3], world_from_camera[:3, 3]
    points_camera = (points_world - center) @ rotation
    pixels = points_camera @ reconstruction.cameras.intrinsics[frame].T
    height, width = reconstruction.depth_m.shape[1:]
    column, row = (pixels[:, :2] / pixels[:, 2:]).astype(int).clip(0, [width - 1, height - 1]).T
    depth_m = np.asarray(reconstruction.depth_m[frame])[row, column]
    return points_camera * (depth_m / points_camera[:, 2])[:, None] @ rotation.T + center


def with_change(scene: SceneArrays, change: SceneArrays) -> SceneArrays:
    """The whole scene after a change to it."""
    return SceneArrays(change.meta, scene.arrays | change.arrays)
