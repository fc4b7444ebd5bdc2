"""Makes the examples that the demo opens with: clips of our own renderer and what the mini says of them.

    python scripts/build_examples.py                 # space/examples, all of them
    python scripts/build_examples.py --only 2        # one, by its number

Their seeds belong to no split of any data set, so nothing is trained on them.
"""

import argparse
import shutil
from dataclasses import dataclass
from pathlib import Path

import unish
from space.examples import BUNDLED
from space.packed_result import pack_result
from train.synthetic.clips import generate_clip
from train.synthetic.sample_clip import write_video


@dataclass(frozen=True)
class Rendering:
    """One example."""

    name: str
    seed: int
    domain: str
    people: int
    world: str = "studio"
    seconds: float = 5.0
    script: tuple[str, ...] = ()


RENDERINGS = (
    Rendering("1_a_conversation", 900_000_104, "indoor", 3),
    Rendering("2_three_in_a_yard", 900_000_101, "outdoor", 3),
)
SOURCE_FPS, LONG_SIDE_PX, SAMPLED_FPS = 30, 640, 6.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=BUNDLED)
    parser.add_argument("--only", type=int, help="number of one example")
    options = parser.parse_args()
    for number, rendering in enumerate(RENDERINGS, 1):
        if options.only in (None, number):
            build(rendering, options.out / rendering.name)


def build(rendering: Rendering, folder: Path) -> None:
    """Renders, reconstructs and packs one."""
    clip = generate_clip(
        rendering.seed,
        frames=round(rendering.seconds * SOURCE_FPS),
        fps=SOURCE_FPS,
        long_side_px=LONG_SIDE_PX,
        aspect="4:3",
        people_count=rendering.people,
        domain=rendering.domain,
        script=rendering.script,
        clear_view=True,
        world=rendering.world,
    )
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    video = folder / f"{rendering.name[2:]}.mp4"
    write_video(clip.images, SOURCE_FPS, video, crf=25)
    scene = unish.reconstruct(video, weights="mini", finder="mini", device="cpu", body="open", fps=SAMPLED_FPS)
    pack_result(scene, folder)
    sizes = ", ".join(f"{file.name} {file.stat().st_size / 1024:.0f} KiB" for file in sorted(folder.iterdir()))
    print(f"{folder.name}: {len(scene)} frames, {len(scene.people)} people; {sizes}")


if __name__ == "__main__":
    main()
