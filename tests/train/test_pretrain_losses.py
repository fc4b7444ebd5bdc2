"""Each loss term on a case worked by hand, its zero, and its gradient."""

import math

import pytest
import torch

from train.objectives import pretrain_losses as losses
from train.objectives.losses import joint_loss
from unish.geometry.camera import intrinsics_from_focal, unproject_depth
from unish.geometry.rotations import axis_angle_to_matrix
from unish.geometry.transforms import rigid


def plane(depth: float = 2.0, size: int = 6) -> torch.Tensor:
    """Points of a wall at one depth: (1, 1, size, size, 3)."""
    axis = torch.linspace(-0.5, 0.5, size)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    return torch.stack([x * depth, y * depth, torch.full_like(x, depth)], -1)[None, None]


def ones(points: torch.Tensor) -> torch.Tensor:
    return torch.ones(points.shape[:-1])


def finite_gradient(loss: torch.Tensor, *inputs: torch.Tensor) -> bool:
    return all(torch.isfinite(g).all() for g in torch.autograd.grad(loss, inputs))


def test_the_scale_of_a_clip_is_found_despite_outliers_and_masks():
    true = plane()
    predicted = true / 2.5
    predicted[0, 0, 0] *= 2.0  # one row of six is wrong
    weight = ones(true)
    assert losses.clip_scale(predicted, true, weight) == pytest.approx(2.5)
    predicted[0, 0, 1:] *= 3.0
    weight[0, 0, 1:] = 0.0
    assert losses.clip_scale(predicted, true, weight) == pytest.approx(2.5 / 2.0)
    assert losses.clip_scale(predicted, true, torch.zeros_like(weight)) == 1.0


def test_point_loss_is_the_error_over_depth():
    true = plane(2.0)
    predicted = (true + torch.tensor([0.1, -0.1, 0.2])).requires_grad_()
    loss = losses.point_loss(predicted, true, ones(true), torch.ones(1))
    assert loss.item() == pytest.approx(0.4 / 2.0, rel=1e-5)
    assert finite_gradient(loss, predicted)


def test_invalid_pixels_do_not_count_and_do_not_spoil_the_gradient():
    true, weight = plane(2.0), ones(plane())
    true[0, 0, 0], weight[0, 0, 0] = 0.0, 0.0
    predicted = (true * 0.5).requires_grad_()
    scale = losses.clip_scale(predicted, true, weight)
    loss = losses.point_loss(predicted, true, weight, scale) + losses.normal_loss(predicted, true, weight)
    assert loss.item() == pytest.approx(0.0, abs=1e-6)
    assert finite_gradient(loss, predicted)


def test_normal_loss_is_the_angle_of_a_tilted_plane_and_ignores_scale():
    true = plane(2.0)
    angle = 0.3
    turn = axis_angle_to_matrix(torch.tensor([angle, 0.0, 0.0]))
    predicted = (7.0 * true @ turn.mT).requires_grad_()
    loss = losses.normal_loss(predicted, true, ones(true))
    assert loss.item() == pytest.approx(angle, rel=1e-4)
    assert finite_gradient(loss, predicted)


def test_normals_do_not_count_across_a_jump_of_depth():
    true = plane(2.0)
    true[0, 0, :, 3:] *= 2.0
    predicted = true.clone()
    predicted[0, 0, :, 3:] *= 1.7  # each half is a right plane, only the step between them is wrong
    assert losses.normal_loss(predicted, true, ones(true)).item() == pytest.approx(0.0, abs=1e-3)


def test_focal_loss_is_the_log_ratio_of_the_lenses_at_any_scale_and_depth():
    intrinsics = intrinsics_from_focal(torch.tensor([9.0]), 8, 6)[:, None]
    true = unproject_depth(torch.rand(1, 2, 6, 8) + 1.0, intrinsics)
    weight = ones(true)
    assert losses.focal_loss(3.0 * true, weight, intrinsics).item() == pytest.approx(0.0, abs=1e-5)
    true[0, 1, :3] *= torch.tensor([9.0, 9.0, 1.0])  # points that do not count
    weight[0, 1, :3] = 0.0
    longer = (true * torch.tensor([1 / 1.5, 1 / 1.5, 1.0])).requires_grad_()
    loss = losses.focal_loss(longer, weight, intrinsics)
    assert loss.item() == pytest.approx(math.log(1.5), rel=1e-5)
    assert finite_gradient(loss, longer)
    assert losses.focal_loss(longer, torch.zeros_like(weight), intrinsics).item() == 0.0


def test_camera_losses_of_one_turned_and_one_moved_camera():
    still = torch.eye(4).repeat(1, 3, 1, 1)
    turned = still.clone()
    turned[0, 2, :3, :3] = axis_angle_to_matrix(torch.tensor([0.0, 0.4, 0.0]))
    rotation, translation = losses.camera_losses(turned, still, torch.ones(1), torch.ones(1))
    assert rotation.item() == pytest.approx(0.4 * 4 / 6, rel=1e-4)  # four of six ordered pairs hold the third camera
    assert translation.item() == pytest.approx(0.0, abs=1e-6)
    moved = still.clone()
    moved[0, 2, 0, 3] = 0.5
    rotation, translation = losses.camera_losses(moved, still, torch.full((1,), 2.0), torch.full((1,), 4.0), huber=0.02)
    # 0.5 units · 2 m / 4 m = 0.25 off along one of three axes in four of six pairs; linear part of the Huber function.
    assert rotation.item() == pytest.approx(0.0, abs=1e-6)
    assert translation.item() == pytest.approx((0.25 - 0.01) / 3 * 4 / 6, rel=1e-4)


def test_camera_losses_ignore_the_choice_of_world_and_have_finite_gradients():
    angles = torch.tensor([[0.1, 0.2, 0.0], [0.0, 0.3, 0.1], [0.2, 0.0, 0.0]])
    true = rigid(axis_angle_to_matrix(angles), torch.rand(3, 3))[None]
    world = rigid(axis_angle_to_matrix(torch.tensor([0.5, 0.0, 1.0])), torch.tensor([1.0, 2.0, 3.0]))
    predicted = (world @ true).requires_grad_()
    rotation, translation = losses.camera_losses(predicted, true, torch.ones(1), torch.ones(1))
    assert rotation.item() == pytest.approx(0.0, abs=2e-3) and translation.item() == pytest.approx(0.0, abs=1e-4)
    assert finite_gradient(rotation + translation, predicted)


def test_confidence_is_told_where_points_are_right():
    true = plane(2.0)
    predicted = true.clone()
    predicted[0, 0, :3] += 1.0
    logits = torch.zeros(true.shape[:-1], requires_grad=True)
    loss = losses.confidence_loss(logits, predicted, true, ones(true), torch.ones(1), threshold=0.1)
    assert loss.item() == pytest.approx(math.log(2), rel=1e-5)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert (gradient[0, 0, :3] > 0).all() and (gradient[0, 0, 3:] < 0).all()


def test_body_losses_of_hand_worked_cases():
    true = torch.eye(3).repeat(2, 24, 1, 1)
    predicted = true.clone()
    predicted[:, 5] = axis_angle_to_matrix(torch.tensor([0.0, 0.0, math.pi]))  # 180°: ‖R − I‖² = 8
    assert losses.rotation_loss(predicted, true).item() == pytest.approx(8 / 24)
    assert losses.rotation_loss(predicted, true, root_weight=9.0).item() == pytest.approx(8 / 32)
    joints = torch.rand(2, 24, 3)
    moved = joints + torch.tensor([1.0, 2.0, 3.0])
    moved[:, 7, 0] += 0.24
    assert joint_loss(moved, joints).item() == pytest.approx(0.01, rel=1e-4)
    assert losses.betas_loss(torch.zeros(3, 10), torch.full((3, 10), 2.0)).item() == pytest.approx(4.0)


def test_placement_losses_of_hand_worked_cases():
    assert losses.log_scale_loss(torch.tensor([2.0, 3.0]), torch.tensor([2.0 * math.e, 3.0])).item() == pytest.approx(
        0.5
    )
    true = torch.tensor([[0.0, 0.0, 2.0], [1.0, 0.0, 4.0]])
    predicted = torch.tensor([[0.0, 0.1, 2.3], [9.0, 9.0, 9.0]], requires_grad=True)
    seen = torch.tensor([1.0, 0.0])
    assert losses.translation_l1_loss(predicted, true, seen).item() == pytest.approx(0.4, rel=1e-5)
    rays = losses.ray_loss(predicted, true, seen)
    assert rays.item() == pytest.approx(0.1 / 2.3, rel=1e-5)
    assert losses.ray_loss(3.0 * true, true, torch.ones(2)).item() == pytest.approx(0.0, abs=1e-7)
    assert finite_gradient(rays, predicted)
    assert losses.translation_l1_loss(predicted, true, torch.zeros(2)).item() == 0.0


def test_tokens_are_told_which_joint_they_hold():
    grid, patch = (2, 3), 10.0
    pixels = torch.tensor([[[15.0, 5.0], [10.0, 10.0], [99.0, 5.0]]])  # a token's centre, a corner of four, outside
    flat = torch.zeros(1, 6, 3, requires_grad=True)
    loss = losses.token_loss(flat, pixels, grid, patch)
    assert loss.item() == pytest.approx(math.log(6), rel=1e-5)
    assert finite_gradient(loss, flat)
    sure = torch.full((1, 6, 3), -50.0)
    sure[0, 1, 0] = 50.0  # row 0, column 1
    sure[0, [0, 1, 3, 4], 1] = 50.0
    assert losses.token_loss(sure, pixels, grid, patch).item() == pytest.approx(math.log(4) / 2, rel=1e-4)


def test_points_are_followed_into_the_next_frame_unless_hidden():
    depth = torch.full((1, 2, 28, 42), 2.0)
    intrinsics = torch.tensor([[40.0, 0.0, 21.0], [0.0, 40.0, 14.0], [0.0, 0.0, 1.0]])[None, None]
    points = unproject_depth(depth, intrinsics)
    cameras = torch.eye(4).repeat(1, 2, 1, 1)
    cameras[0, 1, 0, 3] = 0.5  # half a metre to the right: the wall moves 10 px to the left
    pixels = losses.next_frame_pixels(points, torch.ones(1, 2, 28, 42), cameras, intrinsics, patch_px=14)
    assert pixels.shape == (1, 2, 6, 2)
    assert (pixels[0, 0, 0] == -1).all()  # 7.5 − 10 lies outside
    torch.testing.assert_close(pixels[0, 0, 1], torch.tensor([11.5, 7.5]))
    torch.testing.assert_close(pixels[0, 1, 0], torch.tensor([17.5, 7.5]))  # the first frame follows the last
    nearer = points.clone()
    nearer[0, 1] *= 0.5  # something stands in front in the second frame
    hidden = losses.next_frame_pixels(nearer, torch.ones(1, 2, 28, 42), cameras, intrinsics, patch_px=14)
    assert (hidden[0, 0] == -1).all()


def test_every_token_is_asked_for_the_whole_pose():
    true = torch.zeros(1, 144)
    predicted = torch.zeros(1, 2, 144)
    predicted[0, 0, 6] = 3.0  # one number of joint 1 in one of two tokens
    assert losses.dense_pose_loss(predicted, true).item() == pytest.approx(9 / 48)
    assert losses.dense_pose_loss(predicted, true, root_weight=9.0).item() == pytest.approx(9 / 64)


def test_place_loss_of_a_hand_worked_case():
    true = torch.tensor([[0.2, -0.1, 1.0], [0.0, 0.0, 0.0]])
    predicted = true + torch.tensor([[0.1, 0.0, 0.4], [0.0, -0.3, 0.0]])
    assert losses.place_loss(predicted, true).item() == pytest.approx((0.1 + 0.1 + 0.3) / 2)


def test_the_scale_leaves_no_gradient_along_the_free_unit():
    """With the point loss's own weights in the fit, growing or shrinking the whole clip cannot pay."""
    generator = torch.Generator().manual_seed(0)
    true = torch.rand(1, 2, 16, 16, 3, generator=generator) + torch.tensor([0.0, 0.0, 2.0])
    predicted = (true * torch.exp(0.3 * torch.randn(true.shape, generator=generator))).requires_grad_()
    weight = torch.ones(1, 2, 16, 16)
    scale = losses.clip_scale(predicted, true, weight / true[..., 2])
    losses.point_loss(predicted, true, weight, scale).backward()
    along, whole = (predicted.grad * predicted).sum().abs().item(), (predicted.grad * predicted).abs().sum().item()
    assert along < 0.01 * whole


def test_the_gauge_is_the_log_of_the_median_distance():
    points = torch.zeros(1, 1, 2, 2, 3)
    points[..., 2] = math.e
    assert losses.gauge_loss(points, torch.ones(1, 1, 2, 2)).item() == pytest.approx(1.0)
