"""How the frames that a result was made from lie around the smaller ones that the network saw."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8

from unish.errors import InputError
from unish.geometry.camera import image_fit
from unish.structures import Cameras, FrameSequence, Reconstruction

_PATCH_PX = 14
"""The short side of the network's frame is rounded to whole patches, in earlier results floored."""


@dataclass(frozen=True)
class OriginalFrame:
    """x_original = scale · x_network + margin, in pixels: the network saw the middle of the frame, at one scale."""

    scale: float
    margin_px: tuple[float, float]
    """(x, y): what the network did not see, left and above, in pixels of the original."""
    width_px: int
    height_px: int
    content_px: tuple[int, int, int, int] | None = None
    """x0, y0, x1, y1 of the image between black bars; None: all of the frame."""

    def map_points(self, points_px: Float[np.ndarray, "*points 2"]) -> Float[np.ndarray, "*points 2"]:
        """Pixels of the network's frame → pixels of the original."""
        return points_px * self.scale + np.array(self.margin_px)

    def map_intrinsics(self, intrinsics: Float[np.ndarray, "*frames 3 3"]) -> Float[np.ndarray, "*frames 3 3"]:
        """Intrinsics in pixels of the network's frame → in pixels of the original."""
        x, y = self.margin_px
        return np.array([[self.scale, 0, x], [0, self.scale, y], [0, 0, 1]]) @ intrinsics.astype(np.float64)

    def enlarge(self, labels: UInt8[np.ndarray, "h w"]) -> UInt8[np.ndarray, "height width"]:
        """Labels of the network's pixels at the original's (nearest); what was cut off has those of its border."""
        rows, columns = (
            np.floor((np.arange(side) + 0.5 - margin) / self.scale).astype(int).clip(0, seen - 1)
            for side, margin, seen in zip(
                (self.height_px, self.width_px), self.margin_px[::-1], labels.shape, strict=True
            )
        )
        return labels[rows[:, None], columns]

    def within_content(self, mask: UInt8[np.ndarray, "height width"]) -> UInt8[np.ndarray, "height width"]:
        """A mask of the original's pixels, 0 on black bars."""
        if self.content_px is None:
            return mask
        x0, y0, x1, y1 = self.content_px
        kept = np.zeros_like(mask)
        kept[y0:y1, x0:x1] = mask[y0:y1, x0:x1]
        return kept


def content_of(reconstruction: Reconstruction, clip: FrameSequence | None) -> tuple[float, ...]:
    """The part of a clip's frames that the network's come from, as `original_frame` takes it."""
    shows_content_only = clip is None or getattr(clip, "content_box", None) is not None
    return () if shows_content_only else reconstruction.provenance.content_box


def original_frame(
    cameras: Cameras, width_px: int, height_px: int, content_box: tuple[float, ...] = ()
) -> OriginalFrame:
    """Where the network's frame sits in one of this size (see `image_fit`).

    `content_box`: the part of the frame between black bars, in shares of its sides; () for all of it.
    Raises `InputError` when no frame of this shape can have become the network's.
    """
    sides = (width_px, height_px, width_px, height_px)
    shares = content_box or (0.0, 0.0, 1.0, 1.0)
    x0, y0, x1, y1 = (round(share * side) for share, side in zip(shares, sides, strict=True))
    size, image = (cameras.width_px, cameras.height_px), (x1 - x0, y1 - y0)
    reduced, cut = image_fit(size, image)
    scale, margin = 1 / reduced, cut / reduced
    lost = max(size) * np.array(image) / max(image) - size
    # A pixel of the source, or of the network's: a source that was reduced has sides rounded to whole pixels.
    rounding = max(1, reduced)
    if (lost < -_PATCH_PX / 2 - rounding).any() or (lost > _PATCH_PX + rounding).any():
        raise InputError(
            f"Expected the clip that the result was made from, of about the shape {cameras.width_px}×"
            f"{cameras.height_px}, got frames of {width_px}×{height_px}; give that clip, or none."
        )
    corner = (float(margin[0]) + x0, float(margin[1]) + y0)
    return OriginalFrame(float(scale), corner, width_px, height_px, (x0, y0, x1, y1) if content_box else None)
