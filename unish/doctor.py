"""What is installed here and what a run would use, in lines for the terminal."""

import importlib.metadata
import os
import platform
from collections.abc import Iterator

from unish.errors import UniSHError

PACKAGES = ("numpy", "av", "opencv-python-headless", "plotly", "smplx", "gradio", "accelerate", "datasets")


def report() -> Iterator[tuple[str, str]]:
    """(name, finding) of Python, packages, device, weights and bodies; never raises for what is missing."""
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
    for name, find in (("open body", open_body), ("body in use", load_body)):
        try:
            body = find()
            yield name, f"{body.name}, {body.num_vertices} vertices"
        except UniSHError as error:
            yield name, f"missing: {error}"


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _device() -> str:
    import torch

    if not torch.cuda.is_available():
        return "cpu (no CUDA device); the mini weights run in seconds, the release weights in minutes"
    free, total = torch.cuda.mem_get_info()
    return f"{torch.cuda.get_device_name()}, {free / 2**30:.0f} of {total / 2**30:.0f} GiB free"
