"""The way through: read the clip, detect its people, run the windows, align them, fuse them."""

import dataclasses
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from unish.body import BodyModel, load_body
from unish.errors import InputError, Interrupted
from unish.fitting.fit import fit_bodies
from unish.fitting.lifting import lifted_scene
from unish.fusion.intrinsics import ClipIntrinsics
from unish.fusion.loop_closure import find_revisits
from unish.fusion.structure_from_motion import MeasuredCamera
from unish.fusion.window_alignment import WindowAlignment, align_windows
from unish.fusion.windows import WindowPrediction
from unish.models.hub import load
from unish.people.detection import Box, detect_people
from unish.pipeline.clip_predictions import ClipPredictions
from unish.pipeline.fuse import fuse
from unish.pipeline.inference import run_loop_pass
from unish.pipeline.mapping import laid_onto_map, map_scene, with_measured_lens
from unish.pipeline.options import ClipPriors, NetworkChoices, Options
from unish.pipeline.run_windows import run_windows
from unish.structures import Clip, PersonTrack, Reconstruction
from unish.utils.interrupts import Interrupts, deferred_interrupts
from unish.utils.progress import Progress, no_progress, part_of
from unish.video.bars import without_bars
from unish.video.reader import read_clip

if TYPE_CHECKING:
    from unish.models.unish import UniSH

FOCAL_RANGE = (0.01, 100.0)
"""In half diagonals; real lenses lie far inside."""
DEPTH_RANGE_M = (1e-3, 1e5)
PLAUSIBILITY_FRAMES = 16
FITTING_FROM = 0.92
"""Share of the work that is done before bodies are fitted."""


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
    missing or damaged weights; `Interrupted`, with the finished windows, when Ctrl-C stops it after the first of them.
    Weaker paths (mini weights, CPU, mini detector) are logged and kept in `Reconstruction.provenance.warnings`.
    """
    unknown = set(options) - {field.name for field in dataclasses.fields(Options)}
    if unknown:
        raise InputError(f"reconstruct got an unknown option {sorted(unknown)[0]!r}; the options are those of Options.")
    drawn = tuple(box if isinstance(box, Box) else Box(*box) for box in boxes)
    chosen = Options(boxes=drawn, **options)  # type: ignore[arg-type]
    with deferred_interrupts() as interrupts, interrupts.raising():
        progress(0.0, "Reading video")
        clip = source if isinstance(source, Clip) else _read(Path(source), chosen, progress)
        chosen.priors(clip.content_size, clip.recorded_focal_mm)  # wrong ones are refused before the weights are read
        progress(0.1, "Loading weights")
        model, body = load_chosen(chosen), load_body(chosen.body)
    return reconstruct_clip(clip, model, body, chosen, progress)


def load_chosen(options: Options) -> "UniSH":
    """The network with the weights, on the device and in the precision that the user chose."""
    dtype = None if options.precision is None else getattr(torch, options.precision)
    return load(options.weights, device=options.device, dtype=dtype)


def _read(path: Path, options: Options, progress: Progress) -> Clip:
    clip = read_clip(
        path,
        fps=options.fps,
        start_s=options.start_s,
        end_s=options.end_s,
        source_fps=options.source_fps,
        shot=options.shot,
        progress=part_of(progress, 0.0, 0.1),
    )
    return without_bars(clip)


def reconstruct_clip(
    clip: Clip,
    model: "UniSH",
    body: BodyModel,
    options: Options = Options(),  # noqa: B008 (frozen)
    progress: Progress = no_progress,
) -> Reconstruction:
    """The part after decoding, for callers that hold the weights and run many clips. Raises as `reconstruct`."""
    priors = options.priors(clip.content_size, clip.recorded_focal_mm)
    with deferred_interrupts() as interrupts, interrupts.raising():
        progress(0.15, "Detecting people")
        people = detect_people(
            clip,
            boxes=options.boxes,
            masks=options.masks,
            finder=options.finder,
            count=options.people,
            picks=options.person,
            device=options.device,
            progress=part_of(progress, 0.15, 0.25),
        )
        sparse_map = None
        if options.sfm != "off":
            sparse_map = map_scene(clip, people.tracks, priors, options.seed, part_of(progress, 0.25, 0.4))
    clip = dataclasses.replace(clip, warnings=clip.warnings + people.warnings)
    scene = reconstruct_tracked(
        clip,
        people.tracks,
        model,
        body,
        finder=people.finder,
        priors=priors,
        window=options.window,
        seed=options.seed,
        choices=options.network_choices,
        fit=options.fit,
        sparse_map=sparse_map,
        progress=progress,
    )
    require_plausible(scene)
    return lifted_scene(scene, body, on_keypoints=True) if options.fit == "off" else scene


def require_plausible(scene: Reconstruction) -> None:
    """Raises `InputError` when focal lengths or depths are far from those of any camera and any place."""
    focal = scene.cameras.intrinsics[:, 0, 0] / (0.5 * np.hypot(scene.cameras.width_px, scene.cameras.height_px))
    depth_m = float(np.median(scene.depth_m[:: max(1, len(scene) // PLAUSIBILITY_FRAMES)]))
    problem = ""
    if not (FOCAL_RANGE[0] < focal.min() and focal.max() < FOCAL_RANGE[1]):
        problem = f"a focal length of {focal.min():.2g} half diagonals"
    elif not DEPTH_RANGE_M[0] < depth_m < DEPTH_RANGE_M[1]:
        problem = f"a median depth of {depth_m:.2g} m"
    if problem:
        raise InputError(
            f"Expected a scene that a camera can see, got {problem}: the network cannot make sense of this clip. Try "
            "another part of it, other weights, or set the focal length."
        )


def reconstruct_tracked(
    clip: Clip,
    tracks: tuple[PersonTrack, ...],
    model: "UniSH",
    body: BodyModel,
    *,
    finder: str,
    priors: ClipPriors = ClipPriors(),  # noqa: B008 (frozen)
    window: int = Options.window,
    seed: int = 0,
    choices: NetworkChoices = NetworkChoices(),  # noqa: B008 (frozen)
    fit: str = "off",
    sparse_map: MeasuredCamera | None = None,
    progress: Progress = no_progress,
) -> Reconstruction:
    """The part after decoding and person detection, for callers that hold the clip, the people and the weights.

    Bodies have the network's motion unless a `fit` is asked for, as in `Options`; cameras, lens and depth are the
    network's but for those of a `sparse_map` (`map_scene`). Raises `InputError` when there is no
    track, `Interrupted` as `reconstruct` does: bodies are then not fitted.
    """
    tracks = tuple(track for track in tracks if track.present.any())
    require_people(tracks)
    _require_ids(priors, tracks)
    torch.manual_seed(seed)
    with torch.inference_mode(), deferred_interrupts() as interrupts:
        priors = with_measured_lens(priors, sparse_map)
        predictions, is_whole = run_windows(clip, tracks, model, priors, window, choices, progress, interrupts)
        loop_passes = ()
        if sparse_map is not None:
            predictions = laid_onto_map(predictions, priors, sparse_map)
        elif is_whole:
            loop_passes, is_whole = _close_loops(predictions, priors, progress, interrupts)
        intrinsics, alignment = _align(predictions, priors, loop_passes)
        result = fuse(predictions, intrinsics, alignment, body, priors, finder, seed)
        if interrupts.signal_number or not is_whole:
            raise Interrupted(result)
    if fit != "off":
        result = _fitted(result, body, fit, priors, progress)
    progress(1.0, "Done")
    return result


def _fitted(
    result: Reconstruction, body: BodyModel, fit: str, priors: ClipPriors, progress: Progress
) -> Reconstruction:
    """The result with fitted bodies; Ctrl-C keeps the network's."""
    with deferred_interrupts() as interrupts:
        try:
            with interrupts.raising():
                progress(FITTING_FROM, "Fitting bodies")
                return fit_bodies(
                    result,
                    body,
                    fit,
                    known_heights=tuple(priors.heights_m),
                    progress=part_of(progress, FITTING_FROM, 1.0),
                )
        except KeyboardInterrupt:
            if not interrupts.signal_number:
                raise
            warning = "Stopped before the bodies were fitted to the clip: their motion is the network's own."
            provenance = dataclasses.replace(result.provenance, warnings=(*result.provenance.warnings, warning))
            raise Interrupted(dataclasses.replace(result, provenance=provenance)) from None


def require_people(tracks: Sequence[PersonTrack]) -> None:
    """Raises `InputError` when there is no track: a reconstruction needs a person to measure the scene by."""
    if not tracks:
        raise InputError(
            "No people were detected. Draw a box around a person to add them: x0,y0,x1,y1 in pixels of the first frame."
        )


def _require_ids(priors: ClipPriors, tracks: Sequence[PersonTrack]) -> None:
    ids = [track.id for track in tracks]
    for person in priors.heights_m:
        if person not in ids:
            raise InputError(
                f"Expected the height of one of the people {', '.join(map(str, ids))}, got that of person {person}; "
                "name one of them, as in 2=1.62."
            )


def _close_loops(
    predictions: ClipPredictions, priors: ClipPriors, progress: Progress, interrupts: Interrupts
) -> tuple[tuple[WindowPrediction, ...], bool]:
    """Loop-closure passes where the clip comes back to a place, and whether all of them were run; none after Ctrl-C."""
    inputs, windows = predictions.inputs, predictions.windows
    loop_passes: list[WindowPrediction] = []
    try:
        with interrupts.raising():
            progress(0.9, "Stitching the parts together" if len(windows) > 1 else "Recovering real-world scale")
            if priors.static_camera or len(windows) < 3:
                return (), True
            intrinsics, alignment = _align(predictions, priors)
            for frames in find_revisits(windows, alignment, intrinsics, inputs.uv, size=len(inputs.windows[0])):
                loop_passes.append(run_loop_pass(inputs, predictions.images[frames], frames))
    except KeyboardInterrupt:
        return (), False
    return tuple(loop_passes), True


def _align(
    predictions: ClipPredictions, priors: ClipPriors, loop_passes: Sequence[WindowPrediction] = ()
) -> tuple[ClipIntrinsics, WindowAlignment]:
    """Intrinsics and alignment of the windows; loop-closure passes tie both visits to a place together."""
    inputs, windows = predictions.inputs, predictions.windows
    passes = [*windows, *loop_passes]
    intrinsics = predictions.intrinsics(priors, loop_passes)
    alignment = align_windows(passes, intrinsics, inputs.uv, len(loop_passes), priors.static_camera)
    return dataclasses.replace(intrinsics, depth_shift=intrinsics.depth_shift[: len(windows)]), alignment
