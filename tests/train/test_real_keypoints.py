"""Real people with labelled keypoints: how they are read and cropped, and what the human branch and AlignNet learn."""

import dataclasses

import cv2
import numpy as np
import pytest
import torch

from train.data.labelled_images import LabelledImage, write_labelled_images
from train.data.pretrain_batches import CropSettings, ViewSettings
from train.data.real_people import MIRRORED, RealPerson, keypoint_batch, real_people
from train.objectives.align_objective import AlignSettings
from train.objectives.pretrain_losses import fitted_keypoint_loss, placed_keypoint_loss
from train.objectives.pretrain_objectives import HumanWeights, SceneWeights, make_objective
from unish.body import open_body
from unish.body.data import COCO_LIMBS, MIRRORED_JOINTS, SMPL_LIMBS
from unish.errors import InputError
from unish.models.unish import UniSH

CROPS = CropSettings(crops_per_batch=2, real_crops_per_batch=64, shift=0.0, scale=(1.0, 1.0), erase=0.0)
ALIGN = AlignSettings(windows=2, windows_per_batch=2, real_per_batch=3, spans=((2, 1),), sizes=((56, 42),))


def person(labelled: int = 12, width: int = 400, height: int = 300) -> RealPerson:
    """A grey figure whose left wrist alone is marked in red, at the limbs' places."""
    image = np.full((height, width, 3), 90, np.uint8)
    limbs = np.stack([np.linspace(130, 230, 12), np.linspace(60, 240, 12)], axis=1).astype(np.float32)
    cv2.circle(image, tuple(int(v) for v in limbs[4]), 12, (250, 10, 10), -1)
    weight = (np.arange(12) < labelled).astype(np.float32)
    return RealPerson(image, np.array([100, 40, 260, 280], np.float32), limbs, weight)


def test_limbs_are_named_the_same_in_both_orders():
    assert [MIRRORED_JOINTS[SMPL_LIMBS[i]] for i in range(12)] == [SMPL_LIMBS[m] for m in MIRRORED]
    pairs = {5: 6, 7: 8, 9: 10, 11: 12, 13: 14, 15: 16}
    pairs |= {right: left for left, right in pairs.items()}
    assert [pairs[COCO_LIMBS[i]] for i in range(12)] == [COCO_LIMBS[m] for m in MIRRORED]


def test_keypoints_stay_on_their_limb_in_every_crop():
    batch = keypoint_batch([person()], CROPS, np.random.default_rng(0))
    mirrored = 0
    for crop, limbs in zip(batch.crops, batch.limbs_px, strict=True):
        redness = cv2.GaussianBlur((crop[0] - crop[1]).numpy(), (9, 9), 0)
        if redness.max() < 0.2:  # a grey one
            continue
        rows, columns = np.nonzero(redness > 0.6 * redness.max())
        spot = torch.tensor([np.median(columns), np.median(rows)])
        distances = (limbs - spot).norm(dim=-1)
        assert distances.min() < 6
        mirrored += int(distances.argmin() == MIRRORED[4])
        assert int(distances.argmin()) in (4, MIRRORED[4])
    assert 16 < mirrored < 48


def test_people_whom_the_teachers_doubt_or_who_show_little_are_left_out(tmp_path):
    one = person()
    keypoints = np.zeros((4, 17, 3), np.float32)
    keypoints[:, list(COCO_LIMBS), :2], keypoints[:, list(COCO_LIMBS), 2] = one.limbs_px, 0.9
    keypoints[2, 9:, 2] = 0.1
    done, jpeg = cv2.imencode(".jpg", one.image)
    assert done
    boxes = np.stack([one.box_px, one.box_px, one.box_px, one.box_px / 10])
    labelled = LabelledImage(
        jpeg.tobytes(), boxes, np.ones(4, np.float32), np.array([True, False, True, True]), keypoints, "made", "one"
    )
    write_labelled_images([labelled], tmp_path / "train" / "00000.parquet")
    people = real_people(tmp_path, "train", long_side_px=200)
    assert len(people) == 1 and people[0].weight.all() and people[0].image.shape == (150, 200, 3)
    assert np.allclose(people[0].limbs_px, one.limbs_px / 2) and np.allclose(people[0].box_px, one.box_px / 2)
    nobody = dataclasses.replace(labelled, agreed=np.zeros(4, bool))
    write_labelled_images([nobody], tmp_path / "validation" / "00000.parquet")
    with pytest.raises(InputError, match="labelled limbs"):
        real_people(tmp_path, "validation")


def test_the_fitted_loss_sees_the_pose_alone():
    joints = torch.randn(3, 12, 3)
    weight = torch.ones(3, 12)
    weight[:, 0] = 0
    pixels = 70 * joints[..., :2] + torch.tensor([120.0, 40.0])
    pixels[:, 0] = 1e4  # not labelled
    assert fitted_keypoint_loss(joints, pixels, weight) < 1e-4
    turned = pixels.clone()
    turned[..., 0] = 240 - turned[..., 0]
    assert fitted_keypoint_loss(joints, turned, weight) > 0.3


def test_the_placed_loss_is_in_box_sizes():
    joints = torch.tensor([[[0.5, 1.0, 5.0]] * 12])
    limbs = joints[..., :2] / 5
    assert placed_keypoint_loss(joints, limbs, torch.ones(1, 12), torch.tensor([0.4])) == 0
    shifted = limbs + torch.tensor([0.04, 0.0])
    loss = placed_keypoint_loss(joints, shifted, torch.ones(1, 12), torch.tensor([0.4]))
    assert float(loss) == pytest.approx(0.1)


@pytest.mark.parametrize("name", ["human", "align"])
def test_real_people_teach_the_part_that_is_trained(name, tiny, clips):
    torch.manual_seed(0)
    model = UniSH(dataclasses.replace(tiny, align=dataclasses.replace(tiny.align, place_from_box=True)))
    objective = make_objective(
        name, model, open_body(), scene=SceneWeights(), views=ViewSettings(), human=HumanWeights(), crops=CROPS,
        align=ALIGN, seed=0, people=[person(), person(width=300), person(labelled=8)],
    )  # fmt: skip
    batch = objective.draw_batch(clips, np.random.default_rng(1))
    assert batch.real is not None
    part = objective.align_net if name == "align" else objective.branch.head
    objective.train()
    optimizer = torch.optim.Adam(part.parameters(), lr=3e-3)
    losses = []
    for _ in range(25):
        loss = objective(batch)["real_joints"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.8 * losses[0], losses
