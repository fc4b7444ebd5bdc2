import numpy as np
import pytest
import torch

from tests.helpers.small_keypoints import SMALL
from unish.people.keypoints import crop_regions
from unish.people.mini_keypoints import (
    MASK_STRIDE,
    MiniKeypointNet,
    MiniKeypointOutput,
    MiniKeypoints,
)
from unish.people.person_masks import MaskEstimator, with_masks
from unish.structures import KEYPOINT_NAMES, PersonTrack


class _Bright(MiniKeypointNet):
    """Takes what is bright for the person."""

    def forward(self, images):
        cells = torch.nn.functional.avg_pool2d(images.mean(1, keepdim=True), MASK_STRIDE)[:, 0]
        nothing = torch.zeros(len(images), len(KEYPOINT_NAMES))
        return MiniKeypointOutput(torch.zeros(len(images), len(KEYPOINT_NAMES), 24, 16), nothing, 20 * cells - 10)


@pytest.fixture(scope="module")
def bright() -> MiniKeypoints:
    return MiniKeypoints(_Bright(SMALL).eval())


def _frames(*corners, size=(300, 400)) -> np.ndarray:
    """Dark frames with a bright square of 60 pixels."""
    frames = np.zeros((len(corners), *size, 3), np.uint8)
    for frame, (x, y) in zip(frames, corners, strict=True):
        frame[y : y + 60, x : x + 60] = 255
    return frames


def _track(boxes, present=None, masks=None) -> PersonTrack:
    present = np.ones(len(boxes), bool) if present is None else np.array(present)
    return PersonTrack(1, np.asarray(boxes, float), present, present.astype(float), masks)


@pytest.mark.parametrize("box", [(90, 70, 170, 150), (100, 20, 160, 200), (60, 90, 260, 150), (-40, 60, 165, 145)])
def test_a_mask_lies_where_the_person_is_in_the_frame(bright, box):
    assert isinstance(bright, MaskEstimator)
    frames = _frames((100, 80))
    (chance,) = bright.person_chances(frames, np.array([box], float))
    mask = chance >= 0.35
    truth = frames[0, ..., 0] > 0
    assert (mask & truth).sum() / (mask | truth).sum() > 0.85
    rows, columns = np.nonzero(mask)
    top, bottom = crop_regions(np.array([box], float), SMALL.width_px / SMALL.height_px)[0, 1::2]
    cell_px = MASK_STRIDE * (bottom - top) / SMALL.height_px
    assert abs(columns.mean() - 129.5) < 0.2 * cell_px and abs(rows.mean() - 109.5) < 0.2 * cell_px


def test_masks_of_large_frames_are_smaller_and_of_those_who_are_there(bright):
    frames = _frames((100, 80), (110, 80), (120, 80), size=(600, 960))
    boxes = [(x - 10, 70, x + 70, 150) for x in (100, 110, 120)]
    (track,) = with_masks(frames, [_track(boxes, [True, False, True])], bright)
    masks = track.masks
    assert masks is not None
    assert masks.shape == (3, 300, 480)
    assert masks.any((1, 2)).tolist() == [True, False, True]
    assert masks[2, 42:68, 62:88].mean() > 0.95 and masks[2].sum() < 33**2


def test_masks_that_somebody_has_are_kept_unless_wanted_anew(bright):
    frames, boxes = _frames((100, 80)), [(90, 70, 170, 150)]
    own, none = _track(boxes, masks=np.ones((1, 30, 40), bool)), _track(boxes)
    kept, made = with_masks(frames, [own, none], bright)
    assert kept is own and made.masks is not None and made.masks[0].sum() < 65**2
    (anew,) = with_masks(frames, [own], bright, anew=True)
    assert np.array_equal(anew.masks, made.masks)
    assert with_masks(frames, [none], None) == (none,)


def test_where_the_network_sees_nobody_the_mask_that_is_there_stays(bright):
    frames, masks = _frames((100, 80), (100, 80)), np.zeros((2, 30, 40), bool)
    frames[1] = 0
    masks[:, 10:20, 10:20] = True
    (track,) = with_masks(frames, [_track([(90, 70, 170, 150)] * 2, masks=masks)], bright, anew=True)
    assert track.masks is not None
    assert track.masks[0].sum() < 65**2 and np.array_equal(track.masks[1, 5::10, 5::10], masks[1])


class _ByDistance:
    """Is surer of a pixel, the nearer it is to the middle of the box."""

    def person_chances(self, frames, boxes_px):
        rows, columns = np.mgrid[: frames.shape[1], : frames.shape[2]]
        middles = (boxes_px[:, :2] + boxes_px[:, 2:]) / 2
        return np.stack([np.exp(-np.hypot(columns - x, rows - y) / 150) for x, y in middles]).astype(np.float32)


def test_around_a_mask_lies_what_may_be_the_persons_too():
    (track,) = with_masks(np.zeros((1, 300, 400, 3), np.uint8), [_track([(100, 100, 160, 200)])], _ByDistance())
    assert track.masks is not None and track.uncertain_masks is not None
    assert track.masks[0, 150, 130] and not (track.masks & track.uncertain_masks).any()
    mask, either = (area.sum() for area in (track.masks, track.masks | track.uncertain_masks))
    assert 1.05 < either / mask < 1.5


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_pixel_of_two_people_is_the_one_whose_it_is_likelier(order):
    tracks = [_track([(x, 100, x + 60, 200)] * 3) for x in (100, 180)]
    masked = with_masks(np.zeros((3, 300, 400, 3), np.uint8), [tracks[index] for index in order], _ByDistance())
    left, right = (masked[order.index(index)].masks for index in (0, 1))
    assert left is not None and right is not None
    assert not (left & right).any() and left.any() and right.any()
    assert np.nonzero(left)[2].max() < 171 and np.nonzero(right)[2].min() > 168
    (alone,) = with_masks(np.zeros((3, 300, 400, 3), np.uint8), tracks[:1], _ByDistance())
    assert alone.masks is not None and np.nonzero(alone.masks)[2].max() > 200


def test_edges_of_a_mask_are_those_of_the_image():
    frames = _frames((100, 80))

    class Shifted:
        def person_chances(self, frames, boxes_px):
            chances = np.zeros(frames.shape[:3], np.float32)
            chances[:, 79:139, 101:161] = 1
            return chances

    (track,) = with_masks(frames, [_track([(90, 60, 170, 160)])], Shifted())
    assert track.masks is not None
    truth, given = frames[0, ..., 0] > 0, Shifted().person_chances(frames, None)[0] > 0
    assert (track.masks[0] ^ truth).sum() < 0.5 * (given ^ truth).sum()


def test_progress_runs_through_the_clip(bright):
    shares: list[float] = []
    tracks = [_track([(90, 70, 170, 150)] * 20) for _ in range(2)]
    with_masks(_frames(*[(100, 80)] * 20), tracks, bright, lambda share, _: shares.append(share))
    assert shares == [0.8, 1.0]
