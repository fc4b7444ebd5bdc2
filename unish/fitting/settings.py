"""How bodies are fitted: what is free to move, how far evidence and prior may disagree, and how long it may take."""

import dataclasses
import math
from dataclasses import dataclass

FIT_MODES = ("auto", "off", "full")
"""auto: quick, the default. off: the network's motion, unchanged. full: more vertices, all joints, more steps."""

LEGS, ARMS, TRUNK = (1, 2, 4, 5, 7, 8), (16, 17, 18, 19), (3, 6)


@dataclass(frozen=True)
class FitSettings:
    """Budget and standard deviations of a fit. Shares are of the box's height where nothing else is said."""

    vertices: int = 160
    """Of the body that are compared with the evidence."""
    joints: tuple[int, ...] = (0, *LEGS, *ARMS, *TRUNK)
    """SMPL's joints that may turn; 0 is the root."""
    placement_steps: int = 25
    """L-BFGS steps of the place alone."""
    refine_steps: int = 35
    """L-BFGS steps of place and rotations together, in each of two rounds."""
    chunk_frames: int = 96
    overlap_frames: int = 12
    """Frames that a chunk has in common with the next; blended."""
    calibration_frames: int = 32
    """Most frames of a person that scale and floor are taken from."""

    box_share: float = 0.02
    """Error of the edge of a box; what box and mask differ by is added to it."""
    outline_share: float = 0.01
    """Error of a mask's outline."""
    keypoint_share: float = 0.01
    """Error of a sure keypoint."""
    unsure_keypoint_share: float = 0.12
    """What is added to it for one that is not sure at all: (1 − confidence)³ of it, as the bundled network errs."""
    surface_share: float = 0.03
    """Least error of a depth point, relative to its depth; what the clip itself shows is added to it."""
    acceleration_m_s2: float = 8.0
    """Of joints in the world."""
    place_share: float = 0.1
    """Error of the network's place across the view, relative to the depth."""
    depth_share: float = 0.25
    """Error of the network's distance."""
    drift_share: float = 0.03
    """Growth of either error over a tenth of a second."""
    rotation_rad: float = 0.15
    """Error of a joint's rotation, and its growth over a tenth of a second."""
    root_rad: float = 0.12
    boxes_only: float = 0.5
    """What the two are multiplied by where most frames have no mask."""
    with_keypoints: float = 2.0
    """The same where keypoints are sure: then poses come from these rather than from the network."""
    sure_keypoints: tuple[float, float] = (0.7, 0.9)
    """Mean confidence of the limbs up to which keypoints change nothing about that, and from which they are sure."""
    held_m: tuple[float, ...] = (0.03, 0.006)
    """How far a foot moves while it stands, in each round: the first one is wide, so that feet come near without
    overruling the images."""
    sole_m: tuple[float, ...] = (0.04, 0.01)
    """How far from the floor the sole of a standing foot is, in each round."""
    scale_log: float = 0.15
    """Error of the logarithm of the network's scale."""
    stature_log: float = 0.05
    """Error of the logarithm of a person's height."""
    people_depth_log: float = 0.0
    """Error of the logarithm of a person's depth over the scene's, the same in all frames. The person's points are then
    taken to lie where body and lens put them, and the floor under the feet tells more of the scale than they do."""
    points_off_cm: float = 8.0
    """Median distance from a fitted body to its points from which these move onto it: clothes and hair are nearer."""
    relief_log: float = math.inf
    """How far points that were moved onto a body may lie off its surface, in the logarithm of depth."""


AUTO = FitSettings()
FULL = FitSettings(vertices=400, joints=tuple(range(22)), placement_steps=60, refine_steps=80, calibration_frames=96)

_OF_MINI = {
    "scale_log": 0.25,
    "people_depth_log": 0.2,
    "rotation_rad": 0.1,
    "root_rad": 0.08,
    "points_off_cm": 0.0,
    "relief_log": 0.005,
}
"""Errors of the bundled weights on the synthetic benchmark; of rotations, those that the pose lifter leaves. The relief
of a network this small is none of clothes, so all points move onto their bodies."""


def fit_settings(mode: str, weights: str) -> FitSettings:
    """For the results of these weights."""
    settings = AUTO if mode == "auto" else FULL
    return dataclasses.replace(settings, **_OF_MINI) if weights == "mini" else settings
