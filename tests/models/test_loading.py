"""A file as large as the release is loaded without a second copy of it in memory."""

import json
import math
import subprocess
import sys

import pytest
import torch

from unish.models import hub
from unish.models.config import RELEASE
from unish.models.convert import to_official
from unish.models.unish import UniSH
from unish.utils.device import HostMemory


@pytest.fixture(scope="module")
def release_file(tmp_path_factory):
    """Names and shapes of the release, all numbers 0: a file with a hole, that takes no room on the disk."""
    with torch.device("meta"):
        shapes = to_official(UniSH(RELEASE).state_dict())
    header, end = {}, 0
    for name, tensor in shapes.items():
        start, end = end, end + 4 * math.prod(tensor.shape)
        header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    path = tmp_path_factory.mktemp("release") / "unish_release.safetensors"
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)
    return path


@pytest.mark.slow
def test_in_float32_the_release_stays_pages_of_its_file(release_file):
    with HostMemory() as memory:
        model = hub.load(release_file, device="cpu")
    assert sum(parameter.numel() for parameter in model.parameters()) > 1.6e9
    assert not any(tensor.is_meta for tensor in model.state_dict().values())
    assert model.scene_branch.decoder.blocks[0].mlp.fc1.weight.dtype == torch.float32
    assert 0 < memory.peak_bytes < 0.1 * release_file.stat().st_size


IN_BFLOAT16 = """
import sys, torch
from pathlib import Path
from unish.models import hub
from unish.utils.device import HostMemory
with HostMemory() as memory:
    model = hub.load(sys.argv[1], device="cpu", dtype=torch.bfloat16)
assert model.scene_branch.decoder.blocks[0].mlp.fc1.weight.dtype == torch.bfloat16
status = Path("/proc/self/status")
everything = 1024 * int(status.read_text().partition("VmHWM:")[2].split()[0]) if status.exists() else 0
print(memory.peak_bytes, everything)
"""


@pytest.mark.slow
def test_in_bfloat16_the_release_takes_half_of_its_file_and_pages_that_were_read_are_dropped(release_file):
    """In a process of its own, whose peak counts everything: the weights, Python, torch, and little of the file."""
    done = subprocess.run(
        [sys.executable, "-c", IN_BFLOAT16, str(release_file)], capture_output=True, text=True, check=True
    )
    held, everything = map(int, done.stdout.split())
    assert 0 < held < 0.6 * release_file.stat().st_size
    assert everything < 4.6e9


def test_slow_imports_are_kept_out(repository):
    """SymPy, a second of importing, comes along with some of torch's operations on the meta device and with shapes."""
    program = (
        "import sys, torch; from unish.models.hub import load; from unish.body import open_body; load('mini')\n"
        "open_body()(torch.zeros(1, 10), torch.eye(3).expand(1, 24, 3, 3), torch.zeros(1, 3))\n"
        "sys.exit('sympy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], cwd=repository).returncode == 0
