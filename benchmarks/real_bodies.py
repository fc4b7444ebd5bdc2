"""How well bodies lie on the people of real footage: projected joints against keypoints, silhouettes against masks.

    python benchmarks/real_bodies.py --clips DIR --teacher transformers
    python benchmarks/real_bodies.py --clips DIR --teacher movenet=movenet-multipose.json --weights runs/mini

The teacher (`train.data.prepare.teachers.open_teacher`) must give keypoints. Errors are in percent of the height of
the person's box: of the limbs (shoulders to ankles) as reconstructed; sideways, positive to the right; after the best
shift ("moved"); and after the best shift and scale ("fitted"), which is left to the pose. IoU is that of the body's
silhouette and the mask that the result itself holds of the person.

With --fit-to-keypoints the bodies are fitted to the teacher's keypoints as well: what the fit makes of a detector with
keypoints. The limbs' errors are then those of a fit that has seen the truth.
"""

import dataclasses
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import unish
from benchmarks.real_clips import LEAST_HEIGHT, clips_of, score_command
from train.data.prepare.teachers import Teacher, TeacherPeople, open_teacher
from train.data.real_people import MIN_KEYPOINT_SCORE, MIN_LIMBS
from train.person_detector.detector_scores import match_boxes
from unish.body import load_body
from unish.body.data import COCO_LIMBS, SMPL_LIMBS
from unish.errors import InputError
from unish.fitting.fit import fit_bodies
from unish.geometry.camera import image_fit
from unish.structures import Person, Reconstruction
from unish.video.reader import read_clip


@dataclass(frozen=True)
class BenchmarkConfig:
    """Score the bodies of a folder of clips."""

    clips: Path
    """Folder of videos, or one video."""
    teacher: str
    """Whose keypoints are the truth."""
    weights: str = "mini"
    only: tuple[str, ...] = ()
    """Names of the clips (without ending) to score; all of the folder otherwise."""
    seconds: float = 5.0
    """Of each clip, its first seconds."""
    judged: int = 10
    """Frames of each clip that are judged, evenly spread."""
    options: tuple[str, ...] = ()
    """Options of unish.reconstruct, like fit=off."""
    fit_to_keypoints: bool = False
    """Fit to the teacher's keypoints too."""
    out: Path | None = None
    """JSON file for the numbers."""


@dataclass(frozen=True)
class BodyScore:
    """Means over the judged people of a clip; errors in percent of the height of the person's box."""

    judged: int
    joints: float
    sideways: float
    moved: float
    fitted: float
    silhouette_iou: float


def limb_errors(
    limbs_px: np.ndarray, wanted_px: np.ndarray, weight: np.ndarray, height_px: float
) -> tuple[float, float, float, float]:
    """(joints, sideways, moved, fitted) of one person in percent of `height_px`; limbs (12, 2), weight (12,)."""
    share = (weight / weight.sum())[:, None]
    offset = limbs_px - wanted_px
    center, wanted = limbs_px - (share * limbs_px).sum(0), wanted_px - (share * wanted_px).sum(0)
    scale = max(float((share * center * wanted).sum() / max((share * center**2).sum(), 1e-9)), 0.0)
    errors = [float((share[:, 0] * np.linalg.norm(e, axis=1)).sum()) for e in (offset, center - wanted)]
    fitted = float((share[:, 0] * np.linalg.norm(scale * center - wanted, axis=1)).sum())
    values = (errors[0], float((share[:, 0] * offset[:, 0]).sum()), errors[1], fitted)
    return tuple(100 * value / height_px for value in values)  # type: ignore[return-value]


def silhouette(scene: Reconstruction, person: Person, frame: int) -> np.ndarray:
    """Pixels of the network's frame that the projected body covers, (height, width) bool."""
    covered = np.zeros((scene.cameras.height_px, scene.cameras.width_px), np.uint8)
    corners = projected(scene, person.vertices_world[frame], frame)[scene.faces].round().astype(np.int32)
    for triangle in corners:
        cv2.fillConvexPoly(covered, triangle, 1)
    return covered > 0


def projected(scene: Reconstruction, points_world: np.ndarray, frame: int) -> np.ndarray:
    """(points, 2) pixels of the network's frame."""
    camera_from_world = np.linalg.inv(scene.cameras.world_from_camera[frame].astype(np.float64))
    points = points_world @ camera_from_world[:3, :3].T + camera_from_world[:3, 3]
    pixels = points @ scene.cameras.intrinsics[frame].T
    return pixels[:, :2] / np.maximum(pixels[:, 2:], 1e-3)


def score_frame(scene: Reconstruction, frame: int, truth: TeacherPeople, size_px: tuple[int, int]) -> list[np.ndarray]:
    """One row (joints, sideways, moved, fitted, IoU) per person whom the result and the teacher both see.

    `size_px`: (width, height) of the image that the teacher looked at.
    """
    rows = []
    for index, height_px, keypoints in matched(scene, frame, truth, size_px):
        keypoints = keypoints[list(COCO_LIMBS)]
        weight = (keypoints[:, 2] > MIN_KEYPOINT_SCORE).astype(float)
        if weight.sum() < MIN_LIMBS or height_px < LEAST_HEIGHT * scene.cameras.height_px:
            continue
        person = scene.people[index]
        limbs = projected(scene, person.joints_world[frame][list(SMPL_LIMBS)], frame)
        body, mask = silhouette(scene, person, frame), scene.person_mask[frame] == index + 1
        iou = (body & mask).sum() / max((body | mask).sum(), 1) if mask.any() else np.nan
        rows.append(np.array([*limb_errors(limbs, keypoints[:, :2], weight, height_px), iou]))
    return rows


def matched(
    scene: Reconstruction, frame: int, truth: TeacherPeople, size_px: tuple[int, int]
) -> Iterator[tuple[int, float, np.ndarray]]:
    """(index of the person, height of the teacher's box, keypoints (17, 3)) of everybody whom the result and the
    teacher both see, in pixels of the network's frames."""
    if truth.keypoints is None:
        raise InputError("Expected a teacher that gives keypoints, got one that gives boxes alone; choose another.")
    scale, margin = image_fit((scene.cameras.width_px, scene.cameras.height_px), size_px)
    boxes = truth.boxes_px * scale - np.tile(margin, 2)
    present = [index for index, person in enumerate(scene.people) if person.present[frame]]
    ours = np.array([scene.people[index].boxes_px[frame] for index in present]).reshape(-1, 4)
    for row, column in match_boxes(ours, boxes)[0]:
        keypoints = truth.keypoints[column].astype(np.float64)
        keypoints[:, :2] = keypoints[:, :2] * scale - margin
        yield present[row], float(boxes[column, 3] - boxes[column, 1]), keypoints


def with_keypoints(scene: Reconstruction, truths: list[TeacherPeople], size_px: tuple[int, int]) -> Reconstruction:
    """The result with the teacher's keypoints, which it is sure of, in every frame."""
    known = np.zeros((len(scene.people), len(truths), 17, 3), np.float32)
    for frame, truth in enumerate(truths):
        for index, _, keypoints in matched(scene, frame, truth, size_px):
            known[index, frame] = np.where(keypoints[:, 2:] > MIN_KEYPOINT_SCORE, keypoints, 0)
    pairs = zip(scene.people, known, strict=True)
    return dataclasses.replace(scene, people=tuple(dataclasses.replace(p, keypoints_px=k) for p, k in pairs))


def run(config: BenchmarkConfig) -> dict[str, BodyScore]:
    """The score of each clip in which anybody could be judged and, under "total", of all."""
    paths = clips_of(config.clips, config.only)
    teacher: Teacher = open_teacher(config.teacher)
    options = dict(text.split("=", 1) for text in config.options)
    if config.fit_to_keypoints:
        options["fit"] = "off"
    scores, everybody = {}, []
    for path in tqdm(paths, unit="clip"):
        clip = read_clip(path, end_s=config.seconds)
        try:
            scene = unish.reconstruct(clip, weights=config.weights, finder="mini", **options)
        except InputError as error:
            tqdm.write(f"{path.stem}: {error}")
            continue
        frames = np.unique(np.linspace(0, len(clip.frames) - 1, config.judged).round().astype(int))
        size_px = (clip.frames.shape[2], clip.frames.shape[1])
        if config.fit_to_keypoints:
            scene = with_keypoints(scene, [teacher.look(frame) for frame in clip.frames], size_px)
            scene = fit_bodies(scene, load_body())
        rows = [row for k in frames for row in score_frame(scene, int(k), teacher.look(clip.frames[k]), size_px)]
        if rows:
            scores[path.stem] = _score(rows)
            everybody += rows
    if everybody:
        scores["total"] = _score(everybody)
    return scores


def _score(rows: list[np.ndarray]) -> BodyScore:
    return BodyScore(len(rows), *(float(value) for value in np.nanmean(rows, axis=0)))


def table(scores: dict[str, BodyScore]) -> str:
    """The scores as a Markdown table."""
    lines = ["| clip | judged | joints % | sideways % | moved % | fitted % | silhouette IoU |", "|---" * 7 + "|"]
    for name, score in scores.items():
        errors = (f"{value:.1f}" for value in (score.joints, score.sideways, score.moved, score.fitted))
        lines.append("| " + " | ".join([name, str(score.judged), *errors, f"{score.silhouette_iou:.2f}"]) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    score_command(BenchmarkConfig, run, table)
