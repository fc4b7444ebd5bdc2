"""Video depth on the Bonn RGB-D Dynamic Dataset (Palazzolo et al. 2019): people moving before a Kinect.

Protocol of DepthCrafter and MonST3R: five sequences, of each the sorted images 30 to 139 with the sorted depth maps
of the same numbers, in one pass; depth is 16-bit PNG, 5000 per metre, already in the colour camera.
"""

from pathlib import Path

from unish.evaluation.benchmark import Benchmark, BenchmarkSequence
from unish.evaluation.datasets import published
from unish.evaluation.datasets.download import Download
from unish.evaluation.datasets.frame_files import image_size_px, png_depths, rgb_sequence

SEQUENCES = ("balloon2", "crowd2", "crowd3", "person_tracking2", "synchronous")
FRAMES = slice(30, 140)
UNITS_PER_M = 5000.0
FPS = 30.0
DOWNLOAD = Download(
    title="the Bonn RGB-D Dynamic Dataset",
    page="https://www.ipb.uni-bonn.de/data/rgbd-dynamic-dataset/",
    layout="ROOT/rgbd_bonn_balloon2/rgb/*.png and …/depth/*.png, and so on for its other sequences",
)


def read(root: Path) -> tuple[BenchmarkSequence, ...]:
    """The five sequences below `root`, or below `root`/rgbd_bonn_dataset, which the archive makes."""
    inner = DOWNLOAD.root(root) / "rgbd_bonn_dataset"
    root = inner if inner.is_dir() else root
    folders = {name: root / f"rgbd_bonn_{name}" for name in SEQUENCES}
    DOWNLOAD.sequences(root, folders)
    return tuple(_sequence(name, folder) for name, folder in folders.items())


def _sequence(name: str, folder: Path) -> BenchmarkSequence:
    images, depths = _chosen(folder / "rgb"), _chosen(folder / "depth")
    size_px = image_size_px(images[0], DOWNLOAD)
    depth_m = png_depths(depths, size_px, DOWNLOAD, UNITS_PER_M)
    return rgb_sequence(name, images, FPS, size_px, DOWNLOAD, depth_m=depth_m)


def _chosen(folder: Path) -> tuple[Path, ...]:
    files = sorted(folder.glob("*.png"))
    if len(files) < FRAMES.stop:
        raise DOWNLOAD.missing(
            f"{folder} has {len(files)} images, fewer than the {FRAMES.stop} that the protocol takes"
        )
    return tuple(files[FRAMES])


BONN = Benchmark(
    name="bonn",
    title="Bonn, video depth",
    metrics=("abs_rel", "delta_125"),
    sequences=read,
    published=published.BONN,
)
