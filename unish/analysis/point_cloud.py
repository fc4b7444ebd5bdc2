"""A result's pixels as coloured points: the pieces from which the viewer and the exports choose theirs.

Both draw candidates from the pixels of every frame (`FramePixels`), drop those that float (`supported_points`) and keep
the most confident point of each voxel (`surest_of_voxels`).
"""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Int32, UInt8

from unish.geometry.clouds import depth_edges, supported
from unish.structures import Reconstruction

OVERSAMPLING = 4
"""Candidates looked at for each point that may be kept."""


@dataclass(frozen=True)
class PointCloud:
    """Coloured points, world frame, metres, each with the pixel that saw it."""

    points_world: Float32[np.ndarray, "points 3"]
    colors: UInt8[np.ndarray, "points 3"]
    """RGB of the pixel, sRGB as the image has it."""
    confidence: Float32[np.ndarray, "points"]
    """In 0..1."""
    frame: Int32[np.ndarray, "points"]
    """The frame that saw the point."""
    pixel: Int32[np.ndarray, "points 2"]
    """(row, column) of `Reconstruction.images` there; the point is on the ray of the pixel's centre."""
    person: UInt8[np.ndarray, "points"]
    """0 for the scene, k for `Reconstruction.people[k - 1]`."""

    def __len__(self) -> int:
        return len(self.points_world)

    def take(self, selection: np.ndarray) -> "PointCloud":
        """The points at these indices, or where this mask is true."""
        return PointCloud(*(getattr(self, name)[selection] for name in _FIELDS))

    @staticmethod
    def concatenate(parts: Sequence["PointCloud"]) -> "PointCloud":
        """All points of the parts, in order."""
        return PointCloud(*(np.concatenate([getattr(part, name) for part in [_EMPTY, *parts]]) for name in _FIELDS))


_FIELDS = tuple(field.name for field in dataclasses.fields(PointCloud))
_EMPTY = PointCloud(
    np.zeros((0, 3), np.float32), np.zeros((0, 3), np.uint8), np.zeros(0, np.float32), np.zeros(0, np.int32),
    np.zeros((0, 2), np.int32), np.zeros(0, np.uint8),
)  # fmt: skip


@dataclass(frozen=True)
class FramePixels:
    """The pixels of one frame as points."""

    frame: int
    points_world: Float32[np.ndarray, "height width 3"]
    surface: Bool[np.ndarray, "height width"]
    """Pixels that lie on a surface: the point and its confidence are finite, and depth is not at an edge."""
    colors: UInt8[np.ndarray, "height width 3"]
    confidence: Float32[np.ndarray, "height width"]
    person: UInt8[np.ndarray, "height width"]

    @staticmethod
    def of(reconstruction: Reconstruction, frame: int) -> "FramePixels":
        """The pixels of a frame of a result."""
        points_world = np.asarray(reconstruction.points_world(frame), np.float32)
        confidence = np.asarray(reconstruction.confidence[frame], np.float32)
        finite = np.isfinite(points_world).all(-1) & np.isfinite(confidence)
        return FramePixels(
            frame=frame,
            points_world=points_world,
            surface=~depth_edges(reconstruction.depth_m[frame]) & finite,
            colors=np.asarray(reconstruction.images[frame]),
            confidence=confidence,
            person=np.asarray(reconstruction.person_mask[frame], np.uint8),
        )

    def draw(self, mask: Bool[np.ndarray, "height width"], count: int, random: np.random.Generator) -> PointCloud:
        """The points of the mask's pixels, row by row; `count` of them at random where there are more."""
        index = np.flatnonzero(mask)
        if len(index) > count:
            index = np.sort(random.choice(index, count, replace=False))
        row, column = np.divmod(index, mask.shape[1])
        return PointCloud(
            self.points_world[row, column],
            self.colors[row, column],
            self.confidence[row, column].clip(0, 1),
            np.full(len(index), self.frame, np.int32),
            np.stack([row, column], axis=-1).astype(np.int32),
            self.person[row, column],
        )


def supported_points(points: PointCloud, reconstruction: Reconstruction, per_frame: int) -> Bool[np.ndarray, "points"]:
    """Which points have enough others around them (see `supported`), when `per_frame` pixels of a frame were drawn."""
    centers_world = np.nan_to_num(reconstruction.cameras.centers_world)
    return supported(points.points_world, centers_world[points.frame], sample_spacing_rad(reconstruction, per_frame))


def sample_step_px(height: int, width: int, count: int) -> float:
    """Mean distance in pixels of neighbouring samples of an image when `count` of its pixels are taken."""
    return math.sqrt(max(1.0, height * width / max(1, count)))


def sample_spacing_rad(reconstruction: Reconstruction, per_frame: int) -> float:
    """Mean angle between neighbouring samples of a frame when `per_frame` of its pixels are taken."""
    height, width = reconstruction.depth_m.shape[1:3]
    return sample_step_px(height, width, per_frame) / median_focal_px(reconstruction)


def median_focal_px(reconstruction: Reconstruction) -> float:
    """The median focal length of the clip, in pixels of `Reconstruction.images`."""
    return float(np.median(reconstruction.cameras.intrinsics[:, 0, 0]))
