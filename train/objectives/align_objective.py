"""Pretraining of AlignNet on the frozen branches: metric scale of the scene and place of each body (UniSH)."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from train.data.batches import AlignBatch, PlacedKeypointBatch, SceneBatch
from train.data.pretrain_batches import Clips, ViewSettings, align_window, batch_of_views
from train.data.real_people import RealPerson
from train.objectives import pretrain_losses as losses
from unish.body import BodyModel
from unish.body.data import SMPL_LIMBS
from unish.body.lbs import joint_transforms
from unish.geometry.camera import focal_px_from_half_diagonal, solve_focal_shift
from unish.geometry.metric import VALID_CONFIDENCE, clip_norm
from unish.models.scene_branch import SceneFeatures
from unish.models.unish import UniSH
from unish.video.preprocess import bbox_info, crop_people, fit_frames

Terms = dict[str, Tensor]


@dataclass(frozen=True)
class AlignSettings:
    """AlignNet's terms, and the windows of clips whose features it learns from."""

    scale: float = 1.0
    translation: float = 0.3
    rays: float = 2.0
    real_joints: float = 2.0
    """Joints of real people against their keypoints, where there are any."""
    known_lens: float = 0.4
    """Share of the windows that come with their true focal length, as from a phone that records it or a user who states
    it; the others have the one fitted to the network's points."""
    windows: int = 1200
    """Different windows; their features are computed once and kept (about 0.3 MB each)."""
    windows_per_batch: int = 12
    real_per_batch: int = 12
    """Real people per batch, whose images have one size."""
    spans: tuple[tuple[int, int], ...] = ((8, 1), (8, 1), (6, 1), (4, 2), (3, 2), (2, 3), (16, 1), (24, 1))
    """(frames, stride): a stride of 2 is half the frame rate, so that AlignNet learns to read its clock."""
    sizes: tuple[tuple[int, int], ...] = ((168, 126), (168, 126), (168, 98), (126, 168), (98, 168), (140, 140))


class AlignObjective(nn.Module):
    """AlignNet learns, the branches stay; on synthetic clips, and on real people whose limbs are labelled."""

    name = "align"
    trainable = ("align_net.",)

    def __init__(
        self,
        model: UniSH,
        body: BodyModel,
        settings: AlignSettings,
        views: ViewSettings,
        seed: int,
        people: Sequence[RealPerson] = (),
    ) -> None:
        super().__init__()
        self.align_net, self.settings = model.align_net, settings
        self._focal_gain = model.config.scene.focal_gain
        self._metric = model.config.align.place_from_box
        self._frozen = _FeatureCache(model, body, settings, views, seed)
        self._real = _RealFeatureCache(model, body, people) if people and self._metric else None

    def draw_batch(self, clips: Clips, rng: np.random.Generator) -> AlignBatch:
        kind = int(rng.choice(self._frozen.kinds(clips)))
        chosen = rng.integers(self._frozen.windows_per_kind, size=self.settings.windows_per_batch)
        batch = AlignBatch.of_windows([self._frozen.window(clips, kind, int(index)) for index in chosen])
        if self._real is None:
            return batch
        return replace(batch, real=self._real.draw(self.settings.real_per_batch, rng))

    def forward(self, batch: AlignBatch) -> Terms:
        w = self.settings
        info = batch.bbox_info / self._focal_gain
        scale, translation = self.align_net(batch.hidden, batch.human_tokens, float(batch.fps[0]), info)
        if not self._metric:
            translation = (batch.scale / batch.norm)[:, None, None, None] * translation
        seen = (batch.visibility > 0.3).float()[:, None]
        true_m = batch.translation_camera[:, None]
        real = {} if batch.real is None else {"real_joints": w.real_joints * self._real_joints(batch.real)}
        return real | {
            "scale": w.scale * losses.log_scale_loss(scale[:, 0], batch.scale),
            "translation": w.translation * losses.translation_l1_loss(translation, true_m, seen),
            "rays": w.rays * losses.ray_loss(translation, true_m, seen),
        }

    def _real_joints(self, batch: PlacedKeypointBatch) -> Tensor:
        info = batch.bbox_info / self._focal_gain
        _, translation = self.align_net(batch.hidden, batch.human_tokens, bbox_info=info)
        joints = batch.joints_camera + translation[:, 0]
        return losses.placed_keypoint_loss(joints, batch.limbs, batch.weight, info[:, 0, 0, 2])


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
        known = torch.tensor([window.view.focal_px]) if rng.random() < self.settings.known_lens else None
        info = box_of_result(self.model, scene, window.boxes_px, known)
        return AlignBatch(
            hidden=scene.hidden.half(),
            human_tokens=self.model.human(window.crops, info).tokens[None, None].half(),
            scale=scale,
            norm=norm,
            translation_camera=window.translation_camera[None],
            visibility=window.visibility[None],
            fps=torch.tensor([window.fps]),
            bbox_info=info[None, None],
        )


@dataclass
class _RealFeatureCache:
    """What the frozen branches say of real people, one frame each, computed once. Many are cut off by the image's edge,
    as in phone videos; their limbs say where they stand all the same."""

    model: UniSH
    body: BodyModel
    people: Sequence[RealPerson]
    _by_size: dict[tuple[int, ...], list[PlacedKeypointBatch]] = field(default_factory=dict)

    def draw(self, count: int, rng: np.random.Generator) -> PlacedKeypointBatch:
        """So many random people in images of one size, which is drawn by how many there are of it."""
        if not self._by_size:
            for person in self.people:
                window = self._compute(person)
                self._by_size.setdefault(tuple(window.hidden.shape), []).append(window)
        groups = list(self._by_size.values())
        sizes = np.array([len(group) for group in groups])
        group = groups[int(rng.choice(len(groups), p=sizes / sizes.sum()))]
        return PlacedKeypointBatch.of_windows([group[int(i)] for i in rng.integers(len(group), size=count)])

    @torch.no_grad()
    def _compute(self, person: RealPerson) -> PlacedKeypointBatch:
        config = self.model.config.scene
        images, transform = fit_frames(person.image[None], config.image_long_side_px, config.patch_size)
        scene = self.model.scene(images[None])
        box = transform.map_boxes(torch.from_numpy(person.box_px)[None])
        info = box_of_result(self.model, scene, box)
        human = self.model.human(crop_people(person.image[None], person.box_px[None]), info)
        joints = joint_transforms(
            human.body_rotations.float(),
            self.body.rest_joints(human.betas.float()),
            tuple(int(parent) for parent in self.body.parents),
        )[1]
        limbs_px = transform.map_boxes(torch.from_numpy(np.tile(person.limbs_px, 2)))[:, :2]
        center = limbs_px.new_tensor([transform.width_px, transform.height_px]) / 2
        focal_px = (box[0, 2:] - box[0, :2]).max() / info[0, 2] * config.focal_gain
        return PlacedKeypointBatch(
            hidden=scene.hidden.half(),
            human_tokens=human.tokens[None, None].half(),
            bbox_info=info[None, None],
            joints_camera=joints[:, list(SMPL_LIMBS)],
            limbs=((limbs_px - center) / focal_px)[None].float(),
            weight=torch.from_numpy(person.weight)[None],
        )


def box_of_result(
    model: UniSH,
    scene: SceneFeatures,
    boxes_px: Float[Tensor, "frames 4"],
    known_focal_px: Float[Tensor, "1"] | None = None,
) -> Float[Tensor, "frames 3"]:
    """`bbox_info` of boxes in the network's frames, with the focal length that inference estimates from the points, or
    with a known one."""
    height, width = scene.confidence.shape[-2:]
    if known_focal_px is not None:
        return bbox_info(boxes_px, known_focal_px.float() / model.config.scene.focal_gain, width, height)
    valid = scene.confidence[0] > VALID_CONFIDENCE
    fit_shift = not model.config.scene.ray_prior
    focal, _ = solve_focal_shift(scene.points_camera[0].float(), valid, shared=True, fit_shift=fit_shift)
    return bbox_info(boxes_px, focal_px_from_half_diagonal(focal, width, height), width, height)


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
