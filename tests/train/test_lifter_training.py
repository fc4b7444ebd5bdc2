"""What the pose lifter learns from: bodies seen by cameras, errors like those of the networks, rendered people."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from train.data.schema import write_shards
from train.engine.schedule import LoopConfig
from train.pose_lifter.lifter_batches import BatchConfig, LifterBatches
from train.pose_lifter.lifter_scores import EvaluateConfig, evaluate, lifter_scores
from train.pose_lifter.objective import losses
from train.pose_lifter.observation import Chance, as_detected, filmed
from train.pose_lifter.performances import CAMERAS, face_offsets, perform
from train.pose_lifter.rendered_people import PoseErrors, rendered_people
from train.pose_lifter.sightings import stacked
from train.pose_lifter.training import TrainConfig, train
from train.synthetic.clips import generate_clip
from train.synthetic.dataset import SPLIT_SEEDS
from unish.body import open_body
from unish.body.data import COCO_LIMBS, MIRRORED_JOINTS, PARENTS
from unish.body.lbs import joint_transforms
from unish.errors import InputError
from unish.fitting.pose_lifter import FRAMES, PoseLifterConfig, load_pose_lifter

SMALL = PoseLifterConfig(width=24, depth=1, heads=3)


@pytest.fixture(scope="module")
def performances():
    return perform(open_body(), None, 6, seed=1)


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    """A folder with two clips to learn from and one to validate on."""
    folder = tmp_path_factory.mktemp("rendered")
    for split, seeds in {"train": (3, 4), "validation": (5,)}.items():
        clips = [generate_clip(seed, frames=6, long_side_px=224, people_count=1) for seed in seeds]
        write_shards(clips, folder / split)
    return folder


@pytest.fixture(scope="module")
def people(rendered):
    return rendered_people(rendered, "train", open_body())


def seen_by(performances, batch=5, seed=0):
    return filmed(performances, torch.from_numpy(face_offsets(open_body())).float(), Chance(seed), batch)


def test_the_same_seed_gives_the_same_performances(performances):
    again = perform(open_body(), None, 6, seed=1)
    for field in dataclasses.fields(performances):
        np.testing.assert_array_equal(getattr(again, field.name), getattr(performances, field.name))
    assert performances.rotations.shape == (6, FRAMES, 24, 3, 3)
    assert performances.camera_from_world.shape == (6, CAMERAS, FRAMES, 4, 4)
    height = performances.pelvis_world[..., 2]
    assert (height > 0.1).all() and (height < 1.5).all(), "pelvises of people who stand on the floor"


def test_keypoints_lie_in_the_box_and_on_the_joints(performances):
    seen = seen_by(performances)
    low, high = seen.boxes_px[:, :, None, :2], seen.boxes_px[:, :, None, 2:]
    slack = 0.05 * (high - low).amax(-1, keepdim=True)  # noses and ears are not among what makes the box
    assert ((seen.keypoints_px >= low - slack) & (seen.keypoints_px <= high + slack)).all()
    assert torch.allclose(seen.rotations.det(), torch.ones(()), atol=1e-3)
    up = -seen.rotations[:, :, 0, 1, 1]
    assert (up > 0.3).float().mean() > 0.8, "most people stand upright in the image"


def test_errors_are_as_large_as_the_networks(performances):
    """Of rendered people, the network's sure keypoints are off by 1 to 3 % at the median, others by far more."""
    seen = seen_by(performances, batch=200)
    sighting = as_detected(seen, seen.rotations, Chance(3))
    height = (seen.boxes_px[..., 3] - seen.boxes_px[..., 1])[..., None]
    off = (sighting.keypoints_px[..., :2] - seen.keypoints_px).norm(dim=-1) / height
    confidence = sighting.keypoints_px[..., 2]
    limbs = torch.arange(17) >= 5
    sure, unsure = off[(confidence > 0.6) & limbs], off[(confidence > 0) & (confidence < 0.3) & limbs]
    assert 0.01 < sure.median() < 0.03 and unsure.median() > 2 * sure.median()
    assert 0.1 < ((confidence > 0.6) & limbs).float().mean() < 0.7
    assert (sighting.boxes_px >= 0).all() and (sighting.boxes_px[..., 2:] > sighting.boxes_px[..., :2]).all()


def test_a_mirrored_batch_is_mirrored_in_all_of_it(performances, people):
    batch = next(LifterBatches(people, performances, open_body(), BatchConfig(batch=3), seed=0))
    other = batch.mirrored()
    joints, flipped = (joint_transforms(one.rotations, one.rest_joints[:, None], PARENTS)[1] for one in (batch, other))
    torch.testing.assert_close(flipped, joints[:, :, list(MIRRORED_JOINTS)] * torch.tensor([-1.0, 1, 1]))
    again = other.mirrored()
    torch.testing.assert_close(again.sighting.observed(), batch.sighting.observed(), atol=1e-5, rtol=0)
    assert all(value == pytest.approx(0, abs=0.06) for value in losses(batch.rotations, batch).values())


def test_made_up_poses_are_as_wrong_as_the_human_branch(performances, people):
    seen = seen_by(performances)
    guesses = PoseErrors(stacked(people)).guesses(seen, Chance(0))
    assert guesses.shape == seen.rotations.shape
    torch.testing.assert_close(guesses.det(), torch.ones(guesses.shape[:3]), atol=1e-3, rtol=0)
    assert (guesses - seen.rotations).abs().max() > 0.1


def test_training_learns_and_its_weights_are_scored(rendered, tmp_path):
    config = TrainConfig(
        out=tmp_path / "run",
        rendered=rendered,
        performances=6,
        batches=BatchConfig(batch=8),
        model=SMALL,
        loop=LoopConfig(steps=40, learning_rate=3e-3, warmup_steps=5, average=0.9, log_every=1),
    )
    numbers = train(config)
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    loss = [line["joints"] for line in lines if "joints" in line]
    assert np.mean(loss[-8:]) < 0.8 * np.mean(loss[:4])
    scores = evaluate(EvaluateConfig(rendered, tmp_path / "run/weights"))
    assert scores["lifted, PA-MPJPE mm"] == pytest.approx(numbers["lifted, PA-MPJPE mm"], rel=0.05)
    assert load_pose_lifter(tmp_path / "run/weights").config == SMALL
    with pytest.raises(InputError, match="neither a folder"):
        evaluate(EvaluateConfig(tmp_path / "nothing"))


def test_the_bundled_lifter_makes_poses_better(tmp_path):
    """Of people whom nobody trained on, and of whose limbs the keypoint network is sure of some."""
    seeds = range(SPLIT_SEEDS["test"] + 20, SPLIT_SEEDS["test"] + 26)
    write_shards([generate_clip(seed, frames=8, people_count=2) for seed in seeds], tmp_path / "test")
    people = rendered_people(tmp_path, "test", open_body())
    limbs = [person.sighting.keypoints_px[:, list(COCO_LIMBS), 2].mean() for person in people]
    seen = [person for person, confidence in zip(people, limbs, strict=True) if confidence >= 0.2]
    assert len(seen) >= 8
    scores = lifter_scores(load_pose_lifter(), seen)
    assert scores["lifted, PA-MPJPE mm"] < 0.97 * scores["human branch, PA-MPJPE mm"]
