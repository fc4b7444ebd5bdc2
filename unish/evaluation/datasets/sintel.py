"""Cameras and video depth on MPI Sintel (Butler et al. 2012): rendered film scenes with known depth and cameras.

The 14 sequences on which the camera papers agree (MonST3R after ParticleSfM), every frame in one pass. Depth over 70 of
the film's units, which the papers call metres, is not scored: it comes as unknown.

`.dpt` and `.cam` are the little-endian files of MPI's depth development kit: the tag 202021.25 as float32; then width
and height as int32 and the depth as float32, or the intrinsics (3×3) and camera-from-world (3×4) as float64.
"""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32

from unish.evaluation.benchmark import Benchmark, BenchmarkSequence
from unish.evaluation.datasets.download import Download
from unish.evaluation.datasets.frame_files import image_size_px, rgb_sequence
from unish.evaluation.datasets.labels import corner_origin, inverted

SEQUENCES = (
    "alley_2", "ambush_4", "ambush_5", "ambush_6", "cave_2", "cave_4", "market_2", "market_5", "market_6", "shaman_3",
    "sleeping_1", "sleeping_2", "temple_2", "temple_3",
)  # fmt: skip
TAG = 202021.25
MOST_DEPTH_M = 70.0
FPS = 24.0
DOWNLOAD = Download(
    title="MPI Sintel, its images and its depth and camera data",
    page="http://sintel.is.tue.mpg.de/downloads and http://sintel.is.tue.mpg.de/depth",
    layout="ROOT/training/final/alley_2/frame_0001.png, …/clean/…, …/depth/….dpt and …/camdata_left/….cam",
)


def read(root: Path, rendering: str = "final") -> tuple[BenchmarkSequence, ...]:
    """The 14 sequences below `root`/training; `rendering` is "final" or "clean" (without blur and haze)."""
    training = DOWNLOAD.root(root) / "training"
    DOWNLOAD.sequences(root, {name: training / rendering / name for name in SEQUENCES})
    return tuple(_sequence(name, training, rendering) for name in SEQUENCES)


def _sequence(name: str, training: Path, rendering: str) -> BenchmarkSequence:
    folder = training / rendering / name
    images = sorted(folder.glob("frame_*.png"))
    if not images:
        raise DOWNLOAD.missing(f"{folder} has no images")
    stems = [image.stem for image in images]
    depths = DOWNLOAD.files(training / "depth" / name, [f"{stem}.dpt" for stem in stems])
    cameras = DOWNLOAD.files(training / "camdata_left" / name, [f"{stem}.cam" for stem in stems])
    size_px = image_size_px(images[0], DOWNLOAD)
    intrinsics, camera_from_world = (np.stack(parts) for parts in zip(*map(_read_camera, cameras), strict=True))
    return rgb_sequence(
        name,
        images,
        FPS,
        size_px,
        DOWNLOAD,
        depth_m=_depths(depths, size_px),
        world_from_camera=inverted(camera_from_world),
        intrinsics=corner_origin(intrinsics),
    )


def _depths(paths: Sequence[Path], size_px: tuple[int, int]) -> Callable[[int], Float32[np.ndarray, "height width"]]:
    def depth_m(frame: int) -> Float32[np.ndarray, "height width"]:
        content = _content(paths[frame])
        size = tuple(np.frombuffer(content[4:12], "<i4").tolist())
        if size != size_px or len(content) != 12 + 4 * size[0] * size[1]:
            raise DOWNLOAD.broken(f"{paths[frame]} does not hold depth of {size_px[0]}×{size_px[1]} pixels")
        values = np.frombuffer(content[12:], "<f4").reshape(size[::-1])
        return np.where((values > 0) & (values < MOST_DEPTH_M), values, 0).astype(np.float32)

    return depth_m


def _read_camera(path: Path) -> tuple[Float[np.ndarray, "3 3"], Float[np.ndarray, "4 4"]]:
    """Intrinsics (pixel centres at (j, i)) and camera-from-world."""
    content = _content(path)
    if len(content) != 4 + 8 * (9 + 12):
        raise DOWNLOAD.broken(f"{path} is {len(content)} bytes long where a camera has {4 + 8 * (9 + 12)}")
    numbers = np.frombuffer(content[4:], "<f8")
    if not np.isfinite(numbers).all():
        raise DOWNLOAD.broken(f"{path} holds numbers that are not finite")
    return numbers[:9].reshape(3, 3), np.vstack([numbers[9:].reshape(3, 4), [0.0, 0.0, 0.0, 1.0]])


def _content(path: Path) -> bytes:
    content = DOWNLOAD.file(path).read_bytes()
    if content[:4] != np.float32(TAG).astype("<f4").tobytes():
        raise DOWNLOAD.broken(f"{path} does not begin with Sintel's tag {TAG}")
    return content


SINTEL, SINTEL_CLEAN = (
    Benchmark(
        name=name,
        title=f"Sintel ({rendering}), cameras and depth",
        metrics=("ate_m", "rpe_trans_m", "rpe_rot_deg", "abs_rel", "delta_125"),
        sequences=functools.partial(read, rendering=rendering),
    )
    for name, rendering in (("sintel", "final"), ("sintel_clean", "clean"))
)
