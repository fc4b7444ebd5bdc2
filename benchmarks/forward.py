"""Times one window of the network: seconds, memory, operations, and which part takes what.

    python benchmarks/forward.py --frames 8 16 30 60 120          # release size, on a GPU
    python benchmarks/forward.py --frames 8 16 30 60 120 --compile
    python benchmarks/forward.py --frames 2 4                     # on a CPU
    python benchmarks/forward.py --count-only                     # operations alone, anywhere

Weights are random (seconds do not depend on them), images 518×294. Each line stands beside the plain path: the same
network in float32 whose attention makes the whole matrix. The matrix rate is that of one large product of the same
type in the same run; operations are counted on a network without memory. *Error* is what bfloat16 does to the tokens
that all heads read: the norm of their difference from float32's over the norm of those.
"""

import contextlib
import itertools
import platform
import resource
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
import tyro
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from unish.geometry.camera import solve_focal_shift
from unish.models.config import CROP_SIZE_PX, MINI, RELEASE
from unish.models.scene_branch import SceneFeatures
from unish.models.unish import UniSH
from unish.utils.device import free_bytes

WIDTH_PX, HEIGHT_PX = 518, 294
PARTS = {
    "encoder": "scene_branch.encoder",
    "decoder": "scene_branch.decoder",
    "point head": "scene_branch.point_head.decoder",
    "confidence head": "scene_branch.conf_head.decoder",
    "camera head": "scene_branch.camera_head.decoder",
    "people": "human_branch",
    "AlignNet": "align_net",
}
CONFIGS = {"release": RELEASE, "mini": MINI}


@dataclass(frozen=True)
class ForwardConfig:
    """What is timed."""

    frames: tuple[int, ...] = (8, 16, 30, 60, 120)
    people: tuple[int, ...] = (1, 3)
    dtype: tuple[Literal["float32", "bfloat16"], ...] = ("float32", "bfloat16")
    size: Literal["release", "mini"] = "release"
    device: str = "cuda" if torch.cuda.is_available() else "cpu"
    repeats: int = 3
    """Timed runs, the fastest of which counts, after one that is not timed."""
    plain: bool = True
    """Time the plain path as well."""
    compile: bool = False
    """Time the network with compiled blocks."""
    count_only: bool = False
    """Only count operations."""


@dataclass(frozen=True)
class Timing:
    """One line of the table."""

    seconds: float
    peak_gb: float
    parts: dict[str, float]
    hidden: Tensor
    """`SceneFeatures.hidden`, as it came."""


def window(
    model: UniSH, frames: int, people: int, device: str, size: tuple[int, int] = (WIDTH_PX, HEIGHT_PX)
) -> SceneFeatures:
    """One forward pass over images of that width and height, as the pipeline makes it."""
    generator = torch.Generator(device).manual_seed(0)
    with torch.inference_mode():
        scene = model.scene(torch.rand(1, frames, 3, size[1], size[0], device=device, generator=generator))
        if people:
            crops = torch.zeros(1, people, frames, 3, CROP_SIZE_PX, CROP_SIZE_PX, device=device)
            model.people(scene, crops, torch.zeros(1, people, frames, 3, device=device), 6.0)
    return scene


def teraflop(frames: int = 30, people: int = 0, size: str = "release") -> float:
    """10¹² operations of one window."""
    # The fused attention of the CPU is not among what is counted: its plain form computes the same.
    with FakeTensorMode(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        window(UniSH(CONFIGS[size]).eval(), frames, people, "cpu")
    return counter.get_total_flops() / 1e12


def matrix_rate(device: str, dtype: torch.dtype) -> float:
    """10¹² operations a second of a large matrix product."""
    side = 8192 if device.startswith("cuda") else 2048
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    return 2 * side**3 / _fastest(lambda: a @ b, 5, device) / 1e12


def measured(model: UniSH, frames: int, people: int, device: str, repeats: int) -> Timing:
    """The fastest of several windows, with the parts of that one."""
    window(model, frames, people, device)
    runs = []
    for _ in range(repeats):
        _forget_peak(device)
        parts: dict[str, float] = dict.fromkeys(PARTS, 0.0)
        with _timed_parts(model, parts, device):
            began = _now(device)
            scene = window(model, frames, people, device)
            parts["rest"] = _now(device) - began - sum(parts.values())
        parts |= _after(scene, device)
        runs.append(Timing(sum(parts.values()), _peak_gb(device), parts, scene.hidden.cpu()))
    return min(runs, key=lambda run: run.seconds)


def _after(scene: SceneFeatures, device: str) -> dict[str, float]:
    """What the pipeline does with the maps."""
    points, confidence = scene.points_camera[0].float(), scene.confidence[0]
    return {
        "lens": _elapsed(lambda: solve_focal_shift(points, confidence > 0.1), device),
        "to the CPU": _elapsed(lambda: (points.cpu(), confidence.cpu()), device),
    }


@contextlib.contextmanager
def _timed_parts(model: UniSH, seconds: dict[str, float], device: str) -> Iterator[None]:
    """Adds up the time spent in each part of the network."""
    handles, began = [], {}
    for name, place in PARTS.items():
        module = model.get_submodule(place)

        def start(*_: object, name: str = name) -> None:
            began[name] = _now(device)

        def stop(*_: object, name: str = name) -> None:
            seconds[name] += _now(device) - began[name]

        handles += [module.register_forward_pre_hook(start), module.register_forward_hook(stop)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _now(device: str) -> float:
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
    return time.perf_counter()


def _elapsed(work: Callable[[], object], device: str) -> float:
    began = _now(device)
    work()
    return _now(device) - began


def _fastest(work: Callable[[], object], repeats: int, device: str) -> float:
    work()
    return min(_elapsed(work, device) for _ in range(repeats))


def _forget_peak(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats(device)
    else:
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")


def _peak_gb(device: str) -> float:
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated(device) / 1e9
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024 / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def random_network(size: str, device: str) -> UniSH:
    """A network of that size, made where it is used, with small weights."""
    with torch.device("meta"):
        model = UniSH(CONFIGS[size])
    model = model.to_empty(device=device).eval()
    torch.manual_seed(0)
    with torch.no_grad():
        for tensor in [*model.parameters(), *model.buffers()]:
            tensor.normal_(0, 0.02) if tensor.is_floating_point() else tensor.zero_()
        model.scene_branch.image_std.fill_(0.225)
        for name, parameter in model.named_parameters():
            if name.endswith("gamma") or ("norm" in name and name.endswith("weight")):
                parameter.fill_(1.0)
    return model


def hardware(device: str) -> str:
    """What it runs on, in words."""
    name, threads = platform.processor() or "CPU", f", {torch.get_num_threads()} threads"
    if device.startswith("cuda"):
        name, threads = torch.cuda.get_device_name(device), ""
    else:
        with contextlib.suppress(OSError, StopIteration):
            lines = Path("/proc/cpuinfo").read_text().splitlines()
            name = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    return f"{name}{threads}, torch {torch.__version__}, {time.strftime('%Y-%m-%d')}"


def main(config: ForwardConfig) -> None:
    """Print the tables as Markdown."""
    if config.count_only:
        nobody = teraflop(30, 0, config.size)
        print(f"one window of 30 frames: {nobody:.1f} Tflop, a person {teraflop(30, 1, config.size) - nobody:.1f}")
        return
    dtypes = [getattr(torch, name) for name in sorted(config.dtype, reverse=True)]  # float32 first: it casts one way
    rates = {dtype: matrix_rate(config.device, dtype) for dtype in dtypes}
    print(
        f"{hardware(config.device)}{', compiled' if config.compile else ''}; matrix rate "
        + ", ".join(f"{_name(d)} {r:.2f} Tflop/s" for d, r in rates.items())
    )
    print(
        "\n| frames | people | type | s | frames/s | peak GB | error | Tflop | of matrix rate | plain s | gain |\n|"
        + "---|" * 11
    )
    model, parts, exact = random_network(config.size, config.device), {}, {}
    sizes = list(itertools.product(config.frames, config.people))
    plain = {size: _plain(model, *size, config) for size in sizes if config.plain}
    if config.compile:
        model.compile_blocks()
    for dtype in dtypes:
        torch.compiler.reset()
        model.cast_trunk(dtype)  # as `unish.load(dtype=…)` does; from float32 on
        for frames, people in sizes:
            work = teraflop(frames, people, config.size)
            run = _unless_too_large(lambda size=(frames, people): measured(model, *size, config.device, config.repeats))
            beside = plain.get((frames, people))
            error = _error(run, exact.get((frames, people)))
            print(_row(frames, people, dtype, run, error, work, rates[dtype], beside), flush=True)
            if run is not None:
                parts[frames, people, dtype] = run.parts
                if dtype == torch.float32:
                    exact[frames, people] = run.hidden
    print("\n" + _parts_table(parts))


def _plain(model: UniSH, frames: int, people: int, config: ForwardConfig) -> Timing | None:
    """Float32, and attention that makes the whole matrix; None where memory does not hold that."""
    scene = model.config.scene
    tokens = frames * (scene.decoder_registers + HEIGHT_PX * WIDTH_PX // scene.patch_size**2)
    needed = 3 * 4 * scene.decoder_heads * tokens**2  # scores, their exponentials, and a copy
    if not config.device.startswith("cuda") and needed > 0.5 * free_bytes(torch.device(config.device)):
        return None  # a CPU would not say so but be killed
    with sdpa_kernel(SDPBackend.MATH):
        return _unless_too_large(lambda: measured(model, frames, people, config.device, 1))


def _unless_too_large(work: Callable[[], Timing]) -> Timing | None:
    """None where the device's memory does not hold it."""
    try:
        return work()
    except torch.OutOfMemoryError:
        torch.cuda.empty_cache()
        return None


def _error(run: Timing | None, exact: Tensor | None) -> str:
    if run is None or exact is None:
        return "–"
    return f"{float((run.hidden.float() - exact).norm() / exact.norm()):.2%}"


def _row(
    frames: int, people: int, dtype: torch.dtype, run: Timing | None, error: str, work: float, rate: float,
    plain: Timing | None,
) -> str:  # fmt: skip
    start = f"| {frames} | {people} | {_name(dtype)} |"
    if run is None:
        return f"{start} out of memory | – | – | – | {work:.1f} | – | – | – |"
    beside = "– | –" if plain is None else f"{plain.seconds:.2f} | {plain.seconds / run.seconds:.2f}×"
    pace, share = frames / run.seconds, work / run.seconds / rate
    return (
        f"{start} {run.seconds:.2f} | {pace:.2f} | {run.peak_gb:.1f} | {error} | {work:.1f} | {share:.0%} | {beside} |"
    )


def _parts_table(parts: dict[tuple[int, int, torch.dtype], dict[str, float]]) -> str:
    names = list(dict.fromkeys(name for one in parts.values() for name in one))
    lines = [f"| frames | people | type | {' | '.join(names)} |", "|---" * (3 + len(names)) + "|"]
    for (frames, people, dtype), one in parts.items():
        total = sum(one.values())
        lines.append(f"| {frames} | {people} | {_name(dtype)} | {' | '.join(f'{one[n] / total:.0%}' for n in names)} |")
    return "\n".join(lines)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


if __name__ == "__main__":
    main(tyro.cli(ForwardConfig, description=__doc__))
