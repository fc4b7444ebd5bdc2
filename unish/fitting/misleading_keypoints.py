"""Keypoints that mislead: those of a person whom their network hardly recognises, or somebody else's.

Where keypoints are not sure and the fitted body does not lie in the mask, the person is fitted without them too, and
what agrees clearly better with the mask stays.
"""

import dataclasses

import numpy as np

from unish.body.data import COCO_LIMBS
from unish.fitting.measures import outline_iou
from unish.structures import Person, Reconstruction

UNSURE = 0.5
"""Mean confidence of the limbs' keypoints up to which they may mislead."""
WELL_OUTLINED = 0.62
"""Intersection over union of body and mask from which a fit is not doubted."""
CLEARLY = 0.08
"""By how much the outline must agree better with the mask without them."""


def may_mislead(person: Person) -> bool:
    """Whether a person has keypoints, and these are not sure."""
    if person.keypoints_px is None or not person.present.any():
        return False
    confidence = np.asarray(person.keypoints_px)[person.present][:, list(COCO_LIMBS), 2]
    return bool(0 < confidence.mean() < UNSURE)


def agreement(scene: Reconstruction, index: int, person: Person) -> float:
    """Of the outline of a person as fitted with the mask; of somebody who is never seen, 1."""
    iou = outline_iou(with_person(scene, index, person), index)
    return 1.0 if iou is None else iou


def with_person(scene: Reconstruction, index: int, person: Person) -> Reconstruction:
    """The scene with somebody else in a person's place."""
    people = (*scene.people[:index], person, *scene.people[index + 1 :])
    return dataclasses.replace(scene, people=people)
