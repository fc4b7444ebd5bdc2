import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from train.data.labelled_images import LabelledImage, write_labelled_images
from train.engine.schedule import LoopConfig
from train.person_keypoints.augmentation import make_batch, mirrored, plain_example, random_example
from train.person_keypoints.keypoint_scores import EvaluateConfig, evaluate
from train.person_keypoints.objective import losses, target_cells
from train.person_keypoints.person_crops import PATCH_PX, people_of, person_crop
from train.person_keypoints.training import KeypointBatches, TrainConfig, train
from unish.errors import InputError
from unish.people.mini_keypoints import MiniKeypointConfig, MiniKeypointOutput
from unish.people.pyramid import STRIDE
from unish.utils.assets import MINI_DETECTOR

SMALL = MiniKeypointConfig(
    channels=(4, 6, 8, 8, 8), depths=(0, 1, 1, 1, 1), decoder_channels=8, width_px=64, height_px=96
)
SIZE = SMALL.width_px, SMALL.height_px


def _person(random=None):
    """A grey image in which every keypoint is a white dot."""
    random = random or np.random.default_rng(0)
    image, box = np.full((240, 200, 3), 60, np.uint8), np.array([60.0, 40, 140, 200])
    keypoints = random.uniform(box[:2] + 8, box[2:] - 8, (17, 2))
    for x, y in keypoints.astype(int):
        image[y - 2 : y + 3, x - 2 : x + 3] = 255
    return image, box, keypoints


def _crop(**changes):
    image, box, keypoints = _person()
    arguments = {"weight": np.ones(17), "absent": np.zeros(17, bool)} | changes
    crop = person_crop(image, box, keypoints, **arguments)
    assert crop is not None
    return crop


def test_keypoints_stay_on_what_they_mark():
    crop = _crop()
    assert crop.rgb.shape[1::-1] == PATCH_PX
    for source in (plain_example(crop, SIZE), mirrored(plain_example(crop, SIZE))):
        pixels = ((source.cells + 0.5) * STRIDE - 0.5).round().astype(int)
        values = np.array([source.rgb[y, x].mean() for x, y in pixels])
        assert (values > 130).all(), "white where a dot is, grey elsewhere"


def test_what_leaves_the_crop_is_absent_and_what_is_unknown_counts_nothing():
    weight = np.ones(17)
    weight[3] = 0
    crop, random = _crop(weight=weight), np.random.default_rng(1)
    examples = [random_example(crop, SIZE, random) for _ in range(40)]
    place, absent = (np.stack([getattr(e, name) for e in examples]) for name in ("place_weight", "absent_weight"))
    assert absent.any() and place.any() and not (place * absent).any()
    swapped = {3, 4}
    others = [k for k in range(17) if k not in swapped]
    assert ((place + absent)[:, others] == 1).all()
    assert ((place + absent)[:, list(swapped)].sum(1) == 1).all(), "left and right ear change places in a mirror"


def test_the_target_is_a_bump_that_sums_to_one():
    cells = torch.tensor([[[4.0, 7.0]]]).expand(1, 17, 2)
    target = target_cells(cells, 24, 16)
    torch.testing.assert_close(target.sum((-2, -1)), torch.ones(1, 17))
    assert target[0, 0].argmax() == 7 * 16 + 4


def test_the_loss_falls_towards_the_truth():
    batch = make_batch([plain_example(_crop(), SIZE)])
    truth = target_cells(batch.cells, 24, 16).clamp(min=1e-9).log()
    right = losses(MiniKeypointOutput(truth, torch.full((1, 17), -20.0)), batch)
    flat = losses(MiniKeypointOutput(torch.zeros(1, 17, 24, 16), torch.zeros(1, 17)), batch)
    moved = losses(MiniKeypointOutput(truth.roll(3, -1), torch.full((1, 17), -20.0)), batch)
    assert right["place"] < flat["place"] < moved["place"] and right["absent"] == 0


def _labelled(folder, split, count):
    import cv2

    images = []
    for seed in range(count):
        image, box, keypoints = _person(np.random.default_rng(seed))
        scored = np.concatenate([keypoints, np.ones((17, 1))], axis=1).astype(np.float32)
        jpeg = cv2.imencode(".jpg", image)[1].tobytes()
        one = np.ones(1, np.float32)
        images.append(LabelledImage(jpeg, box[None].astype(np.float32), one, one > 0, scored[None], "own", f"{seed}"))
    write_labelled_images(images, folder / split / "00000.parquet")


def test_training_is_a_function_of_the_seed_and_can_be_evaluated(tmp_path):
    for split, count in (("train", 4), ("validation", 2)):
        (tmp_path / "real" / split).mkdir(parents=True)
        _labelled(tmp_path / "real", split, count)
    loop = LoopConfig(steps=3, learning_rate=1e-3, log_every=1)

    def run(name):
        config = TrainConfig(tmp_path / name, real=tmp_path / "real", batch=2, bfloat16=False, loop=loop, model=SMALL)
        return train(config), [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").open()]

    numbers, log = run("a")
    assert numbers["real.people"] == 2 and np.isfinite(numbers["real.limbs %"])
    assert [row.get("place") for row in log] == [row.get("place") for row in run("b")[1]]
    scores = evaluate(EvaluateConfig(real=tmp_path / "real", weights=tmp_path / "a/weights"))
    assert scores["real.limbs %"] == pytest.approx(numbers["real.limbs %"], rel=0.05), "half precision"


def test_people_seen_from_behind_are_drawn_more_often_than_they_are_found(tmp_path):
    front, swapped = _crop(), np.arange(17)
    front.keypoints_px[[5, 6], 0] = 90, 40
    swapped[[5, 6]] = 6, 5
    back = dataclasses.replace(front, keypoints_px=front.keypoints_px[swapped], clip="back")
    assert back.from_behind and not front.from_behind
    assert not dataclasses.replace(back, weight=np.zeros(17, np.float32)).from_behind
    config = TrainConfig(out=tmp_path, real_share=1.0, behind_share=0.5, model=SMALL)
    batches, random = KeypointBatches([], [front] * 99 + [back], config, 0), np.random.default_rng(0)
    share = np.mean([batches._person(random).from_behind for _ in range(200)])
    assert 0.4 < share < 0.7


def test_batches_go_on_where_they_stopped(tmp_path):
    people = [_crop()]
    config = TrainConfig(tmp_path, batch=2, model=SMALL)
    first, second = (KeypointBatches([], people, config, seed=3) for _ in range(2))
    next(first)
    second.load_state_dict(first.state_dict())
    torch.testing.assert_close(next(first).images, next(second).images)


def test_rendered_people_have_limbs_and_no_faces():
    rendered, real = people_of(Path(__file__).parent / "shards", None, "train", every=4)
    assert rendered and not real
    assert all(not person.weight[:5].any() and person.weight[5:].any() for person in rendered)


def test_nothing_to_learn_from_is_said(tmp_path):
    with pytest.raises(InputError, match="--rendered"):
        train(TrainConfig(tmp_path / "run", loop=LoopConfig(steps=1)))
    with pytest.raises(InputError, match="validation"):
        evaluate(EvaluateConfig())
    with pytest.raises(InputError, match="encoder"):
        train(TrainConfig(tmp_path / "run", encoder_from=MINI_DETECTOR, loop=LoopConfig(steps=1), model=SMALL))
