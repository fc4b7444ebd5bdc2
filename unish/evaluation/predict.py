"""What can be scored: weights, through the pipeline under a benchmark's protocol, and saved results of any method."""

import dataclasses
import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from unish.body import BodyModel
from unish.errors import InputError, MissingAssetError
from unish.evaluation.benchmark import Benchmark, BenchmarkSequence
from unish.evaluation.runner import Predictor
from unish.fitting.fit import fit_bodies
from unish.people.detection import detect_people, with_keypoints_and_masks
from unish.pipeline import reconstruct_tracked
from unish.pipeline.mapping import map_scene
from unish.pipeline.options import MIN_WINDOW_FRAMES, ClipPriors
from unish.runs.identity import Identity, as_identity, networks_identity, result_identity
from unish.structures import Clip, PersonTrack, Reconstruction
from unish.utils.disk_arrays import Stack
from unish.video.pixels import limited_size

if TYPE_CHECKING:
    from unish.models.unish import UniSH

LONG_SIDE_PX = 1920
"""Larger images are reduced, as `read_clip` does."""


def weights_predictor(
    model: "UniSH",
    body: BodyModel,
    benchmark: Benchmark,
    data: str,
    device: str | None = None,
    fit: str = "off",
    known_lens: bool = False,
    sfm: str = "off",
) -> Predictor:
    """Weights as a method under test; `data` names the data that they are tested on. With a `fit` (as in
    `unish.pipeline.Options`) the network's bodies and the fitted ones are both scored. `known_lens`: the method is told
    the true focal length, as by a phone that records it. `sfm` is that of the pipeline's `Options`."""
    choices = {"fit": fit, "lens": "known" if known_lens else "off", "sfm": sfm}
    choices = {name: choice for name, choice in choices.items() if choice != "off"}
    identity = as_identity(**networks_identity(model, body), data=data, **choices)
    return Predictor(
        name=f"unish {model.weights_name}" + (", known lens" if known_lens else "") + (", sfm" if sfm != "off" else ""),
        predict=lambda sequence: reconstruct_sequence(
            sequence, benchmark, model, body, device=device, known_lens=known_lens, sfm=sfm
        ),
        identity=lambda sequence: identity,
        body=body,
        fit=None if fit == "off" else functools.partial(fit_bodies, body=body, mode=fit),
    )


def saved_predictor(folder: Path, data: str) -> Predictor:
    """Results of any method, saved as `folder`/SEQUENCE. Raises MissingAssetError when it is not a folder."""
    if not folder.is_dir():
        raise MissingAssetError(
            f"{folder} is not a folder; --predictions takes one with a result in DIR/SEQUENCE for every sequence, as "
            "written by Reconstruction.save and unish run --out."
        )

    def predict(sequence: BenchmarkSequence) -> Reconstruction:
        if not (folder / sequence.name).is_dir():
            raise MissingAssetError(
                f"{folder / sequence.name} is missing; save the result of this sequence as that folder, or name the "
                "other sequences with --sequences."
            )
        return Reconstruction.load(folder / sequence.name)

    def identity(sequence: BenchmarkSequence) -> Identity:
        result = folder / sequence.name
        return as_identity(predictions=str(result.resolve()), **result_identity(result), data=data)

    return Predictor(name=folder.resolve().name, predict=predict, identity=identity, timed=False)


def reconstruct_sequence(
    sequence: BenchmarkSequence,
    benchmark: Benchmark,
    model: "UniSH",
    body: BodyModel,
    finder: str = "auto",
    device: str | None = None,
    known_lens: bool = False,
    sfm: str = "off",
    **options: Any,
) -> Reconstruction:
    """Reconstruct a sequence under the protocol of its benchmark.

    People are given by their true boxes. Where the benchmark labels nobody they are detected, by `finder` on `device`;
    if nobody is, one person is assumed to fill the whole image: depth up to scale does not depend on it, and the result
    has a warning. With a `known_lens` its focal length is the sequence's own. Other options are those of
    `reconstruct_tracked`. Raises as it and the sequence's reader do; `InputError` for a lens that the sequence lacks.
    """
    frames = sampled_frames(sequence, benchmark.sampled_fps)
    clip = _clip(sequence, frames)
    scale = clip.frames.shape[2] / sequence.size_px[0]
    tracks = with_keypoints_and_masks(clip.frames, _tracks(sequence, frames, scale), device)
    detector = "true boxes"
    if not tracks:
        detected = detect_people(clip, finder=finder, device=device)
        tracks, detector = detected.tracks, detected.finder
        clip = dataclasses.replace(clip, warnings=clip.warnings + detected.warnings)
    if not tracks:
        tracks, detector = (_whole_image(clip),), "whole image"
        warning = f"No people were detected in {sequence.name}: its metric scale is a guess."
        clip = dataclasses.replace(clip, warnings=(*clip.warnings, warning))
    if known_lens:
        options["priors"] = ClipPriors(_focal(sequence))
    if sfm != "off":
        options["sparse_map"] = map_scene(clip, tracks, options.get("priors", ClipPriors()))
    window = benchmark.window or max(len(frames), MIN_WINDOW_FRAMES)
    return reconstruct_tracked(clip, tracks, model, body, finder=detector, **{"window": window, **options})


def _focal(sequence: BenchmarkSequence) -> float:
    """The true focal length in half diagonals; the median of a zoom."""
    if sequence.intrinsics is None:
        raise InputError(f"{sequence.name} does not say its focal length; score it without the known lens.")
    return float(np.median(sequence.intrinsics[:, 0, 0]) / (0.5 * np.hypot(*sequence.size_px)))


def sampled_frames(sequence: BenchmarkSequence, sampled_fps: float | None) -> np.ndarray:
    """The sequence's frames nearest to the times of a frame rate; all of them for None or a higher rate."""
    if sampled_fps is None or sampled_fps >= sequence.fps:
        return np.arange(sequence.frames)
    step = sequence.fps / sampled_fps
    return np.round(np.arange(0, sequence.frames - 0.5, step)).astype(int)


def _clip(sequence: BenchmarkSequence, frames: np.ndarray) -> Clip:
    size, images = limited_size(sequence.size_px, LONG_SIDE_PX), Stack()
    for frame in frames.tolist():
        image = sequence.image(frame)
        if size != sequence.size_px:
            image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        images.append(image)
    fps = (
        sequence.fps if len(frames) == sequence.frames else (len(frames) - 1) / (frames[-1] - frames[0]) * sequence.fps
    )
    return Clip(
        frames=images.finish(),
        times_s=frames / sequence.fps,
        fps=float(fps),
        source_name=sequence.name,
        source_size=sequence.size_px,
        source_frames=tuple(frames.tolist()),
    )


def _tracks(sequence: BenchmarkSequence, frames: np.ndarray, scale: float) -> tuple[PersonTrack, ...]:
    """Everybody who is present in one of the frames."""
    seen = [(person, person.present[frames]) for person in sequence.people]
    return tuple(
        PersonTrack(person.id, person.boxes_px[frames].astype(np.float64) * scale, present, present.astype(float))
        for person, present in seen
        if present.any()
    )


def _whole_image(clip: Clip) -> PersonTrack:
    count, height, width = clip.frames.shape[:3]
    box = np.tile(np.array([0.0, 0.0, width, height]), (count, 1))
    return PersonTrack(1, box, np.ones(count, bool), np.ones(count))
