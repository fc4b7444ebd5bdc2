import json

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.conftest import REPOSITORY
from unish.errors import CheckpointError, InputError, MissingAssetError
from unish.people.mini_detector import (
    MiniDetector,
    MiniDetectorConfig,
    MiniDetectorNet,
    MiniDetectorOutput,
    boxes_of_cells,
    decode,
    load_mini_detector,
    save_mini_detector,
)
from unish.people.pyramid import STRIDE
from unish.people.tracking import box_iou

SMALL = MiniDetectorConfig(long_side_px=64, channels=(4, 6, 8, 8, 8), depths=(0, 1, 1, 1, 1), decoder_channels=8)


def _speaking_of(boxes, parts, size=(96, 64)) -> MiniDetectorOutput:
    """What a perfect network says of people with these boxes who fill `parts` of the picture (x0, y0, x1, y1)."""
    height, width = size[1] // STRIDE, size[0] // STRIDE
    mask, center = np.full((height, width), -8.0), np.full((height, width), -8.0)
    edges = np.ones((4, height, width))
    y, x = (np.mgrid[:height, :width] + 0.5) * STRIDE
    for (x0, y0, x1, y1), (left, top, right, bottom) in zip(boxes, parts, strict=True):
        inside = (x > left) & (x < right) & (y > top) & (y < bottom)
        mask[inside] = 8.0
        edges[:, inside] = np.stack([x - x0, y - y0, x1 - x, y1 - y])[:, inside]
        center[(top + bottom) // 2 // STRIDE, (left + right) // 2 // STRIDE] = 4.0
    return MiniDetectorOutput(*(torch.from_numpy(values[None]).float() for values in (mask, center, edges)))


def test_cells_know_their_boxes():
    output = _speaking_of([(8, 4, 40, 60)], [(8, 4, 40, 60)])
    boxes = boxes_of_cells(output.edges_px)[0]
    inside = output.mask_logits[0] > 0
    torch.testing.assert_close(boxes[:, inside].T, torch.tensor([8.0, 4, 40, 60]).expand(int(inside.sum()), 4))


def test_people_who_touch_stay_apart():
    boxes = [(8, 4, 40, 60), (40, 12, 72, 60)]
    found = decode(_speaking_of(boxes, boxes), (96, 64), MiniDetectorConfig())
    order = np.argsort(found.boxes_px[:, 0])
    np.testing.assert_allclose(found.boxes_px[order], boxes)
    first, second = found.masks[order]
    assert not (first & second).any()
    assert first[10:56, 10:36].all() and second[16:56, 44:68].all()
    assert first[:, 44:].sum() == 0


def test_of_two_middles_of_one_person_the_surest_is_kept():
    output = _speaking_of([(8, 4, 40, 60)], [(8, 4, 40, 60)])
    output.center_logits[0, 4, 8] = 3.0
    assert len(decode(output, (96, 64), MiniDetectorConfig()).scores) == 1


def test_cells_near_an_edge_say_how_far_out_it_is():
    """Most cells think that the arm ends at the hip; the cells of the arm know better."""
    output = _speaking_of([(16, 4, 48, 60)], [(16, 4, 48, 60)])
    output.edges_px[0, 2, :, 8:] += 16  # 4 of 8 columns see 16 pixels farther to the right
    (box,) = decode(output, (96, 64), MiniDetectorConfig()).boxes_px
    np.testing.assert_allclose(box, [16, 4, 64, 60])


def test_a_middle_without_a_shape_counts_less():
    """Two people are equally sure by their middles; one has a mask that fills a tenth of the box."""
    boxes = [(8, 4, 40, 60), (56, 4, 88, 60)]
    found = decode(_speaking_of(boxes, [boxes[0], (68, 26, 76, 44)]), (96, 64), MiniDetectorConfig(least_score=0.1))
    assert found.boxes_px[0, 0] == 8 and found.scores[0] > 0.95
    assert found.scores[1] < 0.6


def test_nobody_gives_nothing():
    found = decode(_speaking_of([], []), (96, 64), MiniDetectorConfig())
    assert found.boxes_px.shape == (0, 4) and found.masks.shape == (0, 64, 96)


@pytest.mark.parametrize("shape", [(48, 64), (63, 47), (200, 90), (1, 64)])
def test_any_image_shape(shape):
    torch.manual_seed(0)
    detector = MiniDetector(MiniDetectorNet(SMALL).eval())
    frames = np.random.default_rng(0).integers(0, 255, (2, *shape, 3)).astype(np.uint8)
    found = detector.detect(frames)
    assert len(found) == 2
    for detections in found:
        assert detections.masks is not None and detections.masks.shape[1:] == found[0].masks.shape[1:]
        aspect = detections.masks.shape[2] / detections.masks.shape[1]
        assert aspect == pytest.approx(shape[1] / shape[0], rel=0.02)


def test_saved_weights_come_back(tmp_path):
    torch.manual_seed(0)
    network = MiniDetectorNet(SMALL).eval()
    save_mini_detector(network, tmp_path / "finder")
    again = load_mini_detector(tmp_path / "finder").network
    assert again.config == SMALL
    images = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        torch.testing.assert_close(again(images).center_logits, network(images).center_logits, atol=2e-2, rtol=2e-2)


@pytest.mark.parametrize("fault", ["missing", "unknown", "shape", "nan", "truncated", "config"])
def test_weights_that_do_not_fit_are_refused(tmp_path, fault):
    folder = tmp_path / fault
    save_mini_detector(MiniDetectorNet(SMALL), folder)
    path = folder / "model.safetensors"
    state = load_file(path)
    key = "mixers.0.norm.bias"
    message = key
    if fault == "missing":
        del state[key]
    elif fault == "unknown":
        message = "aaa.weight"
        state[message] = torch.zeros(2)
    elif fault == "shape":
        state[key] = torch.zeros(3)
    elif fault == "nan":
        state[key] = torch.full_like(state[key], float("nan"))
    save_file(state, path)
    if fault == "truncated":
        path.write_bytes(path.read_bytes()[:-100])
        message = "cannot be read"
    if fault == "config":
        (folder / "config.json").write_text(json.dumps({"no such field": 1}))
        message = "cannot be read"
    with pytest.raises(CheckpointError, match=message):
        load_mini_detector(folder)


def test_weights_that_are_not_there(tmp_path):
    with pytest.raises(MissingAssetError, match="found nothing"):
        load_mini_detector(tmp_path)


def test_config_needs_five_stages():
    with pytest.raises(InputError, match="five stages"):
        MiniDetectorConfig(channels=(4, 8), depths=(1, 1))


def test_the_bundled_network_is_small():
    weights = REPOSITORY / "unish" / "assets" / "mini_detector" / "model.safetensors"
    assert weights.stat().st_size < 4_000_000
    assert sum(p.numel() for p in load_mini_detector().network.parameters()) < 2_000_000


def test_the_bundled_network_finds_a_drawn_figure_nowhere_in_noise():
    """Pictures without people give no sure person."""
    random = np.random.default_rng(0)
    noise = random.integers(0, 255, (2, 9, 16, 3)).astype(np.uint8)
    frames = np.stack([cv2.resize(picture, (320, 180), interpolation=cv2.INTER_CUBIC) for picture in noise])
    for detections in load_mini_detector().detect(frames):
        assert (detections.scores < 0.5).all()


def test_the_network_learns_one_image():
    """A few steps on one picture are enough to find the rectangle in it: targets, losses and decoding fit together."""
    from train.person_detector.objective import losses, make_batch
    from train.person_detector.person_images import PersonImage

    torch.manual_seed(0)
    rgb = np.full((64, 96, 3), 60, np.uint8)
    people = np.zeros((64, 96), np.uint8)
    rgb[8:56, 24:48], people[8:56, 24:48] = (220, 60, 40), 1
    box = np.array([[24.0, 8, 48, 56]], np.float32)
    wanted = make_batch([PersonImage(rgb, people, box, np.ones(1, bool))] * 2)
    config = MiniDetectorConfig(channels=(8, 12, 16, 16, 16), depths=(0, 1, 1, 1, 1), decoder_channels=16)
    network = MiniDetectorNet(config).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=6e-3)
    for _ in range(120):
        loss = torch.stack(list(losses(network(wanted.images), wanted).values())).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        found = decode(MiniDetectorOutput(*(v[:1] for v in network(wanted.images))), (96, 64), config)
    assert len(found.scores) == 1 and found.scores[0] > 0.5
    assert box_iou(found.boxes_px, box.astype(float))[0, 0] > 0.7
    assert (found.masks[0] == (people > 0)).mean() > 0.9
