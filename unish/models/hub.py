"""Where weights come from: the package, a folder, a file, or the Hugging Face Hub. Nothing else talks to the Hub."""

import functools
import logging
import re
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from unish.errors import InputError, MissingAssetError
from unish.models.config import CONFIG_FILE
from unish.models.unish import UniSH
from unish.models.weights import TORCH_SUFFIXES, WEIGHTS_FILE, load_priors, read_file, save
from unish.utils.assets import MINI_WEIGHTS
from unish.utils.device import chosen_device, half_precision, hub_in_reach, total_bytes

__all__ = [
    "RELEASE_FILE",
    "RELEASE_REPO",
    "cached_release",
    "describe_weights",
    "load",
    "load_priors",
    "save",
]

RELEASE_REPO = "Murphyyyy/UniSH"
RELEASE_FILE = "checkpoints/unish_release.safetensors"
RELEASE_MEMORY_GIB = {torch.float32: 12, torch.bfloat16: 8, torch.float16: 8}
"""Of a GPU, with room for a window and for person detection."""
RELEASE_WINDOW_FLOP = 97e12
"""Operations of one window: 30 frames of 16:9 with one person (`python benchmarks/forward.py --count-only`)."""
CPU_EFFICIENCY = 0.75
"""What a window reaches of the rate of one large product on a CPU (docs/performance.md)."""

logger = logging.getLogger("unish")


def load(
    weights: str | Path = "auto", device: torch.device | str | None = None, dtype: torch.dtype | None = None
) -> UniSH:
    """A network with weights, ready to run; `model.weights_name` says which, `model.weights_note` why.

    `weights`: "release" (the released UniSH checkpoint, from the cache or the Hub; its π³ weights are
    CC BY-NC 4.0), "mini" (bundled), "auto" (release where a GPU can carry it and the file can be had, else mini), a
    folder saved by `save`, a weights file, or a Hub repository of such a folder.
    `device`: a GPU where there is one (CUDA, XPU, MPS), else the CPU. `dtype`: precision in which the trunk computes
    and its linear layers' weights are held; heads stay float32. None: that of `half_precision`, else float32.

    Raises `MissingAssetError` when the weights cannot be found, `CheckpointError` when the file is truncated,
    foreign or not finite (naming the tensor), `InputError` when a choice cannot be met.
    """
    place = chosen_device(device)
    note = ""
    if dtype is None:
        dtype = half_precision(place)
    if weights == "auto":
        obstacle = _release_obstacle(place, dtype or torch.float32)
        weights = "mini" if obstacle else "release"
        if obstacle:
            note = f"The small bundled weights (mini) are used, not the release: {obstacle}."
            _announce(note)
    path, name = _find(str(weights))
    model = read_file(path, place, dtype)
    model.weights_name, model.weights_note = name, note
    return model


def describe_weights() -> Iterator[tuple[str, str]]:
    """(name, where it is) of the weights that can be had by name, without asking the network."""
    mini, release = MINI_WEIGHTS / WEIGHTS_FILE, cached_release()
    yield "mini", f"{mini} ({mini.stat().st_size / 1e6:.1f} MB)" if mini.is_file() else f"missing at {mini}"
    if release is None:
        yield "release", f"not cached; fetched from {RELEASE_REPO} when asked for"
    else:
        yield "release", f"{release} ({release.stat().st_size / 1e9:.2f} GB)"


def cached_release() -> Path | None:
    """The release's file, if it was fetched before."""
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(RELEASE_REPO, RELEASE_FILE)
    return Path(cached) if isinstance(cached, str) else None


def _find(weights: str) -> tuple[Path, str]:
    """The weights file that a name, path or repository stands for, and what to call it."""
    if weights in ("release", RELEASE_REPO):
        return _download(RELEASE_REPO, RELEASE_FILE), "release"
    if weights == "mini":
        return _file_in(MINI_WEIGHTS, "Train it with train/pretrain.py, or reinstall unish."), "mini"
    try:
        path = Path(weights).expanduser()
        is_folder, is_file = path.is_dir(), path.is_file()
    except (OSError, ValueError, RuntimeError) as error:  # too long, with a null byte, of a user that is not there
        raise MissingAssetError(
            f"No weights at {weights:.200}: {error}; give a path, mini, release or auto."
        ) from error
    if is_folder:
        return _file_in(path, "Save one there with unish.models.hub.save."), path.resolve().name
    if is_file:
        if path.suffix not in (".safetensors", *TORCH_SUFFIXES):
            raise InputError(f"Weights are a .safetensors or torch file, or a folder; received {path}.")
        return path, path.stem
    if re.fullmatch(r"[\w][\w.-]*/[\w][\w.-]*", weights) and not path.suffix:
        _download(weights, CONFIG_FILE)
        return _download(weights, WEIGHTS_FILE), weights
    raise MissingAssetError(
        f"No weights at {weights}; give mini, release, auto, a folder with {WEIGHTS_FILE}, or a Hub repository."
    )


def _file_in(folder: Path, next_step: str) -> Path:
    for name in (WEIGHTS_FILE, CONFIG_FILE):
        if not (folder / name).is_file():
            raise MissingAssetError(
                f"Weights need {WEIGHTS_FILE} and {CONFIG_FILE}; {folder} has no {name}. {next_step}"
            )
    return folder / WEIGHTS_FILE


def _download(repository: str, file: str) -> Path:
    """The file from the local cache, else from the Hub (never when HF_HUB_OFFLINE is set)."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(repository, file, local_files_only=True))
    except LocalEntryNotFoundError as error:
        if not hub_in_reach():
            raise _not_had(repository, file, "it is not in the local cache, and the Hub is out of reach") from error
    except HFValidationError as error:
        raise _not_had(repository, file, str(error)) from error
    try:
        return Path(hf_hub_download(repository, file))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise _not_had(repository, file, str(error) or type(error).__name__) from error


def _not_had(repository: str, file: str, reason: str) -> MissingAssetError:
    return MissingAssetError(
        f"Could not get {file} of {repository} from the Hugging Face Hub: {reason.strip().splitlines()[0]}. "
        "Check the name and the connection, or use the bundled weights with --weights mini."
    )


def _release_obstacle(device: torch.device, dtype: torch.dtype) -> str:
    """Why "auto" does not take the release here, or nothing once its file is in the cache."""
    total = total_bytes(device)
    if total is None:
        return "the device is a CPU" + (f". {cpu_estimate()}" if cached_release() else "")
    needed = RELEASE_MEMORY_GIB.get(dtype, 12)
    if total < needed * 0.95 * 2**30:  # what cards call 8 GB is a little less
        return f"expected {needed} GiB of GPU memory, {device} has {total / 2**30:.1f}"
    try:
        _download(RELEASE_REPO, RELEASE_FILE)
    except MissingAssetError:
        return "its file is neither cached nor reachable on the Hugging Face Hub"
    return ""


@functools.cache
def cpu_estimate() -> str:
    """How long the release would take on this CPU, by the rate of one product, and how to ask for it."""
    minutes = {dtype: RELEASE_WINDOW_FLOP / (CPU_EFFICIENCY * _product_rate(dtype)) / 60 for dtype in _CPU_TYPES}
    words = "--weights release"
    if minutes[torch.bfloat16] < 0.8 * minutes[torch.float32]:
        words += " --precision bfloat16"
    return (
        f"The release is cached: it would take about {max(1, round(min(minutes.values())))} minutes per 30 frames on "
        f"this CPU; ask for it with {words}"
    )


_CPU_TYPES = (torch.float32, torch.bfloat16)


def _product_rate(dtype: torch.dtype) -> float:
    """Operations a second of a product of two large matrices on the CPU."""
    side, seconds = 768, []
    a, b = (torch.ones(side, side, dtype=dtype) for _ in range(2))
    for _ in range(3):
        began = time.perf_counter()
        torch.matmul(a, b)
        seconds.append(time.perf_counter() - began)
    return 2 * side**3 / min(seconds)


@functools.cache
def _announce(message: str) -> None:
    """Log a warning once in a process."""
    logger.warning(message)
