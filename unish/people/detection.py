"""Who is in the clip: boxes that the user drew, masks that the user gave, or people detected by networks.

Each of these is a `PersonDetector`: frames in, people tracked through them out.
"""

import contextlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8

from unish.errors import InputError, MissingAssetError, MissingDependencyError
from unish.people import FINDERS
from unish.people.detect_and_segment import DetectAndSegment, PromptConfig
from unish.people.detect_and_track import KEYPOINT_TRACKING, MIN_TRUNK_CONFIDENCE, MINI_TRACKING, DetectAndTrack
from unish.people.prompts import Box, BoxPrompts, MaskPrompts
from unish.people.tracking import FrameDetector, TrackingConfig, prominence
from unish.structures import Clip, PersonTrack
from unish.utils.progress import Progress, no_progress, part_of
from unish.video import TRAINED_FPS

if TYPE_CHECKING:
    from unish.people.keypoints import KeypointEstimator
    from unish.people.mini_keypoints import MiniKeypoints

__all__ = [
    "Box",
    "BoxPrompts",
    "DetectAndTrack",
    "DetectedPeople",
    "MaskPrompts",
    "PersonDetector",
    "detect_people",
    "keypoint_detector",
    "mini_detector",
    "sam2_detector",
    "with_keypoints_and_masks",
]

SAM2_CPU_FRAMES = 60
"""Longest clip for which "auto" takes SAM 2 without a fast GPU: ten seconds at 6 frames per second."""

KEYPOINT_CPU_FRAMES = 600
"""And the longest for which it takes the detector with keypoints there: it takes a quarter of a second per frame."""

log = logging.getLogger("unish")


@dataclass(frozen=True)
class DetectedPeople:
    """The people of a clip, the most prominent first, and how they were detected."""

    tracks: tuple[PersonTrack, ...]
    finder: str
    """"box", "masks" or the name of the detector."""
    warnings: tuple[str, ...] = ()


@runtime_checkable
class PersonDetector(Protocol):
    """Detects people in frames and keeps their identity."""

    @property
    def name(self) -> str:
        """What the result calls it."""
        ...

    def track(
        self, frames: UInt8[np.ndarray, "frames height width 3"], progress: Progress = no_progress
    ) -> tuple[PersonTrack, ...]:
        """People of the clip, boxes in pixels of the frames; empty when nobody is detected."""
        ...


@runtime_checkable
class _Relaxable(Protocol):
    """A detector that can run again less strictly."""

    def relaxed(self) -> PersonDetector: ...


def detect_people(
    clip: Clip,
    boxes: Sequence[Box] = (),
    masks: str | Path | None = None,
    finder: str | PersonDetector = "auto",
    count: int | None = None,
    picks: Sequence[int] = (),
    device: str | None = None,
    progress: Progress = no_progress,
) -> DetectedPeople:
    """The people in a clip: those drawn or masked by the user, else those that `finder` detects.

    `finder`: "sam2" (a detector and SAM 2), "detector" (a small detector, and keypoints), "mini" (the small network in
    the repository), "auto" (the first of these that is there: both need transformers and their weights, from the cache
    or the Hub; without a CUDA or XPU device sam2 is for short clips and from the cache only), or one of your own.
    People of sam2, boxes and masks have keypoints of ViTPose where it is cached, else of the network in the repository.
    `count`: how many people there are. The most prominent are kept; when fewer are detected, the detector runs again
    less strictly, and when there are still fewer the result says so. Beside boxes or masks nobody else is detected.
    `picks`: ids of the only people to keep, in that order; they are those of the same call without picks.
    `device`: of sam2; a GPU where there is one, else the CPU.

    Raises `InputError` for a box outside the image or the clip, for masks that do not fit the clip, when both are
    given, for a finder, count or pick that makes no sense; `MissingAssetError` when the weights of the detector are
    missing and neither boxes nor masks are given, `MissingDependencyError` when "sam2" lacks transformers, and
    `CheckpointError` for damaged weights.
    """
    if boxes and masks is not None:
        raise InputError("Expected boxes or masks, got both; give only one of them.")
    if count is not None and count < 1:
        raise InputError(f"Expected a count of 1 or more people, got {count}; leave it out when it is not known.")
    if isinstance(finder, str) and finder not in FINDERS:
        raise InputError(f"Expected a finder out of {', '.join(FINDERS)}, got {finder!r}; choose one of those.")
    second_best = False
    if boxes:
        detector = BoxPrompts.for_clip(clip, boxes, detector=_mini_detector())
    elif masks is not None:
        detector = MaskPrompts(Path(masks), clip.source_frames, clip.content_box)
    elif isinstance(finder, str):
        detector, second_best = _detector_named(finder, clip, device)
    else:
        detector = finder
    tracks = detector.track(clip.frames, progress)
    if count is not None and len(tracks) < count and isinstance(detector, _Relaxable):
        tracks = max(tracks, detector.relaxed().track(clip.frames, progress), key=len)
    warnings = _warnings(detector, second_best, count, len(tracks))
    tracks = _picked(_most_prominent(tracks, count), picks)
    if isinstance(detector, DetectAndSegment | BoxPrompts | MaskPrompts):
        anew = isinstance(detector, BoxPrompts)  # whose own masks know colours alone
        tracks = with_keypoints_and_masks(clip.frames, tracks, device, progress, anew)
    return DetectedPeople(tracks, detector.name, warnings)


def _warnings(detector: PersonDetector, second_best: bool, count: int | None, detected: int) -> tuple[str, ...]:
    """What those who see the result should know. Why no better detector was used is logged instead (`_announce`)."""
    warnings = ()
    if isinstance(detector, DetectAndTrack) and detector.name == "mini":
        warnings += (
            "Person detection used the small bundled detector. It can miss people or mistake objects for them; draw a "
            "box around anyone it missed.",
        )
    elif second_best:
        warnings += ("People's outlines are rough: person detection used a small detector, not SAM 2.",)
    if count is not None and detected < count:
        warnings += (
            f"Expected {count} {'person' if count == 1 else 'people'}, detected {detected}; "
            "draw a box around everybody who should be included.",
        )
    return warnings


def _most_prominent(tracks: tuple[PersonTrack, ...], count: int | None) -> tuple[PersonTrack, ...]:
    """At most `count` of the people, in the order they had."""
    kept = sorted(tracks, key=prominence, reverse=True)[:count]
    return tuple(track for track in tracks if any(track is other for other in kept))


def _picked(tracks: tuple[PersonTrack, ...], picks: Sequence[int]) -> tuple[PersonTrack, ...]:
    by_id = {track.id: track for track in tracks}
    for pick in picks:
        if pick not in by_id:
            people = f"the people detected are {', '.join(map(str, by_id))}" if by_id else "nobody was detected"
            raise InputError(f"Expected ids among the people of the clip, got {pick}, but {people}; choose again.")
    return tuple(by_id[pick] for pick in dict.fromkeys(picks)) if picks else tracks


# ---------------------------------------------------------------- a detector and SAM 2


def sam2_detector(device: str | None = None, keyframe_step: int = 6) -> DetectAndSegment:
    """A detector and SAM 2 with their weights, from the cache or the Hub; the detector runs on keyframes.

    Raises `MissingDependencyError` without transformers, `MissingAssetError` when weights cannot be had,
    `CheckpointError` when they are damaged, `InputError` for a device that is not there.
    """
    from unish.people.detector import load_detector
    from unish.people.sam2 import load_segmenter

    detector, segmenter = load_detector(device=device), load_segmenter(device=device)
    return DetectAndSegment(detector, segmenter, PromptConfig(keyframe_step=keyframe_step))


def keypoint_detector(device: str | None = None, step_s: float = 1 / TRAINED_FPS) -> "DetectAndTrack":
    """A small detector on every frame, our tracker, keypoints, and bundled masks; weights as `sam2_detector`.

    `step_s`: seconds between two frames.
    """
    from unish.people.detector import SMALL_DETECTOR_REPOSITORY, load_detector
    from unish.people.keypoints import load_keypoint_estimator

    detector = load_detector(SMALL_DETECTOR_REPOSITORY, device)
    config = TrackingConfig().at_step(step_s)
    return DetectAndTrack(detector, config, "detector", load_keypoint_estimator(device=device), _mini_keypoints())


def mini_detector(detector: FrameDetector | None = None, step_s: float = 1 / TRAINED_FPS) -> "DetectAndTrack":
    """The networks in the repository: `detector` (default: the mini detector) on every frame, our tracker, keypoints.

    Tracks without a trunk are dropped (`MIN_TRUNK_CONFIDENCE`). `step_s`: seconds between two frames.
    """
    keypoints = _mini_keypoints()
    if keypoints is None:
        return DetectAndTrack(detector, MINI_TRACKING.at_step(step_s))
    config = KEYPOINT_TRACKING.at_step(step_s)
    return DetectAndTrack(
        detector,
        config,
        "mini",
        keypoints,
        keypoints,
        MIN_TRUNK_CONFIDENCE,
        keypoints_score=True,
        masks_are_coarse=detector is None,
    )


def _mini_keypoints() -> "MiniKeypoints | None":
    from unish.people.mini_keypoints import load_mini_keypoints

    try:
        return load_mini_keypoints()
    except MissingAssetError:
        log.warning("The weights of the mini keypoint network are not installed: people lack its keypoints and masks.")
        return None


def _detector_named(name: str, clip: Clip, device: str | None) -> tuple[PersonDetector, bool]:
    """The detector, and whether "auto" would rather have taken a better one; why it could not is logged."""
    step_s = 1 / clip.fps
    if name == "mini":
        return mini_detector(step_s=step_s), False
    once_a_second = max(1, round(clip.fps))
    if name == "sam2":
        return sam2_detector(device, once_a_second), False
    if name == "detector":
        return keypoint_detector(device, step_s), False
    obstacle = _sam2_obstacle(len(clip.frames), device)
    if not obstacle:
        try:
            return sam2_detector(device, once_a_second), False
        except (MissingDependencyError, MissingAssetError) as error:
            obstacle = _lacks(error)
    reasons = [f"sam2: {obstacle}"]
    obstacle = _keypoint_obstacle(len(clip.frames), device)
    if not obstacle:
        try:
            detector = keypoint_detector(device, step_s)
            _announce("detector", reasons)
            return detector, True
        except (MissingDependencyError, MissingAssetError) as error:
            obstacle = _lacks(error)
    _announce("mini", [*reasons, f"detector: {obstacle}"])
    return mini_detector(step_s=step_s), True


def _announce(finder: str, reasons: Sequence[str]) -> None:
    """Log which finder "auto" took, and for each better one why not: only those who run it can change that."""
    log.warning("Person detection uses the finder %s. Better ones cannot be used. %s.", finder, "; ".join(reasons))


def _lacks(error: Exception) -> str:
    if isinstance(error, MissingDependencyError):
        return "transformers is not installed"
    return "its weights are neither cached nor reachable on the Hugging Face Hub"


def _keypoint_obstacle(frames: int, device: str | None) -> str:
    """Why "auto" does not try the detector with keypoints on this device, or nothing."""
    from unish.utils.device import chosen_device

    if frames > KEYPOINT_CPU_FRAMES and chosen_device(device).type not in ("cuda", "xpu"):
        return f"it is slow without a CUDA or XPU device, and the clip has over {KEYPOINT_CPU_FRAMES} frames"
    return ""


def with_keypoints_and_masks(
    frames: UInt8[np.ndarray, "frames height width 3"],
    tracks: tuple[PersonTrack, ...],
    device: str | None = None,
    progress: Progress = no_progress,
    masks_anew: bool = False,
) -> tuple[PersonTrack, ...]:
    """The tracks with keypoints, by ViTPose where that costs no download, else by the network in the repository; and
    with that network's masks where they have none, or where these are wanted anew."""
    from unish.people.hf_models import cached_folder
    from unish.people.keypoints import KEYPOINT_REPOSITORY, load_keypoint_estimator, with_keypoints
    from unish.people.person_masks import with_masks

    bundled = _mini_keypoints()
    estimator: KeypointEstimator | None = bundled
    if cached_folder(KEYPOINT_REPOSITORY) is not None:
        with contextlib.suppress(MissingDependencyError):
            estimator = load_keypoint_estimator(device=device)
    if estimator is None or not tracks:
        return tracks
    tracks = with_keypoints(frames, tracks, estimator, part_of(progress, 0.0, 0.6))
    return with_masks(frames, tracks, bundled, part_of(progress, 0.6, 1.0), masks_anew)


def _sam2_obstacle(frames: int, device: str | None) -> str:
    """Why "auto" does not try SAM 2 on this device, or nothing: on a CPU it takes seconds per frame."""
    from unish.people.detector import DETECTOR_REPOSITORY
    from unish.people.hf_models import cached_folder
    from unish.people.sam2 import SEGMENTER_REPOSITORY
    from unish.utils.device import chosen_device

    if chosen_device(device).type in ("cuda", "xpu"):
        return ""
    if frames > SAM2_CPU_FRAMES:
        return f"it is slow without a CUDA or XPU device, and the clip has over {SAM2_CPU_FRAMES} frames"
    if any(cached_folder(repository) is None for repository in (DETECTOR_REPOSITORY, SEGMENTER_REPOSITORY)):
        return "without a CUDA or XPU device it is used only once its weights have been downloaded"
    return ""


def _mini_detector() -> FrameDetector | None:
    from unish.people.mini_detector import load_mini_detector

    try:
        return load_mini_detector()
    except MissingAssetError:
        log.warning("The weights of the mini detector are not installed: drawn boxes are tracked by appearance alone.")
        return None
