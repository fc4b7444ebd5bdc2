"""Keypoints tell people from what the detector takes for one, and boxes grow to hold them."""

import dataclasses

import numpy as np
import pytest

from unish.people.detect_and_track import DetectAndTrack
from unish.people.keypoint_evidence import (
    grown_to_keypoints,
    one_track_per_body,
    scored_by_keypoints,
    trunk_confidence,
)
from unish.people.tracking import Detections
from unish.structures import KEYPOINT_NAMES, PersonTrack

HIP, SHOULDER, ELBOW, WRIST = (KEYPOINT_NAMES.index(f"left_{name}") for name in ("hip", "shoulder", "elbow", "wrist"))
BOX = [40.0, 30.0, 80.0, 130.0]


def _track(frames: int = 4, **seen: float) -> PersonTrack:
    keypoints = np.zeros((frames, 17, 3))
    for name, confidence in seen.items():
        keypoints[:, KEYPOINT_NAMES.index(name)] = [60, 80, confidence]
    return PersonTrack(1, np.tile(BOX, (frames, 1)), np.ones(frames, bool), np.ones(frames), keypoints_px=keypoints)


def test_one_joint_of_the_trunk_is_evidence_and_limbs_are_none():
    assert trunk_confidence(_track(right_hip=0.8)) == trunk_confidence(_track(left_shoulder=0.8, left_hip=0.1)) == 0.8
    assert trunk_confidence(_track(left_wrist=0.9, nose=0.9)) == 0
    half = _track(left_hip=0.8)
    half = dataclasses.replace(half, present=np.array([True, True, False, False]))
    assert trunk_confidence(half) == pytest.approx(0.8), "frames without the person do not count"
    assert trunk_confidence(dataclasses.replace(half, keypoints_px=None)) == 0


def test_boxes_grow_to_sure_keypoints_only_and_stay_in_the_frame():
    track = _track(left_hip=0.9)
    assert track.keypoints_px is not None
    track.keypoints_px[0, WRIST] = [95, 60, 0.9]
    track.keypoints_px[1, WRIST] = [95, 60, 0.2]
    track.keypoints_px[2, WRIST] = [199, 60, 0.9]
    grown = grown_to_keypoints(track, 200, 150).boxes_px
    np.testing.assert_allclose(grown[0], [40, 30, 98, 130])
    np.testing.assert_allclose(grown[1], BOX)
    np.testing.assert_allclose(grown[2], [40, 30, 200, 130])
    absent = dataclasses.replace(track, present=np.zeros(4, bool))
    np.testing.assert_allclose(grown_to_keypoints(absent, 200, 150).boxes_px, track.boxes_px)


def _person(id: int, box: list[float], frames: range, confidence: float, shift_px: float = 0.0) -> PersonTrack:
    """Somebody with shoulders and hips in these of ten frames, a mask of their own number and all."""
    keypoints = np.zeros((10, 17, 3))
    for index, place in enumerate([(50, 50), (70, 50), (53, 80), (67, 80)]):
        keypoints[:, [5, 6, 11, 12][index]] = [*(np.array(place) + shift_px), confidence]
    present = np.isin(np.arange(10), list(frames))
    keypoints[~present] = 0
    masks = np.repeat(present[:, None, None], 8, axis=1).repeat(8, axis=2)
    return PersonTrack(id, np.tile(box, (10, 1)), present, present * 0.5, masks, keypoints, masks.copy())


def test_one_body_found_twice_is_one_person_with_the_boxes_of_the_surer_track():
    loose = _person(1, [20.0, 10, 120, 140], range(0, 8), 0.5, shift_px=2)
    tight = _person(2, [40.0, 30, 80, 130], range(3, 10), 0.8)
    (person,) = one_track_per_body([loose, tight])
    assert person.id == 1 and person.present.all() and person.masks is not None and person.masks.all()
    assert person.uncertain_masks is not None and person.uncertain_masks.all()
    np.testing.assert_allclose(person.boxes_px[:3], loose.boxes_px[:3])
    np.testing.assert_allclose(person.boxes_px[3:], tight.boxes_px[3:])
    assert person.keypoints_px is not None and (person.keypoints_px[:, 5, 2] > 0).all()


def test_people_who_stand_close_or_take_turns_stay_apart():
    first = _person(1, [40.0, 30, 80, 130], range(0, 6), 0.8)
    beside = _person(2, [60.0, 30, 100, 130], range(0, 6), 0.8, shift_px=20)
    later = _person(3, [40.0, 30, 80, 130], range(6, 10), 0.8)
    unsure = _person(4, [42.0, 30, 82, 130], range(0, 6), 0.2)
    people = [first, beside, later, unsure]
    assert [track.id for track in one_track_per_body(people)] == [1, 2, 3, 4]


class _TwoThings:
    """A person at the left and a chair at the right, both sure."""

    def detect(self, frames, progress=lambda *_: None):
        boxes = np.array([[20.0, 20, 60, 120], [100.0, 20, 160, 130]])
        return tuple(Detections(boxes, np.array([0.9, 0.95])) for _ in frames)


class _SeesShouldersAtTheLeft:
    def estimate(self, frames, boxes_px):
        keypoints = np.zeros((len(frames), 17, 3))
        keypoints[:, WRIST] = np.concatenate([boxes_px[:, :2] + 5, np.full((len(frames), 1), 0.9)], axis=1)
        keypoints[:, SHOULDER] = [40, 30, 0.9]
        keypoints[:, SHOULDER, 2] = np.where(boxes_px[:, 0] < 80, 0.9, 0.17)
        keypoints[:, ELBOW] = [44, 60, 0.5]
        return keypoints


def test_what_has_no_trunk_is_dropped_and_the_others_are_numbered_anew():
    frames = np.zeros((5, 150, 200, 3), np.uint8)
    everything = DetectAndTrack(_TwoThings(), keypoints=_SeesShouldersAtTheLeft())
    assert len(everything.track(frames)) == 2
    strict = dataclasses.replace(everything, min_trunk_confidence=0.3)
    (person,) = strict.track(frames)
    assert person.id == 1 and person.boxes_px[0, 0] == 20
    assert len(strict.relaxed().track(frames)) == 1
    assert len(dataclasses.replace(strict, min_trunk_confidence=0.2).relaxed().track(frames)) == 2


def test_keypoints_contribute_to_scores_and_show_one_body_once():
    """A chair of a high score and a person of a low one change places; a second box of the person scores 0."""
    frames = np.zeros((2, 150, 200, 3), np.uint8)
    boxes = np.array([[100.0, 20, 160, 130], [20, 20, 60, 120], [22, 20, 62, 124]])
    detections = [Detections(boxes, np.array([0.46, 0.3, 0.25]))] * 2
    for scored in scored_by_keypoints(frames, detections, _SeesShouldersAtTheLeft()):
        np.testing.assert_array_equal(scored.boxes_px, boxes)
        np.testing.assert_allclose(scored.scores, [0.149, 0.794, 0], atol=1e-3)
        assert scored.keypoints_px is not None and scored.keypoints_px.shape == (3, 17, 3)


def test_keypoints_of_detections_are_not_located_again():
    class Counting(_SeesShouldersAtTheLeft):
        boxes = 0

        def estimate(self, frames, boxes_px):
            self.boxes += len(boxes_px)
            return super().estimate(frames, boxes_px)

    counting = Counting()
    detector = DetectAndTrack(_TwoThings(), keypoints=counting, min_trunk_confidence=0.3, keypoints_score=True)
    (person,) = detector.track(np.zeros((5, 150, 200, 3), np.uint8))
    assert counting.boxes == 2 * 5
    assert person.keypoints_px is not None and (person.keypoints_px[:, SHOULDER, 2] == 0.9).all()
