"""What travels through unish: the clip that goes in, the people followed in it, what the network says, what comes out.

Network outputs are tensors; everything a user holds is NumPy. All are frozen: a change makes a new one.
"""

from unish.structures.inputs import KEYPOINT_NAMES, TRUNK_KEYPOINTS, Clip, FrameSequence, PersonTrack
from unish.structures.prediction import Prediction
from unish.structures.result import (
    MOST_PEOPLE,
    Cameras,
    Fitting,
    Person,
    PersonFitting,
    Provenance,
    Reconstruction,
    Window,
)

__all__ = [
    "KEYPOINT_NAMES",
    "MOST_PEOPLE",
    "TRUNK_KEYPOINTS",
    "Cameras",
    "Clip",
    "Fitting",
    "FrameSequence",
    "Person",
    "PersonFitting",
    "PersonTrack",
    "Prediction",
    "Provenance",
    "Reconstruction",
    "Window",
]
