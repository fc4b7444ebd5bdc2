"""Bodies posed in the browser: the same as the body model's, at the frames and between them."""

import dataclasses

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation, Slerp

from tests.helpers.posed import make_posed, shared_open_body
from tests.viewer.test_page import Opened
from tests.viewer.test_page import open_page as open_page
from unish.structures import Reconstruction
from unish.viewer import scene_arrays, write_html
from unish.viewer.bodies import QUATERNION_STEPS, contacts, skinned_body, skinning_arrays

WITHIN_M = 1e-3


@pytest.fixture(scope="module")
def posed() -> Reconstruction:
    scene = make_posed(frames=4)
    fitted = scene.people[1]
    rotations = np.concatenate([fitted.root_rotation_world[:, None], fitted.body_rotations[:, 1:]], axis=1)
    network = dataclasses.replace(
        fitted,
        network_betas=fitted.betas - 0.5,
        network_rotations_world=rotations[::-1].copy(),
        network_translation_world=fitted.translation_world + np.float32([0.5, 0, 0]),
    )
    return dataclasses.replace(scene, people=(scene.people[0], network))


@pytest.fixture(scope="module")
def viewer(open_page, posed, tmp_path_factory) -> Opened:
    return open_page(write_html(posed, tmp_path_factory.mktemp("bodies") / "a.html", max_points=2000))


def turn(posed: Reconstruction) -> np.ndarray:
    return np.array(scene_arrays(posed, 100).meta["display_from_world"])


def browser_body(viewer: Opened, person: int, frame: int, share: float = 0) -> np.ndarray:
    script = f"unishViewers[0].scene.bodies.body({person}, {frame}, {share}).map(axis => [...axis])"
    return np.array(viewer.tab.evaluate(script)).T


def test_the_browser_skins_as_the_body_model_does(viewer, posed):
    assert viewer.tab.evaluate("unishViewers[0].scene.bodies.skinned")
    for index, person in enumerate(posed.people):
        for frame in np.flatnonzero(person.present):
            expected = person.vertices_world[frame] @ turn(posed).T
            assert np.abs(browser_body(viewer, index, int(frame)) - expected).max() < WITHIN_M


def test_between_frames_every_joint_turns_evenly(viewer, posed):
    person, share = posed.people[0], 0.3
    body = shared_open_body()
    rotations = np.concatenate([person.root_rotation_world[:, None], person.body_rotations[:, 1:]], axis=1)[:2]
    between = np.stack(
        [Slerp([0, 1], Rotation.from_matrix(rotations[:, joint]))(share).as_matrix() for joint in range(24)]
    )
    betas = torch.from_numpy(person.betas)
    still = body(betas, torch.from_numpy(between.astype(np.float32)), torch.zeros(3))
    pelvis = (1 - share) * person.joints_world[0, 0] + share * person.joints_world[1, 0]
    expected = still.vertices.numpy() + pelvis - still.joints.numpy()[0]
    assert np.abs(browser_body(viewer, 0, 0, share) - expected @ turn(posed).T).max() < WITHIN_M


def test_a_camera_that_follows_has_no_jerk_at_a_frame(viewer):
    """It comes to a frame as fast as it leaves it, though the steps before and after differ."""
    places = np.array(
        viewer.tab.evaluate("""() => {
      const {bodies} = unishViewers[0].scene;
      const moments = [[0, 1], [1, 0], [1, 0.99], [2, 0], [2, 0.01], [3, 0]];
      return moments.map(([frame, share]) => bodies.steadyPelvis(0, frame, share));
    }""")
    )
    _, first, before, here, after, last = places
    np.testing.assert_allclose(places[0], first, atol=1e-9)
    assert np.abs((last - here) - (here - first)).max() > 1e-3, "what is followed does not move evenly"
    np.testing.assert_allclose((here - before) / 0.01, (after - here) / 0.01, atol=2e-4)


def test_the_networks_motion_is_a_choice_beside_the_fitted_one(viewer, posed):
    """The second person of the file was fitted: the network had them half a metre aside, and slimmer."""
    person = posed.people[1]
    fitted = browser_body(viewer, 1, 3)
    viewer.tab.locator(".uv-motion").select_option("network")
    network = browser_body(viewer, 1, 3)
    body, rotations = shared_open_body(), person.network_rotations_world[3]
    motion = (person.network_betas, rotations, person.network_translation_world[3])
    expected = body(*map(torch.from_numpy, motion)).vertices.numpy() @ turn(posed).T
    assert np.abs(network - expected).max() < WITHIN_M and np.abs(network - fitted).max() > 0.4
    first = browser_body(viewer, 0, 3)
    viewer.tab.locator(".uv-motion").select_option("")
    np.testing.assert_array_equal(browser_body(viewer, 0, 3), first)


def test_what_gl_draws_is_what_was_computed(viewer, posed):
    """Vertices that the page projects lie on drawn bodies, and bodies are drawn nowhere else."""
    viewer.tab.evaluate("""() => {
      const v = unishViewers[0];
      for (const layer of ['scene', 'points', 'camera']) v.showLayer(layer, false);
      v.layers.people.floorShown = false;
      v.find('.uv-hint').hidden = true;
      v.refresh();
      v.setFrame(3);
    }""")
    drawn = viewer.pixels()
    viewer.tab.evaluate("{ const v = unishViewers[0]; v.showLayer('people', false); v.refresh(); }")
    body = np.abs(drawn - viewer.pixels()).max(-1) > 10
    viewer.tab.evaluate("{ const v = unishViewers[0]; v.showLayer('people', true); v.refresh(); }")
    places = np.array(
        viewer.tab.evaluate("""() => {
      const v = unishViewers[0], view = v.view();
      return v.scene.meta.people.flatMap((_, person) => {
        const body = v.scene.body(person, 3);
        return Array.from(body[0], (_, i) => view.screen(body.map(axis => axis[i])).slice(0, 2));
      });
    }""")
    )
    shape = np.array(body.shape)
    inside = ((places > [1, 60]) & (places < shape[::-1] - 2)).all(1)
    column, row = places[inside].round().astype(int).T
    near = np.max([body[row + i, column + j] for i in (-1, 0, 1) for j in (-1, 0, 1)], axis=0)
    assert inside.sum() > 5000 and near.mean() > 0.995
    rows, columns = np.nonzero(body[60:])
    low, high = places[inside].min(0), places[inside].max(0)
    assert (np.array([columns.min(), rows.min() + 60]) > low - 3).all()
    assert (np.array([columns.max(), rows.max() + 60]) < high + 3).all()


def test_light_shows_a_figure_and_not_its_anatomy(viewer):
    """A trunk is lit as an upright oval is, whatever its shape; arms and legs as they are shaped."""
    points, lit, mesh = (
        np.array(each).reshape(-1, 3)
        for each in viewer.tab.evaluate("""() => {
      const {bodies, arrays} = unishViewers[0].scene, points = bodies.rest(0), rest = bodies.of('rest_joints', 0);
      const lit = figureNormals(arrays, points, rest), mesh = meshNormals(points, arrays.faces, FIGURE_RINGS);
      return [points, lit, mesh].map(each => [...each]);
    }""")
    )
    np.testing.assert_allclose(np.linalg.norm(lit, axis=1), 1, atol=1e-5)
    joints = np.array(viewer.tab.evaluate("[...unishViewers[0].scene.bodies.of('rest_joints', 0)]")).reshape(-1, 3)
    x, y, z = points.T
    front = (np.abs(x) < 0.1) & (y > joints[1, 1]) & (y < joints[9, 1] + 0.02) & (z > joints[6, 2] + 0.05)
    assert front.sum() > 100 and np.abs(mesh[front, 1]).max() > 0.3, "breasts and belly have an underside"
    assert np.abs(lit[front, 1]).max() < 0.05 and lit[front, 2].min() > 0.6
    limbs = (np.abs(x) > 1.6 * joints[16, 0]) | (y < joints[4, 1])
    np.testing.assert_allclose(lit[limbs], mesh[limbs], atol=1e-2)


def test_joints_are_named_under_the_pointer(viewer):
    viewer.tab.evaluate("{ const v = unishViewers[0]; v.setFrame(3); v.showLayer('skeleton', true); v.refresh(); }")
    x, y = viewer.tab.evaluate("""() => {
      const v = unishViewers[0], {joints} = v.scene.bodies.pose(0, 3), box = v.plot.getBoundingClientRect();
      const [x, y] = v.view().screen([...joints.subarray(12, 15)]);
      return [x + box.left, y + box.top];
    }""")
    viewer.tab.mouse.move(x, y)
    assert viewer.tab.locator(".uv-joint").inner_text() == "Left knee, Person 1"
    viewer.tab.mouse.move(x + 200, 5)
    assert not viewer.tab.locator(".uv-joint").is_visible()
    assert viewer.errors == []


def test_bodies_that_depend_on_the_pose_are_sent_as_vertices(posed):
    licensed = dataclasses.replace(
        posed, provenance=dataclasses.replace(posed.provenance, body="smpl_neutral"), people=posed.people[:1]
    )
    scene = scene_arrays(licensed, 100)
    assert not scene.meta["bodies"]["skinned"]
    assert scene.arrays["body_0"].shape == posed.people[0].vertices_world.shape
    moved = dataclasses.replace(posed.people[0], vertices_world=posed.people[0].vertices_world + 0.002)
    assert skinned_body(dataclasses.replace(posed, people=(moved,))) is None


def test_weights_are_kept_whole():
    body = shared_open_body()
    arrays = skinning_arrays(body)
    assert (arrays["skin_weights"].sum(axis=1, dtype=np.int64) == 65535).all()
    back = np.zeros(body.weights.shape)
    for k in range(arrays["skin_joints"].shape[1]):
        np.add.at(back, (np.arange(len(back)), arrays["skin_joints"][:, k]), arrays["skin_weights"][:, k] / 65535)
    assert np.abs(back - body.weights.numpy()).max() < 1e-4


def test_a_body_costs_its_rotations_alone(posed):
    one, four = (scene_arrays(make_posed(frames=frames, people=1), 100).arrays for frames in (1, 4))
    names = [name for name in four if name.startswith(("body_", "rotations_", "joints_", "rest_", "skin_"))]
    grown = sum(four[name].nbytes - one[name].nbytes for name in names)
    assert grown <= 3 * 24 * (8 + 12)
    turns = four["rotations_0"].astype(float) / QUATERNION_STEPS
    np.testing.assert_allclose(np.linalg.norm(turns, axis=-1), 1, atol=1e-4)


def test_a_standing_foot_is_low_and_still():
    joints = np.zeros((30, 24, 3))
    joints[:, 10] = [0.1, 0, 0.03]
    swing = np.arange(30) / 30
    joints[:, 11] = np.stack([2 * swing, 0 * swing, 0.03 + 0.2 * np.abs(np.sin(6 * swing))], -1)
    standing = contacts(joints, np.ones(30, bool), np.arange(30) / 30, 0.0)
    assert standing[:, 0].all() and not standing[:, 1].any()
    assert not contacts(joints, np.zeros(30, bool), np.arange(30) / 30, 0.0).any()
