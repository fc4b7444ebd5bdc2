"""What the branches are built from: attention with rotary positions, transformer blocks, image stems."""

import functools
import itertools
import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from unish.utils.device import has_bfloat16

ROTARY_BASE = 100.0
SCORES_AT_ONCE, FEWEST_QUERIES = 2**20, 128
"""Of attention in parts: so many scores fit into a core's cache; with fewer queries, reading the keys takes over."""
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Rotary(NamedTuple):
    """Cosines and sines (tokens, axes, D/2) that rotate a head's channels; each axis owns an equal run of them."""

    cos: Tensor
    sin: Tensor

    def rotate(self, x: Float[Tensor, "batch heads tokens channels"]) -> Float[Tensor, "batch heads tokens channels"]:
        """`x` with each (i, i + D/2) pair of channels turned by its token's angle (RoPE, rotate-half)."""
        if not infers_in_bfloat16(x):
            return self._turned(x)
        rotated = torch.empty_like(x)
        for head in range(x.shape[1]):  # in float32 too, but what is converted stays in the cache
            rotated[:, head] = self._turned(x[:, head : head + 1].float())[:, 0]
        return rotated

    def _turned(self, x: Tensor) -> Tensor:
        first, second = x.unflatten(-1, (self.cos.shape[-2], 2, -1)).unbind(-2)
        turned = (first * self.cos - second * self.sin, second * self.cos + first * self.sin)
        return torch.stack(turned, dim=-2).flatten(-3)

    def tiled(self, times: int) -> "Rotary":
        """The table for `times` frames whose tokens stand one after another."""
        return Rotary(self.cos.repeat(times, 1, 1), self.sin.repeat(times, 1, 1))


def rotary_angles(positions: Tensor, channels: int) -> Tensor:
    """Angles (positions, channels/2) in radians: position · base^(−2i/channels)."""
    steps = torch.arange(0, channels, 2, dtype=torch.float32, device=positions.device)
    return positions.float()[:, None] * ROTARY_BASE ** (-steps / channels)


def grid_rotary(rows: int, columns: int, registers: int, head_width: int, device: torch.device) -> Rotary:
    """2-D table of a frame's tokens (π³): half the channels turn by the row, half by the column.

    Patch positions start at 1; the `registers` tokens that stand before them are at 0.
    """
    row = torch.arange(1, rows + 1, device=device).repeat_interleave(columns)
    column = torch.arange(1, columns + 1, device=device).repeat(rows)
    nothing = torch.zeros(registers, dtype=row.dtype, device=device)
    axes = [rotary_angles(torch.cat([nothing, axis]), head_width // 2) for axis in (row, column)]
    angles = torch.stack(axes, dim=1)
    return Rotary(angles.cos(), angles.sin())


def infers_in_bfloat16(x: Tensor) -> bool:
    """Whether a CPU infers in bfloat16 here, which has faster ways of its own to attend, rotate and apply GELU."""
    on_cpu = x.device.type == "cpu" and x.dtype == torch.bfloat16
    return on_cpu and not torch.is_grad_enabled() and not torch.compiler.is_compiling()


def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Scaled dot-product attention of (batch, heads, tokens, channels), heads joined: (batch, tokens, channels)."""
    if infers_in_bfloat16(value):
        return _attend_in_parts(query.to(value.dtype), key.to(value.dtype), value)
    if value.device.type == "cpu" and value.dtype == torch.bfloat16 and torch.is_grad_enabled():
        # The CPU's bfloat16 attention has a backward pass many times slower than float32's.
        with full_precision(value.device):
            joined = F.scaled_dot_product_attention(query.float(), key.float(), value.float())
    else:
        joined = F.scaled_dot_product_attention(query.to(value.dtype), key.to(value.dtype), value)
    return joined.transpose(1, 2).flatten(2)


def _attend_in_parts(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """`attend` for a CPU in bfloat16: plain products, of so many queries at a time that their scores stay in the cache.

    The fused attention multiplies at half the rate that the processor's bfloat16 products reach.
    """
    batch, heads, queries, channels = query.shape
    keys = key.shape[2]
    rows = max(min(queries, SCORES_AT_ONCE // keys), FEWEST_QUERIES)
    together = max(1, SCORES_AT_ONCE // (rows * keys))
    joined = value.new_empty(batch, queries, heads, value.shape[-1])
    for one, first in itertools.product(range(batch), range(0, heads, together)):
        part = one, slice(first, first + together)
        for start in range(0, queries, rows):
            some = slice(start, start + rows)
            scores = torch.bmm(query[part][:, some] * channels**-0.5, key[part].mT)
            joined[one, some, part[1]] = torch.bmm(scores.softmax(-1), value[part]).transpose(0, 1)
    return joined.flatten(2)


class SelfAttention(nn.Module):
    """Multi-head self-attention with one fused projection, optional q/k LayerNorm and rotary positions."""

    def __init__(self, width: int, heads: int, head_width: int = 0, bias: bool = True, qk_norm: bool = False) -> None:
        super().__init__()
        head_width = head_width or width // heads
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * heads * head_width, bias=bias)
        self.q_norm = nn.LayerNorm(head_width, eps=1e-5) if qk_norm else nn.Identity()
        self.k_norm = nn.LayerNorm(head_width, eps=1e-5) if qk_norm else nn.Identity()
        self.proj = nn.Linear(heads * head_width, width)

    def forward(
        self, x: Float[Tensor, "batch tokens width"], rotary: Rotary | None = None
    ) -> Float[Tensor, "batch tokens width"]:
        query, key, value = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        query, key = self.q_norm(query), self.k_norm(key)
        if rotary is not None:
            query, key = rotary.rotate(query), rotary.rotate(key)
        return self.proj(attend(query, key, value))


class CrossAttention(nn.Module):
    """Multi-head attention from one set of tokens to another (CameraHMR's head: no bias but on the output)."""

    def __init__(self, width: int, context_width: int, heads: int, head_width: int) -> None:
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(width, heads * head_width, bias=False)
        self.kv = nn.Linear(context_width, 2 * heads * head_width, bias=False)
        self.proj = nn.Linear(heads * head_width, width)

    def forward(
        self, x: Float[Tensor, "batch queries width"], context: Float[Tensor, "batch tokens context_width"]
    ) -> Float[Tensor, "batch queries width"]:
        query = self.q(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        key, value = self.kv(context).unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.proj(attend(query, key, value))


class Mlp(nn.Module):
    """Two linear layers with an exact GELU between."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch width"]:
        return self.fc2(_linear_gelu(self.fc1, x))


def _linear_gelu(layer: nn.Linear, x: Tensor) -> Tensor:
    """GELU of a linear layer; in one pass where oneDNN has that: by itself GELU takes a third of the product's time."""
    fused = infers_in_bfloat16(x) and layer.weight.dtype == x.dtype and layer.bias is not None
    if fused and _has_fused_gelu():
        return torch.ops.mkldnn._linear_pointwise(x, layer.weight, layer.bias, "gelu", [], "none")
    return F.gelu(layer(x))


@functools.cache
def _has_fused_gelu() -> bool:
    operations = torch.ops.mkldnn
    return (
        torch.backends.mkldnn.is_available()
        and hasattr(operations, "_linear_pointwise")
        and operations._is_mkldnn_bf16_supported()
    )


class Residual(nn.Module):
    """What a block adds to the stream of tokens, added as it is."""

    def forward(self, stream: Float[Tensor, "*batch width"], update: Float[Tensor, "*batch width"]) -> Tensor:
        return stream + update


class LayerScale(nn.Module):
    """What a block adds to the stream of tokens, times a learned gain for each channel (CaiT)."""

    def __init__(self, width: int, initial: float) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((width,), initial))

    def forward(self, stream: Float[Tensor, "*batch width"], update: Float[Tensor, "*batch width"]) -> Tensor:
        return torch.addcmul(stream, update.to(stream.dtype), self.gamma.to(stream.dtype))


class Block(nn.Module):
    """Pre-norm transformer block: attention and MLP, each added to the stream, with LayerScale where given."""

    def __init__(
        self, width: int, heads: int, mlp_ratio: float, layer_scale: float | None = None, qk_norm: bool = False
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = SelfAttention(width, heads, qk_norm=qk_norm)
        self.ls1 = Residual() if layer_scale is None else LayerScale(width, layer_scale)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = Mlp(width, int(width * mlp_ratio))
        self.ls2 = Residual() if layer_scale is None else LayerScale(width, layer_scale)

    def forward(
        self, x: Float[Tensor, "batch tokens width"], rotary: Rotary | None = None
    ) -> Float[Tensor, "batch tokens width"]:
        x = self.ls1(x, self.attn(self.norm1(x), rotary))
        return self.ls2(x, self.mlp(self.norm2(x)))


class PatchEmbed(nn.Module):
    """Image to tokens by one linear projection of each patch (ViT)."""

    def __init__(self, patch_size: int, width: int, padding: int = 0) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, patch_size, stride=patch_size, padding=padding)

    def forward(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch channels rows columns"]:
        return self.proj(images)


class ConvStem(nn.Module):
    """Image to tokens by a 3×3 convolution over folded pixels and one projection of what is left of the patch.

    Neighbouring patches overlap, the grid is exactly height/patch × width/patch, and a small network learns
    faster from it than from raw patches.
    """

    def __init__(self, patch_size: int, width: int, channels: int) -> None:
        super().__init__()
        fold = 4 if patch_size % 8 == 0 else 2
        left = patch_size // fold
        stride = 2 if left % 4 == 0 else 1
        self.fold = nn.PixelUnshuffle(fold)
        self.conv = nn.Conv2d(3 * fold**2, channels, 3, stride=stride, padding=1)
        self.proj = nn.Conv2d(channels, width, left // stride, stride=left // stride)

    def forward(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch channels rows columns"]:
        folded = self.fold(images).contiguous(memory_format=torch.channels_last)
        return self.proj(F.gelu(self.conv(folded)))


class PyramidStem(nn.Module):
    """Image to tokens by 3×3 convolutions that halve the resolution from a quarter of the image's to the patches'.

    Learns where limbs are from a few thousand crops, where a shallow stem learns nothing. `patch_size` is 4·2ⁿ.
    """

    def __init__(self, patch_size: int, width: int, channels: int) -> None:
        super().__init__()
        steps = int(math.log2(patch_size // 4))
        sizes = [channels * 2**step for step in range(steps - 1)] + [width]
        self.fold = nn.PixelUnshuffle(4)
        self.halvings = nn.ModuleList(
            nn.Conv2d(before, after, 3, stride=2, padding=1)
            for before, after in zip([48, *sizes[:-1]], sizes, strict=True)
        )
        self.residuals = nn.ModuleList(nn.Conv2d(size, size, 3, padding=1) for size in sizes[:-1])
        for name, parameter in self.named_parameters():
            if name.endswith("weight"):
                nn.init.kaiming_uniform_(parameter)
            else:
                nn.init.zeros_(parameter)

    def forward(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch channels rows columns"]:
        maps = self.fold(images).contiguous(memory_format=torch.channels_last)
        for halving, residual in zip(self.halvings, self.residuals, strict=False):
            maps = F.gelu(halving(maps))
            maps = maps + F.gelu(residual(maps))
        return self.halvings[-1](maps)


def image_stem(
    kind: str, patch_size: int, width: int, channels: int, padding: int = 0
) -> PatchEmbed | ConvStem | PyramidStem:
    """The stem that a config names: "linear", "conv" or "pyramid"."""
    if kind == "linear":
        return PatchEmbed(patch_size, width, padding)
    return (PyramidStem if kind == "pyramid" else ConvStem)(patch_size, width, channels)


class Trunk(nn.Module):
    """Base of the branches with a heavy part: in which precision it runs and whether activations are recomputed."""

    trunk_dtype: torch.dtype | None = None
    """Precision of the trunk; None takes bfloat16 on a CUDA device that has it, else float32."""
    checkpoint_activations: bool = False
    """Recompute each block in the backward pass: less memory, about a third more time."""

    def trunk_precision(self, device: torch.device) -> AbstractContextManager:
        """The autocast region for the trunk."""
        dtype = self.trunk_dtype
        if dtype is None:
            dtype = torch.bfloat16 if has_bfloat16(device) else torch.float32
        if dtype == torch.float32:
            return full_precision(device)
        return torch.autocast(device.type, dtype=dtype)

    def stream(self, tokens: Tensor) -> Tensor:
        """Tokens in the type in which blocks add to them: float32, but bfloat16 where a CPU infers in that."""
        half = tokens.to(torch.bfloat16) if self.trunk_dtype == torch.bfloat16 else tokens
        return half if infers_in_bfloat16(half) else tokens

    def run(self, block: Callable[..., Tensor], *inputs: Tensor | Rotary | None) -> Tensor:
        """`block(*inputs)`, recomputed in the backward pass where asked for."""
        if self.checkpoint_activations and torch.is_grad_enabled():
            return checkpoint(block, *inputs, use_reentrant=False)
        return block(*inputs)


def full_precision(device: torch.device) -> AbstractContextManager:
    """A region without autocast, for heads whose numbers are metres and rotations."""
    return torch.autocast(device.type, enabled=False)


def initialise(module: nn.Module) -> None:
    """Xavier linear layers with zero bias, for `Module.apply`: what training from scratch starts from."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def random_tokens(*shape: int, std: float = 0.02) -> nn.Parameter:
    """Learned tokens or position embeddings, before they have learned anything."""
    spread = math.sqrt(3) * std
    return nn.Parameter(nn.init.uniform_(torch.empty(shape), -spread, spread))
