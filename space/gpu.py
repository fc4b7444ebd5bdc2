"""The networks, and the two functions that get a GPU: on ZeroGPU for as long as they ask for, elsewhere for good."""

try:
    import spaces  # on ZeroGPU it has to come before anything that touches CUDA; elsewhere its decorator does nothing
except ImportError:
    spaces = None

import functools
import os
from typing import TYPE_CHECKING, Any

import gradio as gr

import unish
from space.limits import gpu_seconds, preview_gpu_seconds
from space.tasks import task_progress
from unish.body import BodyModel, load_body
from unish.fusion.structure_from_motion import MeasuredCamera
from unish.people.detection import DetectedPeople, detect_people
from unish.pipeline import ClipPriors, reconstruct_tracked
from unish.structures import Clip, PersonTrack, Reconstruction
from unish.utils.progress import part_of

if TYPE_CHECKING:
    from unish.models.unish import UniSH

ON_ZEROGPU = os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true")


@functools.lru_cache(maxsize=2)
def networks(weights: str) -> "tuple[UniSH, BodyModel]":
    """The network and the body model, loaded once and kept. Raises as `unish.load` does."""
    return unish.load(weights), load_body(None)


def on_gpu(duration: Any) -> Any:
    """On ZeroGPU the function gets a GPU for `duration` of its arguments, in seconds; elsewhere nothing changes."""
    return (lambda function: function) if spaces is None else spaces.GPU(duration=duration)


def _detection_seconds(clip: Clip, task: str) -> int:
    return preview_gpu_seconds(clip)


def _reconstruction_seconds(clip: Clip, tracks: tuple, *rest: object) -> int:
    return gpu_seconds(clip, len(tracks))


@on_gpu(_detection_seconds)
def detect_on_gpu(clip: Clip, task: str) -> DetectedPeople:
    """Who is in a clip; `task` is the id of the task that is told of the progress."""
    return detect_people(clip, progress=part_of(task_progress(task, gr.Progress()), 0.15, 0.3))


@on_gpu(_reconstruction_seconds)
def reconstruct_on_gpu(
    clip: Clip,
    tracks: tuple[PersonTrack, ...],
    finder: str,
    weights: str,
    priors: ClipPriors,
    sparse_map: MeasuredCamera | None,
    task: str,
) -> Reconstruction:
    """All that needs a GPU. NumPy goes in and comes out: on ZeroGPU it runs in another process."""
    model, body = networks(weights)
    progress = task_progress(task, gr.Progress())
    return reconstruct_tracked(
        clip, tracks, model, body, finder=finder, priors=priors, sparse_map=sparse_map, progress=progress
    )
