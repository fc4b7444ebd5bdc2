"""UniSH: one network from images and person crops to scene, cameras and bodies in one frame and one scale."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unish.errors import InputError
from unish.geometry import CROP_SIZE_PX
from unish.geometry.metric import clip_norm
from unish.models.align import REFERENCE_FPS, AlignNet
from unish.models.config import UniSHConfig
from unish.models.human_branch import HumanBranch, HumanFeatures
from unish.models.layers import Block
from unish.models.scene_branch import SceneBranch, SceneFeatures
from unish.structures import Prediction


@dataclass(frozen=True)
class PeopleFeatures:
    """What the network says of each person.

    `scale`: metric size of the clip when its points have mean norm 1, as this person sees it.
    `translation_camera`: SMPL's translation in the camera frame, in the scene branch's units.
    `body_rotations`: 24 SMPL joints, index 0 the root in the camera frame. `betas`: mean over the clip.
    `human_tokens`: the head's tokens, that AlignNet read.
    """

    scale: Float[Tensor, "batch people"]
    translation_camera: Float[Tensor, "batch people frames 3"]
    body_rotations: Float[Tensor, "batch people frames 24 3 3"]
    betas: Float[Tensor, "batch people 10"]
    human_tokens: Float[Tensor, "batch people frames channels"]


class UniSH(nn.Module):
    """The network of "UniSH" (arXiv 2601.01222): π³ for the scene, CameraHMR for people, AlignNet between.

    `scene_branch`, `human_branch` and `align_net` are its parts. `weights_name` says which weights it holds.
    """

    weights_name: str = "untrained"
    weights_note: str = ""
    """Why these weights and not better ones; empty when they are what was asked for."""

    def __init__(self, config: UniSHConfig) -> None:
        super().__init__()
        self.config = config
        self.scene_branch = SceneBranch(config.scene)
        self.human_branch = HumanBranch(config.human)
        self.align_net = AlignNet(
            config.align, 2 * config.scene.width, config.human.head_width, config.scene.decoder_registers
        )

    @property
    def trunk_dtype(self) -> torch.dtype | None:
        """Precision of encoder, decoders and backbone; None: bfloat16 on a CUDA device that has it, else float32."""
        return self.scene_branch.trunk_dtype

    @trunk_dtype.setter
    def trunk_dtype(self, dtype: torch.dtype | None) -> None:
        self.scene_branch.trunk_dtype = self.human_branch.trunk_dtype = dtype

    def cast_trunk(self, dtype: torch.dtype) -> None:
        """Compute the trunk, and hold the weights of its linear layers, in `dtype`; for inference.

        Raises `InputError` for anything but float32, bfloat16 and float16.
        """
        if dtype not in (torch.float32, torch.bfloat16, torch.float16):
            raise InputError(f"dtype must be torch.float32, bfloat16 or float16; received {dtype}.")
        self.trunk_dtype = dtype
        scene, human = self.scene_branch, self.human_branch
        decoders = [head.decoder for head in (scene.point_head, scene.conf_head, scene.camera_head)]
        for part in (scene.encoder, scene.decoder, *decoders, human.backbone):
            for module in part.modules():
                if isinstance(module, nn.Linear):
                    module.to(dtype)

    @property
    def checkpoint_activations(self) -> bool:
        """Recompute blocks in the backward pass instead of keeping their activations."""
        return self.scene_branch.checkpoint_activations

    @checkpoint_activations.setter
    def checkpoint_activations(self, on: bool) -> None:
        self.scene_branch.checkpoint_activations = self.human_branch.checkpoint_activations = on

    def compile_blocks(self) -> None:
        """Have torch.compile fuse what lies between the products of every transformer block; for inference.

        One compilation serves blocks of a kind and clips of any length and size. The first window takes the time for
        it (a minute or so), and a C++ compiler; it pays where many clips follow. Not for ZeroGPU, where every visitor
        would wait for it.
        """
        for module in self.modules():
            if isinstance(module, Block):
                module.compile(dynamic=True)

    def forward(
        self,
        images: Float[Tensor, "batch frames 3 height width"],
        crops: Float[Tensor, "batch people frames 3 256 256"],
        bbox_info: Float[Tensor, "batch people frames 3"],
        fps: float = REFERENCE_FPS,
    ) -> Prediction:
        """Scene and people of clips at `fps`; images and crops in 0..1, height and width multiples of the patch.

        `bbox_info`: [cx − W/2, cy − H/2, box size] / focal length. Raises `InputError` on sizes it cannot take.
        """
        features = self.scene(images)
        people = self.people(features, crops, bbox_info, fps)
        return Prediction(
            points_camera=features.points_camera,
            confidence=features.confidence,
            world_from_camera=features.world_from_camera,
            scale=people.scale,
            translation_camera=people.translation_camera,
            body_rotations=people.body_rotations,
            betas=people.betas,
        )

    def scene(self, images: Float[Tensor, "batch frames 3 height width"]) -> SceneFeatures:
        """Points, confidence and cameras; once for a clip, however many people are in it."""
        height, width = images.shape[-2:]
        patch = self.config.scene.patch_size
        if height % patch or width % patch or not height or not width or not images.shape[1]:
            raise InputError(
                f"Images must hold at least one frame with sides that are multiples of {patch} px; received "
                f"{images.shape[1]} frames of {width}×{height}. Resize with unish.video.preprocess.fit_frames."
            )
        return self.scene_branch(images)

    def people(
        self,
        features: SceneFeatures,
        crops: Float[Tensor, "batch people frames 3 256 256"],
        bbox_info: Float[Tensor, "batch people frames 3"],
        fps: float = REFERENCE_FPS,
    ) -> PeopleFeatures:
        """Bodies of the people in a scene that is already known; each person is independent of the others."""
        batch, people, frames = crops.shape[:3]
        if not fps > 0:
            raise InputError(f"Expected fps above 0, got {fps}.")
        if people == 0:
            return self._nobody(features)
        person_features = self.human(crops.flatten(0, 2), bbox_info.flatten(0, 2))
        shape = (batch, people, frames)
        tokens = person_features.tokens.unflatten(0, shape)
        # The boxes as the result's camera sees them.
        seen_boxes = bbox_info / self.config.scene.focal_gain
        scale, translation = self.align_net(features.hidden, tokens, fps, seen_boxes)
        if self.config.align.place_from_box:
            units_per_metre = clip_norm(features.points_camera, features.confidence)[:, None] / scale
            translation = translation * units_per_metre[..., None, None]
        rotations = person_features.body_rotations.unflatten(0, shape)
        betas = person_features.betas.unflatten(0, shape).mean(dim=2)
        return PeopleFeatures(scale, translation, rotations, betas, tokens)

    def human(self, crops: Float[Tensor, "crops 3 256 256"], bbox_info: Float[Tensor, "crops 3"]) -> HumanFeatures:
        """Pose, shape and token of single crops, without a scene."""
        return self.human_branch(crops, bbox_info)

    def _nobody(self, features: SceneFeatures) -> PeopleFeatures:
        hidden = features.hidden
        batch, frames = hidden.shape[:2]
        return PeopleFeatures(
            scale=hidden.new_zeros(batch, 0, dtype=torch.float32),
            translation_camera=hidden.new_zeros(batch, 0, frames, 3, dtype=torch.float32),
            body_rotations=hidden.new_zeros(batch, 0, frames, 24, 3, 3, dtype=torch.float32),
            betas=hidden.new_zeros(batch, 0, 10, dtype=torch.float32),
            human_tokens=hidden.new_zeros(batch, 0, frames, self.config.human.head_width, dtype=torch.float32),
        )


def empty_crops(batch: int, frames: int, device: torch.device | None = None) -> tuple[Tensor, Tensor]:
    """`crops` and `bbox_info` of no people at all, for `UniSH.forward`."""
    crops = torch.zeros(batch, 0, frames, 3, CROP_SIZE_PX, CROP_SIZE_PX, device=device)
    return crops, torch.zeros(batch, 0, frames, 3, device=device)
