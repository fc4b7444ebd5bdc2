"""What the network is given in one training step, as named tensors with known shapes."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

AnyBatch = TypeVar("AnyBatch", bound="Batch")


@dataclass(frozen=True)
class Batch:
    """The tensors of one training step; each kind of training has a subclass that names them."""

    def to(self: AnyBatch, device: torch.device) -> AnyBatch:
        """The same batch on another device."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return dataclasses.replace(self, **{name: _moved(value, device) for name, value in values.items()})


def _moved(value: Any, device: torch.device) -> Any:
    """A tensor, or what holds tensors and can be moved as a whole."""
    if isinstance(value, Tensor):
        return value.to(device, non_blocking=True)
    return None if value is None else value.to(device)


@dataclass(frozen=True)
class StageBatch(Batch):
    """One clip as the three stages see it (`train.data.stage_batches`): network inputs and labels.

    Frames, boxes and 2-D joints are in pixels of the network's input. Cameras follow OpenCV, lengths are metres.
    """

    images: Float[Tensor, "1 frames 3 height width"]
    """RGB, 0..1"""
    depth_m: Float[Tensor, "1 frames height width"]
    """0 where unknown"""
    person_mask: UInt8[Tensor, "1 frames height width"]
    """0 for background, p + 1 for person p of the batch"""
    intrinsics: Float[Tensor, "1 frames 3 3"]
    crops: Float[Tensor, "1 people frames 3 256 256"]
    boxes_px: Float[Tensor, "1 people frames 4"]
    seen: Float[Tensor, "1 people frames"]
    """1 where the person is visible, else 0; crop and box are then those of the nearest frame where it is"""
    body_rotations: Float[Tensor, "1 people frames 24 3 3"]
    translation_camera: Float[Tensor, "1 people frames 3"]
    betas: Float[Tensor, "1 people 10"]
    joints_px: Float[Tensor, "1 people frames 24 2"]
    """NaN where unknown"""
    fps: Float[Tensor, "1"]


@dataclass(frozen=True)
class RelativeDepthBatch(Batch):
    """Frames of real clips with a teacher's inverse depth, known up to a scale and a shift per frame."""

    images: Float[Tensor, "clips frames 3 height width"]
    """RGB, 0..1"""
    inverse_depth: Float[Tensor, "clips frames height width"]
    """0 where unknown"""


@dataclass(frozen=True)
class SceneBatch(Batch):
    """Frames of several clips, each seen through one virtual camera: what the scene branch is pretrained on."""

    images: Float[Tensor, "clips frames 3 height width"]
    """RGB, 0..1"""
    points_camera: Float[Tensor, "clips frames height width 3"]
    """Ground-truth points in each frame's camera, metres"""
    intrinsics: Float[Tensor, "clips 1 3 3"]
    weight: Float[Tensor, "clips frames height width"]
    """Weight of each pixel in the loss: 0 without ground truth, larger on people"""
    world_from_camera: Float[Tensor, "clips frames 4 4"]
    real: RelativeDepthBatch | None = None
    """Real frames learned from in the same step, where there are any"""


@dataclass(frozen=True)
class KeypointBatch(Batch):
    """Crops of real people of whom only keypoints are known."""

    crops: Float[Tensor, "crops 3 256 256"]
    """RGB, 0..1"""
    bbox_info: Float[Tensor, "crops 3"]
    """CameraHMR's box centre and size over a focal length drawn at random"""
    limbs_px: Float[Tensor, "crops 12 2"]
    """Pixels of the crop (`unish.body.data.COCO_LIMBS`)"""
    weight: Float[Tensor, "crops 12"]
    """0 where a limb is not labelled"""


@dataclass(frozen=True)
class HumanBatch(Batch):
    """Crops of single people with their SMPL parameters: what the human branch is pretrained on.

    Half of the crops are mirrored: there `side` is −1, and `body_rotations`, `bbox_info` and `crop_from_camera` are
    those of the mirrored world, while `translation_camera` stays that of the original one.
    """

    crops: Float[Tensor, "crops 3 256 256"]
    """RGB, 0..1"""
    bbox_info: Float[Tensor, "crops 3"]
    """CameraHMR's box centre and size over the focal length, computed with a perturbed focal length"""
    body_rotations: Float[Tensor, "crops 24 3 3"]
    betas: Float[Tensor, "crops 10"]
    translation_camera: Float[Tensor, "crops 3"]
    crop_from_camera: Float[Tensor, "crops 3 3"]
    """Projects camera points to pixels of the crop"""
    side: Float[Tensor, "crops"]
    focal_ratio: Float[Tensor, "crops"]
    """The perturbed focal length over the true one"""
    real: KeypointBatch | None = None
    """Crops of real people learned from in the same step, where there are any"""


@dataclass(frozen=True)
class PlacedKeypointBatch(Batch):
    """Features of the frozen branches on real images, one frame and one person each: where the body belongs."""

    hidden: Float[Tensor, "windows 1 tokens channels"]
    human_tokens: Float[Tensor, "windows 1 1 width"]
    bbox_info: Float[Tensor, "windows 1 1 3"]
    """As `UniSH.forward` takes it"""
    joints_camera: Float[Tensor, "windows 12 3"]
    """The human branch's limb joints of a body at the camera's centre, metres"""
    limbs: Float[Tensor, "windows 12 2"]
    """x/z and y/z of the labelled limbs for the result's focal length"""
    weight: Float[Tensor, "windows 12"]
    """0 where a limb is not labelled"""

    @staticmethod
    def of_windows(windows: Sequence["PlacedKeypointBatch"]) -> "PlacedKeypointBatch":
        """Several windows of images of one size as one float32 batch."""
        return PlacedKeypointBatch(**_stacked(windows))


@dataclass(frozen=True)
class AlignBatch(Batch):
    """Features of the frozen branches on windows of clips, one person each: what AlignNet is pretrained on."""

    hidden: Float[Tensor, "windows frames tokens channels"]
    """Tokens of the scene branch"""
    human_tokens: Float[Tensor, "windows 1 frames width"]
    """Output tokens of the human branch"""
    scale: Float[Tensor, "windows"]
    """s*: metric size of the predicted points once their mean norm is 1"""
    norm: Float[Tensor, "windows"]
    """Mean norm of the predicted points, network units"""
    translation_camera: Float[Tensor, "windows frames 3"]
    """SMPL translation, metres"""
    visibility: Float[Tensor, "windows frames"]
    fps: Float[Tensor, "windows"]
    bbox_info: Float[Tensor, "windows 1 frames 3"]
    """As `UniSH.forward` takes it"""
    real: PlacedKeypointBatch | None = None
    """Real people learned from in the same step, where there are any"""

    @staticmethod
    def of_windows(windows: Sequence["AlignBatch"]) -> "AlignBatch":
        """Several windows of equal shape, stored in any precision, as one float32 batch."""
        return AlignBatch(**_stacked(windows))


def _stacked(windows: Sequence[Batch]) -> dict[str, Any]:
    """The tensors of batches of one kind, joined along the first axis, in float32."""
    names = [field.name for field in dataclasses.fields(windows[0]) if field.name != "real"]
    return {name: torch.cat([getattr(window, name) for window in windows]).float() for name in names}


PretrainBatch = SceneBatch | HumanBatch | AlignBatch
