"""Scores weights on held-out clips, beside the mean baseline: `unish eval synthetic` on clips of your own.

    python -m train.score --weights unish/assets/mini --synthetic-clips 40      # renders its own clips
    python -m train.score --weights unish/assets/mini --data DIR                # shards of python -m train.synthetic

The whole pipeline runs, with people given by their true boxes. The mean baseline predicts the mean depth of each pixel,
a camera that stands still, and the mean pose, shape and place of other (training) clips.
"""

import itertools
import json
import logging
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
import tyro
from jaxtyping import Float
from tqdm import tqdm

from train.cli import command_line_errors
from train.data.schema import ClipSample, iterate_clips
from train.data.sequences import PROTOCOL, seen_people, sequence_of
from unish.body import BodyModel, open_body
from unish.errors import InputError
from unish.evaluation.benchmark import BenchmarkSequence, MethodRow
from unish.evaluation.metric_values import pooled
from unish.evaluation.predict import weights_predictor
from unish.evaluation.predictions import PersonPrediction, SequencePrediction
from unish.evaluation.runner import Predictor, SequenceResult, score_sequence
from unish.evaluation.table import Table, make_table
from unish.geometry.rotations import nearest_rotation
from unish.models.hub import load
from unish.utils.atomic_write import atomic_path

HELD_OUT_SEED, TRAINING_SEED = 920_000_000, 930_000_000
"""First seeds of the clips rendered here; far from those that `train.synthetic` uses by itself."""
MEAN_DEPTH_SIZE = (64, 64)
MEAN_BASELINE = "mean baseline"


@dataclass(frozen=True)
class ScoreConfig:
    """What is scored on what."""

    weights: str = "mini"
    """As for unish.load: mini, release, or a folder."""
    data: str | None = None
    """Folder of shards (or Hub dataset) with a train and a validation split."""
    synthetic_clips: int = 0
    """Instead of data: render so many held-out clips, and as many others for the mean baseline."""
    frames: int = 8
    """Of rendered clips."""
    clips: int | None = None
    """Score only the first so many."""
    trivial: bool = True
    """Score the mean baseline as well."""
    training_clips: int = 200
    """Clips of the train split that the mean baseline is taken from."""
    out: Path | None = None
    """Folder for score.md and score.json."""


@dataclass(frozen=True)
class MeanBaseline:
    """Means over training clips: what can be predicted without seeing the clip."""

    depth_m: Float[np.ndarray, "64 64"]
    """Over the whole field of view."""
    joints_camera: Float[np.ndarray, "24 3"]

    @staticmethod
    def fit(clips: Iterable[ClipSample], body: BodyModel) -> "MeanBaseline":
        """Mean depth of each place in the image, and the body of mean pose, shape and place."""
        total, count = np.zeros(MEAN_DEPTH_SIZE), np.zeros(MEAN_DEPTH_SIZE)
        rotations, betas, translations = [], [], []
        for clip in clips:
            for depth_m in clip.depth_m:
                valid = cv2.resize((depth_m > 0).astype(np.float64), MEAN_DEPTH_SIZE, interpolation=cv2.INTER_AREA)
                total += cv2.resize(depth_m.astype(np.float64), MEAN_DEPTH_SIZE, interpolation=cv2.INTER_AREA)
                count += valid
            seen = seen_people(clip)
            rotations.append(clip.body_rotations[seen])
            translations.append(clip.translation_camera[seen])
            betas.append(clip.betas)
        if not rotations:
            raise InputError("Expected training clips for the mean baseline, got none; check the train split.")
        pose = nearest_rotation(torch.from_numpy(np.concatenate(rotations).mean(0)))
        shape, place = (torch.from_numpy(np.concatenate(x).mean(0)) for x in (betas, translations))
        return MeanBaseline(total / np.maximum(count, 1e-6), body(shape, pose, place).joints.numpy())

    def predict(self, sequence: BenchmarkSequence) -> SequencePrediction:
        """The same for every sequence: its world is that of a camera which stands still, and has no floor."""
        depth_m = cv2.resize(self.depth_m.astype(np.float32), sequence.size_px)
        joints = np.tile(self.joints_camera.astype(np.float64), (sequence.frames, 1, 1))
        return SequencePrediction(
            frames=np.arange(sequence.frames),
            depth_m=lambda frame: depth_m,
            world_from_camera=np.tile(np.eye(4), (sequence.frames, 1, 1)),
            people={person.id: PersonPrediction(joints, joints) for person in sequence.people},
        )

    def predictor(self) -> Predictor:
        """As a method under test."""
        return Predictor(MEAN_BASELINE, self.predict, identity=lambda sequence: {}, timed=False)


def score(config: ScoreConfig) -> Table:
    """The table of the weights beside the mean baseline, pooled over all clips in which somebody is seen."""
    held_out, training, source = _clips(config)
    body, model = open_body(), load(config.weights)
    benchmark = replace(PROTOCOL, name="synthetic" if config.synthetic_clips else "clips")
    predictors = [weights_predictor(model, body, benchmark, data=source)]
    if config.trivial:
        predictors.append(MeanBaseline.fit(training, body).predictor())
    results: dict[str, list[SequenceResult]] = {predictor.name: [] for predictor in predictors}
    for clip in tqdm(held_out, desc="scoring", unit="clip"):
        if seen_people(clip).any():
            sequence = sequence_of(clip, body)
            for predictor in predictors:
                results[predictor.name].append(score_sequence(benchmark, sequence, predictor))
    (ours, scored), *others = results.items()
    if not scored:
        raise InputError(f"Expected clips with a person in view, got none in {source}; give more clips.")
    rows = tuple(MethodRow(name, source, pooled(one.means for one in of_method)) for name, of_method in others)
    return make_table(replace(benchmark, published=rows), ours, source, tuple(scored))


def _clips(config: ScoreConfig) -> tuple[Iterable[ClipSample], Iterable[ClipSample], str]:
    """Held-out clips, training clips, and where they are from."""
    if (config.data is None) == (config.synthetic_clips == 0):
        raise InputError("Expected either --data or --synthetic-clips, got both or neither; give one of them.")
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
    logging.getLogger("unish").setLevel(logging.ERROR)  # warnings that every result has, once per clip
    table = score(config)
    print(table.markdown())
    if config.out is not None:
        content = {
            "clips": len(table.sequences),
            "source": table.rows[0].source,
            "people": "true boxes, given",
            "weights": config.weights,
            "rows": {row.method: dict(row.numbers) for row in table.rows},
        }
        with atomic_path(config.out / "score.json") as temporary:
            temporary.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
        with atomic_path(config.out / "score.md") as temporary:
            temporary.write_text(table.markdown())


if __name__ == "__main__":
    with command_line_errors():
        main(tyro.cli(ScoreConfig, description=__doc__))
