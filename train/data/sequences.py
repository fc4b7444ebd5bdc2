"""Clips as benchmark sequences: the pipeline runs on them and is scored as on any other benchmark."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool

from train.data.schema import ClipSample
from unish.body import BodyModel
from unish.evaluation.benchmark import Benchmark, BenchmarkSequence
from unish.evaluation.datasets import synthetic
from unish.evaluation.predict import reconstruct_sequence
from unish.evaluation.predictions import PersonPrediction, SequencePrediction, move
from unish.structures import Reconstruction

if TYPE_CHECKING:  # as in unish.evaluation.predict: tests put an oracle in the network's place
    from unish.models.unish import UniSH

PROTOCOL = Benchmark("clips", "Held-out clips", synthetic.METRICS, lambda root: (), window=30)
"""Every frame, in windows as long as those of training; people by their true boxes."""


def seen_people(clip: ClipSample) -> Bool[np.ndarray, "people frames"]:
    """Where enough of a person is visible to be scored."""
    return synthetic.scored_frames(clip.visibility, clip.boxes_px)


def sequence_of(clip: ClipSample, body: BodyModel) -> BenchmarkSequence:
    """A clip as a sequence of a benchmark. Joints are NaN where bodies or cameras have no labels."""
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


def reconstruct_with_boxes(clip: ClipSample, model: "UniSH", body: BodyModel, **options: Any) -> Reconstruction:
    """A clip through the pipeline, with people's true boxes; options as `reconstruct_tracked` takes them."""
    return reconstruct_sequence(sequence_of(clip, body), PROTOCOL, model, body, **options)


def true_prediction(clip: ClipSample, body: BodyModel) -> SequencePrediction:
    """The labels of a clip as a prediction that is right."""
    people = synthetic.true_people({name: getattr(clip, name) for name in synthetic.LABEL_NAMES}, body)
    cameras = clip.world_from_camera.astype(np.float64)
    return SequencePrediction(
        frames=np.arange(clip.frames),
        depth_m=lambda frame: clip.depth_m[frame],
        world_from_camera=cameras,
        people={
            person.id: PersonPrediction(person.joints_world, move(np.linalg.inv(cameras), person.joints_world))
            for person in people
        },
    )
