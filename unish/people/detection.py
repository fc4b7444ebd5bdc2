"""Who is in the clip: boxes that the user drew, masks that the user gave, or people found by networks.

Every way is a `PersonFinder`: frames in, people followed through them out.
"""

import dataclasses
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8

from unish.errors import InputError, MissingAssetError, MissingDependencyError
from unish.people.detect_and_segment import PromptConfig, PromptedFinder
from unish.people.prompts import Box, BoxFinder, MaskFinder
from unish.people.tracking import Detector, TrackingConfig, prominence, track_people
from unish.structures import Clip, PersonTrack
from unish.video.reader import Progress

__all__ = ["Box", "BoxFinder", "FoundPeople", "MaskFinder", "MiniFinder", "PersonFinder", "find_people", "sam2_finder"]

FINDERS = ("auto", "mini", "sam2")

log = logging.getLogger("unish")


@dataclass(frozen=True)
class FoundPeople:
    """The people of a clip, the most prominent first, and how they were found."""

    tracks: tuple[PersonTrack, ...]
    finder: str
    """"box", "masks" or the name of the finder."""
    warnings: tuple[str, ...] = ()


@runtime_checkable
class PersonFinder(Protocol):
    """Finds people in frames and keeps their identity."""

    @property
    def name(self) -> str:
        """What the result says about how people were found."""
        ...

    def find(self, frames: UInt8[np.ndarray, "frames height width 3"]) -> tuple[PersonTrack, ...]:
        """People of the clip, boxes in pixels of the frames; empty when nobody is seen."""
        ...


@runtime_checkable
class _Relaxable(Protocol):
    """A finder that can look again less strictly."""

    def relaxed(self) -> PersonFinder: ...


def find_people(
    clip: Clip,
    boxes: Sequence[Box] = (),
    masks: str | Path | None = None,
    finder: str | PersonFinder = "auto",
    count: int | None = None,
    picks: Sequence[int] = (),
    device: str | None = None,
    progress: Progress | None = None,
) -> FoundPeople:
    """The people in a clip: those drawn or masked by the user, else those that `finder` finds.

    `finder`: "sam2" (a detector and SAM 2), "mini" (the small network in the repository), "auto" (sam2 where there is
    a CUDA device, transformers, and weights in the cache or on the Hub, else mini), or one of your own.
    `count`: how many people there are. The most prominent are kept; when fewer are found, the finder looks again less
    strictly, and when there are still fewer the result says so. Beside boxes or masks nobody else is looked for.
    `picks`: ids of the only people to keep, in that order; they are those of the same call without picks.
    `device`: of sam2; CUDA where there is one, else the CPU. `progress`: called with the share done, 0 to 1.

    Raises `InputError` for a box outside the picture or the clip, for masks that do not fit the clip, when both are
    given, for a finder, count or pick that makes no sense; `MissingAssetError` when the weights of the finder are not
    there and nothing else says who to look at, `MissingDependencyError` when "sam2" lacks transformers, and
    `CheckpointError` for weights that are damaged.
    """
    if boxes and masks is not None:
        raise InputError("Expected boxes or masks, got both; give only one of --box and --masks.")
    if count is not None and count < 1:
        raise InputError(f"Expected a count of 1 or more people, got {count}; leave it out when it is not known.")
    if isinstance(finder, str) and finder not in FINDERS:
        raise InputError(f"Expected a finder out of {', '.join(FINDERS)}, got {finder!r}; choose one of those.")
    obstacle = ""
    if boxes:
        chosen = BoxFinder.for_clip(clip, boxes, detector=_mini_detector())
    elif masks is not None:
        chosen = MaskFinder(Path(masks), clip.source_frames)
    elif isinstance(finder, str):
        chosen, obstacle = _finder_of_name(finder, clip, device)
    else:
        chosen = finder
    if progress is not None and isinstance(chosen, PromptedFinder | MiniFinder):
        chosen = dataclasses.replace(chosen, progress=progress)
    tracks = chosen.find(clip.frames)
    if count is not None and len(tracks) < count and isinstance(chosen, _Relaxable):
        tracks = max(tracks, chosen.relaxed().find(clip.frames), key=len)
    warnings = _warnings(chosen, obstacle, count, len(tracks))
    return FoundPeople(_picked(_most_prominent(tracks, count), picks), chosen.name, warnings)


def _warnings(finder: PersonFinder, obstacle: str, count: int | None, found: int) -> tuple[str, ...]:
    warnings = ()
    if isinstance(finder, MiniFinder):
        warnings += (
            "People were looked for with the mini finder, which has seen synthetic scenes only: somebody may be "
            "missed, or something else taken for a person. Draw a box to say whom to follow."
            + (f" SAM 2 is not used: {obstacle}." if obstacle else ""),
        )
    if count is not None and found < count:
        warnings += (
            f"Expected {count} {'person' if count == 1 else 'people'}, found {found}; "
            "draw a box around everybody to be followed.",
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
            there = f"the people found are {', '.join(map(str, by_id))}" if by_id else "nobody was found"
            raise InputError(f"Expected picks among the people of the clip, got {pick}, but {there}; pick again.")
    return tuple(by_id[pick] for pick in dict.fromkeys(picks)) if picks else tracks


# ---------------------------------------------------------------- a detector and SAM 2


def sam2_finder(device: str | None = None, keyframe_step: int = 6) -> PromptedFinder:
    """A detector and SAM 2 with their weights, from the cache or the Hub; the detector sees every so many-th frame.

    Raises `MissingDependencyError` without transformers, `MissingAssetError` when weights cannot be had,
    `CheckpointError` when they are damaged, `InputError` for a device that is not there.
    """
    from unish.people.detector import load_detector
    from unish.people.sam2 import load_segmenter

    detector, segmenter = load_detector(device=device), load_segmenter(device=device)
    return PromptedFinder(detector, segmenter, PromptConfig(keyframe_step=keyframe_step))


def _finder_of_name(name: str, clip: Clip, device: str | None) -> tuple[PersonFinder, str]:
    """The finder, and for "auto" why it is not the better one."""
    if name == "mini":
        return MiniFinder(), ""
    once_a_second = max(1, round(clip.fps))
    if name == "sam2":
        return sam2_finder(device, once_a_second), ""
    from unish.utils.device import chosen_device

    if chosen_device(device).type != "cuda":
        return MiniFinder(), "it needs a CUDA device"
    try:
        return sam2_finder(device, once_a_second), ""
    except MissingDependencyError:
        return MiniFinder(), "transformers is not installed"
    except MissingAssetError:
        return MiniFinder(), "its weights are neither cached nor reachable on the Hugging Face Hub"


# ---------------------------------------------------------------- the network in the repository


@dataclass(frozen=True)
class MiniFinder:
    """People found by the small network in the repository and linked through the clip."""

    detector: Detector | None = None
    """Default: the bundled network."""
    config: TrackingConfig = dataclasses.field(default_factory=TrackingConfig)
    progress: Progress | None = None
    """Called with the share done, 0 to 1; an exception raised in it cancels the work."""
    name: str = "mini"

    def find(self, frames: UInt8[np.ndarray, "frames height width 3"]) -> tuple[PersonTrack, ...]:
        """People seen in enough frames, the most prominent first."""
        detector = self.detector
        if detector is None:
            from unish.people.mini_detector import load_mini_detector

            detector = load_mini_detector()
        seen = detector.detect(frames) if self.progress is None else detector.detect(frames, self.progress)
        return track_people(seen, self.config)

    def relaxed(self) -> "MiniFinder":
        """The same finder, less strict."""
        return dataclasses.replace(self, config=self.config.relaxed())


def _mini_detector() -> Detector | None:
    from unish.people.mini_detector import load_mini_detector

    try:
        return load_mini_detector()
    except MissingAssetError:
        log.warning(
            "The mini person finder's weights are not installed: drawn boxes are followed by their looks alone."
        )
        return None
