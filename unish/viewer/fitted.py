"""From a scene with the network's bodies to the same scene with fitted ones, while the viewer shows it."""

import numpy as np

from unish.errors import InputError
from unish.structures import Reconstruction
from unish.viewer.bodies import skinned_body
from unish.viewer.scene import people_and_cameras, thinned
from unish.viewer.scene_file import SceneArrays


def fitted_change(scene: SceneArrays, fitted: Reconstruction) -> SceneArrays:
    """What `fit_bodies` changes of a `scene` that was made before: bodies, cameras, and how large everything is.

    A fit scales the world and raises it: images, points and surfaces stay as they are, between other ends.
    `meta["moved"]` says how: what was at p in the display frame is at scale * p + shift_m. `with_change` puts the two
    together. Raises `InputError` for a result whose bodies were not fitted.
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
    placed = people_and_cameras(thinned(fitted, body)[0], body, meta, scene.arrays)
    changed = {
        name: array
        for name, array in placed.arrays.items()
        if name not in scene.arrays or not np.array_equal(array, scene.arrays[name])
    }
    return SceneArrays(meta | placed.meta, changed)


def with_change(scene: SceneArrays, change: SceneArrays) -> SceneArrays:
    """The whole scene after a change to it."""
    return SceneArrays(change.meta, scene.arrays | change.arrays)
