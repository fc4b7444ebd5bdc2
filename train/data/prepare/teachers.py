"""Networks that label people in single images, for training and judging the bundled detector.

A teacher says who is in an image; none is trusted alone. What all of them are sure of counts as a person, what one is
sure of, or several suspect, is uncertain: neither asked for nor punished.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from scipy.optimize import linear_sum_assignment

from train.data.labelled_images import KEYPOINTS
from train.data.prepare.graph_model import GraphModel, open_graph
from unish.errors import InputError
from unish.people.detector import DETECTOR_REPOSITORY, TransformersDetector, load_detector
from unish.people.tracking import box_iou

TEACHERS = ("transformers", "movenet", "nanodet")


@dataclass(frozen=True)
class TeacherPeople:
    """What one teacher sees in an image, most confident first."""

    boxes_px: Float[np.ndarray, "people 4"]
    """x0, y0, x1, y1."""
    scores: Float[np.ndarray, "people"]
    """In 0..1."""
    keypoints: Float[np.ndarray, "people 17 3"] | None = None
    """x, y in pixels and a score in 0..1; None where the teacher knows no keypoints."""


@runtime_checkable
class Teacher(Protocol):
    """Labels the people of an image."""

    @property
    def name(self) -> str: ...

    @property
    def sure_score(self) -> float:
        """From here on the teacher's word counts towards agreement; below, its people are uncertain."""
        ...

    def look(self, rgb: UInt8[np.ndarray, "height width 3"]) -> TeacherPeople: ...


def open_teacher(text: str) -> Teacher:
    """A teacher from `KIND` or `KIND=SOURCE`.

    `transformers=REPOSITORY_OR_FOLDER` is a detector of the transformers library; `movenet=FILE.json` and
    `nanodet=FILE.json` are TensorFlow.js graph models of MoveNet MultiPose and NanoDet.
    """
    kind, _, source = text.partition("=")
    if kind == "transformers":
        return TransformersTeacher(load_detector(source or DETECTOR_REPOSITORY))
    if kind not in TEACHERS or not source:
        raise InputError(f"Expected a teacher {' or '.join(f'{kind}=SOURCE' for kind in TEACHERS)}, received {text!r}.")
    graph = open_graph(Path(source))
    return MoveNet(graph) if kind == "movenet" else NanoDet(graph)


# ---------------------------------------------------------------- teachers


@dataclass(frozen=True)
class TransformersTeacher:
    """A detector of the transformers library (D-FINE, RT-DETR)."""

    detector: TransformersDetector
    name: str = "transformers"
    sure_score: float = 0.5

    def look(self, rgb: UInt8[np.ndarray, "height width 3"]) -> TeacherPeople:
        (detections,) = self.detector.detect(rgb[None])
        return TeacherPeople(detections.boxes_px, detections.scores)


@dataclass(frozen=True)
class MoveNet:
    """MoveNet MultiPose: at most six people with COCO keypoints."""

    graph: GraphModel
    long_side_px: int = 384
    name: str = "movenet"
    sure_score: float = 0.3
    least_score: float = 0.1

    def look(self, rgb: UInt8[np.ndarray, "height width 3"]) -> TeacherPeople:
        padded, scale = _fitted(rgb, self.long_side_px, multiple_px=32)
        feed = {next(iter(self.graph.inputs)): torch.from_numpy(padded).to(torch.int32)[None]}
        people = next(iter(self.graph(**feed).values()))[0].numpy().astype(np.float64)
        height, width = padded.shape[:2]
        people = people[people[:, 55] >= self.least_score]
        boxes = people[:, [52, 51, 54, 53]] * [width, height, width, height] / scale
        keypoints = people[:, :51].reshape(-1, KEYPOINTS, 3)[..., [1, 0, 2]] * [width / scale, height / scale, 1]
        return _clean(TeacherPeople(boxes, people[:, 55], keypoints), rgb.shape[:2])


@dataclass(frozen=True)
class NanoDet:
    """NanoDet, a COCO detector with distributions for box edges (generalized focal loss); class 0 is a person."""

    graph: GraphModel
    side_px: int = 416
    name: str = "nanodet"
    sure_score: float = 0.4
    least_score: float = 0.2

    def look(self, rgb: UInt8[np.ndarray, "height width 3"]) -> TeacherPeople:
        padded, scale = _fitted(rgb, self.side_px, multiple_px=self.side_px)
        image = (padded[..., ::-1].astype(np.float32) - [103.53, 116.28, 123.675]) / [57.375, 57.12, 58.395]
        feed = {next(iter(self.graph.inputs)): torch.from_numpy(image).float().permute(2, 0, 1)[None]}
        boxes, scores = [np.zeros((0, 4))], [np.zeros(0)]
        by_cells: dict[int, dict[int, torch.Tensor]] = {}
        for value in self.graph(**feed).values():
            by_cells.setdefault(value.shape[1], {})[value.shape[2]] = value[0]
        for cells, outputs in by_cells.items():
            side = round(cells**0.5)
            stride = self.side_px / side
            confidence, edges = outputs[80][:, 0].numpy(), next(v for n, v in outputs.items() if n != 80)
            bins = edges.shape[1] // 4
            steps = (edges.view(cells, 4, bins).softmax(-1) @ torch.arange(bins, dtype=torch.float32)).numpy() * stride
            kept = np.flatnonzero(confidence >= self.least_score)
            center = (np.stack([kept % side, kept // side], axis=1) + 0.5) * stride
            boxes.append(np.concatenate([center - steps[kept, :2], center + steps[kept, 2:]], axis=1) / scale)
            scores.append(confidence[kept])
        people = TeacherPeople(np.concatenate(boxes).astype(np.float64), np.concatenate(scores).astype(np.float64))
        return _clean(people, rgb.shape[:2], merge_iou=0.6)


def _fitted(
    rgb: UInt8[np.ndarray, "height width 3"], long_side_px: int, multiple_px: int
) -> tuple[UInt8[np.ndarray, "h w 3"], float]:
    """The image scaled to a long side, black at the right and bottom up to whole multiples; and the scale."""
    height, width = rgb.shape[:2]
    scale = long_side_px / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    padded = np.zeros((*(-(-side // multiple_px) * multiple_px for side in size[::-1]), 3), np.uint8)
    padded[: size[1], : size[0]] = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
    return padded, scale


def _clean(people: TeacherPeople, shape: tuple[int, int], merge_iou: float = 0.7) -> TeacherPeople:
    """Inside the image, most confident first; of boxes that overlap by more than `merge_iou`, only the best."""
    boxes = np.clip(people.boxes_px, 0, [shape[1], shape[0], shape[1], shape[0]])
    overlap, kept = box_iou(boxes, boxes), []
    for index in np.argsort(-people.scores, kind="stable"):
        large = (boxes[index, 2:] - boxes[index, :2] >= 4).all()
        if large and all(overlap[index, other] <= merge_iou for other in kept):
            kept.append(index)
    chosen = np.array(kept, int)
    keypoints = None if people.keypoints is None else people.keypoints[chosen]
    return TeacherPeople(boxes[chosen], people.scores[chosen], keypoints)


# ---------------------------------------------------------------- agreement


@dataclass(frozen=True)
class Consensus:
    """People of an image, with what is certain about each."""

    boxes_px: Float[np.ndarray, "people 4"]
    """Mean of the teachers' boxes."""
    scores: Float[np.ndarray, "people"]
    """Mean of the teachers' scores, 0 for a teacher who says nothing of the person."""
    agreed: Bool[np.ndarray, "people"]
    """True: every teacher is sure. False: uncertain (one is sure, or several see it): not scored."""
    keypoints: Float[np.ndarray, "people 17 3"]
    """x, y in pixels and a score; zeros where no teacher gives keypoints."""


def consensus(seen: list[TeacherPeople], sure_scores: list[float], min_iou: float = 0.5) -> Consensus:
    """What the teachers say together; one teacher alone is believed where it is sure.

    People are matched from the first teacher on, one to one, by the overlap of their boxes.
    """
    boxes = [[box] for box in seen[0].boxes_px]
    scores = [[score] for score in seen[0].scores]
    sure = [int(score >= sure_scores[0]) for score in seen[0].scores]
    points = [None if seen[0].keypoints is None else k for k in range(len(boxes))]
    keypoints = [np.zeros((KEYPOINTS, 3)) if k is None else seen[0].keypoints[k] for k in points]  # type: ignore[index]
    for people, sure_score in zip(seen[1:], sure_scores[1:], strict=True):
        means = np.array([np.mean(box, axis=0) for box in boxes]).reshape(-1, 4)
        overlap = box_iou(means, people.boxes_px)
        rows, columns = linear_sum_assignment(-overlap)
        match = {c: r for r, c in zip(rows, columns, strict=True) if overlap[r, c] >= min_iou}
        for index, (box, score) in enumerate(zip(people.boxes_px, people.scores, strict=True)):
            if index not in match:
                boxes, scores, sure = [*boxes, []], [*scores, []], [*sure, 0]
                keypoints.append(np.zeros((KEYPOINTS, 3)))
            row = match.get(index, len(boxes) - 1)
            boxes[row].append(box)
            scores[row].append(score)
            sure[row] += int(score >= sure_score)
            if people.keypoints is not None and not keypoints[row].any():
                keypoints[row] = people.keypoints[index]
    kept = [k for k in range(len(boxes)) if sure[k] or len(scores[k]) > 1]
    return Consensus(
        np.array([np.mean(boxes[k], axis=0) for k in kept]).reshape(-1, 4),
        np.array([sum(scores[k]) / len(seen) for k in kept]).reshape(-1),
        np.array([sure[k] == len(seen) for k in kept], bool).reshape(-1),
        np.array([keypoints[k] for k in kept]).reshape(-1, KEYPOINTS, 3),
    )
