"""What this machine has: a device to compute on, a way to the Hugging Face Hub."""

import socket
import threading
import urllib.parse
import urllib.request

import psutil
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


def free_bytes(device: torch.device) -> int:
    """Memory that PyTorch can still take there."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + unused
    return psutil.virtual_memory().available


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
    """How much memory this process takes, at most, within the `with` block.

    On Linux, pages of files that are mapped in do not count: the system can drop them at any time.
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
        """Above what was held at the beginning."""
        return max(self._most, _held_bytes()) - self._before


def _held_bytes() -> int:
    memory = psutil.Process().memory_info()
    return memory.rss - getattr(memory, "shared", 0)
