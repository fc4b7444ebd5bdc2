"""Parts of a fit: the reduced body, jitter, contacts, floors, the clip's scale, chunks."""

import dataclasses

import numpy as np
import pytest
import torch

from tests.helpers.walks import make_walk
from unish.analysis.floor_map import FloorMap
from unish.body import open_body
from unish.fitting.calibrate import PersonScale, clip_scale
from unish.fitting.contacts import averages, find_contacts, hysteresis, speeds
from unish.fitting.evidence import Evidence
from unish.fitting.motion_filter import smoothed
from unish.fitting.person_fit import blended, chunks
from unish.fitting.problem import Course, Whitened, moved_pelvis, place_offsets
from unish.fitting.sparse_body import SparseBody
from unish.fitting.terms import offset_precision
from unish.geometry.rotations import axis_angle_to_matrix


@pytest.fixture(scope="module")
def body():
    return open_body()


def test_the_reduced_body_is_the_body(body):
    generator = torch.Generator().manual_seed(0)
    betas = torch.randn(10, generator=generator)
    rotations = axis_angle_to_matrix(0.4 * torch.randn(3, 24, 3, generator=generator))
    sparse = SparseBody.of(body, betas, 60, "cpu")
    vertices, normals = sparse.skin(*sparse.skeleton(rotations), sparse.correctives(rotations))
    whole = body(betas, rotations, torch.zeros(3, 3))
    pelvis = body.pelvis_offset(betas)
    assert torch.allclose(vertices, whole.vertices[:, sparse.index] - pelvis, atol=1e-5)
    assert torch.allclose(sparse.skeleton(rotations)[1], whole.joints - pelvis, atol=1e-5)
    assert len(set(sparse.index[:60].tolist())) == 60 and normals.shape == vertices.shape
    left, right = sparse.sole_vertices(body.shaped(betas)[None, sparse.index]).unbind(1)
    assert left[..., 0].min() > 0 > right[..., 0].max()  # SMPL's left is +x
    assert left[..., 1].max() < body.shaped(betas)[:, 1].min() + 0.05


def test_jitter_goes_and_motion_stays():
    times = torch.arange(60) / 30
    true = torch.stack([times, torch.sin(3 * times)], -1)
    noisy = true + 0.012 * torch.randn(60, 2, generator=torch.Generator().manual_seed(1))
    smooth = smoothed(noisy, times, 4.0, 0.025)
    assert (smooth - true).std() < 0.6 * (noisy - true).std()
    assert smooth.diff(n=3, dim=0).std() < 0.05 * noisy.diff(n=3, dim=0).std()
    slow = torch.arange(12.0)  # a frame a second: motion is not jitter
    steps = torch.randn(12, 3, generator=torch.Generator().manual_seed(2))
    assert torch.allclose(smoothed(steps, slow, 4.0, 0.025), steps, atol=1e-3)
    assert torch.equal(smoothed(steps[:3], slow[:3], 4.0, 0.025), steps[:3])


def test_whitened_offsets_have_the_prior_of_the_precision():
    times = torch.tensor([0.0, 0.2, 0.3, 0.9]).double()
    offsets = torch.randn(4, 3, generator=torch.Generator().manual_seed(0)).double()
    map_ = Whitened.of(times, 0.3, 0.1)
    white = map_.inverse(offsets)
    assert torch.allclose(map_(white), offsets)
    cost = (offsets * (offset_precision(times, 0.3, 0.1) @ offsets)).sum()
    assert torch.allclose(white.square().sum(), cost)


def test_offsets_of_a_place_come_back():
    pelvis = torch.tensor([[0.3, -0.2, 4.0], [1.0, 0.5, 2.0]])
    offsets = torch.tensor([[0.02, 0.01, -0.1], [0.0, -0.05, 0.2]])
    assert torch.allclose(place_offsets(pelvis, moved_pelvis(pelvis, offsets)), offsets, atol=1e-6)


def test_a_person_ends_half_way_between_box_and_mask(body):
    scene = make_walk(body, frames=2)
    boxes = scene.people[0].boxes_px + np.float32([-6, -4, 6, 4])
    mask = scene.person_mask.copy()
    mask[1] = 0
    scene = dataclasses.replace(scene, people=(dataclasses.replace(scene.people[0], boxes_px=boxes),), person_mask=mask)
    evidence = Evidence.read(scene, 0, np.array([0, 1]), "cpu")
    rows, columns = np.nonzero(mask[0])
    extent = torch.tensor([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
    assert torch.allclose(evidence.edges_px[0], (torch.from_numpy(boxes[0]) + extent) / 2)
    assert torch.allclose(evidence.edge_errors_px[0], (torch.from_numpy(boxes[0]) - extent).abs() / 2)
    assert torch.equal(evidence.edges_px[1], torch.from_numpy(boxes[1])) and not evidence.edge_errors_px[1].any()


def test_contacts_have_hysteresis():
    starts = np.array([0, 0, 1, 0, 0, 0, 0, 0], bool)[:, None]
    lasts = np.array([0, 1, 1, 1, 0, 1, 1, 0], bool)[:, None]
    kept = hysteresis(starts, lasts)
    assert kept[:, 0].astype(int).tolist() == [0, 1, 1, 1, 0, 0, 0, 0]
    places = np.arange(8.0)[:, None]
    assert (averages(kept)[0] @ places)[:, 0].tolist() == pytest.approx([0, 2, 2, 2, 0, 0, 0, 0])


def walking_feet(frames: int, fps: float) -> np.ndarray:
    """Ankles and balls of feet that take turns of half a second: one stands while the other moves."""
    times = np.arange(frames) / fps
    ends = np.zeros((frames, 4, 3))
    for foot in (0, 1):
        phase = times + 0.5 * foot
        swing = np.clip((phase % 1.0) / 0.5, 0, 1)
        ends[:, 2 * foot : 2 * foot + 2, 1] = (np.floor(phase) + swing)[:, None]
        ends[:, 2 * foot : 2 * foot + 2, 2] = 0.1 * np.sin(np.pi * swing)[:, None]
    ends[:, ::2, 2] += 0.08
    return ends


@pytest.mark.parametrize("fps", [6.0, 30.0])
def test_feet_that_take_turns_are_found(fps):
    frames = int(4 * fps)
    times, ends = np.arange(frames) / fps, walking_feet(int(4 * fps), fps)
    soles = ends[:, 1::2, 2]
    contacts = find_contacts(ends, soles, np.zeros_like(soles), times)
    true = np.stack([(times + 0.5 * foot) % 1.0 > 0.55 for foot in (0, 1)], -1)
    found = contacts.grounded.numpy()
    assert (found & true).sum() / true.sum() > 0.9 and (found == true).mean() > (0.65 if fps == 6 else 0.8)


def test_without_motion_the_lower_foot_stands_and_nothing_is_held():
    ends = walking_feet(1, 6.0)
    contacts = find_contacts(ends, np.array([[0.01, 0.2]]), np.zeros((1, 2)), np.zeros(1))
    assert not contacts.standing.any() and contacts.grounded.tolist() == [[True, False]]
    assert np.isnan(speeds(walking_feet(3, 1.0), np.arange(3.0))).all()


def test_steps_and_beds_are_floors():
    rng = np.random.default_rng(0)
    floor = np.concatenate([rng.uniform(-2, 2, (9000, 2)), 0.005 * rng.standard_normal((9000, 1))], 1)
    step = floor[np.abs(floor[:, 0]) < 0.5] + [0, 0, 0.17]
    points = np.concatenate([floor[np.abs(floor[:, 0]) >= 0.5], step])
    scene = FloorMap(points, None).moved(1.0, 0.0)
    feet = np.array([[0.0, 0.0, 0.2], [1.5, 0.0, 0.05], [9.0, 9.0, 0.0], [np.nan, 0, 0]])
    heights = scene.heights_m(feet)
    assert heights[:2] == pytest.approx([0.17, 0.0], abs=0.01) and np.isnan(heights[2:]).all()
    assert scene.moved(2.0, 0.1).heights_m(np.array([[0.0, 0.0, 0.45]])) == pytest.approx([0.44], abs=0.01)


def test_the_scale_is_that_on_which_people_agree():
    sure = PersonScale(np.log(1.1), 0.02, 30)
    assert clip_scale([sure], [False], 0.15, 0.05) == pytest.approx(1.09, abs=0.01)
    told = [np.log(clip_scale([sure], [False], 0.15, 0.05, lens)) for lens in (0.0, 0.15, 0.3, 3.0)]
    assert told == sorted(told, reverse=True) and told[1] == pytest.approx(told[0] / 2, rel=0.1)
    assert told[-1] == 0, "whose lens is unknown says nothing of the scale"
    assert clip_scale([sure, PersonScale(np.log(0.8), 0.5, 30)], [False, False], 0.15, 0.05) > 1.05
    assert clip_scale([sure, PersonScale(0.0, 0.02, 30)], [False, True], 0.15, 0.05) == 1.0  # whose height is known
    floor = PersonScale(np.log(1.1), 0.02, 30, floor_log=-np.log(1.1), floor_sigma=0.02, floor_frames=30)
    assert clip_scale([floor], [False], 0.15, 0.05) == 1.0  # points and feet contradict each other
    told = np.log(clip_scale([floor], [False], 0.15, 0.05, people_depth_log=0.2))
    assert -np.log(1.1) < told < -0.5 * np.log(1.1), "then the points may be off by themselves, and the feet tell more"
    assert clip_scale([], [], 0.15, 0.05) == 1.0
    assert clip_scale([PersonScale(np.log(50), 0.01, 30)], [True], 0.15, 0.05) == pytest.approx(3.0)


def test_chunks_cover_all_frames_and_join_without_a_seam():
    parts = chunks(250, 96, 12)
    assert parts[0].start == 0 and parts[-1].stop == 250 and all(len(part) <= 96 for part in parts)
    line = torch.arange(250.0)[:, None].expand(-1, 3)
    rotations = torch.eye(3).repeat(250, 24, 1, 1)
    course = None
    for part in parts:
        piece = Course(rotations[part.start : part.stop], line[part.start : part.stop])
        shared = 0 if course is None else len(course.pelvis) - part.start
        course = piece if course is None else blended(course, piece, shared)
    assert course is not None and torch.allclose(course.pelvis, line)
