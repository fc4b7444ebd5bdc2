"""Pinhole cameras: pixels, points and focal lengths.

OpenCV axes (x right, y down, z forward). Pixel (column j, row i) has its centre at (j + ½, i + ½), so a centred camera
has its principal point at (W/2, H/2).
"""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unish.utils.device import float64_device

MOST_STEPS = 50
SETTLED = 1e-9
ROUNDING = 1e-24


def pixel_centers(
    height: int, width: int, dtype: torch.dtype = torch.float32, device: torch.device | str | None = None
) -> Float[Tensor, "height width 2"]:
    """(u, v) of every pixel's centre, in pixels."""
    u = torch.arange(width, dtype=dtype, device=device) + 0.5
    v = torch.arange(height, dtype=dtype, device=device) + 0.5
    return torch.stack(torch.meshgrid(u, v, indexing="xy"), dim=-1)


def intrinsics_from_focal(focal_px: Float[Tensor, "*batch"], width: int, height: int) -> Float[Tensor, "*batch 3 3"]:
    """Intrinsics in pixels of a camera with square pixels and a centred principal point."""
    matrix = torch.zeros(*focal_px.shape, 3, 3, dtype=focal_px.dtype, device=focal_px.device)
    matrix[..., 0, 0] = focal_px
    matrix[..., 1, 1] = focal_px
    matrix[..., 0, 2] = width / 2
    matrix[..., 1, 2] = height / 2
    matrix[..., 2, 2] = 1
    return matrix


def project(
    points_camera: Float[Tensor, "*#batch points 3"], intrinsics: Float[Tensor, "*#batch 3 3"]
) -> Float[Tensor, "*#batch points 2"]:
    """Pixels at which camera-frame points are seen; meaningless for points that do not lie in front (z ≤ 0)."""
    homogeneous = points_camera @ intrinsics.mT
    return homogeneous[..., :2] / homogeneous[..., 2:]


def unproject_depth(
    depth_m: Float[Tensor, "*#batch height width"], intrinsics: Float[Tensor, "*#batch 3 3"]
) -> Float[Tensor, "*#batch height width 3"]:
    """Camera-frame points of a z-depth map taken at pixel centres, in the depth's unit."""
    height, width = depth_m.shape[-2:]
    uv = pixel_centers(height, width, depth_m.dtype, depth_m.device)
    center = torch.stack([intrinsics[..., 0, 2], intrinsics[..., 1, 2]], -1)[..., None, None, :]
    focal = torch.stack([intrinsics[..., 0, 0], intrinsics[..., 1, 1]], -1)[..., None, None, :]
    xy = (uv - center) / focal
    return torch.cat([xy, torch.ones_like(xy[..., :1])], dim=-1) * depth_m[..., None]


def image_fit(size_px: tuple[int, int], image_px: tuple[int, int]) -> tuple[float, Float[np.ndarray, "2"]]:
    """How a map of `size_px` (width, height) lies in an image of `image_px`: x_map = scale · x_image − margin.

    The map is the middle of the image at the smallest scale that fills it: one axis is shown whole, what overhangs
    along the other is cut evenly at both ends, and the aspect is exact. Network frames, their masks, depth, boxes and
    intrinsics all lie in the source in this way.
    """
    size, image = np.array(size_px, np.float64), np.array(image_px, np.float64)
    scale = float((size / image).max())
    return scale, (scale * image - size) / 2


def focal_px_from_half_diagonal(focal: Float[Tensor, "*batch"], width: int, height: int) -> Float[Tensor, "*batch"]:
    """Focal length in pixels from one given relative to half the image's diagonal (MoGe's unit)."""
    return focal * (0.5 * float(np.hypot(width, height)))


def solve_focal_shift(
    points_camera: Float[Tensor, "frames height width 3"],
    valid: Bool[Tensor, "frames height width"],
    *,
    shared: bool = False,
    fit_shift: bool = True,
    samples: int = 64,
) -> tuple[Float[Tensor, "frames"], Float[Tensor, "frames"]]:
    """Focal length and depth shift that make point maps agree with a pinhole camera, frame by frame.

    Minimises |f·xy/(z + shift) − uv| over the valid points of a `samples`² grid: f in closed form, shift by
    Levenberg–Marquardt from 0. Returns (focal relative to the half diagonal, shift in the points' unit). With
    `shared`, one camera is fitted to all frames together and repeated; without `fit_shift` the shift stays 0, which is
    right for points that were predicted as rays times depth. Fewer than two valid points, or none off the axis: focal
    1, shift 0. All points at one depth: shift 0.
    Source: MoGe's solver, as UniSH's released inference calls it.
    """
    frames, height, width, _ = points_camera.shape
    rows = torch.arange(samples) * height // samples
    columns = torch.arange(samples) * width // samples
    uv = torch.from_numpy(half_diagonal_grid(height, width)[rows][:, columns].reshape(-1, 2))
    chosen = points_camera[:, rows][:, :, columns].reshape(frames, -1, 3)
    mask = valid[:, rows][:, :, columns].reshape(frames, -1)
    if shared:
        chosen, mask, uv = chosen.reshape(1, -1, 3), mask.reshape(1, -1), uv.repeat(frames, 1)
    place = float64_device(points_camera.device)
    focal, shift = fit_pinhole(chosen.to(place), uv.to(place), mask.to(place), fit_shift=fit_shift)
    return focal.expand(frames).to(points_camera), shift.expand(frames).to(points_camera)


def half_diagonal_grid(height: int, width: int) -> Float[np.ndarray, "height width 2"]:
    """Pixel centres relative to the image centre, in half diagonals."""
    aspect = width / height
    span_x, span_y = aspect / np.hypot(1, aspect), 1 / np.hypot(1, aspect)
    u = np.linspace(-span_x * (width - 1) / width, span_x * (width - 1) / width, width)
    v = np.linspace(-span_y * (height - 1) / height, span_y * (height - 1) / height, height)
    return np.stack(np.meshgrid(u, v, indexing="xy"), axis=-1)


@torch.no_grad()
def fit_pinhole(
    points_camera: Float[Tensor, "*batch points 3"],
    uv: Float[Tensor, "*#batch points 2"],
    valid: Bool[Tensor, "*batch points"],
    *,
    fit_shift: bool = True,
    focal: Float[Tensor, "*batch"] | None = None,
) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch"]]:
    """Focal length and depth shift with focal · xy / (z + shift) ≈ uv, for points seen at `uv` (half diagonals).

    A `focal` that is given is kept, and the shift alone fitted. All of a batch are fitted together, in float64, on the
    device of the points. See `solve_focal_shift`.
    """
    valid = valid & points_camera.isfinite().all(-1) & (points_camera[..., 2] != 0)
    mask = valid[..., None]
    xy, z = points_camera.double().split([2, 1], dim=-1)
    # A point at the end of the axis that is seen at the middle says nothing.
    xy, uv = (torch.where(mask, part, 0.0) for part in (xy, uv.double()))
    z = torch.where(mask, z, torch.inf)
    shift = torch.zeros(valid.shape[:-1], dtype=torch.float64, device=z.device)
    if fit_shift:
        shift = _least_squares(lambda shift: _pinhole_residual(xy, z, uv, focal, shift), shift)
    enough = (valid.sum(-1) >= 2) & (xy != 0).any(-1).any(-1)
    if focal is None:
        rays = xy / (z + shift[..., None, None])
        focal = torch.where(enough, _dot(rays, uv) / _dot(rays, rays), 1.0)
    return focal.double(), torch.where(enough, shift, 0.0)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum((-2, -1))


def _pinhole_residual(
    xy: Tensor, z: Tensor, uv: Tensor, focal: Tensor | None, shift: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Of the residual r that is left with the best focal length for a shift: Σr², Σr·r′ and Σr′² (′ by the shift)."""
    inverse = 1 / (z + shift[..., None, None])
    rays = xy * inverse
    slope = -rays * inverse
    if focal is None:
        best = _dot(rays, uv) / _dot(rays, rays)
        bend = (_dot(slope, uv) - 2 * best * _dot(rays, slope)) / _dot(rays, rays)
    else:
        best, bend = focal.double(), torch.zeros_like(shift)
    residual = best[..., None, None] * rays - uv
    change = bend[..., None, None] * rays + best[..., None, None] * slope
    curvature = _dot(change, change)
    # Of points at one depth the focal length takes up every shift: only rounding is left, which says nothing.
    curvature = torch.where(curvature > ROUNDING * best**2 * _dot(slope, slope), curvature, torch.nan)
    return _dot(residual, residual), _dot(residual, change), curvature


def _least_squares(sums: Callable[[Tensor], tuple[Tensor, Tensor, Tensor]], start: Tensor) -> Tensor:
    """Levenberg–Marquardt in one unknown for each of a batch; `sums` gives Σr², Σr·r′ and Σr′² at an unknown."""
    at, damping = start, torch.full_like(start, 1e-3)
    cost, pull, curvature = sums(at)
    for _ in range(MOST_STEPS):
        step = -pull / (curvature * (1 + damping))
        if not (step.abs() > SETTLED * (1 + at.abs())).any():  # where nothing is valid it is no number
            break
        tried = sums(at + step)
        better = tried[0] < cost
        at = torch.where(better, at + step, at)
        both = zip(tried, (cost, pull, curvature), strict=True)
        cost, pull, curvature = (torch.where(better, new, old) for new, old in both)
        damping = torch.where(better, damping / 10, damping * 10)
    return at
