"""Makes the examples that the demo opens with: clips of our own renderer and what the mini says of them.

    python scripts/build_examples.py --wardrobe MAKEHUMAN --motions CMU     # space/examples, all of them
    python scripts/build_examples.py --wardrobe … --motions … --only 2      # one, by its number
    python scripts/build_examples.py --results-only                         # new weights: the clips stay as they are

Their seeds belong to no split of any data set, so nothing is trained on them. Each was chosen among 20 to 60 by how
well bodies stand on what the clip shows of people and floor: they are good examples, not typical ones. The clips say
which lens they were rendered with, as those of many phones do. People wear garments of MakeHuman (CC0): see
docs/synthetic_world.md.
"""

import argparse
import math
import shutil
from dataclasses import dataclass
from pathlib import Path

import unish
from space.examples import BUNDLED, TITLE_FILE
from space.packed_result import PACKED_FILE, pack_result
from train.synthetic.assets import load_assets
from train.synthetic.clips import generate_clip
from train.synthetic.sample_clip import write_video
from unish.analysis.fit_report import fit_report
from unish.body import open_body
from unish.errors import InputError
from unish.geometry import FILM_DIAGONAL_MM


@dataclass(frozen=True)
class Rendering:
    """One example."""

    name: str
    seed: int
    domain: str
    people: int
    script: tuple[str, ...]
    """What the first person does in turn."""
    title: str = ""
    """Where the folder's name is not enough."""


RENDERINGS = (
    Rendering(
        "1_walk_turn_and_wave", 900_000_604, "indoor", 1, script=("walk", "turn", "wave"), title="Walk, turn and wave"
    ),
    Rendering("2_a_walk_and_a_wave", 900_000_611, "indoor", 1, script=("walk", "turn", "wave")),
)
SECONDS, SOURCE_FPS, LONG_SIDE_PX, SAMPLED_FPS = 5, 30, 640, 6.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=BUNDLED)
    parser.add_argument("--only", type=int, help="number of one example")
    parser.add_argument("--wardrobe", type=Path, help="folder of MakeHuman's base.obj and garments")
    parser.add_argument("--motions", type=Path, help="folder of CMU's recordings")
    parser.add_argument("--results-only", action="store_true", help="reconstruct the clips that are there")
    options = parser.parse_args()
    for number, rendering in enumerate(RENDERINGS, 1):
        if options.only in (None, number):
            folder = options.out / rendering.name
            if not options.results_only:
                render(rendering, folder, options.motions, options.wardrobe)
            reconstruct(rendering, folder)


def video_of(rendering: Rendering, folder: Path) -> Path:
    return folder / f"{rendering.name[2:]}.mp4"


def render(rendering: Rendering, folder: Path, motions: Path | None, wardrobe: Path | None) -> None:
    """Renders the clip of one into a new folder."""
    if motions is None or wardrobe is None:
        raise InputError("Expected --wardrobe and --motions to render with; --results-only keeps the clips.")
    clip = generate_clip(
        rendering.seed,
        frames=SECONDS * SOURCE_FPS,
        fps=SOURCE_FPS,
        long_side_px=LONG_SIDE_PX,
        aspect="4:3",
        people_count=rendering.people,
        domain=rendering.domain,
        script=rendering.script,
        camera="orbit",
        clear_view=True,
        assets=load_assets(motions, wardrobe, None, open_body()),
    )
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    if rendering.title:
        (folder / TITLE_FILE).write_text(f"{rendering.title}\n", "utf-8")
    height, width = clip.images.shape[1:3]
    focal_mm = FILM_DIAGONAL_MM * float(clip.intrinsics[0, 0, 0]) / math.hypot(width, height)
    write_video(clip.images, SOURCE_FPS, video_of(rendering, folder), crf=25, focal_mm=focal_mm)


def reconstruct(rendering: Rendering, folder: Path) -> None:
    """Reconstructs the clip of one and packs the result beside it."""
    (folder / PACKED_FILE).unlink(missing_ok=True)
    video = video_of(rendering, folder)
    scene = unish.reconstruct(video, weights="mini", finder="mini", device="cpu", body="open", fps=SAMPLED_FPS)
    pack_result(scene, folder)
    sizes = ", ".join(f"{file.name} {file.stat().st_size / 1024:.0f} KiB" for file in sorted(folder.iterdir()))
    fit = fit_report(scene).word
    print(f"{folder.name}: {len(scene)} frames, {len(scene.people)} people, fit {fit}; {sizes}")


if __name__ == "__main__":
    main()
