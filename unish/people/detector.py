"""People in single frames, seen by a detector of transformers: D-FINE, RT-DETR or RT-DETR v2.

These give a fixed number of guesses a picture, each with a box and a score for every class, and need no further
thinning out.
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
from unish.people.hf_models import PREPARATION_FILE, load_network, stretched, weights_folder
from unish.people.tracking import Detections, Progress, color_histogram
from unish.utils.device import chosen_device

DETECTOR_REPOSITORY = "ustc-community/dfine-xlarge-obj2coco"
"""D-FINE, trained on Objects365 and COCO; Apache-2.0."""

_COLOR_BINS = 6**3


@dataclass(frozen=True)
class Preparation:
    """What a detector wants done to a picture; the defaults are those of RT-DETR and D-FINE."""

    width_px: int = 640
    height_px: int = 640
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    """Subtracted from values in 0..1, a channel."""
    std: tuple[float, ...] = (1.0, 1.0, 1.0)

    @staticmethod
    def read(folder: Path) -> "Preparation":
        """From `preprocessor_config.json`, where there is one. Raises `CheckpointError` for one that makes no sense."""
        file = folder / PREPARATION_FILE
        if not file.is_file():
            return Preparation()
        try:
            values = json.loads(file.read_text())
            size = values.get("size", {"width": 640, "height": 640})
            width, height = int(size["width"]), int(size["height"])
            if not values.get("do_normalize", False):
                return Preparation(width, height)
            mean, std = (tuple(float(value) for value in values[key]) for key in ("image_mean", "image_std"))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(
                f"Expected the width and height of the network's pictures in {file}, and their mean and deviation "
                f"where they are normalised ({error}); fetch or save it again."
            ) from error
        return Preparation(width, height, mean, std)


@dataclass(frozen=True)
class TransformersDetector:
    """A detection network with its decoding; see `load_detector`."""

    network: Any
    """Pictures in, `logits` (batch, guesses, classes) and `pred_boxes` (batch, guesses, 4) out."""
    person_class: int
    device: torch.device
    preparation: Preparation = Preparation()
    least_score: float = 0.2
    """Guesses less sure than this are not reported."""
    most_people: int = 50
    """Most people reported in a frame."""
    batch: int = 8
    """Frames at once."""

    def detect(
        self, frames: UInt8[np.ndarray, "frames height width 3"], progress: Progress | None = None
    ) -> tuple[Detections, ...]:
        """The people in each frame, the surest first; boxes in its pixels, none outside it."""
        wanted = self.preparation
        found: list[Detections] = []
        for start in range(0, len(frames), self.batch):
            part = frames[start : start + self.batch]
            size = (wanted.width_px, wanted.height_px)
            with torch.inference_mode():
                output = self.network(pixel_values=stretched(part, size, self.device, wanted.mean, wanted.std))
                scores = output.logits.float().sigmoid()[..., self.person_class].cpu().numpy()
                boxes = _corners(output.pred_boxes.float()).cpu().numpy()
            found += [self._people(*guesses) for guesses in zip(part, boxes, scores, strict=True)]
            if progress is not None:
                progress(len(found) / len(frames))
        return tuple(found)

    def _people(
        self,
        frame: UInt8[np.ndarray, "height width 3"],
        boxes: Float[np.ndarray, "guesses 4"],
        scores: Float[np.ndarray, "guesses"],
    ) -> Detections:
        """`boxes` are in widths and heights of the frame."""
        sides = np.tile([frame.shape[1], frame.shape[0]], 2).astype(np.float64)
        boxes = boxes.clip(0, 1) * sides
        large = (boxes[:, 2:] - boxes[:, :2] >= 1).all(axis=1)
        order = np.argsort(-scores, kind="stable")
        kept = order[(large & (scores >= self.least_score))[order]][: self.most_people]
        colors = [color_histogram(frame, boxes[index]) for index in kept]
        looks = np.stack(colors) if colors else np.zeros((0, _COLOR_BINS))
        return Detections(boxes[kept], scores[kept].astype(np.float64), None, looks)


def _corners(boxes: Float[Tensor, "batch guesses 4"]) -> Float[Tensor, "batch guesses 4"]:
    """Middle and size → x0, y0, x1, y1."""
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
    place = chosen_device(device)
    network = load_network("AutoModelForObjectDetection", source, place)
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
    return TransformersDetector(network, names["person"], place, Preparation.read(weights_folder(source)))
