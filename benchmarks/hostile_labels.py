"""Label files of benchmark data sets with odd entries, for benchmarks/hostile.py."""

import pickle
import random
from pathlib import Path

import cv2
import numpy as np

from benchmarks.hostile_mutations import mutated_bytes, mutated_labels


def labels_case(rng: random.Random, folder: Path, bases: Path) -> None:
    """A label file of EMDB or 3DPW with odd entries is read, and the body posed."""
    from unish.body import open_body
    from unish.evaluation.datasets import emdb, threedpw
    from unish.evaluation.datasets.labels import read_labels

    name = rng.choice(("emdb", "threedpw"))
    root = bases / "labels" / name
    labels = pickle.loads((root / "labels.pkl").read_bytes())
    content = pickle.dumps(mutated_labels(labels, rng), protocol=rng.choice((0, 2, 4, 5)))
    (folder / "images").symlink_to(root / "images")
    (folder / "imageFiles").symlink_to(root)
    path = folder / "images.pkl"
    path.write_bytes(mutated_bytes(content, rng) if rng.random() < 0.2 else content)
    module = emdb if name == "emdb" else threedpw
    read = read_labels(path, module.DOWNLOAD)
    body = open_body()
    sequence = (
        emdb._sequence(read, lambda gender: body)
        if name == "emdb"
        else threedpw._sequence(read, folder, lambda gender: body)
    )
    sequence.image(0)
    for person in sequence.people:
        person.vertices_world(0)


def make_labels(folder: Path) -> None:
    """Three frames of one person under the names of EMDB, and of two under those of 3DPW."""
    frames, image = 3, np.full((36, 48, 3), 90, np.uint8)
    cameras = np.tile(np.eye(4), (frames, 1, 1))
    intrinsics = np.array([[50.0, 0, 24], [0, 50.0, 18], [0, 0, 1]])
    place = np.tile([0.0, 0.0, 4.0], (frames, 1))
    emdb = {
        "gender": "female", "emdb1": True, "n_frames": frames, "good_frames_mask": np.ones(frames, bool),
        "camera": {"intrinsics": intrinsics, "extrinsics": cameras, "width": 48, "height": 36},
        "smpl": {
            "poses_root": np.zeros((frames, 3)), "poses_body": np.zeros((frames, 69)), "trans": place,
            "betas": np.zeros(10),
        },
        "bboxes": {"bboxes": np.tile([1.0, 1, 30, 30], (frames, 1))},
    }  # fmt: skip
    threedpw = {
        "betas": [np.zeros(10)] * 2, "poses": [np.zeros((frames, 72))] * 2, "trans": [place] * 2,
        "genders": ["m", "f"], "campose_valid": [np.ones(frames, int)] * 2, "cam_poses": cameras,
        "cam_intrinsics": intrinsics,
    }  # fmt: skip
    for name, labels, stem in (("emdb", emdb, "{:05d}"), ("threedpw", threedpw, "image_{:05d}")):
        images = folder / name / "images"
        images.mkdir(parents=True)
        (folder / name / "labels.pkl").write_bytes(pickle.dumps(labels))
        for frame in range(frames):
            cv2.imwrite(str(images / f"{stem.format(frame)}.jpg"), image)
