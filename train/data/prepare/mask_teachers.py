"""Networks that say which pixels are a known person's, for training the bundled network's masks."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8

from train.data.prepare.graph_model import GraphModel, open_graph
from unish.errors import InputError
from unish.people.detect_and_segment import Segmenter
from unish.people.sam2 import SEGMENTER_REPOSITORY, load_segmenter
from unish.structures import KEYPOINT_NAMES

_SHOULDERS, _HIPS = (
    [KEYPOINT_NAMES.index(f"{side}_{name}") for side in ("left", "right")] for name in ("shoulder", "hip")
)


@runtime_checkable
class MaskTeacher(Protocol):
    """Labels the pixels of a person whose box and keypoints are known."""

    @property
    def name(self) -> str: ...

    def look(
        self,
        rgb: UInt8[np.ndarray, "height width 3"],
        box_px: Float[np.ndarray, "4"],
        keypoints: Float[np.ndarray, "17 3"],
    ) -> Bool[np.ndarray, "height width"] | None:
        """The person's pixels, or None where the teacher sees nobody."""
        ...


def open_mask_teacher(text: str) -> MaskTeacher:
    """A teacher from `sam2`, `sam2=REPOSITORY_OR_FOLDER`, or `blazepose=FILE.json`, a TensorFlow.js graph model.

    Raises `InputError` for another name, and as `load_segmenter` and `open_graph` do.
    """
    kind, _, source = text.partition("=")
    if kind == "sam2":
        return SegmenterTeacher(load_segmenter(source or SEGMENTER_REPOSITORY))
    if kind != "blazepose" or not source:
        raise InputError(f"Expected a mask teacher sam2[=REPOSITORY] or blazepose=FILE.json, received {text!r}.")
    return BlazePose(open_graph(Path(source)))


@dataclass(frozen=True)
class SegmenterTeacher:
    """SAM 2, asked with the box."""

    segmenter: Segmenter
    name: str = "sam2"

    def look(
        self,
        rgb: UInt8[np.ndarray, "height width 3"],
        box_px: Float[np.ndarray, "4"],
        keypoints: Float[np.ndarray, "17 3"],
    ) -> Bool[np.ndarray, "height width"] | None:
        (segments,) = self.segmenter.propagate([rgb], np.asarray(box_px, np.float64)[None])
        if not segments.scores[0]:
            return None
        size = rgb.shape[1::-1]
        return cv2.resize(segments.masks[0].astype(np.float32), size, interpolation=cv2.INTER_LINEAR) > 0.5


@dataclass(frozen=True)
class BlazePose:
    """BlazePose GHUM (Bazarevsky et al. 2020), whose second output but one is a mask of the person in its crop.

    The crop is centred on the hips, upright along the spine, and a quarter larger than the circle around the person.
    """

    graph: GraphModel
    name: str = "blazepose"
    side_px: int = 256
    least_score: float = 0.8
    """Below, the network does not see a person."""
    seen_from: float = 0.2
    """Keypoints are believed from that score on."""

    def look(
        self,
        rgb: UInt8[np.ndarray, "height width 3"],
        box_px: Float[np.ndarray, "4"],
        keypoints: Float[np.ndarray, "17 3"],
    ) -> Bool[np.ndarray, "height width"] | None:
        image_from_crop = self._crop(np.asarray(box_px, np.float64), np.asarray(keypoints, np.float64))
        shrink = min(1.0, 1.5 / float(np.hypot(*image_from_crop[:, 0])))
        small = cv2.resize(rgb, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA) if shrink < 1 else rgb
        side = (self.side_px, self.side_px)
        crop = cv2.warpAffine(small, image_from_crop * shrink, side, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
        feed = {next(iter(self.graph.inputs)): torch.from_numpy(crop).float()[None] / 255}
        outputs = self.graph(**feed)
        if float(outputs["output_poseflag"]) < self.least_score:
            return None
        chance = outputs["activation_segmentation"][0, ..., 0].numpy()
        return cv2.warpAffine(chance, image_from_crop, rgb.shape[1::-1], flags=cv2.INTER_LINEAR) > 0.5

    def _crop(self, box_px: Float[np.ndarray, "4"], keypoints: Float[np.ndarray, "17 3"]) -> Float[np.ndarray, "2 3"]:
        """Pixels of the image from those of the crop."""
        seen = keypoints[:, 2] >= self.seen_from
        center, up, height = (
            (box_px[:2] + box_px[2:]) / 2,
            np.array([0.0, -1.0]),
            float((box_px[2:] - box_px[:2]).max()),
        )
        if seen[_HIPS].all():
            center = keypoints[_HIPS, :2].mean(0)
            spine = keypoints[_SHOULDERS, :2].mean(0) - center
            if seen[_SHOULDERS].all() and np.hypot(*spine) > 0.1 * height:
                up = spine / np.hypot(*spine)
        middle = (box_px[0] + box_px[2]) / 2
        ends = np.array([[middle, box_px[1]], [middle, box_px[3]], *keypoints[seen, :2]])
        scale = 2.5 * float(np.hypot(*(ends - center).T).max()) / self.side_px
        axes = scale * np.stack([[-up[1], up[0]], -up], axis=1)
        return np.column_stack([axes, center - axes @ np.full(2, (self.side_px - 1) / 2)])
