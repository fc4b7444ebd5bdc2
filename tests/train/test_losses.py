"""Each term of the three stages: a case worked by hand, its zero, its gradient, and labels that are not there."""

import math

import pytest
import torch
from torch.autograd import gradcheck

from train.objectives import losses
from train.objectives.losses import PatchSettings
from unish.geometry.camera import intrinsics_from_focal, unproject_depth
from unish.geometry.rotations import axis_angle_to_matrix


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    """Numbers for gradient checks; float64 keeps its precision through every term."""
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64).requires_grad_()


def no_pull(loss: torch.Tensor, *inputs: torch.Tensor) -> bool:
    """Whether a term is 0 and asks for nothing."""
    return loss.item() == 0 and all((g == 0).all() for g in torch.autograd.grad(loss, inputs))


# --- stage 1 ---------------------------------------------------------------------------------------------------------

SETTINGS = PatchSettings(patches=6, radius=0.1, min_points=8, max_points=400, fit_points=64)


def person(frames: int = 2, dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    """A bumpy surface about 2 m away, its pseudo-depth, and a prediction that is right up to scale and shift."""
    v, u = torch.meshgrid(torch.arange(24.0), torch.arange(32.0), indexing="ij")
    pseudo = (2 + 0.1 * torch.sin(u / 3) * torch.cos(v / 4)).repeat(frames, 1, 1).to(dtype)
    mask = torch.zeros(frames, 24, 32, dtype=torch.bool)
    mask[:, 4:20, 6:26] = True
    intrinsics = intrinsics_from_focal(torch.tensor(40.0), 32, 24).to(dtype)
    return {
        "depth": (0.4 * pseudo - 0.3).requires_grad_(),
        "confidence": torch.ones_like(pseudo),
        "pseudo_depth": pseudo,
        "pseudo_points": unproject_depth(pseudo, intrinsics),
        "person_mask": mask,
    }


def patch_loss(case: dict[str, torch.Tensor], settings: PatchSettings = SETTINGS, seed: int = 0) -> torch.Tensor:
    return losses.local_affine_loss(**case, settings=settings, generator=seeded(seed))


def test_patches_do_not_see_scale_and_shift():
    assert patch_loss(person()).item() == pytest.approx(0.0, abs=1e-6)


def test_patch_error_is_relative_to_depth_and_counts_as_much_as_it_is_trusted():
    case = person(frames=1)
    step = 2.0 + 0.5 * (torch.arange(32.0) > 15).expand(1, 24, 32)
    one_in_four = (torch.arange(24)[:, None] + torch.arange(32)) % 4 == 0
    case |= {"pseudo_depth": step, "depth": step - 0.1 * one_in_four, "confidence": torch.full_like(step, 0.25)}
    everything = PatchSettings(patches=3, radius=9.0, min_points=8, max_points=320, fit_points=320)
    # Three of four points agree on s = 1 and t = 0, so the fourth is off by 0.1.
    expected = 0.25 * (0.1 * one_in_four / step)[case["person_mask"]].mean()
    assert patch_loss(case, everything).item() == pytest.approx(expected.item(), rel=1e-4)


def test_only_depth_gets_a_gradient_and_only_on_the_person():
    case = person()
    case["depth"] = (case["depth"] + 0.02 * torch.randn(2, 24, 32, generator=seeded())).detach().requires_grad_()
    case["confidence"].requires_grad_()
    case["pseudo_depth"].requires_grad_()
    depth, confidence, pseudo = torch.autograd.grad(
        patch_loss(case), [case["depth"], case["confidence"], case["pseudo_depth"]], allow_unused=True
    )
    assert confidence is None and pseudo is None
    assert (depth != 0).any() and (depth[~case["person_mask"]] == 0).all()


def test_patch_gradient_is_that_of_a_fixed_fit(monkeypatch):
    case = person(dtype=torch.float64)
    noise = 0.05 * torch.randn(2, 24, 32, generator=seeded(), dtype=torch.float64)
    case["depth"] = (case["depth"] + noise).detach()
    fixed = torch.full((2, 6), 2.3, dtype=torch.float64), torch.full((2, 6), 0.7, dtype=torch.float64)
    monkeypatch.setattr(losses, "robust_affine", lambda *_: fixed)
    pixels = case["person_mask"].nonzero()[::40]

    def loss(values: torch.Tensor) -> torch.Tensor:
        moved = case["depth"].index_put(tuple(pixels.T), values)
        return patch_loss({**case, "depth": moved})

    assert gradcheck(loss, case["depth"][tuple(pixels.T)].requires_grad_())


def test_patches_turned_inside_out_are_rejected():
    case = person()
    case["depth"] = (3 - case["pseudo_depth"]).requires_grad_()
    assert no_pull(patch_loss(case), case["depth"])


def test_frames_without_a_patch_do_not_count():
    case = person()
    noise = 0.05 * torch.randn(2, 24, 32, generator=seeded())
    case["depth"] = (case["depth"] + noise).detach().requires_grad_()
    both = patch_loss(case)
    case["person_mask"][1] = False
    case["person_mask"][1, 0, :3] = True  # too few for a patch
    alone = {name: value[:1] for name, value in case.items()}
    settings = PatchSettings(patches=6, radius=9.0, min_points=8, max_points=400, fit_points=400)
    assert patch_loss(case, settings).item() == pytest.approx(patch_loss(alone, settings).item(), rel=1e-5)
    assert both.item() > 0
    case["person_mask"][:] = False
    assert no_pull(patch_loss(case), case["depth"])


def test_pixels_without_pseudo_depth_do_not_count_and_do_not_spoil_the_gradient():
    case = person()
    case["pseudo_depth"][:, 8:10] = torch.inf
    case["pseudo_points"][:, 8:10] = torch.nan
    case["pseudo_depth"][:, 12] = 0.0
    loss = patch_loss(case)
    assert loss.item() == pytest.approx(0.0, abs=1e-6)
    assert torch.autograd.grad(loss, case["depth"])[0].isfinite().all()


def test_pixels_are_drawn_once_at_random_and_from_the_mask():
    mask = person()["person_mask"]
    mask[1, 6:] = False  # 40 pixels are left
    index, drawn = losses.sample_pixels(mask, 100, seeded())
    assert drawn.sum(1).tolist() == [100, 40]
    for frame in range(2):
        chosen = index[frame][drawn[frame]]
        assert mask[frame].flatten()[chosen].all() and len(chosen.unique()) == len(chosen)
    assert torch.equal(index, losses.sample_pixels(mask, 100, seeded())[0])
    assert not torch.equal(index[0], losses.sample_pixels(mask, 100, seeded(1))[0][0])


def test_a_patch_reaches_further_where_the_anchor_is_further_away():
    points = torch.tensor([[[0.0, 0.0, 2.0], [0.0, 0.0, 4.0], [0.3, 0.0, 2.0], [0.3, 0.0, 4.0], [0.1, 0.0, 2.0]]])
    drawn = torch.tensor([[True, True, True, True, False]])
    members = losses.patch_members(points, drawn, PatchSettings(patches=2, radius=0.1))
    assert members.tolist() == [[[True, False, False, False, False], [False, True, False, True, False]]]
    scaled = losses.patch_members(7 * points, drawn, PatchSettings(patches=2, radius=0.1))
    assert torch.equal(members, scaled)


def test_point_regularisation_is_the_l1_distance():
    original = torch.zeros(1, 2, 3, 4, 3)
    points = original + torch.tensor([0.1, -0.2, 0.3])
    assert losses.point_regularisation(points, original).item() == pytest.approx(0.6)
    assert losses.point_regularisation(original, original).item() == 0
    assert losses.point_regularisation(points.bfloat16(), original).dtype == torch.float32
    fixed = random(1, 1, 2, 2, 3, seed=1).detach()
    assert gradcheck(lambda x: losses.point_regularisation(x, fixed), random(1, 1, 2, 2, 3))


# --- stage 2 ---------------------------------------------------------------------------------------------------------


def test_joints_and_vertices_are_compared_about_the_root():
    joints = torch.rand(2, 24, 3, generator=seeded())
    moved = joints + torch.tensor([1.0, 2.0, 3.0])
    assert losses.joint_loss(moved, joints).item() == pytest.approx(0.0, abs=1e-6)
    moved[:, 7, 0] += 0.24
    assert losses.joint_loss(moved, joints).item() == pytest.approx(0.01, rel=1e-4)
    vertices = torch.zeros(2, 5, 3)
    root, true_root = torch.tensor([[0.0, 0.0, 1.0]]).expand(2, 3), torch.tensor([[0.0, 0.1, 0.8]]).expand(2, 3)
    assert losses.vertex_loss(vertices, root, vertices, true_root).item() == pytest.approx(0.3)


def test_rotations_and_shapes_are_compared_by_squares():
    true = torch.eye(3).repeat(2, 24, 1, 1)
    predicted = true.clone()
    predicted[:, 5] = axis_angle_to_matrix(torch.tensor([0.0, 0.0, math.pi]))  # 180°: ‖R − I‖² = 8
    assert losses.pose_loss(predicted, true).item() == pytest.approx(8 / 24)
    assert losses.pose_loss(true, true).item() == 0
    assert losses.shape_loss(torch.zeros(3, 10), torch.full((3, 10), 2.0)).item() == pytest.approx(40.0)


def test_joints_in_the_image_are_measured_in_sizes_of_the_person():
    true = torch.zeros(2, 2, 2)
    predicted = torch.tensor([[[3.0, -1.0], [0.0, 0.0]], [[10.0, 10.0], [0.0, 5.0]]])
    weight = torch.tensor([[1.0, 1.0], [0.0, 1.0]])
    sizes = torch.tensor([100.0, 50.0])
    expected = (4 / 100 + 0 + 5 / 50) / 3
    assert losses.joints_2d_loss(predicted, true, weight, sizes).item() == pytest.approx(expected)
    true[0, 0, 1] = torch.nan
    predicted.requires_grad_()
    loss = losses.joints_2d_loss(predicted, true, weight, torch.tensor([100.0, 50.0]))
    assert loss.item() == pytest.approx((0 + 5 / 50) / 2)
    (gradient,) = torch.autograd.grad(loss, predicted)
    assert gradient.isfinite().all() and (gradient[0, 0] == 0).all()
    assert no_pull(losses.joints_2d_loss(predicted, true, torch.zeros(2, 2), torch.zeros(2)), predicted)


def test_translations_and_scales_in_metres():
    translation = torch.tensor([[[0.5, 0.0, 1.0]], [[0.0, 0.0, 3.0]]])
    true = torch.tensor([[[1.0, 0.0, 2.3]], [[0.0, 0.4, 3.0]]])
    metres_per_unit = torch.tensor([[2.0], [1.0]])
    loss = losses.translation_loss(translation, metres_per_unit, true)
    assert loss.item() == pytest.approx((0.09 + 0.16) / 2)
    assert losses.translation_loss(translation, metres_per_unit, true, torch.tensor([[1.0], [0.0]])).item() == (
        pytest.approx(0.09)
    )
    assert losses.scale_loss(torch.tensor([2.0, 3.0]), torch.tensor([2.5, 3.0])).item() == pytest.approx(0.25)


STAGE_2 = {
    "vertices": (lambda x, y, w: losses.vertex_loss(x, x[..., 3, :], y, y[..., 3, :], w), (2, 3, 5, 3)),
    "joints": (losses.joint_loss, (2, 3, 5, 3)),
    "joints_2d": (
        lambda x, y, w: losses.joints_2d_loss(x, y, w[..., None].expand(2, 3, 4), 1 + w), (2, 3, 4, 2)
    ),
    "pose": (losses.pose_loss, (2, 3, 4, 3, 3)),
    "shape": (losses.shape_loss, (2, 3, 10)),
    "translation": (lambda x, y, w: losses.translation_loss(x, torch.ones_like(w[:, :1]), y, w), (2, 3, 3)),
    "scale": (losses.scale_loss, (2, 3)),
}  # fmt: skip


@pytest.mark.parametrize("name", STAGE_2)
def test_gradients_of_stage_2_and_people_who_are_not_there(name):
    term, shape = STAGE_2[name]
    true, weight = random(*shape, seed=1).detach(), torch.tensor([[1.0, 0.0, 0.5], [1.0, 1.0, 0.0]]).double()
    true[weight == 0] = torch.nan
    predicted = random(*shape)
    assert gradcheck(lambda x: term(x, true, weight), predicted)
    (gradient,) = torch.autograd.grad(term(predicted, true, weight), predicted)
    assert (gradient[weight == 0] == 0).all()
    assert no_pull(term(predicted, true, torch.zeros_like(weight)), predicted)
    assert term(predicted, predicted.detach(), weight).item() == 0
    assert term(predicted.bfloat16(), true.float(), weight.float()).dtype == torch.float32


def test_stage_2_terms_count_everybody_where_no_weight_is_given():
    x, y = torch.rand(2, 2, 3, 10, generator=seeded())
    assert torch.equal(losses.shape_loss(x, y), losses.shape_loss(x, y, torch.ones(2, 3)))


def scene(batch: int = 2) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """True points, confidence and validity of clips with more points than a fit takes."""
    true = torch.rand(batch, 3, 50, 60, 3, generator=seeded()) + torch.tensor([0.0, 0.0, 2.0])
    return true, torch.ones(true.shape[:-1]), torch.ones(true.shape[:-1], dtype=torch.bool)


def test_the_target_scale_is_the_metric_size_of_unit_norm_points():
    true, confidence, valid = scene()
    unit = torch.tensor([0.4, 3.0])[:, None, None, None, None]
    points = true / unit
    scale, norm = losses.scale_target(points, confidence, true, valid)
    torch.testing.assert_close(norm, points.norm(dim=-1).mean((1, 2, 3)))
    torch.testing.assert_close(scale / norm, unit.flatten())  # metres per network unit


def test_the_target_scale_ignores_outliers_and_what_does_not_count():
    true, confidence, valid = scene()
    points = true / 2
    points[:, :, :10] *= 0.3  # outliers: a fifth
    confidence[:, 1, 30:], valid[:, 2] = 0.05, False
    true[:, 2] = torch.nan
    points[:, 1, 30:] += 5.0
    scale, norm = losses.scale_target(points, confidence, true, valid)
    counts = valid & (confidence > 0.1)
    torch.testing.assert_close(norm, torch.stack([points[b][counts[b]].norm(dim=-1).mean() for b in range(2)]))
    torch.testing.assert_close(scale / norm, torch.full((2,), 2.0))


def test_the_target_scale_weighs_by_one_over_depth():
    true = torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, 4.0], [0.0, 0.0, 5.0]])[None, None, None]
    points = torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, 2.0], [0.0, 0.0, 2.0]])[None, None, None]
    scale, norm = losses.scale_target(points, torch.ones(1, 1, 1, 3), true, torch.ones(1, 1, 1, 3, dtype=torch.bool))
    # Ratios 1, 2 and 2.5 with weights |p|/z* of 1, 0.5 and 0.4: the first holds more than half.
    assert norm.item() == pytest.approx(5 / 3) and (scale / norm).item() == pytest.approx(1.0)


def test_the_target_scale_where_little_or_nothing_is_valid():
    true, confidence, valid = scene()
    confidence[0], valid[1] = 0.0, False
    scale, norm = losses.scale_target(true / 2, confidence, true, valid)
    assert (scale / norm)[0].item() == pytest.approx(2.0)  # nothing is confident: all valid points count
    assert scale[1].item() == 1.0 and norm.isfinite().all()
    assert not losses.scale_target((true / 2).requires_grad_(), confidence, true, valid)[0].requires_grad


# --- stage 3 ---------------------------------------------------------------------------------------------------------


def test_chamfer_is_the_mean_squared_distance_one_way():
    source = torch.tensor([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    target = torch.tensor([[0.0, 0.0, 0.3], [1.0, 0.1, 0.0], [9.0, 9.0, 9.0]])
    assert losses.chamfer_loss(source, target).item() == pytest.approx((0.09 + 0.01) / 2)
    assert losses.chamfer_loss(source, target, chunk=1).item() == pytest.approx((0.09 + 0.01) / 2)
    assert losses.chamfer_loss(source, torch.cat([target, source])).item() == 0


def test_chamfer_gradients_and_empty_sets():
    source, target = random(6, 3), random(9, 3, seed=1)
    assert gradcheck(lambda s, t: losses.chamfer_loss(s, t, chunk=4), (source, target))
    assert no_pull(losses.chamfer_loss(source, target[:0]), source)
    assert no_pull(losses.chamfer_loss(source[:0], target), target)
    nearest = (source[:, None] - target[None]).square().sum(-1).amin(1).mean()
    torch.testing.assert_close(losses.chamfer_loss(source, target, chunk=4), nearest)


def test_alignment_is_averaged_over_frames_that_have_body_and_points():
    source, target = random(3, 6, 3), random(3, 9, 3, seed=1)
    seen, inside = torch.rand(3, 6, generator=seeded()) < 0.7, torch.rand(3, 9, generator=seeded()) < 0.7
    inside[2] = False
    spoilt = target.detach().clone()
    spoilt[~inside] = torch.nan
    loss = losses.visible_chamfer_loss(source, seen, spoilt, inside)
    each = [losses.chamfer_loss(source[f][seen[f]], target[f][inside[f]]) for f in range(2)]
    torch.testing.assert_close(loss, torch.stack(each).mean())
    (gradient,) = torch.autograd.grad(loss, source)
    assert (gradient[~seen] == 0).all() and (gradient[2] == 0).all() and gradient.isfinite().all()
    assert gradcheck(lambda s, t: losses.visible_chamfer_loss(s, seen, t, inside), (source, target))
    assert no_pull(losses.visible_chamfer_loss(source, seen, target, torch.zeros_like(inside)), source, target)


def test_points_must_not_lie_behind_the_body():
    body = torch.tensor([[2.0, 2.2, 9.0], [2.0, 2.2, 9.0], [2.0, 2.2, 9.0]])
    seen = torch.tensor([[True, True, False]]).expand(3, 3)
    points = torch.tensor([[2.5, 2.3], [1.0, 1.0], [torch.nan, torch.nan]])
    inside = torch.tensor([[True, True], [True, True], [False, False]])
    loss = losses.depth_order_loss(body, seen, points, inside)
    assert loss.item() == pytest.approx((0.3 + 0.0) / 2)  # behind by 0.3, in front, and a frame without points
    body, points = random(3, 3), random(3, 2, seed=1)
    assert gradcheck(lambda s, t: losses.depth_order_loss(s, seen, t, inside), (body, points))
    assert no_pull(losses.depth_order_loss(body, seen, points, torch.zeros_like(inside)), body, points)
