"""What this machine has: a device to compute on, a way to the Hugging Face Hub."""

import contextlib
import socket
import threading
import urllib.parse
import urllib.request
from pathlib import Path

import torch

from unish.errors import InputError


def chosen_device(device: torch.device | str | None) -> torch.device:
    """The device of that name; None: CUDA where there is one, else the CPU. Raises `InputError` for one not there."""
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except (RuntimeError, TypeError, ValueError) as error:
        raise InputError(f"Expected a device like 'cpu' or 'cuda:0', got {device!r}; name one of those.") from error
    if chosen.type not in ("cpu", "cuda", "mps"):
        raise InputError(f"Expected a device like 'cpu' or 'cuda:0', got {str(device)!r}; name one of those.")
    if chosen.type == "cuda":
        _require_cuda(chosen)
    if chosen.type == "mps" and not torch.backends.mps.is_available():
        raise InputError(f"Device {device} was asked for, but PyTorch finds none here; use --device cpu.")
    return chosen


def _require_cuda(device: torch.device) -> None:
    if not torch.cuda.is_available():
        raise InputError(f"Device {device} was asked for, but PyTorch finds no CUDA device; use --device cpu.")
    count = torch.cuda.device_count()
    if device.index is not None and device.index >= count:
        raise InputError(f"Device {device} was asked for, but there are {count} CUDA devices, counted from 0.")


def has_bfloat16(device: torch.device) -> bool:
    """Whether it is a GPU that computes in bfloat16 itself: NVIDIA's from 2020 on. Others only emulate it, slowly."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)


def free_bytes(device: torch.device) -> int | None:
    """Memory that PyTorch can still take there; None where the system does not say."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + unused
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable")) * 1024
    return None


def hub_in_reach() -> bool:
    """Whether the Hub may be asked and its name resolves: offline, its client would retry for long."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    if "https" in urllib.request.getproxies():
        return True
    try:
        socket.getaddrinfo(urllib.parse.urlsplit(constants.ENDPOINT).hostname, None)
    except OSError:
        return False
    return True


class HostMemory:
    """How much memory of its own this process takes, at most, within the `with` block; Linux only.

    Pages of files that are mapped in do not count: the system can drop them at any time.
    """

    EVERY_S = 0.005

    def __enter__(self) -> "HostMemory":
        self._before, self._most = _held_bytes(), 0
        self._over = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._watcher.join()

    def _watch(self) -> None:
        while not self._over.wait(self.EVERY_S):
            self._most = max(self._most, _held_bytes())

    @property
    def peak_bytes(self) -> int:
        """Above what was held at the beginning; 0 where the system does not say."""
        return max(self._most, _held_bytes()) - self._before


def _held_bytes() -> int:
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) * 1024
    return 0
