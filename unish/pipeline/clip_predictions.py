"""The predictions of a clip's windows: collected as they come, dense maps on disk, and then read as a whole."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, UInt8

from unish.fusion.intrinsics import ClipIntrinsics, solve_intrinsics
from unish.fusion.motion import WindowBody
from unish.fusion.windows import WindowPrediction
from unish.pipeline.inference import WindowResult
from unish.pipeline.options import ClipPriors
from unish.pipeline.window_inputs import ClipInputs
from unish.structures import PersonTrack
from unish.utils.disk_arrays import new_array, release_pages


@dataclass(frozen=True)
class ClipPredictions:
    """What the network predicts of a clip, window by window, in network units."""

    inputs: ClipInputs
    images: UInt8[np.ndarray, "frames height width 3"]
    person_mask: UInt8[np.ndarray, "frames height width"]
    uncertain_mask: UInt8[np.ndarray, "frames height width"]
    depth: Float32[np.ndarray, "rows height width"]
    """Of the windows one after the other."""
    confidence: Float32[np.ndarray, "rows height width"]
    windows: tuple[WindowPrediction, ...]
    bodies: tuple[Mapping[int, WindowBody], ...]
    """Of every window: index of the track → its body."""
    mapped_frames: int = 0
    """Frames whose cameras were measured."""
    zoom_focal: Float[np.ndarray, "frames"] | None = None
    """Focal lengths of a measured zoom, half diagonals."""

    def intrinsics(self, priors: ClipPriors, loop_passes: Sequence[WindowPrediction] = ()) -> ClipIntrinsics:
        """Intrinsics of the clip, from all of its passes; the depth shifts of the loop-closure passes come last."""
        inputs = self.inputs
        return solve_intrinsics(
            [*self.windows, *loop_passes],
            inputs.uv,
            len(inputs.clip.frames),
            inputs.fit_shift,
            inputs.model.config.scene.focal_gain,
            priors.focal if self.zoom_focal is None else self.zoom_focal,
            inputs.choices.confidence,
        )

    def rows(self, window: int) -> slice:
        """Where a window's maps lie in `depth` and `confidence`."""
        return _rows(self.inputs.windows, window)


class PredictionCollector:
    """Collects the results of a clip's windows, in order; what is large goes to disk as it comes.

    A window counts once all of it is there: a result that is broken off in the middle leaves nothing behind.
    """

    def __init__(self, inputs: ClipInputs) -> None:
        """Reserves the disk for all windows. Raises `InputError` when there is no room."""
        self._inputs = inputs
        size = (inputs.transform.height_px, inputs.transform.width_px)
        frames, rows = len(inputs.clip.frames), sum(len(window) for window in inputs.windows)
        self._images = new_array((frames, *size, 3), np.uint8)
        self._person_mask, self._uncertain_mask = (new_array((frames, *size), np.uint8) for _ in range(2))
        self._depth = new_array((rows, *size), np.float32)
        self._confidence = new_array((rows, *size), np.float32)
        self._finished: tuple[tuple[WindowPrediction, Mapping[int, WindowBody], np.ndarray], ...] = ()

    def __len__(self) -> int:
        """How many windows are finished."""
        return len(self._finished)

    @property
    def focals(self) -> Float[np.ndarray, "_"]:
        """The focal lengths that fit the frames of the finished windows."""
        return np.concatenate([np.zeros(0), *(focals for _, _, focals in self._finished)])

    def append(self, result: WindowResult) -> None:
        """Add the result of the next window."""
        window, rows = self._inputs.windows[len(self)], _rows(self._inputs.windows, len(self))
        frames = slice(window.start, window.stop)
        self._images[frames], self._person_mask[frames] = result.images, result.person_mask
        self._uncertain_mask[frames] = result.uncertain_mask
        self._depth[rows], self._confidence[rows] = result.depth, result.confidence
        # Frames that a finished window shares were written again just as they were; this line makes the window count.
        self._finished = (*self._finished, (result.prediction, result.bodies, result.focals))
        arrays = (self._images, self._person_mask, self._uncertain_mask, self._depth, self._confidence)
        release_pages(self._inputs.clip.frames, *arrays)

    def finish(self) -> ClipPredictions:
        """The finished windows, one or more, as if the clip ended with the last of them; a warning says so."""
        inputs, person_mask, uncertain_mask = self._inputs, self._person_mask, self._uncertain_mask
        predictions, bodies, _ = zip(*self._finished, strict=True)
        stop = inputs.windows[len(self) - 1].stop
        if len(self) < len(inputs.windows):
            inputs, kept = _truncated(inputs, len(self))
            labels = np.zeros(256, np.uint8)
            labels[[index + 1 for index in kept]] = np.arange(1, len(kept) + 1)
            person_mask, uncertain_mask = labels[person_mask[:stop]], labels[uncertain_mask[:stop]]
            bodies = tuple({kept.index(k): body for k, body in part.items() if k in kept} for part in bodies)
        images = self._images[:stop]
        maps = (images, person_mask, uncertain_mask, self._depth, self._confidence)
        return ClipPredictions(inputs, *maps, predictions, bodies)


def _rows(windows: tuple[range, ...], window: int) -> slice:
    start = sum(len(earlier) for earlier in windows[:window])
    return slice(start, start + len(windows[window]))


def _truncated(inputs: ClipInputs, windows: int) -> tuple[ClipInputs, list[int]]:
    """The inputs of a clip that ends with its first so many windows, and which of the tracks are seen in it."""
    clip, stop = inputs.clip, inputs.windows[windows - 1].stop
    clip = dataclasses.replace(
        clip,
        frames=clip.frames[:stop],
        times_s=clip.times_s[:stop],
        source_frames=clip.source_frames[:stop],
        warnings=(*clip.warnings, f"Stopped early: only the first {stop} of {len(clip.frames)} frames are included."),
    )
    kept = [index for index, track in enumerate(inputs.tracks) if track.present[:stop].any()]
    tracks = tuple(_truncated_track(inputs.tracks[index], stop) for index in kept)
    return dataclasses.replace(inputs, clip=clip, tracks=tracks, windows=inputs.windows[:windows]), kept


def _truncated_track(track: PersonTrack, stop: int) -> PersonTrack:
    return dataclasses.replace(
        track,
        boxes_px=track.boxes_px[:stop],
        present=track.present[:stop],
        confidence=track.confidence[:stop],
        masks=None if track.masks is None else track.masks[:stop],
        keypoints_px=None if track.keypoints_px is None else track.keypoints_px[:stop],
        uncertain_masks=None if track.uncertain_masks is None else track.uncertain_masks[:stop],
    )
