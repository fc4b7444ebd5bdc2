"""AlignNet (UniSH): the scene's metric scale and each body's place, from scene and human tokens."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from unish.models.config import AlignConfig
from unish.models.layers import Rotary, attend, full_precision, initialise, random_tokens, rotary_angles

REFERENCE_FPS = 6.0
TABLE_LENGTH = 120
SMALLEST_BOX = 1e-3
"""Of a box's side over the focal length; smaller boxes place a body as this one does."""


def time_rotary(positions: list[int], channels: int, device: torch.device) -> Rotary:
    """1-D table for time steps; beyond 120 steps the cosines and sines are stretched linearly over the range."""
    angles = rotary_angles(torch.arange(TABLE_LENGTH, device=device), channels)
    length = max(max(positions) + 1, TABLE_LENGTH)
    places = torch.tensor(positions, dtype=torch.float32, device=device) * ((TABLE_LENGTH - 1) / (length - 1))
    below = places.floor().long().clamp(max=TABLE_LENGTH - 2)
    part = (places - below)[:, None]
    tables = (torch.lerp(table[below], table[below + 1], part) for table in (angles.cos(), angles.sin()))
    return Rotary(*(table[:, None] for table in tables))


class TimeAttention(nn.Module):
    """Attention whose queries and keys are turned by their time (rotate-half)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.out = (nn.Linear(width, width) for _ in range(4))

    def forward(self, query: Tensor, context: Tensor, query_time: Rotary, context_time: Rotary) -> Tensor:
        q, k, v = (
            layer(tokens).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for layer, tokens in ((self.q, query), (self.k, context), (self.v, context))
        )
        return self.out(attend(query_time.rotate(q), context_time.rotate(k), v))


class AlignLayer(nn.Module):
    """Post-norm decoder layer inside one more residual: x + layer(x)."""

    def __init__(self, config: AlignConfig) -> None:
        super().__init__()
        width = config.width
        self.self_attention = TimeAttention(width, config.heads)
        self.cross_attention = TimeAttention(width, config.heads)
        self.feed_forward = nn.Sequential(
            nn.Linear(width, config.hidden), nn.ReLU(), nn.Dropout(config.dropout), nn.Linear(config.hidden, width)
        )
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))

    def forward(
        self,
        query: Float[Tensor, "batch people queries width"],
        context: Float[Tensor, "batch keys width"],
        query_time: Rotary,
        context_time: Rotary,
    ) -> Float[Tensor, "batch people queries width"]:
        batch, people = query.shape[:2]
        # A person's queries see each other; the clip's tokens are seen by everybody's, so people share their keys.
        alone = query.flatten(0, 1)
        attended = self.self_attention(alone, alone, query_time, query_time)
        inner = self.norm1(alone + attended)
        together = inner.unflatten(0, (batch, people)).flatten(1, 2)
        crossed = self.cross_attention(together, context, query_time.tiled(people), context_time)
        inner = self.norm2(together + crossed)
        inner = self.norm3(inner + self.feed_forward(inner))
        return query + inner.view_as(query)


class AlignNet(nn.Module):
    """One learned scale token and a token a frame for each person ask the clip's tokens for scale and place."""

    def __init__(self, config: AlignConfig, hidden_width: int, human_width: int, registers: int) -> None:
        super().__init__()
        self.config, self.registers = config, registers
        self.scale_token = random_tokens(1, 1, config.width)
        self.register_adapter = _adapter(hidden_width, config)
        self.patch_adapter = _adapter(hidden_width, config)
        self.human_adapter = _adapter(human_width, config)
        self.layers = nn.ModuleList(AlignLayer(config) for _ in range(config.depth))
        self.scale_head = nn.Linear(config.width, 1)
        self.translation_head = nn.Linear(config.width, 3)
        self.apply(initialise)
        with torch.no_grad():
            self.scale_head.weight.mul_(0.05)
            self.translation_head.weight.mul_(0.05)

    def forward(
        self,
        hidden: Float[Tensor, "batch frames tokens channels"],
        human_tokens: Float[Tensor, "batch people frames human_channels"],
        fps: float = REFERENCE_FPS,
        bbox_info: Float[Tensor, "batch people frames 3"] | None = None,
    ) -> tuple[Float[Tensor, "batch people"], Float[Tensor, "batch people frames 3"]]:
        """Scale (positive; metres of the clip's mean point distance) and translation in the scene branch's units, or in
        metres where bodies are placed from their boxes.

        `hidden` carries the register tokens of each frame first; `fps` says how far apart the frames are. `bbox_info`,
        [cx − W/2, cy − H/2, box size] over the result's focal length, is needed to place bodies from their boxes.
        """
        with full_precision(hidden.device):
            frames = hidden.shape[1]
            head_width = self.config.width // self.config.heads
            # Half to even, as the released network rounds.
            moments = [round(frame * REFERENCE_FPS / fps) for frame in range(frames)]
            query_time = time_rotary([0, *moments], head_width, hidden.device)
            context = self._context(hidden.float())
            key_moments = [moment for moment in moments for _ in range(hidden.shape[2])]
            context_time = time_rotary(key_moments, head_width, hidden.device)
            people = self.human_adapter(human_tokens.float())
            scale_query = self.scale_token.expand(*people.shape[:2], -1, -1)
            query = torch.cat([scale_query, people], dim=2)
            for layer in self.layers:
                query = layer(query, context, query_time, context_time)
            scale = F.softplus(self.scale_head(query[:, :, 0]))[..., 0]
            # A box needs the person's pose beside it and nothing of the scene, whose tokens may be unfamiliar.
            placed = people if self.config.place_from_box else query[:, :, 1:]
            slopes, log_depth = self.translation_head(placed).split([2, 1], dim=-1)
            depth = log_depth.exp()
            if self.config.place_from_box:
                assert bbox_info is not None
                center, size = bbox_info.float().split([2, 1], dim=-1)
                size = size.clamp(min=SMALLEST_BOX)
                slopes, depth = center + size * slopes, depth / size
            return scale, torch.cat([slopes * depth, depth], dim=-1)

    def _context(self, hidden: Tensor) -> Tensor:
        """All frames' tokens in one sequence (batch, frames·tokens, width)."""
        registers = self.register_adapter(hidden[:, :, : self.registers])
        patches = self.patch_adapter(hidden[:, :, self.registers :])
        return torch.cat([registers, patches], dim=2).flatten(1, 2)


def _adapter(width: int, config: AlignConfig) -> nn.Sequential:
    return nn.Sequential(nn.LayerNorm(width), nn.Linear(width, config.width), nn.ReLU(), nn.Dropout(config.dropout))
