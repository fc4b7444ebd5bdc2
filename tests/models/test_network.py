"""How the network behaves at any size: shapes, empty casts, gradients, memory-saving paths."""

import dataclasses
import math
import shutil
import subprocess
import sys

import pytest
import torch

from tests.models.conftest import TINY, clip
from unish.errors import InputError
from unish.geometry.metric import clip_norm
from unish.geometry.rotations import rotation_angle
from unish.models import layers
from unish.models.human_branch import standing_pose
from unish.models.layers import attend, grid_rotary
from unish.models.unish import UniSH, empty_crops


def test_the_mini_fits_its_file(mini):
    numbers = sum(parameter.numel() for parameter in mini.parameters())
    assert 2 * numbers < 9.9e6  # float16; a Space takes files up to 10 MB


@pytest.mark.parametrize(("height", "width"), [(126, 168), (168, 98), (14, 28), (168, 168)])
@torch.inference_mode()
def test_any_aspect_ratio(mini, height, width):
    prediction = mini(*clip(1, 1, 2, height, width))
    assert prediction.points_camera.shape == (1, 2, height, width, 3)
    assert all(torch.isfinite(value).all() for value in vars(prediction).values())
    assert (prediction.points_camera[..., 2] > 0).all() and (prediction.scale > 0).all()
    assert ((prediction.confidence >= 0) & (prediction.confidence <= 1)).all()


@torch.inference_mode()
def test_the_untrained_mini_starts_from_a_flat_scene_and_standing_people(mini):
    prediction = mini(*clip(1, 1, 2, 84, 112))
    assert (prediction.points_camera[..., 2].log().abs() < 0.7).all()
    corner, opposite = prediction.points_camera[0, 0, 0, 0], prediction.points_camera[0, 0, -1, -1]
    assert (corner[:2] < 0).all() and (opposite[:2] > 0).all()
    assert rotation_angle(prediction.world_from_camera[..., :3, :3]).max() < 0.5
    root = prediction.body_rotations[0, 0, 0, 0]
    assert root[1, 1] < -0.9 and root[2, 2] < -0.9  # the body's up is the camera's −y, and it faces the camera


def test_the_lens_widens_all_rays_of_a_frame_and_leaves_depth_alone(tiny):
    lens, images = tiny.scene_branch.camera_head.lens, torch.rand(1, 2, 3, 56, 42)
    before, bias = tiny.scene(images).points_camera, lens.bias.detach().clone()
    try:
        with torch.no_grad():
            lens.bias += math.log(1.5)
        after = tiny.scene(images).points_camera
    finally:
        with torch.no_grad():
            lens.bias.copy_(bias)
    assert torch.allclose(after[..., :2], 1.5 * before[..., :2], atol=1e-5)
    assert torch.equal(after[..., 2], before[..., 2])


def test_standing_arms_hang_down():
    pose = standing_pose().view(24, 2, 3)
    left, right = pose[16, 0], pose[17, 0]  # where a T-pose's x axis goes, in the body's frame with y up
    assert left[1] < -0.8 and -right[1] < -0.8


@torch.inference_mode()
def test_nobody_skips_the_human_branch(tiny, monkeypatch):
    def fail(*_):
        raise AssertionError("the human branch ran")

    monkeypatch.setattr(tiny.human_branch, "forward", fail)
    images, crops, boxes = clip(2, 0, 3, 28, 42)
    prediction = tiny(images, crops, boxes)
    assert prediction.betas.shape == (2, 0, 10) and prediction.body_rotations.shape == (2, 0, 3, 24, 3, 3)
    assert prediction.translation_camera.shape == (2, 0, 3, 3) and prediction.scale.shape == (2, 0)
    again = tiny(images, *empty_crops(2, 3))
    assert torch.equal(again.points_camera, prediction.points_camera)


@torch.inference_mode()
def test_batch_is_stacked_singles(tiny):
    images, crops, boxes = clip(3, 2, 2, 28, 42)
    together = tiny(images, crops, boxes, fps=3.0)
    for index in range(3):
        alone = tiny(*(part[index : index + 1] for part in (images, crops, boxes)), fps=3.0)
        for name, value in vars(alone).items():
            assert torch.allclose(getattr(together, name)[index : index + 1], value, atol=1e-5), name


@torch.inference_mode()
def test_chunks_change_nothing(tiny):
    images, crops, boxes = clip(1, 2, 5, 28, 28)
    whole = tiny(images, crops, boxes)
    tiny.scene_branch.frames_per_chunk, tiny.human_branch.crops_per_chunk = 2, 3
    for name, value in vars(tiny(images, crops, boxes)).items():
        assert torch.allclose(getattr(whole, name), value, atol=1e-5), name


def loss_of(model: UniSH, inputs: tuple) -> torch.Tensor:
    scene = model.scene(inputs[0])
    people = model.people(scene, *inputs[1:])
    parts = [scene.points_camera, scene.confidence_logits, scene.camera_to_world, people.scale]
    parts += [people.translation_camera, people.body_rotations, people.betas]
    generator = torch.Generator().manual_seed(5)
    return sum((part * torch.randn(part.shape, generator=generator)).sum() for part in parts)


def test_gradient_reaches_every_parameter_and_recomputing_changes_nothing(tiny):
    tiny.train()
    with torch.no_grad():  # the refinement's last layer is zero at first, and would hide the ones before it
        for parameter in tiny.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
    inputs = clip(1, 2, 3, 28, 42)
    loss_of(tiny, inputs).backward()
    first = {name: parameter.grad.clone() for name, parameter in tiny.named_parameters()}
    unreached = {name for name, gradient in first.items() if not torch.isfinite(gradient).all() or not gradient.any()}
    assert not unreached, unreached
    tiny.zero_grad()
    tiny.checkpoint_activations = True
    loss_of(tiny, inputs).backward()
    for name, parameter in tiny.named_parameters():
        assert torch.allclose(parameter.grad, first[name], rtol=1e-3, atol=1e-5), name


def test_gradients_are_finite_at_the_start_of_training(tiny):
    tiny.train()
    loss_of(tiny, clip(1, 1, 2, 28, 28)).backward()
    assert all(torch.isfinite(p.grad).all() for p in tiny.parameters() if p.grad is not None)


def test_half_precision_trunk_keeps_heads_in_float32(tiny):
    inputs = clip(1, 1, 2, 28, 42)
    with torch.inference_mode():
        exact = tiny(*inputs)
        tiny.trunk_dtype = torch.bfloat16
        rough = tiny(*inputs)
    for name, value in vars(rough).items():
        assert value.dtype == torch.float32
        assert torch.allclose(value, getattr(exact, name), atol=0.1), name
    identity = rough.body_rotations @ rough.body_rotations.mT
    assert torch.allclose(identity, torch.eye(3).expand_as(identity), atol=1e-5)
    loss_of(tiny, inputs).backward()
    assert all(torch.isfinite(p.grad).all() for p in tiny.parameters() if p.grad is not None)


@pytest.mark.parametrize(("batch", "queries", "keys", "heads"), [(1, 1200, 1200, 3), (2, 5, 70, 4), (3, 40, 40, 2)])
def test_attention_rotation_and_gelu_of_a_cpu_in_bfloat16_are_those_of_float32(batch, queries, keys, heads):
    """One rounding apart: each result against float32's on the same numbers."""
    generator = torch.Generator().manual_seed(0)
    query, key, value = (
        torch.randn(batch, tokens, heads, 32, generator=generator).bfloat16().transpose(1, 2)
        for tokens in (queries, keys, keys)
    )
    layer, rotary = torch.nn.Linear(32, 80).bfloat16(), grid_rotary(queries, 1, 0, 32, torch.device("cpu"))
    with torch.inference_mode():
        halves = attend(query, key, value), rotary.rotate(query), layers._linear_gelu(layer, query)
        layer.float()
        query, key, value = query.float(), key.float(), value.float()
        wholes = attend(query, key, value), rotary.rotate(query), layers._linear_gelu(layer, query)
    for half, whole, bound in zip(halves, wholes, (0.006, 0.002, 0.003), strict=True):
        assert half.dtype == torch.bfloat16
        assert (half.float() - whole).norm() < bound * whole.norm()


def test_bfloat16_moves_tokens_of_the_released_size_by_less_than_its_authors_code_does(shallow):
    """1.7 % at full depth, in theirs; here in a few blocks."""
    images = torch.rand(1, 2, 3, 28, 42, generator=torch.Generator().manual_seed(0))
    branch = shallow.scene_branch
    with torch.inference_mode():
        exact = branch.encode(images)
        branch.trunk_dtype = torch.bfloat16
        rough = branch.encode(images)
        branch.trunk_dtype = None
    assert rough.dtype == torch.bfloat16
    assert 0 < (rough.float() - exact).norm() < 0.01 * exact.norm()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_human_head_computes_in_float32_beside_a_half_precision_trunk(tiny, dtype):
    branch = tiny.human_branch
    tiny.cast_trunk(dtype)
    computed = []
    for module in branch.head.modules():
        if isinstance(module, torch.nn.Linear):
            module.register_forward_hook(lambda module, given, out: computed.append({given[0].dtype, out.dtype}))
    features = torch.randn(2, 48, branch.config.width)
    boxes = torch.randn(2, 3)
    with torch.inference_mode():
        beside = branch.head(features, boxes, branch)
        assert computed and all(types == {torch.float32} for types in computed)
        tiny.trunk_dtype = torch.float32
        for name, value in vars(branch.head(features, boxes, branch)).items():
            assert torch.equal(value, getattr(beside, name)), name


def test_an_outer_autocast_does_not_reach_the_heads(tiny):
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        prediction = tiny(*clip(1, 1, 2, 28, 28))
    assert all(value.dtype == torch.float32 for value in vars(prediction).values())


def test_sizes_and_rates_that_cannot_be(tiny):
    images, crops, boxes = clip(1, 1, 2, 28, 28)
    with pytest.raises(InputError, match="multiples of 14"):
        tiny.scene(images[..., :20])
    with pytest.raises(InputError, match="fps"):
        tiny(images, crops, boxes, fps=0.0)


@pytest.mark.parametrize("on", [False, True])
def test_crops_are_normalised_only_where_the_config_says(on):
    human = dataclasses.replace(TINY.human, normalise_crops=on)
    network = UniSH(dataclasses.replace(TINY, human=human))
    crops, seen = torch.rand(2, 3, 256, 256), []
    network.human_branch.backbone.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.inference_mode():
        network.human_branch.features(crops)
    (backbone_sees,) = seen
    red = backbone_sees[:, 0] * 0.229 + 0.485 if on else backbone_sees[:, 0]
    assert torch.allclose(red, crops[:, 0, :, 32:224], atol=1e-6)


COMPILED = """
import torch
from tests.models.conftest import TINY, clip
from unish.models.unish import UniSH

torch.manual_seed(0)
network = UniSH(TINY).eval()
inputs = [clip(1, *size) for size in ((1, 2, 28, 42), (2, 3, 42, 28))]
with torch.inference_mode():
    expected = [network(*given) for given in inputs]
    network.compile_blocks()
    for given, before in zip(inputs, expected):
        for name, value in vars(network(*given)).items():
            torch.testing.assert_close(value, getattr(before, name), atol=1e-5, rtol=1e-5)
counters = torch._dynamo.utils.counters
assert counters["stats"]["unique_graphs"] and not counters["recompile_limit"], counters
"""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_compiled_blocks_say_the_same_at_any_size(repository):
    """In a process of its own: torch.compile does not see through the shape checks of the tests."""
    done = subprocess.run([sys.executable, "-c", COMPILED], cwd=repository, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@torch.inference_mode()
def test_bodies_placed_from_their_boxes_follow_them(tiny):
    config = dataclasses.replace(tiny.config, align=dataclasses.replace(tiny.config.align, place_from_box=True))
    torch.manual_seed(0)
    model = UniSH(config).eval()
    torch.nn.init.zeros_(model.align_net.translation_head.weight)
    model.align_net.translation_head.bias.copy_(torch.tensor([0.0, 0.0, 0.5]))
    images, crops, _ = clip(1, 1, 2, 28, 42)
    boxes = torch.tensor([[[[0.2, -0.1, 0.5], [-0.3, 0.0, 0.25]]]])
    prediction = model(images, crops, boxes)
    place = prediction.translation_camera[0, 0]
    assert torch.allclose(place[:, :2] / place[:, 2:], boxes[0, 0, :, :2] / config.scene.focal_gain, atol=1e-5)
    assert place[1, 2] / place[0, 2] == pytest.approx(2.0, rel=1e-5)  # half as large, twice as far
    norm = clip_norm(prediction.points_camera, prediction.confidence)
    depth_m = place[0, 2] * prediction.scale[0, 0] / norm[0]
    assert float(depth_m) == pytest.approx(math.exp(0.5) / 0.5 * config.scene.focal_gain, rel=1e-4)
