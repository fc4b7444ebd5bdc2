"""A teacher that is asked twice: about an image and about its mirror image. What it says of both is steadier.

Where the two answers are apart, at least one is wrong; nobody has to look at the labels to know.
"""

import dataclasses
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8

from train.data.prepare.teachers import Teacher, TeacherPeople
from unish.people.mini_keypoints import MIRRORED_KEYPOINTS
from unish.people.tracking import box_iou

_MIN_IOU = 0.5
_APART = 0.05
"""Of the box's longer side: keypoints further apart than that in the two answers are not known."""
_UNKNOWN_SCORE = 0.2
"""Neither there nor absent (`train.person_keypoints.person_crops`)."""


@dataclass(frozen=True)
class MirroredTeacher:
    """Means of a teacher's two answers; people who are in one alone get half of their score."""

    teacher: Teacher

    @property
    def name(self) -> str:
        return f"{self.teacher.name}, mirrored too"

    @property
    def sure_score(self) -> float:
        return self.teacher.sure_score

    def look(self, rgb: UInt8[np.ndarray, "height width 3"]) -> TeacherPeople:
        """The people of the first answer, joined with those of the second."""
        seen = self.teacher.look(rgb)
        if not len(seen.scores):
            return seen
        again = _mirrored(self.teacher.look(np.ascontiguousarray(rgb[:, ::-1])), rgb.shape[1])
        overlap = box_iou(seen.boxes_px, again.boxes_px)
        partner = np.full(len(seen.scores), -1)
        for index, row in enumerate(overlap):
            if len(row) and row.max() >= _MIN_IOU:
                partner[index] = int(row.argmax())
        both = partner >= 0
        boxes, scores = seen.boxes_px.copy(), np.where(both, seen.scores, seen.scores / 2)
        boxes[both] = (boxes[both] + again.boxes_px[partner[both]]) / 2
        scores[both] = (scores[both] + again.scores[partner[both]]) / 2
        if seen.keypoints is None or again.keypoints is None:
            return TeacherPeople(boxes, scores, seen.keypoints)
        keypoints = seen.keypoints.copy()
        sides = (seen.boxes_px[both, 2:] - seen.boxes_px[both, :2]).max(-1)
        keypoints[both] = _joined(keypoints[both], again.keypoints[partner[both]], sides)
        return TeacherPeople(boxes, scores, keypoints)


def _mirrored(people: TeacherPeople, width: int) -> TeacherPeople:
    boxes = people.boxes_px.copy()
    boxes[:, [0, 2]] = width - boxes[:, [2, 0]]
    if people.keypoints is None:
        return dataclasses.replace(people, boxes_px=boxes)
    keypoints = people.keypoints[:, list(MIRRORED_KEYPOINTS)].copy()
    keypoints[..., 0] = width - keypoints[..., 0]
    return TeacherPeople(boxes, people.scores, keypoints)


def _joined(
    first: Float[np.ndarray, "people 17 3"],
    second: Float[np.ndarray, "people 17 3"],
    sides_px: Float[np.ndarray, "people"],
) -> Float[np.ndarray, "people 17 3"]:
    mean = (first + second) / 2
    apart = np.linalg.norm(first[..., :2] - second[..., :2], axis=-1) > _APART * sides_px[:, None]
    mean[..., 2] = np.where(apart, np.minimum(mean[..., 2], _UNKNOWN_SCORE), mean[..., 2])
    return mean
