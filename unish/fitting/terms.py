"""The terms that a fit minimises, one pure function each: sums over a frame of ρ(error / standard deviation).

All are differentiable in the body's quantities, take their standard deviations as numbers, and return one value per
frame (or per pair of frames), so that a chunk's cost is their plain mean. What has no weight does not count, whatever
its values are.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

MOST_FOOT = 6.0


def charbonnier(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """√(1 + x²) − 1: half of x² near zero, |x| far away."""
    return (1 + x.square()).sqrt() - 1


def geman_mcclure(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """2x² / (4 + x²): half of x² near zero, never more than 2 (what is far off does not count)."""
    squared = x.square()
    return 2 * squared / (4 + squared)


def box_term(
    vertices_px: Float[Tensor, "frames vertices 2"],
    edges_px: Float[Tensor, "frames 4"],
    errors_px: Float[Tensor, "frames 4"],
    boxes_px: Float[Tensor, "frames 4"],
    counted: Bool[Tensor, "frames 4"],
    share: float,
) -> Float[Tensor, "frames"]:
    """The body's extent ends where the person does: edges x0, y0, x1, y1 in pixels.

    Standard deviation: `share` of the box's height and the edge's own error together. Edges at the image's border,
    where the person goes on, do not count.
    """
    extent = torch.cat([vertices_px.amin(-2), vertices_px.amax(-2)], dim=-1)
    sigma = torch.hypot(share * box_heights(boxes_px)[:, None], errors_px)
    return (charbonnier((extent - edges_px) / sigma) * counted).sum(-1)


def outside_term(
    outside_px: Float[Tensor, "frames vertices"],
    boxes_px: Float[Tensor, "frames 4"],
    counted: Bool[Tensor, "frames"],
    share: float,
) -> Float[Tensor, "frames"]:
    """No projected vertex lies outside the mask: mean over vertices of ρ(distance to the mask), as eight sightings."""
    sigma = share * box_heights(boxes_px)[:, None]
    return 8 * geman_mcclure(outside_px / sigma / 2).mean(-1) * counted


def coverage_term(
    mask_px: Float[Tensor, "frames samples 2"],
    weights: Float[Tensor, "frames samples"],
    vertices_px: Float[Tensor, "frames vertices 2"],
    boxes_px: Float[Tensor, "frames 4"],
    spacing: float,
    share: float,
) -> Float[Tensor, "frames"]:
    """The body covers the mask: mean over samples of the mask of ρ(distance to the nearest projected vertex), as eight
    sightings. Up to `spacing` (share of the box's height), the distance between the vertices, is no distance."""
    height = box_heights(boxes_px)[:, None]
    nearest = _distances(mask_px, vertices_px).amin(-1) / height
    error = geman_mcclure((nearest - spacing).clamp(min=0) / share / 2)
    return 8 * (error * weights).sum(-1) / weights.sum(-1).clamp(min=1)


def surface_term(
    vertices_z: Float[Tensor, "frames vertices"],
    points_z: Float[Tensor, "frames vertices"],
    weights: Float[Tensor, "frames vertices"],
    sigma: Float[Tensor, "frames"],
) -> Float[Tensor, "frames"]:
    """The visible surface lies on the person's own depth points (UniSH's L_align along the ray): mean over vertices of
    ρ of the logarithm of vertex depth over point depth, as four sightings."""
    safe = torch.where(weights > 0, points_z, vertices_z.detach())
    error = (vertices_z / safe).log() / sigma[:, None]
    return 4 * (geman_mcclure(error) * weights).sum(-1) / weights.sum(-1).clamp(min=1)


def order_term(
    vertices_z: Float[Tensor, "frames vertices"],
    points_z: Float[Tensor, "frames vertices"],
    weights: Float[Tensor, "frames vertices"],
    sigma: Float[Tensor, "frames"],
) -> Float[Tensor, "frames"]:
    """The visible surface does not lie before the person's points on average (UniSH's L_dreg), in logarithms."""
    safe = torch.where(weights > 0, points_z, vertices_z.detach())
    behind = ((safe / vertices_z).log() * weights).sum(-1) / weights.sum(-1).clamp(min=1)
    return charbonnier(behind.relu() / sigma)


def keypoint_term(
    joints_px: Float[Tensor, "frames keypoints 2"],
    keypoints_px: Float[Tensor, "frames keypoints 2"],
    confidence: Float[Tensor, "frames keypoints"],
    boxes_px: Float[Tensor, "frames 4"],
    share: float,
    unsure_share: float,
) -> Float[Tensor, "frames"]:
    """Projected joints lie on the detected keypoints: sum of ρ(distance) by confidence, those without it left out.

    The standard deviation grows from `share` of the box's height for a sure keypoint by up to `unsure_share`. What is
    far off goes on counting, less than squared: a network's limb is often off by more than its thickness, and a bounded
    cost would leave it there.
    """
    sigma = (share + unsure_share * (1 - confidence).clamp(min=0) ** 3) * box_heights(boxes_px)[:, None]
    seen = confidence > 0
    apart = torch.where(seen[..., None], joints_px - keypoints_px, torch.zeros_like(joints_px))
    return (charbonnier(_norm(apart) / sigma) * confidence * seen).sum(-1)


def acceleration_term(
    joints_world: Float[Tensor, "frames joints 3"], times_s: Float[Tensor, "frames"], sigma_m_s2: float
) -> Float[Tensor, "frames_less_2"]:
    """Joints keep their velocity in the world, at the frames' true times: mean over joints of ρ(acceleration), as
    twelve sightings."""
    step = times_s.diff()
    velocity = joints_world.diff(dim=0) / step[:, None, None]
    acceleration = velocity.diff(dim=0) / ((step[1:] + step[:-1]) / 2)[:, None, None]
    return 12 * charbonnier(_norm(acceleration) / sigma_m_s2).mean(-1)


def held_term(
    feet_world: Float[Tensor, "frames ends 3"],
    places_world: Float[Tensor, "frames ends 3"],
    standing: Bool[Tensor, "frames ends"],
    sigma_m: float,
) -> Float[Tensor, "frames"]:
    """Ends of feet stay at their places while they stand: sum of ρ(distance), each `MOST_FOOT` at most, so that feet
    which the images keep moving are let go."""
    apart = torch.where(standing[..., None], feet_world - places_world, torch.zeros_like(feet_world))
    return _bounded(charbonnier(_norm(apart) / sigma_m)).sum(-1)


def sole_term(
    sole_heights_m: Float[Tensor, "frames feet"], standing: Bool[Tensor, "frames feet"], sigma_m: float
) -> Float[Tensor, "frames"]:
    """The lowest point of a standing foot lies on the floor under it, and no foot lies below its floor; each foot costs
    `MOST_FOOT` at most."""
    height = sole_heights_m / sigma_m
    return _bounded(charbonnier(torch.where(standing, height, (-height).relu()))).sum(-1)


def offset_precision(times_s: Float[Tensor, "frames"], sigma: float, drift: float) -> Float[Tensor, "frames frames"]:
    """The prior of an offset from the network's motion, as the matrix P of its cost ½ xᵀPx.

    Each frame's offset has the standard deviation `sigma`, and it changes like a random walk, by `drift` in a tenth of
    a second: the network errs by about as much from frame to frame.
    """
    walk = 1 / (drift**2 * (10 * times_s.diff()).clamp(min=1e-3))
    precision = torch.eye(len(times_s), dtype=times_s.dtype, device=times_s.device) / sigma**2
    row = torch.arange(len(walk), device=times_s.device)
    precision[row, row] += walk
    precision[row + 1, row + 1] += walk
    precision[row, row + 1] -= walk
    precision[row + 1, row] -= walk
    return precision


def limit_term(
    bends_rad: Float[Tensor, "frames hinges"],
    limits_rad: Float[Tensor, "hinges 2"],
    sigma_rad: float,
) -> Float[Tensor, "frames"]:
    """Hinges (knees, elbows) bend within human limits, (least, most) of each."""
    beyond = (limits_rad[:, 0] - bends_rad).relu() + (bends_rad - limits_rad[:, 1]).relu()
    return 0.5 * (beyond / sigma_rad).square().sum(-1)


def box_heights(boxes_px: Float[Tensor, "*frames 4"]) -> Float[Tensor, "*frames"]:
    """Of boxes x0, y0, x1, y1; a lying person's box counts by a third of its width at least."""
    return torch.maximum(boxes_px[..., 3] - boxes_px[..., 1], (boxes_px[..., 2] - boxes_px[..., 0]) / 3).clamp(min=1)


def _bounded(cost: Tensor) -> Tensor:
    """The cost while it is small, `MOST_FOOT` when it is large."""
    return MOST_FOOT * (1 - (-cost / MOST_FOOT).exp())


def _norm(vectors: Tensor) -> Tensor:
    """Length along the last axis, with a gradient of zero at zero."""
    return (vectors.square().sum(-1) + 1e-12).sqrt()


def _distances(a: Tensor, b: Tensor) -> Tensor:
    """(…, n, m) distances, with a gradient that is finite where points meet."""
    squared = a.square().sum(-1)[..., :, None] + b.square().sum(-1)[..., None, :] - 2 * a @ b.mT
    return (squared.clamp(min=0) + 1e-6).sqrt()
