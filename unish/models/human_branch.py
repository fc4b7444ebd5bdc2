"""The human branch (CameraHMR): a person's crop → SMPL-format pose and shape, and a token for AlignNet."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unish.geometry import NUM_BETAS, NUM_JOINTS
from unish.geometry.rotations import rotation_6d_to_matrix
from unish.models.config import CROP_MARGIN_PX, HumanConfig
from unish.models.layers import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Block,
    CrossAttention,
    Mlp,
    SelfAttention,
    Trunk,
    full_precision,
    image_stem,
    initialise,
    random_tokens,
)

POSE_SIZE = 6 * NUM_JOINTS
CAMERA_SIZE = 3
BOX_SIZE = 3


@dataclass(frozen=True)
class HumanFeatures:
    """What the human branch says of each crop.

    `body_rotations`: SMPL's 24 joints, index 0 the root's orientation in the camera frame. `betas`: SMPL shape.
    `tokens`: the head's output token, that AlignNet reads.
    """

    body_rotations: Float[Tensor, "crops 24 3 3"]
    betas: Float[Tensor, "crops 10"]
    tokens: Float[Tensor, "crops channels"]


class HumanBackbone(nn.Module):
    """ViT on the middle 256 × 192 of a crop (ViTPose, as CameraHMR uses it)."""

    def __init__(self, config: HumanConfig) -> None:
        super().__init__()
        rows, columns = config.grid
        self.patch_embed = image_stem(
            config.stem, config.patch_size, config.width, config.stem_channels, config.patch_padding
        )
        self.pos_embed = random_tokens(1, 1 + rows * columns, config.width, std=0.3)
        self.blocks = nn.ModuleList(Block(config.width, config.heads, config.mlp_ratio) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.width, eps=1e-6)

    def forward(self, crops: Float[Tensor, "crops 3 256 192"], trunk: Trunk) -> Float[Tensor, "crops tokens channels"]:
        tokens = self.patch_embed(crops).flatten(2).transpose(1, 2)
        tokens = tokens + self.pos_embed[:, 1:] + self.pos_embed[:, :1]
        tokens = trunk.stream(tokens)
        for block in self.blocks:
            tokens = trunk.run(block, tokens)
        return self.norm(tokens)


class HeadLayer(nn.Module):
    """One layer of the SMPL head: self-attention, cross-attention to the crop's tokens, feed-forward; pre-norm."""

    def __init__(self, config: HumanConfig) -> None:
        super().__init__()
        width = config.head_width
        self.self_norm = nn.LayerNorm(width)
        self.self_attention = SelfAttention(width, config.head_heads, config.head_head_width, bias=False)
        self.cross_norm = nn.LayerNorm(width)
        self.cross_attention = CrossAttention(width, config.width, config.head_heads, config.head_head_width)
        self.feed_norm = nn.LayerNorm(width)
        self.feed_forward = Mlp(width, config.head_hidden)

    def forward(self, query: Tensor, context: Tensor) -> Tensor:
        query = query + self.self_attention(self.self_norm(query))
        query = query + self.cross_attention(self.cross_norm(query), context)
        return query + self.feed_forward(self.feed_norm(query))


class HumanHead(nn.Module):
    """SMPL transformer head (HMR 2.0, CameraHMR): one query token, corrected from a mean body.

    `init_body_pose` (1,144), `init_betas` (1,10) and `init_cam` (1,3) are the mean body, part of the weights.
    """

    init_body_pose: Tensor
    init_betas: Tensor
    init_cam: Tensor

    def __init__(self, config: HumanConfig) -> None:
        super().__init__()
        width = config.head_width
        self.register_buffer("init_body_pose", standing_pose())
        self.register_buffer("init_betas", torch.zeros(1, NUM_BETAS))
        self.register_buffer("init_cam", torch.tensor([[0.9, 0.0, 0.0]]))
        self.pos_embedding = random_tokens(1, 1, width)
        self.to_token = nn.Linear(BOX_SIZE + POSE_SIZE + NUM_BETAS + CAMERA_SIZE, width)
        self.layers = nn.ModuleList(HeadLayer(config) for _ in range(config.head_depth))
        self.decpose = nn.Linear(width, POSE_SIZE)
        self.decshape = nn.Linear(width, NUM_BETAS)

    def forward(
        self, context: Float[Tensor, "crops tokens channels"], bbox_info: Float[Tensor, "crops 3"], trunk: Trunk
    ) -> HumanFeatures:
        # In float32 whatever the trunk runs in: AlignNet reads the scale from its token.
        with full_precision(context.device):
            context, bbox_info = context.float(), bbox_info.float()
            mean_body = torch.cat([self.init_body_pose, self.init_betas, self.init_cam], dim=-1)
            query = self.to_token(torch.cat([bbox_info, mean_body.expand(len(bbox_info), -1)], dim=-1))
            query = query[:, None] + self.pos_embedding
            for layer in self.layers:
                query = trunk.run(layer, query, context)
            token = query[:, 0]
            pose = (self.init_body_pose + self.decpose(token)).unflatten(-1, (NUM_JOINTS, 6))
            return HumanFeatures(rotation_6d_to_matrix(pose), self.init_betas + self.decshape(token), token)


class HumanBranch(Trunk):
    """CameraHMR: crops and where they sit in the frame → pose, shape and tokens, each crop on its own."""

    crops_per_chunk: int = 64
    """How many crops at a time run when no gradient is kept."""

    def __init__(self, config: HumanConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = HumanBackbone(config)
        self.head = HumanHead(config)
        self.apply(initialise)
        with torch.no_grad():
            self.head.decpose.weight.mul_(0.01)
            self.head.decshape.weight.mul_(0.01)

    def features(self, crops: Float[Tensor, "crops 3 256 256"]) -> Float[Tensor, "crops tokens channels"]:
        """The backbone's tokens, row by row, of crops in 0..1."""
        crops = crops[..., CROP_MARGIN_PX:-CROP_MARGIN_PX]
        if self.config.normalise_crops:
            mean, std = (crops.new_tensor(value).view(3, 1, 1) for value in (IMAGENET_MEAN, IMAGENET_STD))
            crops = (crops - mean) / std
        with self.trunk_precision(crops.device):
            return self.backbone(crops, self)

    def forward(self, crops: Float[Tensor, "crops 3 256 256"], bbox_info: Float[Tensor, "crops 3"]) -> HumanFeatures:
        """`bbox_info`: crop centre from the image centre (x, y) and crop size, all over the focal length."""
        size = max(len(crops), 1) if torch.is_grad_enabled() else self.crops_per_chunk
        parts = zip(crops.split(size), bbox_info.split(size), strict=True)
        outputs = [self.head(self.features(part), box, self) for part, box in parts]
        return HumanFeatures(
            torch.cat([part.body_rotations for part in outputs]),
            torch.cat([part.betas for part in outputs]),
            torch.cat([part.tokens for part in outputs]),
        )


def standing_pose() -> Float[Tensor, "1 144"]:
    """A body that stands facing the camera with its arms down, as the head's 24 six-number rotations.

    SMPL's body frame has y up and faces +z; half a turn about x puts it upright before a camera with y down. The six
    numbers are where a rotation takes x and y.
    """
    joints = [(1.0, 0.0, 0.0, 0.0, 1.0, 0.0)] * NUM_JOINTS
    joints[0] = (1.0, 0.0, 0.0, 0.0, -1.0, 0.0)
    lowered = math.radians(65)
    for shoulder, angle in ((16, -lowered), (17, lowered)):
        joints[shoulder] = (math.cos(angle), math.sin(angle), 0.0, -math.sin(angle), math.cos(angle), 0.0)
    return torch.tensor(joints).view(1, POSE_SIZE)
