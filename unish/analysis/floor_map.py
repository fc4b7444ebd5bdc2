"""The floor under a foot: what the clip's own points show there (stairs and beds are floors too), else the plane."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.ndimage import binary_dilation
from scipy.spatial import KDTree

from unish.geometry.metric import VALID_CONFIDENCE
from unish.structures import Reconstruction
from unish.structures.presence import is_missed

FRAMES, POINTS = 48, 900
"""Frames that points are taken from, and points of each."""
RADIUS_M, NEIGHBOURS, FEWEST = 0.3, 48, 12
MOST_ABOVE_M, MOST_BELOW_M = 0.15, 0.3
"""What lies between so much above and below a sole may be the floor under it."""
FLAT_M = 0.03
"""Median deviation up to which points are one floor."""


@dataclass(frozen=True)
class FloorMap:
    """Points of the scene, nobody's, in an upright world, metres."""

    points_world: Float[np.ndarray, "points 3"]
    tree: KDTree | None

    @staticmethod
    def of(scene: Reconstruction) -> "FloorMap":
        """From evenly chosen frames and pixels; boxes of people who have no mask there are left out."""
        chosen = np.unique(np.linspace(0, len(scene) - 1, min(len(scene), FRAMES)).round().astype(int))
        generator = np.random.default_rng(0)
        points = np.concatenate([np.zeros((0, 3)), *(_scene_points(scene, int(k), generator) for k in chosen)])
        points = points[np.isfinite(points).all(1) & (np.abs(points).max(1, initial=0) < 1e3)]
        return FloorMap(points, KDTree(points[:, :2]) if len(points) else None)

    def heights_m(self, feet_world: Float[np.ndarray, "feet 3"]) -> Float[np.ndarray, "feet"]:
        """Height of the floor under each foot; NaN where the points show none."""
        heights = np.full(len(feet_world), np.nan)
        sound = np.isfinite(feet_world).all(1)
        if self.tree is None or not sound.any():
            return heights
        count = min(NEIGHBOURS, len(self.points_world))
        distance, near = self.tree.query(feet_world[sound, :2], count, distance_upper_bound=RADIUS_M)
        distance, near = distance.reshape(-1, count), near.reshape(-1, count)
        z = np.concatenate([self.points_world[:, 2], [np.nan]])[near] - feet_world[sound, 2:]
        z[(distance == np.inf) | (z > MOST_ABOVE_M) | (z < -MOST_BELOW_M)] = np.nan
        enough = np.isfinite(z).sum(1) >= FEWEST
        middle = np.full(len(z), np.nan)
        if enough.any():
            middle[enough] = np.nanmedian(z[enough], axis=1)
            spread = np.nanmedian(np.abs(z[enough] - middle[enough, None]), axis=1)
            middle[np.flatnonzero(enough)[spread > FLAT_M]] = np.nan
        heights[sound] = middle + feet_world[sound, 2]
        return heights

    def heights_or_plane_m(self, feet_world: Float[np.ndarray, "feet 3"]) -> Float[np.ndarray, "feet"]:
        """The same, and 0, the plane, where the points show none."""
        return np.nan_to_num(self.heights_m(feet_world), nan=0.0)

    def moved(self, scale: float, rise_m: float) -> "FloorMap":
        """In a world that is `scale` times as large and then raised."""
        points = self.points_world * scale + [0, 0, rise_m]
        return FloorMap(points, KDTree(points[:, :2]) if len(points) else None)


NO_FLOOR = FloorMap(np.zeros((0, 3)), None)
"""Shows none anywhere."""


def _scene_points(scene: Reconstruction, frame: int, generator: np.random.Generator) -> np.ndarray:
    people = np.asarray(scene.person_mask[frame]) > 0
    height, width = people.shape
    for index, person in enumerate(scene.people):
        box = person.boxes_px[frame]
        there = person.present[frame] or is_missed(person, scene.times_s, frame)
        if there and np.isfinite(box).all() and not (scene.person_mask[frame] == index + 1).any():
            x0, y0, x1, y1 = np.clip(box, 0, [width, height, width, height]).astype(int)
            people[y0:y1, x0:x1] = True
    depth = np.asarray(scene.depth_m[frame])
    sound = np.isfinite(depth) & (depth > 0) & (np.asarray(scene.confidence[frame]) > VALID_CONFIDENCE)
    around = np.asarray(binary_dilation(people, iterations=3), bool)
    pixels = np.flatnonzero(sound & ~around)
    pixels = pixels[generator.permutation(len(pixels))[:POINTS]]
    row, column = pixels // width, pixels % width
    ray = np.stack([column + 0.5, row + 0.5, np.ones(len(row))], -1) @ np.linalg.inv(scene.cameras.intrinsics[frame]).T
    pose = scene.cameras.world_from_camera[frame].astype(np.float64)
    return (ray * depth.reshape(-1)[pixels, None]) @ pose[:3, :3].T + pose[:3, 3]
