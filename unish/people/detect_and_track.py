"""People detected in every frame and linked through the clip: tracking by detection."""

import dataclasses
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from unish.people.keypoint_evidence import (
    grown_to_keypoints,
    one_track_per_body,
    scored_by_keypoints,
    trunk_confidence,
)
from unish.people.keypoints import KeypointEstimator, with_keypoints
from unish.people.mini_detector import load_mini_detector
from unish.people.person_masks import MaskEstimator, with_masks
from unish.people.tracking import RELAXED, FrameDetector, TrackingConfig, track_people
from unish.structures import PersonTrack
from unish.utils.progress import Progress, no_progress, part_of

MINI_TRACKING = TrackingConfig(high_score=0.3, low_score=0.12, min_evidence=0.2)
"""Fits the scores of the bundled detector, chosen on clips that it was trained on."""

KEYPOINT_TRACKING = TrackingConfig(high_score=0.4, low_score=0.15, min_evidence=0.25)
"""Fits the scores to which the bundled keypoints contribute, chosen on the same clips, as they are and at one frame per
second."""

MIN_TRUNK_CONFIDENCE = 0.3
"""Between the `trunk_confidence` of false detections (at most 0.26) and of people (at least 0.84) in those clips."""


@dataclass(frozen=True)
class DetectAndTrack:
    """People detected in every frame and linked through the clip: tracking by detection."""

    detector: FrameDetector | None = None
    """Default: the bundled mini detector."""
    config: TrackingConfig = MINI_TRACKING
    name: str = "mini"
    keypoints: KeypointEstimator | None = None
    """Where there is one, people have keypoints, and boxes that hold them."""
    masks: MaskEstimator | None = None
    """Where there is one, people have its masks where the detector gives none."""
    min_trunk_confidence: float = 0.0
    """Tracks below this `trunk_confidence` are dropped, where there are keypoints."""
    keypoints_score: bool = False
    """Keypoints of every detection contribute to its score; else they are located in tracks only."""
    masks_are_coarse: bool = False
    """Those of `masks` replace the detector's."""

    def track(
        self, frames: UInt8[np.ndarray, "frames height width 3"], progress: Progress = no_progress
    ) -> tuple[PersonTrack, ...]:
        """People detected in enough frames, the most prominent first."""
        detector = load_mini_detector() if self.detector is None else self.detector
        if self.keypoints is None:
            return track_people(detector.detect(frames, progress), self.config)
        height_px, width_px = frames.shape[1:3]
        detections = detector.detect(frames, part_of(progress, 0.0, 0.4))
        if self.keypoints_score:
            detections = scored_by_keypoints(frames, detections, self.keypoints, part_of(progress, 0.4, 0.7))
        tracks = track_people(detections, self.config)
        tracks = with_keypoints(frames, tracks, self.keypoints, part_of(progress, 0.7, 0.8))
        people = one_track_per_body([track for track in tracks if trunk_confidence(track) >= self.min_trunk_confidence])
        tracks = tuple(
            dataclasses.replace(grown_to_keypoints(track, width_px, height_px), id=number)
            for number, track in enumerate(people, start=1)
        )
        return with_masks(frames, tracks, self.masks, part_of(progress, 0.8, 1.0), anew=self.masks_are_coarse)

    def relaxed(self) -> "DetectAndTrack":
        """The same, less strict."""
        return dataclasses.replace(
            self, config=self.config.relaxed(), min_trunk_confidence=RELAXED * self.min_trunk_confidence
        )
