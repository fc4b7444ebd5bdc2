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


@pytest.mark.parametrize(("dtype", "share"), [(None, 0.1), (torch.bfloat16, 0.6)])
def test_the_release_takes_no_more_than_the_network_needs(release_file, dtype, share):
    with HostMemory() as memory:
        model = hub.load(release_file, device="cpu", dtype=dtype)
    assert sum(parameter.numel() for parameter in model.parameters()) > 1.6e9
    assert not any(tensor.is_meta for tensor in model.state_dict().values())
    assert model.scene_branch.decoder.blocks[0].mlp.fc1.weight.dtype == (dtype or torch.float32)
    assert 0 < memory.peak_bytes < share * release_file.stat().st_size


def test_slow_imports_are_kept_out(repository):
    """SymPy, a second of importing, comes along with some of torch's operations on the meta device and with shapes."""
    program = (
        "import sys, torch; from unish.models.hub import load; from unish.body import open_body; load('mini')\n"
        "open_body()(torch.zeros(1, 10), torch.eye(3).expand(1, 24, 3, 3), torch.zeros(1, 3))\n"
        "sys.exit('sympy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], cwd=repository).returncode == 0
