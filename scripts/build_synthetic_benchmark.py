"""Renders the bundled benchmark: `python scripts/build_synthetic_benchmark.py --wardrobe MAKEHUMAN [--out FOLDER]`.

The first clips with people in view from the seeds that are held out from all training, in the format that
unish/evaluation/datasets/synthetic.py describes, and the row of the mean baseline. Takes two minutes; with --baseline
only that row is computed anew, for the clips that are there.
"""

import argparse
import io
import itertools
import json
import sys
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors.numpy import save

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from train.data.schema import ClipSample
from train.data.sequences import seen_people
from train.score import HELD_OUT_SEED, MEAN_BASELINE, TRAINING_SEED, MeanBaseline
from train.synthetic.assets import NO_ASSETS, Assets, load_assets
from train.synthetic.clips import generate_clip
from unish.body import open_body
from unish.evaluation.datasets import synthetic
from unish.evaluation.metric_values import means_of, pooled
from unish.evaluation.scoring import score
from unish.utils.atomic_write import atomic_path

CLIPS, FRAMES = 24, 8
TRAINING_CLIPS = 200
JPEG_QUALITY = 85
COMMAND = "python scripts/build_synthetic_benchmark.py --wardrobe MAKEHUMAN"
LONG_AGO = (1980, 1, 1, 0, 0, 0)
"""The time of every member, so that the same clips make the same archives."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=synthetic.SYNTHETIC_BENCHMARK, help="replaced when it is there")
    parser.add_argument("--clips", type=int, default=CLIPS)
    parser.add_argument("--frames", type=int, default=FRAMES, help="of every clip")
    parser.add_argument(
        "--training-clips", type=int, default=TRAINING_CLIPS, help="that the mean baseline is taken from"
    )
    parser.add_argument("--baseline", action="store_true", help="only the row of the mean baseline")
    parser.add_argument("--wardrobe", type=Path, help="folder of MakeHuman's base.obj and garments; else undressed")
    options = parser.parse_args()
    assets = load_assets(None, options.wardrobe, None, open_body())
    training = (generate_clip(TRAINING_SEED + i, options.frames, assets=assets) for i in range(options.training_clips))
    if options.baseline:
        rewrite_baseline(options.out, training)
        return
    with atomic_path(options.out) as folder:
        clips = list(itertools.islice(held_out(options.frames, assets), options.clips))
        write(clips, folder)
        write_header(clips, folder, [baseline_row(training, folder)])
    size = sum(path.stat().st_size for path in options.out.iterdir())
    print(f"{options.out}: {len(clips)} clips of {options.frames} frames, {size / 1e6:.2f} MB")


def held_out(frames: int, assets: Assets = NO_ASSETS) -> Iterator[ClipSample]:
    """Clips with somebody in view."""
    clips = (generate_clip(seed, frames, assets=assets) for seed in itertools.count(HELD_OUT_SEED))
    return (clip for clip in clips if seen_people(clip).any())


def write(clips: list[ClipSample], folder: Path) -> None:
    """One archive per clip, and the header of the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for clip in clips:
        with zipfile.ZipFile(folder / f"{clip.clip_id}.zip", "w", zipfile.ZIP_STORED) as archive:
            for name, content in members(clip):
                archive.writestr(zipfile.ZipInfo(name, LONG_AGO), content)
    write_header(clips, folder, [])


def write_header(clips: list[ClipSample], folder: Path, published: list[dict]) -> None:
    """What `unish.evaluation.datasets.synthetic.at` reads first."""
    header = {
        "format": synthetic.FORMAT,
        "format_version": synthetic.FORMAT_VERSION,
        "made_by": f"{COMMAND}, seeds {HELD_OUT_SEED} and up",
        "fps": clips[0].fps,
        "body": clips[0].body,
        "sequences": [clip.clip_id for clip in clips],
        "published": published,
    }
    (folder / synthetic.HEADER).write_text(json.dumps(header, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def members(clip: ClipSample) -> Iterator[tuple[str, bytes]]:
    """Name and content of every file in a clip's archive."""
    millimetres = np.round(clip.depth_m * 1000).astype(np.uint16)
    for frame in range(clip.frames):
        yield synthetic.member("image", frame), encoded(clip.images[frame], "JPEG", quality=JPEG_QUALITY)
        yield synthetic.member("depth", frame), encoded(millimetres[frame], "PNG", optimize=True)
        yield synthetic.member("mask", frame), encoded(clip.person_mask[frame], "PNG", optimize=True)
    labels = {name: np.ascontiguousarray(getattr(clip, name), np.float32) for name in synthetic.LABEL_NAMES}
    yield synthetic.LABELS, save(labels)


def encoded(pixels: np.ndarray, kind: str, **options: object) -> bytes:
    """The bytes of an image file."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def rewrite_baseline(folder: Path, training: Iterable[ClipSample]) -> None:
    """Replace the published rows of an existing folder by that of the mean baseline."""
    path = folder / synthetic.HEADER
    header = json.loads(path.read_text(encoding="utf-8")) | {"published": [baseline_row(training, folder)]}
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(header, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def baseline_row(training: Iterable[ClipSample], folder: Path) -> dict:
    """The mean baseline, scored on the benchmark as written."""
    baseline = MeanBaseline.fit(training, open_body())
    means = [
        means_of(score(baseline.predict(sequence), sequence, synthetic.METRICS)) for sequence in synthetic.read(folder)
    ]
    return {"method": MEAN_BASELINE, "source": COMMAND, "numbers": pooled(means)}


if __name__ == "__main__":
    main()
