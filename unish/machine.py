"""What this machine has: a device to compute on, a way to the Hugging Face Hub."""

import socket
import urllib.parse
import urllib.request

import torch

from unish.errors import InputError


def chosen_device(device: torch.device | str | None) -> torch.device:
    """The device of that name; None: CUDA where there is one, else the CPU. Raises `InputError` for one not there."""
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise InputError(f"Expected a device like 'cpu' or 'cuda:0', got {device!r}; name one of those.") from error
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise InputError(f"Device {device} was asked for, but PyTorch finds no CUDA device; use --device cpu.")
    return chosen


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
