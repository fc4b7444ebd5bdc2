"""A body is put where its picture fills a box, and the human branch's joints come out there."""

import numpy as np
import pytest
import torch

from train.data.prepare.joints import fit_to_box, own_joints_px
from unish.body import open_body
from unish.geometry.camera import intrinsics_from_focal, project
from unish.geometry.rotations import axis_angle_to_matrix
from unish.models.hub import load


@pytest.fixture(scope="module")
def people():
    """Bodies about their pelvis, standing and turned any way, from 1.5 m to 8 m before a camera."""
    torch.manual_seed(0)
    count = 24
    rotations = axis_angle_to_matrix(0.3 * torch.randn(count, 24, 3))
    upright = axis_angle_to_matrix(torch.tensor([torch.pi, 0.0, 0.0]))
    rotations[:, 0] = upright @ axis_angle_to_matrix(torch.randn(count, 3) * torch.tensor([0.3, 2.0, 0.3]))
    body = open_body()
    posed = body(torch.randn(count, 10), rotations, torch.zeros(count, 3))
    vertices = posed.vertices - posed.joints[:, :1]
    translation = torch.stack([torch.randn(count), 0.5 * torch.randn(count), torch.linspace(1.5, 8, count)], dim=-1)
    return vertices, translation


def test_a_known_body_is_found_again(people):
    vertices, translation = people
    intrinsics = intrinsics_from_focal(torch.full((len(vertices),), 500.0), 640, 480)
    intrinsics[:, 1, 1] *= 1.1
    intrinsics[:, 0, 2] += 30
    pixels = project(vertices + translation[:, None], intrinsics)
    found = fit_to_box(vertices, torch.cat([pixels.amin(1), pixels.amax(1)], dim=-1), intrinsics)
    assert ((found - translation).norm(dim=-1) / translation[:, 2]).max() < 0.01
    again = fit_to_box(
        vertices.unflatten(0, (4, 6)),
        torch.cat([pixels.amin(1), pixels.amax(1)], dim=-1).unflatten(0, (4, 6)),
        intrinsics.unflatten(0, (4, 6)),
    )
    torch.testing.assert_close(again.flatten(0, 1), found)


def test_a_box_of_another_shape_keeps_its_middle_and_longer_side(people):
    vertices, _ = people
    intrinsics = intrinsics_from_focal(torch.full((len(vertices),), 500.0), 640, 480)
    box = torch.tensor([100.0, 50.0, 180.0, 290.0]).expand(len(vertices), 4)
    pixels = project(vertices + fit_to_box(vertices, box, intrinsics)[:, None], intrinsics)
    low, high = pixels.amin(1), pixels.amax(1)
    torch.testing.assert_close((high - low).amax(-1), torch.full((len(vertices),), 240.0), rtol=1e-3, atol=0.1)
    torch.testing.assert_close((high + low) / 2, torch.tensor([[140.0, 170.0]]).expand_as(low), rtol=1e-3, atol=0.2)


def test_a_box_too_large_for_any_place_still_gives_numbers(people):
    vertices, _ = people
    intrinsics = intrinsics_from_focal(torch.full((len(vertices),), 100.0), 640, 480)
    for box in ([0.0, 0.0, 1e5, 1e5], [5.0, 5.0, 5.0, 5.0]):
        found = fit_to_box(vertices, torch.tensor(box).expand(len(vertices), 4), intrinsics)
        assert torch.isfinite(found).all() and (found[:, 2] > -vertices[..., 2].amin(-1)).all()


def test_joints_lie_in_the_box_and_follow_it():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (5, 120, 160, 3), dtype=np.uint8)
    boxes = np.array([[30.0 + 10 * k, 20.0, 70.0 + 10 * k, 110.0] for k in range(5)])
    intrinsics = intrinsics_from_focal(torch.full((5,), 150.0), 160, 120).numpy()
    joints = own_joints_px(load("mini", device="cpu"), open_body(), images, boxes, intrinsics)
    assert joints.shape == (5, 24, 2) and np.isfinite(joints).all()
    middle, side = (boxes[:, :2] + boxes[:, 2:]) / 2, 90.0
    assert np.abs(joints - middle[:, None]).max() <= side / 2 + 1
    assert np.abs(joints[:, 0] - middle).max() < 0.3 * side  # the pelvis is about the middle
