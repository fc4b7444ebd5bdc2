"""Filmed people, of whom only a teacher's limbs are known, as the pose lifter learns from them."""

import dataclasses

import numpy as np
import pytest
import torch

from tests.helpers.videos import write_video
from train.data.prepare.teachers import TeacherPeople
from train.data.real_people import MIRRORED
from train.pose_lifter import filmed_people as filmed_people_module
from train.pose_lifter.filmed_people import PIECE, filmed_people, labelled_limbs
from train.pose_lifter.lifter_batches import BatchConfig, FilmedBatch, LifterBatches
from train.pose_lifter.objective import LIMBS_PER_HEIGHT, LifterObjective, filmed_losses
from train.pose_lifter.performances import perform
from train.pose_lifter.rendered_people import RenderedPerson
from train.pose_lifter.sightings import stacked
from train.synthetic.clips import generate_clip
from unish.body import open_body
from unish.body.data import COCO_LIMBS, SMPL_LIMBS
from unish.errors import InputError
from unish.fitting.pose_lifter import FRAMES, PoseLifter, PoseLifterConfig
from unish.structures import PersonTrack


@pytest.fixture(scope="module")
def sample():
    return generate_clip(3, frames=FRAMES, long_side_px=224, people_count=1)


class _KnowsTheTruth:
    """Labels of the frames in turn; nobody in every fifth."""

    name, sure_score = "truth", 0.3

    def __init__(self, sample) -> None:
        self.sample, self.asked = sample, 0

    def look(self, rgb):
        frame, self.asked = self.asked % FRAMES, self.asked + 1
        assert rgb.shape == self.sample.images.shape[1:]
        if frame % 5 == 4:
            return TeacherPeople(np.zeros((0, 4)), np.zeros(0), np.zeros((0, 17, 3)))
        keypoints = np.zeros((1, 17, 3))
        keypoints[0, list(COCO_LIMBS), :2] = self.sample.joints_px[0, frame][list(SMPL_LIMBS)]
        keypoints[0, list(COCO_LIMBS), 2] = 0.9
        return TeacherPeople(self.sample.boxes_px[:, frame].astype(float), np.array([0.9]), keypoints)


@pytest.fixture(scope="module")
def people(sample, tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    write_video(folder / "walk.mp4", sample.images, rate=6)
    (folder / "broken.mp4").write_text("not a video")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(filmed_people_module, "RATES_FPS", (6.0,))
        nobody, people = filmed_people(str(folder), _KnowsTheTruth(sample), open_body())
    assert not nobody, "of the broken video"
    return people


def true_rotations(sample, piece):
    return torch.from_numpy(np.array(sample.body_rotations[0][PIECE * piece : PIECE * (piece + 1)], np.float32))


def batch_of(people, sample):
    """The people as they are, with the true lens and shape."""
    together = stacked(people)
    focal = torch.from_numpy(np.array(sample.intrinsics[:, 0, 0], np.float32)).reshape(len(people), PIECE)
    rest = open_body().rest_joints(torch.from_numpy(np.array(sample.betas[0], np.float32)).reshape(-1, 10)[0])
    sighting = dataclasses.replace(together.sighting, focal_px=focal)
    return FilmedBatch(sighting, rest.float().expand(len(people), -1, -1), together.limbs_px, together.weight)


def test_people_are_followed_and_labelled_piece_by_piece(people, sample):
    assert len(people) == FRAMES // PIECE
    for piece, person in enumerate(people):
        frames = range(PIECE * piece, PIECE * (piece + 1))
        labelled = [frame % 5 != 4 for frame in frames]
        assert person.weight.bool().all(1).tolist() == labelled
        limbs = sample.joints_px[0, list(frames)][:, list(SMPL_LIMBS)]
        np.testing.assert_allclose(person.limbs_px[labelled], limbs[labelled], atol=1e-3)
        assert (person.sighting.keypoints_px[..., 2] > 0.2).float().mean() > 0.2
        np.testing.assert_allclose(person.sighting.times_s, np.arange(PIECE) / 6, atol=1e-4)


def test_a_teacher_without_keypoints_is_refused(sample):
    count = len(sample.images)
    boxes, everywhere = sample.boxes_px[0].astype(float), np.ones(count, bool)
    labels = [TeacherPeople(boxes[frame : frame + 1], np.array([0.9])) for frame in range(count)]
    with pytest.raises(InputError, match="gives keypoints"):
        labelled_limbs(PersonTrack(1, boxes, everywhere, np.ones(count)), labels)


def test_true_poses_cost_nothing_wherever_the_body_stands_and_wrong_ones_do(people, sample):
    batch = batch_of(people, sample)
    true = torch.stack([true_rotations(sample, piece) for piece in range(len(people))])
    assert filmed_losses(true, batch)["limbs"] < 0.03 * LIMBS_PER_HEIGHT
    wrong = true.clone()
    wrong[:, :, 16:20] = torch.eye(3)
    assert filmed_losses(wrong, batch)["limbs"] > 1.5 * filmed_losses(true, batch)["limbs"]
    nobody = dataclasses.replace(batch, weight=torch.zeros_like(batch.weight))
    assert filmed_losses(wrong, nobody)["limbs"] == 0


def test_a_mirrored_batch_costs_as_much(people, sample):
    batch = batch_of(people, sample)
    other = batch.mirrored()
    assert torch.equal(other.weight, batch.weight[:, :, list(MIRRORED)])
    poses = batch.sighting.rotations
    cost, mirrored = filmed_losses(poses, batch), filmed_losses(other.sighting.rotations, other)
    assert mirrored["limbs"] == pytest.approx(cost["limbs"].item(), rel=1e-3)
    torch.testing.assert_close(other.mirrored().limbs_px, batch.limbs_px)


def test_batches_hold_filmed_people_in_their_share_and_teach_the_network(people):
    body = open_body()
    rendered = [RenderedPerson(p.sighting, p.sighting.rotations, p.rest_joints) for p in people]
    config = BatchConfig(batch=4, filmed_share=0.5)
    batches = LifterBatches(rendered, perform(body, None, 4, seed=0), body, config, 0, [people[:1], [], people[1:]])
    drawn = [next(batches) for _ in range(40)]
    filmed = [batch for batch in drawn if isinstance(batch, FilmedBatch)]
    assert 10 <= len(filmed) <= 30
    assert {batch.limbs_px.shape[1] for batch in filmed} > {3, PIECE}
    objective = LifterObjective(PoseLifter(PoseLifterConfig(width=24, depth=1, heads=3)))
    loss = objective(filmed[0])["limbs"]
    loss.backward()
    assert objective.network.pose.weight.grad is not None and objective.network.pose.weight.grad.abs().max() > 0
    again = LifterBatches(rendered, perform(body, None, 4, seed=0), body, config, 0, [people[:1], [], people[1:]])
    torch.testing.assert_close(next(again).sighting.keypoints_px, drawn[0].sighting.keypoints_px)
