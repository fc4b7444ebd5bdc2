"""Times training steps of a stage on random weights and one made-up clip, and prints seconds a step and peak memory.

    python benchmarks/stage_step.py --stage 3 --size release

Release size is 30 frames of 518×294 with one person, as the paper trains; `mini` is for a look on any machine.
"""

import resource
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import tyro

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from train.data import ClipSample
from train.loop import only_trained, to_device
from train.stage_batches import ViewConfig, stage_batch
from train.stages import Stage1, Stage1Weights, Stage2, Stage2Weights, Stage3, Stage3Weights
from unish.body import open_body
from unish.models.config import MINI, RELEASE
from unish.models.unish import UniSH


@dataclass(frozen=True)
class StepConfig:
    """What is timed."""

    stage: Literal[1, 2, 3] = 3
    size: Literal["release", "mini"] = "release"
    steps: int = 5
    """Timed steps, after one that is not."""
    device: str = "cuda" if torch.cuda.is_available() else "cpu"
    checkpoint_activations: bool = False


def made_up_clip(frames: int, width: int, height: int) -> ClipSample:
    """A wall of noise five metres away, and a standing person three metres away in a third of the picture."""
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


def measure(config: StepConfig) -> dict[str, float]:
    """Seconds a step (median) and peak memory in GiB: of the device on CUDA, else of the process."""
    torch.manual_seed(0)
    device = torch.device(config.device)
    network, frames, size = (RELEASE, 30, (518, 294)) if config.size == "release" else (MINI, 8, (168, 98))
    with device:
        model = UniSH(network)
    model.trunk_dtype, model.checkpoint_activations = torch.bfloat16, config.checkpoint_activations
    body = open_body().to(device)
    stages = {1: (Stage1, Stage1Weights), 2: (Stage2, Stage2Weights), 3: (Stage3, Stage3Weights)}
    kind, weights = stages[config.stage]
    stage = kind(model, body, weights()).to(device).train()
    optimizer = torch.optim.AdamW(only_trained(stage).values(), lr=1e-5)
    clip, rng = made_up_clip(frames, *size), np.random.default_rng(0)
    batch = stage_batch(clip, ViewConfig(), network.scene.image_long_side_px, network.scene.patch_size, rng)
    assert batch is not None
    batch = to_device(batch, device)
    seconds = []
    for _ in range(config.steps + 1):
        start = time.perf_counter()
        sum(stage(batch).values()).backward()  # type: ignore[union-attr]
        optimizer.step()
        optimizer.zero_grad()
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    if device.type == "cuda":
        peak = torch.cuda.max_memory_allocated() / 2**30
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"seconds_per_step": float(np.median(seconds[1:])), "peak_gib": peak}


if __name__ == "__main__":
    chosen = tyro.cli(StepConfig, description=__doc__)
    numbers = measure(chosen)
    print(f"stage {chosen.stage}, {chosen.size}, {chosen.device}: {numbers['seconds_per_step']:.2f} s a step, ", end="")
    print(f"peak {numbers['peak_gib']:.1f} GiB")
