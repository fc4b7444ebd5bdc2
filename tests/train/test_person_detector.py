import dataclasses
import json

import cv2
import numpy as np
import pytest
import torch

from train.data.labelled_images import LabelledImage, write_labelled_images
from train.engine.schedule import LoopConfig
from train.person_detector.augmentation import ImageSources, fitted, sample_image
from train.person_detector.detector_scores import evaluate_detector, match_boxes
from train.person_detector.objective import losses, make_batch
from train.person_detector.person_images import UNKNOWN, PersonImage, RealImage, RenderedImage, people_from_keypoints
from train.person_detector.training import DetectorBatches, TrainConfig, grow, train
from unish.errors import InputError
from unish.people.mini_detector import MiniDetectorConfig, MiniDetectorNet, MiniDetectorOutput, load_mini_detector

SMALL = MiniDetectorConfig(long_side_px=64, channels=(4, 6, 8, 8, 8), depths=(0, 1, 1, 1, 1), decoder_channels=8)


def _rendered(seed: int) -> RenderedImage:
    """A frame with two upright rectangles for people."""
    random = np.random.default_rng(seed)
    rgb = random.integers(0, 255, (90, 120, 3)).astype(np.uint8)
    people = np.zeros((90, 120), np.uint8)
    people[20:80, 10:40], people[30:70, 60:80] = 1, 2
    rgb[people > 0] = (250, 10, 10)
    boxes = np.array([[10, 20, 40, 80], [60, 30, 80, 70]], np.float32)
    encoded = [cv2.imencode(".png", pixels)[1].tobytes() for pixels in (rgb[..., ::-1], people)]
    return RenderedImage(encoded[0], encoded[1], boxes)


def _skeleton(box) -> np.ndarray:
    """COCO keypoints of somebody who stands upright in the box."""
    x0, y0, x1, y1 = box
    x, y = x0 + (x1 - x0) * np.array([0.5, 0.3, 0.7]), y0 + (y1 - y0) * np.array([0.08, 0.2, 0.4, 0.5, 0.75, 0.98])
    rows = [(x[0], y[0])] * 5
    for height in (y[1], y[2], y[3], y[3], y[4], y[5]):  # shoulders, elbows, wrists, hips, knees, ankles
        rows += [(x[2], height), (x[1], height)]
    return np.concatenate([np.array(rows), np.full((17, 1), 0.9)], axis=1).astype(np.float32)


def _real(boxes, agreed, clip="walk.mp4") -> LabelledImage:
    rgb = np.full((90, 120, 3), 90, np.uint8)
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    points = np.array([_skeleton(box) for box in boxes], np.float32).reshape(-1, 17, 3)
    jpeg = cv2.imencode(".jpg", rgb)[1].tobytes()
    return LabelledImage(jpeg, boxes, np.full(len(boxes), 0.8, np.float32), np.array(agreed, bool), points, "me", clip)


def _sources() -> ImageSources:
    real = [
        [RealImage(_real([[10, 10, 40, 85]], [True])), RealImage(_real([[60, 10, 90, 85]], [False]))],
        [RealImage(_real([], [], clip="rocks.jpg"))],
    ]
    return ImageSources([_rendered(1), _rendered(2)], real)


@pytest.mark.parametrize("seed", range(30))
def test_labels_follow_the_image(seed):
    image = sample_image(_sources(), (96, 64), np.random.default_rng(seed))
    assert image.rgb.shape == (64, 96, 3) and image.rgb.dtype == np.uint8
    assert image.people.shape == (64, 96) and len(image.certain) == len(image.boxes_px)
    assert image.people[image.people < UNKNOWN].max(initial=0) <= len(image.boxes_px)
    for person, (x0, y0, x1, y1) in enumerate(image.boxes_px):
        rows, columns = np.nonzero(image.people == person + 1)
        if len(rows):
            assert columns.min() >= x0 - 3 and columns.max() + 1 <= x1 + 3
            assert rows.min() >= y0 - 3 and rows.max() + 1 <= y1 + 3


def test_the_same_number_gives_the_same_batch():
    """A run that is stopped goes on with the batches that it would have seen."""
    first, second = (DetectorBatches(_sources(), 2, seed=5) for _ in range(2))
    skipped = [next(first) for _ in range(3)][-1]
    second.load_state_dict({"number": 2})
    resumed = next(second)
    for name, values in vars(skipped).items():
        torch.testing.assert_close(getattr(resumed, name), values)
    assert second.state_dict() == {"number": 3}


def test_a_fitted_image_is_only_scaled():
    image = fitted(_rendered(1).open(), (240, 192))
    assert isinstance(image, PersonImage) and image.people.shape == (192, 240)
    np.testing.assert_allclose(image.boxes_px[0], [20, 40, 80, 160])
    assert (image.people[42:158, 22:78] == 1).all() and not image.people[180:].any()
    assert image.rgb[100, 50, 0] > 200 and image.rgb[185].max() == 0


def test_a_body_is_where_its_limbs_are_and_unknown_around_them():
    box = np.array([[30.0, 10, 70, 90]], np.float32)
    people = people_from_keypoints((100, 120), box, _skeleton(box[0])[None], np.ones(1, bool))
    assert people[35, 50] == 1 and people[80, 42] == 1 and people[80, 50] == UNKNOWN and people[50, 110] == 0
    doubt = people_from_keypoints((100, 120), box, _skeleton(box[0])[None], np.zeros(1, bool))
    assert set(np.unique(doubt)) == {0, UNKNOWN}
    nothing_known = people_from_keypoints((100, 120), box, np.zeros((1, 17, 3), np.float32), np.ones(1, bool))
    assert nothing_known[50, 50] == 1 and nothing_known[12, 31] == UNKNOWN


def test_a_doubt_that_stands_may_count_as_a_person():
    boxes = [[10, 10, 40, 85], [50, 40, 90, 70]]
    labelled = _real(boxes, [False, False])
    labelled = dataclasses.replace(labelled, keypoints=np.zeros((2, 17, 3), np.float32))
    assert RealImage(labelled).certain.tolist() == [False, False]
    assert RealImage(labelled, certain_score=0.3).certain.tolist() == [True, False]
    image = RealImage(labelled, certain_score=0.3).open()
    assert image.people[50, 25] == 1 and image.people[55, 70] == UNKNOWN and not RealImage(labelled).empty


def test_doubts_cost_nothing():
    """Whatever the network says inside a doubtful person's box, its losses stay the same; outside they do not."""
    batch = make_batch([fitted(RealImage(_real([[40, 8, 72, 84]], [False])).open(), (128, 96))])

    def output(columns: slice) -> MiniDetectorOutput:
        mask, center = torch.full((2, 1, 24, 32), -4.0)
        mask[:, 8:15, columns] = center[:, 8:15, columns] = 4.0
        return MiniDetectorOutput(mask, center, torch.ones(1, 4, 24, 32))

    outputs = (output(slice(0)), output(slice(13, 17)), output(slice(2, 6)))
    calm, doubtful, wrong = (losses(values, batch) for values in outputs)
    for name in ("mask", "center"):
        torch.testing.assert_close(doubtful[name], calm[name], rtol=1e-3, atol=1e-4)
        assert wrong[name] > calm[name] + 0.1


def test_a_grown_network_answers_like_the_one_it_grew_from():
    torch.manual_seed(0)
    small = MiniDetectorNet(SMALL)
    small(torch.rand(4, 3, 64, 64))  # running means that are not those of a new network
    small.eval()
    larger = MiniDetectorConfig(channels=(4, 8, 8, 12, 16), depths=(0, 1, 2, 3, 2), decoder_channels=12)
    large = MiniDetectorNet(larger)
    grow(small, large)
    images = torch.rand(2, 3, 64, 96)
    with torch.no_grad():
        for old, new in zip(small(images), large.eval()(images), strict=True):
            torch.testing.assert_close(new, old, rtol=1e-4, atol=1e-4)
    with pytest.raises(InputError, match="channels"):
        grow(large, small)


def test_pairs_of_boxes_are_one_to_one():
    boxes = np.array([[0.0, 0, 10, 10], [1, 0, 11, 10], [50, 50, 60, 60]])
    pairs, left = match_boxes(boxes, np.array([[0.0, 0, 10, 10]]))
    assert pairs == [(0, 0)] and left == [1, 2]


def test_a_run_leaves_weights_that_the_package_reads_and_goes_on(tmp_path):
    """From labelled images to a folder of weights, validated on held-out ones, and resumed."""
    for split in ("train", "validation"):
        write_labelled_images([_real([[10, 10, 40, 85]], [True])] * 2, tmp_path / "data" / split / "00000.parquet")
    loop = LoopConfig(steps=2, learning_rate=1e-3, warmup_steps=1, log_every=1)
    config = TrainConfig(out=tmp_path / "run", real=tmp_path / "data", batch=1, loop=loop, model=SMALL)
    numbers = train(config)
    assert numbers["real.people"] == 2
    network = load_mini_detector(tmp_path / "run" / "weights").network
    assert network.config == SMALL
    assert set(evaluate_detector(network, tmp_path / "data", real=True)) >= {"recall", "false_per_image", "mask_iou"}
    longer = TrainConfig(
        out=tmp_path / "run",
        real=tmp_path / "data",
        batch=1,
        resume=True,
        loop=LoopConfig(steps=3, learning_rate=1e-3, warmup_steps=1, log_every=1),
        model=SMALL,
    )
    train(longer)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "center" in line] == [1, 2, 3]


def test_nothing_to_learn_from(tmp_path):
    with pytest.raises(InputError, match="--real"):
        train(TrainConfig(out=tmp_path))
