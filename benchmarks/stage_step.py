"""Times training steps of the stages on random weights and one made-up clip: seconds per step and peak memory.

    python benchmarks/stage_step.py                            # all stages at release size, on a GPU
    python benchmarks/stage_step.py --size mini --steps 2      # a look, on any machine
    python benchmarks/stage_step.py --count                    # memory counted instead of measured, anywhere

Release size is 30 frames of 518×294 with one person, as the paper trains; trunks in bfloat16. Each line is a process of
its own. A step is what `train.engine.loop` does with a batch that is there: forward, backward, clipped gradient, AdamW,
averaged weights. `benchmarks/data_loading.py` says how fast batches come.
"""

import itertools
import multiprocessing
import resource
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import tyro
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.counting import counted_bytes
from benchmarks.forward import hardware
from train.data.schema import ClipSample
from train.data.stage_batches import ViewConfig, stage_batch
from train.engine.ema import ExponentialMovingAverage
from train.engine.loop import freeze_untrained
from train.objectives.stages import Stage, Stage1, Stage1Weights, Stage2, Stage2Weights, Stage3, Stage3Weights
from unish.body import BodyModel, open_body
from unish.models.config import CROP_SIZE_PX, MINI, RELEASE
from unish.models.unish import UniSH

STAGES = {1: (Stage1, Stage1Weights), 2: (Stage2, Stage2Weights), 3: (Stage3, Stage3Weights)}
SIZES = {"release": (RELEASE, 30, (518, 294)), "mini": (MINI, 8, (168, 98))}
"""Network, frames, width and height."""
LEFT_OUT = """Counted, not measured, without a device: every tensor alive at the worst moment of a step's forward and
backward pass through the network (a plain sum in place of the stage's loss), with gradients, AdamW's two states and the
averaged weights of what learns, or during AdamW's step, whose intermediate is one more copy of what learns. Left out:
the losses and their bodies (0.14 GB or less, by a small network on images of the same size), workspaces of kernels,
fragmentation, the device's own context. Attention is taken to be fused."""


@dataclass(frozen=True)
class StepConfig:
    """What is timed."""

    stages: tuple[Literal[1, 2, 3], ...] = (1, 2, 3)
    checkpointing: tuple[bool, ...] = (False, True)
    """Whether blocks are recomputed in the backward pass."""
    size: Literal["release", "mini"] = "release"
    steps: int = 5
    """Timed steps, the median of which counts, after one that is not timed."""
    device: str = "cuda" if torch.cuda.is_available() else "cpu"
    count: bool = False
    """Count the memory instead."""


def made_up_clip(frames: int, width: int, height: int) -> ClipSample:
    """A wall of noise five metres away, and a standing person three metres away in a third of the image."""
    rng = np.random.default_rng(0)
    x0, x1 = width // 3, 2 * width // 3
    depth = np.full((frames, height, width), 5.0, np.float32)
    mask = np.zeros((frames, height, width), np.uint8)
    mask[:, height // 8 : -height // 8, x0:x1] = 1
    depth[mask > 0] = 3.0 + 0.1 * rng.standard_normal(int((mask > 0).sum()), np.float32)
    intrinsics = np.array([[width, 0, width / 2], [0, width, height / 2], [0, 0, 1]], np.float32)
    box = np.array([x0, height // 8, x1, height - height // 8], np.float32)
    rotations = np.tile(np.eye(3, dtype=np.float32), (1, frames, 24, 1, 1))
    rotations[:, :, 0] = np.diag([1, -1, -1])
    return ClipSample(
        clip_id="made up",
        fps=6.0,
        images=rng.integers(0, 255, (frames, height, width, 3), dtype=np.uint8),
        depth_m=depth,
        person_mask=mask,
        intrinsics=np.tile(intrinsics, (frames, 1, 1)),
        world_from_camera=np.tile(np.eye(4, dtype=np.float32), (frames, 1, 1)),
        body_rotations=rotations,
        translation_camera=np.tile(np.array([0, 0.3, 3.0], np.float32), (1, frames, 1)),
        betas=np.zeros((1, 10), np.float32),
        boxes_px=np.tile(box, (1, frames, 1)),
        visibility=np.ones((1, frames), np.float32),
        joints_px=rng.uniform(x0, x1, (1, frames, 24, 2)).astype(np.float32),
    )


def new_stage(number: int, size: str, checkpointing: bool, body: BodyModel | nn.Module) -> Stage:
    """A stage over a network of random weights, on the current device."""
    model = UniSH(SIZES[size][0])
    model.trunk_dtype, model.checkpoint_activations = torch.bfloat16, checkpointing
    kind, weights = STAGES[number]
    return kind(model, body, weights()).train()  # type: ignore[arg-type]


def measured(number: int, checkpointing: bool, config: StepConfig) -> tuple[float, float] | None:
    """Seconds per step and peak GB (on a CPU that of the whole process); None where the device's memory does not do."""
    torch.manual_seed(0)
    try:
        seconds = _steps(number, checkpointing, config)
    except torch.OutOfMemoryError:
        return None
    if config.device.startswith("cuda"):
        return seconds, torch.cuda.max_memory_allocated(config.device) / 1e9
    return seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def _steps(number: int, checkpointing: bool, config: StepConfig) -> float:
    device, (network, frames, (width, height)) = torch.device(config.device), SIZES[config.size]
    with device:
        stage = new_stage(number, config.size, checkpointing, open_body().to(device))
    trained = freeze_untrained(stage)
    optimizer, ema = torch.optim.AdamW(trained.values(), lr=1e-5), ExponentialMovingAverage(trained, 0.998)
    clip, rng = made_up_clip(frames, width, height), np.random.default_rng(0)
    batch = stage_batch(clip, ViewConfig(), network.scene.image_long_side_px, network.scene.patch_size, rng)
    assert batch is not None
    batch = batch.to(device)
    seconds = []
    for step in range(config.steps + 1):
        began = time.perf_counter()
        sum(stage(batch).values()).backward()  # type: ignore[union-attr]
        nn.utils.clip_grad_norm_(trained.values(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        ema.update(step)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - began)
    return float(np.median(seconds[1:]))


@dataclass(frozen=True)
class Count:
    """GB of a step."""

    weights: float
    trained: float
    peak: float


def counted(number: int, checkpointing: bool, size: str) -> Count:
    """Memory of a step, see `LEFT_OUT`."""
    network, frames, (width, height) = SIZES[size]
    patch = network.scene.patch_size
    with torch.device("meta"):
        stage = new_stage(number, size, checkpointing, nn.Identity())
    with counted_bytes() as live:
        stage.to_empty(device="cpu")
        trained = sum(parameter.nbytes for parameter in freeze_untrained(stage).values())
        weights, live.most = live.now, live.now
        images = torch.zeros(1, frames, 3, height // patch * patch, width // patch * patch)
        _sum_of_outputs(stage, images, torch.zeros(1, 1, frames, 3, CROP_SIZE_PX, CROP_SIZE_PX)).backward()
        peak = 3 * trained + max(live.most, live.now + trained)
    return Count(weights / 1e9, trained / 1e9, peak / 1e9)


def _sum_of_outputs(stage: Stage, images: Tensor, crops: Tensor) -> Tensor:
    """What a stage's loss reads of the network, computed as the stage computes it."""
    model = stage.model
    if isinstance(stage, Stage1):
        with torch.no_grad():
            hidden = model.scene_branch.encode(images)
            original = model.scene_branch.decode(hidden, images, point_head=stage.original)
        return (model.scene_branch.decode(hidden, images).points_camera - original.points_camera).sum()
    with torch.no_grad():
        scene = model.scene(images)
    people = model.people(scene, crops, images.new_zeros(*crops.shape[:3], 3))
    return people.scale.sum() + people.translation_camera.sum() + people.body_rotations.sum() + people.betas.sum()


def main(config: StepConfig) -> None:
    """Print the table as Markdown."""
    if config.count:
        print(f"{config.size}, torch {torch.__version__}, {time.strftime('%Y-%m-%d')}\n\n{LEFT_OUT}\n")
        print("| stage | checkpointing | weights GB | of them learn GB | peak GB, counted |\n" + "|---" * 5 + "|")
    else:
        print(f"{config.size}, {_alone(hardware, config.device)}\n")
        print("| stage | checkpointing | s a step | peak GB |\n" + "|---" * 4 + "|")
    for number, checkpointing in itertools.product(config.stages, config.checkpointing):
        start = f"| {number} | {'yes' if checkpointing else 'no'} |"
        if config.count:
            found = counted(number, checkpointing, config.size)
            print(f"{start} {found.weights:.2f} | {found.trained:.2f} | {found.peak:.2f} |", flush=True)
            continue
        run = _alone(measured, number, checkpointing, config)
        print(f"{start} out of memory | – |" if run is None else f"{start} {run[0]:.2f} | {run[1]:.2f} |", flush=True)


def _alone(work: Callable, *arguments: Any) -> Any:
    """The result of a process of its own, which leaves no memory behind."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as one:
        return one.submit(work, *arguments).result()


if __name__ == "__main__":
    main(tyro.cli(StepConfig, description=__doc__))
