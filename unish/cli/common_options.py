"""Options of every command that reconstructs clips."""

import argparse
from typing import Any

from unish.fitting.settings import FIT_MODES
from unish.people import FINDERS
from unish.pipeline.options import CROP_SOURCES, PRECISIONS, SFM_MODES, Options
from unish.video import LONGEST_SHOT

ALL = "all"
_NAMES = {"start": "start_s", "end": "end_s"}


def parse_shot(text: str) -> int | str:
    """A shot's number, or one of the words. Raises `argparse.ArgumentTypeError` for anything else."""
    if text in (LONGEST_SHOT, ALL):
        return text
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a shot's number from 1, {LONGEST_SHOT} or {ALL}, got {text}")
    return int(text)


def add_common_options(parser: argparse.ArgumentParser) -> None:
    """Describe how clips are to be read and reconstructed: what does not depend on the clip."""
    parser.add_argument(
        "--fps", type=float, default=Options.fps, help=f"frames sampled per second (default {Options.fps:g})"
    )
    parser.add_argument(
        "--source-fps",
        type=float,
        metavar="RATE",
        help="rate at which the clip's frames were taken (default: as the video or the images' EXIF data say, else 30)",
    )
    parser.add_argument(
        "--shot",
        type=parse_shot,
        default=Options.shot,
        metavar="N",
        help="part between cuts that is reconstructed: its number from 1, or longest (default); unish run takes all",
    )
    parser.add_argument("--start", type=float, metavar="S", help="start at this second of the clip")
    parser.add_argument("--end", type=float, metavar="S", help="end at this second of the clip")
    parser.add_argument(
        "--weights", default=Options.weights, help="release, mini, auto, a folder or a Hub repository id"
    )
    parser.add_argument("--finder", choices=FINDERS, default=Options.finder, help="how people are detected")
    parser.add_argument("--people", type=int, metavar="N", help="how many people there are")
    parser.add_argument(
        "--focal",
        metavar="F",
        help="focal length: pixels of the video, 26mm as phones state it, or estimate (default: what the camera "
        "recorded, else measured from its motion or estimated)",
    )
    parser.add_argument("--static-camera", action="store_true", help="the camera does not move")
    parser.add_argument(
        "--sfm",
        choices=SFM_MODES,
        default=Options.sfm,
        help="measure camera, lens and depth by structure from motion where the camera moves: auto (default) or off",
    )
    parser.add_argument(
        "--window",
        type=int,
        default=Options.window,
        metavar="N",
        help=f"frames per forward pass; longer clips are cut into windows and aligned (default {Options.window})",
    )
    parser.add_argument("--body", help="open, or an SMPL-format file (default: an installed SMPL, else open)")
    parser.add_argument("--device", help="cpu, cuda, cuda:N, mps or xpu (default: the GPU where there is one)")
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        help="of the large part of the network (default: float32 on a CPU; on a GPU bfloat16 where it has that, else "
        "float16)",
    )
    parser.add_argument("--seed", type=int, default=Options.seed)
    parser.add_argument(
        "--fit",
        choices=FIT_MODES,
        default=Options.fit,
        help="fit bodies to the clip's boxes, masks and points: auto (default), full (slower), or off for the "
        "network's own motion (of mini, placed on keypoints)",
    )
    compare = parser.add_argument_group("to compare with the authors' inference (docs/fidelity.md)")
    compare.add_argument(
        "--crop-source",
        choices=CROP_SOURCES,
        default=Options.crop_source,
        help=f"crop people from the clip's frames, or at the network's size (default: {Options.crop_source})",
    )
    compare.add_argument(
        "--box-scale",
        type=float,
        default=Options.box_scale,
        metavar="X",
        help=f"side of a crop over that of the box (default {Options.box_scale:g})",
    )
    compare.add_argument(
        "--confidence",
        type=float,
        default=Options.confidence,
        metavar="C",
        help=f"pixels above it count for the metric scale and the focal length (default {Options.confidence:g})",
    )


def common_options_of(parsed: argparse.Namespace) -> dict[str, Any]:
    """What `add_common_options` described, by the names of `unish.pipeline.Options`."""
    names = (
        "fps",
        "source_fps",
        "shot",
        "start",
        "end",
        "weights",
        "finder",
        "people",
        "focal",
        "static_camera",
        "sfm",
        "window",
        "body",
        "device",
        "precision",
        "seed",
        "fit",
        "crop_source",
        "box_scale",
        "confidence",
    )
    return {_NAMES.get(name, name): getattr(parsed, name) for name in names}
