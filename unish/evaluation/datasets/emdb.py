"""World motion (EMDB-2) and bodies in the camera (EMDB-1) on EMDB (Kaufmann et al. 2023): one person, a phone.

Protocol of WHAM: frames outside `good_frames_mask` are dropped before anything else; the truth is the gendered SMPL
body. A sequence's label file says which split it is in.
"""

import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np

from unish.body import BodyModel
from unish.evaluation.benchmark import Benchmark, BenchmarkSequence, TruePerson
from unish.evaluation.datasets import published
from unish.evaluation.datasets.download import Download
from unish.evaluation.datasets.frame_files import rgb_images
from unish.evaluation.datasets.labels import LabelFile, inverted, read_labels
from unish.evaluation.datasets.smpl_ground_truth import pose_person, smpl_bodies
from unish.evaluation.scoring import WORLD_METRICS

SPLITS = {"emdb1": ("EMDB-1", 17), "emdb2": ("EMDB-2", 25)}
GENDERS = ("female", "male", "neutral")
FPS = 30.0
DOWNLOAD = Download(
    title="EMDB",
    page="https://emdb.ait.ethz.ch",
    layout="ROOT/P0/09_outdoor_walk/images/00000.jpg and ROOT/P0/09_outdoor_walk/P0_09_outdoor_walk_data.pkl, "
    "and so on for P0 to P9",
)


def read(root: Path, split: str) -> tuple[BenchmarkSequence, ...]:
    """The sequences below `root` whose labels put them in the split, "emdb1" or "emdb2"."""
    files = sorted(DOWNLOAD.root(root).glob("P*/*/*_data.pkl"))
    in_split = [labels for path in files if (labels := read_labels(path, DOWNLOAD)).flag(split)]
    title, sequences = SPLITS[split]
    DOWNLOAD.count(root, len(in_split), sequences, title)
    bodies = smpl_bodies(DOWNLOAD.title)
    return tuple(_sequence(labels, bodies) for labels in in_split)


def _sequence(labels: LabelFile, bodies: Callable[[str], BodyModel]) -> BenchmarkSequence:
    frames = int(labels.array("n_frames", shape=()))
    good = np.flatnonzero(labels.array("good_frames_mask", shape=(frames,)))
    if len(good) == 0:
        raise DOWNLOAD.broken(f"{labels.path} marks none of its {frames} frames as good")
    images = DOWNLOAD.files(labels.path.parent / "images", [f"{frame:05d}.jpg" for frame in good])
    width, height = (int(labels.array("camera", side, shape=())) for side in ("width", "height"))
    camera_from_world = labels.array("camera", "extrinsics", shape=(frames, 4, 4), rows=good)
    return BenchmarkSequence(
        name="_".join(labels.path.parts[-3:-1]),
        frames=len(good),
        fps=FPS,
        size_px=(width, height),
        image=rgb_images(images, (width, height), DOWNLOAD),
        world_from_camera=inverted(camera_from_world),
        intrinsics=np.tile(labels.array("camera", "intrinsics", shape=(3, 3)), (len(good), 1, 1)),
        people=(_person(labels, frames, good, bodies),),
    )


def _person(labels: LabelFile, frames: int, good: np.ndarray, bodies: Callable[[str], BodyModel]) -> TruePerson:
    gender = labels.text("gender")
    if gender not in GENDERS:
        raise DOWNLOAD.broken(f"{labels.path} should have a gender of {', '.join(GENDERS)}, but has {gender!r}")
    pose = [
        labels.array("smpl", key, shape=(frames, n), rows=good) for key, n in (("poses_root", 3), ("poses_body", 69))
    ]
    posed = pose_person(
        bodies(gender),
        labels.array("smpl", "betas", shape=(10,)),
        np.concatenate(pose, axis=-1),
        labels.array("smpl", "trans", shape=(frames, 3), rows=good),
    )
    return TruePerson(
        id=1,
        boxes_px=labels.array("bboxes", "bboxes", shape=(frames, 4), rows=good),
        present=np.ones(len(good), bool),
        joints_world=posed.joints_world,
        vertices_world=posed.vertices_world,
    )


EMDB_1 = Benchmark(
    name="emdb1",
    title="EMDB-1, bodies in the camera",
    metrics=("pa_mpjpe_mm", "mpjpe_mm", "pve_mm", "accel"),
    sequences=functools.partial(read, split="emdb1"),
    sampled_fps=6.0,
    window=30,
    published=published.EMDB_1,
)
EMDB_2 = Benchmark(
    name="emdb2",
    title="EMDB-2, motion in the world",
    metrics=WORLD_METRICS,
    sequences=functools.partial(read, split="emdb2"),
    sampled_fps=6.0,
    window=30,
    published=published.EMDB_2,
)
