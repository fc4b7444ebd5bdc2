"""The network over a clip, window by window, with windows as long as the memory holds."""

import contextlib
import dataclasses
import logging
from typing import TYPE_CHECKING

from unish.errors import InputError, is_out_of_memory
from unish.fusion.windows import split_frames
from unish.pipeline.capacity import max_frames
from unish.pipeline.clip_predictions import ClipPredictions, PredictionCollector
from unish.pipeline.inference import run_window
from unish.pipeline.options import ClipPriors, NetworkChoices
from unish.pipeline.window_inputs import ClipInputs, prepare_windows
from unish.structures import Clip, PersonTrack
from unish.utils.device import empty_cache, free_bytes
from unish.utils.interrupts import Interrupts
from unish.utils.progress import Progress
from unish.video.preprocess import frame_transform

if TYPE_CHECKING:
    from unish.models.unish import UniSH

log = logging.getLogger("unish")

MIN_FITTED_FRAMES = 8
"""Windows are not made shorter than this to fit into memory."""
OVERLAP = 1 / 3
"""Share of a window that it has in common with the next."""


def run_windows(
    clip: Clip,
    tracks: tuple[PersonTrack, ...],
    model: "UniSH",
    priors: ClipPriors,
    size: int,
    choices: NetworkChoices,
    progress: Progress,
    interrupts: Interrupts,
) -> tuple[ClipPredictions, bool]:
    """Every window of the clip, shorter ones than asked for where the memory is too small, and whether all were run.

    Ctrl-C after the first window gives those that are finished, and False; before it, KeyboardInterrupt is raised.
    Raises `InputError` when not even short windows fit into memory.
    """
    fitting = _fitting_frames(clip, _max_people(tracks, _windows(clip, size)), model)
    if fitting < min(size, len(clip.frames)):
        clip, size = _with_shorter_windows(clip, size, fitting), fitting
    while True:
        inputs = ClipInputs.of(model, clip, tracks, _windows(clip, size), priors.focal, choices)
        try:
            return _run(inputs, progress, interrupts)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            smaller = min(size, len(clip.frames)) // 2
            if smaller < MIN_FITTED_FRAMES:
                raise InputError(
                    f"The GPU's memory does not hold {min(size, len(clip.frames))} frames at once. Run on the CPU, or "
                    "with smaller weights."
                ) from None
        empty_cache(inputs.device)
        clip, size = _with_shorter_windows(clip, size, smaller), smaller


def _run(inputs: ClipInputs, progress: Progress, interrupts: Interrupts) -> tuple[ClipPredictions, bool]:
    collector = PredictionCollector(inputs)
    total = len(inputs.windows)
    # Threads beside a network on the CPU would only take its cores.
    prepared = prepare_windows(inputs, prefetched=inputs.device.type != "cpu")
    try:
        with contextlib.closing(prepared):
            for number, window in enumerate(inputs.windows):
                with interrupts.raising():
                    progress(0.4 + 0.5 * number / total, _message(window, inputs))
                    result = run_window(inputs, next(prepared), collector.focals)
                collector.append(result)
    except KeyboardInterrupt:
        if not len(collector):
            raise
        return collector.finish(), False
    return collector.finish(), True


def _message(window: range, inputs: ClipInputs) -> str:
    total = len(inputs.clip.frames)
    if len(inputs.windows) == 1:
        return f"Reconstructing {total} frames"
    return f"Reconstructing frames {window.start + 1}–{window.stop} of {total}"


def _windows(clip: Clip, size: int) -> tuple[range, ...]:
    return split_frames(len(clip.frames), size, max(1, round(size * OVERLAP)))


def _max_people(tracks: tuple[PersonTrack, ...], windows: tuple[range, ...]) -> int:
    """The most people that any of the windows shows."""
    return max(sum(bool(track.present[w.start : w.stop].any()) for track in tracks) for w in windows)


def _fitting_frames(clip: Clip, people: int, model: "UniSH") -> int:
    """The longest window that the memory should hold; never less than the smallest, which is always tried."""
    free = free_bytes(next(model.parameters()).device)
    scene = model.config.scene
    frame = frame_transform(clip.frames.shape[2], clip.frames.shape[1], scene.image_long_side_px, scene.patch_size)
    return max(MIN_FITTED_FRAMES, max_frames(scene, frame.width_px, frame.height_px, people, free))


def _with_shorter_windows(clip: Clip, size: int, smaller: int) -> Clip:
    """The clip, with a warning about the windows that will be taken."""
    warning = f"The memory does not hold {size} frames at once, so windows of {smaller} frames were used."
    log.warning(warning)
    return dataclasses.replace(clip, warnings=(*clip.warnings, warning))
