"""One sequence of BEDLAM as clips of `train.data.schema`: people linked over time, each pixel given to one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from scipy.optimize import linear_sum_assignment

from train.data.augment import shrink, take_frames
from train.data.prepare.bedlam_files import (
    SOMEBODY,
    Labels,
    frame_numbers,
    read_actors,
    read_cameras,
    read_depth,
)
from train.data.schema import ClipSample
from unish.body.data import PARENTS
from unish.errors import InputError
from unish.geometry.rotations import axis_angle_to_matrix
from unish.video.images import read_image

NUMBERED_FPS = 30.0
"""Images are numbered at this rate, also where only every fifth is there."""
_SPEED_M_S, _REACH_M = 10.0, 0.5
_LARGEST_BODY_M = 1.25
"""How far from its bones a pixel of a person may be, in 3-D and generously: the depth is that of its pelvis."""
_LEAST_OVERLAP = 0.2


@dataclass(frozen=True)
class ClipSettings:
    """How sequences become clips; see the command's flags of the same names."""

    frames: int
    stride: int
    min_frames: int
    fps: float
    source_fps: float | None
    long_side_px: int | None


class LabelledPeople(NamedTuple):
    """The people of a sequence; (people, frames, …), zeros where a person has no label in a frame."""

    present: np.ndarray
    pose: np.ndarray
    betas: np.ndarray
    """(people, 10)"""
    translation_camera: np.ndarray
    boxes_px: np.ndarray
    joints_px: np.ndarray
    """NaN where not labelled"""


def sequence_clips(scene: Path, sequence: str, labels: Labels, settings: ClipSettings) -> list[ClipSample]:
    """The clips of a sequence that show somebody.

    `labels` are the scene's. Raises InputError, saying what is wrong, for a sequence with a missing or damaged piece,
    without labels, or too short.
    """
    rows = labels.of(sequence)
    if not len(rows.number):
        raise InputError("no labels")
    numbers = timeline(frame_numbers(scene / "png" / sequence), scene.name, settings, labels)
    if len(numbers) < settings.min_frames:
        raise InputError(f"too short, fewer than {settings.min_frames} frames")
    whole = read_sequence(scene, sequence, numbers, rows, settings.fps)
    clips = []
    for start in range(0, len(numbers), settings.stride):
        window = np.arange(start, min(start + settings.frames, len(numbers)))
        seen_before = start > 0 and start - settings.stride + settings.frames >= len(numbers)
        if len(window) >= settings.min_frames and not seen_before:
            clip = _only_present(take_frames(whole, window), f"{whole.clip_id}-{numbers[start]:04d}")
            if clip.people:
                clips.append(clip if settings.long_side_px is None else shrink(clip, settings.long_side_px))
    return clips


def timeline(there: list[int], scene: str, settings: ClipSettings, labels: Labels) -> list[int]:
    """Numbers of the images at `settings.fps`, evenly spaced from the first one on.

    The rate of the files is what the settings or the scene's name say, else what the numbers say: they count at 30 a
    second. Raises InputError where the rates do not fit, or an image is missing.
    """
    if not there:
        raise InputError("no images")
    gap = _gap(np.array(there))
    named = next((rate for rate in (6.0, 30.0) if scene.endswith(f"_{rate:.0f}fps")), NUMBERED_FPS / gap)
    source_fps = settings.source_fps or named
    step = source_fps / settings.fps
    if step < 1 or step != round(step):
        raise InputError(f"its {source_fps:g} frames per second give no even {settings.fps:g}; choose another --fps")
    step = gap * round(step)
    if _gap(labels.number) > step:
        raise InputError(f"its labels are rarer than --fps {settings.fps:g}; choose a lower one")
    wanted = list(range(there[0], there[-1] + 1, step))
    missing = sorted(set(wanted) - set(there))
    if missing:
        raise InputError(f"image {missing[0]:04d} is missing")
    return wanted


def _gap(numbers: np.ndarray) -> int:
    """The smallest step between different numbers, 1 for fewer than two."""
    steps = np.diff(np.unique(numbers))
    return int(steps.min()) if len(steps) else 1


def read_sequence(scene: Path, sequence: str, numbers: list[int], rows: Labels, fps: float) -> ClipSample:
    """The frames `numbers` of a sequence as one sample. Raises InputError for a missing or damaged piece."""
    stems = [f"{sequence}_{number:04d}" for number in numbers]
    images = np.stack([read_image(scene / "png" / sequence / f"{stem}.png", upright=False) for stem in stems])
    height, width = images.shape[1:3]
    camera_file = scene / "ground_truth" / "camera" / f"{sequence}_camera.csv"
    intrinsics, world_from_camera = read_cameras(camera_file, [f"{stem}.png" for stem in stems], width, height)
    depth_m = np.stack([read_depth(scene / "depth" / sequence / f"{stem}_depth.exr") for stem in stems])
    if depth_m.shape != images.shape[:3]:
        raise InputError(f"depth should have the size of the images, {images.shape[1:3]}, got {depth_m.shape[1:]}")
    actors = read_actors(scene / "masks" / sequence, numbers, (height, width))
    people = gather_people(rows, numbers, world_from_camera, fps)
    mask = people_masks(actors, depth_m, people, intrinsics[:, 0, 0])
    boxes_px = np.clip(people.boxes_px, 0, [width, height, width, height])
    boxes_px[(boxes_px[..., 2:] <= boxes_px[..., :2]).any(-1)] = 0
    return ClipSample(
        clip_id=f"bedlam-{scene.name}-{sequence}",
        fps=fps,
        images=images,
        depth_m=depth_m,
        person_mask=mask,
        intrinsics=intrinsics.astype(np.float32),
        world_from_camera=world_from_camera.astype(np.float32),
        body_rotations=axis_angle_to_matrix(torch.from_numpy(people.pose).double()).float().numpy(),
        translation_camera=people.translation_camera.astype(np.float32),
        betas=people.betas.astype(np.float32),
        boxes_px=boxes_px.astype(np.float32),
        visibility=joints_seen(mask, people.joints_px),
        joints_px=people.joints_px.astype(np.float32),
        body="smpl",
    )


def _only_present(clip: ClipSample, clip_id: str) -> ClipSample:
    """The clip with those people only who have a label in it; the others' boxes are zeros throughout."""
    kept = np.flatnonzero(clip.boxes_px.any(axis=(1, 2)))
    renamed = np.zeros(clip.people + 1, np.uint8)
    renamed[kept + 1] = np.arange(len(kept)) + 1
    arrays = {name: getattr(clip, name) for name in ClipSample.__dataclass_fields__}
    per_person = ("body_rotations", "translation_camera", "betas", "boxes_px", "visibility", "joints_px")
    arrays |= {name: arrays[name][kept] for name in per_person}
    return ClipSample(**(arrays | {"clip_id": clip_id, "person_mask": renamed[clip.person_mask]}))


# ---------------------------------------------------------------- people over time


def gather_people(rows: Labels, numbers: list[int], world_from_camera: np.ndarray, fps: float) -> LabelledPeople:
    """The labels of a sequence person by person, for the frames `numbers`."""
    frame_of = {number: frame for frame, number in enumerate(numbers)}
    here = np.flatnonzero([number in frame_of for number in rows.number])
    frame = np.array([frame_of[number] for number in rows.number[here]], int)
    camera = world_from_camera[frame]
    position_world = np.einsum("rij,rj->ri", camera[:, :3, :3], rows.translation_camera[here]) + camera[:, :3, 3]
    person = link_people(rows.subject[here], frame, position_world, fps)
    count = int(person.max(initial=-1)) + 1

    def spread(values: np.ndarray, empty: float = 0.0) -> np.ndarray:
        out = np.full((count, len(numbers), *values.shape[1:]), empty)
        out[person, frame] = values[here]
        return out

    betas = np.zeros((count, 10))
    betas[person] = rows.betas[here]
    return LabelledPeople(
        present=spread(np.ones(len(rows.number))) > 0,
        pose=spread(rows.pose),
        betas=betas,
        translation_camera=spread(rows.translation_camera),
        boxes_px=spread(rows.boxes_px),
        joints_px=spread(rows.joints_px, np.nan),
    )


def link_people(subject: np.ndarray, frame: np.ndarray, position_world: np.ndarray, fps: float) -> np.ndarray:
    """(rows,) number of the person that each row is, in the order of appearance.

    Rows are one person if they are the same subject and no farther apart (metres) than a person gets in the time
    between; where a subject is there twice, the pairs with the least total distance are linked.
    """
    person = np.full(len(frame), -1)
    last: list[int] = []
    """The last row of each person."""
    for now in np.unique(frame):
        for name in np.unique(subject[frame == now]):
            rows = np.flatnonzero((frame == now) & (subject == name)).tolist()
            known = [index for index, row in enumerate(last) if subject[row] == name]
            before = [last[index] for index in known]
            distance = np.linalg.norm(position_world[rows][:, None] - position_world[before][None], axis=-1)
            allowed = distance <= _REACH_M + _SPEED_M_S * (now - frame[before]) / fps
            for row, column in zip(*linear_sum_assignment(np.where(allowed, distance, 1e6)), strict=True):
                if allowed[row, column]:
                    person[rows[row]] = known[column]
            for row in rows:
                if person[row] < 0:
                    person[row] = len(last)
                    last.append(row)
                last[person[row]] = row
    return person


# ---------------------------------------------------------------- who is where


def people_masks(actors: np.ndarray, depth_m: np.ndarray, people: LabelledPeople, focal_px: np.ndarray) -> np.ndarray:
    """(frames, height, width) uint8: 0 nobody who has labels, p + 1 person p.

    Where files say which actor is where, an actor is the person whose joints lie on it most often over the sequence.
    Where they only say that there is somebody, each pixel goes to the person whose bones are nearest.
    """
    if (actors == SOMEBODY).any():
        return np.stack([split_people(actors[t] > 0, depth_m[t], people, t, focal_px[t]) for t in range(len(actors))])
    overlap = np.zeros((len(people.betas), 256))
    for index, joints_px in enumerate(people.joints_px):
        actor_at = _at_joints(actors, joints_px)
        overlap[index] = np.bincount(actor_at[actor_at > 0], minlength=256) / max(1, (actor_at >= 0).sum())
    person_of = np.zeros(256, np.uint8)
    for index, actor in zip(*linear_sum_assignment(-overlap), strict=True):
        if overlap[index, actor] >= _LEAST_OVERLAP:
            person_of[actor] = index + 1
    return person_of[actors]


def split_people(
    somebody: np.ndarray, depth_m: np.ndarray, people: LabelledPeople, frame: int, focal_px: float
) -> np.ndarray:
    """(height, width) uint8: the pixels of `somebody`, each given to the nearest person of the frame as p + 1.

    Nearness is in metres: along the image from the person's bones, at the pixel's depth, and in depth from the
    person's pelvis. Pixels of people without labels, farther from everybody than a body is large, stay 0.
    """
    nearest, owner = np.full(somebody.shape, _LARGEST_BODY_M, np.float32), np.zeros(somebody.shape, np.uint8)
    for index in np.flatnonzero(people.present[:, frame]):
        pelvis_m = people.translation_camera[index, frame, 2]
        pixel_m = np.where(depth_m > 0, depth_m, pelvis_m)
        aside_m = _distance_to_bones_px(people.joints_px[index, frame], somebody.shape) * pixel_m / focal_px
        distance = np.hypot(aside_m, pixel_m - pelvis_m)
        closer = somebody & (distance < nearest)
        nearest[closer], owner[closer] = distance[closer], index + 1
    return owner


def _distance_to_bones_px(joints_px: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """(height, width) distance of each pixel to the skeleton; unknown joints are left out of their chain."""
    elsewhere = np.ones(shape, np.uint8)
    known = np.isfinite(joints_px[:, 0])
    points = np.round(np.clip(np.nan_to_num(joints_px), -10_000, 10_000)).astype(int)
    for joint in np.flatnonzero(known):
        parent = PARENTS[joint]
        while parent > 0 and not known[parent]:
            parent = PARENTS[parent]
        start = points[parent] if parent >= 0 and known[parent] else points[joint]
        cv2.line(elsewhere, start.tolist(), points[joint].tolist(), 0)
    if elsewhere.all():
        return np.full(shape, np.inf, np.float32)
    return cv2.distanceTransform(elsewhere, cv2.DIST_L2, 5)


def joints_seen(person_mask: np.ndarray, joints_px: np.ndarray) -> np.ndarray:
    """(people, frames) float32: the share of a person's known joints that lie in the image and on that person."""
    seen = [
        (_at_joints(person_mask, joints) == index + 1).sum(1) / np.isfinite(joints[..., 0]).sum(1).clip(1)
        for index, joints in enumerate(joints_px)
    ]
    return np.array(seen, np.float32).reshape(joints_px.shape[:2])


def _at_joints(maps: np.ndarray, joints_px: np.ndarray) -> np.ndarray:
    """(frames, 24) what maps (frames, height, width) say at joints (frames, 24, 2); −1 outside or unknown."""
    height, width = maps.shape[1:]
    x, y = joints_px[..., 0], joints_px[..., 1]
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    column, row = np.where(inside, x, 0).astype(int), np.where(inside, y, 0).astype(int)
    return np.where(inside, maps[np.arange(len(maps))[:, None], row, column].astype(int), -1)
