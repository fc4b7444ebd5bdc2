"""Depth models of transformers: their own classes with tiny random weights, saved and loaded from a folder."""

import huggingface_hub.constants
import numpy as np
import pytest
import torch

from train.data.prepare.depth import depth_labeller, intrinsics_of_fov
from unish.errors import InputError, MissingAssetError

transformers = pytest.importorskip("transformers")

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def frames() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (5, 48, 64, 3), dtype=np.uint8)


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)


def dinov2(**options):
    return transformers.Dinov2Config(
        hidden_size=16, num_hidden_layers=4, num_attention_heads=2, mlp_ratio=2, patch_size=14, **options
    )


def save_depth_anything(folder, kind: str, bias: float = 0.0) -> str:
    from transformers.models.dpt.image_processing_pil_dpt import DPTImageProcessorPil

    torch.manual_seed(0)
    config = transformers.DepthAnythingConfig(
        backbone_config=dinov2(image_size=56, out_indices=[1, 2, 3, 4], reshape_hidden_states=False),
        reassemble_hidden_size=16,
        neck_hidden_sizes=[8, 8, 8, 8],
        fusion_hidden_size=8,
        head_hidden_size=8,
        depth_estimation_type=kind,
        max_depth=20,
    )
    model = transformers.DepthAnythingForDepthEstimation(config)
    torch.nn.init.constant_(model.head.conv3.bias, bias)
    model.save_pretrained(folder)
    size = {"height": 56, "width": 56}
    DPTImageProcessorPil(size=size, keep_aspect_ratio=True, ensure_multiple_of=14).save_pretrained(folder)
    return str(folder)


def test_a_metric_model_of_transformers(tmp_path, frames):
    source = save_depth_anything(tmp_path / "tiny-metric", "metric", bias=-1.0)
    labeller = depth_labeller(source, CPU, batch=2)
    labels = labeller.label(frames)
    assert labeller.name == "tiny-metric" and labels.intrinsics is None
    assert labels.depth_m.shape == (5, 48, 64) and labels.depth_m.dtype == np.float32
    assert np.isfinite(labels.depth_m).all() and 0 < labels.depth_m.max() < 20
    assert labels.depth_m.mean() == pytest.approx(20 / (1 + np.e), rel=0.2)  # the sigmoid of the bias, times 20 m
    one_by_one = depth_labeller(source, CPU, batch=1).label(frames)
    np.testing.assert_allclose(one_by_one.depth_m, labels.depth_m, atol=1e-4)


def test_a_known_lens_is_passed_on(tmp_path, frames):
    source = save_depth_anything(tmp_path / "tiny", "metric")
    labels = depth_labeller(source, CPU, fov_deg=90).label(frames)
    np.testing.assert_allclose(labels.intrinsics, intrinsics_of_fov(90, 5, 64, 48))


def test_relative_depth_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"metres.*relative"):
        depth_labeller(save_depth_anything(tmp_path / "tiny", "relative"), CPU)
    transformers.DPTConfig().save_pretrained(tmp_path / "dpt")
    with pytest.raises(InputError, match=r"metres.*\(dpt\).*inverse"):
        depth_labeller(str(tmp_path / "dpt"), CPU)


def test_a_model_that_is_not_there_is_one_sentence(tmp_path):
    for source in (str(tmp_path / "nothing"), "somebody/nothing-like-this"):
        with pytest.raises(MissingAssetError, match="Could not load the depth network") as caught:
            depth_labeller(source, CPU)
        assert "\n" not in str(caught.value)


def save_depth_pro(folder, with_fov: bool) -> str:
    torch.manual_seed(0)
    patch = dinov2(image_size=28)
    config = transformers.DepthProConfig(
        fusion_hidden_size=16,
        patch_size=28,
        intermediate_hook_ids=[3, 1],
        intermediate_feature_dims=[8, 8],
        scaled_images_ratios=[0.5, 1.0],
        scaled_images_overlap_ratios=[0.0, 0.5],
        scaled_images_feature_dims=[16, 16],
        merge_padding_value=0,
        image_model_config=patch,
        patch_model_config=patch,
        fov_model_config=patch,
        use_fov_model=with_fov,
        num_fov_head_layers=1,
    )
    model = transformers.DepthProForDepthEstimation(config)
    if with_fov:
        last = model.fov_model.head.layers[-1]
        torch.nn.init.zeros_(last.weight)
        torch.nn.init.constant_(last.bias, 60.0)
    model.save_pretrained(folder)
    return str(folder)


def test_depth_pro_says_the_lens_and_answers_in_inverse_depth(tmp_path, frames):
    labeller = depth_labeller(save_depth_pro(tmp_path / "pro", with_fov=True), CPU)
    labels = labeller.label(frames)
    focal = 32 / np.tan(np.deg2rad(30))  # 60° across 64 px
    assert labels.intrinsics is not None and labels.intrinsics[0, 0, 0] == pytest.approx(focal, rel=1e-4)
    with torch.no_grad():
        answer = labeller.model(pixel_values=labeller.prepare(frames)).predicted_depth
    inverse = torch.nn.functional.interpolate(answer[:, None], (48, 64), mode="bilinear")[:, 0].numpy()
    expected = focal / 64 / np.maximum(inverse, 1e-4)
    np.testing.assert_allclose(labels.depth_m, expected, rtol=1e-3)

    upright = labeller.label(frames.transpose(0, 2, 1, 3).copy())  # 60° across the shorter side now
    assert upright.intrinsics[0, 0, 0] == pytest.approx(24 / np.tan(np.deg2rad(30)), rel=1e-4)


def test_depth_pro_without_a_lens_needs_one(tmp_path, frames):
    source = save_depth_pro(tmp_path / "pro", with_fov=False)
    with pytest.raises(InputError, match="--fov-deg"):
        depth_labeller(source, CPU).label(frames)
    assert depth_labeller(source, CPU, fov_deg=60).label(frames).intrinsics is not None


def test_zoe_depth_is_asked_without_its_border(tmp_path, frames):
    from transformers.models.zoedepth.image_processing_pil_zoedepth import ZoeDepthImageProcessorPil

    torch.manual_seed(0)
    backbone = transformers.BeitConfig(
        image_size=64, patch_size=16, hidden_size=16, num_hidden_layers=4, num_attention_heads=2, intermediate_size=16,
        out_features=["stage1", "stage2", "stage3", "stage4"], reshape_hidden_states=False,
        use_relative_position_bias=True,
    )  # fmt: skip
    config = transformers.ZoeDepthConfig(
        backbone_config=backbone, neck_hidden_sizes=[8, 8, 8, 8], fusion_hidden_size=16, bottleneck_features=16,
        num_relative_features=8, num_attractors=[4, 2, 2, 1], bin_embedding_dim=16,
        bin_configurations=[{"name": "nyu", "n_bins": 8, "min_depth": 0.001, "max_depth": 10.0}],
    )  # fmt: skip
    transformers.ZoeDepthForDepthEstimation(config).save_pretrained(tmp_path)
    size = {"height": 48, "width": 64}
    ZoeDepthImageProcessorPil(size=size, keep_aspect_ratio=True, ensure_multiple_of=16).save_pretrained(tmp_path)
    labeller = depth_labeller(str(tmp_path), CPU)
    assert labeller.prepare(frames).shape == (5, 3, 48, 64)
    depth_m = labeller.label(frames).depth_m
    assert depth_m.shape == (5, 48, 64) and depth_m.min() > 0 and depth_m.max() <= 10
