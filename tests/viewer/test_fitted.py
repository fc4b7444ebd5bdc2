"""A scene that is shown with the network's bodies gets its fitted ones: the same scene as one that is made anew."""

import base64
import dataclasses

import numpy as np
import pytest

from tests.helpers.posed import make_posed, shared_open_body
from unish.errors import InputError
from unish.fitting.scene import moved_scene
from unish.structures import Fitting, PersonFitting, Reconstruction
from unish.viewer import SceneArrays, encode_scene, page, scene_arrays
from unish.viewer.fitted import fitted_change, with_change
from unish.viewer.scene_file import dequantise

SCALE, RISE_M = 0.8, 0.25


@pytest.fixture(scope="module")
def scenes() -> tuple[SceneArrays, SceneArrays, SceneArrays]:
    """Before the fit, what it changes, and the fitted result's scene made anew."""
    network = make_posed(4)
    fitted = with_fit(moved_scene(network, SCALE, RISE_M, shared_open_body()))
    before = scene_arrays(network, 3000)
    return before, fitted_change(before, fitted), scene_arrays(fitted, 3000)


def with_fit(scene: Reconstruction) -> Reconstruction:
    """The scene as a fit gives it that scaled and raised it; the network's motion is kept beside its own."""
    people = [
        dataclasses.replace(
            person,
            network_betas=person.betas,
            network_rotations_world=np.array(person.body_rotations),
            network_translation_world=person.translation_world,
        )
        for person in scene.people
    ]
    return dataclasses.replace(scene, people=tuple(people), fitting=Fitting("auto", SCALE, RISE_M, ()))


def test_the_changed_scene_is_the_one_that_is_made_anew(scenes):
    before, change, anew = scenes
    whole = with_change(before, change)
    assert whole.arrays.keys() == anew.arrays.keys()
    for name in ("body_0", "rotations_1", "joints_0", "joints_1_network", "contacts_0", "camera_pose", "camera_lens"):
        np.testing.assert_array_equal(whole.arrays[name], anew.arrays[name])
    np.testing.assert_allclose(whole.arrays["camera_corners"], anew.arrays["camera_corners"], atol=1e-3)
    assert whole.meta["surface"]["near_m"] == pytest.approx(anew.meta["surface"]["near_m"], rel=1e-4)
    for end in ("low", "high"):
        np.testing.assert_allclose(whole.meta[end], anew.meta[end], atol=0.05)
    assert whole.meta["bodies"] == anew.meta["bodies"]
    assert whole.meta["ground_z"] == pytest.approx(anew.meta["ground_z"], abs=1e-4)


def test_points_move_with_the_world_and_are_not_sent_again(scenes):
    before, change, _ = scenes
    assert not {"still_xyz", "images", "surface_depth", "faces", "skin_weights"} & change.arrays.keys()
    ends = [[np.array(scene.meta["still"][end]) for end in ("low", "high")] for scene in (before, change)]
    old, new = (dequantise(before.arrays["still_xyz"], *end) for end in ends)
    np.testing.assert_allclose(new, SCALE * old + [0, 0, RISE_M], atol=1e-6)


@pytest.fixture(scope="module")
def moved_scenes(scenes) -> tuple[SceneArrays, SceneArrays, SceneArrays]:
    """The same with the first person's points moved by the fit."""
    fitted = with_fit(moved_scene(make_posed(4), SCALE, RISE_M, shared_open_body()))
    depth_m = np.where(fitted.person_mask == 1, 0.9 * fitted.depth_m, fitted.depth_m)
    moved = (PersonFitting(1, True, "", (), points_moved_cm=30.0),)
    fitted = dataclasses.replace(fitted, depth_m=depth_m, fitting=Fitting("auto", SCALE, RISE_M, moved))
    return scenes[0], fitted_change(scenes[0], fitted), scene_arrays(fitted, 3000)


def test_points_that_were_moved_onto_bodies_are_sent_again(moved_scenes):
    before, change, anew = moved_scenes
    np.testing.assert_array_equal(change.arrays["surface_depth"].shape, anew.arrays["surface_depth"].shape)
    assert change.meta["surface"]["near_m"] == pytest.approx(SCALE * before.meta["surface"]["near_m"])
    points = [
        dequantise(scene.arrays["moving_xyz"], *(np.array(scene.meta["moving"][end]) for end in ("low", "high")))
        for scene in (change, anew)
    ]
    assert "still_xyz" not in change.arrays
    of_first = before.arrays["moving_person"] == before.arrays["moving_person"].min()
    nearest = np.linalg.norm(points[0][of_first][:, None] - points[1][None], axis=-1).min(1)
    assert np.median(nearest) < 0.02 and np.quantile(nearest, 0.95) < 0.1


def test_bodies_that_were_not_fitted_are_refused(scenes):
    with pytest.raises(InputError, match="fitted bodies"):
        fitted_change(scenes[0], make_posed(4))


def test_the_viewer_changes_the_scene_that_it_shows(moved_scenes, browser):
    """In place: the canvas, the moment and the visitor's view stay, and the picture is that of the whole."""
    before, change, _ = moved_scenes
    context = browser.new_context(viewport={"width": 500, "height": 600}, reduced_motion="reduce")
    tab = context.new_page()
    tab.set_content(page.offline_page(encode_scene(before), "t"))
    tab.locator("[data-ready=true]").wait_for(timeout=60_000)
    shown = """async files => {
      const viewer = unishViewers[0], bytes = file => ({base64: file});
      const eye = () => viewer.scene.unplace(viewer.camera().eye);
      viewer.setFrame(2);
      viewer.turn(0.4, 0.1);
      const canvas = viewer.plot.querySelector('canvas'), from = eye();
      Object.assign(viewer, {name: 'a', loading: Promise.resolve()});
      viewer.work('Fitting bodies');
      await viewer.take({scene: bytes(files.whole), name: 'a', change: bytes(files.change), done: 'Fitted.'});
      const {find, scene, data} = viewer, same = viewer.plot.querySelector('canvas') === canvas;
      return {
        same, motion: !find('.uv-motion').closest('label').hidden, done: find('.uv-working').hidden,
        loads: viewer.loads, frame: viewer.frame, said: find('.uv-announce').textContent,
        from, to: eye(), pelvis: scene.pelvis(0, 2), near: data.place.near_m,
        codes: Array.from(viewer.surfaces.current.codes), expected: Array.from(data.codes(2)),
        moving: viewer.layers.source.moving.xyz === scene.arrays.moving_xyz,
      };
    }"""
    whole = with_change(before, change)
    files = {"whole": whole, "change": change}
    coded = {name: base64.b64encode(encode_scene(each)).decode() for name, each in files.items()}
    seen = tab.evaluate(shown, coded)
    context.close()
    assert seen["same"] and seen["motion"] and seen["done"]
    assert (seen["loads"], seen["frame"], seen["said"]) == (1, 2, "Fitted.")
    np.testing.assert_allclose(seen["to"], SCALE * np.array(seen["from"]) + [0, 0, RISE_M], atol=1e-3)
    np.testing.assert_allclose(seen["pelvis"], whole.arrays["joints_0"][2, 0], atol=1e-5)
    assert seen["codes"] == seen["expected"] and seen["moving"]
    assert seen["near"] == pytest.approx(whole.meta["surface"]["near_m"])
