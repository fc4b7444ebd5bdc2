"""The pose lifter: a small network in the repository that corrects the mini's poses by 2D keypoints over time.

A transformer over the frames of one person. What is seen (keypoints in the box, where the box lies, the pose that the
human branch guessed) goes in; the rotations of SMPL's joints come out. It is trained on captured motion seen by
synthetic cameras, with keypoints and poses as wrong as those of the bundled networks (`train/pose_lifter`).
"""

import functools
import math
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unish.body.data import MIRRORED_JOINTS
from unish.errors import InputError
from unish.fitting.terms import box_heights
from unish.geometry import NUM_JOINTS
from unish.geometry.rotations import nearest_rotation, rotation_6d_to_matrix
from unish.people.mini_keypoints import MIRRORED_KEYPOINTS
from unish.structures import KEYPOINT_NAMES
from unish.utils.assets import MINI_LIFTER
from unish.utils.bundled_network import BundledNetwork, load_bundled, save_bundled

POSE_SIZE = 6 * NUM_JOINTS
OBSERVED_SIZE = 4 * len(KEYPOINT_NAMES) + 9 + POSE_SIZE
FRAMES = 16
"""Of one pass; it was trained on 3 to so many."""
AT_BORDER = 0.01
"""A box so close to the image's border (share of its longer side) may go on beyond."""
FARTHEST = 2.0
"""Keypoints farther from the middle of the box than so many of its heights are taken to be there."""
_RATES_RAD_S = 0.2, 30.0
"""Of the sines and cosines that tell the time, slowest and fastest."""
_X_FLIPPED = torch.diag(torch.tensor([-1.0, 1.0, 1.0]))


@dataclass(frozen=True)
class PoseLifterConfig:
    """Sizes of the network."""

    width: int = 192
    depth: int = 4
    heads: int = 6

    def __post_init__(self) -> None:
        if self.width % 2 or self.width % self.heads:
            raise InputError(f"The width must be even and a multiple of the heads; got {self.width} and {self.heads}.")


@dataclass(frozen=True)
class Sighting:
    """One person in the frames of one or many clips: what the lifter looks at."""

    keypoints_px: Float[Tensor, "*batch frames 17 3"]
    """x, y and confidence, 0 where there is none."""
    boxes_px: Float[Tensor, "*batch frames 4"]
    rotations: Float[Tensor, "*batch frames 24 3 3"]
    """The human branch's, the root in the camera's frame."""
    focal_px: Float[Tensor, "*batch frames"]
    size_px: Float[Tensor, "*batch 2"]
    """Width and height of the image, whose middle is the principal point."""
    times_s: Float[Tensor, "*batch frames"]

    def mirrored(self) -> "Sighting":
        """As in a mirror: left and right change places."""
        width = self.size_px[..., None, :1]
        x, rest = self.keypoints_px[..., list(MIRRORED_KEYPOINTS), :].split([1, 2], dim=-1)
        x0, y0, x1, y1 = self.boxes_px.split(1, dim=-1)
        return Sighting(
            torch.cat([width[..., None] - x, rest], dim=-1),
            torch.cat([width - x1, y0, width - x0, y1], dim=-1),
            mirrored_pose(self.rotations),
            self.focal_px,
            self.size_px,
            self.times_s,
        )

    def to(self, device: torch.device) -> "Sighting":
        """On another device."""
        return Sighting(*(getattr(self, name).to(device) for name in Sighting.__dataclass_fields__))

    def part(self, frames: slice) -> "Sighting":
        """Some of the frames."""
        return Sighting(
            self.keypoints_px[..., frames, :, :],
            self.boxes_px[..., frames, :],
            self.rotations[..., frames, :, :, :],
            self.focal_px[..., frames],
            self.size_px,
            self.times_s[..., frames],
        )

    def camera_from_gaze(self) -> Float[Tensor, "*batch frames 3 3"]:
        """Rotations that take the camera's axis onto the ray through the middle of the box, without roll.

        Seen along that ray, a body looks alike wherever it is in the image.
        """
        forward = nn.functional.pad(self._slopes(), (0, 1), value=1.0)
        forward = nn.functional.normalize(forward, dim=-1)
        down = torch.tensor([0.0, 1.0, 0.0]).to(forward).expand_as(forward)
        right = nn.functional.normalize(torch.cross(down, forward, dim=-1), dim=-1)
        return torch.stack([right, torch.cross(forward, right, dim=-1), forward], dim=-1)

    def observed(self) -> Float[Tensor, "*batch frames observed"]:
        """The network's input."""
        low, high = self.boxes_px.split(2, dim=-1)
        sides, height = high - low, box_heights(self.boxes_px)
        confidence = self.keypoints_px[..., 2]
        seen = (confidence > 0).to(confidence)
        places = (self.keypoints_px[..., :2] - (low + high)[..., None, :] / 2) / height[..., None, None]
        margin = AT_BORDER * self.size_px.amax(-1)[..., None, None]
        at_border = torch.cat([low < margin, high > self.size_px[..., None, :] - margin], dim=-1)
        pose = self.rotations.clone()
        pose[..., 0, :, :] = self.camera_from_gaze().mT @ pose[..., 0, :, :]
        return torch.cat(
            [
                (places.clamp(-FARTHEST, FARTHEST) * seen[..., None]).flatten(-2),
                confidence,
                seen,
                (sides / height[..., None]).clamp(max=4.0),
                (height / self.focal_px)[..., None],
                self._slopes(),
                at_border.to(confidence),
                pose[..., :2].mT.flatten(-3),
            ],
            dim=-1,
        )

    def _slopes(self) -> Float[Tensor, "*batch frames 2"]:
        low, high = self.boxes_px.split(2, dim=-1)
        return ((low + high) - self.size_px[..., None, :]) / 2 / self.focal_px[..., None]


def mirrored_pose(rotations: Float[Tensor, "*batch 24 3 3"]) -> Float[Tensor, "*batch 24 3 3"]:
    """Rotations of the mirrored body."""
    flip = _X_FLIPPED.to(rotations)
    return flip @ rotations[..., list(MIRRORED_JOINTS), :, :] @ flip


class PoseLifter(BundledNetwork):
    """The transformer; `lift` is the way to ask it."""

    what = "pose lifter"

    def __init__(self, config: PoseLifterConfig) -> None:
        super().__init__()
        self.config, width = config, config.width
        self.embed = nn.Sequential(nn.Linear(OBSERVED_SIZE, width), nn.GELU(), nn.Linear(width, width))
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width, config.heads, 2 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
            )
            for _ in range(config.depth)
        )
        self.norm = nn.LayerNorm(width)
        self.pose = nn.Linear(width, POSE_SIZE)
        nn.init.normal_(self.pose.weight, std=0.01)
        standing = torch.eye(3)[:, :2].mT.repeat(NUM_JOINTS, 1, 1)
        standing[0, 1, 1] = -1.0  # the camera's y points down
        self.pose.bias.data.copy_(standing.flatten())

    def forward(self, sighting: Sighting) -> Float[Tensor, "batch frames 24 3 3"]:
        """Rotations, the root's in the camera's frame."""
        times = sighting.times_s - sighting.times_s.mean(-1, keepdim=True)
        slow, fast = (math.log(rate) for rate in _RATES_RAD_S)
        rates = torch.linspace(fast, slow, self.config.width // 2, device=times.device).exp()
        phases = times[..., None].float() * rates
        x = self.embed(sighting.observed()) + torch.cat([phases.sin(), phases.cos()], dim=-1)
        for block in self.blocks:
            x = block(x)
        rotations = rotation_6d_to_matrix(self.pose(self.norm(x)).unflatten(-1, (NUM_JOINTS, 6)))
        root = sighting.camera_from_gaze() @ rotations[..., 0, :, :]
        return torch.cat([root[..., None, :, :], rotations[..., 1:, :, :]], dim=-3)


@torch.inference_mode()
def lift(lifter: PoseLifter, sighting: Sighting) -> Float[Tensor, "frames 24 3 3"]:
    """Corrected rotations of one person, the root in the camera's frame.

    The mean of what is seen and of its mirror image, so that a mirrored clip gives the mirrored poses; of long clips,
    of overlapping passes, which count most in their middle.
    """
    count = len(sighting.times_s)
    total = torch.zeros(count, NUM_JOINTS, 3, 3)
    for start in range(0, max(count - FRAMES // 2, 1), FRAMES // 2):
        part = slice(start, min(start + FRAMES, count))
        seen = _batched(sighting.part(part))
        rotations = lifter(seen) + mirrored_pose(lifter(seen.mirrored()))
        weight = torch.hann_window(rotations.shape[1] + 2, periodic=False)[1:-1]
        total[part] += weight[:, None, None, None] * rotations[0].float().cpu()
    return nearest_rotation(total)


def _batched(sighting: Sighting) -> Sighting:
    return Sighting(*(getattr(sighting, name)[None] for name in Sighting.__dataclass_fields__))


@functools.lru_cache(maxsize=2)
def load_pose_lifter(folder: Path = MINI_LIFTER) -> PoseLifter:
    """The network from `model.safetensors` and `config.json`, on the CPU, ready to use.

    Raises `MissingAssetError` when a file is not there, `CheckpointError` when one is damaged or does not fit.
    """
    return load_bundled(PoseLifter, PoseLifterConfig, folder)


def save_pose_lifter(lifter: PoseLifter, folder: Path) -> None:
    """Write the weights in half precision and their configuration; a failed save leaves nothing behind."""
    save_bundled(lifter, lifter.config, folder)
