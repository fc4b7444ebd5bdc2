"""Bodies in the camera on the test split of 3DPW (von Marcard et al. 2018): one or two people, a hand-held phone.

The truth is the gendered SMPL body; a person is scored where `campose_valid` is set. Boxes are those of the projected
joints, grown by a fifth (SPIN). `cam_poses` is camera-from-world.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from unish.body import BodyModel
from unish.body.data import NUM_BETAS
from unish.evaluation.benchmark import Benchmark, BenchmarkSequence, TruePerson
from unish.evaluation.datasets.download import Download
from unish.evaluation.datasets.frame_files import image_size_px, rgb_images
from unish.evaluation.datasets.labels import LabelFile, inverted, read_labels
from unish.evaluation.datasets.smpl_ground_truth import (
    BOX_MARGIN,
    boxes_px,
    carried_over,
    pose_person,
    project_px,
    smpl_bodies,
)

SEQUENCES = 24
GENDERS = {"m": "male", "f": "female"}
FPS = 30.0
DOWNLOAD = Download(
    title="3DPW",
    page="https://virtualhumans.mpi-inf.mpg.de/3DPW/",
    layout="ROOT/sequenceFiles/test/downtown_arguing_00.pkl and ROOT/imageFiles/downtown_arguing_00/image_00000.jpg, "
    "and so on",
)


def read(root: Path) -> tuple[BenchmarkSequence, ...]:
    """The test sequences below `root`."""
    files = sorted((DOWNLOAD.root(root) / "sequenceFiles" / "test").glob("*.pkl"))
    DOWNLOAD.count(root, len(files), SEQUENCES, "3DPW's test split")
    bodies = smpl_bodies(DOWNLOAD.title)
    return tuple(_sequence(read_labels(path, DOWNLOAD), root, bodies) for path in files)


def _sequence(labels: LabelFile, root: Path, bodies: Callable[[str], BodyModel]) -> BenchmarkSequence:
    name = labels.path.stem
    camera_from_world = labels.array("cam_poses", shape=(None, 4, 4))
    frames = len(camera_from_world)
    if frames == 0:
        raise DOWNLOAD.broken(f"{labels.path} has no frames")
    images = DOWNLOAD.files(root / "imageFiles" / name, [f"image_{frame:05d}.jpg" for frame in range(frames)])
    size_px = image_size_px(images[0], DOWNLOAD)
    world_from_camera = inverted(camera_from_world)
    intrinsics = np.tile(labels.array("cam_intrinsics", shape=(3, 3)), (frames, 1, 1))
    count = labels.count("poses")
    people = [_person(labels, index, world_from_camera, intrinsics, bodies) for index in range(count)]
    return BenchmarkSequence(
        name=name,
        frames=frames,
        fps=FPS,
        size_px=size_px,
        image=rgb_images(images, size_px, DOWNLOAD),
        world_from_camera=world_from_camera,
        intrinsics=intrinsics,
        people=tuple(person for person in people if person is not None),
    )


def _person(
    labels: LabelFile,
    index: int,
    world_from_camera: np.ndarray,
    intrinsics: np.ndarray,
    bodies: Callable[[str], BodyModel],
) -> TruePerson | None:
    """None for a person who is never scored."""
    frames = len(world_from_camera)
    gender = labels.text("genders", index)
    if gender not in GENDERS:
        raise DOWNLOAD.broken(f"{labels.path} should have genders m and f, but has {gender!r}")
    posed = pose_person(
        bodies(GENDERS[gender]),
        _betas(labels, index),
        labels.array("poses", index, shape=(frames, 72)),
        labels.array("trans", index, shape=(frames, 3)),
    )
    boxes = boxes_px(project_px(posed.joints_world, world_from_camera, intrinsics), BOX_MARGIN)
    present = (labels.array("campose_valid", index, shape=(frames,)) > 0) & np.isfinite(boxes).all(axis=-1)
    if not present.any():
        return None
    return TruePerson(
        id=index + 1,
        boxes_px=carried_over(boxes, present),
        present=present,
        joints_world=posed.joints_world,
        vertices_world=posed.vertices_world,
    )


def _betas(labels: LabelFile, index: int) -> np.ndarray:
    """The first ten: some people have the whole shape space stored."""
    betas = labels.array("betas", index, shape=(None,))
    if len(betas) < NUM_BETAS:
        raise DOWNLOAD.broken(f"{labels.path} should have {NUM_BETAS} betas per person, but has {len(betas)}")
    return betas[:NUM_BETAS]


THREEDPW = Benchmark(
    name="3dpw",
    title="3DPW, bodies in the camera",
    metrics=("pa_mpjpe_mm", "mpjpe_mm", "pve_mm", "accel"),
    sequences=read,
    sampled_fps=6.0,
    window=30,
)
