"""What a visitor may ask for, checked before anything is decoded, and how long a GPU is asked for."""

import math
from pathlib import Path

from unish.errors import InputError
from unish.video.decode import open_video, stated_length_s, video_stream

MAX_UPLOAD_MB = 200
MAX_SECONDS = 300.0
MAX_SIDE_PX = 4096
MAX_FRAMES = 300
"""Sampled frames of one reconstruction; the command line and Python take clips of any length."""
MAX_WAITING = 20

GPU_SECONDS_AT_MOST = 60
"""A visitor without an account has 120 s a day, and what is asked for counts one and a half times."""
GPU_SECONDS_TO_START, GPU_SECONDS_A_WINDOW, GPU_SECONDS_A_PERSON = 10.0, 2.0, 0.7
"""Estimates for release weights, on the safe side; a person's are for each window."""


def check_upload(path: Path) -> None:
    """Raises `InputError` for a file that is too large, too long or too wide to be taken here, or that is no video."""
    size_mb = path.stat().st_size / 2**20
    if size_mb > MAX_UPLOAD_MB:
        raise InputError(
            f"The clip has {size_mb:.0f} MB; {MAX_UPLOAD_MB} MB is what this page takes. Cut or shrink it."
        )
    with open_video(path) as container:
        stream = video_stream(container, path)
        width, height, length_s = stream.width, stream.height, stated_length_s(container, stream)
    if max(width, height) > MAX_SIDE_PX:
        raise InputError(
            f"The clip is {width}×{height}; {MAX_SIDE_PX} pixels along the longer side is what this page takes. "
            "Export it smaller (1080p is plenty)."
        )
    if math.isfinite(length_s) and length_s > MAX_SECONDS:
        raise InputError(
            f"The clip lasts {length_s:.0f} s; {MAX_SECONDS:.0f} s is what this page takes. Cut it, or run unish "
            "yourself: it takes clips of any length."
        )


def gpu_seconds(frames: int, people: int, window: int = 30) -> int:
    """How long a GPU is asked for: enough for these frames and people, and no more than a visitor has."""
    windows = max(1, math.ceil((frames - window / 3) / (window * 2 / 3)))
    wanted = GPU_SECONDS_TO_START + windows * (GPU_SECONDS_A_WINDOW + people * GPU_SECONDS_A_PERSON)
    return min(GPU_SECONDS_AT_MOST, math.ceil(wanted))
