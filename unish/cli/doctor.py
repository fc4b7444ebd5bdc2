"""`unish doctor`: what is installed here and what a run would use."""

import argparse
import importlib.metadata
import os
import platform
import time
from collections.abc import Iterator
from pathlib import Path

from unish.errors import UniSHError

PACKAGES = ("numpy", "av", "opencv-python-headless", "plotly", "smplx", "gradio", "accelerate", "datasets")


def add(commands) -> None:
    """Describe `unish doctor`."""
    doctor = commands.add_parser("doctor", help="say what is installed and what a run would use")
    doctor.add_argument(
        "--release",
        action="store_true",
        help="check the released weights on the bundled clips: about ten minutes on a GPU (docs/release_check.md)",
    )
    doctor.add_argument(
        "--out", type=Path, default=Path("release_check.json"), metavar="FILE", help="where --release writes its result"
    )
    doctor.add_argument("--weights", default="release", help="for --release: other weights than the release")
    doctor.add_argument("--device", help="for --release: cpu, cuda, cuda:N, mps or xpu (default: the GPU)")
    doctor.set_defaults(command=_doctor)


def _doctor(options: argparse.Namespace) -> int:
    if options.release:
        return _check_release(options)
    for name, finding in report():
        print(f"{name:14} {finding}")
    return 0


def _check_release(options: argparse.Namespace) -> int:
    from unish.cli.release_check import release_check, text

    checked = release_check(options.out, options.weights, options.device)
    print(text(checked))
    print(f"\nResult: {options.out}. docs/release_check.md says what to compare it with and where to send it.")
    return 2 if checked["synthetic"]["failures"] else 0


def report() -> Iterator[tuple[str, str]]:
    """(name, finding) of Python, packages, device, weights (loaded once), bodies; never raises for what is missing."""
    import torch

    from unish import __version__
    from unish.body import load_body, open_body
    from unish.models.hub import describe_weights

    yield "unish", __version__
    yield "python", f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    yield "torch", torch.__version__
    for package in PACKAGES:
        yield package, _version(package)
    yield "device", _device()
    yield "cpu", f"{os.cpu_count()} cores"
    for name, finding in describe_weights():
        yield name, finding
    yield "loading", _loading()
    for name, find in (("open body", open_body), ("body in use", load_body)):
        try:
            body = find()
            yield name, f"{body.name}, {body.num_vertices} vertices"
        except UniSHError as error:
            yield name, f"missing: {error}"


def _loading() -> str:
    """How long the weights that a run would use take from disk to the device; nothing is fetched for it."""
    from unish.models.hub import cached_release, load
    from unish.utils.device import HostMemory

    try:
        with HostMemory() as memory:
            began = time.perf_counter()
            model = load("auto" if cached_release() else "mini")
            seconds = time.perf_counter() - began
    except (UniSHError, RuntimeError) as error:  # PyTorch's own: a GPU that is full, or broken
        return f"failed: {str(error).splitlines()[0]}"
    tensors = list(model.state_dict().values())
    size = sum(tensor.nbytes for tensor in tensors)
    return (
        f"{model.weights_name} on {tensors[0].device} in {seconds:.1f} s: {_bytes(size)}, "
        f"with {_bytes(memory.peak_bytes)} of host memory"
    )


def _bytes(count: int) -> str:
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _device() -> str:
    import torch

    from unish.utils.device import chosen_device, free_bytes, half_precision, total_bytes

    device = chosen_device(None)
    if device.type == "cpu":
        return "cpu (no GPU); the mini weights run in seconds, the release weights in minutes"
    name = device.type if device.type == "mps" else getattr(torch, device.type).get_device_name()
    free, total = (bytes_ or 0 for bytes_ in (free_bytes(device), total_bytes(device)))
    precision = str(half_precision(device) or torch.float32).removeprefix("torch.")
    return f"{name}, {free / 2**30:.0f} of {total / 2**30:.0f} GiB free, networks in {precision}"
