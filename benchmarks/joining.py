"""Accuracy of three ways to reconstruct a long clip, on clips with ground truth: one pass, windows aligned to one
world, and independent windows that are only concatenated.

    python benchmarks/joining.py                     # all networks, the tables of docs/long_clips.md
    python benchmarks/joining.py --networks oracle --clips 2

`oracle` is the ground truth, with the unit and the world of each pass its own, noise and 5 % outliers; `drifting
oracle` also adds a scale drift of up to 4 % within each pass; `mini` are the bundled weights. People are given by their
ground-truth boxes.
"""

import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from train.data.augment import take_frames
from train.data.schema import ClipSample
from train.data.sequences import reconstruct_with_boxes, seen_people, true_prediction
from train.synthetic.clips import generate_clip
from train.synthetic.oracle import Oracle, OracleFaults
from unish.body import BodyModel, open_body
from unish.evaluation import metrics
from unish.geometry.alignment import umeyama
from unish.models.hub import load

FIRST_SEED = 920_000_000
LEAST_TRAJECTORY_M = 2.0
"""RTE, which is relative to the length of the trajectory, leaves out people who move less."""
COLUMNS = {
    "camera_ate_cm": "camera ATE cm",
    "wa_mpjpe_mm": "WA-MPJPE mm",
    "rte_percent": "RTE %",
    "seam_cm": "jump at seams cm",
    "scale_percent": "scale spread %",
}


@dataclass(frozen=True)
class JoiningConfig:
    """Networks and clips to measure."""

    networks: tuple[str, ...] = ("oracle", "drifting oracle", "mini")
    clips: int = 6
    frames: int = 120
    window: int = 30


@dataclass(frozen=True)
class ClipEstimate:
    """Cameras and joints of a clip by one of the methods, world frame, metres."""

    world_from_camera: np.ndarray
    joints: dict[int, np.ndarray]
    """Person id → (frames, 24, 3)."""
    metres_per_unit: np.ndarray
    """Scale of each pass: of an oracle relative to the true one, of the mini absolute."""


def one_pass(sample: ClipSample, model: torch.nn.Module, body: BodyModel, config: JoiningConfig) -> ClipEstimate:
    """The whole clip in one forward pass."""
    return _estimate(sample, model, body, config.frames)


def aligned(sample: ClipSample, model: torch.nn.Module, body: BodyModel, config: JoiningConfig) -> ClipEstimate:
    """Overlapping windows, aligned to one world."""
    return _estimate(sample, model, body, config.window)


def concatenated(sample: ClipSample, model: torch.nn.Module, body: BodyModel, config: JoiningConfig) -> ClipEstimate:
    """Windows without overlap, concatenated, each with a scale and a world of its own (the released inference)."""
    people = np.flatnonzero(seen_people(sample).any(1)) + 1
    parts = []
    for start in range(0, sample.frames, config.window):
        frames = np.arange(start, min(start + config.window, sample.frames))
        part = take_frames(sample, frames)
        if not seen_people(part).any():  # without people there is no scale: the camera stays where it was
            still = np.tile(np.eye(4), (len(frames), 1, 1))
            parts.append(ClipEstimate(still, {}, np.ones(0)))
        else:
            parts.append(_estimate(part, model, body, config.window))
    # Every window's world is its own first camera.
    firsts = [np.linalg.inv(part.world_from_camera[0]) for part in parts]
    cameras = np.concatenate([first @ part.world_from_camera for first, part in zip(firsts, parts, strict=True)])
    joints = {}
    for person in people:
        unseen = [np.full((len(part.world_from_camera), 24, 3), np.nan) for part in parts]
        each = zip(firsts, parts, unseen, strict=True)
        joints[int(person)] = np.concatenate([_moved(first, part.joints.get(person, nan)) for first, part, nan in each])
    return ClipEstimate(cameras, joints, np.concatenate([part.metres_per_unit for part in parts]))


METHODS: dict[str, Callable[..., ClipEstimate]] = {
    "one pass": one_pass,
    "aligned windows": aligned,
    "concatenated windows": concatenated,
}


def _estimate(sample: ClipSample, model: torch.nn.Module, body: BodyModel, window: int) -> ClipEstimate:
    before = len(model.units) if isinstance(model, Oracle) else 0
    scene = reconstruct_with_boxes(sample, model, body, window=window)
    joints = {person.id: person.joints_world.astype(np.float64) for person in scene.people}
    units = np.array([w.metres_per_unit for w in scene.windows])
    if isinstance(model, Oracle):
        units = units / list(model.units.values())[before : before + len(units)]
    return ClipEstimate(scene.cameras.world_from_camera.astype(np.float64), joints, units)


def _moved(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    return points @ matrix[:3, :3].T + matrix[:3, 3]


def measure(estimate: ClipEstimate, sample: ClipSample, body: BodyModel, seams: list[range]) -> dict[str, np.ndarray]:
    """The values of each column: one per clip for cameras and scale, per frame for joints, per seam for jumps."""
    true = true_prediction(sample, body)
    cameras = true.world_from_camera
    ate = metrics.camera_ate(estimate.world_from_camera, cameras)
    spread = np.log(estimate.metres_per_unit)
    rows: dict[str, list] = {"camera_ate_cm": [np.sqrt((ate**2).mean())], "scale_percent": [100 * np.std(spread)]}
    for person, joints in estimate.joints.items():
        seen = seen_people(sample)[person - 1] & np.isfinite(joints).all((1, 2))
        true_joints = true.people[person].joints_world
        chunks = [slice(i, i + metrics.CHUNK_FRAMES) for i in range(0, seen.sum(), metrics.CHUNK_FRAMES)]
        for chunk in chunks:
            rows.setdefault("wa_mpjpe_mm", []).extend(metrics.wa_mpjpe(joints[seen][chunk], true_joints[seen][chunk]))
        if np.linalg.norm(np.diff(true_joints[seen, 0], axis=0), axis=-1).sum() > LEAST_TRAJECTORY_M:
            rows.setdefault("rte_percent", []).extend(
                metrics.root_translation_error(joints[seen, 0], true_joints[seen, 0])
            )
        rows.setdefault("seam_cm", []).extend(_jumps(joints, true_joints, seen, seams))
    return {name: np.asarray(values, np.float64) for name, values in rows.items()}


def _jumps(joints: np.ndarray, true_joints: np.ndarray, seen: np.ndarray, seams: list[range]) -> list[float]:
    """The largest step of the joints beyond the true one at each seam, centimetres, after alignment to the truth."""
    points = (torch.from_numpy(np.ascontiguousarray(x[seen].reshape(-1, 3))) for x in (joints, true_joints))
    scale, rotation, _ = (x.numpy() for x in umeyama(*points))
    steps = scale * np.diff(joints, axis=0) @ rotation.T - np.diff(true_joints, axis=0)
    size = np.where(seen[1:] & seen[:-1], 100 * np.linalg.norm(steps, axis=-1).mean(axis=-1), np.nan)
    parts = [size[seam.start : seam.stop] for seam in seams]
    return [float(np.nanmax(part)) for part in parts if np.isfinite(part).any()]


def network(name: str, sample: ClipSample, mini: torch.nn.Module) -> torch.nn.Module:
    """The network of a row of the table."""
    if name == "mini":
        return mini
    return Oracle(sample, OracleFaults(drift=0.04 if name.startswith("drifting") else 0.0, vote=0.05))


def run(config: JoiningConfig) -> dict[str, dict[str, dict[str, float]]]:
    """Network → method → column → mean over all values."""
    body, mini = open_body(), load("mini")
    series: dict[tuple[str, str], list] = {}
    for index in tqdm(range(config.clips), unit="clip"):
        sample = generate_clip(FIRST_SEED + index, frames=config.frames, people_count=2, long_side_px=168)
        # Steps from the last frame of a concatenated window to the first of the next.
        seams = [range(start - 1, start) for start in range(config.window, config.frames, config.window)]
        for name in config.networks:
            for method, reconstruct in METHODS.items():
                estimate = reconstruct(sample, network(name, sample, mini), body, config)
                series.setdefault((name, method), []).append(measure(estimate, sample, body, seams))
    table: dict[str, dict[str, dict[str, float]]] = {}
    for (name, method), rows in series.items():
        table.setdefault(name, {})[method] = {
            column: float(np.nanmean(np.concatenate([row[column] for row in rows if column in row])))
            for column in COLUMNS
        }
    return table


def markdown(table: dict[str, dict[str, dict[str, float]]]) -> str:
    """The results as one Markdown table."""
    lines = [f"| network | method | {' | '.join(COLUMNS.values())} |", "|---" * (len(COLUMNS) + 2) + "|"]
    for name, methods in table.items():
        for method, row in methods.items():
            lines.append(f"| {name} | {method} | {' | '.join(f'{row[column]:.1f}' for column in COLUMNS)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    logging.getLogger("unish").setLevel(logging.ERROR)
    print(markdown(run(tyro.cli(JoiningConfig, description=__doc__))))
