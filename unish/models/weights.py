"""Weights files: read without running anything, checked tensor by tensor, written whole or not at all."""

import contextlib
import pickle
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from unish.errors import CheckpointError, InputError
from unish.models.config import CONFIG_FILE, RELEASE, UniSHConfig
from unish.models.convert import from_camerahmr, from_official, from_pi3, to_official
from unish.models.unish import UniSH
from unish.utils.atomic_write import atomic_path
from unish.utils.json_data import parse_json_object

WEIGHTS_FILE = "model.safetensors"
MAPPED_BYTES = 2**28
"""Of a file that is read, so much stays in memory beside what is made of it."""
TORCH_SUFFIXES = (".pt", ".pth", ".ckpt", ".bin")


@contextlib.contextmanager
def open_tensors(path: Path) -> Iterator[Mapping[str, Tensor]]:
    """The tensors of a .safetensors file, each read when it is asked for, or of a torch checkpoint; as they are stored.

    A torch checkpoint is read with `weights_only`, and may wrap its tensors as `state_dict` or `model`. Raises
    `CheckpointError` when the file is truncated, of another kind or holds more than tensors.
    """
    if path.suffix in TORCH_SUFFIXES:
        yield _read_torch(path)
        return
    try:
        with contextlib.closing(_Safetensors(path)) as tensors:
            yield tensors
    except SafetensorError as error:
        raise CheckpointError(f"{path} is not a whole safetensors file: {_damage(path, error)}") from error
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}; check the file.") from error


class _Safetensors(Mapping[str, Tensor]):
    """Tensors that are pages of the file; opened anew now and then, as only that drops the pages that were read."""

    def __init__(self, path: Path) -> None:
        self._path, self._read_bytes = path, 0
        self._file: Any = safe_open(path, framework="pt")
        self._names = sorted(self._file.keys())

    def __getitem__(self, name: str) -> Tensor:
        if self._read_bytes > MAPPED_BYTES:
            self._file, self._read_bytes = safe_open(self._path, framework="pt"), 0
        tensor = self._file.get_tensor(name)
        self._read_bytes += tensor.nbytes
        return tensor

    def close(self) -> None:
        """Let go of the file; tensors that were read keep their own hold of it."""
        self._file = None

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a weights file, floating ones as float32. Raises `CheckpointError` as `open_tensors` does."""
    with open_tensors(path) as stored:
        return {name: _as_float32(tensor) for name, tensor in stored.items()}


def _as_float32(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor


def _damage(path: Path, error: SafetensorError) -> str:
    """What is wrong with a safetensors file: the first tensor whose bytes are not all there, if that is it."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        try:
            header = parse_json_object(file.read(length), "the header") if 8 + length <= size else {}
            ends = {name: int(entry["data_offsets"][1]) for name, entry in header.items() if name != "__metadata__"}
        except (ValueError, TypeError, KeyError, IndexError):
            ends = {}
    for name, end in sorted(ends.items(), key=lambda item: item[1]):
        if end > size - 8 - length:
            return f"it ends before the last byte of '{name}'. Download or copy it again."
    return f"{error}. Download or copy it again."


def _read_torch(path: Path) -> dict[str, Tensor]:
    try:
        loaded: Any = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} holds more than tensors, or is damaged, and was not run; save its state dict as safetensors."
        ) from error
    except Exception as error:  # PyTorch's reader passes on whatever a damaged file makes of its parts
        reason = (str(error) or type(error).__name__).split("\n", 1)[0]
        raise CheckpointError(f"{path} is not a whole torch checkpoint: {reason}. Download it again.") from error
    for wrapper in ("state_dict", "model"):
        if isinstance(loaded, dict) and isinstance(loaded.get(wrapper), dict):
            loaded = loaded[wrapper]
    if not isinstance(loaded, dict):
        raise CheckpointError(f"{path} must hold a dictionary of tensors; received {type(loaded).__name__}.")
    for name, value in loaded.items():
        if not isinstance(name, str):
            raise CheckpointError(f"Tensors in {path} must have names; received {name!r:.40}.")
        if not isinstance(value, Tensor):
            raise CheckpointError(f"'{name}' in {path} must be a tensor; received {type(value).__name__}.")
        if not _is_plain(value):
            raise CheckpointError(f"'{name}' in {path} must be a plain tensor with all of its numbers stored.")
    return loaded


def _is_plain(tensor: Tensor) -> bool:
    """Whether its numbers are stored one by one: a few bytes can stand for a sparse tensor of any size."""
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_meta:
        return False
    return tensor.nbytes <= tensor.untyped_storage().nbytes()


def check_state(state: Mapping[str, Tensor], expected: Mapping[str, Tensor], source: str) -> None:
    """Raise `CheckpointError` on the first tensor that is missing, unexpected, misshaped, no float or not finite."""
    for name, place in expected.items():
        if name not in state:
            raise CheckpointError(f"{source} lacks '{name}' {tuple(place.shape)}; check that it is the right file.")
        if state[name].shape != place.shape:
            raise CheckpointError(
                f"'{name}' in {source} must have shape {tuple(place.shape)}; received {tuple(state[name].shape)}."
            )
        if not state[name].is_floating_point():
            raise CheckpointError(f"'{name}' in {source} must be of a floating type; received {state[name].dtype}.")
    for name in state:
        if name not in expected:
            raise CheckpointError(f"{source} holds '{name}', which this network has no place for.")
    for name in expected:
        if not torch.isfinite(state[name]).all():
            raise CheckpointError(
                f"'{name}' in {source} holds values that are not finite in {state[name].dtype}; take another copy."
            )


def load_priors(model: UniSH, pi3: str | Path | None = None, camerahmr: str | Path | None = None) -> None:
    """Copy π³'s weights into the scene branch and CameraHMR's into the human branch, in place, strictly.

    Where training of the release starts; AlignNet keeps what it has. CameraHMR's weights want
    `config.human.normalise_crops`. Raises `CheckpointError` on any tensor that does not fit.
    """
    for path, branch, convert in ((pi3, "scene_branch", from_pi3), (camerahmr, "human_branch", from_camerahmr)):
        if path is None:
            continue
        module: nn.Module = model.get_submodule(branch)
        state = {name.removeprefix(f"{branch}."): tensor for name, tensor in convert(read_tensors(Path(path))).items()}
        check_state(state, module.state_dict(), str(path))
        module.load_state_dict(state)


def read_file(path: Path, device: torch.device | str = "cpu", dtype: torch.dtype | None = None) -> UniSH:
    """The network of one weights file: the released file by its own names, or ours with `config.json` beside it.

    Made without memory; each tensor goes from the file to its place on the device, in the type that it has there
    (`dtype`: that of the trunk, see `UniSH.cast_trunk`), so that there is never a second copy. On the CPU in float32,
    tensors of the file's own type stay pages of the file. Raises `CheckpointError` as `check_state` and `open_tensors`
    do.
    """
    with open_tensors(path) as stored:
        ours = any(name.startswith(("scene_branch.", "human_branch.", "align_net.")) for name in stored)
        with torch.device("meta"):
            model = UniSH(_config_beside(path) if ours else RELEASE)
        if dtype is not None:
            model.cast_trunk(dtype)
        expected = model.state_dict() if ours else to_official(model.state_dict())
        state = {}
        for name, tensor in stored.items():
            place = expected.get(name)
            if place is None or place.shape != tensor.shape or not tensor.is_floating_point():
                state[name] = tensor  # refused below, by name
            else:
                made = tensor.to(device).to(place.dtype)
                # A page of the file would keep all of it in memory, beside the other half of the weights.
                state[name] = made.clone() if made is tensor and dtype not in (None, torch.float32) else made
    check_state(state, expected, str(path))
    model.load_state_dict(state if ours else from_official(state), assign=True)
    return model.eval()


def _config_beside(path: Path) -> UniSHConfig:
    beside = path.with_name(CONFIG_FILE)
    if not beside.is_file():
        raise CheckpointError(f"{path} needs the {CONFIG_FILE} that was saved with it; copy it to {beside}.")
    try:
        return UniSHConfig.from_json(beside.read_bytes())
    except OSError as error:
        raise CheckpointError(f"{beside} cannot be read: {error.strerror or error}; check the file.") from error


def save(
    model: UniSH,
    folder: str | Path,
    dtype: torch.dtype = torch.float16,
    state: Mapping[str, Tensor] | None = None,
) -> None:
    """Write `model.safetensors` and `config.json` into `folder`; parameters in `dtype`, constants as they are.

    `state` takes the place of the model's own tensors, where those are shards of a distributed run.
    Each file appears whole or not at all. Raises `CheckpointError` when a parameter is not finite in `dtype`,
    `InputError` when `dtype` is no floating type or the folder cannot be written to.
    """
    if not dtype.is_floating_point:
        raise InputError(f"Weights are saved in a floating type such as torch.float16; received {dtype}.")
    parameters = {name for name, _ in model.named_parameters()}
    state = {
        name: tensor.detach().to(device="cpu", dtype=dtype if name in parameters else torch.float32).contiguous()
        for name, tensor in (model.state_dict() if state is None else state).items()
    }
    check_state(state, state, f"the model to save as {dtype}")
    with atomic_path(Path(folder) / CONFIG_FILE) as temporary:
        temporary.write_text(model.config.to_json(), encoding="utf-8")
    with atomic_path(Path(folder) / WEIGHTS_FILE) as temporary:
        save_file(state, temporary, metadata={"format": "pt", "weights": model.weights_name})
