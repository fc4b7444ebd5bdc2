"""Counts what a window of the release network computes, and on a GPU times it: the numbers of space/limits.py.

    python benchmarks/gpu_seconds.py

Prints floating-point operations of one window of 30 frames of 518×294, with no person and of each person, and with
a CUDA device the seconds of both, of putting the weights there, and the rate reached.
"""

import sys
import time
from pathlib import Path

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from unish.models.config import CROP_SIZE_PX, RELEASE
from unish.models.unish import UniSH

FRAMES, WIDTH_PX, HEIGHT_PX, PEOPLE = 30, 518, 294, 3


def window(model: UniSH, device: str, people: int) -> None:
    """One forward pass, as the app makes it."""
    with torch.inference_mode():
        scene = model.scene(torch.zeros(1, FRAMES, 3, HEIGHT_PX, WIDTH_PX, device=device))
        if people:
            crops = torch.zeros(1, people, FRAMES, 3, CROP_SIZE_PX, CROP_SIZE_PX, device=device)
            model.people(scene, crops, torch.zeros(1, people, FRAMES, 3, device=device), 6.0)


def teraflop(people: int) -> float:
    """10¹² operations of one window, counted on a network without memory."""
    # The fused attention of the CPU is not among what is counted: its plain form computes the same.
    with FakeTensorMode(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        window(UniSH(RELEASE).eval(), "cpu", people)
    return counter.get_total_flops() / 1e12


def seconds(model: UniSH, people: int) -> float:
    """Of one window on the GPU, the best of three after one that is not timed."""
    window(model, "cuda", people)
    times = []
    for _ in range(3):
        torch.cuda.synchronize()
        start = time.perf_counter()
        window(model, "cuda", people)
        torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    nobody, everybody = teraflop(0), teraflop(PEOPLE)
    person = (everybody - nobody) / PEOPLE
    print(f"one window, {FRAMES} frames of {WIDTH_PX}×{HEIGHT_PX}: {nobody:.1f} Tflop, a person {person:.1f}")
    if not torch.cuda.is_available():
        print("no CUDA device: not timed")
        return
    model = UniSH(RELEASE).eval()
    start = time.perf_counter()
    model.cuda()
    torch.cuda.synchronize()
    print(f"weights to the GPU: {time.perf_counter() - start:.1f} s")
    alone, together = seconds(model, 0), seconds(model, PEOPLE)
    each = (together - alone) / PEOPLE
    print(
        f"{torch.cuda.get_device_name()}: window {alone:.2f} s ({nobody / alone:.0f} Tflop/s), each person {each:.2f} s"
    )


if __name__ == "__main__":
    main()
