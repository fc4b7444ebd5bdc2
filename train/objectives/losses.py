"""The loss terms of UniSH's three training stages (arXiv 2601.01222), one pure function per term.

Each is computed in float32 (float64 stays) and averaged to one number. A `weight` is 0 where there is nothing to
compare; values there may be anything, even NaN in the labels, and a term without any weight is 0 with zero gradient.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from unish.geometry.alignment import robust_affine, scale_weighted_l1
from unish.geometry.metric import VALID_CONFIDENCE, clip_norm

MAX_FIT_POINTS = 4096
"""Most points of a clip that a scale is fitted to, as in UniSH's released code."""

# --- stage 1: surfaces of people -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PatchSettings:
    """The local patches of stage 1. The paper gives no values; these are ours."""

    patches: int = 16
    """Anchors per frame (the paper's K)."""
    radius: float = 0.05
    """Radius of a patch around its anchor (the paper's τ), as a share of the anchor's depth."""
    min_points: int = 32
    """Patches with fewer points do not count."""
    max_points: int = 4096
    """Most pixels of a person per frame; drawn at random."""
    fit_points: int = 96
    """Most points of a patch that its scale and shift are fitted to; its loss takes all of them."""
    truncation: float | None = None
    """Relative error beyond which a point no longer affects the fit; None: every point does."""


def local_affine_loss(
    depth: Float[Tensor, "frames height width"],
    confidence: Float[Tensor, "frames height width"],
    pseudo_depth: Float[Tensor, "frames height width"],
    pseudo_points: Float[Tensor, "frames height width 3"],
    person_mask: Bool[Tensor, "frames height width"],
    settings: PatchSettings,
    generator: torch.Generator | None = None,
) -> Float[Tensor, ""]:
    """Mean of C·|s·D̂ + t − D| / D over local patches, each with its own fitted (s, t) (UniSH, stage 1, L_h).

    D̂ is the predicted depth in any unit, D the pseudo-depth, C the confidence in 0..1. Only D̂ carries a gradient.
    Points are averaged per patch, patches per frame, and then frames that have a patch; patches whose best fit is
    inverted (s ≤ 0) are rejected. Pixels without a finite positive pseudo-depth do not count.
    """
    known = person_mask & (pseudo_depth > 0) & pseudo_depth.isfinite() & pseudo_points.isfinite().all(-1)
    index, drawn = sample_pixels(known, settings.max_points, generator)
    predicted, trust, true = (
        _full(values).flatten(1).gather(1, index).where(drawn, 1.0)
        for values in (depth, confidence.detach(), pseudo_depth.detach())
    )
    points = pseudo_points.detach().flatten(1, 2).gather(1, index[..., None].expand(-1, -1, 3))
    members = patch_members(_full(points), drawn, settings)
    scale, shift = _fit_patches(predicted.detach(), true, members, settings)
    error = (scale[..., None] * predicted[:, None] + shift[..., None] - true[:, None]).abs() / true[:, None]
    patch_error = _mean_where(trust[:, None] * error, members)
    accepted = (members.sum(-1) >= settings.min_points) & (scale > 0)
    return weighted_mean(_mean_where(patch_error, accepted), accepted.any(-1).to(patch_error))


def sample_pixels(
    mask: Bool[Tensor, "frames height width"], count: int, generator: torch.Generator | None = None
) -> tuple[Int[Tensor, "frames drawn"], Bool[Tensor, "frames drawn"]]:
    """At most `count` different pixels of each frame's mask in random order: index into height·width, and whether the
    place is filled (a small mask has fewer pixels)."""
    device = generator.device if generator is not None else mask.device
    lots = torch.rand(mask.flatten(1).shape, generator=generator, device=device).to(mask.device)
    lots, index = lots.where(mask.flatten(1), -1.0).topk(min(count, lots.shape[1]), dim=1)
    return index, lots >= 0


def patch_members(
    points: Float[Tensor, "frames n 3"], drawn: Bool[Tensor, "frames n"], settings: PatchSettings
) -> Bool[Tensor, "frames patches n"]:
    """Which points lie within the radius of which anchor; the first points, in random order, are the anchors."""
    anchors = points[:, : settings.patches]
    distance = torch.cdist(anchors, points, compute_mode="donot_use_mm_for_euclid_dist")
    near = distance < settings.radius * anchors[..., 2:]
    return near & drawn[:, None, :] & drawn[:, : settings.patches, None]


def _fit_patches(predicted: Tensor, true: Tensor, members: Tensor, settings: PatchSettings) -> tuple[Tensor, Tensor]:
    """(scale, shift) of each patch, fitted to its first points with weights that make the errors relative."""
    count = members.shape[-1]
    first = members * torch.arange(count, 0, -1, device=members.device)
    chosen, index = first.topk(min(settings.fit_points, count), dim=-1)
    x, y = (values[:, None].expand_as(members).gather(-1, index) for values in (predicted, true))
    return robust_affine(x, y, (chosen > 0) / y, settings.truncation)


def point_regularisation(
    points: Float[Tensor, "batch frames height width 3"], original: Float[Tensor, "batch frames height width 3"]
) -> Float[Tensor, ""]:
    """Mean L1 distance of points from those of the frozen start model, in network units (UniSH, stage 1, L_preg)."""
    return (_full(points) - original.detach()).abs().sum(-1).mean()


# --- stage 2: bodies, their place and the scale of the scene ---------------------------------------------------------


def vertex_loss(
    vertices: Float[Tensor, "*batch vertices 3"],
    root: Float[Tensor, "*batch 3"],
    true_vertices: Float[Tensor, "*batch vertices 3"],
    true_root: Float[Tensor, "*batch 3"],
    weight: Float[Tensor, "*batch"] | None = None,
) -> Float[Tensor, ""]:
    """Mean L1 distance of vertices relative to the root joint (joint 0), metres (UniSH, stage 2, L_v)."""
    true = _counted(true_vertices - true_root[..., None, :], weight)
    error = (_full(vertices) - _full(root)[..., None, :] - true).abs().sum(-1)
    return _mean(error, weight)


def joint_loss(
    joints: Float[Tensor, "*batch joints 3"],
    true: Float[Tensor, "*batch joints 3"],
    weight: Float[Tensor, "*batch"] | None = None,
) -> Float[Tensor, ""]:
    """Mean L1 distance of joints relative to the root (joint 0), metres (UniSH, stage 2, L_j3d)."""
    return vertex_loss(joints, joints[..., 0, :], true, true[..., 0, :], weight)


def joints_2d_loss(
    predicted_px: Float[Tensor, "*batch joints 2"],
    true_px: Float[Tensor, "*batch joints 2"],
    weight: Float[Tensor, "*batch joints"],
    size_px: Float[Tensor, "*batch"],
) -> Float[Tensor, ""]:
    """Mean L1 distance of projected joints over `size_px`, the size of the person's box or of the image (UniSH, stages
    2 and 3, L_j2d). Joints labelled NaN do not count; joints behind the camera need a weight of 0."""
    weight = weight * true_px.isfinite().all(-1)
    error = (_full(predicted_px) - _counted(true_px, weight)).abs().sum(-1)
    return weighted_mean(error / size_px.where(size_px > 0, 1.0)[..., None], weight)


def pose_loss(
    rotations: Float[Tensor, "*batch joints 3 3"],
    true: Float[Tensor, "*batch joints 3 3"],
    weight: Float[Tensor, "*batch"] | None = None,
) -> Float[Tensor, ""]:
    """Squared Frobenius distance of rotation matrices, mean over joints (UniSH, stage 2, L_pose)."""
    error = (_full(rotations) - _counted(true, weight)).square().sum((-2, -1))
    return _mean(error, weight)


def shape_loss(
    betas: Float[Tensor, "*batch 10"],
    true: Float[Tensor, "*batch 10"],
    weight: Float[Tensor, "*batch"] | None = None,
) -> Float[Tensor, ""]:
    """Squared distance ‖β − β*‖² of the ten shape coefficients (UniSH, stage 2, L_shape)."""
    return _mean((_full(betas) - _counted(true, weight)).square().sum(-1), weight)


def translation_loss(
    translation: Float[Tensor, "*batch 3"],
    metres_per_unit: Float[Tensor, "*#batch"],
    true_m: Float[Tensor, "*batch 3"],
    weight: Float[Tensor, "*batch"] | None = None,
) -> Float[Tensor, ""]:
    """Squared distance, m², of translations given in network units (UniSH, stage 2, L_trans).

    `metres_per_unit` is s*/norm of `scale_target`, so that the translation is not penalised for the predicted scale.
    """
    moved_m = metres_per_unit[..., None] * _full(translation)
    return _mean((moved_m - _counted(true_m, weight)).square().sum(-1), weight)


def scale_loss(
    scale: Float[Tensor, "*batch"], true: Float[Tensor, "*batch"], weight: Float[Tensor, "*batch"] | None = None
) -> Float[Tensor, ""]:
    """Mean of |s − s*|, the metric size of unit-norm points (UniSH, stage 2, L_scale)."""
    return _mean((_full(scale) - _counted(true, weight)).abs(), weight)


@torch.no_grad()
def scale_target(
    points: Float[Tensor, "batch frames height width 3"],
    confidence: Float[Tensor, "batch frames height width"],
    true_points_m: Float[Tensor, "batch frames height width 3"],
    valid: Bool[Tensor, "batch frames height width"],
) -> tuple[Float[Tensor, "batch"], Float[Tensor, "batch"]]:
    """(s*, norm) of each clip: s*·points/norm is the metric ground truth (UniSH, stage 2, as in its released code).

    `norm` is the mean distance, in network units, of the points that count: valid in the ground truth and confident
    (all valid ones where none is confident). s* is a robust fit to at most 4096 of them, each weighted by 1/depth.
    Where nothing is valid, `norm` is over all points and s* is 1, which is no target: give that clip no weight.
    """
    sure = valid & (confidence > VALID_CONFIDENCE)
    counts = torch.where(sure.flatten(1).any(1)[:, None, None, None], sure, valid)
    norm = clip_norm(_full(points), counts.float())
    predicted, true, chosen = _spread_points(_full(points), _full(true_points_m), counts)
    z = true[..., 2]
    mean_z = _mean_where(z, chosen)
    weights = chosen / torch.maximum(z, 0.1 * mean_z[:, None]).clamp(min=1e-6)
    unit = predicted / norm[:, None, None]
    scale = scale_weighted_l1(unit.flatten(1), true.flatten(1), weights.repeat_interleave(3, dim=1))
    return torch.where(chosen.any(1) & (scale > 0), scale, 1.0), norm


def _spread_points(predicted: Tensor, true: Tensor, counts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """At most 4096 evenly spaced points of those that count: both as (batch, 4096, 3), and which places are filled."""
    counts = counts.flatten(1)
    rank = counts.cumsum(1) - 1
    stride = (counts.sum(1, keepdim=True) + MAX_FIT_POINTS - 1).div(MAX_FIT_POINTS, rounding_mode="floor").clamp(min=1)
    clip, pixel = (counts & (rank % stride == 0)).nonzero(as_tuple=True)
    place = (rank // stride)[clip, pixel]
    x, y = (values.new_zeros(len(counts), MAX_FIT_POINTS, 3) for values in (predicted, true))
    chosen = torch.zeros(x.shape[:2], dtype=torch.bool, device=x.device)
    x[clip, place] = predicted.flatten(1, 3)[clip, pixel]
    y[clip, place] = true.flatten(1, 3)[clip, pixel]
    chosen[clip, place] = True
    return x, y, chosen


# --- stage 3: the body on the surface --------------------------------------------------------------------------------


def chamfer_loss(source: Float[Tensor, "n 3"], target: Float[Tensor, "m 3"], chunk: int = 4096) -> Float[Tensor, ""]:
    """Mean squared distance from each source point to its nearest target point, m² (one-sided Chamfer distance).

    Differentiable in both; 0 where either is empty. `chunk` target points are compared at a time.
    """
    source, target = _full(source), _full(target)
    if not len(source) or not len(target):
        return source[:0].sum() + target[:0].sum()
    return (source - target[_nearest(source.detach(), target.detach(), chunk)]).square().sum(-1).mean()


@torch.no_grad()
def _nearest(source: Tensor, target: Tensor, chunk: int) -> Tensor:
    """Index of the target point nearest to each source point."""
    closest, index = source.new_full((len(source),), torch.inf), source.new_zeros(len(source), dtype=torch.long)
    for start in range(0, len(target), chunk):
        part = target[start : start + chunk]
        distance, here = torch.cdist(source, part, compute_mode="donot_use_mm_for_euclid_dist").min(dim=1)
        index = torch.where(distance < closest, here + start, index)
        closest = torch.minimum(closest, distance)
    return index


def visible_chamfer_loss(
    source: Float[Tensor, "frames vertices 3"],
    source_mask: Bool[Tensor, "frames vertices"],
    target: Float[Tensor, "frames points 3"],
    target_mask: Bool[Tensor, "frames points"],
    chunk: int = 4096,
) -> Float[Tensor, ""]:
    """Mean over frames of the one-sided Chamfer distance from a body's visible vertices to the person's points, m²
    (UniSH, stage 3, L_align). Frames that lack either do not count."""
    both = source_mask.any(1) & target_mask.any(1)
    frames = zip(source, source_mask, target, target_mask, strict=True)
    terms = torch.stack([chamfer_loss(v[seen], u[inside], chunk) for v, seen, u, inside in frames])
    return weighted_mean(terms, both.to(terms))


def depth_order_loss(
    source_z: Float[Tensor, "frames vertices"],
    source_mask: Bool[Tensor, "frames vertices"],
    target_z: Float[Tensor, "frames points"],
    target_mask: Bool[Tensor, "frames points"],
) -> Float[Tensor, ""]:
    """Mean over frames of ReLU(mean depth of the person's points − mean depth of the body's visible vertices), metres:
    the points must not lie behind the body (UniSH, stage 3, L_dreg). Frames that lack either do not count."""
    behind = _mean_where(_full(target_z), target_mask) - _mean_where(_full(source_z), source_mask)
    return weighted_mean(behind.relu(), (source_mask.any(1) & target_mask.any(1)).to(behind))


# --- helpers ---------------------------------------------------------------------------------------------------------


def weighted_mean(values: Float[Tensor, "*shape"], weight: Float[Tensor, "*shape"]) -> Float[Tensor, ""]:
    """Σ w·v / Σ w, and 0 (with zero gradient) where no weight is left; values without weight may be anything."""
    counted = torch.where(weight > 0, values, torch.zeros_like(values))
    return (counted * weight).sum() / weight.sum().clamp(min=1e-6)


def _full(values: Tensor) -> Tensor:
    """In float32 at least."""
    return values if values.dtype == torch.float64 else values.float()


def _counted(true: Tensor, weight: Tensor | None) -> Tensor:
    """The labels, 0 where they have no weight: a NaN there would reach the gradient if it were masked later."""
    if weight is None:
        return true
    return true.where(weight.reshape(weight.shape + (1,) * (true.ndim - weight.ndim)) > 0, 0.0)


def _mean(values: Tensor, weight: Tensor | None) -> Tensor:
    """Mean over the batch; `values` may have axes (vertices, joints) after those of the weight."""
    if weight is None:
        return values.mean()
    return weighted_mean(values.flatten(weight.ndim).mean(-1) if values.ndim > weight.ndim else values, weight)


def _mean_where(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over the last axis of the values in the mask; 0 where it is empty."""
    return values.where(mask, 0.0).sum(-1) / mask.sum(-1).clamp(min=1)
