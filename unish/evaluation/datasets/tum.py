"""Cameras and video depth on the dynamic sequences of the TUM RGB-D benchmark (Sturm et al. 2012).

Frames as MonST3R chooses them: images with a pose within 20 ms, matched one to one, every third of them, at most 90.
An image's depth is the map nearest in time within 20 ms, matched one to one; without one its depth is unknown. Depth
is 16-bit PNG, 5000 per metre, in the colour camera; `groundtruth.txt` has the poses of that camera's optical centre.
"""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from unish.evaluation.benchmark import Benchmark, BenchmarkSequence
from unish.evaluation.datasets.download import Download
from unish.evaluation.datasets.frame_files import image_size_px, png_depths, rgb_images
from unish.evaluation.datasets.labels import corner_origin
from unish.geometry.transforms import rigid

SEQUENCES = tuple(
    f"rgbd_dataset_freiburg3_{activity}_{camera}"
    for activity in ("sitting", "walking")
    for camera in ("static", "xyz", "halfsphere", "rpy")
)
STRIDE, MOST_FRAMES, FPS = 3, 90, 30.0
MOST_APART_S = 0.02
UNITS_PER_M = 5000.0
INTRINSICS_FREIBURG3 = np.array([[535.4, 0, 320.1], [0, 539.2, 247.6], [0, 0, 1]])
"""Published for the undistorted images of freiburg3, pixel centres at (j, i)."""
DOWNLOAD = Download(
    title="the dynamic objects of the TUM RGB-D benchmark (freiburg3, sitting_* and walking_*)",
    page="https://cvg.cit.tum.de/data/datasets/rgbd-dataset/download",
    layout="ROOT/rgbd_dataset_freiburg3_walking_xyz/{rgb.txt, depth.txt, groundtruth.txt, rgb/, depth/}, and so on",
)


def read(root: Path) -> tuple[BenchmarkSequence, ...]:
    """The eight sequences below `root`."""
    folders = {name: DOWNLOAD.root(root) / name for name in SEQUENCES}
    DOWNLOAD.sequences(root, folders)
    return tuple(_sequence(name, folder) for name, folder in folders.items())


def _sequence(name: str, folder: Path) -> BenchmarkSequence:
    images, depths, poses = (_read_list(folder / f"{what}.txt") for what in ("rgb", "depth", "groundtruth"))
    pose_of = associate(_times(images), _times(poses))
    depth_of = associate(_times(images), _times(depths))
    chosen = sorted(pose_of)[::STRIDE][:MOST_FRAMES]
    if not chosen:
        raise DOWNLOAD.broken(f"{folder} has no image with a pose within {MOST_APART_S * 1000:g} ms")
    paths = [DOWNLOAD.file(folder / images[frame][1]) for frame in chosen]
    maps = [DOWNLOAD.file(folder / depths[depth_of[frame]][1]) if frame in depth_of else None for frame in chosen]
    size_px = image_size_px(paths[0], DOWNLOAD)
    return BenchmarkSequence(
        name=name.removeprefix("rgbd_dataset_freiburg3_"),
        frames=len(chosen),
        fps=FPS / STRIDE,
        size_px=size_px,
        image=rgb_images(paths, size_px, DOWNLOAD),
        depth_m=png_depths(maps, size_px, DOWNLOAD, UNITS_PER_M),
        world_from_camera=_cameras([poses[pose_of[frame]] for frame in chosen], folder / "groundtruth.txt"),
        intrinsics=np.tile(corner_origin(INTRINSICS_FREIBURG3), (len(chosen), 1, 1)),
    )


def associate(first_s: Float[np.ndarray, "a"], second_s: Float[np.ndarray, "b"]) -> dict[int, int]:
    """Pairs of times, by number, that are less than 20 ms apart: each time once, the closest pairs first."""
    apart = np.abs(first_s[:, None] - second_s[None])
    pairs = np.argwhere(apart < MOST_APART_S)
    matched: dict[int, int] = {}
    taken: set[int] = set()
    for i, j in pairs[np.argsort(apart[tuple(pairs.T)], kind="stable")].tolist():
        if i not in matched and j not in taken:
            matched[i] = j
            taken.add(j)
    return matched


def _read_list(path: Path) -> list[list[str]]:
    """Lines of "time value …", without comments, sorted by time."""
    listed = DOWNLOAD.file(path)
    try:
        lines = listed.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise DOWNLOAD.broken(f"{path} cannot be read ({error.strerror})") from error
    rows = [line.replace(",", " ").split() for line in lines if line.strip() and not line.startswith("#")]
    try:
        rows = sorted((row for row in rows if len(row) > 1), key=lambda row: float(row[0]))
        if not np.isfinite(_times(rows)).all():
            raise ValueError("a time is not finite")
        return rows
    except ValueError as error:
        raise DOWNLOAD.broken(f"{path} should have lines of a time and values, but {error}") from error


def _times(rows: list[list[str]]) -> Float[np.ndarray, "rows"]:
    return np.array([float(row[0]) for row in rows], np.float64)


def _cameras(rows: list[list[str]], path: Path) -> Float[np.ndarray, "frames 4 4"]:
    """World-from-camera, of lines "time tx ty tz qx qy qz qw"."""
    try:
        numbers = np.array([[float(value) for value in row[1:8]] for row in rows]).reshape(len(rows), 7)
        if not np.isfinite(numbers).all():
            raise ValueError("a number is not finite")
        rotations = Rotation.from_quat(numbers[:, 3:]).as_matrix()
    except ValueError as error:
        raise DOWNLOAD.broken(f"{path} should have lines of time tx ty tz qx qy qz qw, but {error}") from error
    return rigid(torch.from_numpy(rotations), torch.from_numpy(numbers[:, :3])).numpy()


TUM = Benchmark(
    name="tum",
    title="TUM dynamics, cameras and depth",
    metrics=("ate_m", "rpe_trans_m", "rpe_rot_deg", "abs_rel", "delta_125"),
    sequences=read,
)
