"""The exponential moving average (EMA) of what a run trains; the averaged weights are the result of the run.

Not `torch.optim.swa_utils.AveragedModel`: it copies whole modules, frozen branches included, starts by copying the
first update, and has no way to swap the average in and out of a sharded module.
"""

import contextlib
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn


class ExponentialMovingAverage:
    """EMA of tensors that change in place (parameters, running statistics), kept per process where they are sharded.

    At step n the decay is min(decay, (1 + n)/(10 + n)), so that the first weights are soon forgotten. Integers, such
    as batch norm's counter, are copied.
    """

    def __init__(self, tensors: Mapping[str, Tensor], decay: float) -> None:
        self.decay, self._tensors = decay, tensors
        self.average = {name: _local(tensor).clone() for name, tensor in tensors.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the tensors after a step."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, tensor in self._tensors.items():
            if tensor.is_floating_point():
                self.average[name].lerp_(_local(tensor), 1 - decay)
            else:
                self.average[name].copy_(_local(tensor))

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Inside this context the tensors hold their averages."""
        current = {name: _local(tensor).clone() for name, tensor in self._tensors.items()}
        self.apply()
        try:
            yield
        finally:
            self._write(current)

    def apply(self) -> None:
        """Overwrite the tensors with their averages."""
        self._write(self.average)

    @torch.no_grad()
    def _write(self, values: dict[str, Tensor]) -> None:
        for name, tensor in self._tensors.items():
            _local(tensor).copy_(values[name])

    def state_dict(self) -> dict[str, Tensor]:
        return self.average

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.average = {name: value.to(self.average[name].device).clone() for name, value in state.items()}


def buffers_of_trained(module: nn.Module) -> dict[str, Tensor]:
    """Persistent buffers beside trained parameters, such as batch norm's running statistics, by name."""
    buffers = {}
    for prefix, child in module.named_modules():
        if any(parameter.requires_grad for parameter in child.parameters(recurse=False)):
            for name, buffer in child.named_buffers(recurse=False):
                if name not in child._non_persistent_buffers_set:
                    buffers[f"{prefix}.{name}" if prefix else name] = buffer
    return buffers


@torch.no_grad()
def _local(tensor: Tensor) -> Tensor:
    """The shard of a tensor that this process holds: all of it, unless it is sharded."""
    local = tensor.detach()
    return local.to_local() if hasattr(local, "to_local") else local  # type: ignore[union-attr]
