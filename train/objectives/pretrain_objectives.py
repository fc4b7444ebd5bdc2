"""Pretraining of the network's parts, one objective each: scene branch, human branch, AlignNet.

An objective is a module: `draw_batch(clips, rng)` draws its input, `forward(batch)` gives its weighted loss terms.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from train.data.batches import HumanBatch, KeypointBatch, PretrainBatch, RelativeDepthBatch, SceneBatch
from train.data.pretrain_batches import (
    Clips,
    CropSettings,
    ViewSettings,
    human_batch,
    relative_depth_batch,
    scene_batch,
)
from train.data.real_people import RealPerson, keypoint_batch
from train.objectives import pretrain_losses as losses
from train.objectives.align_objective import AlignObjective, AlignSettings
from train.objectives.losses import joint_loss
from unish.body import BodyModel
from unish.body.data import SMPL_LIMBS
from unish.body.lbs import joint_transforms
from unish.geometry import NUM_JOINTS
from unish.geometry.camera import project
from unish.geometry.rotations import matrix_to_rotation_6d
from unish.models.config import CROP_MARGIN_PX
from unish.models.unish import UniSH

Terms = dict[str, Tensor]

MATCHING_WIDTH = 64
VALIDATION_SEED = 987_654


@dataclass(frozen=True)
class SceneWeights:
    """Weights of the scene branch's terms (π³ publishes none for a network of this size; found by trying)."""

    points: float = 1.0
    depth: float = 1.0
    normals: float = 0.1
    focal: float = 0.5
    rotation: float = 1.0
    translation: float = 1.0
    gauge: float = 0.1
    confidence: float = 0.05
    matching: float = 0.3
    """Which token of the next frame shows the same point, asked of every token by a layer that is thrown away in the
    end: cameras are learned from what frames have in common, and nothing else says so early on."""
    real_depth: float = 1.0
    """Inverse depth of real frames against a teacher's, each up to a scale and a shift."""
    real_edges: float = 0.5
    """Differences between neighbouring pixels of the same."""
    trusted_error: float = 0.15
    """Confidence learns where the relative error stays below this."""


@dataclass(frozen=True)
class HumanWeights:
    """Weights of the human branch's terms (UniSH's L_smpl without the placement, which AlignNet learns)."""

    rotations: float = 0.5
    root: float = 4.0
    """How many joints' rotations the root's counts for."""
    joints: float = 4.0
    betas: float = 0.05
    pixel: float = 0.5
    """Which joint is where, asked of every token by a layer that is thrown away in the end. A backbone that starts from
    nothing otherwise answers with the mean body for thousands of steps."""
    dense: float = 1.0
    """The whole pose, asked of every token in the same way."""
    real_joints: float = 1.0
    """Limbs of real people against their keypoints, after the best scale and shift."""
    real_pixel: float = 0.25
    """As `pixel`, for real people."""
    real_betas: float = 0.02
    """Real people's shapes are unknown; they stay near the mean."""
    place: float = 1.0
    """Where the body stands, asked of the output token in the same way, so that AlignNet finds it there."""


class SceneObjective(nn.Module):
    """Scene branch: points, normals, cameras and confidence of a few frames in any order (π³)."""

    name = "scene"
    trainable = ("branch.", "matcher.")

    def __init__(self, model: UniSH, weights: SceneWeights, views: ViewSettings, real: Clips | None = None) -> None:
        super().__init__()
        self._real = real
        self.branch, self.weights, self.views = model.scene_branch, weights, views
        self.matcher = nn.Linear(2 * model.config.scene.width, 2 * MATCHING_WIDTH)

    def draw_batch(self, clips: Clips, rng: np.random.Generator) -> SceneBatch:
        batch = scene_batch(clips, self.views, rng)
        if self._real is None:
            return batch
        return replace(batch, real=relative_depth_batch(self._real, self.views, rng))

    def forward(self, batch: SceneBatch) -> Terms:
        features, w = self.branch(batch.images), self.weights
        points, true, weight = features.points_camera, batch.points_camera, batch.weight
        # Fitted with the point loss's own weights, so that no gradient is left along the clip's free scale; it would
        # drift away step by step otherwise.
        scale = losses.clip_scale(points, true, weight / true[..., 2].clamp(min=0.1))
        unit_m = (true.norm(dim=-1) * (weight > 0)).sum((1, 2, 3)) / (weight > 0).sum((1, 2, 3)).clamp(min=1)
        rotation, translation = losses.camera_losses(
            features.world_from_camera, batch.world_from_camera, scale, unit_m.clamp(min=0.1)
        )
        real = {} if batch.real is None else self._real_terms(batch.real)
        return real | {
            "points": w.points * losses.point_loss(points, true, weight, scale),
            "depth": w.depth * losses.depth_loss(points, true, weight),
            "normals": w.normals * losses.normal_loss(points, true, weight),
            "focal": w.focal * losses.focal_loss(points, weight, batch.intrinsics),
            "rotation": w.rotation * rotation,
            "translation": w.translation * translation,
            "gauge": w.gauge * losses.gauge_loss(points, weight),
            "matching": w.matching * self._matching(features.hidden, batch),
            "confidence": w.confidence
            * losses.confidence_loss(features.confidence_logits, points, true, weight, scale, w.trusted_error),
        }

    def _real_terms(self, batch: RelativeDepthBatch) -> Terms:
        depth = self.branch(batch.images).points_camera[..., 2]
        error, edges = losses.relative_depth_losses(depth.flatten(0, 1), batch.inverse_depth.flatten(0, 1))
        return {"real_depth": self.weights.real_depth * error, "real_edges": self.weights.real_edges * edges}

    def _matching(self, hidden: Tensor, batch: SceneBatch) -> Tensor:
        height, width = batch.images.shape[-2:]
        config = self.branch.config
        grid = (height // config.patch_size, width // config.patch_size)
        pixels = losses.next_frame_pixels(
            batch.points_camera, batch.weight, batch.world_from_camera, batch.intrinsics, config.patch_size
        )
        query, key = self.matcher(hidden[:, :, config.decoder_registers :].float()).chunk(2, dim=-1)
        logits = key.roll(-1, dims=1) @ query.mT / MATCHING_WIDTH**0.5
        return losses.token_loss(logits.flatten(0, 1), pixels.flatten(0, 1), grid, float(config.patch_size))


class HumanObjective(nn.Module):
    """Human branch: pose and shape of single crops (CameraHMR)."""

    name = "human"
    trainable = ("branch.", "locator.", "reader.", "placer.")

    def __init__(
        self,
        model: UniSH,
        body: BodyModel,
        weights: HumanWeights,
        crops: CropSettings,
        people: Sequence[RealPerson] = (),
    ) -> None:
        super().__init__()
        self._people = people
        self.branch, self.weights, self.crops = model.human_branch, weights, crops
        self.body = body
        self.locator = nn.Linear(model.config.human.width, NUM_JOINTS)
        self.reader = nn.Linear(model.config.human.width, 6 * NUM_JOINTS)
        width = model.config.human.head_width
        self.placer = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 3))
        self._tree = tuple(int(parent) for parent in body.parents)

    def draw_batch(self, clips: Clips, rng: np.random.Generator) -> HumanBatch:
        batch = human_batch(clips, self.crops, rng)
        return replace(batch, real=keypoint_batch(self._people, self.crops, rng)) if self._people else batch

    def forward(self, batch: HumanBatch) -> Terms:
        w, tokens = self.weights, self.branch.features(batch.crops)
        features = self.branch.head(tokens, batch.bbox_info, self.branch)
        joints = self._joints(features.betas.float(), features.body_rotations.float())
        true_joints = self._joints(batch.betas, batch.body_rotations)
        grid, patch_px = self.branch.config.grid, self.branch.config.patch_size
        pixels = self._backbone_pixels(true_joints, batch)
        token_poses, true_pose = self.reader(tokens.float()), matrix_to_rotation_6d(batch.body_rotations).flatten(1)
        real = {} if batch.real is None else self._real_terms(batch.real)
        return real | {
            "rotations": w.rotations * losses.rotation_loss(features.body_rotations, batch.body_rotations, w.root),
            "joints": w.joints * joint_loss(joints, true_joints),
            "betas": w.betas * losses.betas_loss(features.betas, batch.betas),
            "pixel": w.pixel * losses.token_loss(self.locator(tokens.float()), pixels, grid, patch_px),
            "dense": w.dense * losses.dense_pose_loss(token_poses, true_pose, w.root),
            "place": w.place * losses.place_loss(self.placer(features.tokens), _place_target(batch)),
        }

    def _real_terms(self, batch: KeypointBatch) -> Terms:
        w, tokens = self.weights, self.branch.features(batch.crops)
        features = self.branch.head(tokens, batch.bbox_info, self.branch)
        joints = self._joints(features.betas.float(), features.body_rotations.float())[:, list(SMPL_LIMBS)]
        pixels = batch.limbs_px - batch.limbs_px.new_tensor([CROP_MARGIN_PX, 0.0])
        pixels = pixels.masked_fill(batch.weight[..., None] == 0, -1.0)  # outside the crop, which does not count
        logits = self.locator(tokens.float())[..., list(SMPL_LIMBS)]
        grid, patch_px = self.branch.config.grid, self.branch.config.patch_size
        return {
            "real_joints": w.real_joints * losses.fitted_keypoint_loss(joints, batch.limbs_px, batch.weight),
            "real_pixel": w.real_pixel * losses.token_loss(logits, pixels, grid, patch_px),
            "real_betas": w.real_betas * features.betas.float().square().mean(),
        }

    def _joints(self, betas: Tensor, rotations: Tensor) -> Tensor:
        return joint_transforms(rotations, self.body.rest_joints(betas), self._tree)[1]

    def _backbone_pixels(self, joints: Tensor, batch: HumanBatch) -> Tensor:
        """(crops, joints, 2): true joints in pixels of the crop's middle, which is what the backbone sees."""
        pelvis = (self.body.pelvis_offset(batch.betas) + batch.translation_camera)[:, None].clone()
        pelvis[..., 0] *= batch.side[:, None]
        points = joints - joints[:, :1] + pelvis
        pixels = project(points, batch.crop_from_camera)
        return pixels - pixels.new_tensor([CROP_MARGIN_PX, 0.0])


def _place_target(batch: HumanBatch) -> Tensor:
    """(crops, 3): x/z, y/z and log z of the body for a camera with the focal length that the branch was given."""
    x, y, z = batch.translation_camera.unbind(-1)
    return torch.stack([batch.side * x / z / batch.focal_ratio, y / z / batch.focal_ratio, z.log()], dim=-1)


PretrainObjective = SceneObjective | HumanObjective | AlignObjective


def make_objective(
    name: str,
    model: UniSH,
    body: BodyModel,
    *,
    scene: SceneWeights,
    views: ViewSettings,
    human: HumanWeights,
    crops: CropSettings,
    align: AlignSettings,
    seed: int,
    real: Clips | None = None,
    people: Sequence[RealPerson] = (),
) -> PretrainObjective:
    """The objective of that name: "scene", "scene-large", "human" or "align"."""
    if name.startswith("scene"):
        return SceneObjective(model, scene, views, real)
    if name == "human":
        return HumanObjective(model, body, human, crops, people)
    return AlignObjective(model, body, align, views, seed, people)


class PretrainBatches:
    """An objective's batches from clips in memory; each is a function of the clips, the seed and its number alone."""

    REFRESH_EVERY, REFRESH_SECONDS = 20, 2.0

    def __init__(self, objective: PretrainObjective, clips: Clips, seed: int, rank: int = 0, world: int = 1) -> None:
        self._objective, self._clips, self._seed = objective, clips, seed
        self._rank, self._world = rank, world
        self._drawn = 0

    def __next__(self) -> PretrainBatch:
        number = self._drawn * self._world + self._rank
        batch = self._objective.draw_batch(self._clips, np.random.default_rng((self._seed, number)))
        self._drawn += 1
        if self._drawn % self.REFRESH_EVERY == 0 and hasattr(self._clips, "refresh"):
            self._clips.refresh(self.REFRESH_SECONDS)  # type: ignore[attr-defined]
        return batch

    def state_dict(self) -> dict[str, int]:
        return {"drawn": self._drawn}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self._drawn = state["drawn"]


@torch.no_grad()
def held_out_terms(objective: PretrainObjective, clips: Clips, batches: int) -> dict[str, float]:
    """Mean of each loss term over the same few batches of held-out clips every time; {} without such clips."""
    if not len(clips):
        return {}
    device = next(objective.parameters()).device
    rows = []
    for index in range(batches):
        batch = objective.draw_batch(clips, np.random.default_rng((VALIDATION_SEED, index))).to(device)
        rows.append({name: float(value) for name, value in objective(batch).items()})
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
