"""What fitting bodies to the clip is worth: the tables of docs/fitting.md.

    python benchmarks/fitting.py                          # all networks, 24 clips
    python benchmarks/fitting.py --networks oracle --clips 4

`oracle` is the truth with the errors that were measured of the release: poses off by 45 mm after Procrustes, roots by
15 cm and 8 % of their depth, 12 mm of jitter, points by 3 %, outlines of depth bled by 3 pixels, masks eroded and
with holes, the scale by up to 10 %. `mini` are the bundled weights; people are given by their true boxes. `mini_lens`
is told the true focal length. The clips are walks, turns, seated people and one who climbs stairs, alone or two,
filmed by hand, a third of them with a camera that goes round them: 24 frames at 6 per second, or 120 at 30.
`oracle_keypoints` is the oracle with 2D keypoints that are off by 2 % of the box's height, every twentieth by 15 %
more. Feet on stairs are measured from the floor that the result's own points show under them, others from its plane.
"""

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
import tyro
from scipy.ndimage import gaussian_filter1d, maximum_filter, minimum_filter

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from train.data.schema import ClipSample
from train.data.sequences import reconstruct_with_boxes, seen_people, sequence_of
from train.synthetic.climbing import CLIMB
from train.synthetic.clips import generate_clip
from unish.analysis.body_surface import FEET, sole_height_m
from unish.analysis.floor_map import FloorMap
from unish.body import BodyModel, open_body
from unish.body.data import COCO_LIMBS, SMPL_LIMBS
from unish.evaluation import metrics
from unish.evaluation.benchmark import BenchmarkSequence
from unish.evaluation.metric_values import means_of
from unish.evaluation.predictions import prediction_of
from unish.evaluation.scoring import score
from unish.fitting.fit import fit_bodies
from unish.fitting.measures import outline_iou
from unish.fusion.gravity import BodyEvidence, find_upright
from unish.fusion.motion import BodyMotion, posed_person, transformed_motion
from unish.geometry.rotations import axis_angle_to_matrix
from unish.models.hub import load
from unish.structures import Cameras, PersonTrack, Provenance, Reconstruction

FIRST_SEED = 940_000_000
"""Of no split of any data set."""
LONG_SIDE_PX = 252
SCRIPTS = (("walk",), ("walk", "turn"), ("sit",), ("walk", "stand", "walk"), ("turn", "reach"), ("walk", "squat"))
CAMERAS = ("orbit", None, None)
STAIRS = 10
"""Number of the clip on stairs."""
KEYPOINT_ERROR, KEYPOINTS_WRONG, KEYPOINT_WRONG_BY = 0.02, 0.05, 0.15
"""Standard deviation in box heights, share of keypoints that are off by more, and by how much."""
METRICS = {
    "root_error_mm": "root in camera mm", "wa_mpjpe_mm": "WA-MPJPE mm", "w_mpjpe_mm": "W-MPJPE mm",
    "scale_error": "metric scale error %",
    "pa_mpjpe_mm": "PA-MPJPE mm", "outline_iou": "silhouette IoU", "body_off_points_cm": "body off its points cm",
    "foot_floor_gap_cm": "feet off the floor cm", "foot_sliding_cm_s": "foot sliding cm/s",
    "jitter": "jitter 10 m/s³", "world_size": "world size ×", "seconds": "CPU s per frame and person",
}  # fmt: skip
SCORED = tuple(name for name in METRICS if name not in ("outline_iou", "seconds"))


@dataclass(frozen=True)
class FittingConfig:
    """What is measured."""

    networks: tuple[str, ...] = ("oracle", "oracle_keypoints", "mini", "mini_lens")
    clips: int = 24
    first: int = 0
    """Number of the first clip."""
    mode: str = "auto"
    """Of the fit."""
    threads: int = 2
    out: Path | None = None
    """JSON file for the numbers of every clip."""


@dataclass(frozen=True)
class Errors:
    """Standard deviations of the oracle's errors."""

    pose_rad: float = 0.11
    """Of each joint's rotation; makes 45 mm after Procrustes."""
    betas: float = 0.4
    root_rad: float = 0.1
    across_m: float = 0.106
    """Each way: 15 cm."""
    depth_share: float = 0.08
    jitter_m: float = 0.012
    points: float = 0.03
    bleed_px: int = 3
    scale_log: float = 0.07
    wander_s: float = 1.0
    """Errors of pose and place change in about this time."""


def clip_of(number: int) -> ClipSample:
    """A held-out clip: every fourth is of 120 frames at 30 per second."""
    frames, fps = (120, 30.0) if number % 4 == 3 else (24, 6.0)
    return generate_clip(
        FIRST_SEED + number,
        frames=frames,
        fps=fps,
        long_side_px=LONG_SIDE_PX,
        people_count=2 if number % 5 == 4 else 1,
        script=CLIMB if number == STAIRS else SCRIPTS[number % len(SCRIPTS)],
        camera=CAMERAS[number % len(CAMERAS)],
        clear_view=number % 2 == 0,
    )


# --- the oracle ----------------------------------------------------------------------------------------------------


def oracle(sample: ClipSample, body: BodyModel, seed: int, errors: Errors = Errors()) -> Reconstruction:
    """The truth of a clip as a network with these errors would have it."""
    rng = np.random.default_rng([7, seed])
    scale = float(np.exp(np.clip(rng.normal(0, errors.scale_log), -0.1, 0.1)))
    depth, mask = _bled(sample, errors, rng)
    world_from_camera = sample.world_from_camera.astype(np.float64)
    world_from_camera[:, :3, 3] = scale * (world_from_camera[:, :3, 3] - world_from_camera[0, :3, 3])
    cameras = torch.from_numpy(world_from_camera)
    seen = seen_people(sample)
    motions = [_motion(sample, index, body, scale, errors, rng) for index in range(len(seen))]
    worlds = [transformed_motion(motion, cameras, body) for motion in motions]
    upright = _upright(sample, depth, scale, cameras.numpy(), worlds, body, seen)
    turn = torch.from_numpy(upright)[None]
    cameras = turn @ cameras
    people = []
    for index, motion in enumerate(worlds):
        if not seen[index].any():
            continue
        boxes = _boxes(mask == index + 1, sample.boxes_px[index], rng)
        track = PersonTrack(index + 1, boxes, seen[index], seen[index].astype(np.float32))
        people.append(posed_person(track, boxes, transformed_motion(motion, turn, body), cameras, body))
    labels = np.zeros(256, np.uint8)
    for place, person in enumerate(people, start=1):
        labels[person.id] = place
    height, width = mask.shape[1:]
    return Reconstruction(
        images=sample.images,
        depth_m=(depth * scale).astype(np.float32),
        confidence=np.where(depth > 0, 0.9, 0).astype(np.float32),
        person_mask=labels[mask],
        cameras=Cameras(cameras.float().numpy(), sample.intrinsics, width, height),
        people=tuple(people),
        faces=body.faces.numpy().astype(np.int32),
        times_s=np.arange(sample.frames) / sample.fps,
        fps=sample.fps,
        world_up=np.array([0, 0, 1], np.float32),
        provenance=Provenance("oracle.mp4", "oracle", "oracle", body.name, "cpu", 0, "0", 1.0),
    )


def _wandering(rng: np.random.Generator, shape: tuple[int, ...], fps: float, seconds: float) -> np.ndarray:
    """Random numbers (frames first) of standard deviation 1: two thirds of the variance hold for the whole clip."""
    slow = gaussian_filter1d(rng.standard_normal((4 * shape[0] + 64, *shape[1:])), max(seconds * fps / 2, 0.3), axis=0)
    slow = slow[32 : 32 + shape[0]] / slow.std(axis=0).clip(1e-6)
    return np.sqrt(2 / 3) * rng.standard_normal((1, *shape[1:])) + np.sqrt(1 / 3) * slow


def _motion(
    sample: ClipSample, index: int, body: BodyModel, scale: float, errors: Errors, rng: np.random.Generator
) -> BodyMotion:
    """A person in each frame's camera."""
    frames, fps = sample.frames, sample.fps
    turns = errors.pose_rad * _wandering(rng, (frames, 24, 3), fps, errors.wander_s) / np.sqrt(3)
    turns[:, 0] *= errors.root_rad / errors.pose_rad
    rotations = torch.from_numpy(sample.body_rotations[index]) @ axis_angle_to_matrix(torch.from_numpy(turns).float())
    betas = torch.from_numpy(sample.betas[index]).float()
    wrong = betas + errors.betas * torch.from_numpy(rng.standard_normal(10)).float()
    pelvis = torch.from_numpy(sample.translation_camera[index]).double() + body.pelvis_offset(betas).double()
    pelvis = pelvis.numpy() * scale
    off = errors.across_m * _wandering(rng, (frames, 2), fps, errors.wander_s)
    depth = np.exp(errors.depth_share * _wandering(rng, (frames, 1), fps, errors.wander_s))
    pelvis = pelvis * depth
    pelvis[:, :2] += off
    pelvis += errors.jitter_m / np.sqrt(3) * rng.standard_normal(pelvis.shape)
    translation = torch.from_numpy(pelvis).float() - body.pelvis_offset(wrong)
    return BodyMotion(wrong, rotations, translation)


def _bled(sample: ClipSample, errors: Errors, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Depth with noise and bled outlines, and masks eroded and with holes."""
    depth, masks = np.empty_like(sample.depth_m), np.zeros_like(sample.person_mask)
    for frame, (true, mask) in enumerate(zip(sample.depth_m, sample.person_mask, strict=True)):
        coarse = cv2.resize(rng.standard_normal((true.shape[0] // 12 + 2, true.shape[1] // 12 + 2)), true.shape[::-1])
        noise = errors.points * (0.8 * coarse + 0.6 * rng.standard_normal(true.shape))
        size = 2 * errors.bleed_px + 1
        near, far = minimum_filter(np.where(true > 0, true, 99.0), size), maximum_filter(true, size)
        share = rng.random(true.shape)
        edge = (near < 0.9 * far) & (true > 0)
        blurred = np.where(edge, near + share * (far - near), true)
        depth[frame] = np.where(true > 0, blurred.clip(0, 60) * np.exp(noise), 0)
        for label in range(1, int(mask.max()) + 1):
            own = cv2.erode((mask == label).astype(np.uint8), np.ones((3, 3), np.uint8))
            for _ in range(2):
                spots = np.argwhere(own)
                if len(spots):
                    row, column = spots[rng.integers(len(spots))]
                    cv2.circle(own, (int(column), int(row)), int(rng.integers(2, 6)), 0, -1)
            masks[frame][own > 0] = label
    return depth, masks


def _boxes(masks: np.ndarray, true: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Boxes of what is seen of a person, off by 2 % of their sides."""
    boxes = true.astype(np.float64).copy()
    for frame, mask in enumerate(masks):
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        if len(rows):
            boxes[frame] = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
            sides = boxes[frame, 2:] - boxes[frame, :2]
            boxes[frame] += 0.02 * np.tile(sides, 2) * rng.standard_normal(4) + [-1, -1, 1, 1]
    return boxes


def _upright(sample, depth, scale, cameras, worlds, body: BodyModel, seen) -> np.ndarray:
    """As the pipeline finds it."""
    rng, points = np.random.default_rng(0), []
    for frame in np.linspace(0, sample.frames - 1, min(sample.frames, 24)).round().astype(int):
        away = cv2.dilate(sample.person_mask[frame], np.ones((9, 9), np.uint8)) == 0
        row, column = np.nonzero((depth[frame] > 0) & away)
        chosen = rng.permutation(len(row))[:1500]
        row, column = row[chosen], column[chosen]
        rays = np.stack([column + 0.5, row + 0.5, np.ones(len(row))], -1) @ np.linalg.inv(sample.intrinsics[frame]).T
        local = rays * (scale * depth[frame, row, column])[:, None]
        points.append(local @ cameras[frame, :3, :3].T + cameras[frame, :3, 3])
    points = np.concatenate(points)
    evidence = []
    for motion, present in zip(worlds, seen, strict=True):
        chosen = np.flatnonzero(present)[:: max(1, sample.frames // 24)]
        if len(chosen):
            posed = body(motion.betas, motion.rotations[chosen], motion.translation[chosen])
            soles = posed.vertices[:, list(body.soles)].numpy()
            evidence.append(BodyEvidence(soles, posed.joints.numpy(), np.ones(len(chosen), bool)))
    return find_upright(cameras, points, np.ones(len(points)), evidence).upright_from_world


def with_keypoints(scene: Reconstruction, sample: ClipSample, seed: int) -> Reconstruction:
    """The result as a detector with keypoints gives it."""
    rng, people = np.random.default_rng([9, seed]), []
    for person in scene.people:
        joints = sample.joints_px[person.id - 1][:, list(SMPL_LIMBS)]
        tall = (person.boxes_px[:, 3] - person.boxes_px[:, 1])[:, None, None]
        wrong = rng.random(joints.shape[:2]) < KEYPOINTS_WRONG
        error = KEYPOINT_ERROR * rng.standard_normal(joints.shape)
        error += KEYPOINT_WRONG_BY * wrong[..., None] * rng.standard_normal(joints.shape)
        keypoints = np.zeros((len(joints), 17, 3), np.float32)
        seen = person.present[:, None] & np.isfinite(joints).all(-1)
        keypoints[:, list(COCO_LIMBS), :2] = np.where(seen[..., None], joints + tall * error, 0)
        keypoints[:, list(COCO_LIMBS), 2] = 0.8 * seen
        people.append(replace(person, keypoints_px=keypoints))
    return replace(scene, people=tuple(people))


# --- scores --------------------------------------------------------------------------------------------------------


def scores(scene: Reconstruction, sample: ClipSample, body: BodyModel) -> dict:
    """Metric values of a result against the truth of its clip."""
    sequence = sequence_of(sample, body)
    values = means_of(score(prediction_of(scene, sequence, body), sequence, SCORED))
    true_masks = replace(scene, person_mask=_true_labels(scene, sample))
    overlaps = [outline_iou(true_masks, index) for index in range(len(scene.people))]
    known = {name: value.value for name, value in values.items()}
    known["scale_error"] *= 100
    if sample.clip_id.endswith(f"{FIRST_SEED + STAIRS:08d}"):
        known["foot_floor_gap_cm"] = local_floor_gap_cm(scene, sequence)
    return known | {"outline_iou": float(np.mean([value for value in overlaps if value is not None]))}


def local_floor_gap_cm(scene: Reconstruction, sequence: BenchmarkSequence) -> float:
    """How far soles are from the floor that the points show under them, while the true foot is in contact."""
    floor, gaps_m = FloorMap.of(scene), []
    for person in scene.people:
        true = next(other for other in sequence.people if other.id == person.id)
        standing = metrics.in_contact(true.joints_world[:, FEET.ravel()], sequence.fps).reshape(-1, *FEET.shape).any(-1)
        for frame, foot in np.argwhere(standing & (person.present & true.present)[:-1, None]).tolist():
            joints = person.joints_world[frame]
            height_m = sole_height_m(person.vertices_world[frame], joints, foot, scene.world_up)
            gaps_m.append(height_m - floor.heights_m(np.array([[*joints[FEET[foot], :2].mean(0), height_m]]))[0])
    return float(100 * np.nanmean(np.abs(gaps_m)))


def _true_labels(scene: Reconstruction, sample: ClipSample) -> np.ndarray:
    """True masks at the size of the result, in the order of its people."""
    labels = np.zeros(256, np.uint8)
    for place, person in enumerate(scene.people, start=1):
        labels[person.id] = place
    size = (scene.cameras.width_px, scene.cameras.height_px)
    return np.stack([cv2.resize(labels[mask], size, interpolation=cv2.INTER_NEAREST) for mask in sample.person_mask])


def true_jitter(sample: ClipSample, body: BodyModel) -> float:
    """Jitter of the true motion, in 10 m/s³."""
    people = sequence_of(sample, body).people
    return float(
        np.mean([metrics.jitter(p.joints_world[p.present], sample.fps).mean() for p in people if p.present.sum() > 4])
    )


def run(config: FittingConfig) -> Iterator[dict]:
    """Scores of every network and clip, before and after."""
    body = open_body()
    weights = {name: name.removesuffix("_lens") for name in config.networks if not name.startswith("oracle")}
    models = {name: load(name) for name in set(weights.values())}
    for number in range(config.first, config.first + config.clips):
        sample = clip_of(number)
        if not seen_people(sample).sum(1).max() > 4:
            continue
        for network in config.networks:
            if network.startswith("oracle"):
                scene = oracle(sample, body, number)
                scene = with_keypoints(scene, sample, number) if network == "oracle_keypoints" else scene
            else:
                scene = reconstruct_with_boxes(
                    sample, models[weights[network]], body, known_lens=network.endswith("_lens")
                )
            began = time.process_time()
            fitted = fit_bodies(scene, body, config.mode)
            seconds = (time.process_time() - began) / (sample.frames * len(scene.people))
            before, after = scores(scene, sample, body), scores(fitted, sample, body)
            assert fitted.fitting is not None
            yield {
                "network": network, "clip": number, "frames": sample.frames, "before": before,
                "after": after | {"seconds": seconds}, "true_jitter": true_jitter(sample, body),
                "scale": fitted.fitting.scale, "rise_m": fitted.fitting.rise_m,
                "reasons": [person.reason for person in fitted.fitting.people],
            }  # fmt: skip


def table(rows: list[dict]) -> str:
    """Means over the clips as a Markdown table."""
    networks = list(dict.fromkeys(row["network"] for row in rows))
    heading = "| mean over clips |" + "".join(f" {name}, network | {name}, fitted |" for name in networks)
    lines = [heading, "|---" * (1 + 2 * len(networks)) + "|"]
    for name, label in METRICS.items():
        cells = []
        for network in networks:
            for side in ("before", "after"):
                values = [row[side][name] for row in rows if row["network"] == network and name in row[side]]
                cells.append(f"{np.nanmean(values):.3g}" if values else "–")
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
    lines.append(f"\nJitter of the truth: {np.mean([row['true_jitter'] for row in rows]):.3g}.")
    return "\n".join(lines)


if __name__ == "__main__":
    chosen = tyro.cli(FittingConfig)
    torch.set_num_threads(chosen.threads)
    results = []
    for line in run(chosen):
        results.append(line)
        short = {k: (round(line["before"][k], 3), round(line["after"][k], 3)) for k in METRICS if k in line["before"]}
        print(
            line["network"],
            line["clip"],
            f"scale {line['scale']:.3f} rise {line['rise_m']:.3f}",
            f"{line['after']['seconds']:.3f} s",
            line["reasons"],
            short,
            flush=True,
        )
    print(table(results))
    if chosen.out is not None:
        chosen.out.write_text(json.dumps(results, indent=1) + "\n")
