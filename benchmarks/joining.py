"""What joining windows is worth on clips with ground truth, beside one pass and beside windows that are only strung
together.

    python benchmarks/joining.py                     # all networks, the tables of docs/long_clips.md
    python benchmarks/joining.py --networks oracle --clips 2

`oracle` is the truth with every pass in units and a world of its own, noise and 5 % outliers; `drifting oracle` also
bends every pass by up to 4 %; `mini` are the bundled weights. People are given by their true boxes.
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
WALKS_M = 2.0
"""RTE, which is over the length of the way, is of people who go at least so far."""
COLUMNS = {
    "camera_ate_cm": "camera ATE cm",
    "wa_mpjpe_mm": "WA-MPJPE mm",
    "rte_percent": "RTE %",
    "seam_cm": "jump at seams cm",
    "scale_percent": "scale spread %",
}


@dataclass(frozen=True)
class JoiningConfig:
    """What is measured."""

    networks: tuple[str, ...] = ("oracle", "drifting oracle", "mini")
    clips: int = 6
    frames: int = 120
    window: int = 30


@dataclass(frozen=True)
class World:
    """What a way of handling the clip says of it, world frame, metres."""

    world_from_camera: np.ndarray
    joints: dict[int, np.ndarray]
    """Person id → (frames, 24, 3)."""
    metres_per_unit: np.ndarray
    """What every pass was multiplied by, over what is true of the oracle; of the mini, as it is."""


def one_pass(sample: ClipSample, model: torch.nn.Module, body: BodyModel, config: JoiningConfig) -> World:
    """The whole clip in one forward pass."""
    return _world(sample, model, body, config.frames)


def joined(sample: ClipSample, model: torch.nn.Module, body: BodyModel, config: JoiningConfig) -> World:
    """Overlapping windows, joined."""
    return _world(sample, model, body, config.window)


def strung(sample: ClipSample, model: torch.nn.Module, body: BodyModel, config: JoiningConfig) -> World:
    """Windows that share nothing, one after the other, each beginning a world of its own (the released inference)."""
    people = np.flatnonzero(seen_people(sample).any(1)) + 1
    parts = []
    for start in range(0, sample.frames, config.window):
        frames = np.arange(start, min(start + config.window, sample.frames))
        part = take_frames(sample, frames)
        if not seen_people(part).any():  # nothing says what scale it has: it stays where the camera was
            still = np.tile(np.eye(4), (len(frames), 1, 1))
            parts.append(World(still, {}, np.ones(0)))
        else:
            parts.append(_world(part, model, body, config.window))
    # Every window's world is its own first camera.
    firsts = [np.linalg.inv(part.world_from_camera[0]) for part in parts]
    cameras = np.concatenate([first @ part.world_from_camera for first, part in zip(firsts, parts, strict=True)])
    joints = {}
    for person in people:
        unseen = [np.full((len(part.world_from_camera), 24, 3), np.nan) for part in parts]
        each = zip(firsts, parts, unseen, strict=True)
        joints[int(person)] = np.concatenate([_moved(first, part.joints.get(person, nan)) for first, part, nan in each])
    return World(cameras, joints, np.concatenate([part.metres_per_unit for part in parts]))


WAYS: dict[str, Callable[..., World]] = {"one pass": one_pass, "joined windows": joined, "strung together": strung}


def _world(sample: ClipSample, model: torch.nn.Module, body: BodyModel, window: int) -> World:
    before = len(model.units) if isinstance(model, Oracle) else 0
    found = reconstruct_with_boxes(sample, model, body, window=window)
    joints = {person.id: person.joints_world.astype(np.float64) for person in found.people}
    units = np.array([w.metres_per_unit for w in found.windows])
    if isinstance(model, Oracle):
        units = units / list(model.units.values())[before : before + len(units)]
    return World(found.cameras.world_from_camera.astype(np.float64), joints, units)


def _moved(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    return points @ matrix[:3, :3].T + matrix[:3, 3]


def measure(world: World, sample: ClipSample, body: BodyModel, seams: list[range]) -> dict[str, np.ndarray]:
    """Series of every column: one a clip for cameras and scale, one a frame for joints, one a seam for jumps."""
    true = true_prediction(sample, body)
    cameras = true.world_from_camera
    ate = metrics.camera_ate(world.world_from_camera, cameras)
    spread = np.log(world.metres_per_unit)
    rows: dict[str, list] = {"camera_ate_cm": [np.sqrt((ate**2).mean())], "scale_percent": [100 * np.std(spread)]}
    for person, found in world.joints.items():
        seen = seen_people(sample)[person - 1] & np.isfinite(found).all((1, 2))
        wanted = true.people[person].joints_world
        chunks = [slice(i, i + metrics.CHUNK_FRAMES) for i in range(0, seen.sum(), metrics.CHUNK_FRAMES)]
        for chunk in chunks:
            rows.setdefault("wa_mpjpe_mm", []).extend(metrics.wa_mpjpe(found[seen][chunk], wanted[seen][chunk]))
        if np.linalg.norm(np.diff(wanted[seen, 0], axis=0), axis=-1).sum() > WALKS_M:
            rows.setdefault("rte_percent", []).extend(metrics.root_translation_error(found[seen, 0], wanted[seen, 0]))
        rows.setdefault("seam_cm", []).extend(_jumps(found, wanted, seen, seams))
    return {name: np.asarray(values, np.float64) for name, values in rows.items()}


def _jumps(found: np.ndarray, wanted: np.ndarray, seen: np.ndarray, seams: list[range]) -> list[float]:
    """The largest step of the joints beyond the true one at every seam, centimetres, in the truth's scale and axes."""
    points = (torch.from_numpy(np.ascontiguousarray(x[seen].reshape(-1, 3))) for x in (found, wanted))
    scale, rotation, _ = (x.numpy() for x in umeyama(*points))
    steps = scale * np.diff(found, axis=0) @ rotation.T - np.diff(wanted, axis=0)
    size = np.where(seen[1:] & seen[:-1], 100 * np.linalg.norm(steps, axis=-1).mean(axis=-1), np.nan)
    parts = [size[seam.start : seam.stop] for seam in seams]
    return [float(np.nanmax(part)) for part in parts if np.isfinite(part).any()]


def network(name: str, sample: ClipSample, mini: torch.nn.Module) -> torch.nn.Module:
    """The network of a row of the table."""
    if name == "mini":
        return mini
    return Oracle(sample, OracleFaults(drift=0.04 if name.startswith("drifting") else 0.0, vote=0.05))


def run(config: JoiningConfig) -> dict[str, dict[str, dict[str, float]]]:
    """Network → way → column → mean over everything measured."""
    body, mini = open_body(), load("mini")
    series: dict[tuple[str, str], list] = {}
    for index in tqdm(range(config.clips), unit="clip"):
        sample = generate_clip(FIRST_SEED + index, frames=config.frames, people_count=2, long_side_px=168)
        # A step belongs to a seam where it leads from a frame of one way's window to one of the next.
        seams = [range(start - 1, start) for start in range(config.window, config.frames, config.window)]
        for name in config.networks:
            for way, answer in WAYS.items():
                world = answer(sample, network(name, sample, mini), body, config)
                series.setdefault((name, way), []).append(measure(world, sample, body, seams))
    table: dict[str, dict[str, dict[str, float]]] = {}
    for (name, way), rows in series.items():
        table.setdefault(name, {})[way] = {
            column: float(np.nanmean(np.concatenate([row[column] for row in rows if column in row])))
            for column in COLUMNS
        }
    return table


def markdown(table: dict[str, dict[str, dict[str, float]]]) -> str:
    """The numbers as one Markdown table."""
    lines = [f"| network | way | {' | '.join(COLUMNS.values())} |", "|---" * (len(COLUMNS) + 2) + "|"]
    for name, ways in table.items():
        for way, row in ways.items():
            lines.append(f"| {name} | {way} | {' | '.join(f'{row[column]:.1f}' for column in COLUMNS)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    logging.getLogger("unish").setLevel(logging.ERROR)
    print(markdown(run(tyro.cli(JoiningConfig, description=__doc__))))
