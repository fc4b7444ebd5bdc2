"""Keypoints whose sides are confused are sorted, those that mislead are left out, and sure ones tell the scale."""

import dataclasses

import numpy as np
import pytest

from tests.helpers.walks import displaced, make_walk, root_errors_m, with_limbs_seen
from unish.analysis.floor_map import NO_FLOOR
from unish.body import open_body
from unish.fitting import fit, settings
from unish.fitting.calibrate import person_scale
from unish.fitting.fit import fit_bodies
from unish.fitting.lifting import lifted_scene
from unish.fitting.measures import outline_iou
from unish.fitting.misleading_keypoints import CLEARLY, may_mislead, with_person
from unish.fitting.person_fit import Subject
from unish.people.mini_keypoints import MIRRORED_KEYPOINTS


@pytest.fixture(scope="module")
def body():
    return open_body()


@pytest.fixture(scope="module")
def walk(body):
    """Somebody who walks, as the mini's results have them, with sure keypoints."""
    scene = with_limbs_seen(make_walk(body, frames=8), 0.8)
    return dataclasses.replace(scene, provenance=dataclasses.replace(scene.provenance, weights="mini"))


@pytest.fixture
def few_steps(monkeypatch):
    quick = dataclasses.replace(settings.AUTO, vertices=80, placement_steps=12, refine_steps=6)
    monkeypatch.setattr(settings, "AUTO", quick)


def with_keypoints(scene, keypoints_px):
    return with_person(scene, 0, dataclasses.replace(scene.people[0], keypoints_px=keypoints_px))


def swapped(scene, frames):
    keypoints = scene.people[0].keypoints_px.copy()
    keypoints[frames] = keypoints[frames][:, list(MIRRORED_KEYPOINTS)]
    return with_keypoints(scene, keypoints)


@pytest.mark.parametrize("frames", [[], [3], [0, 7], list(range(8))])
def test_confused_sides_are_sorted(walk, body, frames):
    """In some frames, as they stand out; in all, as the person would walk backwards."""
    confused = swapped(walk, frames)
    for on_keypoints in (False, True):
        lifted = lifted_scene(confused, body, on_keypoints).people[0]
        np.testing.assert_array_equal(lifted.keypoints_px, walk.people[0].keypoints_px)
    np.testing.assert_allclose(
        lifted_scene(confused, body).people[0].body_rotations, lifted_scene(walk, body).people[0].body_rotations
    )


def test_who_stands_still_may_face_either_way(walk, body):
    """Then there is no reason to doubt the keypoints."""
    still = dataclasses.replace(
        walk,
        cameras=dataclasses.replace(
            walk.cameras, world_from_camera=walk.cameras.world_from_camera[[0] * 8], intrinsics=walk.cameras.intrinsics
        ),
        people=(
            dataclasses.replace(
                walk.people[0],
                **{
                    name: getattr(walk.people[0], name)[[0] * 8]
                    for name in ("keypoints_px", "boxes_px", "body_rotations", "translation_camera", "joints_world")
                },
            ),
        ),
    )
    turned = swapped(still, range(8))
    np.testing.assert_array_equal(lifted_scene(turned, body).people[0].keypoints_px, turned.people[0].keypoints_px)


def test_keypoints_of_somebody_else_do_not_move_a_body_that_its_mask_shows(walk, body, few_steps, monkeypatch):
    """Unsure ones, half as tall and a body's width aside."""
    wrong = walk.people[0].keypoints_px.copy()
    middle = wrong[..., :2].mean((0, 1))
    wrong[..., :2] = middle + [25, -15] + 0.4 * (wrong[..., :2] - middle)
    wrong[..., 2] *= 0.5
    release = dataclasses.replace(walk, provenance=dataclasses.replace(walk.provenance, weights="release"))
    network = with_keypoints(displaced(release, body, (0.1, 0.05, 0.2)), wrong)
    fitted = fit_bodies(network, body)
    np.testing.assert_array_equal(fitted.people[0].keypoints_px, wrong)
    monkeypatch.setattr(fit, "may_mislead", lambda _: False)
    misled = fit_bodies(network, body)
    assert outline_iou(fitted, 0) > outline_iou(misled, 0) + CLEARLY
    assert root_errors_m(fitted, walk).mean() < 0.9 * root_errors_m(misled, walk).mean()


def test_progress_rises_through_both_fits(walk, body, few_steps, monkeypatch):
    shares: list[float] = []
    monkeypatch.setattr(fit, "WELL_OUTLINED", 1.1)
    unsure = with_keypoints(walk, walk.people[0].keypoints_px * np.float32([1, 1, 0.5]))
    fit_bodies(unsure, body, progress=lambda share, _: shares.append(share))
    assert shares == sorted(shares) and max(shares) > 0.5


def test_only_unsure_keypoints_may_mislead(walk):
    person = walk.people[0]
    assert not may_mislead(person)
    assert may_mislead(dataclasses.replace(person, keypoints_px=person.keypoints_px * np.float32([1, 1, 0.5])))
    assert not may_mislead(dataclasses.replace(person, keypoints_px=np.zeros_like(person.keypoints_px)))
    assert not may_mislead(dataclasses.replace(person, keypoints_px=None))


def test_only_a_body_beside_its_mask_is_doubted_and_only_a_clearly_better_outline_tells(walk, body, monkeypatch):
    near, aside, far = (displaced(walk, body, (x, 0, 0)).people[0] for x in (0.02, 0.28, 0.3))
    subject = Subject(walk, 0, fit._sparse(walk.people[0], body, settings.AUTO, "cpu"), settings.AUTO, "cpu")

    def chosen(*fits):
        """Of the fit with keypoints and the one without; and how many of them were made."""
        waiting = list(fits)
        monkeypatch.setattr(fit, "_fitted_person", lambda *_: waiting.pop(0))
        best = fit._best_fitted(subject, walk, 0.1, NO_FLOOR, body, lambda _: None)
        return best, len(fits) - len(waiting)

    told = dataclasses.replace(far, keypoints_px=walk.people[0].keypoints_px)
    best, made = chosen(told, near)
    assert best.vertices_world is near.vertices_world and best.keypoints_px is told.keypoints_px and made == 2
    assert chosen(far, aside) == (far, 2)
    assert chosen(near, walk.people[0]) == (near, 1)
    assert chosen(near, far) == (near, 1)


def test_a_sure_trunk_tells_the_scale_of_who_is_cut_off_by_the_image(walk, body):
    """The feet lie below the image's end: box and mask do not say how far somebody is."""
    person, height = walk.people[0], walk.cameras.height_px
    boxes = person.boxes_px.copy()
    boxes[:, 3] = height
    cut = with_person(walk, 0, dataclasses.replace(person, boxes_px=boxes))
    larger = dataclasses.replace(cut, depth_m=1.3 * cut.depth_m)
    subject = Subject(larger, 0, fit._sparse(person, body, settings.AUTO, "cpu"), settings.AUTO, "cpu")
    frames = np.arange(len(walk))
    told = person_scale(subject, frames, NO_FLOOR)
    assert told is not None and told.log_scale == pytest.approx(-np.log(1.3), abs=0.08)
    unsure = with_keypoints(larger, person.keypoints_px * np.float32([1, 1, 0.7]))
    assert person_scale(dataclasses.replace(subject, scene=unsure), frames, NO_FLOOR) is None
