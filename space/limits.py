"""What a visitor may ask for, checked before anything is decoded, and how long a GPU is asked for."""

import math
from pathlib import Path

from unish.errors import InputError
from unish.structures import Clip
from unish.video.containers import open_video, stated_length_s, video_stream

MAX_UPLOAD_MB = 200
MAX_SECONDS = 300.0
MAX_SIDE_PX = 4096
MAX_FRAMES = 300
"""Sampled frames of one reconstruction; the command line and Python take clips of any length."""
MAX_WAITING = 20

GPU_SECONDS_AT_MOST = 60
"""A visitor without an account has 120 s a day, and what is asked for counts one and a half times."""
LOOK_SECONDS_AT_MOST = 20
WINDOW_FRAMES = 30
TFLOP_LINEAR, TFLOP_ATTENTION, TFLOP_A_PERSON = 44.8, 44.9, 7.6
"""Operations of one window of 16:9 frames with release weights, those that grow with the pixels and those that grow
with their square, and of each person in it: counted by benchmarks/forward.py --count-only."""
SUSTAINED_TFLOP_S = 60.0
"""Taken, on the safe side, for what ZeroGPU's cards reach; not measured on one."""
CPU_SECONDS_A_WINDOW = 1.3
"""Crops, joining and the rest: 129 s for 2,000 frames on two cores, mini network included (benchmarks/long_clip.py)."""
SECONDS_TO_START = 10.0
"""Until the weights are on the card; taken on the safe side."""


def check_upload(path: Path) -> None:
    """Raises `InputError` for a file that is too large, too long or too wide to be taken here, or that is no video."""
    if not path.is_file():
        raise InputError("The clip is not kept any longer: uploads live for an hour. Drop it again.")
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


def gpu_seconds(clip: Clip, people: int) -> int:
    """How long a GPU is asked for: enough for this clip and so many people, and no more than a visitor has."""
    return min(GPU_SECONDS_AT_MOST, math.ceil(_seconds_needed(clip, people)))


def look_seconds(clip: Clip) -> int:
    """How long a GPU is asked for to find the people of a clip: an estimate on the safe side, not measured on one."""
    return min(LOOK_SECONDS_AT_MOST, math.ceil(8 + 0.1 * len(clip.frames)))


def check_gpu_time(clip: Clip, people: int) -> None:
    """Raises `InputError` for a clip that would be broken off before it is done."""
    needed = _seconds_needed(clip, people)
    if needed > GPU_SECONDS_AT_MOST:
        raise InputError(
            f"{len(clip.frames)} frames and {people} people need about {needed:.0f} s of GPU; {GPU_SECONDS_AT_MOST} s "
            "is what a visitor may ask for. Take a shorter part, fewer frames a second, or fewer people."
        )


def _seconds_needed(clip: Clip, people: int) -> float:
    windows = max(1, math.ceil((len(clip.frames) - WINDOW_FRAMES / 3) / (WINDOW_FRAMES * 2 / 3)))
    short, long = sorted(clip.frames.shape[1:3])
    pixels = (short / long) / (9 / 16)
    tflop = TFLOP_LINEAR * pixels + TFLOP_ATTENTION * pixels**2 + people * TFLOP_A_PERSON
    return SECONDS_TO_START + windows * (tflop / SUSTAINED_TFLOP_S + CPU_SECONDS_A_WINDOW)
