"""The exponential moving average of what learns, which is what a run leaves behind."""

import contextlib

import torch
from torch import Tensor, nn


class AveragedWeights:
    """Exponential moving average of parameters; younger runs forget faster."""

    def __init__(self, parameters: dict[str, nn.Parameter], decay: float) -> None:
        self.decay, self._parameters = decay, parameters
        self.shadow = {name: _own(value).clone() for name, value in parameters.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after a step."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, value in self._parameters.items():
            self.shadow[name].lerp_(_own(value), 1 - decay)

    @contextlib.contextmanager
    def applied(self):
        """The averaged weights in place of the parameters, inside a `with`."""
        own = {name: _own(value).clone() for name, value in self._parameters.items()}
        self.apply()
        try:
            yield
        finally:
            self._write(own)

    def apply(self) -> None:
        """Put the averaged weights in place for good."""
        self._write(self.shadow)

    @torch.no_grad()
    def _write(self, values: dict[str, Tensor]) -> None:
        for name, value in self._parameters.items():
            _own(value).copy_(values[name])

    def state_dict(self) -> dict[str, Tensor]:
        return self.shadow

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.shadow = {name: value.to(self.shadow[name].device).clone() for name, value in state.items()}


@torch.no_grad()
def _own(value: Tensor) -> Tensor:
    """The part of a tensor that this process holds: all of it, unless it is sharded."""
    local = value.detach()
    return local.to_local() if hasattr(local, "to_local") else local  # type: ignore[union-attr]
