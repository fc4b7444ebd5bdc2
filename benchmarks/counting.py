"""Memory counted without a device: tensors with shapes and no numbers, whose storages are added up while they live."""

import contextlib
import weakref
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

ALLOCATED_BYTES = 512
"""What CUDA's allocator rounds up to."""


class LiveBytes(TorchDispatchMode):
    """Adds up the storages of all tensors that are alive, and remembers the most."""

    def __init__(self) -> None:
        super().__init__()
        self.now, self.most, self._known = 0, 0, set[int]()

    def __torch_dispatch__(self, func: Callable, types: Any, args: Any = (), kwargs: dict | None = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                self._add(tensor.untyped_storage())
        return result

    def _add(self, storage: torch.UntypedStorage) -> None:
        place = storage._cdata
        if place not in self._known:
            size = -(-storage.nbytes() // ALLOCATED_BYTES) * ALLOCATED_BYTES
            self._known.add(place)
            self.now += size
            self.most = max(self.most, self.now)
            weakref.finalize(storage, self._remove, place, size)

    def _remove(self, place: int, size: int) -> None:
        self._known.discard(place)
        self.now -= size


class WithoutMemory(FakeTensorMode):
    """Tensors with shapes and no numbers; copying one deeply does not copy the mode."""

    def __deepcopy__(self, memo: dict) -> "WithoutMemory":
        return self


@contextlib.contextmanager
def counted_bytes() -> Iterator[LiveBytes]:
    """What a GPU would hold of the tensors made inside: fused attention, float32 norms as CUDA's autocast has."""
    layer_norm = F.layer_norm

    def in_float32(x: Tensor, shape: Any, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5):
        gain, offset = (None if part is None else part.float() for part in (weight, bias))
        return layer_norm(x.float(), shape, gain, offset, eps)

    with (
        WithoutMemory(allow_non_fake_inputs=True),
        LiveBytes() as live,
        mock.patch("torch.nn.functional.layer_norm", in_float32),
        mock.patch("unish.models.layers.attend", _fused),
        mock.patch("unish.models.align.attend", _fused),
        mock.patch("unish.models.layers.infers_in_bfloat16", lambda _: False),  # that a CPU does otherwise
    ):
        yield live


def _fused(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """`attend` as it runs on a GPU; on a CPU it trains in float32."""
    joined = F.scaled_dot_product_attention(query.to(value.dtype), key.to(value.dtype), value)
    return joined.transpose(1, 2).flatten(2)
