"""Scores weights on held-out synthetic clips, each number beside that of a predictor that looks at nothing.

    python -m train.score --weights unish/assets/mini --synthetic-clips 40      # renders its own clips
    python -m train.score --weights unish/assets/mini --data DIR                # shards of python -m train.synthetic

The whole pipeline runs, but people are given by their true boxes, not found. The trivial predictor answers with the
mean depth of each pixel, a camera that stands still, and the mean pose, shape and place of other (training) clips.
"""

import itertools
import json
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import tyro
from tqdm import tqdm

from train.cli import command_line_errors
from train.data.schema import ClipSample, iterate_clips
from unish.body import BodyModel, open_body
from unish.errors import InputError
from unish.evaluation.benchmark import BenchmarkSequence
from unish.evaluation.datasets import synthetic
from unish.evaluation.metric_values import MetricValues, means_of
from unish.evaluation.metric_values import pooled as pooled_means
from unish.evaluation.predictions import PersonPrediction, SequencePrediction, move
from unish.evaluation.scoring import METRICS, score_prediction
from unish.geometry.rotations import nearest_rotation
from unish.models.hub import load
from unish.models.unish import UniSH
from unish.pipeline import reconstruct_tracked
from unish.structures import Clip, PersonTrack, Reconstruction
from unish.utils.atomic_write import atomic_path

HELD_OUT_SEED, TRAINING_SEED = 920_000_000, 930_000_000
"""First seeds of the clips rendered here; far from those that `train.synthetic` uses by itself."""
MEAN_DEPTH_SIZE = (64, 64)

COLUMNS = {name: (METRICS[name].heading, METRICS[name].factor, METRICS[name].digits) for name in synthetic.METRICS}
"""Name → (heading, factor, decimals): the lines of `unish eval synthetic`."""


@dataclass(frozen=True)
class ScoreConfig:
    """What is scored on what."""

    weights: str = "mini"
    """As for unish.load: mini, release, or a folder."""
    data: str | None = None
    """Folder of shards (or Hub dataset) with a train and a validation split."""
    synthetic_clips: int = 0
    """Instead of data: so many held-out clips, and as many others for the trivial predictor, are rendered now."""
    frames: int = 8
    """Of rendered clips."""
    clips: int | None = None
    """Score only the first so many."""
    trivial: bool = True
    """Score the trivial predictor as well."""
    training_clips: int = 200
    """How many clips of the train split the trivial predictor learns from."""
    out: Path | None = None
    """Folder for score.md and score.json."""


@dataclass(frozen=True)
class Estimate:
    """What a predictor says of a clip, in metres."""

    depth_m: np.ndarray
    """(frames, h, w) over the clip's whole field of view, any resolution."""
    world_from_camera: np.ndarray
    """(frames, 4, 4)"""
    joints_camera: np.ndarray
    """(people, frames, 24, 3)"""
    intrinsics: np.ndarray | None = None
    """(frames, 3, 3) pixels of `depth_m`; None where the bodies have no surface."""
    vertices_camera: tuple[np.ndarray | None, ...] = ()
    """(frames, vertices, 3) of each person"""


# --- predictors ----------------------------------------------------------------------------------------------------


def reconstruct_with_boxes(clip: ClipSample, model: UniSH, body: BodyModel, **options: Any) -> Reconstruction:
    """The pipeline's answer, with people's true boxes; options as `reconstruct_tracked` takes them."""
    tracks = tuple(
        PersonTrack(id=p + 1, boxes_px=clip.boxes_px[p].astype(np.float64), present=seen, confidence=seen.astype(float))
        for p, seen in enumerate(seen_people(clip))
        if seen.any()
    )
    footage = Clip(clip.images, np.arange(clip.frames) / clip.fps, clip.fps, clip.clip_id, clip.images.shape[2:0:-1])
    return reconstruct_tracked(footage, tracks, model, body, finder="true boxes", **options)


def estimate_of(found: Reconstruction, clip: ClipSample) -> Estimate:
    """A reconstruction as an estimate: bodies in each frame's camera; NaN for people whom it lacks."""
    camera_from_world = np.linalg.inv(found.cameras.world_from_camera.astype(np.float64))
    turn, shift = camera_from_world[:, :3, :3], camera_from_world[:, :3, 3]
    joints = np.full((clip.people, clip.frames, 24, 3), np.nan)
    vertices: list[np.ndarray | None] = [None] * clip.people
    for person in found.people:
        joints[person.id - 1] = np.einsum("fab,fjb->fja", turn, person.joints_world) + shift[:, None]
        vertices[person.id - 1] = np.einsum("fab,fvb->fva", turn, person.vertices_world) + shift[:, None]
    return Estimate(found.depth_m, found.cameras.world_from_camera, joints, found.cameras.intrinsics, tuple(vertices))


def predict(clip: ClipSample, model: UniSH, body: BodyModel) -> Estimate:
    """The pipeline's answer, with people's true boxes."""
    return estimate_of(reconstruct_with_boxes(clip, model, body), clip)


@dataclass(frozen=True)
class TrivialPredictor:
    """Means over training clips: what can be said without looking."""

    depth_m: np.ndarray
    joints_camera: np.ndarray
    """(24, 3)"""

    @staticmethod
    def fit(clips: Iterable[ClipSample], body: BodyModel) -> "TrivialPredictor":
        """Mean depth of each place in the picture, and the body of mean pose, shape and place."""
        total, count = np.zeros(MEAN_DEPTH_SIZE), np.zeros(MEAN_DEPTH_SIZE)
        rotations, betas, translations = [], [], []
        for clip in clips:
            for depth in clip.depth_m:
                valid = cv2.resize((depth > 0).astype(np.float64), MEAN_DEPTH_SIZE, interpolation=cv2.INTER_AREA)
                total += cv2.resize(depth.astype(np.float64), MEAN_DEPTH_SIZE, interpolation=cv2.INTER_AREA)
                count += valid
            seen = seen_people(clip)
            rotations.append(clip.body_rotations[seen])
            translations.append(clip.translation_camera[seen])
            betas.append(clip.betas)
        if not rotations:
            raise InputError("The trivial predictor needs training clips, received none. Check the train split.")
        pose = nearest_rotation(torch.from_numpy(np.concatenate(rotations).mean(0)))
        mean = (torch.from_numpy(np.concatenate(x).mean(0)) for x in (betas, translations))
        shape, place = mean
        return TrivialPredictor(total / np.maximum(count, 1e-6), body(shape, pose, place).joints.numpy())

    def __call__(self, clip: ClipSample) -> Estimate:
        return Estimate(
            np.tile(self.depth_m, (clip.frames, 1, 1)),
            np.tile(np.eye(4), (clip.frames, 1, 1)),
            np.tile(self.joints_camera, (clip.people, clip.frames, 1, 1)),
        )


def truth(clip: ClipSample, body: BodyModel) -> Estimate:
    """The labels in the form of a prediction."""
    arrays = (clip.betas[:, None], clip.body_rotations, clip.translation_camera)
    joints = body(*(torch.from_numpy(array) for array in arrays)).joints.numpy()
    return Estimate(clip.depth_m, clip.world_from_camera, joints)


# --- scoring -------------------------------------------------------------------------------------------------------


def score_clip(estimate: Estimate, clip: ClipSample, body: BodyModel) -> dict[str, MetricValues]:
    """MetricValues of every metric of `COLUMNS`. What the clip's labels do not know is not scored."""
    return score_prediction(prediction_of(estimate, clip, body), sequence_of(clip, body), COLUMNS)


def sequence_of(clip: ClipSample, body: BodyModel) -> BenchmarkSequence:
    """A clip as a sequence of a benchmark. Joints are unknown where bodies or cameras are."""
    people = synthetic.true_people({name: getattr(clip, name) for name in synthetic.LABEL_NAMES}, body)
    if {"body_rotations", "world_from_camera"} & set(clip.unknown):
        people = tuple(
            replace(person, joints_world=np.full((clip.frames, 24, 3), np.nan), vertices_world=None)
            for person in people
        )
    return BenchmarkSequence(
        name=clip.clip_id,
        frames=clip.frames,
        fps=clip.fps,
        size_px=(clip.images.shape[2], clip.images.shape[1]),
        image=lambda frame: clip.images[frame],
        depth_m=lambda frame: clip.depth_m[frame],
        world_from_camera=None if "world_from_camera" in clip.unknown else clip.world_from_camera,
        intrinsics=clip.intrinsics,
        people=people,
        person_mask=lambda frame: clip.person_mask[frame],
    )


def prediction_of(estimate: Estimate, clip: ClipSample, body: BodyModel) -> SequencePrediction:
    """An estimate of a clip in the form that is scored; depth without a lens is of the whole picture, and stretched."""
    cameras, size = estimate.world_from_camera.astype(np.float64), clip.images.shape[2:0:-1]

    def depth_m(frame: int) -> np.ndarray:
        depth = estimate.depth_m[frame].astype(np.float32)
        return depth if estimate.intrinsics is not None else cv2.resize(depth, size)

    surfaces = dict(enumerate(estimate.vertices_camera))
    return SequencePrediction(
        frames=np.arange(clip.frames),
        depth_m=depth_m,
        world_from_camera=cameras,
        people={
            index + 1: PersonPrediction(
                to_world(joints, cameras), joints, vertices_camera=_frames_of(surfaces.get(index))
            )
            for index, joints in enumerate(estimate.joints_camera.astype(np.float64))
        },
        intrinsics=estimate.intrinsics,
        faces=body.faces.cpu().numpy(),
    )


def _frames_of(vertices: np.ndarray | None) -> Callable[[np.ndarray], np.ndarray] | None:
    return None if vertices is None else lambda frames: vertices[frames]


def seen_people(clip: ClipSample) -> np.ndarray:
    """(people, frames) bool: where enough of a person is seen to be asked for."""
    return synthetic.scored_frames(clip.visibility, clip.boxes_px)


def to_world(joints_camera: np.ndarray, world_from_camera: np.ndarray) -> np.ndarray:
    """(frames, joints, 3) of each frame's camera, in the world."""
    return move(world_from_camera, joints_camera)


def pooled(rows: list[dict[str, MetricValues]]) -> dict[str, float]:
    """Mean of each metric over everything that was scored; NaN where there was nothing."""
    means = pooled_means(map(means_of, rows))
    return {name: means.get(name, float("nan")) for name in COLUMNS}


def score(config: ScoreConfig) -> dict:
    """Score as configured; returns the numbers of the table and what they were measured on."""
    held_out, training, source = _clips(config)
    body, model = open_body(), load(config.weights)
    predictors: dict[str, Callable[[ClipSample], Estimate]] = {}
    if config.trivial:
        predictors["trivial"] = TrivialPredictor.fit(training, body)
    predictors[model.weights_name] = lambda clip: predict(clip, model, body)
    rows: dict[str, list] = {name: [] for name in predictors}
    count = 0
    for clip in tqdm(held_out, desc="scoring", unit="clip"):
        if not seen_people(clip).any():
            continue
        count += 1
        for name, predictor in predictors.items():
            rows[name].append(score_clip(predictor(clip), clip, body))
    if not count:
        raise InputError(f"No clip with a person to be seen in {source}. Give more clips.")
    return {
        "clips": count,
        "source": source,
        "people": "true boxes, given",
        "weights": config.weights,
        "rows": {name: pooled(clip_rows) for name, clip_rows in rows.items()},
    }


def markdown(result: dict) -> str:
    """The numbers as a Markdown table, a metric a line."""
    names = list(result["rows"])
    lines = [f"| metric | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for key, (heading, factor, digits) in COLUMNS.items():
        values = (factor * result["rows"][name][key] for name in names)
        cells = (f"{value:.{digits}f}" if value == value else "–" for value in values)
        lines.append(f"| {heading} | {' | '.join(cells)} |")
    note = (
        f"{result['clips']} held-out clips ({result['source']}). Depth after one scale a clip, pooled by pixels; "
        "cameras and WA-MPJPE after a similarity; surfaces after a scale and a shift a person; the rest in "
        "metres as predicted. People are given by their true boxes."
    )
    return "\n".join([*lines, "", note, ""])


def _clips(config: ScoreConfig) -> tuple[Iterable[ClipSample], Iterable[ClipSample], str]:
    if (config.data is None) == (config.synthetic_clips == 0):
        raise InputError("Expected clips to score on, received none or two kinds. Give --data or --synthetic-clips.")
    if config.data is not None:
        held_out = itertools.islice(iterate_clips(config.data, "validation"), config.clips)
        training = itertools.islice(iterate_clips(config.data, "train"), config.training_clips)
        return held_out, training, f"validation split of {Path(config.data).name}"
    from train.synthetic.clips import generate_clip

    def render(first: int) -> Iterable[ClipSample]:
        return (generate_clip(first + i, frames=config.frames) for i in range(config.synthetic_clips))

    source = f"rendered from seeds {HELD_OUT_SEED} and up, {config.frames} frames at 6 fps"
    return itertools.islice(render(HELD_OUT_SEED), config.clips), render(TRAINING_SEED), source


def main(config: ScoreConfig) -> None:
    """Print the table and write it where asked."""
    logging.getLogger("unish").setLevel(logging.ERROR)  # the mini's standing doubts, once a clip
    result = score(config)
    table = markdown(result)
    print(table)
    if config.out is not None:
        with atomic_path(config.out / "score.json") as temporary:
            temporary.write_text(json.dumps(result, indent=2) + "\n")
        with atomic_path(config.out / "score.md") as temporary:
            temporary.write_text(table)


if __name__ == "__main__":
    with command_line_errors():
        main(tyro.cli(ScoreConfig, description=__doc__))
