"""Which device is taken and what it is taken to be able to do, on machines that are made up."""

import mmap
import socket
import threading
import urllib.request
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.overrides import TorchFunctionMode

from tests.models.conftest import TINY, clip
from unish.errors import InputError, is_out_of_memory
from unish.fusion import intrinsics
from unish.geometry import camera
from unish.models import hub
from unish.models.unish import UniSH
from unish.utils import device as device_module
from unish.utils.device import (
    GPUS,
    HostMemory,
    chosen_device,
    empty_cache,
    float64_device,
    free_bytes,
    half_precision,
    has_bfloat16,
    total_bytes,
)

GIB = 2**30


@pytest.fixture
def machine(monkeypatch):
    """Says which GPUs there are."""

    def has(*kinds: str) -> None:
        for kind in ("cuda", "xpu", "mps"):
            place = torch.backends.mps if kind == "mps" else getattr(torch, kind)
            monkeypatch.setattr(place, "is_available", lambda kind=kind: kind in kinds)

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    has()
    return has


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [((), "cpu"), (("mps",), "mps"), (("xpu",), "xpu"), (("cuda",), "cuda"), (("cuda", "xpu"), "cuda")],
)
def test_the_gpu_that_is_there_is_taken(machine, kinds, expected):
    machine(*kinds)
    assert chosen_device(None).type == expected
    assert chosen_device("cpu").type == "cpu"


@pytest.mark.parametrize("name", ["cuda", "cuda:1", "mps", "xpu"])
def test_a_gpu_that_is_not_there_is_refused(machine, name):
    with pytest.raises(InputError, match=f"got {name}.*--device cpu"):
        chosen_device(name)
    machine(name.partition(":")[0])
    assert str(chosen_device(name)) == name


def test_a_name_that_is_none_lists_some():
    with pytest.raises(InputError, match=r"'mps' or 'xpu', got 'quantum'"):
        chosen_device("quantum")


@pytest.mark.parametrize(
    ("kind", "capability", "expected"),
    [
        ("cpu", None, None),
        ("cuda", (9, 0), torch.bfloat16),
        ("cuda", (7, 5), torch.float16),
        ("cuda", (6, 1), None),
        ("mps", None, torch.float16),
    ],
)
def test_the_16_bit_type_of_each_gpu(monkeypatch, kind, capability, expected):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    assert half_precision(torch.device(kind)) is expected
    assert has_bfloat16(torch.device(kind)) == (expected is torch.bfloat16)


@pytest.mark.parametrize(("supported", "expected"), [(True, torch.bfloat16), (False, torch.float16)])
def test_intels_gpus_say_whether_they_have_bfloat16(monkeypatch, supported, expected):
    monkeypatch.setattr(torch.xpu, "is_bf16_supported", lambda: supported)
    assert half_precision(torch.device("xpu")) is expected


def test_memory_of_each_gpu(monkeypatch):
    monkeypatch.setattr(torch.mps, "recommended_max_memory", lambda: 10 * GIB)
    monkeypatch.setattr(torch.mps, "driver_allocated_memory", lambda: 4 * GIB)
    monkeypatch.setattr(torch.mps, "current_allocated_memory", lambda: 3 * GIB)
    assert total_bytes(torch.device("mps")) == 10 * GIB and free_bytes(torch.device("mps")) == 7 * GIB
    for kind in ("cuda", "xpu"):
        place = getattr(torch, kind)
        monkeypatch.setattr(place, "get_device_properties", lambda _: SimpleNamespace(total_memory=16 * GIB))
        monkeypatch.setattr(place, "mem_get_info", lambda _: (5 * GIB, 16 * GIB))
        monkeypatch.setattr(place, "memory_reserved", lambda _: 3 * GIB)
        monkeypatch.setattr(place, "memory_allocated", lambda _: 2 * GIB)
        assert total_bytes(torch.device(kind)) == 16 * GIB and free_bytes(torch.device(kind)) == 6 * GIB
    assert total_bytes(torch.device("cpu")) is None


def test_what_means_that_memory_ran_out(monkeypatch):
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory."))
    assert is_out_of_memory(RuntimeError("MPS backend out of memory (MPS allocated: 9.00 GB)"))
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    emptied = []
    monkeypatch.setattr(torch.mps, "empty_cache", lambda: emptied.append("mps"))
    empty_cache(torch.device("mps"))
    empty_cache(torch.device("cpu"))
    assert emptied == ["mps"]


def test_weights_are_held_in_the_devices_16_bit_type(tmp_path, monkeypatch):
    torch.manual_seed(0)
    hub.save(UniSH(TINY), tmp_path)
    monkeypatch.setattr(hub, "half_precision", lambda _: torch.float16)
    model = hub.load(tmp_path, device="cpu")
    assert model.trunk_dtype is model.scene_branch.encoder.blocks[0].mlp.fc1.weight.dtype is torch.float16
    with torch.inference_mode():
        prediction = model(*clip(1, 1, 2, 28, 42))
    assert all(torch.isfinite(value).all() and value.dtype == torch.float32 for value in vars(prediction).values())


class _Float64Watch(TorchFunctionMode):
    """Fails where a function of torch is given or gives a float64 tensor."""

    def __torch_function__(self, function, types, arguments=(), options=None):
        result = function(*arguments, **(options or {}))
        for part in (*arguments, result):
            assert not (isinstance(part, torch.Tensor) and part.dtype == torch.float64), function
        return result


def test_the_network_never_needs_float64():
    """Which Apple's GPUs do not have."""
    torch.manual_seed(0)
    network = UniSH(TINY).eval()
    with torch.inference_mode(), _Float64Watch():
        network(*clip(1, 1, 2, 28, 42))


def test_focal_lengths_are_fitted_where_float64_is(monkeypatch):
    assert float64_device(torch.device("mps")) == float64_device(torch.device("xpu")) == torch.device("cpu")
    assert float64_device(torch.device("cuda", 1)) == torch.device("cuda", 1)
    asked = []
    for module in (camera, intrinsics):
        monkeypatch.setattr(module, "float64_device", lambda place: asked.append(place) or torch.device("cpu"))
    points = torch.rand(2, 8, 8, 3) + 1
    camera.solve_focal_shift(points, torch.ones(2, 8, 8, dtype=torch.bool), samples=8)
    intrinsics.frame_focals(points.flatten(1, 2), torch.ones(2, 64), np.random.default_rng(0).random((64, 2)), True)
    assert len(asked) >= 2 and device_module.float64_device is float64_device


@pytest.mark.parametrize("name", ["meta", "quantum", "", "cuda:x", "cpu:cpu", "xla", "vulkan", "cuda:99"])
def test_devices_that_cannot_be_are_one_sentence(name):
    with pytest.raises(InputError, match=r"[dD]evice"):
        chosen_device(name)


def test_devices_by_name_and_by_themselves():
    assert chosen_device("cpu") == chosen_device(torch.device("cpu")) == torch.device("cpu")
    assert chosen_device(None).type in ("cpu", *GPUS)


def test_memory_of_the_process_is_its_own():
    with HostMemory() as memory:
        # Pages of its own: what an earlier test gave back may still belong to the process, and be taken again.
        kept = mmap.mmap(-1, 50 * 2**20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        kept.write(b"1" * len(kept))
    assert 50e6 < memory.peak_bytes < 200e6 and kept[-1:] == b"1"
    free = free_bytes(torch.device("cpu"))
    assert free is not None and 2**20 < free < 2**50


def test_a_hub_that_does_not_answer_is_not_waited_for(monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(urllib.request, "getproxies", dict)
    monkeypatch.setattr(device_module, "HUB_TIMEOUT_S", 0.05)
    released = threading.Event()

    def hang(*place, **options):
        released.wait(5)
        raise OSError("no route")

    monkeypatch.setattr(device_module.socket, "create_connection", hang)
    assert not device_module.hub_in_reach()
    released.set()
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.undo()
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(urllib.request, "getproxies", dict)
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        assert device_module.hub_in_reach()
    assert not device_module.hub_in_reach()  # nobody listens there any more
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert not device_module.hub_in_reach()
