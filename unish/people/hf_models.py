"""What the transformers networks that detect and segment people share: weights, device, input images.

transformers is optional and is imported only when one of them is asked for. Its own image processors need torchvision,
so images are resized and normalised here.
"""

import contextlib
import importlib.util
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch import Tensor

from unish.errors import CheckpointError, MissingAssetError, MissingDependencyError
from unish.utils.device import hub_in_reach

log = logging.getLogger("unish")

CONFIG_FILE, WEIGHTS_FILE, PREPROCESSOR_FILE = "config.json", "model.safetensors", "preprocessor_config.json"
_FILES = [CONFIG_FILE, WEIGHTS_FILE, PREPROCESSOR_FILE]


# ---------------------------------------------------------------- weights


def load_network(class_name: str, source: str | Path, device: torch.device, dtype: torch.dtype = torch.float32) -> Any:
    """A network of the transformers class, with the weights of a Hub repository or a local folder, ready to run.

    Raises `MissingDependencyError` without transformers, `MissingAssetError` when the weights cannot be had, and
    `CheckpointError` when they are damaged, foreign or not finite.
    """
    _demand_transformers(class_name)
    folder = weights_folder(source)  # first, as the import takes seconds that are lost where there are no weights
    network_class = _transformers_class(class_name)
    try:
        with _quiet_transformers():
            network, report = network_class.from_pretrained(folder, output_loading_info=True, dtype=dtype)
    except Exception as error:  # a damaged or foreign file can fail anywhere in there
        raise CheckpointError(
            f"The weights in {folder} cannot be read ({_first_line(error)}); fetch or save them again."
        ) from error
    parameters = dict(network.named_parameters())
    missing = sorted(set(report["missing_keys"]) & parameters.keys())
    if missing:  # transformers fills them with random numbers and goes on
        raise CheckpointError(f"The weights in {folder} have no {missing[0]}; they are of another network.")
    for name, value in parameters.items():
        if not bool(torch.isfinite(value).all()):
            raise CheckpointError(f"{name} in {folder} holds values that are not finite; fetch or save it again.")
    return network.to(device).eval().requires_grad_(False)


@contextlib.contextmanager
def _quiet_transformers() -> Iterator[None]:
    """transformers without progress bars and without its table of missing weights: that becomes one sentence."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def _demand_transformers(class_name: str) -> None:
    if importlib.util.find_spec("transformers") is None:
        raise _transformers_missing(class_name)


def _transformers_class(name: str) -> Any:
    try:
        import transformers

        return getattr(transformers, name)
    except (ImportError, AttributeError) as error:
        raise _transformers_missing(name) from error


def _transformers_missing(class_name: str) -> MissingDependencyError:
    return MissingDependencyError(
        f"Person detection with {class_name} needs transformers 5, which is not installed; install it with: "
        "pip install 'transformers>=5.0'"
    )


def weights_folder(source: str | Path) -> Path:
    """The folder with a network's configuration and weights: `source` itself, or its place in the Hub's cache.

    A repository is looked up in the local cache first and fetched only when it is not there (never when
    HF_HUB_OFFLINE is set). Raises `MissingAssetError`.
    """
    folder = Path(source).expanduser()
    if folder.is_dir():
        if missing := _missing_file(folder):
            raise MissingAssetError(f"Expected {missing} in {folder}, found none; save the whole network there.")
        return folder
    if not re.fullmatch(r"[\w][\w.-]*/[\w][\w.-]*", str(source)):
        raise MissingAssetError(f"Expected a folder or a Hub repository, found nothing at {source}; check the path.")
    return _from_hub(str(source))


def cached_folder(repository: str) -> Path | None:
    """Where the network of a Hub repository is in the local cache; None when it is not, or not whole."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(repository, allow_patterns=_FILES, local_files_only=True))
    except LocalEntryNotFoundError:
        return None
    return None if _missing_file(folder) else folder


def _from_hub(repository: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    if (folder := cached_folder(repository)) is not None:
        return folder
    reason = "it is not in the local cache, and the Hub cannot be reached"
    if hub_in_reach():
        try:
            log.warning(f"Fetching {repository} from the Hugging Face Hub, once{_download_size(repository)}.")
            folder = Path(snapshot_download(repository, allow_patterns=_FILES))
            if not (missing := _missing_file(folder)):
                return folder
            reason = f"there is no {missing} in it"
        except (HfHubHTTPError, OSError) as error:
            reason = _first_line(error)
    raise MissingAssetError(
        f"Could not get {repository} from the Hugging Face Hub: {reason}. "
        "Check the name and the connection, or use the mini detector."
    )


def _download_size(repository: str) -> str:
    """ ": 42 MB", or nothing where the Hub does not say."""
    from huggingface_hub import HfApi

    try:
        files = HfApi().model_info(repository, files_metadata=True, timeout=10).siblings or []
    except Exception as error:  # of whichever HTTP library the client uses; the download itself says what is wrong
        log.info(f"The size of {repository} is not known: {_first_line(error)}")
        return ""
    return f": {sum(file.size or 0 for file in files if file.rfilename in _FILES) / 1e6:.0f} MB"


def _missing_file(folder: Path) -> str:
    return next((name for name in (CONFIG_FILE, WEIGHTS_FILE) if not (folder / name).is_file()), "")


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


# ---------------------------------------------------------------- images


def network_images(
    frames: UInt8[np.ndarray, "frames height width 3"],
    size: tuple[int, int],
    device: torch.device,
    mean: tuple[float, ...] = (0.0, 0.0, 0.0),
    std: tuple[float, ...] = (1.0, 1.0, 1.0),
) -> Float32[Tensor, "frames 3 model_height model_width"]:
    """Frames stretched to `size` (width, height) whatever their aspect, as (value in 0..1 − mean) / std per channel."""
    smaller = size[0] * size[1] < frames.shape[1] * frames.shape[2]
    interpolation = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR  # INTER_AREA is the one that does not alias
    resized = np.stack([cv2.resize(np.ascontiguousarray(frame), size, interpolation=interpolation) for frame in frames])
    images = torch.from_numpy(resized).to(device).permute(0, 3, 1, 2).float() / 255
    return (images - images.new_tensor(mean).view(3, 1, 1)) / images.new_tensor(std).view(3, 1, 1)
