"""The scene branch (π³): points, confidence and cameras from all frames of a clip at once."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from unish.geometry.rotations import nearest_rotation
from unish.geometry.transforms import relative_to_first, rigid
from unish.models.config import SceneConfig
from unish.models.layers import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Block,
    Rotary,
    Trunk,
    full_precision,
    grid_rotary,
    image_stem,
    initialise,
    random_tokens,
)
from unish.models.refine import Refiner, pixel_rays


@dataclass(frozen=True)
class SceneFeatures:
    """What the scene branch says of a clip, in network units (no metric scale yet).

    `points_camera`: point of each pixel in its own camera's frame. `confidence`: 0..1, the sigmoid of
    `confidence_logits`. `world_from_camera`: relative to frame 0. `camera_to_world`: the same cameras in the
    frame that the network chose, before that. `hidden`: outputs of the last two decoder blocks, register
    tokens first, that AlignNet reads.
    """

    points_camera: Float[Tensor, "batch frames height width 3"]
    confidence: Float[Tensor, "batch frames height width"]
    confidence_logits: Float[Tensor, "batch frames height width"]
    world_from_camera: Float[Tensor, "batch frames 4 4"]
    camera_to_world: Float[Tensor, "batch frames 4 4"]
    hidden: Float[Tensor, "batch frames tokens channels"]


class Encoder(nn.Module):
    """Image encoder (DINOv2 with registers): frames to patch tokens."""

    def __init__(self, config: SceneConfig) -> None:
        super().__init__()
        width, grid = config.width, config.position_grid
        self.grid = grid
        self.cls_token = random_tokens(1, 1, width)
        self.pos_embed = random_tokens(1, 1 + grid * grid, width)
        self.register_tokens = random_tokens(1, config.encoder_registers, width)
        self.patch_embed = image_stem(config.stem, config.patch_size, width, config.stem_channels)
        self.blocks = nn.ModuleList(
            Block(width, config.encoder_heads, config.mlp_ratio, config.encoder_layer_scale)
            for _ in range(config.encoder_depth)
        )
        self.norm = nn.LayerNorm(width, eps=1e-6)

    def forward(self, images: Float[Tensor, "frames 3 height width"], trunk: Trunk) -> Float[Tensor, "frames n c"]:
        patches = self.patch_embed(images)
        places = self._positions(*patches.shape[-2:])
        patches = patches.flatten(2).transpose(1, 2) + places
        cls = (self.cls_token + self.pos_embed[:, :1]).expand(len(images), -1, -1)
        registers = self.register_tokens.expand(len(images), -1, -1)
        tokens = trunk.stream(torch.cat([cls, registers, patches], dim=1))
        for block in self.blocks:
            tokens = trunk.run(block, tokens)
        return self.norm(tokens[:, 1 + registers.shape[1] :])

    def _positions(self, rows: int, columns: int) -> Tensor:
        """Position embedding (1, rows·columns, C), resized to the exact grid as DINOv2 resizes it."""
        table = self.pos_embed[:, 1:].float()
        if (rows, columns) == (self.grid, self.grid):
            return table
        square = table.unflatten(1, (self.grid, self.grid)).permute(0, 3, 1, 2)
        if square.device.type == "mps":  # which has no antialiased resize
            square = square.cpu()
        resized = F.interpolate(square, size=(rows, columns), mode="bicubic", antialias=True)
        return resized.to(table.device).flatten(2).transpose(1, 2)


class Decoder(nn.Module):
    """Blocks that attend in turn inside each frame and over the whole clip; no frame is special (π³)."""

    def __init__(self, config: SceneConfig) -> None:
        super().__init__()
        self.register_token = random_tokens(1, 1, config.decoder_registers, config.width)
        self.blocks = nn.ModuleList(
            Block(config.width, config.decoder_heads, config.mlp_ratio, config.decoder_layer_scale, qk_norm=True)
            for _ in range(config.decoder_depth)
        )

    def forward(self, patches: Float[Tensor, "batch frames n c"], rotary: Rotary, trunk: Trunk) -> Tensor:
        """Outputs of the last two blocks side by side: (batch, frames, registers + n, 2c)."""
        batch, frames = patches.shape[:2]
        tokens = trunk.stream(torch.cat([self.register_token.expand(batch, frames, -1, -1), patches], dim=2))
        shape = tokens.shape
        tables = rotary, rotary.tiled(frames)
        last_two = []
        for depth, block in enumerate(self.blocks):
            over_clip = depth % 2
            tokens = tokens.flatten(1, 2) if over_clip else tokens.flatten(0, 1)
            tokens = trunk.run(block, tokens, tables[over_clip]).view(shape)
            last_two = [*last_two[-1:], tokens]
        return torch.cat(last_two, dim=-1)


class HeadDecoder(nn.Module):
    """The blocks in front of one head, attending inside each frame; register tokens run along and are dropped."""

    def __init__(self, config: SceneConfig, out_width: int) -> None:
        super().__init__()
        self.projects = nn.Linear(2 * config.width, config.head_width)
        self.blocks = nn.ModuleList(
            Block(config.head_width, config.head_heads, config.mlp_ratio, config.head_layer_scale, config.head_qk_norm)
            for _ in range(config.head_depth)
        )
        self.linear_out = nn.Linear(config.head_width, out_width)
        self.registers = config.decoder_registers

    def forward(self, hidden: Float[Tensor, "frames n c"], rotary: Rotary, trunk: Trunk) -> Tensor:
        tokens = self.projects(hidden)
        for block in self.blocks:
            tokens = trunk.run(block, tokens, rotary)
        return self.linear_out(tokens)[:, self.registers :].float()


class DenseHead(nn.Module):
    """Tokens to a map at the frame's resolution: one linear layer, then pixel-shuffle."""

    def __init__(self, config: SceneConfig, channels: int) -> None:
        super().__init__()
        self.patch_size = config.patch_size
        self.decoder = HeadDecoder(config, config.head_width)
        self.proj = nn.Linear(config.head_width, channels * config.patch_size**2)

    def forward(self, tokens: Float[Tensor, "frames n c"], rows: int, columns: int) -> Tensor:
        patches = self.proj(tokens).transpose(1, 2).unflatten(2, (rows, columns))
        return F.pixel_shuffle(patches, self.patch_size)


class CameraHead(nn.Module):
    """Tokens to a rigid camera pose: residual layers, mean over patches, translation and nearest rotation.

    Where the configuration asks for it, also the lens: the logarithm of what the slopes of all rays are multiplied by.
    """

    def __init__(self, config: SceneConfig) -> None:
        super().__init__()
        width = config.camera_width
        self.decoder = HeadDecoder(config, width)
        self.residuals = nn.ModuleList(_relu_layers(width, 3) for _ in range(2))
        self.mlp = _relu_layers(width, 2)
        self.translation = nn.Linear(width, 3)
        self.rotation = nn.Linear(width, 9)
        self.lens = nn.Linear(width, 1) if config.predicts_lens else None

    def forward(
        self, tokens: Float[Tensor, "frames n c"]
    ) -> tuple[Float[Tensor, "frames 4 4"], Float[Tensor, "frames"] | None]:
        for layers in self.residuals:
            tokens = tokens + layers(tokens)
        pooled = self.mlp(tokens.mean(dim=1))
        rows = F.normalize(self.rotation(pooled).unflatten(-1, (3, 3)), dim=-1)
        lens = None if self.lens is None else self.lens(pooled)[:, 0]
        return rigid(nearest_rotation(rows), self.translation(pooled)), lens


def _relu_layers(width: int, count: int) -> nn.Sequential:
    return nn.Sequential(*(layer for _ in range(count) for layer in (nn.Linear(width, width), nn.ReLU())))


class SceneBranch(Trunk):
    """π³: frames of a clip → points, confidence and cameras, plus the tokens that AlignNet reads."""

    image_mean: Tensor
    image_std: Tensor
    frames_per_chunk: int = 16
    """How many frames at a time run through the encoder and the heads when no gradient is kept."""

    def __init__(self, config: SceneConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("image_mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1))
        self.register_buffer("image_std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1))
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        self.point_head = DenseHead(config, 3)
        self.conf_head = DenseHead(config, 1)
        self.camera_head = CameraHead(config)
        self.refiner = Refiner(config.refine_channels) if config.refine_channels else None
        self._initialise()

    def _initialise(self) -> None:
        """Start from a flat scene at unit depth, seen by cameras that stand still."""
        for module in self.children():
            if not isinstance(module, Refiner):
                module.apply(initialise)
        with torch.no_grad():
            for layer in (self.point_head.proj, self.conf_head.proj, self.camera_head.translation):
                layer.weight.mul_(0.05)
            self.camera_head.rotation.weight.mul_(0.05)
            if self.camera_head.lens is not None:
                self.camera_head.lens.weight.mul_(0.05)
            self.camera_head.rotation.bias.copy_(torch.tensor([1.0, 0, 0, 0, 1, 0, 0, 0, 1]))

    def forward(self, images: Float[Tensor, "batch frames 3 height width"]) -> SceneFeatures:
        return self.decode(self.encode(images), images)

    def encode(self, images: Float[Tensor, "batch frames 3 height width"]) -> Float[Tensor, "batch frames tokens c"]:
        """`SceneFeatures.hidden` of clips in 0..1: everything before the heads."""
        batch, frames, _, height, width = images.shape
        rows, columns = height // self.config.patch_size, width // self.config.patch_size
        head_width = self.config.width // self.config.decoder_heads
        rotary = grid_rotary(rows, columns, self.config.decoder_registers, head_width, images.device)
        with self.trunk_precision(images.device):
            patches = torch.cat([self.encoder(part, self) for part in self._chunks(self._normalised(images))])
            return self.decoder(patches.unflatten(0, (batch, frames)), rotary, self)

    def decode(
        self,
        hidden: Float[Tensor, "batch frames tokens c"],
        images: Float[Tensor, "batch frames 3 height width"],
        point_head: "DenseHead | None" = None,
    ) -> SceneFeatures:
        """What the heads make of `hidden`; with another point head than the branch's own where one is given."""
        batch, frames, _, height, width = images.shape
        rows, columns = height // self.config.patch_size, width // self.config.patch_size
        head = self.point_head if point_head is None else point_head
        parts = zip(self._chunks(hidden.flatten(0, 1)), self._chunks(self._normalised(images)), strict=True)
        decoded = [self._decode_frames(tokens, frames_chunk, rows, columns, head) for tokens, frames_chunk in parts]
        points, logits, poses = (torch.cat(maps).unflatten(0, (batch, frames)) for maps in zip(*decoded, strict=True))
        return SceneFeatures(points, logits.sigmoid(), logits, relative_to_first(poses), poses, hidden)

    def _normalised(self, images: Tensor) -> Tensor:
        return (images.flatten(0, 1) - self.image_mean) / self.image_std

    def _chunks(self, frames: Tensor) -> tuple[Tensor, ...]:
        return (frames,) if torch.is_grad_enabled() else frames.split(self.frames_per_chunk)

    def _decode_frames(
        self, hidden: Tensor, images: Tensor, rows: int, columns: int, point_head: DenseHead
    ) -> tuple[Tensor, ...]:
        """Points (frames,H,W,3), confidence logits (frames,H,W) and camera poses of some frames."""
        head_width = self.config.head_width // self.config.head_heads
        rotary = grid_rotary(rows, columns, self.config.decoder_registers, head_width, hidden.device)
        with self.trunk_precision(hidden.device):
            heads = (point_head, self.conf_head, self.camera_head)
            point_tokens, conf_tokens, camera_tokens = (head.decoder(hidden, rotary, self) for head in heads)
        with full_precision(hidden.device):
            point_map = point_head(point_tokens, rows, columns)
            logits = self.conf_head(conf_tokens, rows, columns)
            poses, lens = self.camera_head(camera_tokens)
            if self.config.ray_prior:
                point_map = point_map + pixel_rays(point_map)
        if self.refiner is not None:
            with self.trunk_precision(hidden.device):
                point_map, logits = self.refiner(images, point_map, logits)
        slopes, log_depth = point_map.permute(0, 2, 3, 1).split([2, 1], dim=-1)
        if lens is not None:
            slopes = slopes * lens.exp()[:, None, None, None]
        depth = log_depth.exp()
        return torch.cat([slopes * depth, depth], dim=-1), logits[:, 0], poses
