"""The bundled clip: one dressed person walks, turns and waves in a room; and its ground truth for the tests.

    python -m train.synthetic sample-clip --wardrobe MAKEHUMAN    # see docs/synthetic_world.md

Its seed belongs to no split of any data set, so nothing is trained on it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from safetensors.numpy import save_file

from train.data.schema import ClipSample
from train.synthetic.assets import load_assets
from train.synthetic.clips import generate_clip
from unish.body import open_body
from unish.utils.atomic_write import atomic_path
from unish.video.recorded_lens import APPLE_FOCAL_KEY

TRUTH_NAMES = (
    "intrinsics", "world_from_camera", "body_rotations", "translation_camera", "betas", "boxes_px", "visibility",
)  # fmt: skip


@dataclass(frozen=True)
class SampleClipConfig:
    """Renders the bundled clip and, beside it, NAME_truth.safetensors."""

    out: Path = Path("unish/assets/sample_clip.mp4")
    """Where the video goes (H.264)."""
    seed: int = 900_000_022
    """Seed of the scene; outside every split."""
    seconds: float = 6.0
    """Length."""
    fps: int = 30
    """Frames a second."""
    long_side_px: int = 640
    """Longer side of the image before encoding."""
    crf: int = 23
    """H.264 quality; lower is better and larger."""
    people: int = 1
    """People, 1 to 3."""
    actions: tuple[str, ...] = ("walk", "turn", "wave")
    """What the first person does in turn (see actions.ACTIONS)."""
    motions: Path | None = None
    """Folder of captured motion for the others."""
    wardrobe: Path | None = None
    """Folder of MakeHuman's base.obj and garments."""


def make_sample_clip(config: SampleClipConfig) -> ClipSample:
    """Writes the video and its truth (camera, intrinsics, SMPL-format parameters, boxes for each frame)."""
    clip = generate_clip(
        config.seed,
        frames=round(config.seconds * config.fps),
        fps=config.fps,
        long_side_px=config.long_side_px,
        aspect="4:3",
        people_count=config.people,
        domain="indoor",
        script=config.actions,
        camera="orbit",
        clear_view=True,
        assets=load_assets(config.motions, config.wardrobe, None, open_body()),
    )
    with atomic_path(config.out) as temporary:
        write_video(clip.images, config.fps, temporary, config.crf)
    truth = {name: np.ascontiguousarray(getattr(clip, name)) for name in TRUTH_NAMES}
    with atomic_path(truth_path(config.out)) as temporary:
        save_file(truth, str(temporary), metadata={"fps": str(config.fps), "body": clip.body, "world": "z up, metres"})
    return clip


def truth_path(video: Path) -> Path:
    """Where the truth of a rendered video lies."""
    return video.with_name(video.stem + "_truth.safetensors")


def write_video(images: np.ndarray, fps: int, path: Path, crf: int = 20, focal_mm: float | None = None) -> None:
    """Writes (frames, height, width, 3) uint8 as H.264, yuv420p, playable while it loads.

    `focal_mm` of 35 mm film is written as phones do that record their lens (`unish.video.recorded_lens`).
    """
    with av.open(str(path), "w", options={"movflags": "+faststart+use_metadata_tags"}) as container:
        if focal_mm is not None:
            container.metadata[APPLE_FOCAL_KEY] = f"{focal_mm:.2f}"
        stream = container.add_stream("libx264", rate=fps)
        stream.width, stream.height, stream.pix_fmt = images.shape[2], images.shape[1], "yuv420p"
        stream.options = {"crf": str(crf), "preset": "slow"}
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
