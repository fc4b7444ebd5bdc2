"""Between the pixels of a clip and the inputs of the network: resize, crop, and the maps back.

Points and boxes are continuous image coordinates, pixel (j, i) covering [j, j + 1) × [i, i + 1), unless said
otherwise; a uniform resize is then a plain multiplication.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from jaxtyping import Float, Float32, Shaped, UInt8
from PIL import Image
from torch import Tensor

from unish.errors import InputError
from unish.geometry import CROP_SIZE_PX
from unish.geometry.camera import image_fit

_ALIAS_FREE_SCALE = 2.0
"""Up to this many image pixels a crop pixel, bilinear sampling alone is used, as in the released model."""


@dataclass(frozen=True)
class FrameTransform:
    """How the network's frame sits in the clip's: x_model = scale · x_clip − offset."""

    scale: float
    """Model pixels per clip pixel, the same along both axes."""
    offset_x_px: float
    """Left edge of the crop in the resized frame, model pixels."""
    offset_y_px: float
    """Top edge of the crop in the resized frame, model pixels."""
    width_px: int
    height_px: int
    """Size of the network's frame."""

    def map_points(self, points_clip: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch 2"]:
        """Pixels of the clip → pixels of the network's frame."""
        return points_clip * self.scale - self._offset(points_clip)

    def unmap_points(self, points_model: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch 2"]:
        """Pixels of the network's frame → pixels of the clip."""
        return (points_model + self._offset(points_model)) / self.scale

    def map_boxes(self, boxes_clip: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 4"]:
        """Boxes x0, y0, x1, y1 in the clip → in the network's frame; they may reach outside it."""
        return boxes_clip * self.scale - self._offset(boxes_clip).repeat(2)

    def unmap_boxes(self, boxes_model: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 4"]:
        """Boxes x0, y0, x1, y1 in the network's frame → in the clip."""
        return (boxes_model + self._offset(boxes_model).repeat(2)) / self.scale

    def map_keypoints(self, keypoints_clip: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3"]:
        """Keypoints x, y, confidence in the clip → in the network's frame; they may lie outside it."""
        return torch.cat([self.map_points(keypoints_clip[..., :2]), keypoints_clip[..., 2:]], dim=-1)

    def map_masks(
        self, masks: Shaped[np.ndarray, "frames mask_height mask_width"], frame_shape: tuple[int, int]
    ) -> Shaped[np.ndarray, "frames model_height model_width"]:
        """Masks (or labels, or depth) of the whole frame, at any resolution, at the network's pixels (nearest).

        `frame_shape` is the clip's (height, width).
        """
        rows, columns = (
            np.floor((np.arange(side) + 0.5 + offset) / self.scale * mask_side / clip_side).astype(int)
            for side, offset, mask_side, clip_side in (
                (self.height_px, self.offset_y_px, masks.shape[1], frame_shape[0]),
                (self.width_px, self.offset_x_px, masks.shape[2], frame_shape[1]),
            )
        )
        rows, columns = rows.clip(0, masks.shape[1] - 1), columns.clip(0, masks.shape[2] - 1)
        return masks[:, rows[:, None], columns]

    def _offset(self, like: Float[Tensor, "..."]) -> Float[Tensor, "2"]:
        return like.new_tensor([self.offset_x_px, self.offset_y_px])


def frame_transform(width_px: int, height_px: int, long_side_px: int, patch_size: int) -> FrameTransform:
    """The grid of the released network, filled without stretching.

    The long side becomes `long_side_px` (whole patches), the short side the nearest multiple of the patch (16:9 at
    518 → 518×294), and `image_fit` says what is cut. Raises InputError when the frame is so narrow that not one patch
    fits across it.
    """
    shape = width_px / max(width_px, height_px), height_px / max(width_px, height_px)
    if long_side_px * min(shape) < patch_size * (1 - 1e-6):
        raise InputError(
            f"Expected an image at most {long_side_px / patch_size:.0f} times as long as wide, "
            f"got {width_px}×{height_px}; crop it first."
        )
    width, height = (round(long_side_px * side / patch_size) * patch_size for side in shape)
    scale, margin = image_fit((width, height), (width_px, height_px))
    return FrameTransform(scale, float(margin[0]), float(margin[1]), width, height)


def fit_frames(
    frames: UInt8[np.ndarray, "frames height width 3"], long_side_px: int, patch_size: int
) -> tuple[Float32[Tensor, "frames 3 model_height model_width"], FrameTransform]:
    """Frames as the scene branch takes them, in 0..1, and where they come from.

    The aspect is kept exactly, nothing is padded or stretched. Raises InputError for a frame narrower than a patch.
    """
    transform = frame_transform(frames.shape[2], frames.shape[1], long_side_px, patch_size)
    return unit_images(resize_frames(frames, transform)), transform


def resize_frames(
    frames: UInt8[np.ndarray, "frames height width 3"], transform: FrameTransform
) -> UInt8[np.ndarray, "frames model_height model_width 3"]:
    """Frames at the network's size: one uniform, antialiased (Lanczos) resize and a crop in a single resampling."""
    corners = torch.tensor([0.0, 0.0, transform.width_px, transform.height_px], dtype=torch.float64)
    left, top, right, bottom = transform.unmap_boxes(corners).clamp(min=0).tolist()
    source_box = (left, top, min(right, frames.shape[2]), min(bottom, frames.shape[1]))
    size = (transform.width_px, transform.height_px)
    resized = np.empty((len(frames), size[1], size[0], 3), np.uint8)
    for index, frame in enumerate(frames):
        resized[index] = np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.LANCZOS, box=source_box))
    return resized


def unit_images(
    frames: UInt8[np.ndarray, "frames height width 3"], device: torch.device | str = "cpu"
) -> Float32[Tensor, "frames 3 height width"]:
    """Images as networks take them, in 0..1; they go to the device as bytes."""
    return torch.from_numpy(frames).to(device).permute(0, 3, 1, 2).float().div_(255.0)


def crop_people(
    frames: UInt8[np.ndarray, "frames height width 3"] | Float32[np.ndarray, "frames height width 3"],
    boxes_px: Float[np.ndarray, "frames 4"],
    bbox_scale: float = 1.0,
) -> Float32[Tensor, "frames 3 256 256"]:
    """Square crops around one person's box in every frame, as the human branch takes them: 256×256, in 0..1.

    Crop pixel (u, v) samples image point centre + (u − 128, v − 128) · b/256 bilinearly, b = max(w, h) · bbox_scale,
    zero outside the image, integer coordinates on pixel centres as in CameraHMR's warp. Crops that shrink the
    image more than twice are first averaged down, so that a large person is not aliased.
    `frames` are uint8, or floats in 0..1; boxes are in their pixels.
    """
    crops = np.empty((len(frames), CROP_SIZE_PX, CROP_SIZE_PX, 3), np.float32)
    for index, (frame, box) in enumerate(zip(frames, np.asarray(boxes_px, np.float64), strict=True)):
        center = np.array([box[0] + box[2], box[1] + box[3]]) / 2
        side = max(box[2] - box[0], box[3] - box[1]) * bbox_scale
        crops[index] = _square_crop(frame, center, max(side, 1e-3))
    return torch.from_numpy(crops).permute(0, 3, 1, 2).contiguous()


def _square_crop(
    frame: UInt8[np.ndarray, "height width 3"] | Float32[np.ndarray, "height width 3"],
    center_px: Float[np.ndarray, "2"],
    side_px: float,
) -> Float32[np.ndarray, "256 256 3"]:
    step_px = side_px / CROP_SIZE_PX
    reduction = math.floor(step_px) if step_px > _ALIAS_FREE_SCALE else 1
    # The part of the image under the crop, with a border for the interpolation, in whole blocks of `reduction`.
    margin = side_px / 2 + 2 * reduction
    start = np.maximum(np.floor(center_px - margin), 0).astype(int)
    stop = np.minimum(np.ceil(center_px + margin), [frame.shape[1], frame.shape[0]]).astype(int)
    if np.any(stop <= start):
        return np.zeros((CROP_SIZE_PX, CROP_SIZE_PX, 3), np.float32)
    part = frame[start[1] : stop[1], start[0] : stop[0]]
    if reduction > 1:
        part = _block_means(part, reduction)
    # Integer coordinate x of the image lies at (x − start + ½) / reduction − ½ in the part.
    origin = (center_px - start + 0.5) / reduction - 0.5
    offsets = (np.arange(CROP_SIZE_PX) - CROP_SIZE_PX / 2) * step_px / reduction
    rows, columns = origin[1] + offsets, origin[0] + offsets
    crop = _sample_lines(_sample_lines(part.astype(np.float32), rows).transpose(1, 0, 2), columns).transpose(1, 0, 2)
    return crop / 255.0 if frame.dtype == np.uint8 else crop


def _block_means(
    part: UInt8[np.ndarray, "height width 3"] | Float32[np.ndarray, "height width 3"], block: int
) -> UInt8[np.ndarray, "h w 3"] | Float32[np.ndarray, "h w 3"]:
    """Means of block × block pixels; the last, cut blocks are filled up with their border pixels."""
    bottom, right = (-side % block for side in part.shape[:2])
    part = cv2.copyMakeBorder(np.ascontiguousarray(part), 0, bottom, 0, right, cv2.BORDER_REPLICATE)
    size = (part.shape[1] // block, part.shape[0] // block)
    return cv2.resize(part, size, interpolation=cv2.INTER_AREA)


def _sample_lines(
    image: Float32[np.ndarray, "lines length 3"], positions: Float[np.ndarray, "n"]
) -> Float32[np.ndarray, "n length 3"]:
    """Linear interpolation between the lines of an image, zero outside it."""
    count = len(image)
    below = np.floor(positions)
    share = (positions - below).astype(np.float32)[:, None, None]
    result = np.zeros((len(positions), *image.shape[1:]), np.float32)
    for line, weight in ((below.astype(int), 1 - share), (below.astype(int) + 1, share)):
        inside = (line >= 0) & (line < count)
        result[inside] += image[line[inside]] * weight[inside]
    return result


def bbox_info(
    boxes_px: Float[Tensor, "*batch 4"],
    focal_px: Float[Tensor, "*#batch"],
    width_px: int,
    height_px: int,
    bbox_scale: float = 1.0,
) -> Float[Tensor, "*batch 3"]:
    """What CameraHMR is told about a crop: [cx − W/2, cy − H/2, b] / focal, all in pixels of the network's frame.

    b = max(w, h) · bbox_scale is the side of the crop that `crop_people` cuts from the same box.
    """
    x0, y0, x1, y1 = boxes_px.unbind(-1)
    side = torch.maximum(x1 - x0, y1 - y0) * bbox_scale
    info = torch.stack([(x0 + x1 - width_px) / 2, (y0 + y1 - height_px) / 2, side], dim=-1)
    return info / focal_px[..., None]
