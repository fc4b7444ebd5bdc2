"""Points that contradict a fitted body stand on it afterwards; all others stay bit for bit."""

import dataclasses

import numpy as np
import pytest
import torch

from tests.helpers.walks import make_walk
from unish.analysis.fit_report import fit_report
from unish.body import open_body
from unish.fitting import settings
from unish.fitting.fit import fit_bodies
from unish.fitting.person_points import points_on_bodies
from unish.geometry.visibility import depth_map


@pytest.fixture(scope="module")
def truth():
    return make_walk(open_body(), frames=4, people=2)


def flattened(scene, person: int, by_m: float):
    """The person's points as a sheet, so much beyond the farthest."""
    depth = scene.depth_m.copy()
    for frame, mask in enumerate(scene.person_mask == person + 1):
        depth[frame][mask] = depth[frame][mask].max() + by_m
    return dataclasses.replace(scene, depth_m=depth)


def test_points_come_back_to_the_body_and_nothing_else_moves(truth):
    wrong = flattened(truth, 0, 0.6)
    moved, masks = points_on_bodies(wrong, [0])
    own = truth.person_mask == 1
    assert np.median(np.abs(wrong.depth_m - truth.depth_m)[own]) > 0.5
    assert np.quantile(np.abs(moved - truth.depth_m)[own], 0.9) < 0.1
    np.testing.assert_array_equal(moved[~own], wrong.depth_m[~own])
    np.testing.assert_array_equal(masks, truth.person_mask)
    assert points_on_bodies(wrong, []) == (wrong.depth_m, wrong.person_mask)


def test_what_the_body_does_not_cover_moves_with_what_is_beside_it(truth):
    """A coat, or a leg that the body has elsewhere: no tear between it and the rest."""
    wrong = flattened(truth, 0, 0.6)
    masks = wrong.person_mask.copy()
    row, column = (places.mean().astype(int) for places in np.nonzero(masks[0] == 1))
    masks[0, row - 4 : row + 4, column : column + 14] = 1
    wrong.depth_m[0, row - 4 : row + 4, column : column + 14] = wrong.depth_m[0][masks[0] == 1].max()
    moved, _ = points_on_bodies(dataclasses.replace(wrong, person_mask=masks), [0])
    ratio = np.log(moved[0] / wrong.depth_m[0])[row, column + 5 : column + 14]
    assert ratio.max() < -0.05 and np.abs(np.diff(ratio)).max() < 0.03


def test_relief_is_bounded_where_that_is_asked(truth):
    """A person's points with waves and a part behind them at the outline: as they are, and on the body's surface."""
    wrong = flattened(truth, 0, 0.6)
    own = truth.person_mask == 1
    waves = np.random.default_rng(0).normal(0, 0.05, own.shape) * own
    wrong.depth_m[:] *= np.exp(waves)
    whole, bounded = (points_on_bodies(wrong, [0], relief)[0] for relief in (np.inf, 0.01))
    np.testing.assert_array_equal(whole, points_on_bodies(wrong, [0])[0])
    error = [np.abs(np.log(moved / truth.depth_m))[own] for moved in (whole, bounded)]
    assert np.median(error[0]) > 0.02 and np.quantile(error[1], 0.9) < 0.03
    np.testing.assert_array_equal(bounded[~own], wrong.depth_m[~own])


def test_bodies_out_of_sight_move_nothing(truth):
    away = dataclasses.replace(truth.people[0], vertices_world=truth.people[0].vertices_world + np.float32([0, -20, 0]))
    scene = flattened(dataclasses.replace(truth, people=(away, *truth.people[1:])), 0, 0.6)
    np.testing.assert_array_equal(points_on_bodies(scene, [0])[0], scene.depth_m)


def test_an_uncertain_pixel_is_the_persons_where_the_body_covers_it(truth):
    """Legs that the mask lacks, with the depth of what is behind, and the ground around."""
    body = np.array(truth.person_mask == 1)
    rows = np.nonzero(body[0].any(1))[0]
    legs, around = np.zeros_like(body), np.zeros_like(body)
    middle = len(rows) // 2
    legs[:, rows[middle] :], around[:, rows[middle] :] = body[:, rows[middle] :], ~body[:, rows[middle] :]
    masks, uncertain = truth.person_mask.copy(), np.zeros(truth.person_mask.shape, np.uint8)
    masks[legs] = 0
    uncertain[legs | around] = 1
    wrong = dataclasses.replace(truth, person_mask=masks, uncertain_mask=uncertain, depth_m=truth.depth_m.copy())
    wrong.depth_m[legs] += 2.0
    moved, found = points_on_bodies(wrong, [0])
    covered = legs & (found == 1)  # the painter's outlines are half a pixel wider than the body's
    assert covered.sum() > 0.6 * legs.sum() and (found[around] == 1).mean() < 0.01
    assert np.median(np.abs(moved - truth.depth_m)[covered]) < 0.05
    np.testing.assert_array_equal(moved[around & (found != 1)], wrong.depth_m[around & (found != 1)])
    np.testing.assert_array_equal(found == 2, truth.person_mask == 2)


def test_the_fit_moves_points_only_where_they_contradict_the_body(truth, monkeypatch):
    quick = dataclasses.replace(settings.AUTO, vertices=80, placement_steps=8, refine_steps=6)
    monkeypatch.setattr(settings, "AUTO", quick)
    fitted = fit_bodies(flattened(truth, 0, 0.7), open_body())
    assert fitted.fitting is not None and [person.fitted for person in fitted.fitting.people] == [True, True]
    first, second = (person.points_moved_cm for person in fitted.fitting.people)
    assert first > quick.points_off_cm and second == 0
    assert fitted.depth_m[fitted.person_mask == 1].mean() < truth.depth_m[truth.person_mask == 1].mean() + 0.4
    report = fit_report(fitted)
    rated = report.people[0].measures[0]
    assert (rated.name, rated.value, report.word) == ("body_to_points_median", first, "poor")
    again = fit_bodies(fitted, open_body())
    assert again.fitting is not None and again.fitting.points_moved_cm[fitted.people[0].id] >= first


def test_the_minis_points_always_move(truth, monkeypatch):
    monkeypatch.setattr(settings, "AUTO", dataclasses.replace(settings.AUTO, vertices=80, placement_steps=8))
    mini = dataclasses.replace(truth, provenance=dataclasses.replace(truth.provenance, weights="mini"))
    uncertain = np.zeros(truth.person_mask.shape, np.uint8)
    fitted = fit_bodies(dataclasses.replace(mini, uncertain_mask=uncertain), open_body())
    assert fitted.uncertain_mask is None
    assert fitted.fitting is not None and all(person.points_moved_cm > 0 for person in fitted.fitting.people)


def test_a_depth_map_is_that_of_the_nearest_face():
    corners = torch.tensor([[-1.0, -1, 2], [1, -1, 2], [0, 1, 2], [-1, -1, 4], [1, -1, 4], [0, 1, 4]])
    intrinsics = torch.tensor([[10.0, 0, 8], [0, 10, 8], [0, 0, 1]])
    depth = depth_map(corners, torch.tensor([[3, 4, 5], [0, 1, 2]]), intrinsics, 16, 16)
    assert depth[7, 8] == pytest.approx(2.0) and torch.isinf(depth[0, 0])
