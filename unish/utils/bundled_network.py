"""Small networks that come with the package: folders with `model.safetensors`, in half precision, and `config.json`."""

import dataclasses
import json
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from unish.errors import CheckpointError, MissingAssetError
from unish.utils.atomic_write import atomic_path


class BundledNetwork(nn.Module):
    """A network that is made from its configuration alone."""

    what: ClassVar[str] = "network"
    """What messages call it."""


Net = TypeVar("Net", bound=BundledNetwork)


def load_bundled(network_class: type[Net], config_class: type[Any], folder: Path) -> Net:
    """A network on the CPU, ready to use; `config_class` is the dataclass of its configuration.

    Raises `MissingAssetError` when a file is not there, `CheckpointError` when one is damaged or does not fit.
    """
    what = network_class.what
    weights, config_file = folder / "model.safetensors", folder / "config.json"
    for path in (weights, config_file):
        if not path.is_file():
            raise MissingAssetError(f"Expected the {what} at {path}, found nothing; reinstall unish.")
    try:
        values = json.loads(config_file.read_text())
        fields: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}
        config = config_class(**fields)
        state = load_file(weights)
    except (SafetensorError, ValueError, TypeError) as error:
        raise CheckpointError(f"The {what} in {folder} cannot be read ({error}); reinstall unish.") from error
    network = network_class(config)  # type: ignore[call-arg]
    _check(state, network.state_dict(), weights, what)
    network.load_state_dict(
        {key: value.float() if value.is_floating_point() else value for key, value in state.items()}
    )
    return network.eval().requires_grad_(False)


def _check(state: dict[str, Tensor], expected: dict[str, Tensor], path: Path, what: str) -> None:
    for key in sorted(state.keys() | expected.keys()):
        if key not in state:
            reason = "is missing"
        elif key not in expected:
            reason = "has no place in the network"
        elif state[key].shape != expected[key].shape:
            reason = f"has shape {tuple(state[key].shape)}, expected {tuple(expected[key].shape)}"
        elif not bool(torch.isfinite(state[key]).all()):
            reason = "holds values that are not finite"
        else:
            continue
        raise CheckpointError(f"{path}: {key} {reason}; these are not the weights of this {what}, reinstall unish.")


def save_bundled(network: BundledNetwork, config: Any, folder: Path) -> None:
    """Write the weights in half precision and their configuration; a failed save leaves nothing behind."""
    state = {key: value.half() if value.is_floating_point() else value for key, value in network.state_dict().items()}
    with atomic_path(folder) as temporary:
        temporary.mkdir()
        save_file({key: value.contiguous() for key, value in state.items()}, temporary / "model.safetensors")
        (temporary / "config.json").write_text(json.dumps(dataclasses.asdict(config), indent=2) + "\n")
