"""Pretraining of the network's parts, one objective each: scene branch, human branch, AlignNet.

An objective is a module: `draw_batch(clips, rng)` draws its input, `forward(batch)` gives its weighted loss terms.
"""

import dataclasses
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from train.data.batches import AlignBatch, HumanBatch, PretrainBatch, RelativeDepthBatch, SceneBatch
from train.data.pretrain_batches import (
    Clips,
    CropSettings,
    ViewSettings,
    align_window,
    batch_of_views,
    human_batch,
    relative_depth_batch,
    scene_batch,
)
from train.objectives import pretrain_losses as losses
from train.objectives.losses import joint_loss
from unish.body import BodyModel
from unish.body.lbs import joint_transforms
from unish.geometry import NUM_JOINTS
from unish.geometry.camera import focal_px_from_half_diagonal, project, solve_focal_shift
from unish.geometry.metric import VALID_CONFIDENCE, clip_norm
from unish.geometry.rotations import matrix_to_rotation_6d
from unish.models.config import CROP_MARGIN_PX
from unish.models.scene_branch import SceneFeatures
from unish.models.unish import UniSH
from unish.video.preprocess import bbox_info

Terms = dict[str, Tensor]

MATCHING_WIDTH = 64
VALIDATION_SEED = 987_654


@dataclass(frozen=True)
class SceneWeights:
    """Weights of the scene branch's terms (π³ publishes none for a network of this size; found by trying)."""

    points: float = 1.0
    depth: float = 1.0
    normals: float = 0.1
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
    place: float = 1.0
    """Where the body stands, asked of the output token in the same way, so that AlignNet finds it there."""


@dataclass(frozen=True)
class AlignSettings:
    """AlignNet's terms, and the windows of clips whose features it learns from."""

    scale: float = 1.0
    translation: float = 0.3
    rays: float = 2.0
    windows: int = 1200
    """Different windows; their features are computed once and kept (about 0.3 MB each)."""
    windows_per_batch: int = 12
    spans: tuple[tuple[int, int], ...] = ((8, 1), (8, 1), (6, 1), (4, 2), (3, 2), (2, 3), (16, 1), (24, 1))
    """(frames, stride): a stride of 2 is half the frame rate, so that AlignNet learns to read its clock."""
    sizes: tuple[tuple[int, int], ...] = ((168, 126), (168, 126), (168, 98), (126, 168), (98, 168), (140, 140))


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
        return dataclasses.replace(batch, real=relative_depth_batch(self._real, self.views, rng))

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

    def __init__(self, model: UniSH, body: BodyModel, weights: HumanWeights, crops: CropSettings) -> None:
        super().__init__()
        self.branch, self.weights, self.crops = model.human_branch, weights, crops
        self.body = body
        self.locator = nn.Linear(model.config.human.width, NUM_JOINTS)
        self.reader = nn.Linear(model.config.human.width, 6 * NUM_JOINTS)
        width = model.config.human.head_width
        self.placer = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 3))
        self._tree = tuple(int(parent) for parent in body.parents)

    def draw_batch(self, clips: Clips, rng: np.random.Generator) -> HumanBatch:
        return human_batch(clips, self.crops, rng)

    def forward(self, batch: HumanBatch) -> Terms:
        w, tokens = self.weights, self.branch.features(batch.crops)
        features = self.branch.head(tokens, batch.bbox_info, self.branch)
        joints = self._joints(features.betas.float(), features.body_rotations.float())
        true_joints = self._joints(batch.betas, batch.body_rotations)
        grid, patch_px = self.branch.config.grid, self.branch.config.patch_size
        pixels = self._backbone_pixels(true_joints, batch)
        token_poses, true_pose = self.reader(tokens.float()), matrix_to_rotation_6d(batch.body_rotations).flatten(1)
        return {
            "rotations": w.rotations * losses.rotation_loss(features.body_rotations, batch.body_rotations, w.root),
            "joints": w.joints * joint_loss(joints, true_joints),
            "betas": w.betas * losses.betas_loss(features.betas, batch.betas),
            "pixel": w.pixel * losses.token_loss(self.locator(tokens.float()), pixels, grid, patch_px),
            "dense": w.dense * losses.dense_pose_loss(token_poses, true_pose, w.root),
            "place": w.place * losses.place_loss(self.placer(features.tokens), _place_target(batch)),
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


class AlignObjective(nn.Module):
    """AlignNet on the frozen branches: metric scale of the scene and place of each body (UniSH)."""

    name = "align"
    trainable = ("align_net.",)

    def __init__(self, model: UniSH, body: BodyModel, settings: AlignSettings, views: ViewSettings, seed: int) -> None:
        super().__init__()
        self.align_net, self.settings = model.align_net, settings
        self._frozen = _FeatureCache(model, body, settings, views, seed)

    def draw_batch(self, clips: Clips, rng: np.random.Generator) -> AlignBatch:
        kind = int(rng.choice(self._frozen.kinds(clips)))
        chosen = rng.integers(self._frozen.windows_per_kind, size=self.settings.windows_per_batch)
        return AlignBatch.of_windows([self._frozen.window(clips, kind, int(index)) for index in chosen])

    def forward(self, batch: AlignBatch) -> Terms:
        w = self.settings
        scale, translation = self.align_net(batch.hidden, batch.human_tokens, float(batch.fps[0]))
        translation_m = (batch.scale / batch.norm)[:, None, None, None] * translation
        seen = (batch.visibility > 0.3).float()[:, None]
        true_m = batch.translation_camera[:, None]
        return {
            "scale": w.scale * losses.log_scale_loss(scale[:, 0], batch.scale),
            "translation": w.translation * losses.translation_l1_loss(translation_m, true_m, seen),
            "rays": w.rays * losses.ray_loss(translation, true_m, seen),
        }


@dataclass
class _FeatureCache:
    """What the frozen branches say of each window, computed when it is first asked for and kept in float16.

    Windows come in kinds that share frames, stride and size, so that they stack into batches. A window's content
    depends on the seed, its kind and its index alone. Spans that no clip is long enough for are left out.
    """

    model: UniSH
    body: BodyModel
    settings: AlignSettings
    views: ViewSettings
    seed: int
    _kept: dict[tuple[int, int], AlignBatch] = field(default_factory=dict)

    def kinds(self, clips: Clips) -> list[int]:
        """Numbers of the kinds that some clip is long enough for."""
        longest, sizes = max(len(clip.images) for clip in clips), len(self.settings.sizes)
        fitting = [k for k, (n, stride) in enumerate(self.settings.spans) if stride * (n - 1) < longest]
        return [k * sizes + size for k in fitting for size in range(sizes)]

    @property
    def windows_per_kind(self) -> int:
        return max(1, self.settings.windows // (len(self.settings.spans) * len(self.settings.sizes)))

    def window(self, clips: Clips, kind: int, index: int) -> AlignBatch:
        """One window as a batch of one, its tokens in float16."""
        if (kind, index) not in self._kept:
            self._kept[kind, index] = self._compute(clips, kind, index)
        return self._kept[kind, index]

    @torch.no_grad()
    def _compute(self, clips: Clips, kind: int, index: int) -> AlignBatch:
        rng = np.random.default_rng((self.seed, kind, index))
        frames, stride = self.settings.spans[kind // len(self.settings.sizes)]
        size = self.settings.sizes[kind % len(self.settings.sizes)]
        window = align_window(clips, frames, stride, size, self.body, rng)
        true = batch_of_views([window.view], self.views)
        scene = self.model.scene(true.images)
        scale, norm = _scale_target(scene, true)
        return AlignBatch(
            hidden=scene.hidden.half(),
            human_tokens=self._human_tokens(scene, window.crops, window.boxes_px, size)[None].half(),
            scale=scale,
            norm=norm,
            translation_camera=window.translation_camera[None],
            visibility=window.visibility[None],
            fps=torch.tensor([window.fps]),
        )

    def _human_tokens(self, scene: SceneFeatures, crops: Tensor, boxes: Tensor, size: tuple[int, int]) -> Tensor:
        """(1, frames, channels), computed with the focal length that inference would estimate."""
        valid = scene.confidence[0] > VALID_CONFIDENCE
        rays_known = self.model.config.scene.ray_prior
        focal, _ = solve_focal_shift(scene.points_camera[0].float(), valid, shared=True, fit_shift=not rays_known)
        info = bbox_info(boxes, focal_px_from_half_diagonal(focal, *size), *size)
        return self.model.human(crops, info).tokens[None]


def _scale_target(scene: SceneFeatures, true: SceneBatch) -> tuple[Tensor, Tensor]:
    """(s*, norm) of one clip, each of shape (1,): metric size of the predicted points at unit mean norm, and that norm
    in network units (UniSH)."""
    norm = clip_norm(scene.points_camera, scene.confidence)
    known = true.weight > 0
    trusted = known & (scene.confidence > VALID_CONFIDENCE)
    trusted = trusted if trusted.any() else known
    depth = true.points_camera[..., 2]
    near = (0.1 * depth[trusted].mean()).clamp(min=1e-3)
    points = scene.points_camera / norm[:, None, None, None, None]
    return losses.clip_scale(points, true.points_camera, trusted / depth.clamp(min=near)), norm


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
) -> PretrainObjective:
    """The objective of that name: "scene", "scene-large", "human" or "align"."""
    if name.startswith("scene"):
        return SceneObjective(model, scene, views, real)
    if name == "human":
        return HumanObjective(model, body, human, crops)
    return AlignObjective(model, body, align, views, seed)


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
