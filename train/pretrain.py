"""Trains a small UniSH from nothing on the synthetic world: the stand-in for the priors that the release starts from.

    accelerate launch train/pretrain.py --data DIR --out DIR --minutes 150

Scene and human branch do not need each other, so they can be trained at the same time on two machines (or cores):

    accelerate launch train/pretrain.py --data DIR --out runs/scene --parts scene --minutes 50
    accelerate launch train/pretrain.py --data DIR --out runs/large --parts scene-large --minutes 18 \
        --scene-from runs/scene
    accelerate launch train/pretrain.py --data DIR --out runs/human --parts human --minutes 68
    accelerate launch train/pretrain.py --data DIR --out runs/mini --parts align --minutes 12 \
        --scene-from runs/large --human-from runs/human
"""

import dataclasses
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import cv2
import torch
import tyro

if not __package__:  # started as a script: the repository's root is not on the path yet
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from safetensors.torch import load_file

from train.cli import command_line_errors
from train.data.clip_cache import ClipCache
from train.data.pretrain_batches import LARGE_VIEWS, CropSettings, ViewSettings
from train.data.real_people import real_people
from train.engine.loop import accelerator_for, fit
from train.engine.run_logger import ValidationReport
from train.engine.schedule import LoopConfig
from train.objectives.align_objective import AlignSettings
from train.objectives.pretrain_objectives import (
    HumanWeights,
    PretrainBatches,
    SceneWeights,
    held_out_terms,
    make_objective,
)
from unish.body import open_body
from unish.errors import CheckpointError, InputError
from unish.models.config import MINI, UniSHConfig
from unish.models.hub import save
from unish.models.unish import UniSH

PARTS = {"scene": "scene_branch.", "scene-large": "scene_branch.", "human": "human_branch.", "align": "align_net."}
"""The parts in the order in which they are trained, and the prefix of each one's weights. The scene branch learns most
from many small images, and then how to use large ones."""

TIME_SHARES = {"scene": 0.33, "scene-large": 0.12, "human": 0.45, "align": 0.1}
LEARNING_RATES = {"scene": 1e-3, "scene-large": 4e-4, "human": 1e-3, "align": 1e-3}


@dataclass(frozen=True)
class PretrainConfig:
    """Train the mini network from scratch on shards of synthetic clips."""

    data: str
    """Folder with train/*.parquet and validation/*.parquet (python -m train.synthetic), or a Hub dataset."""
    out: Path
    """Run folder: run.json, metrics, state to resume from, and the weights (model.safetensors, config.json)."""
    real: str | None = None
    """Real clips with a teacher's relative depth (train.data.prepare.label_depth), for the scene branch."""
    real_people: str | None = None
    """Real images with labelled keypoints (train.data.prepare.label_images), for the human branch and AlignNet."""
    parts: Literal["all", "scene", "scene-large", "human", "align"] = "all"
    minutes: float | None = None
    """Time for everything that is trained; "all" gives the scene and human branch 45 % each, AlignNet the rest."""
    steps: int | None = None
    """Instead of minutes: steps of each part."""
    scene_from: Path | None = None
    """Run folder whose scene branch to start from."""
    human_from: Path | None = None
    """Run folder whose human branch to start from."""
    align_from: Path | None = None
    """Run folder whose AlignNet to start from."""
    resume: bool = False
    """Go on from the state in the run folder."""
    precision: Literal["bf16", "fp32"] = "bf16"
    """Of the trunks; heads and losses are float32 always."""
    memory_gib: float = 4.0
    """Most memory for decoded clips."""
    long_side_px: int = 336
    """Clips are shrunk to this: 252 is enough for the scene branch at 168, people profit from more."""
    wait_for_clips: int = 1
    """Read at least so many clips before the first step; the rest while training."""
    seed: int = 0
    scene: SceneWeights = field(default_factory=SceneWeights)
    views: ViewSettings = field(default_factory=ViewSettings)
    large_views: ViewSettings = LARGE_VIEWS
    human: HumanWeights = field(default_factory=HumanWeights)
    crops: CropSettings = field(default_factory=CropSettings)
    align: AlignSettings = field(default_factory=AlignSettings)
    loop: LoopConfig = field(default_factory=LoopConfig)
    validation_batches: int = 6
    model: tyro.conf.Suppress[UniSHConfig] = MINI


def pretrain(config: PretrainConfig) -> UniSH:
    """Run it; returns the network with everything that was trained. Raises InputError on a budget or data at fault."""
    if (config.minutes is None) == (config.steps is None):
        raise InputError("Expected a budget, received none or two. Give either --minutes or --steps.")
    torch.manual_seed(config.seed)
    model = UniSH(config.model)
    starts = {"scene": config.scene_from, "human": config.human_from, "align": config.align_from}
    for part, folder in starts.items():
        if folder is not None:
            load_part(model, folder, part)
    model.trunk_dtype = torch.bfloat16 if config.precision == "bf16" else torch.float32
    config.out.mkdir(parents=True, exist_ok=True)
    names = list(PARTS) if config.parts == "all" else [config.parts]
    clips = ClipCache(config.data, "train", config.memory_gib, names != ["human"], config.long_side_px)
    held_out = ClipCache(config.data, "validation", 0.5, names != ["human"], config.long_side_px)
    # A budget in steps promises equal numbers for equal seeds, so every clip is there from the first step.
    clips.refresh(seconds=0 if config.minutes else float("inf"), at_least=config.wait_for_clips)
    held_out.refresh()
    real = None
    if config.real is not None and any(name.startswith("scene") for name in names):
        real = ClipCache(config.real, "train", config.memory_gib, True, config.long_side_px)
        real.refresh()
    people = real_people(config.real_people, "train") if config.real_people is not None else []
    body = open_body()
    for name in names:
        objective = make_objective(
            name,
            model,
            body,
            scene=config.scene,
            views=config.views if name == "scene" else config.large_views,
            human=config.human,
            crops=config.crops,
            align=config.align,
            seed=config.seed,
            real=real,
            people=people,
        )
        rate = config.loop.learning_rate or LEARNING_RATES[name]
        loop = dataclasses.replace(
            config.loop, seed=config.seed, learning_rate=rate, **_budget(config, name, len(names))
        )
        folder = config.out if len(names) == 1 else config.out / name
        accelerator = accelerator_for(loop, folder)
        fit(
            accelerator,
            objective,
            PretrainBatches(objective, clips, config.seed, accelerator.process_index, accelerator.num_processes),
            folder,
            loop,
            validate=lambda objective=objective: ValidationReport(
                held_out_terms(objective, held_out, config.validation_batches)
            ),
            publish=lambda _: save(model, config.out),
            resume=config.resume,
            settings=config,
        )
    return model.eval()


def load_part(model: UniSH, folder: Path, part: str) -> None:
    """Copy one part's weights from a run folder into the model. Raises CheckpointError where they do not fit."""
    prefix = PARTS[part]
    tensors = load_file(folder / "model.safetensors")
    chosen = {name.removeprefix(prefix): value.float() for name, value in tensors.items() if name.startswith(prefix)}
    try:
        getattr(model, prefix.rstrip(".")).load_state_dict(chosen)
    except RuntimeError as error:
        raise CheckpointError(
            f"{folder} should hold the {part} branch of a network of the same sizes, but it does not: {error} "
            "Train that part again with this configuration."
        ) from error


def _budget(config: PretrainConfig, name: str, parts: int) -> dict[str, float | int | None]:
    if config.steps is not None:
        return {"steps": config.steps, "minutes": None}
    share = TIME_SHARES[name] if parts > 1 else 1.0
    return {"steps": None, "minutes": share * float(config.minutes or 0.0)}


if __name__ == "__main__":
    cv2.setNumThreads(1)  # crops are small: threads would only get in the way of the network's
    with command_line_errors():
        pretrain(tyro.cli(PretrainConfig, description=__doc__))
