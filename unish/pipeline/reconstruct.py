"""The way through: read, find people, run the windows, join them, assemble."""

import contextlib
import dataclasses
import logging
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from unish.body import BodyModel, load_body
from unish.errors import InputError, Interrupted
from unish.fusion.intrinsics import Lens, solve_lens
from unish.fusion.loop_closure import find_revisits
from unish.fusion.window_alignment import Joined, join_passes
from unish.fusion.windows import WindowPrediction, split_frames
from unish.models.hub import load
from unish.people.detection import Box, detect_people
from unish.pipeline.capacity import most_frames
from unish.pipeline.fuse import assemble, seen_tracks
from unish.pipeline.inference import Forward, run_bridge, run_window
from unish.pipeline.options import ClipPriors, NetworkChoices, Options
from unish.pipeline.window_inputs import prepared_windows
from unish.structures import Clip, PersonTrack, Reconstruction
from unish.utils.device import empty_cache, free_bytes, is_out_of_memory
from unish.utils.progress import Progress, no_progress, part_of
from unish.video.bars import without_bars
from unish.video.preprocess import frame_transform
from unish.video.reader import read_clip

if TYPE_CHECKING:
    from unish.models.unish import UniSH

log = logging.getLogger("unish")

WINDOW_FRAMES = 30
SMALLEST_WINDOW = 8
OVERLAP = 1 / 3
"""Share of a window that it has in common with the next."""


def reconstruct(
    source: str | PathLike[str] | Clip,
    *,
    progress: Progress = no_progress,
    boxes: Sequence[Box | Sequence[float]] = (),
    **options: object,
) -> Reconstruction:
    """Scene, camera and people of a video, a folder of images or a `Clip`, in metres.

    Takes the fields of `Options` as keywords; a box may be given as (x0, y0, x1, y1) pixels of the first frame.
    Raises `InputError` when the clip cannot be used or nobody is in it, `MissingAssetError` or `CheckpointError` for
    weights that are not there or not whole; `Interrupted`, with what is done so far, when it is broken off by Ctrl-C
    between windows. Weaker paths (mini weights, CPU, fallback finder) are logged and kept in
    `Reconstruction.provenance.warnings`.
    """
    unknown = set(options) - {field.name for field in dataclasses.fields(Options)}
    if unknown:
        raise InputError(f"reconstruct got an unknown option {sorted(unknown)[0]!r}; the options are those of Options.")
    drawn = tuple(box if isinstance(box, Box) else Box(*box) for box in boxes)
    chosen = Options(boxes=drawn, **options)  # type: ignore[arg-type]
    progress(0.0, "Reading video")
    clip = source if isinstance(source, Clip) else _read(Path(source), chosen, progress)
    chosen.priors(clip.content_size)  # what cannot be is said before the weights are read
    progress(0.1, "Loading weights")
    model = load_chosen(chosen)
    return reconstruct_clip(clip, model, load_body(chosen.body), chosen, progress)


def load_chosen(chosen: Options) -> "UniSH":
    """The network with the weights, on the device and in the precision that the user chose."""
    dtype = None if chosen.precision is None else getattr(torch, chosen.precision)
    return load(chosen.weights, device=chosen.device, dtype=dtype)


def reconstruct_clip(
    clip: Clip,
    model: "UniSH",
    body: BodyModel,
    chosen: Options = Options(),  # noqa: B008 (frozen)
    progress: Progress = no_progress,
) -> Reconstruction:
    """The part after decoding, for callers that hold the weights and run many clips. Raises as `reconstruct`."""
    priors = chosen.priors(clip.content_size)
    progress(0.15, "Detecting people")
    people = detect_people(
        clip,
        boxes=chosen.boxes,
        masks=chosen.masks,
        finder=chosen.finder,
        count=chosen.people,
        picks=chosen.person,
        device=chosen.device,
        progress=part_of(progress, 0.15, 0.3),
    )
    clip = dataclasses.replace(clip, warnings=clip.warnings + people.warnings)
    return reconstruct_tracked(
        clip,
        people.tracks,
        model,
        body,
        finder=people.finder,
        priors=priors,
        window=chosen.window,
        seed=chosen.seed,
        choices=chosen.network_choices,
        progress=progress,
    )


def _read(path: Path, chosen: Options, progress: Progress) -> Clip:
    clip = read_clip(
        path,
        fps=chosen.fps,
        start_s=chosen.start_s,
        end_s=chosen.end_s,
        source_fps=chosen.source_fps,
        shot=chosen.shot,
        progress=part_of(progress, 0.0, 0.1),
    )
    return without_bars(clip)


def reconstruct_tracked(
    clip: Clip,
    tracks: tuple[PersonTrack, ...],
    model: "UniSH",
    body: BodyModel,
    *,
    finder: str,
    priors: ClipPriors = ClipPriors(),  # noqa: B008 (frozen)
    window: int = WINDOW_FRAMES,
    seed: int = 0,
    choices: NetworkChoices = NetworkChoices(),  # noqa: B008 (frozen)
    progress: Progress = no_progress,
) -> Reconstruction:
    """The part after decoding and finding people, for callers that hold the clip, the people and the weights.

    Raises `InputError` when there is no track, `Interrupted` as `reconstruct` does.
    """
    tracks = seen_tracks(tracks)
    require_people(tracks)
    _require_ids(priors, tracks)
    torch.manual_seed(seed)
    with torch.inference_mode():
        try:
            work = _run(clip, tracks, model, priors, window, choices, progress)
        except _Stopped as stop:
            partial = _result(stop.work, body, priors, finder, seed)
            raise Interrupted(partial) from None
        progress(0.9, "Joining" if len(work.windows) > 1 else "Turning it into metres")
        result = _result(work, body, priors, finder, seed)
    progress(1.0, "Done")
    return result


def require_people(tracks: Sequence[PersonTrack]) -> None:
    """Raises `InputError` when there is no track: a reconstruction needs somebody to measure the scene by."""
    if not tracks:
        raise InputError(
            "Nobody was found in this clip. Draw a box around a person: x0,y0,x1,y1 in pixels of the first frame "
            "(--box, boxes= in Python, the People field among the app's options)."
        )


def _require_ids(priors: ClipPriors, tracks: Sequence[PersonTrack]) -> None:
    ids = [track.id for track in tracks]
    for person in priors.heights_m:
        if person not in ids:
            raise InputError(
                f"The height of person {person} is given, but the people are {', '.join(map(str, ids))}; "
                "name one of them, as in --height 2=1.62."
            )


class _Stopped(Exception):
    """Ctrl-C after at least one window: the work so far, cut to the frames that it covers."""

    def __init__(self, work: Forward) -> None:
        super().__init__()
        self.work = work


def _run(
    clip: Clip,
    tracks: tuple[PersonTrack, ...],
    model: "UniSH",
    priors: ClipPriors,
    size: int,
    choices: NetworkChoices,
    progress: Progress,
) -> Forward:
    """Every window of the clip, shorter ones than asked for where the memory is too small for those."""
    fitting = _fitting(clip, _most_at_once(tracks, _windows(clip, size)), model)
    if fitting < min(size, len(clip.frames)):
        clip, size = _with_shorter(clip, size, fitting), fitting
    while True:
        try:
            return _run_windows(clip, tracks, model, priors, size, choices, progress)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            smaller = min(size, len(clip.frames)) // 2
            if smaller < SMALLEST_WINDOW:
                raise InputError(
                    f"The GPU's memory does not hold {min(size, len(clip.frames))} frames at once. Take --device cpu, "
                    "or smaller weights."
                ) from None
        empty_cache(next(model.parameters()).device)
        clip, size = _with_shorter(clip, size, smaller), smaller


def _windows(clip: Clip, size: int) -> tuple[range, ...]:
    return split_frames(len(clip.frames), size, max(1, round(size * OVERLAP)))


def _most_at_once(tracks: tuple[PersonTrack, ...], windows: tuple[range, ...]) -> int:
    """The most people that any of the windows shows."""
    return max(sum(bool(track.present[w.start : w.stop].any()) for track in tracks) for w in windows)


def _fitting(clip: Clip, people: int, model: "UniSH") -> int:
    """The longest window that the memory should hold; never less than the smallest, which is always tried."""
    free = free_bytes(next(model.parameters()).device)
    scene = model.config.scene
    frame = frame_transform(clip.frames.shape[2], clip.frames.shape[1], scene.image_long_side_px, scene.patch_size)
    return max(SMALLEST_WINDOW, most_frames(scene, frame.width_px, frame.height_px, people, free))


def _with_shorter(clip: Clip, size: int, smaller: int) -> Clip:
    """The clip, with a word on the windows that will be taken."""
    doubt = f"The memory does not hold {size} frames at once: windows of {smaller} frames were taken."
    log.warning(doubt)
    return dataclasses.replace(clip, warnings=(*clip.warnings, doubt))


def _run_windows(
    clip: Clip,
    tracks: tuple[PersonTrack, ...],
    model: "UniSH",
    priors: ClipPriors,
    size: int,
    choices: NetworkChoices,
    progress: Progress,
) -> Forward:
    windows = _windows(clip, size)
    work = Forward.begin(model, clip, tracks, windows, choices)
    gain = model.config.scene.focal_gain
    given = None if priors.focal is None else priors.focal / gain
    # Threads beside a network on the CPU would only take its cores.
    ahead = work.device.type != "cpu"
    ready = prepared_windows(clip, tracks, windows, work.frame, work.images, ahead=ahead, choices=choices)
    try:
        with contextlib.closing(ready):
            for number, window in enumerate(windows):
                progress(0.3 + 0.6 * number / len(windows), _doing(number, window, windows, len(clip.frames)))
                run_window(work, next(ready), given)
    except KeyboardInterrupt:
        if not work.passes:
            raise
        raise _Stopped(_cut(work)) from None
    return work


def _doing(number: int, window: range, windows: tuple[range, ...], frames: int) -> str:
    if len(windows) == 1:
        return f"Reconstructing {frames} frames"
    return (
        f"Reconstructing window {number + 1} of {len(windows)}, frames {window.start + 1} to {window.stop} of {frames}"
    )


def _cut(work: Forward) -> Forward:
    """The work as if the clip ended with the last finished window."""
    done, stop, total = len(work.passes), work.finished(), len(work.clip.frames)
    clip = work.clip
    doubt = f"Stopped early: this is the first {stop} of {total} frames."
    clip = dataclasses.replace(
        clip,
        frames=clip.frames[:stop],
        times_s=clip.times_s[:stop],
        source_frames=clip.source_frames[:stop],
        warnings=(*clip.warnings, doubt),
    )
    tracks = tuple(_cut_track(track, stop) for track in work.tracks)
    seen = [index for index, track in enumerate(tracks) if track.present.any()]
    labels = np.zeros(256, np.uint8)
    labels[[index + 1 for index in seen]] = np.arange(1, len(seen) + 1)
    return dataclasses.replace(
        work,
        clip=clip,
        tracks=tuple(tracks[index] for index in seen),
        windows=work.windows[:done],
        images=work.images[:stop],
        person_mask=labels[work.person_mask[:stop]],
        bodies=[{seen.index(k): body for k, body in found.items() if k in seen} for found in work.bodies],
    )


def _cut_track(track: PersonTrack, stop: int) -> PersonTrack:
    return dataclasses.replace(
        track,
        boxes_px=track.boxes_px[:stop],
        present=track.present[:stop],
        confidence=track.confidence[:stop],
        masks=None if track.masks is None else track.masks[:stop],
    )


def _result(work: Forward, body: BodyModel, priors: ClipPriors, finder: str, seed: int) -> Reconstruction:
    lens, joined = _join(work, priors)
    return assemble(work, lens, joined, body, priors, finder, seed)


def _join(work: Forward, priors: ClipPriors) -> tuple[Lens, Joined]:
    """Lens and places of the windows; where the clip comes back to a place, bridges tie both visits together."""

    def solved(bridges: list[WindowPrediction]) -> tuple[Lens, Joined]:
        passes = [*work.passes, *bridges]
        gain = work.model.config.scene.focal_gain
        lens = solve_lens(
            passes, work.uv, len(work.clip.frames), work.fit_shift, gain, priors.focal, work.choices.confidence
        )
        joined = join_passes(passes, lens, work.uv, len(bridges), priors.static_camera)
        return dataclasses.replace(lens, shift=lens.shift[: len(work.passes)]), joined

    lens, joined = solved([])
    if priors.static_camera or len(work.passes) < 3:
        return lens, joined
    revisits = find_revisits(work.passes, joined, lens, work.uv, size=len(work.windows[0]))
    return solved([run_bridge(work, frames) for frames in revisits]) if revisits else (lens, joined)
