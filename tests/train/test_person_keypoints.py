import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.helpers.small_keypoints import SMALL
from train.data.labelled_images import LabelledImage, encoded_mask, write_labelled_images
from train.engine.schedule import LoopConfig
from train.person_keypoints.augmentation import make_batch, mirrored, passed_by, plain_example, random_example
from train.person_keypoints.keypoint_scores import EvaluateConfig, evaluate
from train.person_keypoints.objective import losses, mask_loss, target_cells
from train.person_keypoints.person_crops import PATCH_PX, people_of, person_crop
from train.person_keypoints.training import KeypointBatches, TrainConfig, train
from unish.errors import InputError
from unish.people.mini_keypoints import (
    MiniKeypointNet,
    MiniKeypointOutput,
    load_mini_keypoints,
    save_mini_keypoints,
)
from unish.people.pyramid import STRIDE
from unish.utils.assets import MINI_DETECTOR

SIZE = SMALL.width_px, SMALL.height_px


def _person(random=None):
    """A grey image in which every keypoint is a white dot."""
    random = random or np.random.default_rng(0)
    image, box = np.full((240, 200, 3), 60, np.uint8), np.array([60.0, 40, 140, 200])
    keypoints = random.uniform(box[:2] + 8, box[2:] - 8, (17, 2))
    for x, y in keypoints.astype(int):
        image[y - 2 : y + 3, x - 2 : x + 3] = 255
    return image, box, keypoints


MASK = np.zeros((240, 200), np.uint8)
MASK[40:200, 60:140] = 255


def _crop(**changes):
    image, box, keypoints = _person()
    arguments = {"weight": np.ones(17), "absent": np.zeros(17, bool)} | changes
    crop = person_crop(image, box, keypoints, **arguments)
    assert crop is not None
    return crop


@pytest.mark.parametrize("seed", range(12))
def test_who_passes_by_hides_the_person_or_is_hidden(seed):
    """The one is all red, the other all green, and nobody else is in the image."""
    one, other = (
        dataclasses.replace(crop, rgb=np.where(crop.mask[..., None] > 0, np.uint8(color), np.uint8(0)))
        for crop, color in ((_crop(mask=MASK), (255, 0, 0)), (_crop(mask=MASK), (0, 255, 0)))
    )
    passed = passed_by(one, other, np.random.default_rng(seed))
    red, green = passed.rgb[..., 0] > 127, passed.rgb[..., 1] > 127
    assert np.mean((passed.mask > 127) == red) > 0.99, "the mask is what is seen of the person"
    assert not (red & green).any() and red.sum() >= 0.35 * (one.mask > 127).sum()
    assert np.array_equal(passed.keypoints_px, one.keypoints_px)


def test_nobody_passes_by_whose_mask_is_unknown():
    one, unknown, random = _crop(mask=MASK), _crop(), np.random.default_rng(0)
    assert passed_by(one, unknown, random) is one and passed_by(unknown, one, random) is unknown


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
    batch = make_batch([plain_example(_crop(mask=MASK), SIZE)])
    truth = target_cells(batch.cells, 24, 16).clamp(min=1e-9).log()
    mask = 20 * batch.masks - 10
    right = losses(MiniKeypointOutput(truth, torch.full((1, 17), -20.0), mask), batch)
    flat = losses(MiniKeypointOutput(torch.zeros(1, 17, 24, 16), torch.zeros(1, 17), 0 * mask), batch)
    moved = losses(MiniKeypointOutput(truth.roll(3, -1), torch.full((1, 17), -20.0), mask.roll(12, -1)), batch)
    assert right["place"] < flat["place"] < moved["place"] and right["absent"] == 0
    assert right["mask"] < 0.2 < flat["mask"] < moved["mask"]


def test_masks_lie_on_what_they_mask_and_count_where_they_are_known():
    crop, random = _crop(mask=MASK), np.random.default_rng(2)
    crop = dataclasses.replace(crop, rgb=np.repeat(crop.mask[..., None], 3, axis=-1))
    for source in (plain_example(crop, SIZE), mirrored(plain_example(crop, SIZE))):
        assert np.array_equal(source.rgb[..., 0], source.mask)
    examples = [random_example(crop, SIZE, random) for _ in range(30)]
    agree = [np.corrcoef(e.rgb.mean(-1).ravel(), e.mask.ravel())[0, 1] for e in examples]
    assert np.median(agree) > 0.9
    batch = make_batch([plain_example(crop, SIZE), plain_example(_crop(), SIZE)])
    assert batch.masks.shape == (2, 48, 32) and batch.mask_weight.tolist() == [1, 0]
    answers = torch.zeros(2, 48, 32)
    known = mask_loss(answers[:1], batch.masks[:1], batch.mask_weight[:1])
    assert mask_loss(answers, batch.masks, batch.mask_weight) == known


def test_what_covers_a_person_is_not_theirs():
    crop = _crop(mask=np.full((240, 200), 255, np.uint8))
    random = np.random.default_rng(0)
    shares = np.array([random_example(crop, SIZE, random).mask.mean() / 255 for _ in range(60)])
    assert 0.2 < (shares < 0.97).mean() < 0.6


def test_the_mask_learns_alone_where_that_is_asked(tmp_path):
    (tmp_path / "real/train").mkdir(parents=True)
    _labelled(tmp_path / "real", "train", 3)
    loop = LoopConfig(steps=2, learning_rate=1e-2, log_every=1)
    torch.manual_seed(1)
    save_mini_keypoints(MiniKeypointNet(SMALL), tmp_path / "start")
    config = TrainConfig(
        tmp_path / "run", real=tmp_path / "real", batch=2, bfloat16=False, loop=loop, start_from=tmp_path / "start",
        only_mask=True, model=SMALL,
    )  # fmt: skip
    train(config)
    before, after = (load_mini_keypoints(tmp_path / name).network.state_dict() for name in ("start", "run/weights"))
    changed = {key for key, value in after.items() if not torch.equal(value, before[key])}
    assert changed and all(key.startswith("mask.") for key in changed)


def _labelled(folder, split, count):
    import cv2

    images = []
    for seed in range(count):
        image, box, keypoints = _person(np.random.default_rng(seed))
        scored = np.concatenate([keypoints, np.ones((17, 1))], axis=1).astype(np.float32)
        jpeg = cv2.imencode(".jpg", image)[1].tobytes()
        one = np.ones(1, np.float32)
        mask = (encoded_mask(MASK > 0),)
        boxes = box[None].astype(np.float32)
        images.append(LabelledImage(jpeg, boxes, one, one > 0, scored[None], "own", f"{seed}", mask))
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
    assert numbers["real.people"] == 2 and np.isfinite(numbers["real.limbs %"]) and 0 <= numbers["real.mask IoU"] <= 1
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
    assert all(person.mask is not None and person.mask.any() for person in rendered)


def test_nothing_to_learn_from_is_said(tmp_path):
    with pytest.raises(InputError, match="--rendered"):
        train(TrainConfig(tmp_path / "run", loop=LoopConfig(steps=1)))
    with pytest.raises(InputError, match="validation"):
        evaluate(EvaluateConfig())
    with pytest.raises(InputError, match="encoder"):
        train(TrainConfig(tmp_path / "run", encoder_from=MINI_DETECTOR, loop=LoopConfig(steps=1), model=SMALL))
