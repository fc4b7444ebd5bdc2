"""Images with labelled people for the detector: rendered frames with exact masks, real ones with teachers' boxes."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import cv2
import numpy as np
from jaxtyping import Bool, Float32, UInt8

from train.data.labelled_images import LabelledImage

UNKNOWN = 255
"""In a map of people: a pixel that may or may not show somebody."""
SMALLEST_PERSON_PX = 40
"""People with fewer visible pixels than this are neither asked for nor punished."""
_LEAST_KEYPOINT_SCORE = 0.2
_STANDING_ASPECT = 1.8
"""Height over width of the box of somebody who stands, at least."""
_LIMBS = ((5, 7), (7, 9), (6, 8), (8, 10), (11, 13), (13, 15), (12, 14), (14, 16), (5, 6), (11, 12))
"""Pairs of COCO keypoints that a limb, the shoulders or the hips join."""
_FACE, _TORSO = slice(0, 5), (5, 6, 12, 11)


@dataclass(frozen=True)
class PersonImage:
    """One image and who is where in it."""

    rgb: UInt8[np.ndarray, "height width 3"]
    people: UInt8[np.ndarray, "height width"]
    """0 nobody, p + 1 person p, `UNKNOWN` perhaps somebody."""
    boxes_px: Float32[np.ndarray, "people 4"]
    """x0, y0, x1, y1 of the body inside the image; empty for people who left it."""
    certain: Bool[np.ndarray, "people"]
    """False: perhaps a person, neither asked for nor punished."""


@runtime_checkable
class StoredImage(Protocol):
    """An image that is still compressed."""

    def open(self) -> PersonImage: ...


@dataclass(frozen=True)
class RenderedImage:
    """A frame of a synthetic clip as it lies in a shard."""

    rgb: bytes
    people: bytes
    boxes_px: np.ndarray

    def open(self) -> PersonImage:
        """The decoded image; every person in it is certain."""
        rgb = cv2.imdecode(np.frombuffer(self.rgb, np.uint8), cv2.IMREAD_COLOR)
        people = cv2.imdecode(np.frombuffer(self.people, np.uint8), cv2.IMREAD_UNCHANGED)
        assert rgb is not None and people is not None
        certain = np.ones(len(self.boxes_px), bool)
        return PersonImage(np.ascontiguousarray(rgb[..., ::-1]), people, self.boxes_px, certain)


@dataclass(frozen=True)
class RealImage:
    """A real image that teachers have labelled with boxes and keypoints."""

    labelled: LabelledImage
    certain_score: float = 1.0
    """An uncertain person of this mean score counts as one all the same (0.3: one of two teachers is very sure), where
    it has keypoints or stands: a hand is nobody."""

    @property
    def certain(self) -> Bool[np.ndarray, "people"]:
        """Who counts as a person."""
        labelled = self.labelled
        width, height = (labelled.boxes_px[:, 2:] - labelled.boxes_px[:, :2]).T
        bodies = labelled.keypoints[..., 2].any(1) | (height >= _STANDING_ASPECT * width)
        return labelled.agreed | (bodies & (labelled.scores >= self.certain_score))

    @property
    def empty(self) -> bool:
        """No teacher sees anybody."""
        return not len(self.labelled.boxes_px)

    def open(self) -> PersonImage:
        """The decoded image. Where a limb lies somebody is, outside all boxes nobody is; the rest is unknown."""
        rgb, labelled = self.labelled.rgb(), self.labelled
        people = people_from_keypoints(rgb.shape[:2], labelled.boxes_px, labelled.keypoints, self.certain)
        return PersonImage(rgb, people, labelled.boxes_px, self.certain)


def rendered_images(rows: Iterable[dict[str, Any]], every: int = 1) -> list[RenderedImage]:
    """The frames of clips, still compressed; of each clip every `every`-th frame."""
    stored = []
    for row in rows:
        boxes = np.asarray(row["boxes_px"], np.float32).reshape(-1, len(row["images"]), 4)
        for index in range(0, len(row["images"]), every):
            images, masks = row["images"][index], row["person_mask"][index]
            stored.append(RenderedImage(images["bytes"], masks["bytes"], boxes[:, index]))
    return stored


def people_from_keypoints(
    shape: tuple[int, int],
    boxes_px: Float32[np.ndarray, "people 4"],
    keypoints: Float32[np.ndarray, "people 17 3"],
    certain: Bool[np.ndarray, "people"],
) -> UInt8[np.ndarray, "height width"]:
    """A map of people without masks: limbs and trunks are somebody's, the rest of their boxes is unknown.

    Larger people are drawn first: of two who overlap, the smaller box's limbs stay visible.
    """
    people = np.zeros(shape, np.uint8)
    for x0, y0, x1, y1 in boxes_px:
        margin = 0.04 * (y1 - y0)
        low, high = np.floor([x0 - margin, y0 - margin]).astype(int).clip(0), np.ceil([x1 + margin, y1 + margin])
        people[low[1] : int(high[1]), low[0] : int(high[0])] = UNKNOWN
    for person in np.argsort(-(boxes_px[:, 2:] - boxes_px[:, :2]).prod(1), kind="stable"):
        if certain[person]:
            _draw_body(people, boxes_px[person], keypoints[person], int(person) + 1)
    return people


def _draw_body(people: np.ndarray, box: np.ndarray, keypoints: np.ndarray, number: int) -> None:
    """Limbs as thin as they surely are; an ellipse in the middle of the box where no keypoint is known."""
    seen = keypoints[:, 2] >= _LEAST_KEYPOINT_SCORE
    points = [(round(x), round(y)) for x, y in keypoints[:, :2].clip(-10_000, 10_000)]
    height = float(box[3] - box[1])
    if not (seen[[5, 6]].any() or seen[[11, 12]].any()):
        center = (int(box[0] + box[2]) // 2, int(box[1] + box[3]) // 2)
        axes = (int(0.2 * (box[2] - box[0])), int(0.35 * height))
        cv2.ellipse(people, center, axes, 0, 0, 360, number, -1)
        return
    trunk = float(np.linalg.norm(keypoints[[5, 6], :2].mean(0) - keypoints[[11, 12], :2].mean(0)))
    width = max(1, round(0.16 * min(trunk, 0.45 * height)))
    for start, end in _LIMBS:
        if seen[start] and seen[end]:
            cv2.line(people, points[start], points[end], number, width)
    if seen[list(_TORSO)].all():
        cv2.fillConvexPoly(people, cv2.convexHull(np.array([points[k] for k in _TORSO])), number)
    if seen[_FACE].sum() >= 2:
        center = keypoints[_FACE, :2][seen[_FACE]].mean(0)
        cv2.circle(people, (round(center[0]), round(center[1])), width, number, -1)
