import dataclasses

import numpy as np

from train.data.prepare.mirrored_teacher import MirroredTeacher
from train.data.prepare.teachers import Teacher, TeacherPeople
from unish.people.mini_keypoints import MIRRORED_KEYPOINTS

IMAGE = np.zeros((100, 200, 3), np.uint8)
IMAGE[:, :100] = 255  # the white half says which way round the image is
BOXES = np.array([[10.0, 10, 50, 90], [120, 10, 160, 90]])


@dataclasses.dataclass
class _Scripted:
    """Two people with keypoints; the mirror image may be answered otherwise."""

    keypoints_off_px: float = 0.0
    seen_again: int = 2
    with_keypoints: bool = True
    name: str = "scripted"
    sure_score: float = 0.3

    def look(self, rgb):
        random = np.random.default_rng(0)
        places = BOXES[:, None, :2] + random.uniform(0, 1, (2, 17, 2)) * (BOXES[:, None, 2:] - BOXES[:, None, :2])
        keypoints = np.concatenate([places, np.full((2, 17, 1), 0.9)], axis=-1)
        people = TeacherPeople(BOXES.copy(), np.array([0.8, 0.6]), keypoints if self.with_keypoints else None)
        if rgb[0, 0, 0]:
            return people
        boxes = BOXES[:, [2, 1, 0, 3]] * [-1, 1, -1, 1] + [200, 0, 200, 0]
        keypoints = keypoints[:, list(MIRRORED_KEYPOINTS)] * [-1, 1, 1] + [200, 0, 0]
        keypoints[:, 9, 0] += self.keypoints_off_px
        kept = slice(0, self.seen_again)
        return TeacherPeople(boxes[kept], people.scores[kept], keypoints[kept] if self.with_keypoints else None)


def test_two_equal_answers_are_the_answer():
    teacher = MirroredTeacher(_Scripted())
    assert isinstance(teacher, Teacher) and teacher.sure_score == 0.3
    once, twice = _Scripted().look(IMAGE), teacher.look(IMAGE)
    for name in ("boxes_px", "scores", "keypoints"):
        np.testing.assert_allclose(getattr(twice, name), getattr(once, name))


def test_keypoints_that_are_apart_are_not_known():
    twice = MirroredTeacher(_Scripted(keypoints_off_px=10.0)).look(IMAGE)
    assert twice.keypoints is not None
    apart = MIRRORED_KEYPOINTS[9]
    assert (twice.keypoints[:, apart, 2] == 0.2).all()
    assert (np.delete(twice.keypoints[..., 2], apart, axis=1) == 0.9).all()


def test_who_is_not_seen_again_is_half_as_sure():
    twice = MirroredTeacher(_Scripted(seen_again=1)).look(IMAGE)
    np.testing.assert_allclose(twice.scores, [0.8, 0.3])
    assert MirroredTeacher(_Scripted(seen_again=0, with_keypoints=False)).look(IMAGE).keypoints is None
