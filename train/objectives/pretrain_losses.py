"""The loss terms of pretraining, one pure function per term, each computed in float32 and averaged to one number.

Scene terms compare predictions in network units with metric ground truth through one scale per clip (`clip_scale`).
`weight` is 0 where there is no ground truth, so that it is mask and importance in one.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from train.objectives.losses import MAX_FIT_POINTS, weighted_mean
from unish.geometry import NUM_JOINTS
from unish.geometry.alignment import scale_weighted_l1, weighted_median
from unish.geometry.camera import pixel_centers, project
from unish.geometry.rotations import rotation_angle
from unish.geometry.transforms import invert_rigid, transform_points

# --- scene (π³, Wang et al. 2025) ----------------------------------------------------------------------------------


@torch.no_grad()
def clip_scale(
    predicted: Float[Tensor, "batch frames height width 3"],
    true: Float[Tensor, "batch frames height width 3"],
    weight: Float[Tensor, "batch frames height width"],
) -> Float[Tensor, "batch"]:
    """Metres per network unit of each clip: argmin over s of Σ w |s·predicted − true|₁ (π³ and MoGe's robust fit).

    Carries no gradient. Uses at most 4096 evenly spaced points per clip; 1 where no point counts.
    """
    x, y, w = _fit_points(predicted, true, weight)
    each = w[..., None].expand_as(x).flatten(1)
    scale = scale_weighted_l1(x.flatten(1), y.flatten(1), each)
    return torch.where((w.sum(1) > 0) & (scale > 0), scale, torch.ones_like(scale))


def gauge_loss(
    points: Float[Tensor, "batch frames height width 3"], weight: Float[Tensor, "batch frames height width"]
) -> Float[Tensor, ""]:
    """Squared log of each clip's median distance: keeps the network's arbitrary unit close to the size of the scene."""
    distance = points.float().norm(dim=-1).clamp(min=1e-6).log().flatten(1)
    return weighted_median(distance, weight.flatten(1)).square().mean()


def _fit_points(predicted: Tensor, true: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """At most 4096 evenly spaced points per clip: predicted and true (batch, points, 3), weight (batch, points)."""
    stride = max(1, weight[0].numel() // MAX_FIT_POINTS)
    x, y = (points.float().flatten(1, 3)[:, ::stride] for points in (predicted, true))
    return x, y, weight.float().flatten(1)[:, ::stride]


def point_loss(
    predicted: Float[Tensor, "batch frames height width 3"],
    true: Float[Tensor, "batch frames height width 3"],
    weight: Float[Tensor, "batch frames height width"],
    scale: Float[Tensor, "batch"],
) -> Float[Tensor, ""]:
    """Weighted mean of |s·predicted − true|₁ over the depth of the true point: an error relative to its distance."""
    error = (scale[:, None, None, None, None] * predicted.float() - true).abs().sum(-1)
    return weighted_mean(error / true[..., 2].clamp(min=0.1), weight)


def depth_loss(
    predicted: Float[Tensor, "batch frames height width 3"],
    true: Float[Tensor, "batch frames height width 3"],
    weight: Float[Tensor, "batch frames height width"],
) -> Float[Tensor, ""]:
    """Weighted mean of |log z − log z* − m|, m the clip's own weighted median, so that no gradient is left along its
    free scale. `point_loss` has little gradient at a far point predicted too near; here all points have the same."""
    error = (predicted[..., 2].float().clamp(min=1e-6) / true[..., 2].clamp(min=0.1)).log()
    stride = max(1, weight[0].numel() // MAX_FIT_POINTS)
    thin_error, thin_weight = error.detach().flatten(1)[:, ::stride], weight.flatten(1)[:, ::stride]
    middle = weighted_median(thin_error, thin_weight)[:, None, None, None]
    return weighted_mean((error - middle).abs(), weight)


def focal_loss(
    predicted: Float[Tensor, "batch frames height width 3"],
    weight: Float[Tensor, "batch frames height width"],
    intrinsics: Float[Tensor, "batch #frames 3 3"],
) -> Float[Tensor, ""]:
    """Mean of |log f − log f*|, f the focal length that fits a frame's points best (`fit_pinhole`, in closed form).

    To `point_loss`, a lens of the wrong length is a small error at every pixel, and the mean lens the safest answer.
    """
    height, width = predicted.shape[2:4]
    offset_px = pixel_centers(height, width, device=predicted.device) - intrinsics.new_tensor([width / 2, height / 2])
    rays = predicted[..., :2].float() / predicted[..., 2:].float().clamp(min=1e-6)
    share = (weight > 0).float()[..., None]
    along, squared = ((share * rays * other).sum((2, 3, 4)) for other in (offset_px, rays))
    seen = (squared > 0).float()
    error = (along.clamp(min=1e-3) / squared.clamp(min=1e-6)).log() - intrinsics[..., 0, 0].log()
    return weighted_mean(error.abs(), seen)


def normal_loss(
    predicted: Float[Tensor, "batch frames height width 3"],
    true: Float[Tensor, "batch frames height width 3"],
    weight: Float[Tensor, "batch frames height width"],
) -> Float[Tensor, ""]:
    """Mean angle in radians between surface normals, from cross products of the steps to neighbouring pixels.

    Pixels at a discontinuity of the true depth (over 10 %) do not count.
    """
    normal_predicted, normal_true = _normals(predicted.float()), _normals(true)
    depth = true[..., 2]
    near = torch.maximum(_jump(depth, 2), _jump(depth, 3)) < 0.1
    whole = (weight[:, :, :-1, :-1] > 0) & (weight[:, :, 1:, :-1] > 0) & (weight[:, :, :-1, 1:] > 0)
    sine = torch.linalg.cross(normal_predicted, normal_true, dim=-1).norm(dim=-1)
    cosine = (normal_predicted * normal_true).sum(-1)
    return weighted_mean(torch.atan2(sine, cosine), (near & whole).float())


def camera_losses(
    predicted: Float[Tensor, "batch frames 4 4"],
    true: Float[Tensor, "batch frames 4 4"],
    scale: Float[Tensor, "batch"],
    unit_m: Float[Tensor, "batch"],
    huber: float = 0.02,
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Rotation (radians) and translation error of camera j relative to camera i, over all ordered pairs i ≠ j.

    Both inputs are world_from_camera, each in its own world. Translations, after the clip's scale, are divided by
    `unit_m` (the size of the scene, metres) and compared with a Huber loss.
    """
    pair_predicted, pair_true = (_pairs(cameras.float()) for cameras in (predicted, true))
    rotation = rotation_angle(pair_predicted[..., :3, :3].mT @ pair_true[..., :3, :3]).mean()
    per_clip = scale[:, None, None]
    moved = per_clip * pair_predicted[..., :3, 3] / unit_m[:, None, None]
    translation = functional.huber_loss(moved, pair_true[..., :3, 3] / unit_m[:, None, None], delta=huber) / huber
    return rotation, translation


def confidence_loss(
    logits: Float[Tensor, "batch frames height width"],
    predicted: Float[Tensor, "batch frames height width 3"],
    true: Float[Tensor, "batch frames height width 3"],
    weight: Float[Tensor, "batch frames height width"],
    scale: Float[Tensor, "batch"],
    threshold: float,
) -> Float[Tensor, ""]:
    """Binary cross-entropy of the confidence with "the point's error is below `threshold` of its depth" (π³).

    The target is 0 for pixels without ground truth (sky, too far). The error carries no gradient.
    """
    with torch.no_grad():
        error = (scale[:, None, None, None, None] * predicted.float() - true).norm(dim=-1)
        right = (error < threshold * true[..., 2]) & (weight > 0)
    return functional.binary_cross_entropy_with_logits(logits.float(), right.float())


@torch.no_grad()
def next_frame_pixels(
    points_camera: Float[Tensor, "batch frames height width 3"],
    weight: Float[Tensor, "batch frames height width"],
    world_from_camera: Float[Tensor, "batch frames 4 4"],
    intrinsics: Float[Tensor, "batch 1 3 3"],
    patch_px: int,
) -> Float[Tensor, "batch frames tokens 2"]:
    """Pixel of the next frame (the first follows the last) that shows the true point at each patch's centre; −1 where
    the point is occluded there, outside the frame, or unknown."""
    height, width = weight.shape[2:]
    centers = points_camera[:, :, patch_px // 2 :: patch_px, patch_px // 2 :: patch_px].flatten(2, 3)
    known = weight[:, :, patch_px // 2 :: patch_px, patch_px // 2 :: patch_px].flatten(2, 3) > 0
    moved = transform_points(invert_rigid(world_from_camera.roll(-1, dims=1)) @ world_from_camera, centers)
    pixels = project(moved, intrinsics)
    column, row = (pixels[..., axis].nan_to_num(-1.0, -1.0, -1.0).floor() for axis in (0, 1))
    inside = known & (moved[..., 2] > 0.05) & (column >= 0) & (column < width) & (row >= 0) & (row < height)
    index = row.clamp(0, height - 1).long() * width + column.clamp(0, width - 1).long()
    depth = points_camera[..., 2].roll(-1, dims=1).flatten(2).gather(-1, index)
    seen = inside & ((moved[..., 2] - depth).abs() < 0.1 * depth)
    return torch.where(seen[..., None], pixels, -torch.ones_like(pixels))


# --- bodies (CameraHMR; UniSH's L_smpl) ------------------------------------------------------------------------------


def rotation_loss(
    predicted: Float[Tensor, "*batch 24 3 3"], true: Float[Tensor, "*batch 24 3 3"], root_weight: float = 1.0
) -> Float[Tensor, ""]:
    """Squared Frobenius distance of rotation matrices, mean over joints with the root counted `root_weight` times."""
    return _mean_over_joints((predicted.float() - true).square().sum((-2, -1)), root_weight)


def token_loss(
    logits: Float[Tensor, "crops tokens joints"],
    pixels: Float[Tensor, "crops joints 2"],
    grid: tuple[int, int],
    patch_px: float,
) -> Float[Tensor, ""]:
    """Cross-entropy of "in which token is this joint", the target shared bilinearly among the four nearest tokens.

    `pixels` are in the image that the (rows, columns) of tokens cover; joints outside it do not count.
    """
    rows, columns = grid
    place = pixels / patch_px
    inside = (place >= 0).all(-1) & (place[..., 0] < columns) & (place[..., 1] < rows)
    x, y = (place - 0.5).unbind(-1)
    shares = [
        (1 - (axis.clamp(0, size - 1)[..., None] - torch.arange(size, device=axis.device)).abs()).clamp(min=0)
        for axis, size in ((y, rows), (x, columns))
    ]
    target = (shares[0][..., :, None] * shares[1][..., None, :]).flatten(-2)
    entropy = -(target * logits.float().mT.log_softmax(dim=-1)).sum(-1)
    return weighted_mean(entropy, inside.float())


def fitted_keypoint_loss(
    joints: Float[Tensor, "crops limbs 3"], pixels: Float[Tensor, "crops limbs 2"], weight: Float[Tensor, "crops limbs"]
) -> Float[Tensor, ""]:
    """L1 error of x and y of joints against pixels after the best scale and shift per crop, over the spread of the
    pixels: the pose as the image shows it, wherever the body stands and however tall it is (weak perspective)."""
    share = (weight / weight.sum(-1, keepdim=True).clamp(min=1e-6))[..., None]
    flat = joints[..., :2].float()
    flat, target = flat - (share * flat).sum(-2, keepdim=True), pixels - (share * pixels).sum(-2, keepdim=True)
    scale = (share * flat * target).sum((-2, -1)) / (share * flat.square()).sum((-2, -1)).clamp(min=1e-4)
    spread = (share * target.square()).sum((-2, -1)).sqrt().clamp(min=1.0)
    error = (scale.clamp(min=0.0)[:, None, None] * flat - target).abs().sum(-1) / spread[:, None]
    return weighted_mean(error, weight)


def placed_keypoint_loss(
    joints_camera: Float[Tensor, "*batch limbs 3"],
    limbs: Float[Tensor, "*batch limbs 2"],
    weight: Float[Tensor, "*batch limbs"],
    box_size: Float[Tensor, "*batch"],
) -> Float[Tensor, ""]:
    """L1 distance of joints from where limbs are labelled, both on the plane z = 1, in box sizes."""
    rays = joints_camera[..., :2] / joints_camera[..., 2:].clamp(min=0.1)
    return weighted_mean((rays - limbs).abs().sum(-1) / box_size[..., None], weight)


def dense_pose_loss(
    predicted: Float[Tensor, "crops tokens 144"], true: Float[Tensor, "crops 144"], root_weight: float = 1.0
) -> Float[Tensor, ""]:
    """Squared distance of six-number rotations, summed over the six and averaged over tokens and joints as in
    `rotation_loss`: every token predicts the whole pose."""
    squared = (predicted.float() - true[:, None]).square().unflatten(-1, (NUM_JOINTS, 6)).sum(-1)
    return _mean_over_joints(squared, root_weight)


def place_loss(predicted: Float[Tensor, "crops 3"], true: Float[Tensor, "crops 3"]) -> Float[Tensor, ""]:
    """Mean L1 distance of x/z and y/z, and a quarter of that of log z."""
    return ((predicted.float() - true).abs() * predicted.new_tensor([1.0, 1.0, 0.25])).sum(-1).mean()


def betas_loss(predicted: Float[Tensor, "*batch 10"], true: Float[Tensor, "*batch 10"]) -> Float[Tensor, ""]:
    """Mean squared error of a shape coefficient, a tenth of the paper's `shape_loss`."""
    return (predicted.float() - true).square().mean()


# --- scale and place (UniSH's AlignNet) ------------------------------------------------------------------------------


def log_scale_loss(predicted: Float[Tensor, "*batch"], true: Float[Tensor, "*batch"]) -> Float[Tensor, ""]:
    """Mean of |log s − log s*|: the relative error of the metric scale, which weighs rooms and streets equally."""
    return (predicted.float().clamp(min=1e-3).log() - true.log()).abs().mean()


def translation_l1_loss(
    predicted_m: Float[Tensor, "*batch 3"], true_m: Float[Tensor, "*batch 3"], weight: Float[Tensor, "*batch"]
) -> Float[Tensor, ""]:
    """Weighted mean of the L1 distance of translations, in metres."""
    return weighted_mean((predicted_m.float() - true_m).abs().sum(-1), weight)


def ray_loss(
    predicted: Float[Tensor, "*batch 3"], true: Float[Tensor, "*batch 3"], weight: Float[Tensor, "*batch"]
) -> Float[Tensor, ""]:
    """Weighted mean of the L1 distance on the plane z = 1: the position in the image, whatever the depth."""
    rays = [point[..., :2] / point[..., 2:].clamp(min=0.1) for point in (predicted.float(), true)]
    return weighted_mean((rays[0] - rays[1]).abs().sum(-1), weight)


def relative_depth_losses(
    depth: Float[Tensor, "frames height width"], inverse_depth: Float[Tensor, "frames height width"]
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Error of inverse depth against a teacher's, both standardised per frame by median and mean absolute deviation.

    Returns the mean L1 error, and the mean L1 error of differences between neighbours summed over four scales, which
    asks for depth edges where the teacher has them (MiDaS, Ranftl et al. 2020). The teacher's value is 0 where unknown.
    """
    known = inverse_depth > 0
    error = _standardised(1 / depth.float().clamp(min=0.05), known) - _standardised(inverse_depth, known)
    edges = error.new_zeros(())
    for step in (1, 2, 4, 8):
        coarse, valid = error[:, ::step, ::step], known[:, ::step, ::step]
        edges = edges + weighted_mean(coarse.diff(dim=1).abs(), (valid[:, 1:] & valid[:, :-1]).float())
        edges = edges + weighted_mean(coarse.diff(dim=2).abs(), (valid[..., 1:] & valid[..., :-1]).float())
    return weighted_mean(error.abs(), known.float()), edges


def _standardised(values: Float[Tensor, "frames h w"], known: Tensor) -> Float[Tensor, "frames h w"]:
    """Values minus their median, over their mean absolute deviation from it; both per frame, over the known pixels."""
    median = values.masked_fill(~known, torch.nan).flatten(1).nanmedian(dim=1).values.nan_to_num()[:, None, None]
    deviation = ((values - median).abs() * known).sum((1, 2)) / known.sum((1, 2)).clamp(min=1)
    return (values - median) / deviation.clamp(min=1e-3)[:, None, None]


# --- helpers -----------------------------------------------------------------------------------------------------


def _mean_over_joints(values: Tensor, root_weight: float) -> Tensor:
    """Mean over the joints on the last axis, the root (the first) counted `root_weight` times, and over the batch."""
    weight = torch.ones(NUM_JOINTS, device=values.device)
    weight[0] = root_weight
    return weighted_mean(values, weight.expand_as(values))


def _normals(points: Tensor) -> Tensor:
    down = points[:, :, 1:, :-1] - points[:, :, :-1, :-1]
    right = points[:, :, :-1, 1:] - points[:, :, :-1, :-1]
    cross = torch.linalg.cross(right, down, dim=-1)
    return cross / cross.norm(dim=-1, keepdim=True).clamp(min=1e-12)


def _jump(depth: Tensor, axis: int) -> Tensor:
    """Relative change of depth to the next pixel along an axis, cut to the size of the normals."""
    here, there = depth[:, :, :-1, :-1], depth[:, :, 1:, :-1] if axis == 2 else depth[:, :, :-1, 1:]
    return (there - here).abs() / here.clamp(min=1e-3)


def _pairs(world_from_camera: Tensor) -> Tensor:
    """Camera j in the frame of camera i for all ordered pairs i ≠ j: (batch, pairs, 4, 4)."""
    frames = world_from_camera.shape[1]
    i, j = torch.where(~torch.eye(frames, dtype=torch.bool, device=world_from_camera.device))
    return invert_rigid(world_from_camera)[:, i] @ world_from_camera[:, j]
