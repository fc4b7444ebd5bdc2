"""The paper's claim about stage 1, with real footage: real against synthetic clips, scored on held-out ones of both.

    python -m train.real_ablation --work runs/real --videos VIDEOS --held-out-videos OTHERS --teacher teacher.onnx

Real clips have no depth. They are labelled by any network for relative depth (`--teacher`) and by the bundled person
detector, and held-out videos are scored against the same teacher: what is measured there is how much of the teacher's
surfaces the mini learns. Synthetic clips have the truth. Runs that are finished are kept.
"""

import itertools
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro
from tqdm import tqdm

from train.ablation import STAGE_OPTIONS
from train.cli import command_line_errors
from train.data.batches import StageBatch
from train.data.schema import ClipSample, iterate_clips
from train.data.stage_batches import ViewConfig, stage_batch
from train.engine.stage_commands import FRAMES, mean_and_spread, run_command, stage_command
from train.objectives.losses import PatchSettings, local_affine_loss
from train.objectives.pretrain_losses import relative_depth_losses
from unish.errors import InputError
from unish.geometry.camera import unproject_depth
from unish.models.hub import load
from unish.models.unish import UniSH
from unish.utils.atomic_write import atomic_path

ROWS = {
    "start": "start model",
    "synthetic": "stage 1 on synthetic clips",
    "both": "stage 1 on both",
    "real": "stage 1 on real clips",
}
"""Name of a row → its title."""
COLUMNS = {
    "real.relative_depth": ("real: relative depth", 1.0, 3),
    "real.edges": ("real: depth edges", 1.0, 3),
    "real.surfaces": ("real: surfaces of people %", 100.0, 2),
    "synthetic.relative_depth": ("synthetic: relative depth", 1.0, 3),
    "synthetic.edges": ("synthetic: depth edges", 1.0, 3),
    "synthetic.surfaces": ("synthetic: surfaces of people %", 100.0, 2),
    "synthetic.abs_rel": ("synthetic: Abs Rel", 1.0, 3),
}
"""Name of a metric → heading, factor, digits."""
PATCHES = PatchSettings(radius=0.3)
"""Surfaces are scored in patches of the size that the stage learns from."""


@dataclass(frozen=True)
class RealAblationConfig:
    """Which clips stage 1 learns from and is scored on, and for how long it learns."""

    work: Path
    """Folder for the data (made if it is not there) and the runs."""
    videos: Path
    """Folder of videos to learn from."""
    held_out_videos: Path
    """Folder of other videos, to be scored on."""
    teacher: str
    """Of relative depth: an ONNX file, or a transformers model (see `train.data.prepare.label_videos`)."""
    start: str = "mini"
    """Weights of the start model."""
    seeds: tuple[int, ...] = (0, 1)
    clips: int = 160
    """Synthetic clips to learn from."""
    held_out_clips: int = 30
    """Clips of each kind that are scored, at most."""
    steps: int = 300
    rate: float = 7e-4
    """Learning rate, as in `train.ablation`."""
    workers: int = 2
    """Runs at a time, one thread each."""


def data_commands(config: RealAblationConfig) -> list[list[str]]:
    """Commands that render the synthetic clips and label the real ones."""
    render = [sys.executable, "-m", "train.synthetic", "--world", "studio", "--long-side-px", "252"]
    render += ["--workers", str(config.workers), "--out", str(config.work / "synthetic")]
    label = [sys.executable, "-m", "train.data.prepare.label_videos", "--depth", f"relative:{config.teacher}"]
    label += ["--out", str(config.work / "real"), "--weights", config.start, "--frames", str(FRAMES)]
    label += ["--long-side-px", "336", "--people-max", "6", "--most-truncated-share", "1"]
    return [
        [*render, "--clips", str(config.clips)],
        [*render, "--clips", str(config.held_out_clips), "--split", "validation"],
        [*label, "--videos", str(config.videos)],
        [*label, "--videos", str(config.held_out_videos), "--split", "validation"],
    ]


def command(config: RealAblationConfig, row: str, seed: int) -> list[str]:
    """The command of a row that learns."""
    kinds = ("synthetic", "real") if row == "both" else (row,)
    data, out = [str(config.work / kind) for kind in kinds], config.work / f"seed{seed}" / row
    return stage_command(1, data, config.start, out, seed, config.steps, config.rate, *STAGE_OPTIONS[1])


def held_out_batches(source: Path, count: int, model: UniSH) -> list[StageBatch]:
    """The first `count` held-out clips with a person in view, as stage 1 sees them. Raises InputError without any."""
    scene = model.config.scene

    def batch_of(clip: ClipSample) -> StageBatch | None:
        rng = np.random.default_rng(0)
        return stage_batch(clip, ViewConfig(frames=FRAMES), scene.image_long_side_px, scene.patch_size, rng)

    batches = (batch_of(clip) for clip in iterate_clips(str(source), "validation"))
    kept = list(itertools.islice((batch for batch in batches if batch is not None), count))
    if not kept:
        raise InputError(f"Expected held-out clips with people in {source}, found none; give other videos.")
    return kept


@torch.no_grad()
def surface_scores(model: UniSH, batches: list[StageBatch], is_metric: bool) -> dict[str, float]:
    """Means over clips of one kind.

    `relative_depth` and `edges`: errors of standardised inverse depth and of its differences between neighbours
    (`relative_depth_losses`); `surfaces`: of people's depth in patches with a scale and a shift of their own, as a
    share (`local_affine_loss`); `abs_rel`, where labels are metric: |s·z − z*| / z* with one scale per clip.
    """
    scores: list[dict[str, float]] = []
    for batch in batches:
        true_m = batch.depth_m[0]
        depth = model.scene_branch(batch.images).points_camera[0, ..., 2].float()
        known = true_m > 0
        error, edges = relative_depth_losses(depth, torch.where(known, 1 / true_m.clamp(min=1e-3), 0.0))
        surfaces = local_affine_loss(
            depth,
            torch.ones_like(depth),
            true_m,
            unproject_depth(true_m, batch.intrinsics[0]),
            batch.person_mask[0] > 0,
            PATCHES,
            torch.Generator().manual_seed(0),
        )
        clip = {"relative_depth": float(error), "edges": float(edges), "surfaces": float(surfaces)}
        if is_metric:
            scale = (true_m[known] / depth[known]).median()
            clip["abs_rel"] = float(((scale * depth - true_m).abs() / true_m)[known].mean())
        scores.append(clip)
    return {name: float(np.mean([clip[name] for clip in scores])) for name in scores[0]}


def score_weights(config: RealAblationConfig, weights: str) -> dict[str, float]:
    """Scores of weights on the held-out clips of both kinds, named `KIND.METRIC`."""
    model = load(weights, device="cpu", dtype=torch.float32).eval()
    numbers = {}
    for kind in ("real", "synthetic"):
        batches = held_out_batches(config.work / kind, config.held_out_clips, model)
        scores = surface_scores(model, batches, is_metric=kind == "synthetic")
        numbers |= {f"{kind}.{name}": value for name, value in scores.items()}
    return numbers


def run_row(config: RealAblationConfig, row: str, seed: int) -> dict[str, float]:
    """Train and score one row; returns its numbers."""
    folder = config.work / f"seed{seed}" / row
    scored = folder / "surfaces.json"
    if not scored.is_file():
        if row != "start":
            run_command(command(config, row, seed), folder / "log.txt")
        folder.mkdir(parents=True, exist_ok=True)
        numbers = score_weights(config, config.start if row == "start" else str(folder))
        with atomic_path(scored) as temporary:
            temporary.write_text(json.dumps(numbers, indent=2))
    return json.loads(scored.read_text())


def run_ablation(config: RealAblationConfig) -> str:
    """Run what is missing; returns the table and writes it to `work/table.md`."""
    for index, line in enumerate(data_commands(config)):
        run_command(line, config.work / f"data{index}.txt")
    jobs = [("start", config.seeds[0]), *itertools.product([row for row in ROWS if row != "start"], config.seeds)]
    with ThreadPoolExecutor(config.workers) as pool:
        results = list(tqdm(pool.map(lambda job: run_row(config, *job), jobs), total=len(jobs), unit="run"))
    text = table(dict(zip(jobs, results, strict=True)))
    with atomic_path(config.work / "table.md") as temporary:
        temporary.write_text(text)
    return text


def table(numbers: dict[tuple[str, int], dict[str, float]]) -> str:
    """Numbers of (row, seed) as a table in Markdown: mean over seeds, and their standard deviation."""
    lines = ["| | " + " | ".join(heading for heading, *_ in COLUMNS.values()) + " |", "|---" * (len(COLUMNS) + 1) + "|"]
    for row, title in ROWS.items():
        of_seeds = [values for (name, _), values in numbers.items() if name == row]
        cells = [
            mean_and_spread(factor * np.array([values[column] for values in of_seeds]), digits)
            for column, (_, factor, digits) in COLUMNS.items()
        ]
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    with command_line_errors():
        print(run_ablation(tyro.cli(RealAblationConfig, description=__doc__)))
