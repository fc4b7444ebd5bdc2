"""The scene as coloured points for exports: people left out, one point per voxel, each with the pixel that saw it."""

import numpy as np
from jaxtyping import Bool
from scipy.ndimage import binary_dilation

from unish.analysis.point_cloud import OVERSAMPLING, FramePixels, PointCloud, supported_points
from unish.errors import InputError
from unish.geometry.clouds import surest_of_voxels
from unish.geometry.metric import VALID_CONFIDENCE
from unish.structures import Reconstruction
from unish.structures.presence import is_missed

MAX_POINTS = 200_000
"""Points of an export unless told otherwise."""
MIN_CONFIDENCE = VALID_CONFIDENCE
"""Pixels with less are not to be trusted (`Reconstruction.confidence`)."""
FARTHEST_M = 1000.0
"""Anything farther is sky."""
PERSON_MARGIN = 0.015
"""Pixels so near to a person's, as a share of the image's long side, count as theirs."""
_NEAREST_M = 1e-3


def scene_points(reconstruction: Reconstruction, max_points: int = MAX_POINTS) -> PointCloud:
    """At most `max_points` points of the scene, by frame and pixel; the same result always gives the same points.

    Left out are pixels of people (`person_pixels`), of the sky, of low confidence, at depth edges, and points on their
    own. Of the rest, `OVERSAMPLING · max_points` are drawn at random, equally many per frame, and the most confident of
    each voxel is kept; voxels are as fine as the budget allows and never finer than a centimetre. Raises `InputError`
    for a negative budget.
    """
    if max_points < 0:
        raise InputError(f"Expected a number of points of 0 or more, got {max_points}; 0 leaves the scene out.")
    per_frame = -(-OVERSAMPLING * max_points // max(1, len(reconstruction)))
    random = np.random.default_rng(0)
    candidates: list[PointCloud] = []
    for frame in range(len(reconstruction) if max_points else 0):
        pixels = FramePixels.of(reconstruction, frame)
        scene = pixels.surface & ~person_pixels(reconstruction, frame) & (pixels.confidence >= MIN_CONFIDENCE)
        candidates.append(pixels.draw(scene & (reconstruction.depth_m[frame] < FARTHEST_M), per_frame, random))
    points = PointCloud.concatenate(candidates)
    points = points.take(supported_points(points, reconstruction, per_frame))
    return points.take(np.sort(surest_of_voxels(points.points_world, points.confidence, max_points)))


def person_pixels(reconstruction: Reconstruction, frame: int) -> Bool[np.ndarray, "height width"]:
    """Pixels of a frame that show people: of their masks, which miss hands now and then; of the bodies that were found;
    of the boxes of people who are missed in this frame; and those nearby."""
    pixels = np.asarray(reconstruction.person_mask[frame]) > 0
    height, width = pixels.shape
    camera_from_world = np.linalg.inv(reconstruction.cameras.world_from_camera[frame].astype(np.float64))
    for person in reconstruction.people:
        if is_missed(person, reconstruction.times_s, frame):
            x0, y0, x1, y1 = np.clip(person.boxes_px[frame], 0, [width, height, width, height]).astype(int)
            pixels[y0:y1, x0:x1] = True
        if not person.present[frame]:
            continue
        in_camera = person.vertices_world[frame] @ camera_from_world[:3, :3].T + camera_from_world[:3, 3]
        image = in_camera[in_camera[:, 2] > _NEAREST_M] @ reconstruction.cameras.intrinsics[frame].T
        places = np.floor(image[:, :2] / image[:, 2:])
        column, row = places[((places >= 0) & (places < [width, height])).all(-1)].astype(int).T
        # A body has so many vertices that the margin closes the gaps between their pixels.
        pixels[row, column] = True
    margin = max(1, round(PERSON_MARGIN * max(height, width)))
    return np.asarray(binary_dilation(pixels, iterations=margin), bool)
