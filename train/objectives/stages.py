"""UniSH's three training stages (arXiv 2601.01222): what each one trains, what it keeps, and what it minimises.

A stage is a module around the whole network; `forward(batch)` gives its weighted loss terms for a batch of one clip
(`train.data.stage_batches`). Scene points are in network units until a scale turns them into metres.
"""

import copy
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from train.data.batches import StageBatch
from train.objectives import losses
from train.objectives.losses import PatchSettings
from unish.body import BodyModel
from unish.geometry.camera import focal_px_from_half_diagonal, project, solve_focal_shift, unproject_depth
from unish.geometry.metric import VALID_CONFIDENCE, metric_factor
from unish.geometry.visibility import visible_vertices
from unish.models.scene_branch import SceneFeatures
from unish.models.unish import PeopleFeatures, UniSH
from unish.video.preprocess import bbox_info

Terms = dict[str, Tensor]

NEAREST_M = 0.1
"""Joints nearer to the camera than this have no place in the image."""


@dataclass(frozen=True)
class Stage1Weights:
    """L1 = λ_h·L_h + λ_preg·‖P − P_orig‖₁. The paper prints no weights; these are ours."""

    patches: float = 1.0
    """λ_h: local surfaces of people."""
    regularisation: float = 0.1
    """λ_preg: points stay near those of the start model."""
    patch: PatchSettings = field(default_factory=PatchSettings)


@dataclass(frozen=True)
class Stage2Weights:
    """L2 = λ_smpl·(vertices, joints, pose, shape, translation) + λ_scale·|s − s*|. The paper prints no weights."""

    vertices: float = 1.0
    """λ_v: metres from the root, L1."""
    joints: float = 1.0
    """λ_j3d: metres from the root, L1."""
    joints_2d: float = 1.0
    """λ_j2d, of the error over the person's box."""
    pose: float = 0.1
    """λ_pose: squared distance of rotation matrices."""
    shape: float = 0.01
    """λ_shape: squared distance of betas."""
    translation: float = 0.1
    """λ_trans: squared metres."""
    scale: float = 1.0
    """λ_scale: metres of the clip's mean point distance."""
    align_rate: float = 10.0
    """Learning rate of AlignNet over that of the human branch (1e-4 over 1e-5)."""
    train_scene: bool = False
    """Train the scene branch as well, through the points that s* scales: the paper's warning, for the ablation."""


@dataclass(frozen=True)
class Stage3Weights:
    """L3 = λ_align·L_align + λ_depth·L_dreg + λ_j2d·L_j2d. The paper prints no weights; these are ours."""

    align: float = 1.0
    """λ_align: squared metres from visible vertices to the nearest points."""
    depth_order: float = 1.0
    """λ_depth: metres by which the points lie behind the body."""
    joints_2d: float = 1.0
    """λ_j2d, of the error over the person's box."""
    most_vertices: int = 2048
    """Visible vertices of a frame that look for their nearest point; drawn at random."""
    most_points: int = 4096
    """Points of a person in a frame that are looked at; drawn at random."""


class Stage1(nn.Module):
    """Surface refinement on unlabelled video: point decoder and point head learn, everything else is frozen."""

    name = "stage1"
    trainable = ("model.scene_branch.point_head.",)

    def __init__(self, model: UniSH, body: BodyModel, weights: Stage1Weights) -> None:
        super().__init__()
        self.model, self.weights = model, weights
        self.original = copy.deepcopy(model.scene_branch.point_head)

    def forward(self, batch: StageBatch) -> Terms:
        branch, images, w = self.model.scene_branch, batch.images, self.weights
        with torch.no_grad():
            hidden = branch.encode(images)
            original = branch.decode(hidden, images, point_head=self.original)
        decoded = branch.decode(hidden, images)
        depth = batch.depth_m[0]
        local = losses.local_affine_loss(
            decoded.points_camera[0, ..., 2],
            original.confidence[0],
            depth,
            unproject_depth(depth, batch.intrinsics[0]),
            batch.person_mask[0] > 0,
            w.patch,
        )
        kept = losses.point_regularisation(decoded.points_camera, original.points_camera)
        return {"patches": w.patches * local, "regularisation": w.regularisation * kept}


class Stage2(nn.Module):
    """Coarse alignment on labelled clips: human branch and AlignNet learn, the scene branch is frozen."""

    name = "stage2"

    def __init__(self, model: UniSH, body: BodyModel, weights: Stage2Weights) -> None:
        super().__init__()
        self.model, self.body, self.weights = model, body, weights
        parts = ("model.human_branch.", "model.align_net.")
        self.trainable = (*parts, "model.scene_branch.") if weights.train_scene else parts
        self.rate_factors = {"model.align_net.": weights.align_rate}

    def forward(self, batch: StageBatch) -> Terms:
        w, seen = self.weights, batch.seen
        with torch.set_grad_enabled(w.train_scene and torch.is_grad_enabled()):
            scene = self.model.scene(batch.images)
        people = _people(self.model, scene, batch)
        valid = batch.depth_m > 0
        true_points_m = unproject_depth(batch.depth_m, batch.intrinsics)
        scale, norm = losses.scale_target(scene.points_camera, scene.confidence, true_points_m, valid)
        posed = self._posed(people.betas, people.body_rotations)
        true = self._posed(batch.betas, batch.body_rotations)
        metres_per_unit = (scale / norm)[:, None, None]
        joints_camera = posed.joints + (metres_per_unit[..., None] * people.translation_camera)[..., None, :]
        known = valid.flatten(1).any(1).to(scale.dtype)[:, None].expand_as(people.scale)
        terms = {
            "vertices": w.vertices
            * losses.vertex_loss(posed.vertices, posed.joints[..., 0, :], true.vertices, true.joints[..., 0, :], seen),
            "joints": w.joints * losses.joint_loss(posed.joints, true.joints, seen),
            "joints_2d": w.joints_2d * _joints_2d(joints_camera, batch),
            "pose": w.pose * losses.pose_loss(people.body_rotations, batch.body_rotations, seen),
            "shape": w.shape * losses.shape_loss(people.betas, batch.betas),
            "translation": w.translation
            * losses.translation_loss(
                people.translation_camera, metres_per_unit, batch.translation_camera, seen * known[..., None]
            ),
            "scale": w.scale * losses.scale_loss(people.scale, scale[:, None].expand_as(people.scale), known),
        }
        if w.train_scene:
            factor = metric_factor(people.scale.mean(1), scene.points_camera, scene.confidence)
            points_m = factor[:, None, None, None, None] * scene.points_camera.float()
            error = (points_m - true_points_m).abs().sum(-1) / true_points_m[..., 2].clamp(min=NEAREST_M)
            terms["points"] = losses.weighted_mean(error, valid.float())
        return terms

    def _posed(self, betas: Tensor, rotations: Tensor):
        return self.body(betas[:, :, None], rotations, rotations.new_zeros(*rotations.shape[:3], 3))


class Stage3(nn.Module):
    """Fine alignment on unlabelled video: AlignNet learns to put the body on the points; everything else is frozen."""

    name = "stage3"
    trainable = ("model.align_net.",)

    def __init__(self, model: UniSH, body: BodyModel, weights: Stage3Weights) -> None:
        super().__init__()
        self.model, self.body, self.weights = model, body, weights

    def forward(self, batch: StageBatch) -> Terms:
        w = self.weights
        with torch.no_grad():
            scene = self.model.scene(batch.images)
        people = _people(self.model, scene, batch)  # only AlignNet has weights that learn
        factor = metric_factor(people.scale.flatten(), *_for_each_person(scene, people.scale.shape[1]))
        move_m = factor[None, :, None, None] * people.translation_camera
        posed = self.body(people.betas[:, :, None], people.body_rotations, move_m)
        # The rays of the result's camera: where the focal length has a gain, points move away from the axis by it.
        rays = scene.points_camera.new_tensor([1 / self.model.config.scene.focal_gain] * 2 + [1.0])
        points = scene.points_camera[0].float() * rays
        contact = [
            torch.stack(self._contact(person, vertices_m, factor[person] * points, scene, batch))
            for person, vertices_m in enumerate(posed.vertices[0])
        ]
        align, depth_order = torch.stack(contact).mean(0)
        return {
            "align": w.align * align,
            "depth_order": w.depth_order * depth_order,
            "joints_2d": w.joints_2d * _joints_2d(posed.joints, batch),
        }

    def _contact(
        self, person: int, vertices_m: Tensor, points_m: Tensor, scene: SceneFeatures, batch: StageBatch
    ) -> tuple[Tensor, Tensor]:
        """L_align and L_dreg of one person: visible vertices against the points in its mask, frame by frame."""
        w = self.weights
        height, width = points_m.shape[1:3]
        visible = visible_vertices(vertices_m.detach(), self.body.faces, batch.intrinsics[0], height, width)
        visible = visible & (batch.seen[0, person] > 0)[:, None]
        mask = (batch.person_mask[0] == person + 1) & (scene.confidence[0] > VALID_CONFIDENCE)
        at, seen = losses.sample_pixels(visible[..., None], w.most_vertices)
        source = vertices_m.gather(1, at[..., None].expand(-1, -1, 3))
        place, inside = losses.sample_pixels(mask, w.most_points)
        target = points_m.flatten(1, 2).gather(1, place[..., None].expand(-1, -1, 3))
        # Means over the whole mask, not over the pixels that were drawn.
        order = losses.depth_order_loss(vertices_m[..., 2], visible, points_m[..., 2].flatten(1), mask.flatten(1))
        return losses.visible_chamfer_loss(source, seen, target, inside), order


Stage = Stage1 | Stage2 | Stage3


def _people(model: UniSH, scene: SceneFeatures, batch: StageBatch) -> PeopleFeatures:
    return model.people(scene, batch.crops, _bbox_info(model, scene, batch), float(batch.fps[0]))


def _for_each_person(scene: SceneFeatures, people: int) -> tuple[Tensor, Tensor]:
    """Points and confidence of the batch's one clip, once for each person."""
    return scene.points_camera.expand(people, -1, -1, -1, -1), scene.confidence.expand(people, -1, -1, -1)


@torch.no_grad()
def _bbox_info(model: UniSH, scene: SceneFeatures, batch: StageBatch) -> Tensor:
    """(1, people, frames, 3) with the focal length that inference would find in the points."""
    height, width = scene.confidence.shape[-2:]
    valid = scene.confidence[0] > VALID_CONFIDENCE
    fit_shift = not model.config.scene.ray_prior
    focal, _ = solve_focal_shift(scene.points_camera[0].float(), valid, shared=True, fit_shift=fit_shift)
    return bbox_info(batch.boxes_px, focal_px_from_half_diagonal(focal, width, height), width, height)


def _joints_2d(joints_camera: Tensor, batch: StageBatch) -> Tensor:
    """L_j2d: joints in the image against those labelled, as a share of the person's box."""
    deep = joints_camera[..., 2:].clamp(min=NEAREST_M)
    pixels = project(torch.cat([joints_camera[..., :2], deep], dim=-1), batch.intrinsics[:, None])
    boxes = batch.boxes_px
    size = (boxes[..., 2:] - boxes[..., :2]).amax(-1)
    weight = batch.seen[..., None] * (joints_camera[..., 2] > NEAREST_M)
    return losses.joints_2d_loss(pixels, batch.joints_px, weight, size)
