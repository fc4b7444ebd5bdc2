"""People in single frames, by a detector of transformers: D-FINE, RT-DETR or RT-DETR v2.

These give a fixed number of queries per image, each with a box and a score for every class, and need no non-maximum
suppression.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from unish.errors import CheckpointError
from unish.people.hf_models import PREPROCESSOR_FILE, load_network, network_images, weights_folder
from unish.people.tracking import Detections, color_histogram
from unish.utils.device import chosen_device
from unish.utils.progress import Progress, no_progress

DETECTOR_REPOSITORY = "ustc-community/dfine-xlarge-obj2coco"
"""D-FINE, trained on Objects365 and COCO, 252 MB; Apache-2.0."""
SMALL_DETECTOR_REPOSITORY = "ustc-community/dfine-small-obj2coco"
"""The same, small: 42 MB."""

_COLOR_BINS = 6**3


@dataclass(frozen=True)
class Preprocessing:
    """Size and normalisation of a detector's input; the defaults are those of RT-DETR and D-FINE."""

    width_px: int = 640
    height_px: int = 640
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    """Of values in 0..1, per channel."""
    std: tuple[float, ...] = (1.0, 1.0, 1.0)

    @staticmethod
    def read(folder: Path, default: "Preprocessing | None" = None) -> "Preprocessing":
        """From `preprocessor_config.json`, where there is one. Raises `CheckpointError` for one that makes no sense."""
        file, default = folder / PREPROCESSOR_FILE, default or Preprocessing()
        if not file.is_file():
            return default
        try:
            values = json.loads(file.read_text())
            size = values.get("size", {"width": default.width_px, "height": default.height_px})
            width, height = int(size["width"]), int(size["height"])
            if not values.get("do_normalize", False):
                return Preprocessing(width, height)
            mean, std = (tuple(float(value) for value in values[key]) for key in ("image_mean", "image_std"))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(
                f"Expected the width and height of the network's input in {file}, and its mean and standard deviation "
                f"where it is normalised ({error}); fetch or save it again."
            ) from error
        return Preprocessing(width, height, mean, std)


@dataclass(frozen=True)
class TransformersDetector:
    """A detection network and its decoding; see `load_detector`."""

    network: Any
    """Images in, `logits` (batch, queries, classes) and `pred_boxes` (batch, queries, 4) out."""
    person_class: int
    device: torch.device
    preprocessing: Preprocessing = Preprocessing()
    min_score: float = 0.2
    """Queries with a lower score are not reported."""
    max_people: int = 50
    """Most people reported in a frame."""
    batch: int = 8
    """Frames at once."""

    def detect(
        self, frames: UInt8[np.ndarray, "frames height width 3"], progress: Progress = no_progress
    ) -> tuple[Detections, ...]:
        """The people in each frame, the highest score first; boxes in its pixels, none outside it."""
        wanted = self.preprocessing
        detections: list[Detections] = []
        for start in range(0, len(frames), self.batch):
            batch = frames[start : start + self.batch]
            size = (wanted.width_px, wanted.height_px)
            with torch.inference_mode():
                output = self.network(pixel_values=network_images(batch, size, self.device, wanted.mean, wanted.std))
                scores = output.logits.float().sigmoid()[..., self.person_class].cpu().numpy()
                boxes = _corners(output.pred_boxes.float()).cpu().numpy()
            detections += [self._people(*queries) for queries in zip(batch, boxes, scores, strict=True)]
            progress(len(detections) / len(frames), "Detecting people")
        return tuple(detections)

    def _people(
        self,
        frame: UInt8[np.ndarray, "height width 3"],
        boxes: Float[np.ndarray, "queries 4"],
        scores: Float[np.ndarray, "queries"],
    ) -> Detections:
        """`boxes` are in widths and heights of the frame."""
        sides = np.tile([frame.shape[1], frame.shape[0]], 2).astype(np.float64)
        boxes = boxes.clip(0, 1) * sides
        large = (boxes[:, 2:] - boxes[:, :2] >= 1).all(axis=1)
        order = np.argsort(-scores, kind="stable")
        kept = order[(large & (scores >= self.min_score))[order]][: self.max_people]
        colors = [color_histogram(frame, boxes[index]) for index in kept]
        colors_of_all = np.stack(colors) if colors else np.zeros((0, _COLOR_BINS))
        return Detections(boxes[kept], scores[kept].astype(np.float64), None, colors_of_all)


def _corners(boxes: Float[Tensor, "batch queries 4"]) -> Float[Tensor, "batch queries 4"]:
    """Centre and size → x0, y0, x1, y1."""
    center, half = boxes[..., :2], boxes[..., 2:] / 2
    return torch.cat([center - half, center + half], dim=-1)


def load_detector(
    source: str | Path = DETECTOR_REPOSITORY, device: torch.device | str | None = None
) -> TransformersDetector:
    """The detector of a Hub repository (from the local cache when it is there) or of a local folder.

    Raises `MissingDependencyError` without transformers, `MissingAssetError` when the weights cannot be had,
    `CheckpointError` when they are damaged or of a network that scores no class named person, `InputError` for a
    device that is not there.
    """
    target = chosen_device(device)
    network = load_network("AutoModelForObjectDetection", source, target)
    config = network.config
    if not getattr(config, "use_focal_loss", False):
        raise CheckpointError(
            f"Expected a detector that scores every class by itself (D-FINE, RT-DETR), but {source} is of the type "
            f"{config.model_type}; choose another."
        )
    names = {str(name).strip().lower(): int(index) for index, name in config.id2label.items()}
    if "person" not in names:
        raise CheckpointError(
            f"Expected a detector that knows the class person, but {source} knows {', '.join(sorted(names)[:5])}"
            f"{', …' if len(names) > 5 else ''}; choose another."
        )
    return TransformersDetector(network, names["person"], target, Preprocessing.read(weights_folder(source)))
