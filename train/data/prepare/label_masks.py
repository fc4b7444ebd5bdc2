"""Adds masks to the people of labelled images, by a network that segments people.

    python -m train.data.prepare.label_masks --data DIR --teacher sam2
    python -m train.data.prepare.label_masks --data DIR --teacher blazepose=blazepose-heavy.json

`DIR` is what `train.data.prepare.label_images` wrote. People on whom the teachers agreed get a mask, unless it
contradicts their keypoints or their box. Shards are replaced one by one, when they are whole; those that have masks
are left alone, so a stopped run goes on where it was.
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import tyro
from jaxtyping import Bool, Float
from tqdm import tqdm

if not __package__:  # started as a script: the repository's root is not on the path yet
    sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from train.cli import command_line_errors
from train.data.labelled_images import (
    LabelledImage,
    encoded_mask,
    images_of_shard,
    shards_of,
    write_labelled_images,
)
from train.data.prepare.mask_teachers import MaskTeacher, open_mask_teacher
from unish.people.grabcut import clipped

_SURE, _LEAST_KEYPOINTS = 0.3, 4
_LEAST_COVERED, _LEAST_INSIDE = 0.8, 0.75
"""Of the sure keypoints so many lie in a mask, and of a mask so much lies in the box, a tenth larger."""


@dataclass(frozen=True)
class LabelMasksConfig:
    """Which people get masks, and by whom."""

    data: Path
    """Data set of labelled images: SPLIT/*.parquet."""
    teacher: str = "sam2"
    """sam2[=REPOSITORY] or blazepose=FILE.json."""
    splits: tuple[str, ...] = ("train", "validation")


def label_masks(config: LabelMasksConfig) -> dict[str, int]:
    """Add the masks; returns how many people were asked about, and how many have a mask now.

    Raises `InputError` where no split has images, and as `open_mask_teacher` does.
    """
    teacher = open_mask_teacher(config.teacher)
    asked = labelled = 0
    splits = [split for split in config.splits if (config.data / split).is_dir()] or config.splits[:1]
    for path in tqdm([path for split in splits for path in shards_of(config.data, split)], desc="masks"):
        images = list(images_of_shard(path))
        if not any(image.masks for image in images):
            images = [with_masks(image, teacher) for image in images]
            write_labelled_images(images, path)
        asked += sum(len(list(_asked(image))) for image in images)
        labelled += sum(map(bool, (mask for image in images for mask in image.masks)))
    return {"people": asked, "with masks": labelled}


def with_masks(image: LabelledImage, teacher: MaskTeacher) -> LabelledImage:
    """The image with the masks that the teacher gives and keypoints and boxes support."""
    masks, rgb = [b""] * len(image.boxes_px), None
    for person in _asked(image):
        rgb = image.rgb() if rgb is None else rgb
        mask = teacher.look(rgb, image.boxes_px[person], image.keypoints[person])
        if mask is not None and is_plausible(mask, image.boxes_px[person], image.keypoints[person]):
            masks[person] = encoded_mask(mask)
    return replace(image, masks=tuple(masks))


def is_plausible(
    mask: Bool[np.ndarray, "height width"], box_px: Float[np.ndarray, "4"], keypoints: Float[np.ndarray, "17 3"]
) -> bool:
    """Whether most of the sure keypoints lie in a mask, and most of it in the box."""
    inside = ((keypoints[:, :2] >= 0) & (keypoints[:, :2] < mask.shape[::-1])).all(-1)
    columns, rows = keypoints[inside & (keypoints[:, 2] >= _SURE), :2].astype(int).T
    margin = 0.1 * float((box_px[2:] - box_px[:2]).max())
    x0, y0, x1, y1 = clipped(np.concatenate([box_px[:2] - margin, box_px[2:] + margin]), mask.shape)
    covered, within = mask[rows, columns], mask[y0:y1, x0:x1].sum() / max(mask.sum(), 1)
    enough = len(covered) >= _LEAST_KEYPOINTS and covered.mean() >= _LEAST_COVERED
    return bool(enough and within >= _LEAST_INSIDE)


def _asked(image: LabelledImage) -> Iterator[int]:
    sure = (image.keypoints[..., 2] >= _SURE).sum(-1)
    yield from np.flatnonzero(image.agreed & (sure >= _LEAST_KEYPOINTS)).tolist()


if __name__ == "__main__":
    with command_line_errors():
        print(json.dumps(label_masks(tyro.cli(LabelMasksConfig))))
