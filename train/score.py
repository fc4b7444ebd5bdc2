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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import tyro
from scipy.spatial import KDTree
from tqdm import tqdm

from train.command import one_sentence
from train.data import ClipSample, iterate_clips
from unish.body import BodyModel, open_body
from unish.errors import InputError
from unish.evaluation import metrics
from unish.files import atomic_path
from unish.geometry.camera import unproject_depth
from unish.geometry.rotations import nearest_rotation
from unish.geometry.visibility import visible_vertices
from unish.models.hub import load
from unish.models.unish import UniSH
from unish.pipeline import reconstruct_tracked
from unish.structures import Clip, PersonTrack, Reconstruction

HELD_OUT_SEED, TRAINING_SEED = 920_000_000, 930_000_000
"""First seeds of the clips rendered here; far from those that `train.synthetic` uses by itself."""
MEAN_DEPTH_SIZE = (64, 64)
MIN_VISIBILITY = 0.3
MIN_SURFACE_PIXELS = 64

COLUMNS = {
    "abs_rel": ("Abs Rel", 1.0, 3),
    "delta_125": ("δ<1.25", 1.0, 3),
    "body_abs_rel": ("Abs Rel on bodies", 1.0, 3),
    "body_delta_125": ("δ<1.25 on bodies", 1.0, 3),
    "surface_abs_rel": ("surface of bodies %", 100.0, 2),
    "scale_error": ("metric scale error %", 100.0, 1),
    "camera_ate_cm": ("camera ATE cm", 1.0, 1),
    "pa_mpjpe_mm": ("PA-MPJPE mm", 1.0, 1),
    "mpjpe_mm": ("MPJPE mm", 1.0, 1),
    "wa_mpjpe_mm": ("WA-MPJPE mm", 1.0, 1),
    "root_error_mm": ("root in camera mm", 1.0, 1),
    "body_off_points_cm": ("body off its points cm", 1.0, 1),
    "points_behind_cm": ("points behind body cm", 1.0, 1),
}
"""Name → (heading, factor, decimals)."""


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


def score_clip(estimate: Estimate, clip: ClipSample, body: BodyModel) -> dict[str, np.ndarray]:
    """Series of every metric of `COLUMNS`: one entry a clip for depth and scale, one a frame for the rest.

    What the clip's labels do not know is not scored.
    """
    rows = _score_depth(estimate, clip)
    if "body_rotations" not in clip.unknown and "world_from_camera" not in clip.unknown:
        for name, values in _score_motion(estimate, clip, body).items():
            rows[name] = values
    if estimate.intrinsics is not None:
        rows |= _score_contact(estimate, clip, body)
    return {name: np.asarray(values, np.float64) for name, values in rows.items()}


def _score_depth(estimate: Estimate, clip: ClipSample) -> dict[str, list]:
    height, width = clip.depth_m.shape[1:]
    depth = np.stack([cv2.resize(d.astype(np.float32), (width, height)) for d in estimate.depth_m])
    valid = clip.depth_m > 0
    scale = metrics.align_scale(depth, clip.depth_m, valid)
    rows: dict[str, list] = {"scale_error": [abs(1 / scale - 1)]}
    for prefix, pixels in (("", valid), ("body_", valid & (clip.person_mask > 0))):
        if pixels.any():
            rows[f"{prefix}abs_rel"] = [metrics.abs_rel(scale * depth, clip.depth_m, pixels)]
            rows[f"{prefix}delta_125"] = [metrics.delta_125(scale * depth, clip.depth_m, pixels)]
    surfaces = [
        _surface_error(depth[frame], clip.depth_m[frame], clip.person_mask[frame] == person)
        for frame in range(clip.frames)
        for person in range(1, clip.people + 1)
    ]
    rows["surface_abs_rel"] = [error for error in surfaces if error is not None]
    return {name: values for name, values in rows.items() if values}


def _surface_error(depth: np.ndarray, true: np.ndarray, mask: np.ndarray) -> float | None:
    """Abs Rel of one person's depth after a scale and a shift of its own, fitted by least squares: shape alone.

    The outermost pixels, where surfaces end, do not count. None for fewer than 64 pixels.
    """
    inside = cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    x, y = depth[inside & (true > 0)].astype(np.float64), true[inside & (true > 0)].astype(np.float64)
    if len(x) < MIN_SURFACE_PIXELS:
        return None
    middle = x.mean()
    slope = ((x - middle) * (y - y.mean())).sum() / max(((x - middle) ** 2).sum(), 1e-12)
    shift = y.mean() - slope * middle
    return float((np.abs(slope * x + shift - y) / y).mean())


def _score_motion(estimate: Estimate, clip: ClipSample, body: BodyModel) -> dict[str, list]:
    true = truth(clip, body)
    rows: dict[str, list] = {}
    ate = metrics.camera_ate(estimate.world_from_camera.astype(np.float64), true.world_from_camera.astype(np.float64))
    rows["camera_ate_cm"] = [float(np.sqrt((ate**2).mean()))]
    for person, seen in enumerate(seen_people(clip)):
        if seen.sum() < 2:
            continue
        found, wanted = estimate.joints_camera[person], true.joints_camera[person].astype(np.float64)
        rows.setdefault("pa_mpjpe_mm", []).extend(metrics.pa_mpjpe(found[seen], wanted[seen]))
        rows.setdefault("mpjpe_mm", []).extend(metrics.mpjpe(found[seen], wanted[seen]))
        offset = metrics.pelvis(found[seen]) - metrics.pelvis(wanted[seen])
        rows.setdefault("root_error_mm", []).extend(1000 * np.linalg.norm(offset[:, 0], axis=-1))
        worlds = (to_world(found, estimate.world_from_camera), to_world(wanted, true.world_from_camera))
        rows.setdefault("wa_mpjpe_mm", []).extend(metrics.wa_mpjpe(worlds[0][seen], worlds[1][seen]))
    return rows


def _score_contact(estimate: Estimate, clip: ClipSample, body: BodyModel) -> dict[str, list]:
    """How the predicted body sits on the predicted points of its person, whatever the truth: centimetres from its
    visible vertices to their nearest points, and how much deeper the points lie on average."""
    assert estimate.intrinsics is not None
    depth, intrinsics = (torch.from_numpy(a).float() for a in (estimate.depth_m, estimate.intrinsics))
    points = unproject_depth(depth, intrinsics).numpy()
    height, width = depth.shape[1:]
    rows: dict[str, list] = {"body_off_points_cm": [], "points_behind_cm": []}
    for person, vertices in enumerate(estimate.vertices_camera):
        if vertices is None:
            continue
        surface = torch.from_numpy(vertices).float()
        visible = visible_vertices(surface, body.faces.cpu(), intrinsics, height, width).numpy()
        for frame in np.flatnonzero(seen_people(clip)[person]):
            mask = (clip.person_mask[frame] == person + 1).astype(np.uint8)
            inside = points[frame][cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST) > 0]
            shown = vertices[frame][visible[frame]]
            if not len(inside) or not len(shown):
                continue
            distance, _ = KDTree(inside).query(shown[:: max(1, len(shown) // 500)])
            rows["body_off_points_cm"].append(100 * float(np.mean(distance)))
            rows["points_behind_cm"].append(100 * float(inside[:, 2].mean() - shown[:, 2].mean()))
    return {name: values for name, values in rows.items() if values}


def seen_people(clip: ClipSample) -> np.ndarray:
    """(people, frames) bool: where enough of a person is seen to be asked for."""
    sides = np.minimum(clip.boxes_px[..., 2] - clip.boxes_px[..., 0], clip.boxes_px[..., 3] - clip.boxes_px[..., 1])
    return (clip.visibility >= MIN_VISIBILITY) & (sides > 4)


def to_world(joints_camera: np.ndarray, world_from_camera: np.ndarray) -> np.ndarray:
    """(frames, joints, 3) of each frame's camera, in the world."""
    turned = np.einsum("fab,fjb->fja", world_from_camera[:, :3, :3], joints_camera)
    return turned + world_from_camera[:, None, :3, 3]


def pooled(rows: list[dict[str, np.ndarray]]) -> dict[str, float]:
    """Mean of each metric over everything that was scored; NaN where there was nothing."""
    series = {name: [row[name] for row in rows if name in row] for name in COLUMNS}
    return {name: float(np.concatenate(values).mean()) if values else float("nan") for name, values in series.items()}


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
        f"{result['clips']} held-out clips ({result['source']}). Depth after one scale a clip; cameras and "
        "WA-MPJPE after a similarity; surfaces after a scale and a shift a person; the rest in metres as predicted. "
        "People are given by their true boxes."
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
    with one_sentence():
        main(tyro.cli(ScoreConfig, description=__doc__))
