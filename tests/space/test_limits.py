"""What a GPU is asked for."""

import numpy as np
import pytest

from benchmarks.forward import teraflop
from space import limits
from space.limits import check_gpu_time, gpu_seconds
from unish.errors import InputError
from unish.structures import Clip


def clip_of(frames: int, width: int = 1920, height: int = 1080) -> Clip:
    pictures = np.broadcast_to(np.uint8(0), (frames, height, width, 3))
    return Clip(pictures, np.arange(frames) / 6, 6.0, "a.mp4", (width, height))


def test_the_gpu_is_asked_for_what_a_visitor_without_an_account_has():
    """120 s a day, and what is asked for counts one and a half times."""
    longest = gpu_seconds(clip_of(limits.MAX_FRAMES), people=8)
    assert longest * 1.5 <= 120
    assert gpu_seconds(clip_of(20), 1) < gpu_seconds(clip_of(120), 1) <= gpu_seconds(clip_of(120), 3) <= longest
    assert gpu_seconds(clip_of(1), 1) >= 10
    assert (
        gpu_seconds(clip_of(60, 1080, 1920), 1) == gpu_seconds(clip_of(60), 1) < gpu_seconds(clip_of(60, 800, 800), 1)
    )


def test_a_clip_that_would_be_broken_off_is_not_begun():
    check_gpu_time(clip_of(limits.MAX_FRAMES), people=2)
    with pytest.raises(InputError, match="shorter part"):
        check_gpu_time(clip_of(limits.MAX_FRAMES), people=30)


def test_the_operations_are_those_that_the_benchmark_counts():
    nobody = teraflop(people=0)
    assert nobody == pytest.approx(limits.TFLOP_LINEAR + limits.TFLOP_ATTENTION, rel=0.01)
    assert teraflop(people=1) - nobody == pytest.approx(limits.TFLOP_A_PERSON, rel=0.02)
