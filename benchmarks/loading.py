"""Times loading of weights from disk beside reading the bare file, with the host memory that each takes.

    python benchmarks/loading.py                  # a made file of the release's shapes, 6.5 GB
    python benchmarks/loading.py --size mini

Every line is a process of its own, with the file in the page cache. Host memory is the most that the process held,
without Python and torch; pages of the file that the system maps into it and can drop at any time are not counted.
The peak is all of it: with those pages, Python and torch.
"""

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
import tyro
from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.forward import hardware
from unish.models.config import MINI, RELEASE
from unish.models.convert import to_official
from unish.models.unish import UniSH

WAYS = {
    "read the file": "content = bytearray(path.stat().st_size); open(path, 'rb', buffering=0).readinto(content)",
    "unish.load": "model = unish.load(str(path), device=device)",
    "unish.load, bfloat16": "model = unish.load(str(path), device=device, dtype=torch.bfloat16)",
}
CHILD = """
import json, sys, time
from pathlib import Path
import torch, unish, unish.models.hub, safetensors
from unish.utils.device import HostMemory
path, device = Path(sys.argv[1]), sys.argv[2]
with HostMemory() as memory:
    began = time.perf_counter()
    {way}
    if device.startswith('cuda'):
        torch.cuda.synchronize()
    seconds = time.perf_counter() - began
peak_bytes = 1024 * int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
print(json.dumps({{"seconds": seconds, "bytes": memory.peak_bytes, "peak_bytes": peak_bytes}}))
"""


@dataclass(frozen=True)
class LoadingConfig:
    """What is loaded."""

    size: Literal["release", "mini"] = "release"
    device: str = "cuda" if torch.cuda.is_available() else "cpu"
    folder: Path | None = None
    """Where the made file goes for the time being; default: the system's place for temporary files."""


def make_file(size: str, path: Path) -> None:
    """A weights file with the shapes and names of the release (or the mini), small random numbers in it."""
    with torch.device("meta"):
        shapes = UniSH(RELEASE if size == "release" else MINI).state_dict()
    if size == "release":
        shapes = to_official(shapes)
    generator = torch.Generator().manual_seed(0)
    state = {name: 0.02 * torch.randn(tensor.shape, generator=generator) for name, tensor in shapes.items()}
    save_file(state, path)
    if size == "mini":
        path.with_name("config.json").write_text(MINI.to_json())


def measured(way: str, path: Path, device: str) -> dict[str, float]:
    """Seconds and bytes of one way."""
    command = [sys.executable, "-c", CHILD.format(way=way), str(path), device]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.strip().splitlines()[-1])


def main(config: LoadingConfig) -> None:
    """Print the table as Markdown."""
    with tempfile.TemporaryDirectory(dir=config.folder) as folder:
        path = Path(folder) / "model.safetensors"
        make_file(config.size, path)
        size = path.stat().st_size
        print(f"{size / 1e9:.2f} GB on disk; {hardware(config.device)}\n")
        print("| way | s | host memory GB | of the file | peak GB |\n|---|---|---|---|---|")
        for name, way in WAYS.items():
            found = measured(way, path, config.device)
            held, peak = found["bytes"], found["peak_bytes"]
            print(
                f"| {name} | {found['seconds']:.1f} | {held / 1e9:.2f} | {held / size:.0%} | {peak / 1e9:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main(tyro.cli(LoadingConfig, description=__doc__))
