"""Masks that teachers give to people in labelled images."""

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from train.data.labelled_images import LabelledImage, images_of_shard, labelled_images, write_labelled_images
from train.data.prepare import label_masks as module
from train.data.prepare.graph_model import GraphModel
from train.data.prepare.label_masks import LabelMasksConfig, is_plausible, label_masks
from train.data.prepare.mask_teachers import BlazePose, MaskTeacher, SegmenterTeacher, open_mask_teacher
from train.person_keypoints.person_crops import people_of
from unish.errors import InputError, MissingAssetError
from unish.people.detect_and_segment import Segments
from unish.structures import KEYPOINT_NAMES

BOX = np.array([60.0, 40, 100, 160], np.float32)


def _image() -> np.ndarray:
    image = np.full((200, 180, 3), 40, np.uint8)
    image[40:160, 60:100] = 220
    return image


def _keypoints(score: float = 0.9) -> np.ndarray:
    """Shoulders and hips of somebody who stands in the box, the others somewhere in it."""
    points = np.random.default_rng(0).uniform(BOX[:2] + 5, BOX[2:] - 5, (17, 2))
    for name, place in (("shoulder", 65), ("hip", 100)):
        points[KEYPOINT_NAMES.index(f"left_{name}")] = 90, place
        points[KEYPOINT_NAMES.index(f"right_{name}")] = 70, place
    return np.column_stack([points, np.full(17, score)]).astype(np.float32)


def _labelled(agreed: bool = True, score: float = 0.9) -> LabelledImage:
    jpeg = cv2.imencode(".jpg", _image())[1].tobytes()
    one = np.ones(1, np.float32)
    return LabelledImage(jpeg, BOX[None], one, one == agreed, _keypoints(score)[None], "own", "clip")


class _Bright:
    """Takes what is bright for the person."""

    name = "bright"

    def __init__(self):
        self.asked = 0

    def look(self, rgb, box_px, keypoints):
        self.asked += 1
        return rgb.mean(-1) > 128


@pytest.fixture
def teacher(monkeypatch):
    bright = _Bright()
    monkeypatch.setattr(module, "open_mask_teacher", lambda text: bright)
    return bright


def test_people_get_masks_once_and_uncertain_ones_none(tmp_path, teacher):
    images = [_labelled(), _labelled(agreed=False), _labelled(score=0.1)]
    write_labelled_images(images, tmp_path / "train/00000.parquet")
    config = LabelMasksConfig(tmp_path)
    assert label_masks(config) == {"people": 1, "with masks": 1}
    first, *others = labelled_images(tmp_path, "train")
    mask = first.mask(0)
    assert mask is not None and (mask[45:155, 65:95] == 255).all() and not mask[:30].any()
    assert all(image.mask(0) is None for image in others)
    assert label_masks(config) == {"people": 1, "with masks": 1} and teacher.asked == 1
    _, (person,) = people_of(None, tmp_path, "train")
    bright = person.rgb.mean(-1) > 128
    assert (bright == (person.mask > 128)).mean() > 0.98, "cut out together with the image"


def test_images_of_before_there_were_masks_are_read(tmp_path):
    path = tmp_path / "train/00000.parquet"
    write_labelled_images([_labelled()], path)
    old = pq.read_table(path).drop_columns("masks").replace_schema_metadata(None)
    pq.write_table(old, path)
    (image,) = images_of_shard(path)
    assert image.masks == () and image.mask(0) is None and image.rgb().shape == (200, 180, 3)


def test_a_data_set_without_images_is_said(tmp_path, teacher):
    with pytest.raises(InputError, match="label_images"):
        label_masks(LabelMasksConfig(tmp_path))


def test_masks_beside_the_keypoints_or_the_box_are_refused():
    truth = _image().mean(-1) > 128
    assert is_plausible(truth, BOX, _keypoints())
    assert not is_plausible(np.roll(truth, 60, axis=1), BOX, _keypoints())
    assert not is_plausible(np.ones_like(truth), BOX, _keypoints())
    assert not is_plausible(truth & (np.arange(200)[:, None] < 80), BOX, _keypoints())
    assert not is_plausible(truth, BOX, _keypoints(score=0.1))
    assert not is_plausible(np.zeros_like(truth), BOX, _keypoints())


class _BrightGraph(GraphModel):
    """Stands for BlazePose: its mask is what is bright."""

    inputs = {"input_1": "input_1"}  # noqa: RUF012

    def __init__(self, score: float = 1.0):
        self.score, self.shown = score, []

    def __call__(self, **feed):
        crop = feed["input_1"]
        self.shown.append(crop[0])
        return {
            "activation_segmentation": (crop.mean(-1, keepdim=True) > 0.5).float(),
            "output_poseflag": torch.tensor([[self.score]]),
        }


@pytest.mark.parametrize("turn_deg", [0.0, 40.0, -120.0, 180.0])
def test_blazepose_sees_people_upright_and_its_mask_lies_on_them(turn_deg):
    image, keypoints = _image(), _keypoints()
    turn = cv2.getRotationMatrix2D((80, 100), turn_deg, 1)
    turned = cv2.warpAffine(image, turn, (180, 200), borderValue=(40, 40, 40))
    keypoints[:, :2] = keypoints[:, :2] @ turn[:, :2].T + turn[:, 2]
    corners = np.array([[x, y] for x in BOX[::2] for y in BOX[1::2]]) @ turn[:, :2].T + turn[:, 2]
    graph = _BrightGraph()
    mask = BlazePose(graph).look(turned, np.concatenate([corners.min(0), corners.max(0)]), keypoints)
    truth = turned.mean(-1) > 128
    assert (mask & truth).sum() / (mask | truth).sum() > 0.9
    (crop,) = graph.shown
    rows, columns = np.nonzero(crop.mean(-1).numpy() > 0.5)
    assert crop.shape == (256, 256, 3) and 0.3 < np.ptp(rows) / 256 < 0.9
    assert np.ptp(rows) > 2.5 * np.ptp(columns), "upright"


def test_blazepose_that_sees_nobody_gives_no_mask():
    assert BlazePose(_BrightGraph(score=0.3)).look(_image(), BOX, _keypoints()) is None


@pytest.mark.parametrize("score", [0.9, 0.0])
def test_a_segmenter_is_asked_with_the_box(score):
    class Boxes:
        def propagate(self, frames, boxes_px):
            (frame,) = frames
            mask = np.zeros((1, frame.shape[0] // 2, frame.shape[1] // 2), bool)
            x0, y0, x1, y1 = (boxes_px[0] / 2).astype(int)
            mask[0, y0:y1, x0:x1] = True
            yield Segments(mask, np.array([score]))

    teacher = SegmenterTeacher(Boxes())
    assert isinstance(teacher, MaskTeacher)
    mask = teacher.look(_image(), BOX, _keypoints())
    assert mask is None if not score else np.array_equal(mask, _image()[..., 0] > 128)


def test_a_teacher_that_is_not_there_is_said(tmp_path):
    with pytest.raises(InputError, match="blazepose=FILE"):
        open_mask_teacher("blazepose")
    with pytest.raises(InputError, match="sam2"):
        open_mask_teacher("clever")
    with pytest.raises(MissingAssetError, match="graph model"):
        open_mask_teacher(f"blazepose={tmp_path / 'none.json'}")
