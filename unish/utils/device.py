"""What this machine has: a device to compute on, a way to the Hugging Face Hub."""

import contextlib
import socket
import threading
import urllib.parse
import urllib.request

import psutil
import torch

from unish.errors import InputError

HUB_TIMEOUT_S = 4.0
GPUS = ("cuda", "xpu", "mps")
"""Kinds of GPU (NVIDIA or AMD, Intel, Apple), of which the first that is there is taken unless a device is named."""


def chosen_device(device: torch.device | str | None) -> torch.device:
    """The device of that name; None: the GPU if there is one, else the CPU. Raises `InputError` for one not there."""
    if device is None:
        return torch.device(next((kind for kind in GPUS if _is_available(kind)), "cpu"))
    try:
        chosen = torch.device(device)
    except (RuntimeError, TypeError, ValueError) as error:
        raise InputError(_EXPECTED.format(repr(device))) from error
    if chosen.type not in ("cpu", *GPUS):
        raise InputError(_EXPECTED.format(repr(str(device))))
    if chosen.type in GPUS and not _is_available(chosen.type):
        raise InputError(f"Expected a device that PyTorch finds, got {device}, and there is none; use --device cpu.")
    if chosen.type == "cuda" and chosen.index is not None and chosen.index >= torch.cuda.device_count():
        raise InputError(
            f"Expected a device out of {torch.cuda.device_count()} CUDA devices, counted from 0, got {device}; "
            "choose one of those."
        )
    return chosen


_EXPECTED = "Expected a device like 'cpu', 'cuda:0', 'mps' or 'xpu', got {}; name one of those."


def _is_available(kind: str) -> bool:
    place = torch.backends.mps if kind == "mps" else getattr(torch, kind)
    return place.is_available()


def has_bfloat16(device: torch.device) -> bool:
    """Whether it is a GPU that computes in bfloat16 itself: NVIDIA's from 2020 on, and Intel's that say so."""
    if device.type == "xpu":
        return torch.xpu.is_bf16_supported()
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)


def half_precision(device: torch.device) -> torch.dtype | None:
    """The 16-bit type that networks run in there unless another one is asked for; None: they run in float32.

    bfloat16 where the GPU has it, else float16 where there are units for that (NVIDIA's from 2017 on, Apple, Intel).
    """
    if has_bfloat16(device):
        return torch.bfloat16
    units = device.type in ("mps", "xpu") or (
        device.type == "cuda" and torch.cuda.get_device_capability(device) >= (7, 0)
    )
    return torch.float16 if units else None


def float64_device(device: torch.device) -> torch.device:
    """Where to compute in float64 what is on this device: there, but for Apple's GPUs and Intel's on the CPU."""
    return torch.device("cpu") if device.type in ("mps", "xpu") else device


def free_bytes(device: torch.device) -> int:
    """Memory that PyTorch can still take there."""
    if device.type in ("cuda", "xpu"):
        place = getattr(torch, device.type)
        unused = place.memory_reserved(device) - place.memory_allocated(device)
        return place.mem_get_info(device)[0] + unused
    if device.type == "mps":
        unused = torch.mps.driver_allocated_memory() - torch.mps.current_allocated_memory()
        return torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory() + unused
    return psutil.virtual_memory().available


def total_bytes(device: torch.device) -> int | None:
    """All the memory of a GPU; None for a CPU."""
    if device.type == "mps":  # which shares the host's
        return torch.mps.recommended_max_memory()
    return getattr(torch, device.type).get_device_properties(device).total_memory if device.type in GPUS else None


def empty_cache(device: torch.device) -> None:
    """Give back what PyTorch holds on a GPU and does not use."""
    if device.type in GPUS:
        getattr(torch, device.type).empty_cache()


def hub_in_reach() -> bool:
    """Whether the Hub may be asked and answers at once: offline, its client would retry for long."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    if "https" in urllib.request.getproxies():
        return True
    endpoint = urllib.parse.urlsplit(constants.ENDPOINT)
    place = endpoint.hostname, endpoint.port or (80 if endpoint.scheme == "http" else 443)
    reached = threading.Event()

    def connect() -> None:
        with contextlib.suppress(OSError), socket.create_connection(place, timeout=HUB_TIMEOUT_S):
            reached.set()

    # In a thread, since looking up a name has no timeout of its own.
    connection = threading.Thread(target=connect, daemon=True)
    connection.start()
    connection.join(HUB_TIMEOUT_S)
    return reached.is_set()


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
