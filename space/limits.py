"""What a visitor may ask for, checked before anything is decoded, and how long a GPU is asked for."""

import math

from unish.errors import InputError
from unish.structures import Clip

MAX_UPLOAD_MB = 200
MAX_SECONDS = 300.0
MAX_FRAMES = 300
"""Sampled frames of one reconstruction; the command line and Python take clips of any length."""
FPS_RANGE = (0.1, 60.0)
MAX_PEOPLE = 10
MAX_TEXT_LETTERS = 2000
MAX_FRAME_MEGAPIXELS = 12.0
"""A phone's 4K video has 8.3, in 4:3 11."""
MAX_DECODED_MEGAPIXELS = 40_000.0
"""Of all frames between the first and the last that is sampled: five minutes of 1080p at 60 frames per second."""
MAX_KEPT_BYTES = 2 * 2**30
"""Of the sampled frames, on disk; frames of longer or larger clips are kept smaller."""
MAX_WAITING = 20
TIME_LIMIT_S = 300.0
"""One request never takes longer, and so nobody waits longer for the one before."""
PREVIEW_LIMIT_S = 120.0

GPU_SECONDS_AT_MOST = 60
"""A visitor without an account has 120 s a day, and what is asked for counts one and a half times."""
PREVIEW_GPU_SECONDS_AT_MOST = 20
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


def gpu_seconds(clip: Clip, people: int) -> int:
    """How long a GPU is asked for: enough for this clip and so many people, and no more than a visitor has."""
    return min(GPU_SECONDS_AT_MOST, math.ceil(_seconds_needed(clip, people)))


def preview_gpu_seconds(clip: Clip) -> int:
    """How long a GPU is asked for to detect the people of a clip: an estimate on the safe side, not measured on one."""
    return min(PREVIEW_GPU_SECONDS_AT_MOST, math.ceil(8 + 0.1 * len(clip.frames)))


def check_gpu_time(clip: Clip, people: int) -> None:
    """Raises `InputError` for a clip that would be broken off before it is done."""
    needed = _seconds_needed(clip, people)
    if needed > GPU_SECONDS_AT_MOST:
        raise InputError(
            f"{len(clip.frames)} frames and {people} people need about {needed:.0f} s of GPU; the limit is "
            f"{GPU_SECONDS_AT_MOST} s per visitor. Choose a shorter part, fewer frames per second, or fewer people."
        )


def _seconds_needed(clip: Clip, people: int) -> float:
    windows = max(1, math.ceil((len(clip.frames) - WINDOW_FRAMES / 3) / (WINDOW_FRAMES * 2 / 3)))
    short, long = sorted(clip.frames.shape[1:3])
    pixels = (short / long) / (9 / 16)
    tflop = TFLOP_LINEAR * pixels + TFLOP_ATTENTION * pixels**2 + people * TFLOP_A_PERSON
    return SECONDS_TO_START + windows * (tflop / SUSTAINED_TFLOP_S + CPU_SECONDS_A_WINDOW)
