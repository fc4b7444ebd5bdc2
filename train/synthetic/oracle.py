"""A network that knows the answer of a synthetic clip, and tells it as a real one would: in units and a world of its
own for every pass, with a depth shift, with noise and outliers. For testing what comes after the network."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from train.data.schema import ClipSample
from unish.geometry.camera import unproject_depth
from unish.geometry.metric import clip_norm
from unish.geometry.rotations import axis_angle_to_matrix
from unish.geometry.transforms import relative_to_first, rigid
from unish.models.config import MINI
from unish.models.scene_branch import SceneFeatures
from unish.models.unish import PeopleFeatures


@dataclass(frozen=True)
class OracleFaults:
    """What is wrong with the answer. Lengths in metres, shares in 0..1; every pass draws its own."""

    unit: float = 0.4
    """Spread of the logarithm of a unit's length."""
    shift_m: float = 0.3
    """Depths are too small by up to so much, the same in a whole pass."""
    depth: float = 0.01
    """Standard deviation of a pixel's depth, relative."""
    outliers: float = 0.05
    """Share of pixels whose depth is anything from a half to twice the true one."""
    camera_deg: float = 0.05
    camera_m: float = 0.002
    drift: float = 0.0
    """How much a pass's depths and ways grow from its first frame to its last, relative: up to so much."""
    bend_deg: float = 0.0
    """How much further a pass's cameras turn about some axis from its first frame to its last: up to so much."""
    vote: float = 0.0
    """Standard deviation of the logarithm of the scale that people tell."""
    wrong_votes: float = 0.0
    """Share of passes whose scale is told 1.5 times too large."""
    rays: float = 0.0
    """Standard deviation of the slope of a pixel's ray."""
    focal: float = 1.0
    """The points look as if the lens had this many times its focal length."""


EXACT = OracleFaults(unit=0.0, shift_m=0.0, depth=0.0, outliers=0.0, camera_deg=0.0, camera_m=0.0)


class Oracle(nn.Module):
    """Answers for the frames of `sample` that it is shown, told apart by their pixels; people by their boxes."""

    weights_name = "oracle"
    weights_note = ""

    def __init__(self, sample: ClipSample, faults: OracleFaults = OracleFaults(), seed: int = 0) -> None:
        super().__init__()
        self.anchor = nn.Parameter(torch.zeros(()))
        height, width = sample.images.shape[1:3]
        known = {"image_long_side_px": max(height, width), "ray_prior": faults.shift_m == 0, "focal_gain": 1.0}
        self.config = replace(MINI, scene=replace(MINI.scene, **known))
        self.sample, self.faults, self.seed = sample, faults, seed
        self.numbers = {image.tobytes(): index for index, image in enumerate(sample.images)}
        self.units: dict[tuple[int, ...], float] = {}
        """Frames of every pass so far → metres in one of its units."""
        self._metres_per_unit, self._shift_m, self._stretch = 1.0, 0.0, np.ones(1)

    def scene(self, images: Tensor) -> SceneFeatures:
        """Depth, confidence and cameras of the frames; where the truth is not known the confidence is 0."""
        shown = (images[0].permute(0, 2, 3, 1) * 255).round().to(torch.uint8).numpy()
        frames = np.array([self.numbers[image.tobytes()] for image in shown])
        rng, faults = np.random.default_rng([self.seed, len(frames), *frames.tolist()]), self.faults
        self._metres_per_unit = float(np.exp(rng.normal(0, faults.unit)))
        self.units[tuple(frames.tolist())] = self._metres_per_unit
        self._shift_m = float(rng.uniform(0.3, 1) * faults.shift_m)
        self._told = float(np.exp(rng.normal(0, faults.vote))) * (1.5 if rng.random() < faults.wrong_votes else 1.0)
        growth = rng.uniform(-1, 1) * faults.drift
        self._stretch = 1 + growth * (np.arange(len(frames)) / max(len(frames) - 1, 1) - 0.5)
        true = self.sample.depth_m[frames]
        depth = np.where(true > 0, true, 30.0) * self._stretch[:, None, None]
        depth = depth * (1 + faults.depth * rng.standard_normal(depth.shape))
        wrong = rng.random(depth.shape) < faults.outliers
        depth = np.where(wrong, depth * np.exp(rng.uniform(-np.log(2), np.log(2), depth.shape)), depth)
        points = unproject_depth(
            torch.from_numpy(depth).float(), torch.from_numpy(self.sample.intrinsics[frames]).float()
        )
        slopes = faults.rays * rng.standard_normal((*depth.shape, 2))
        points[..., :2] = (points[..., :2] + points[..., 2:] * torch.from_numpy(slopes)) / faults.focal
        points[..., 2] -= self._shift_m
        points = points.float()
        cameras = self._cameras(frames, rng)
        confidence = torch.from_numpy(np.where(true > 0, 0.9, 0.0)).float()[None]
        hidden = torch.from_numpy(frames.astype(np.float32))[None, :, None, None]
        logits = torch.logit(confidence, eps=1e-6)
        return SceneFeatures(points[None] / self._metres_per_unit, confidence, logits, cameras, cameras, hidden)

    def _cameras(self, frames: np.ndarray, rng: np.random.Generator) -> Tensor:
        faults = self.faults
        cameras = torch.from_numpy(self.sample.world_from_camera[frames]).double()
        noise = np.radians(faults.camera_deg) * rng.standard_normal((len(frames), 3))
        axis = rng.standard_normal(3)
        bend = np.radians(rng.uniform(-1, 1) * faults.bend_deg) * axis / np.linalg.norm(axis)
        bent = axis_angle_to_matrix(torch.from_numpy(np.linspace(0, 1, len(frames))[:, None] * bend))
        turn = bent @ cameras[:, :3, :3] @ axis_angle_to_matrix(torch.from_numpy(noise))
        centre = cameras[:, :3, 3] + torch.from_numpy(faults.camera_m * rng.standard_normal((len(frames), 3)))
        steps = torch.diff(centre, dim=0, prepend=centre[:1]) * torch.from_numpy(self._stretch)[:, None]
        centre = centre[:1] + (bent @ steps[..., None])[..., 0].cumsum(0)
        # Depths are too small by the shift, so the camera seems to stand as much nearer.
        centre = centre + self._shift_m * turn[:, :, 2]
        relative = relative_to_first(rigid(turn, centre / self._metres_per_unit))
        return relative.float()[None]

    def people(self, features: SceneFeatures, crops: Tensor, bbox_info: Tensor, fps: float) -> PeopleFeatures:
        """The true bodies of the people whose boxes are asked for."""
        frames = features.hidden[0, :, 0, 0].long().numpy()
        chosen = [self._who(info, frames) for info in bbox_info[0].double().numpy()]
        sample = self.sample
        translation = sample.translation_camera[chosen][:, frames] * self._stretch[:, None]
        translation = torch.from_numpy(translation).float() - torch.tensor([0.0, 0.0, self._shift_m])
        scale = clip_norm(features.points_camera, features.confidence) * self._metres_per_unit * self._told
        return PeopleFeatures(
            scale=scale[:, None].expand(-1, len(chosen)),
            translation_camera=(translation / self._metres_per_unit)[None],
            body_rotations=torch.from_numpy(sample.body_rotations[chosen][:, frames]).float()[None],
            betas=torch.from_numpy(sample.betas[chosen]).float()[None],
            human_tokens=torch.zeros(1, len(chosen), len(frames), 1),
        )

    def _who(self, info: np.ndarray, frames: np.ndarray) -> int:
        """The person whose boxes look most like these [cx − W/2, cy − H/2, size] over the focal length."""
        height, width = self.sample.images.shape[1:3]
        boxes = self.sample.boxes_px[:, frames].astype(np.float64)
        size = np.maximum(boxes[..., 2] - boxes[..., 0], boxes[..., 3] - boxes[..., 1])
        centre = (boxes[..., :2] + boxes[..., 2:]) / 2 - [width / 2, height / 2]
        asked = info * self.sample.intrinsics[frames, 0, 0, None] * self.faults.focal
        off = np.linalg.norm(asked - np.concatenate([centre, size[..., None]], axis=-1), axis=-1)
        # Where somebody is not seen, the box asked for is that of another frame: a few frames that fit decide.
        return int(np.sort(np.where(size > 4, off, np.inf), axis=1)[:, :3].max(axis=1).argmin())
