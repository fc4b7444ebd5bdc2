import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from unish.errors import CheckpointError, InputError, MissingAssetError
from unish.people import sam2 as segmenter_module
from unish.people.detect_and_segment import Segmenter
from unish.people.sam2 import Sam2Segmenter, load_segmenter

transformers = pytest.importorskip("transformers")

SIDE = 64
BOXES = np.array([[20.0, 10, 60, 80], [70.0, 5, 140, 85]])


def _small_network():
    """SAM 2 with every part of the real one; its memories have 64 channels whatever the configuration says."""
    backbone = {
        "model_type": "sam2_hiera_det_model",
        "image_size": [SIDE, SIDE],
        "hidden_size": 8,
        "blocks_per_stage": [1, 1, 2, 1],
        "embed_dim_per_stage": [8, 16, 32, 64],
        "num_attention_heads_per_stage": [1, 1, 1, 1],
        "window_size_per_stage": [4, 2, 2, 2],
        "global_attention_blocks": [3],
        "window_positional_embedding_background_size": [4, 4],
    }
    vision = {
        "model_type": "sam2_vision_model",
        "backbone_config": backbone,
        "backbone_channel_list": [64, 32, 16, 8],
        "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]],
        "fpn_hidden_size": 128,
    }
    config = transformers.Sam2VideoConfig(
        image_size=SIDE,
        vision_config=vision,
        prompt_encoder_config={"hidden_size": 128, "image_size": SIDE, "patch_size": 16},
        mask_decoder_config={"hidden_size": 128, "mlp_dim": 32, "num_attention_heads": 2, "iou_head_hidden_dim": 32},
        num_maskmem=4,
        max_object_pointers_in_encoder=6,
        memory_attention_hidden_size=128,
        memory_attention_num_layers=1,
        memory_attention_feed_forward_hidden_size=32,
        memory_attention_rope_feat_sizes=[4, 4],
        memory_encoder_hidden_size=128,
        mask_downsampler_embed_dim=128,
        memory_fuser_embed_dim=128,
        memory_fuser_intermediate_dim=32,
        memory_fuser_num_layers=1,
    )
    return transformers.Sam2VideoModel(config)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    network = _small_network()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
        network.mask_decoder.pred_obj_score_head.proj_out.bias += 2.0  # else everybody is absent
    path = tmp_path_factory.mktemp("sam2")
    network.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def segmenter(folder) -> Sam2Segmenter:
    return load_segmenter(folder, "cpu")


@pytest.fixture(scope="module")
def frames() -> np.ndarray:
    """Coarse pictures that differ from one to the next."""
    coarse = np.random.default_rng(1).integers(0, 255, (24, 6, 8, 3), dtype=np.uint8)
    return coarse.repeat(15, axis=1).repeat(20, axis=2)


def test_several_people_through_a_row_of_frames(segmenter, frames):
    assert isinstance(segmenter, Segmenter)
    row = list(segmenter.propagate(iter(frames), BOXES))
    assert len(row) == len(frames)
    for masks, scores in row:
        assert masks.shape == (2, 90, 160) and masks.dtype == bool
        assert ((scores >= 0.5) | (scores == 0)).all() and (scores <= 1).all()
        np.testing.assert_array_equal(masks.any(axis=(1, 2)), scores > 0)
    shares = np.array([masks.mean(axis=(1, 2)) for masks, _ in row])
    assert (shares > 0).mean() > 0.5 and (shares < 1).all(), "the random network must say something"
    assert len(np.unique(shares.round(6))) > 10


def test_the_same_in_gives_the_same_out_and_the_order_matters(segmenter, frames):
    first, again = (list(segmenter.propagate(iter(frames[:8]), BOXES)) for _ in range(2))
    backwards = list(segmenter.propagate(iter(frames[7::-1]), BOXES))
    for (masks, scores), (same_masks, same_scores) in zip(first, again, strict=True):
        np.testing.assert_array_equal(masks, same_masks)
        np.testing.assert_array_equal(scores, same_scores)
    assert any(not np.array_equal(a.masks, b.masks) for a, b in zip(first, backwards[::-1], strict=True))
    # Backwards is the same network on the frames reversed.
    reversed_clip = list(segmenter.propagate(iter(np.ascontiguousarray(frames[7::-1])), BOXES))
    np.testing.assert_array_equal(backwards[-1].masks, reversed_clip[-1].masks)


def test_one_person_is_drawn_the_same_beside_another(segmenter, frames):
    both = list(segmenter.propagate(iter(frames[:4]), BOXES))
    alone = list(segmenter.propagate(iter(frames[:4]), BOXES[1:]))
    for together, single in zip(both, alone, strict=True):
        assert single.masks.shape == (1, 90, 160)
        assert (together.masks[1] == single.masks[0]).mean() > 0.999


def test_streaming_agrees_with_the_whole_video_at_once(segmenter, frames):
    """The library's own way: all pictures in the session, nothing forgotten."""
    from transformers import Sam2VideoInferenceSession

    pictures = torch.cat(
        [
            segmenter_module.network_images(frame[None], (SIDE, SIDE), torch.device("cpu"), *_imagenet())
            for frame in frames
        ]
    )
    session = Sam2VideoInferenceSession(video=pictures, video_height=90, video_width=160, dtype=torch.float32)
    segmenter._prompt(session, BOXES / np.array([160, 90, 160, 90]))
    whole = segmenter.network.propagate_in_video_iterator(session, start_frame_idx=0)
    for streamed, output in zip(segmenter.propagate(iter(frames), BOXES), whole, strict=True):
        expected = segmenter._segments(output, 160, 90)
        np.testing.assert_allclose(streamed.scores, expected.scores, atol=1e-5)
        assert (streamed.masks == expected.masks).mean() > 0.999


def _imagenet() -> tuple[tuple[float, ...], tuple[float, ...]]:
    return (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def test_images_are_normalised_and_boxes_scaled(segmenter):
    seen = []

    class Network:
        device, dtype, config = torch.device("cpu"), torch.float32, segmenter.network.config

        def __call__(self, inference_session, frame, frame_idx):
            inference_session.add_new_frame(frame, frame_idx)
            seen.append((frame, dict(inference_session.point_inputs_per_obj[1][0])))
            return SimpleNamespace(pred_masks=torch.ones(2, 1, 16, 16), object_score_logits=torch.ones(2, 1))

    grey = np.full((1, 90, 160, 3), (124, 116, 104), np.uint8)
    list(Sam2Segmenter(Network()).propagate(iter(grey), BOXES))
    ((picture, prompt),) = seen
    assert picture.shape == (3, SIDE, SIDE) and picture.abs().max() < 0.02  # ImageNet's mean
    # The second box, from 160 × 90 to 64 × 64.
    expected = torch.tensor([[[[28.0, 5 * 64 / 90], [56.0, 85 * 64 / 90]]]])
    torch.testing.assert_close(prompt["point_coords"], expected)
    assert prompt["point_labels"].tolist() == [[[2, 3]]]


def _stored_bytes(value) -> int:
    if isinstance(value, torch.Tensor):
        return value.numel() * value.element_size()
    if isinstance(value, dict):
        return sum(_stored_bytes(part) for part in value.values())
    if isinstance(value, (list, tuple)):
        return sum(_stored_bytes(part) for part in value)
    return 0


def test_memory_does_not_grow_with_the_row(segmenter, frames, monkeypatch):
    sessions, stored, entries = [], [], []
    start = Sam2Segmenter._new_session
    monkeypatch.setattr(Sam2Segmenter, "_new_session", lambda self: sessions.append(start(self)) or sessions[-1])
    row = (frames[index % len(frames)] for index in range(60))
    for _ in segmenter.propagate(row, BOXES):
        (session,) = sessions
        stored.append(_stored_bytes(vars(session)) + _stored_bytes(vars(session.cache)))
        entries.append(sum(len(part) for outputs in session.output_dict_per_obj.values() for part in outputs.values()))
        assert not session.processed_frames, "no pictures are kept"
    assert stored[-1] == stored[10] and max(stored[10:]) == stored[10]
    assert entries[-1] == entries[10] <= 2 * (1 + 6)
    assert not any(session.frames_tracked_per_obj.values())


@pytest.mark.parametrize(
    ("frame_shape", "mask_shape"),
    [((1080, 1920), (288, 512)), ((1920, 1080), (512, 288)), ((90, 160), (90, 160)), ((600, 600), (512, 512))],
)
def test_masks_have_the_aspect_of_the_frame(segmenter, frame_shape, mask_shape):
    frame = np.full((*frame_shape, 3), 90, np.uint8)
    box = np.array([[10.0, 10, 60, 80]])
    (segments,) = segmenter.propagate(iter([frame]), box)
    assert segments.masks.shape == (1, *mask_shape)


def test_who_is_absent_has_no_mask_and_no_score():
    logits = torch.full((4, 1, 16, 16), -5.0)
    logits[0, 0, 4:8, 2:6] = 5.0
    logits[1, 0, 4:8, 2:6] = 5.0
    logits[2] = 5.0
    output = SimpleNamespace(pred_masks=logits, object_score_logits=torch.tensor([[2.0], [-2.0], [0.5], [3.0]]))
    masks, scores = Sam2Segmenter(None)._segments(output, 160, 80)
    np.testing.assert_allclose(scores, [0.8808, 0, 0.6225, 0], atol=1e-4)
    assert masks.shape == (4, 80, 160)
    # Cells 2 to 5 of 16 across, 4 to 7 of 16 down.
    assert masks[0, 30, 40] and masks[0].sum() == pytest.approx(20 * 40, rel=0.15)
    assert not masks[1].any() and masks[2].all() and not masks[3].any()


def test_half_precision_runs(folder, frames):
    network = load_segmenter(folder, "cpu").network.to(torch.bfloat16)
    row = list(Sam2Segmenter(network).propagate(iter(frames[:6]), BOXES))
    assert len(row) == 6 and all(np.isfinite(scores).all() for _, scores in row)


def test_nobody_to_follow(segmenter, frames):
    with pytest.raises(InputError, match="got none"):
        next(segmenter.propagate(iter(frames), np.zeros((0, 4))))
    assert list(segmenter.propagate(iter(()), BOXES)) == []


def test_folders_that_are_not_whole(folder, tmp_path):
    with pytest.raises(MissingAssetError, match=r"config\.json"):
        load_segmenter(tmp_path, "cpu")
    oblong = Path(shutil.copytree(folder, tmp_path / "oblong"))
    config = json.loads((oblong / "config.json").read_text())
    (oblong / "config.json").write_text(json.dumps(config | {"image_size": [64, 128]}))
    with pytest.raises(CheckpointError):
        load_segmenter(oblong, "cpu")
