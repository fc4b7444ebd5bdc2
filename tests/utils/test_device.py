"""Devices are those that the network runs on, and memory is counted."""

import numpy as np
import pytest
import torch

from unish.errors import InputError
from unish.utils.device import HostMemory, chosen_device, free_bytes


@pytest.mark.parametrize("name", ["meta", "quantum", "", "cuda:x", "cpu:cpu", "xla", "vulkan", "cuda:99"])
def test_devices_that_cannot_be_are_one_sentence(name):
    with pytest.raises(InputError, match=r"[dD]evice"):
        chosen_device(name)


def test_devices_by_name_and_by_themselves():
    assert chosen_device("cpu") == chosen_device(torch.device("cpu")) == torch.device("cpu")
    assert chosen_device(None).type in ("cpu", "cuda")


def test_memory_of_the_process_is_its_own():
    with HostMemory() as memory:
        kept = np.ones(50 * 2**20, np.uint8)
    assert 50e6 < memory.peak_bytes < 200e6 and kept.all()
    free = free_bytes(torch.device("cpu"))
    assert free is not None and 2**20 < free < 2**50
